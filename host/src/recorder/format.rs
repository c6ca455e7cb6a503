//! The bytes of a recording: blocks and event frames, as `host/docs/recording.md` specifies them.
//!
//! Fixed-width little-endian fields and no cleverness, so that a reader in any language is a page long. Bulky bodies
//! are the protocol's own bytes, copied; what the gateway itself says is JSON. A block carries everything that a later
//! version needs to say "this is compressed, encrypted or signed" (kind, flags, version), and a reader refuses what it
//! does not know. Nothing here reads or writes a file.

pub use super::kind::EventKind;
use aws_lc_rs::digest;
use std::fmt;

/// The first bytes of every block.
pub(super) const MAGIC: [u8; 4] = *b"CHRB";
/// The last bytes of every sealed recording.
pub(super) const TAIL_MAGIC: [u8; 4] = *b"CHRZ";
/// The version of the block layout.
pub(super) const VERSION: u8 = 1;
/// Bytes of a block's header.
pub(super) const HEADER_BYTES: usize = 96;
/// Bytes of the header that the block's hash covers (all but the hash itself).
const HASHED_HEADER_BYTES: usize = 64;
/// Bytes in front of every event's body.
pub(super) const FRAME_BYTES: usize = 24;
/// Bytes at the end of a footer's payload: the footer block's length and [`TAIL_MAGIC`].
pub(super) const TAIL_BYTES: usize = 8;
/// Flag of an event block: its frames are compressed.
pub(super) const COMPRESSED: u16 = 1;
/// Flag of an event block: what is stored of it is encrypted.
pub(super) const ENCRYPTED: u16 = 1 << 1;
/// Flag of a footer: a signature and the key's id stand in front of the tail.
pub(super) const SIGNED: u16 = 1 << 2;
/// The longest payload a reader accepts, in bytes: what it may have to hold in memory at once.
pub(super) const MAX_PAYLOAD_BYTES: u32 = 16 * 1024 * 1024;
/// A raw body longer than this is cut into several frames, so that blocks and buffers stay small (bytes).
pub(super) const MAX_FRAGMENT_BYTES: usize = 256 * 1024;
/// How much of a file is reserved ahead of its last block at most, in bytes: the rest of one window and the whole of the next.
pub(super) const RESERVED_BYTES: u64 = 128 * 1024;
/// The longest JSON body, in bytes. JSON bodies are the gateway's own and bounded where they arise; this is the backstop.
pub(super) const MAX_JSON_BYTES: usize = 4 * 1024 * 1024;

/// A SHA-256 digest. Printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What stands for the previous block in front of the first one.
    pub const NONE: Hash = Hash([0; 32]);

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// That of some bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut hash = Hash::NONE;
        hash.0
            .iter_mut()
            .zip(digest::digest(&digest::SHA256, bytes).as_ref())
            .for_each(|(to, from)| *to = *from);
        hash
    }
}

/// Not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct NoHash;

impl std::str::FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let mut hash = Hash::NONE;
        let digits = |pair: &[u8]| {
            let fits = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|byte| fits(&byte)))?;
            u8::from_str_radix(pair, 16).ok()
        };
        if text.len() != 2 * hash.0.len() {
            return Err(NoHash);
        }
        for (to, pair) in hash.0.iter_mut().zip(text.as_bytes().chunks(2)) {
            *to = digits(pair).ok_or(NoHash)?;
        }
        Ok(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// Event frames.
    Events,
    /// The last block of a sealed recording: totals as JSON, then the tail.
    Footer,
    /// The first block of an encrypted recording: its key, wrapped by another.
    Key,
}

impl BlockKind {
    fn code(self) -> u8 {
        match self {
            BlockKind::Events => 1,
            BlockKind::Footer => 2,
            BlockKind::Key => 3,
        }
    }

