//! What a Mac that holds N is told in the same packet as its address, where this server gives that too: early
//! Intel Macs (MacBook1,1 to MacBook6,x) start from it in one step, later ones go on to ask for the list.

use super::apple::Bsdp;
use super::{Door, Site};
use crate::netboot::bsdp;
use crate::netboot::dhcp::{MessageType, Packet, code};
use crate::netboot::lease::Boot;

/// Option 43, code 8: the image that is selected (BSDP.doc, *selected boot image id*).
const SELECTED_IMAGE: u8 = 8;

/// Options 60, 43, 17, boot file and next server for the OFFER and the ACK of an address: the image that the Mac is bound
/// to, else the default of its list. None when it is no Mac, or nothing is for it.
pub fn with_address(packet: &Packet<'_>, door: Door, site: &Site<'_>) -> Option<Boot> {
    let kind = packet.message_type()?;
    let is_about_address = door == Door::Dhcp && matches!(kind, MessageType::Discover | MessageType::Request);
    if !is_about_address || site.server.is_unspecified() || !bsdp::Request::is_claimed_by(packet) {
        return None;
    }
    let request = bsdp::Request::read(packet).ok()?;
    let bound = site.bindings.of(request.mac, &request.system).map(|bound| bound.image);
    let asked = Bsdp { packet, request, from: std::net::SocketAddrV4::new(site.server, 0), site };
    let sets = asked.candidates();
    let set = sets
        .iter()
        .find(|set| Some(set.id) == bound)
        .or_else(|| sets.iter().find(|set| set.passes(&asked.request.filter)))?;
    let file = set.boot_file(&asked.request.arch, &asked.request.system)?.clone();
    let selected = [&[SELECTED_IMAGE, 4][..], &set.id.to_bytes()].concat();
    let mut options = vec![(code::CLASS_ID, bsdp::CLASS.to_vec()), (code::VENDOR, selected)];
    options.extend(asked.root_path(set, site.server).map(|root| (code::ROOT_PATH, root.into_bytes())));
    Some(Boot { next_server: set.load_balance.unwrap_or(site.server), file, options })
}
