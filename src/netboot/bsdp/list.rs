//! Option 43 of an ACK\[LIST\]: the image list, split over several options 43 where one is too small.

use super::image::cut;
use super::{CLASS, ImageId, MessageType, code};
use crate::netboot::dhcp::HEADER;

/// Longest body of one option.
const BODY: usize = 255;
/// Longest image name: 255 less the heads of option 43's inner option and of the entry (Apple's bsdplib).
const NAME: usize = 246;

/// What an ACK\[LIST\] tells.
#[derive(Clone, Debug)]
pub struct List<'a> {
    /// 0 lowest, 65535 highest.
    pub priority: u16,
    /// The image for a Mac whose user does not choose.
    pub default: ImageId,
    /// The image that this Mac is bound to.
    pub selected: Option<ImageId>,
    /// Images in the server's order; empty for 1.0 clients, who read only the default.
    pub images: Vec<(ImageId, &'a str)>,
}

/// The bodies of the options 43, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Each at most 255 bytes.
    pub bodies: Vec<Vec<u8>>,
    /// Images that found no room in the packet.
    pub left_out: usize,
}

/// Bytes for options 43, their heads included, in the largest packet that the client takes: BSDP option 12, else DHCP
/// option 57, else 548; smaller claims are ignored, larger ones than `cap` are not used. The IP and UDP headers,
/// the DHCP header, options 53, 54 and 60 and End are taken off.
pub fn room_for_lists(bsdp_size: Option<u16>, dhcp_size: Option<u16>, cap: u16) -> usize {
    const SMALLEST: u16 = 548;
    const IP_AND_UDP: usize = 28;
    let fixed = IP_AND_UDP + HEADER + 3 + 6 + 2 + CLASS.len() + 1;
    let size = bsdp_size.or(dhcp_size).unwrap_or(SMALLEST).clamp(SMALLEST, cap.max(SMALLEST));
    usize::from(size) - fixed
}

impl List<'_> {
    /// Writes the list into at most `room` bytes. Entries are never split: one that does not fit opens a new
    /// option 43 with a fresh option 9, or ends the list.
    pub fn write(&self, mut room: usize) -> Written {
        let mut body = vec![code::MESSAGE_TYPE, 1, MessageType::List as u8, code::PRIORITY, 2];
        body.extend(self.priority.to_be_bytes());
        body.extend([code::DEFAULT_IMAGE, 4]);
        body.extend(self.default.to_bytes());
        if let Some(selected) = self.selected {
            body.extend([code::SELECTED_IMAGE, 4]);
            body.extend(selected.to_bytes());
        }
        room = room.saturating_sub(2 + body.len());
        let mut bodies = Vec::new();
        let mut entries = Vec::new();
        let mut written = 0;
        for (id, name) in &self.images {
            let name = cut(name, NAME);
            let length = 5 + name.len();
            let head = if entries.is_empty() { 2 } else { 0 };
            let fits_here = body.len() + 2 + entries.len() + length <= BODY;
            if !fits_here && length + 4 <= room {
                bodies.push(close(&mut body, &mut entries));
                room -= length + 4;
            } else if fits_here && head + length <= room {
                room -= head + length;
            } else {
                break;
            }
            entries.extend(id.to_bytes());
            entries.push(name.len().try_into().unwrap_or(0));
            entries.extend(name.as_bytes());
            written += 1;
        }
        bodies.push(close(&mut body, &mut entries));
        Written { bodies, left_out: self.images.len() - written }
    }
}

