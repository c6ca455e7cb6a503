//! Reads a recording from the front, block by block, and believes nothing.
//!
//! Memory is bounded by twice [`MAX_PAYLOAD_BYTES`] whatever a length field says, and no bytes make it panic. A block is
//! handed out only after its place in the chain and its hash were checked, so whoever iterates events reads verified
//! ones up to the first flaw, which comes out as an error with its place.

use super::format::{
    BadFrame, BlockKind, Encoding, EventKind, FRAME_BYTES, Frame, Frames, HEADER_BYTES, Hash, Header, MAGIC,
    MAX_PAYLOAD_BYTES, Part, RESERVED_BYTES, VERSION,
};
use super::payload::Opener;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{self, Read};

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// The file ends inside a block.
    #[error("the file ends inside this block: {missing} bytes at least are missing")]
    Cut {
        /// How many bytes the block lacks, as far as that is known.
        missing: u64,
    },
    /// The file ends in zeros where a block should be: space that was reserved and never written.
    #[error("the file ends in zeros where a block should begin")]
    NeverWritten,
    /// The file ends after a complete block, without a footer.
    #[error("the file ends here without a footer: its end was cut off, or it was never sealed")]
    NoFooter,
    /// No block begins here.
    #[error("no block begins here: the bytes were overwritten, or bytes were removed or put in before")]
    NotABlock,
    /// The version is not known.
    #[error(
        "the block says it has version {0}, and this reader knows only {VERSION}: changed, or written by a newer version"
    )]
    Version(u8),
    /// The length field contradicts itself or is beyond the bound.
    #[error("the block's length field was changed")]
    Length,
    /// The number is not the next.
    #[error(
        "block {found} stands where block {expected} belongs: blocks are missing, repeated or out of order"
    )]
    Sequence {
        /// The number that belongs here.
        expected: u64,
        /// The number that stands here.
        found: u64,
    },
    /// The previous block's hash does not match.
    #[error("the block does not continue the one before it: one of the two was replaced")]
    Chain,
    /// The hash does not match.
    #[error("the block's bytes were changed: its hash does not match")]
    Hash,
    /// The hash matches, but the events in it make no sense.
    #[error("the block is whole, but {0}: it was not written by a recorder")]
    Content(&'static str),
    /// There is something after the footer.
    #[error("there are bytes after the footer")]
    AfterFooter,
    /// The footer's totals are not those of the blocks before it.
    #[error("the footer does not fit the blocks before it: its {0} differs")]
    Footer(&'static str),
    /// The head names another session than the file.
    #[error("the recording is that of {0}: the file was renamed")]
    OtherSession(chaperone_core::name::SessionId),
}

impl Flaw {
    /// Whether the file just stops, as a recording does that is still written or was left by a crash.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Flaw::Cut { .. } | Flaw::NeverWritten | Flaw::NoFooter)
    }
}

/// A flaw and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("block {at_block}, byte {at_byte}: {what}")]
pub struct Damage {
    /// The block's number, from 0. Everything before it is as it was written.
    pub at_block: u64,
    /// Where that block begins, in bytes from the start of the file.
    pub at_byte: u64,
    /// What is wrong.
    pub what: Flaw,
}

/// Why reading stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The recording is damaged, or not finished ([`Flaw::is_unfinished`]).
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The block is whole, but uses what only a newer version knows.
    #[error(
        "block {at_block} uses {what} {code:#x}, which this version does not know: read it with a newer chaperone"
    )]
    Unsupported {
        /// The block's number.
        at_block: u64,
        /// What is not known.
        what: &'static str,
        /// Its code.
        code: u64,
    },
    /// The file could not be read.
    #[error("the recording cannot be read")]
    Io(#[from] io::Error),
}

/// A block whose place and hash are right.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) kind: BlockKind,
    pub(super) flags: u16,
    pub(super) frames: u32,
    pub(super) hash: Hash,
    /// Bytes of the payload as it is stored.
    pub(super) stored: usize,
    /// The payload as it is meant: decompressed.
    pub(super) payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Events,
    AfterFooter,
    Stopped,
}

/// Reads blocks from the front.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    phase: Phase,
    sequence: u64,
    /// Where the next block begins.
    position: u64,
    previous: Hash,
    payload: Vec<u8>,
    opener: Opener,
}

