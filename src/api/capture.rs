//! How a captured disk comes to the library, from a Mac or from any other machine.
//!
//! | request below the capture | body | answer |
//! |---|---|---|
//! | `POST …/lacking` | digests, 32 bytes each, at most [`MOST_ASKED`] | a bit for each, set when the library lacks the chunk; low bit first |
//! | `POST …/frames` | frames, see below, at most [`MOST_SENT`] bytes | [`Taken`] |
//! | `POST …/finish` | the manifest's canonical bytes, without volume facts (see `image::manifest`) | [`Finish`] |
//!
//! A capture is `/api/v1/captures/{capture}` with the admin token or on the socket, made by [`CreateCapture`]; and
//! `/runner/v1/runs/{run}/captures/{action}` with the run's token, made by [`StartCapture`], while that action of the run is
//! a capture. Binary bodies are `application/octet-stream`. Every request may be repeated.
//!
//! What was taken in is durable when the capture is finished, and at points between; a reset of the appliance may lose what
//! came after the last one. So the sender asks for every chunk of the image before it finishes, and sends again what is lacking.
//!
//! | frames | size |
//! |---|---|
//! | `RSFRAMS1` | 8 |
//! | each: number of chunks, their bytes before compression all together, length of the frame, `u32` little-endian | 12 |
//! | digests | 32 each |
//! | zstd frame | |

use serde::{Deserialize, Serialize};

use crate::image::chunk::{FRAME, MAX_FRAME, Packed, chunk_count};
use crate::value::Digest;

/// Chunks in one question.
pub const MOST_ASKED: usize = 8192;
/// Bytes of frames in one request.
pub const MOST_SENT: usize = 4 << 20;

const MAGIC: &[u8; 8] = b"RSFRAMS1";
const HEAD: usize = 12;

/// Begin a capture, or go on with one that was not finished.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateCapture {
    /// Name of the image; one that exists gets a new version.
    pub name: String,
    /// A note for the version.
    #[serde(default)]
    pub note: String,
    /// What is captured, for people: machine and disk.
    pub source: String,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of it that are in use.
    pub used: u64,
    /// The same for the same disk, name and choice: finds the capture that was begun before.
    pub resume: String,
}

/// Begin the capture that is an action of a run, or go on with it. Name and note are those of the action.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartCapture {
    /// What is captured, for people.
    pub source: String,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of it that are in use.
    pub used: u64,
}

/// A capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Capture {
    /// Number.
    pub id: i64,
    /// Name of the image.
    pub image: String,
    /// Note for the version; may be empty.
    pub note: String,
    /// What is captured.
    pub source: String,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of it that are in use.
    pub used: u64,
    /// Who began it.
    pub by: String,
    /// The run that it belongs to.
    pub run: Option<i64>,
    /// When it was begun, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// When its sender was last heard.
    pub heard_ms: i64,
    /// What was made of it, when it is finished.
    pub made: Option<Made>,
}

/// An image version that a capture made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Made {
    /// Name of the image.
    pub image: String,
    /// Number of the version.
    pub version: u32,
    /// Digest of the signed manifest.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub manifest: Digest,
    /// Bytes that the capture added to the library.
    pub added: u64,
}

/// Frames were taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Taken {
    /// Chunks that the library did not have.
    pub chunks: u64,
    /// Bytes of the frames that were kept.
    pub bytes: u64,
}

/// Answer to `finish`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Finish {
    /// The image is in the library.
    Made(Made),
    /// Chunks are lacking: ask which, send them, finish again.
    Lacking {
        /// How many.
        chunks: u64,
    },
}

/// Why a body is no list of frames; nothing of it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrames {
    /// Another format or version.
    #[error("the body is no list of frames of version 1: it begins with other bytes than RSFRAMS1")]
    Magic,
    /// Cut off.
    #[error("the list of frames is cut off at byte {0}")]
    Cut(usize),
    /// A frame that cannot be.
    #[error("the frame at byte {0} has an impossible length or number of chunks")]
    Frame(usize),
}

/// Bytes that `packed` takes up in a list.
pub fn sent_length(packed: &Packed) -> usize {
    HEAD + 32 * packed.chunks.len() + packed.frame.len()
}

/// A list of frames as it is sent.
pub fn encode_frames(list: &[Packed]) -> Vec<u8> {
    let mut body = Vec::with_capacity(MAGIC.len() + list.iter().map(sent_length).sum::<usize>());
    body.extend_from_slice(MAGIC);
    for packed in list {
        body.extend_from_slice(&(packed.chunks.len() as u32).to_le_bytes());
        body.extend_from_slice(&packed.raw.to_le_bytes());
        body.extend_from_slice(&(packed.frame.len() as u32).to_le_bytes());
        packed.chunks.iter().for_each(|chunk| body.extend_from_slice(chunk.as_bytes()));
        body.extend_from_slice(&packed.frame);
    }
    body
}