    /// The flags that this version knows on a block of this kind.
    pub(super) fn flags(self) -> u16 {
        match self {
            BlockKind::Events => COMPRESSED | ENCRYPTED,
            BlockKind::Footer => SIGNED,
            BlockKind::Key => 0,
        }
    }

    /// The kind with this code, if this version knows it.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(BlockKind::Events),
            2 => Some(BlockKind::Footer),
            3 => Some(BlockKind::Key),
            _ => None,
        }
    }
}

/// Takes `N` bytes off the front.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (front, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*front)
}

/// A block's header as it stands in the file: nothing is judged yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) magic: [u8; 4],
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) flags: u16,
    pub(super) sequence: u64,
    pub(super) length: u32,
    /// The complement of `length`. A torn block is told from a damaged one by its length, so the length is checked
    /// before it is believed: otherwise one flipped bit would make every later block look torn.
    pub(super) length_check: u32,
    pub(super) frames: u32,
    pub(super) reserved: u32,
    pub(super) previous: Hash,
    pub(super) hash: Hash,
}

impl Header {
    /// The header of a block without flags, with its hash.
    #[cfg(test)]
    #[cfg(test)]
    pub(super) fn seal(kind: BlockKind, sequence: u64, frames: u32, previous: Hash, payload: &[u8]) -> Self {
        Header::seal_as((kind, 0), sequence, frames, previous, payload)
    }

    /// The header of a block of a kind and with flags, with its hash.
    pub(super) fn seal_as(
        (kind, flags): (BlockKind, u16),
        sequence: u64,
        frames: u32,
        previous: Hash,
        payload: &[u8],
    ) -> Self {
        let mut header = Header::before((kind, flags), sequence, frames, previous, payload.len());
        header.hash = header.digest(payload);
        header
    }

    /// The header of a block whose payload is not there yet: without its hash.
    pub(super) fn before(
        (kind, flags): (BlockKind, u16),
        sequence: u64,
        frames: u32,
        previous: Hash,
        length: usize,
    ) -> Self {
        // A payload is at most MAX_PAYLOAD_BYTES, which the writer sees to; were it longer, no reader would take it.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        Header {
            magic: MAGIC,
            version: VERSION,
            kind: kind.code(),
            flags,
            sequence,
            length,
            length_check: !length,
            frames,
            reserved: 0,
            previous,
            hash: Hash::NONE,
        }
    }

    /// What is bound to an encrypted payload: the header's first 32 bytes.
    pub(super) fn bound(&self) -> [u8; 32] {
        self.front().first_chunk().copied().unwrap_or_default()
    }

    /// SHA-256 over the header's first 64 bytes and the payload.
    pub(super) fn digest(&self, payload: &[u8]) -> Hash {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.front());
        context.update(payload);
        let mut bytes = [0; 32];
        // SHA-256 always has 32 bytes; `zip` spares a panic path that cannot be reached.
        bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Hash(bytes)
    }

    fn front(&self) -> [u8; HASHED_HEADER_BYTES] {
        let mut out = [0; HASHED_HEADER_BYTES];
        out[0..4].copy_from_slice(&self.magic);
        out[4] = self.version;
        out[5] = self.kind;
        out[6..8].copy_from_slice(&self.flags.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..20].copy_from_slice(&self.length.to_le_bytes());
        out[20..24].copy_from_slice(&self.length_check.to_le_bytes());
        out[24..28].copy_from_slice(&self.frames.to_le_bytes());
        out[28..32].copy_from_slice(&self.reserved.to_le_bytes());
        out[32..64].copy_from_slice(&self.previous.0);
        out
    }

    /// The header's bytes.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..64].copy_from_slice(&self.front());
        out[64..96].copy_from_slice(&self.hash.0);
        out
    }

    /// Reads a header; None when there are fewer than [`HEADER_BYTES`].
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        Some(Header {
            magic: take(bytes)?,
            version: u8::from_le_bytes(take(bytes)?),
            kind: u8::from_le_bytes(take(bytes)?),
            flags: u16::from_le_bytes(take(bytes)?),
            sequence: u64::from_le_bytes(take(bytes)?),
            length: u32::from_le_bytes(take(bytes)?),
            length_check: u32::from_le_bytes(take(bytes)?),
            frames: u32::from_le_bytes(take(bytes)?),
            reserved: u32::from_le_bytes(take(bytes)?),
            previous: Hash(take(bytes)?),
            hash: Hash(take(bytes)?),
        })
    }
}

