//! Encrypted disk images, `encrcdsa` version 2: the plain bytes of a file, by its password.
//!
//! What is inside is any image again, mostly UDIF, so this is an [`Input`] over an input.
//!
//! | at | header, big-endian | | at | a password key |
//! |---|---|---|---|---|
//! | 0 | `encrcdsa`, version u32 | | 0 | derivation u32: 103 PBKDF2-HMAC-SHA-1 |
//! | 12 | IV bytes u32, mode u32, cipher u32, key bits u32 | | 8 | iterations u32 |
//! | 52 | block bytes u32 | | 12 | salt bytes u32, salt (32) |
//! | 56 | plain bytes u64, data at u64 | | 48 | IV bytes u32, IV (32) |
//! | 72 | keys u32, then per key: type u32 (1 password), at u64, bytes u64 | | 84 | key bits, cipher (17: 3DES), padding, mode u32 |
//! | | | | 100 | wrapped bytes u32, wrapped keys |
//!
//! The wrapped keys are the AES key, 20 bytes of HMAC-SHA-1 key and `CKIE`. Block n is AES-CBC with the first 16 bytes
//! of HMAC(n as u32) as its IV. Nothing in the format proves that data are whole; the image inside does.
//! Owns: bounds on header and work. Must not know: where the password comes from.

use std::io::{self, Read, Seek, SeekFrom};
use std::num::NonZeroU32;

use aes::cipher::{Array, BlockCipherDecrypt, BlockModeDecrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes256};
use des::TdesEde3;
use ring::{hmac, pbkdf2};

use super::error::SourceError;
use super::{Input, read_exact_at};
use crate::image::field::Fields;
use crate::value::Secret;

const HEADER: usize = 76;
const KEY_ENTRY: usize = 20;
const KEY: usize = 104;

/// Keys of one image; hdiutil writes one or two.
const MOST_KEYS: u32 = 32;

/// Rounds of key derivation for one image, over all its keys: macOS takes what lasts a fraction of a second.
const MOST_ITERATIONS: u64 = 20_000_000;

/// Bytes of one encrypted block; hdiutil writes 512 or 4096.
const MOST_BLOCK: u32 = 1 << 20;

/// Bytes that are decrypted in one step.
const STEP: u64 = 64 << 10;

const PASSWORD_KEY: u32 = 1;
const PBKDF2: u32 = 103;
const TRIPLE_DES: u32 = 17;
const AES: u32 = 0x8000_0001;
const MAC_KEY: usize = 20;

/// Bytes of wrapped keys: 48 or 64.
const MOST_WRAPPED: usize = 512;

/// The plain bytes of an encrypted image.
pub(super) struct Decrypted {
    input: Box<dyn Input>,
    keys: Keys,
    block: u64,
    data_at: u64,
    size: u64,
    /// Bytes after which blocks are counted from 0 again.
    recount: u64,
    position: u64,
    /// Plain bytes from `plain_at` on.
    plain: Vec<u8>,
    plain_at: u64,
}

impl Decrypted {
    /// Reads the header of a file of `file` bytes and opens its keys.
    pub fn open(
        mut input: Box<dyn Input>,
        file: u64,
        password: Option<&Secret>,
    ) -> Result<Decrypted, SourceError> {
        let header = Header::read(input.as_mut(), file, password)?;
        let Header { size, data_at, block, .. } = header;
        let stored = size.checked_next_multiple_of(block).and_then(|stored| stored.checked_add(data_at));
        if stored.is_none_or(|end| end > file) {
            let what = "the encrypted data".to_owned();
            return Err(SourceError::Truncated { what, need: stored.unwrap_or(u64::MAX), have: file });
        }
        Decrypted::new(input, header.keys, block, data_at, size, u64::MAX)
    }

    /// The `size` plain bytes of the bands of a sparse bundle, which are `input` one behind the other; its header stands
    /// in the file `token`. Each band counts its blocks from 0.
    pub fn bands(
        token: &[u8],
        input: Box<dyn Input>,
        size: u64,
        band: u64,
        password: Option<&Secret>,
    ) -> Result<Decrypted, SourceError> {
        let header = Header::read(&mut io::Cursor::new(token), token.len() as u64, password)?;
        if !band.is_multiple_of(header.block) {
            return Err(malformed("the block size of the encryption header", 52, header.block));
        }
        Decrypted::new(input, header.keys, header.block, 0, size, band)
    }

    /// Bytes of one encrypted block.
    pub fn block(&self) -> u64 {
        self.block
    }