impl<R: Read> Reader<R> {
    /// Reads from the start of a recording. Give it a buffered source: blocks may be small.
    pub fn new(source: R) -> Self {
        Reader {
            source,
            phase: Phase::Events,
            sequence: 0,
            position: 0,
            previous: Hash::NONE,
            payload: Vec::new(),
            opener: Opener::default(),
        }
    }

    /// The events, one after the other, and an error where the recording stops being whole.
    pub fn events(self) -> Events<R> {
        Events { reader: self, read: 0, flags: None }
    }

    /// Where the next block begins, in bytes.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn damage(&self, what: Flaw) -> ReadError {
        ReadError::Damage(Damage { at_block: self.sequence, at_byte: self.position, what })
    }

    /// A flaw in the block that was handed out last.
    pub(super) fn damage_in_last(&self, payload: usize, what: Flaw) -> ReadError {
        let at_byte = self.position.saturating_sub((HEADER_BYTES + payload) as u64);
        ReadError::Damage(Damage { at_block: self.sequence.saturating_sub(1), at_byte, what })
    }

    /// The next block; None only after a footer with nothing behind it. Stops for good at the first error.
    pub(super) fn next_block(&mut self) -> Result<Option<Block<'_>>, ReadError> {
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        if phase == Phase::Stopped {
            return Ok(None);
        }
        let header = self.read_up_to(HEADER_BYTES as u64)?;
        if phase == Phase::AfterFooter {
            return if header == 0 { Ok(None) } else { Err(self.damage(Flaw::AfterFooter)) };
        }
        let header = self.header(header)?;
        let got = self.read_up_to(u64::from(header.length))?;
        if got < u64::from(header.length) {
            return Err(self.damage(Flaw::Cut { missing: u64::from(header.length) - got }));
        }
        if header.digest(&self.payload) != header.hash {
            return Err(self.damage(Flaw::Hash));
        }
        let kind = self.understood(&header)?;
        if let Err(flaw) = self.opener.open(header.flags, &self.payload) {
            return Err(self.damage(flaw));
        }
        self.sequence += 1;
        self.position += HEADER_BYTES as u64 + got;
        self.previous = header.hash;
        self.phase = match kind {
            BlockKind::Events => Phase::Events,
            BlockKind::Footer => Phase::AfterFooter,
        };
        let Header { flags, frames, hash, .. } = header;
        let (stored, payload) = (self.payload.len(), self.opener.opened(flags, &self.payload));
        Ok(Some(Block { kind, flags, frames, hash, stored, payload }))
    }

    /// Reads up to `limit` bytes into the buffer; fewer only at the end of the file. Grows as bytes arrive, never by
    /// what a length field says.
    fn read_up_to(&mut self, limit: u64) -> Result<u64, ReadError> {
        self.payload.clear();
        Ok(self.source.by_ref().take(limit).read_to_end(&mut self.payload)? as u64)
    }

    /// Everything that a header can be judged by before its payload is read.
    fn header(&mut self, got: u64) -> Result<Header, ReadError> {
        if got == 0 {
            return Err(self.damage(Flaw::NoFooter));
        }
        if self.payload.iter().take(MAGIC.len()).all(|byte| *byte == 0) {
            return Err(self.no_magic()?);
        }
        if !self.payload.iter().zip(MAGIC).all(|(found, expected)| *found == expected) {
            return Err(self.damage(Flaw::NotABlock));
        }
        let Some(header) = Header::parse(&self.payload) else {
            return Err(self.damage(Flaw::Cut { missing: (HEADER_BYTES as u64).saturating_sub(got) }));
        };
        let flaw = if header.version != VERSION {
            Flaw::Version(header.version)
        } else if header.length != !header.length_check || header.length > MAX_PAYLOAD_BYTES {
            Flaw::Length
        } else if header.sequence != self.sequence {
            Flaw::Sequence { expected: self.sequence, found: header.sequence }
        } else if header.previous != self.previous {
            Flaw::Chain
        } else {
            return Ok(header);
        };
        Err(self.damage(flaw))
    }

    /// Zeros where a magic should be: room that was reserved and not used, or a block that was being put into it, its magic
    /// last. So much else as is reserved may follow and no more, since nothing behind is read.
    fn no_magic(&mut self) -> Result<ReadError, ReadError> {
        const STEP_BYTES: u64 = 64 * 1024;
        let (mut length, mut zeros) = (0, true);
        while !self.payload.is_empty() {
            length += self.payload.len() as u64;
            zeros &= self.payload.iter().all(|byte| *byte == 0);
            if !zeros && length > RESERVED_BYTES {
                return Ok(self.damage(Flaw::NotABlock));
            }
            self.read_up_to(STEP_BYTES)?;
        }
        let cut = Flaw::Cut { missing: MAGIC.len() as u64 };
        Ok(self.damage(if zeros { Flaw::NeverWritten } else { cut }))
    }

    /// Fails closed: what a later version may say about a block changes how it is to be read.
    fn understood(&self, header: &Header) -> Result<BlockKind, ReadError> {
        let unsupported = |what, code| ReadError::Unsupported { at_block: header.sequence, what, code };
        let kind = BlockKind::from_code(header.kind).ok_or(unsupported("block kind", header.kind.into()))?;
        let unknown = header.flags & !kind.flags();
        if unknown != 0 {
            return Err(unsupported("block flags", unknown.into()));
        }
        if header.reserved != 0 {
            return Err(unsupported("reserved block field", header.reserved.into()));
        }
        Ok(kind)
    }
}