/// Ends an option 43: what stands before the list, then option 9 with the entries so far.
fn close(body: &mut Vec<u8>, entries: &mut Vec<u8>) -> Vec<u8> {
    let mut closed = std::mem::take(body);
    if !entries.is_empty() {
        closed.extend([code::IMAGE_LIST, entries.len().try_into().unwrap_or(u8::MAX)]);
        closed.append(entries);
    }
    closed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::request::walk;
    use super::*;
    use crate::netboot::fixture;

    /// A client's view: entries of all options 9 joined.
    fn read_back(written: &Written) -> Vec<(u32, String)> {
        let mut list = Vec::new();
        for body in &written.bodies {
            assert!(body.len() <= BODY);
            walk(body, |code, value| {
                if code == code::IMAGE_LIST {
                    list.extend_from_slice(value);
                }
                Ok(())
            })
            .unwrap();
        }
        let mut rest = &list[..];
        let mut entries = Vec::new();
        while let [a, b, c, d, length, more @ ..] = rest {
            let (name, more) = more.split_at(usize::from(*length));
            entries.push((u32::from_be_bytes([*a, *b, *c, *d]), String::from_utf8(name.to_vec()).unwrap()));
            rest = more;
        }
        assert!(rest.is_empty());
        entries
    }

    fn list<'a>(id: u32, priority: u16, name: &'a str) -> List<'a> {
        let id = ImageId::from(id);
        List { priority, default: id, selected: None, images: vec![(id, name)] }
    }

    #[test]
    fn lists_that_boot_macs_in_the_field_come_out_the_same() {
        let maas = fixture::hex(include_str!("../../../tests/fixtures/bsdp/opt43-server-list-maas.hex"));
        assert_eq!(list(0x8100_0089, 32768, "The-Image").write(279).bodies, [maas]);
        let fog =
            fixture::hex(include_str!("../../../tests/fixtures/bsdp/opt43-server-list-fog-dnsmasq.hex"));
        let bound =
            List { selected: Some(ImageId::from(0x0100_020e)), ..list(0x0100_020e, 32768, "iPXE-FOG") };
        assert_eq!(bound.write(279).bodies, [fog]);
        let sdt =
            fixture::hex(include_str!("../../../tests/fixtures/bsdp/opt43-server-list-sdt-comment.hex"));
        assert_eq!(list(0x8100_13ba, 0xd6cb, "CLMBuildMenu").write(279).bodies, [sdt]);
    }

    #[test]
    fn the_largest_packet_is_the_clients_claim_within_bounds() {
        // 520 bytes of payload, 280 of options with End, 20 of them for options 53, 54 and 60.
        assert_eq!(room_for_lists(None, None, 8192), 279 - 20);
        assert_eq!(room_for_lists(None, Some(300), 8192), 279 - 20);
        assert_eq!(room_for_lists(None, Some(1500), 8192), 1231 - 20);
        assert_eq!(room_for_lists(Some(8192), Some(1500), 8192), 7923 - 20);
        assert_eq!(room_for_lists(Some(u16::MAX), None, 8192), 7923 - 20);
    }

    #[test]
    fn a_name_that_fills_an_option_gets_an_option_of_its_own() {
        let written = list(0x8100_0001, 1, &"n".repeat(300)).write(1200);
        assert_eq!(written.bodies.len(), 2);
        assert_eq!(written.bodies[1].len(), 253);
        assert_eq!(read_back(&written), [(0x8100_0001, "n".repeat(246))]);
    }

    #[test]
    fn a_list_that_does_not_fit_ends_between_entries() {
        let images: Vec<_> =
            (1..40).map(|index| (ImageId::from(0x8100_0000 + index), "twelve chars")).collect();
        let list = List { priority: 1, default: images[0].0, selected: None, images };
        let written = list.write(259);
        let got = read_back(&written);
        assert_eq!((got.len(), written.left_out), (14, 25));
        assert_eq!(list.write(7900).left_out, 0);
    }

    proptest! {
        #[test]
        fn a_list_stays_within_its_room_and_reads_back_in_order(
            names in prop::collection::vec(".{0,90}", 0..60),
            room in 259usize..8000,
            bound in any::<bool>(),
        ) {
            let images: Vec<_> =
                names.iter().zip(1..).map(|(name, id)| (ImageId::from(id), name.as_str())).collect();
            let id = ImageId::from(7);
            let written = List { priority: 3, default: id, selected: bound.then_some(id), images }.write(room);
            let used: usize = written.bodies.iter().map(|body| body.len() + 2).sum();
            prop_assert!(used <= room);
            let got = read_back(&written);
            prop_assert_eq!(got.len() + written.left_out, names.len());
            for ((id, name), (want, full)) in got.iter().zip((1u32..).zip(&names)) {
                prop_assert_eq!(*id, want);
                prop_assert!(full.starts_with(name.as_str()) && (name.len() > NAME - 4 || name == full));
            }
        }
    }
}