    fn new(
        input: Box<dyn Input>,
        keys: Keys,
        block: u64,
        data_at: u64,
        size: u64,
        recount: u64,
    ) -> Result<Decrypted, SourceError> {
        // The number of a block is summed up as 32 bits; more blocks would be read with the IVs of others.
        if size.min(recount).div_ceil(block) > 1 << 32 {
            return Err(malformed("the plain length of the encryption header", 56, size));
        }
        let (plain, plain_at) = (Vec::new(), 0);
        Ok(Decrypted { input, keys, block, data_at, size, recount, position: 0, plain, plain_at })
    }

    /// Decrypts the blocks around `position`.
    fn fill(&mut self) -> io::Result<()> {
        let first = self.position / self.block;
        let length = STEP.max(self.block).min(self.size.next_multiple_of(self.block) - first * self.block);
        // Until they are decrypted, the bytes here are nobody's.
        self.plain_at = u64::MAX;
        self.plain.resize(length as usize, 0);
        self.input.seek(SeekFrom::Start(self.data_at + first * self.block))?;
        self.input.read_exact(&mut self.plain)?;
        for (block, number) in self.plain.chunks_mut(self.block as usize).zip(first..) {
            self.keys.decrypt((number % (self.recount / self.block)) as u32, block);
        }
        self.plain_at = first * self.block;
        self.plain.truncate((self.size - self.plain_at).min(length) as usize);
        Ok(())
    }
}