pub(super) fn frame_error<R: Read>(reader: &Reader<R>, payload: usize, error: BadFrame) -> ReadError {
    match error {
        BadFrame::Bounds => {
            reader.damage_in_last(payload, Flaw::Content("its events do not fill it exactly"))
        }
        BadFrame::Unknown { what, code } => {
            ReadError::Unsupported { at_block: reader.sequence.saturating_sub(1), what, code }
        }
    }
}

/// Something that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it says.
    pub kind: EventKind,
    /// The operation it belongs to; 0 is the session itself.
    pub operation: u64,
    /// Microseconds since the session's start.
    pub at_us: u64,
    /// How the body is to be read.
    pub encoding: Encoding,
    /// Whether the next event goes on with this body.
    pub part: Part,
    /// The body: JSON text, or the protocol's own bytes.
    pub body: Vec<u8>,
}

impl Event {
    fn new(frame: Frame, body: &[u8]) -> Self {
        let Frame { kind, encoding, part, operation, at_us } = frame;
        Event { kind, operation, at_us, encoding, part, body: body.to_vec() }
    }

    /// The body as JSON, when it is written as JSON.
    pub fn json(&self) -> Option<Value> {
        match self.encoding {
            Encoding::Json => serde_json::from_slice(&self.body).ok(),
            Encoding::Raw => None,
        }
    }
}

/// An event for programs: `body` for JSON, `raw` (base64) for a protocol's own bytes, `more` when the next event goes
/// on with them.
pub fn to_json(event: &Event) -> Value {
    let mut out = json!({ "kind": event.kind.as_str(), "operation": event.operation, "at_us": event.at_us });
    let (name, value) = match event.json() {
        Some(body) => ("body", body),
        None => ("raw", STANDARD.encode(&event.body).into()),
    };
    if let Some(fields) = out.as_object_mut() {
        fields.insert(name.to_owned(), value);
        if event.part == Part::More {
            fields.insert("more".to_owned(), true.into());
        }
    }
    out
}

/// The events of a recording.
#[derive(Debug)]
pub struct Events<R> {
    reader: Reader<R>,
    /// How much of the current block was handed out: one event after the other, so that a block that holds very many is no
    /// list of them.
    read: usize,
    /// The flags of the current block; None where it has no more events.
    flags: Option<u16>,
}

impl<R: Read> Events<R> {
    /// The next event of the current block.
    fn of_block(&mut self) -> Option<Result<Event, ReadError>> {
        let stored = self.reader.payload.len();
        let payload = self.reader.opener.opened(self.flags?, &self.reader.payload);
        let frame = Frames::new(payload.get(self.read..).unwrap_or_default()).next();
        match frame {
            Some(Ok((frame, body))) => {
                self.read = self.read.saturating_add(FRAME_BYTES + body.len());
                Some(Ok(Event::new(frame, body)))
            }
            Some(Err(error)) => {
                self.reader.phase = Phase::Stopped;
                self.flags = None;
                Some(Err(frame_error(&self.reader, stored, error)))
            }
            None => {
                self.flags = None;
                None
            }
        }
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.of_block() {
                return Some(event);
            }
            self.read = 0;
            self.flags = match self.reader.next_block() {
                Ok(Some(block)) => (block.kind == BlockKind::Events).then_some(block.flags),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
        }
    }
}
