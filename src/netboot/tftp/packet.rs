//! TFTP packets: what clients send, read with bounds; what a server sends, written.

use std::fmt;

use super::LONGEST_REQUEST;

/// Error codes of RFC 1350 and RFC 2347.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ErrorCode {
    /// See the message.
    Undefined = 0,
    /// No such file.
    NotFound = 1,
    /// Not allowed.
    Access = 2,
    /// Illegal operation.
    Illegal = 4,
}

/// How bytes are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As they are.
    Octet,
    /// Lines end in CR LF, a bare CR is CR NUL (RFC 764). What old command-line clients ask for by default.
    Netascii,
}

/// A request to read a file. Options that make no sense are left out, as RFC 2347 asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The path as the client wrote it.
    pub file: Vec<u8>,
    /// Transfer mode.
    pub mode: Mode,
    /// RFC 2348, 8 and more.
    pub block_size: Option<u16>,
    /// RFC 2349: the client wants to know the size.
    pub wants_size: bool,
    /// RFC 2349, in seconds, 1 to 255.
    pub timeout: Option<u8>,
    /// RFC 7440, 1 and more.
    pub window: Option<u16>,
}

/// A packet that opens no transfer, and what its sender is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only reading is offered.
    #[error("writing is not allowed here")]
    Write,
    /// `mail`, or a misspelling.
    #[error("mode `{0}` is not offered; octet and netascii are")]
    Mode(String),
    /// No NUL, no mode, wrong opcode.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// The bytes are no TFTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too short or too long.
    #[error("{0} bytes are no TFTP packet")]
    Length(usize),
    /// DATA, ACK, … to port 69, or not TFTP at all.
    #[error("opcode {0} does not open a transfer")]
    Opcode(u16),
    /// A string without its NUL.
    #[error("file name or mode does not end in NUL")]
    Unterminated,
}

impl Refusal {
    /// The code of the ERROR packet that says so; none for what deserves no answer (RFC 1350: an ERROR to garbage
    /// invites an endless exchange).
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Refusal::Write => Some(ErrorCode::Access),
            Refusal::Mode(_) => Some(ErrorCode::Illegal),
            Refusal::Malformed(_) => None,
        }
    }
}

/// Reads what comes to port 69.
pub fn read_opening(bytes: &[u8]) -> Result<ReadRequest, Refusal> {
    let [high, low, rest @ ..] = bytes else { return Err(Malformed::Length(bytes.len()).into()) };
    if bytes.len() > LONGEST_REQUEST {
        return Err(Malformed::Length(bytes.len()).into());
    }
    match u16::from_be_bytes([*high, *low]) {
        1 => {}
        2 => return Err(Refusal::Write),
        opcode => return Err(Malformed::Opcode(opcode).into()),
    }
    let (file, rest) = text(rest).ok_or(Malformed::Unterminated)?;
    let (mode, mut rest) = text(rest).ok_or(Malformed::Unterminated)?;
    let mode = match mode.to_ascii_lowercase().as_slice() {
        b"octet" | b"binary" => Mode::Octet,
        b"netascii" => Mode::Netascii,
        other => return Err(Refusal::Mode(String::from_utf8_lossy(other).escape_debug().take(40).collect())),
    };
    let mut request = ReadRequest {
        file: file.to_vec(),
        mode,
        block_size: None,
        wants_size: false,
        timeout: None,
        window: None,
    };
    while let Some((name, value, after)) =
        text(rest).and_then(|(name, rest)| text(rest).map(|(value, rest)| (name, value, rest)))
    {
        request.take(name, value);
        rest = after;
    }
    Ok(request)
}

impl ReadRequest {
    fn take(&mut self, name: &[u8], value: &[u8]) {
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let at_least = |least: u64| {
            let number = number.filter(|number| *number >= least)?;
            Some(u16::try_from(number).unwrap_or(u16::MAX))
        };
        match name.to_ascii_lowercase().as_slice() {
            b"blksize" => self.block_size = at_least(8),
            b"tsize" => self.wants_size = number.is_some(),
            b"timeout" => {
                self.timeout =
                    number.and_then(|seconds| u8::try_from(seconds).ok()).filter(|seconds| *seconds > 0)
            }
            b"windowsize" => self.window = at_least(1),
            _ => {}
        }
    }

    /// Whether any option was asked for that is granted, so that the first answer is an OACK.
    pub fn has_options(&self) -> bool {
        self.block_size.is_some() || self.wants_size || self.timeout.is_some() || self.window.is_some()
    }
}

/// What a client sends within a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromClient {
    /// Everything up to this block arrived.
    Ack(u16),
    /// It gives up.
    Error {
        /// Its error code.
        code: u16,
        /// Its words, made printable.
        message: String,
    },
}