impl Read for Decrypted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let held = self.plain_at.saturating_add(self.plain.len() as u64);
        if !(self.plain_at..held).contains(&self.position) {
            self.fill()?;
        }
        let from = &self.plain[(self.position - self.plain_at) as usize..];
        let length = from.len().min(buffer.len());
        buffer[..length].copy_from_slice(&from[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Decrypted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.position = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// What stands in front of the data, and the keys that the password opened.
struct Header {
    keys: Keys,
    block: u64,
    size: u64,
    data_at: u64,
}

impl Header {
    fn read(input: &mut dyn Input, file: u64, password: Option<&Secret>) -> Result<Header, SourceError> {
        let header = read_exact_at(input, 0, HEADER.min(file as usize))?;
        let header = Fields(&header);
        let version = header.be32(8);
        if version != 2 {
            return Err(malformed("the version of the encryption header", 8, version.into()));
        }
        let password = password.ok_or(SourceError::PasswordNeeded)?;
        let cipher = Cipher::parse(header)?;
        let block = header.be32(52);
        if block == 0 || block % 16 != 0 || block > MOST_BLOCK {
            return Err(malformed("the block size of the encryption header", 52, block.into()));
        }
        let keys = open_keys(input, header.be32(72), file, cipher, password)?;
        Ok(Header { keys, block: block.into(), size: header.be64(56), data_at: header.be64(64) })
    }
}

#[derive(Clone, Copy)]
enum Cipher {
    Aes128,
    Aes256,
}

impl Cipher {
    fn parse(header: Fields<'_>) -> Result<Cipher, SourceError> {
        match (header.be32(20), header.be32(24)) {
            (AES, 128) => Ok(Cipher::Aes128),
            (AES, 256) => Ok(Cipher::Aes256),
            (AES, bits) => Err(malformed("the key length of the encryption header", 24, bits.into())),
            (other, _) => Err(malformed("the cipher of the encryption header", 20, other.into())),
        }
    }

    fn key_bytes(self) -> usize {
        match self {
            Cipher::Aes128 => 16,
            Cipher::Aes256 => 32,
        }
    }
}

/// The opened keys of an image.
struct Keys {
    data: DataKey,
    mac: hmac::Key,
}

enum DataKey {
    Aes128(Aes128),
    Aes256(Aes256),
}

impl Keys {
    /// From the unwrapped bytes; none where they are too short to be keys.
    fn new(cipher: Cipher, unwrapped: &[u8]) -> Option<Keys> {
        let (data, rest) = unwrapped.split_at_checked(cipher.key_bytes())?;
        let mac = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, rest.get(..MAC_KEY)?);
        // A wrong password would pass the padding behind this once in 256 times; this mark it never passes.
        let proven = rest[MAC_KEY..].starts_with(b"CKIE");
        let data = match cipher {
            Cipher::Aes128 => DataKey::Aes128(Aes128::new_from_slice(data).ok()?),
            Cipher::Aes256 => DataKey::Aes256(Aes256::new_from_slice(data).ok()?),
        };
        proven.then_some(Keys { data, mac })
    }

    fn decrypt(&self, index: u32, block: &mut [u8]) {
        let tag = hmac::sign(&self.mac, &index.to_be_bytes());
        let mut iv = [0; 16];
        iv.copy_from_slice(&tag.as_ref()[..16]);
        match &self.data {
            DataKey::Aes128(key) => decrypt_cbc(key, &iv, block),
            DataKey::Aes256(key) => decrypt_cbc(key, &iv, block),
        }
    }
}

/// Decrypts whole cipher blocks in place; a rest that is none stays as it is.
fn decrypt_cbc<C: BlockCipherDecrypt>(cipher: &C, iv: &[u8], bytes: &mut [u8]) {
    if let Ok(mut decryptor) = cbc::Decryptor::inner_iv_slice_init(cipher, iv) {
        let (blocks, _) = Array::slice_as_chunks_mut(bytes);
        decryptor.decrypt_blocks(blocks);
    }
}

/// Tries the password on every key that is for one.
fn open_keys(
    input: &mut dyn Input,
    count: u32,
    file: u64,
    cipher: Cipher,
    password: &Secret,
) -> Result<Keys, SourceError> {
    if count == 0 || count > MOST_KEYS {
        return Err(malformed("the key count of the encryption header", 72, count.into()));
    }
    let (mut tried, mut iterations) = (0, 0);
    for index in 0..count as usize {
        let at = HEADER + index * KEY_ENTRY;
        let end = (at + KEY_ENTRY) as u64;
        if end > file {
            let what = "the list of keys of the encryption header".to_owned();
            return Err(SourceError::Truncated { what, need: end, have: file });
        }
        let entry = read_exact_at(input, at as u64, KEY_ENTRY)?;
        let entry = Fields(&entry);
        if entry.be32(0) != PASSWORD_KEY {
            continue;
        }
        let (place, length) = (entry.be64(4), entry.be64(12));
        let end = place.checked_add(length.max(KEY as u64)).filter(|&end| end <= file);
        let what = || "a key of the encryption header".to_owned();
        end.ok_or_else(|| SourceError::Truncated { what: what(), need: u64::MAX, have: file })?;
        let length = (length as usize).clamp(KEY, KEY + MOST_WRAPPED);
        let length = length.min((file - place) as usize);
        let wrapped = Wrapped::parse(&read_exact_at(input, place, length)?, place)?;
        iterations += u64::from(wrapped.iterations);
        if iterations > MOST_ITERATIONS {
            let what = "a number of key derivation rounds";
            return Err(SourceError::TooLarge { what, claimed: iterations, most: MOST_ITERATIONS });
        }
        tried += 1;
        if let Some(keys) = Keys::new(cipher, &wrapped.unwrap(password)) {
            return Ok(keys);
        }
    }
    Err(if tried == 0 { SourceError::NoPasswordKey } else { SourceError::WrongPassword })
}

/// The keys as a password guards them.
struct Wrapped {
    iterations: u32,
    salt: Vec<u8>,
    iv: [u8; 8],
    bytes: Vec<u8>,
}

impl Wrapped {
    fn parse(blob: &[u8], at: u64) -> Result<Wrapped, SourceError> {
        let fields = Fields(blob);
        let field = |offset: usize, what: &'static str, fits: &dyn Fn(u32) -> bool| {
            let value = fields.be32(offset);
            if fits(value) { Ok(value) } else { Err(malformed(what, at + offset as u64, value.into())) }
        };
        field(0, "the key derivation of an encrypted image", &|kind| kind == PBKDF2)?;
        let iterations = field(8, "the key derivation rounds of an encrypted image", &|count| count > 0)?;
        let salt = field(12, "the salt length of an encrypted image", &|length| length <= 32)? as usize;
        field(48, "the IV length of a key of an encrypted image", &|length| length == 8)?;
        field(84, "the key length around the keys of an encrypted image", &|bits| bits == 192)?;
        field(88, "the cipher around the keys of an encrypted image", &|kind| kind == TRIPLE_DES)?;
        let fits = |length: u32| length as usize <= MOST_WRAPPED && length.is_multiple_of(8);
        let length = field(100, "the length of the keys of an encrypted image", &fits)? as usize;
        Ok(Wrapped {
            iterations,
            salt: fields.bytes(16, salt).to_vec(),
            iv: fields.array(52),
            bytes: fields.bytes(KEY, length).to_vec(),
        })
    }

    fn unwrap(mut self, password: &Secret) -> Vec<u8> {
        let mut key = [0; 24];
        let rounds = NonZeroU32::new(self.iterations).unwrap_or(NonZeroU32::MIN);
        let password = password.expose().as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, rounds, &self.salt, password, &mut key);
        if let Ok(cipher) = TdesEde3::new_from_slice(&key) {
            decrypt_cbc(&cipher, &self.iv, &mut self.bytes);
        }
        self.bytes
    }
}

fn malformed(what: &'static str, at: u64, found: u64) -> SourceError {
    SourceError::Malformed { what, at, found }
}
