//! What the wing's tests share: vectors as bytes, requests as clients write them.

/// The bytes of a vector file: lines beginning with `#` are notes, the rest is hexadecimal.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// A request of 80:e6:50:09:ed:a2 at 10.0.1.93: option 53, option 60, then each option 43.
pub fn request(kind: u8, class: &[u8], vendor: &[&[u8]]) -> Vec<u8> {
    let mut options = vec![(53, vec![kind]), (60, class.to_vec())];
    options.extend(vendor.iter().map(|body| (43, body.to_vec())));
    packet([10, 0, 1, 93], &options)
}

/// A request with any options.
pub fn packet(ciaddr: [u8; 4], options: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[4..8].copy_from_slice(&[0x0d, 0x65, 0x88, 0xa4]);
    bytes[12..16].copy_from_slice(&ciaddr);
    bytes[28..34].copy_from_slice(&[0x80, 0xe6, 0x50, 0x09, 0xed, 0xa2]);
    bytes[236..].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    for (code, value) in options {
        bytes.extend([*code, value.len().try_into().unwrap()]);
        bytes.extend(value);
    }
    bytes.push(255);
    bytes
}