impl FromClient {
    /// Reads a packet of a running transfer.
    pub fn read(bytes: &[u8]) -> Result<FromClient, Malformed> {
        match bytes {
            [0, 4, high, low, ..] => Ok(FromClient::Ack(u16::from_be_bytes([*high, *low]))),
            [0, 5, high, low, message @ ..] => {
                let message = message.split(|byte| *byte == 0).next().unwrap_or_default();
                let message = String::from_utf8_lossy(message).escape_debug().take(200).collect();
                Ok(FromClient::Error { code: u16::from_be_bytes([*high, *low]), message })
            }
            [high, low, _, _, ..] => Err(Malformed::Opcode(u16::from_be_bytes([*high, *low]))),
            _ => Err(Malformed::Length(bytes.len())),
        }
    }
}

/// What stands before the bytes of a block.
pub fn data_head(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 3, high, low]
}

/// An ERROR packet.
pub fn error(code: ErrorCode, message: &impl fmt::Display) -> Vec<u8> {
    let mut bytes = vec![0, 5];
    bytes.extend((code as u16).to_be_bytes());
    bytes.extend(message.to_string().bytes().take(400).filter(|byte| *byte != 0));
    bytes.push(0);
    bytes
}

/// An OACK packet.
pub(super) fn option_ack(options: &[(&str, u64)]) -> Vec<u8> {
    let mut bytes = vec![0, 6];
    for (name, value) in options {
        bytes.extend(name.bytes());
        bytes.push(0);
        bytes.extend(value.to_string().bytes());
        bytes.push(0);
    }
    bytes
}

/// Bytes as netascii. At most twice as long.
pub fn netascii(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    for byte in bytes {
        match byte {
            b'\n' => text.extend(b"\r\n"),
            b'\r' => text.extend(b"\r\0"),
            other => text.push(*other),
        }
    }
    text
}

/// Bytes up to the first NUL, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_request_of_uefi_firmware_is_read() {
        let bytes =
            b"\0\x01ipxe\\snponly.efi\0octet\0tsize\x000\0blksize\x001468\0WindowSize\x004\0timeout\x003\0";
        let request = read_opening(bytes).unwrap();
        assert_eq!(request.file, b"ipxe\\snponly.efi");
        assert_eq!((request.block_size, request.window, request.timeout), (Some(1468), Some(4), Some(3)));
        assert!(request.wants_size && request.has_options());
    }

    #[test]
    fn a_request_without_options_is_read() {
        let request = read_opening(b"\0\x01booter\0OCTET\0").unwrap();
        assert!(!request.has_options());
    }

    #[test]
    fn options_outside_their_range_are_left_out() {
        let bytes =
            b"\0\x01x\0octet\0blksize\x007\0windowsize\x000\0timeout\x00256\0tsize\0big\0odd\0value\0";
        assert!(!read_opening(bytes).unwrap().has_options());
        let huge = read_opening(b"\0\x01x\0octet\0blksize\x00999999999999\0").unwrap();
        assert_eq!(huge.block_size, Some(u16::MAX));
    }

    #[test]
    fn writing_and_other_modes_are_refused_with_a_code_and_garbage_without() {
        assert_eq!(read_opening(b"\0\x02x\0octet\0").unwrap_err().code(), Some(ErrorCode::Access));
        assert_eq!(read_opening(b"\0\x01x\0mail\0").unwrap_err().code(), Some(ErrorCode::Illegal));
        for garbage in [&b""[..], b"\0", b"\0\x01x", b"\0\x01x\0octet", b"\0\x04\0\x01", &[0; 3000]] {
            assert_eq!(read_opening(garbage).unwrap_err().code(), None, "{garbage:?}");
        }
    }

    #[test]
    fn the_error_of_a_client_is_read_with_and_without_its_nul() {
        let want = FromClient::Error { code: 8, message: "User aborted".into() };
        assert_eq!(FromClient::read(b"\0\x05\0\x08User aborted\0").unwrap(), want);
        assert_eq!(FromClient::read(b"\0\x05\0\x08User aborted").unwrap(), want);
        assert_eq!(FromClient::read(b"\0\x04\xff\xff"), Ok(FromClient::Ack(u16::MAX)));
        assert_eq!(FromClient::read(b"\0\x03\0\x01"), Err(Malformed::Opcode(3)));
    }

    #[test]
    fn netascii_marks_line_ends_and_bare_carriage_returns() {
        assert_eq!(netascii(b"a\nb\rc\r\n"), b"a\r\nb\r\0c\r\0\r\n");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_opening(&[&[0, 1], &bytes[..]].concat());
            let _ = FromClient::read(&bytes);
        }

        #[test]
        fn netascii_is_undone_by_reading_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = netascii(&bytes);
            let mut read = Vec::new();
            let mut rest = text.iter();
            while let Some(byte) = rest.next() {
                match (*byte, if *byte == b'\r' { rest.next() } else { None }) {
                    (b'\r', Some(b'\n')) => read.push(b'\n'),
                    (b'\r', Some(0)) => read.push(b'\r'),
                    (b'\r', other) => prop_assert!(false, "CR before {other:?}"),
                    (other, _) => read.push(other),
                }
            }
            prop_assert_eq!(read, bytes);
        }
    }
}
