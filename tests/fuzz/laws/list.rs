//! BSDP image lists: whatever the names, the room and the server's choice, a client reads what was meant.

use rootstock::netboot::bsdp::{ImageId, List, room_for_lists};

use super::input::Input;
use super::offer::{entries, tlv};

pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let claim = |flag: bool, word: u16| flag.then_some(word);
    let flags = input.byte();
    let (bsdp, dhcp) = (claim(flags & 1 != 0, input.word()), claim(flags & 2 != 0, input.word()));
    let cap = if flags & 4 != 0 { 8192 } else { 1500 };
    let room = room_for_lists(bsdp, dhcp, cap);
    let (priority, default) = (input.word(), ImageId::from(input.quad()));
    let selected = (flags & 8 != 0).then(|| ImageId::from(input.quad()));
    let mut names = Vec::new();
    while !input.is_empty() {
        let id = ImageId::from(input.quad());
        // Names come from property lists: UTF-8, of any length. One byte of input makes a long one.
        let length = input.byte();
        let text = String::from_utf8_lossy(input.bytes(usize::from(length & 0x3f))).into_owned();
        names.push((id, text.repeat(1 << (length >> 6))));
    }
    let images: Vec<(ImageId, &str)> = names.iter().map(|(id, name)| (*id, name.as_str())).collect();
    let list = List { priority, default, selected, images: images.clone() };
    let written = list.write(room);
    assert_eq!(list.write(room), written, "the same list twice");

    let largest = usize::from(bsdp.or(dhcp).unwrap_or(548).clamp(548, cap));
    assert!(28 + 240 + 3 + 6 + 11 + room < largest, "room leaves no place for what stands before the list");
    let used: usize = written.bodies.iter().map(|body| body.len() + 2).sum();
    assert!(used <= room, "{used} bytes written into {room}");
    assert!(written.bodies.iter().all(|body| !body.is_empty() && body.len() <= 255));

    let mut options = written.bodies.iter().flat_map(|body| tlv(body));
    assert_eq!(options.next(), Some((1, &[1][..])), "LIST");
    assert_eq!(options.next(), Some((4, &priority.to_be_bytes()[..])));
    assert_eq!(options.next(), Some((7, &default.to_bytes()[..])));
    if let Some(selected) = selected {
        assert_eq!(options.next(), Some((8, &selected.to_bytes()[..])));
    }
    let mut joined = Vec::new();
    for (code, value) in options {
        assert_eq!(code, 9, "only lists follow");
        joined.extend_from_slice(value);
    }
    let read = entries(&joined);
    assert_eq!(read.len() + written.left_out, images.len());
    for ((id, name), (meant, full)) in read.iter().zip(&images) {
        assert_eq!(id, meant);
        assert!(full.starts_with(name), "a name is cut, not changed");
        let next = full[name.len()..].chars().next();
        assert!(next.is_none_or(|next| name.len() + next.len_utf8() > 246), "cut before it had to be");
    }
    if written.left_out > 0 {
        let next = images[read.len()].1.len().min(246) + 5;
        assert!(used + next + 4 > room, "{next} bytes more would have fitted: {used} of {room}");
    }
}