/// Reads a list of frames. What is in the frames is not looked at. Memory is bounded by the length of `body`.
///
/// # Errors
/// See [`BadFrames`].
pub fn decode_frames(body: &[u8]) -> Result<Vec<Packed>, BadFrames> {
    let mut rest = body.strip_prefix(MAGIC).ok_or(BadFrames::Magic)?;
    let mut list = Vec::new();
    while !rest.is_empty() {
        let at = body.len() - rest.len();
        let (head, after) = rest.split_at_checked(HEAD).ok_or(BadFrames::Cut(at))?;
        let number =
            |from: usize| u32::from_le_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let (chunks, raw, length) = (number(0), number(4), number(8));
        let possible =
            (1..=FRAME).contains(&raw) && chunk_count(raw) == chunks && (1..=MAX_FRAME).contains(&length);
        if !possible {
            return Err(BadFrames::Frame(at));
        }
        let (names, after) = after.split_at_checked(32 * chunks as usize).ok_or(BadFrames::Cut(at))?;
        let (frame, after) = after.split_at_checked(length as usize).ok_or(BadFrames::Cut(at))?;
        list.push(Packed { chunks: decode_digests(names), raw, frame: frame.to_vec() });
        rest = after;
    }
    Ok(list)
}

/// Digests as they are asked for.
pub fn encode_digests(chunks: &[Digest]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| *chunk.as_bytes()).collect()
}

/// Reads digests; bytes after the last whole one are left out.
pub fn decode_digests(body: &[u8]) -> Vec<Digest> {
    body.as_chunks::<32>().0.iter().map(|bytes| Digest::from_bytes(*bytes)).collect()
}

/// Answers as bits.
pub fn encode_bits(answers: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| (0..).zip(bits).fold(0, |byte, (bit, set)| byte | u8::from(*set) << bit);
    answers.chunks(8).map(byte).collect()
}

/// Reads `count` answers; none when there are fewer.
pub fn decode_bits(body: &[u8], count: usize) -> Option<Vec<bool>> {
    let bit = |number: usize| body.get(number / 8).map(|byte| byte >> (number % 8) & 1 == 1);
    (0..count).map(bit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::chunk::CHUNK;
    use proptest::prelude::*;

    fn packed(chunks: u64, last: u32, frame: usize) -> Packed {
        Packed {
            chunks: (0..chunks).map(|number| Digest::of(&number.to_le_bytes())).collect(),
            raw: (chunks - 1) as u32 * CHUNK as u32 + last,
            frame: (0..frame).map(|number| number as u8).collect(),
        }
    }

    #[test]
    fn frames_survive_their_list_and_every_cut_is_noticed() {
        let list = [packed(1, 7, 20), packed(3, CHUNK as u32, 100)];
        let body = encode_frames(&list);
        assert_eq!(decode_frames(&body).unwrap(), list);
        assert_eq!(body.len(), 8 + list.iter().map(sent_length).sum::<usize>());
        let whole = [8, 8 + sent_length(&list[0]), body.len()];
        for cut in (0..body.len()).filter(|cut| !whole.contains(cut)) {
            assert!(decode_frames(&body[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_frame_that_claims_more_than_it_may_have_is_refused() {
        for change in [(8, u32::MAX), (8, 2), (12, 0), (12, FRAME + 1), (16, 0), (16, MAX_FRAME + 1)] {
            let mut body = encode_frames(&[packed(1, 7, 20)]);
            body[change.0..change.0 + 4].copy_from_slice(&change.1.to_le_bytes());
            assert!(decode_frames(&body).is_err(), "{change:?}");
        }
    }

    proptest! {
        #[test]
        fn answers_survive_their_bits(answers in prop::collection::vec(any::<bool>(), 0..40)) {
            let body = encode_bits(&answers);
            prop_assert_eq!(decode_bits(&body, answers.len()), Some(answers.clone()));
            prop_assert_eq!(decode_bits(&body, body.len() * 8 + 1), None);
        }

        #[test]
        fn no_body_panics_and_what_is_read_is_written_the_same(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let mut body = encode_frames(&[packed(2, 9, 30), packed(1, 1, 1)]);
            for (place, byte) in flips {
                let place = place.index(body.len());
                body[place] = byte;
            }
            if let Ok(list) = decode_frames(&body) {
                prop_assert_eq!(encode_frames(&list), body);
            }
        }
    }
}
