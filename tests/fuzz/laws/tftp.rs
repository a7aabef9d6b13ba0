//! TFTP packets: requests read within bounds and back as written, what a server sends well-formed.

use rootstock::netboot::tftp::{
    ErrorCode, FromClient, LONGEST_REQUEST, Mode, ReadRequest, error, netascii, read_opening,
};

use super::assert_fit_for_a_log;

pub fn check(bytes: &[u8]) {
    match read_opening(bytes) {
        Ok(request) => request_is_read_back(bytes, &request),
        Err(refusal) => {
            assert_fit_for_a_log(&refusal.to_string());
            if let Some(code) = refusal.code() {
                error_is_well_formed(&error(code, &refusal));
            }
        }
    }
    match FromClient::read(bytes) {
        Ok(FromClient::Ack(block)) => assert_eq!(bytes[..4], [&[0, 4][..], &block.to_be_bytes()].concat()),
        Ok(FromClient::Error { message, .. }) => {
            assert_fit_for_a_log(&message);
            error_is_well_formed(&error(ErrorCode::Undefined, &message));
        }
        Err(reason) => assert_fit_for_a_log(&reason.to_string()),
    }
    netascii_is_read_back(bytes);
}

fn request_is_read_back(bytes: &[u8], request: &ReadRequest) {
    assert!(bytes.len() <= LONGEST_REQUEST && bytes[..2] == [0, 1]);
    assert!(request.file.len() + 4 <= bytes.len() && !request.file.contains(&0));
    assert!(request.block_size.is_none_or(|size| size >= 8));
    assert!(request.window.is_none_or(|blocks| blocks >= 1));
    assert!(request.timeout.is_none_or(|seconds| seconds >= 1));
    let mode: &[u8] = match request.mode {
        Mode::Octet => b"octet",
        Mode::Netascii => b"netascii",
    };
    let mut plain = [b"\0\x01", &request.file[..], b"\0", mode, b"\0"].concat();
    let mut option = |name: &str, value: Option<u16>| {
        if let Some(value) = value {
            plain.extend(format!("{name}\0{value}\0").bytes());
        }
    };
    option("blksize", request.block_size);
    option("tsize", request.wants_size.then_some(0));
    option("timeout", request.timeout.map(u16::from));
    option("windowsize", request.window);
    assert_eq!(request.has_options(), plain.len() > request.file.len() + mode.len() + 4);
    if plain.len() <= LONGEST_REQUEST {
        assert_eq!(read_opening(&plain).as_ref(), Ok(request));
    }
}

fn error_is_well_formed(packet: &[u8]) {
    let [0, 5, 0, _, message @ .., 0] = packet else { panic!("no ERROR packet: {packet:?}") };
    assert!(packet.len() <= 512 && !message.contains(&0));
    assert!(matches!(FromClient::read(packet), Ok(FromClient::Error { .. })));
}

fn netascii_is_read_back(bytes: &[u8]) {
    let text = netascii(bytes);
    assert!(text.len() <= bytes.len() * 2);
    let mut back = Vec::with_capacity(bytes.len());
    let mut rest = &text[..];
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (b'\r', [b'\n', after @ ..]) => {
                back.push(b'\n');
                after
            }
            (b'\r', [0, after @ ..]) => {
                back.push(b'\r');
                after
            }
            (b'\r' | b'\n', _) => panic!("a bare {byte:#04x} is no netascii"),
            (other, after) => {
                back.push(*other);
                after
            }
        };
    }
    assert_eq!(back, bytes);
}
