//! BSDP from the client's side: what it asks, and what a server told it. For whoever walks the way of a Mac to see where
//! it ends.

use std::net::Ipv4Addr;

use super::request::walk;
use super::{CLASS, ImageId, MessageType, code};
use crate::netboot::dhcp::{self, Packet};

/// Option 43 of a DISCOVER: only the version (section 8 of Apple's document has no message type there).
pub const DISCOVER: &[u8] = &[code::VERSION, 2, 1, 1];

/// Option 43 of an INFORM\[LIST\]; a reply port where answers shall not go to port 68.
pub fn ask_list(reply_port: Option<u16>) -> Vec<u8> {
    let mut body = vec![code::MESSAGE_TYPE, 1, MessageType::List as u8];
    body.extend(DISCOVER);
    push_port(&mut body, reply_port);
    body
}

/// Option 43 of an INFORM\[SELECT\].
pub fn ask_select(server: Ipv4Addr, image: ImageId, reply_port: Option<u16>) -> Vec<u8> {
    let mut body = vec![code::MESSAGE_TYPE, 1, MessageType::Select as u8];
    body.extend(DISCOVER);
    push_port(&mut body, reply_port);
    body.extend([code::SERVER_ID, 4]);
    body.extend(server.octets());
    body.extend([code::SELECTED_IMAGE, 4]);
    body.extend(image.to_bytes());
    body
}

fn push_port(body: &mut Vec<u8>, port: Option<u16>) {
    if let Some(port) = port {
        body.extend([code::REPLY_PORT, 2]);
        body.extend(port.to_be_bytes());
    }
}

/// What a server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// BSDP message type; absent in an OFFER.
    pub kind: Option<MessageType>,
    /// Among several servers the highest wins.
    pub priority: u16,
    /// The image that a Mac without a user takes.
    pub default: Option<ImageId>,
    /// The image that this Mac is bound to, or that was confirmed.
    pub selected: Option<ImageId>,
    /// Images with their names.
    pub images: Vec<(ImageId, String)>,
    /// The name that the machine is to have.
    pub machine_name: Option<String>,
}

impl Told {
    /// Reads a server's reply as Apple's client does; none when it would pass it over.
    pub fn read(packet: &Packet<'_>) -> Option<Told> {
        let class = packet.option(dhcp::code::CLASS_ID)?;
        if packet.is_request || class.as_ref() != CLASS {
            return None;
        }
        let mut told = Told::default();
        let mut list = Vec::new();
        for body in packet.instances(dhcp::code::VENDOR) {
            let take = |code, value: &[u8]| {
                told.take(code, value, &mut list);
                Ok(())
            };
            walk(body, take).ok()?;
        }
        told.images = images(&list)?;
        Some(told)
    }

    fn take(&mut self, code: u8, value: &[u8], list: &mut Vec<u8>) {
        let number = || value.try_into().map(u32::from_be_bytes).ok();
        match code {
            code::MESSAGE_TYPE => {
                self.kind = match value {
                    [1] => Some(MessageType::List),
                    [2] => Some(MessageType::Select),
                    [3] => Some(MessageType::Failed),
                    _ => None,
                }
            }
            code::PRIORITY => self.priority = value.try_into().map(u16::from_be_bytes).unwrap_or_default(),
            code::DEFAULT_IMAGE => self.default = number().map(ImageId::from),
            code::SELECTED_IMAGE => self.selected = number().map(ImageId::from),
            code::IMAGE_LIST => list.extend_from_slice(value),
            code::MACHINE_NAME => self.machine_name = Some(String::from_utf8_lossy(value).into_owned()),
            _ => {}
        }
    }
}

/// `{id(4) length(1) name}` as often as there is. A malformed entry spoils the list, as it does for macOS.
fn images(mut list: &[u8]) -> Option<Vec<(ImageId, String)>> {
    let mut images = Vec::new();
    while !list.is_empty() {
        let (id, rest) = list.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked((*length).into())?;
        images.push((ImageId::from(u32::from_be_bytes(*id)), String::from_utf8(name.to_vec()).ok()?));
        list = rest;
    }
    Some(images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netboot::dhcp::{MessageType as Kind, Request};
    use crate::value::MacAddr;

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_real_list_is_read_as_its_server_meant_it() {
        let hex = include_str!("../../../tests/fixtures/bsdp/full-ack-list-osx1011-server.hex");
        let bytes = crate::netboot::fixture::hex(hex);
        let told = Told::read(&Packet::parse(&bytes).unwrap()).unwrap();
        assert_eq!((told.kind, told.priority), (Some(MessageType::List), 0x7ffe));
        assert!(!told.images.is_empty());
        assert!(told.images.iter().any(|(id, _)| Some(*id) == told.default), "{told:?}");
    }

    #[test]
    fn what_is_asked_is_read_by_the_servers_side() {
        let server = Ipv4Addr::new(10, 0, 0, 1);
        let image = ImageId::from(0x8100_0001);
        let request = |body: Vec<u8>| {
            Request::new(Kind::Inform, MAC, 1)
                .ciaddr([10, 0, 0, 7].into())
                .class("AAPLBSDPC/i386/iMac14,2")
                .vendor(&body)
                .encode()
        };
        let bytes = request(ask_select(server, image, Some(0x030a)));
        let read = super::super::Request::read(&Packet::parse(&bytes).unwrap()).unwrap();
        assert_eq!((read.kind, read.server), (Some(MessageType::Select), Some(server)));
        assert_eq!((read.selected, read.reply_port), (Some(image), Some(0x030a)));
        let bytes = request(ask_list(None));
        let read = super::super::Request::read(&Packet::parse(&bytes).unwrap()).unwrap();
        assert_eq!(
            (read.kind, read.reply_port, read.understands_lists),
            (Some(MessageType::List), None, true)
        );
    }

    #[test]
    fn a_malformed_list_is_no_answer_and_another_class_neither() {
        assert_eq!(images(&[1, 0, 0, 1, 3, b'a']), None);
        assert_eq!(images(&[1, 0, 0]), None);
        assert_eq!(images(&[1, 0, 0, 1, 1, 0xff]), None);
        let request = Request::new(Kind::Ack, MAC, 1).class("AAPLBSDPC/i386").vendor(&[1, 1, 1]);
        let mut bytes = request.encode();
        bytes[0] = 2;
        assert_eq!(Told::read(&Packet::parse(&bytes).unwrap()), None);
    }
}