/// How an event's body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One JSON value.
    Json,
    /// The protocol's own bytes, as they were on the wire.
    Raw,
}

/// Whether a body ends in this frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The body, or its last part.
    Last,
    /// The next frame of the same kind and operation goes on with the body.
    More,
}

const ENCODING_JSON: u8 = 0;
const ENCODING_RAW: u8 = 1;
const PART_MORE: u8 = 0x80;

/// What stands in front of an event's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: EventKind,
    pub(super) encoding: Encoding,
    pub(super) part: Part,
    pub(super) operation: u64,
    /// Microseconds since the session's start.
    pub(super) at_us: u64,
}

impl Frame {
    pub(super) fn encode(&self, length: u32) -> [u8; FRAME_BYTES] {
        let encoding = match self.encoding {
            Encoding::Json => ENCODING_JSON,
            Encoding::Raw => ENCODING_RAW,
        };
        let part = match self.part {
            Part::Last => 0,
            Part::More => PART_MORE,
        };
        let mut out = [0; FRAME_BYTES];
        out[0..4].copy_from_slice(&length.to_le_bytes());
        out[4] = self.kind.code();
        out[5] = encoding | part;
        out[8..16].copy_from_slice(&self.operation.to_le_bytes());
        out[16..24].copy_from_slice(&self.at_us.to_le_bytes());
        out
    }
}

/// Why a payload whose hash is right still cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadFrame {
    /// The frames do not fill the payload exactly.
    Bounds,
    /// An event kind, encoding or reserved field that this version does not know.
    Unknown { what: &'static str, code: u64 },
}

/// Walks the frames of a payload.
pub(super) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Frames { rest: payload }
    }

    fn next_frame(&mut self) -> Result<(Frame, &'a [u8]), BadFrame> {
        let rest = &mut self.rest;
        let length = u32::from_le_bytes(take(rest).ok_or(BadFrame::Bounds)?);
        let [kind, encoding] = take(rest).ok_or(BadFrame::Bounds)?;
        let reserved = u16::from_le_bytes(take(rest).ok_or(BadFrame::Bounds)?);
        let operation = u64::from_le_bytes(take(rest).ok_or(BadFrame::Bounds)?);
        let at_us = u64::from_le_bytes(take(rest).ok_or(BadFrame::Bounds)?);
        let length = usize::try_from(length).map_err(|_| BadFrame::Bounds)?;
        let (body, rest) = rest.split_at_checked(length).ok_or(BadFrame::Bounds)?;
        self.rest = rest;
        let unknown = |what, code: u64| BadFrame::Unknown { what, code };
        let part = if encoding & PART_MORE == 0 { Part::Last } else { Part::More };
        let frame = Frame {
            kind: EventKind::from_code(kind).ok_or(unknown("event kind", kind.into()))?,
            encoding: match (encoding & !PART_MORE, part) {
                (ENCODING_JSON, Part::Last) => Encoding::Json,
                (ENCODING_RAW, _) => Encoding::Raw,
                _ => return Err(unknown("encoding", encoding.into())),
            },
            part,
            operation,
            at_us,
        };
        if reserved != 0 {
            return Err(unknown("reserved field", reserved.into()));
        }
        Ok((frame, body))
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(Frame, &'a [u8]), BadFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let frame = self.next_frame();
        if frame.is_err() {
            // What follows a bad frame has no known beginning.
            self.rest = &[];
        }
        Some(frame)
    }
}
