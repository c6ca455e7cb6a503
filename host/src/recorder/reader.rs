//! Reads a recording from the front, block by block, and believes nothing.
//!
//! Memory is bounded by twice [`MAX_PAYLOAD_BYTES`] whatever a length field says, and no bytes make it panic. A block is
//! handed out only after its place in the chain and its hash were checked, so whoever iterates events reads verified
//! ones up to the first flaw, which comes out as an error with its place.

use super::cipher::{DataKey, EncryptionKeys};
pub use super::flaw::{Damage, Flaw, ReadError};
use super::format::{
    BadFrame, BlockKind, Encoding, EventKind, FRAME_BYTES, Frame, Frames, HEADER_BYTES, Hash, Header, MAGIC,
    MAX_PAYLOAD_BYTES, Part, RESERVED_BYTES, VERSION,
};
use super::payload::Opener;
use super::sign::KeyId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::Read;

/// A block whose place and hash are right.
#[derive(Debug)]
pub(super) struct Block<'a> {
    pub(super) kind: BlockKind,
    pub(super) flags: u16,
    pub(super) frames: u32,
    pub(super) hash: Hash,
    /// Bytes of the payload as it is stored.
    pub(super) stored: usize,
    /// The payload as it is meant: decrypted and decompressed. Else the key that it takes.
    pub(super) payload: Result<&'a [u8], KeyId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Events,
    AfterFooter,
    Stopped,
}

/// Where a block begins, which it has to go on from, and what opens it: enough to read on later, as far as the file has grown.
#[derive(Debug)]
pub struct Place {
    sequence: u64,
    position: u64,
    previous: Hash,
    opener: Opener,
}

impl Place {
    /// Bytes from the start of the file.
    pub fn position(&self) -> u64 {
        self.position
    }
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

    /// With keys, for recordings that are encrypted.
    #[must_use]
    pub fn with_keys(mut self, keys: EncryptionKeys) -> Self {
        self.opener = Opener::new(keys);
        self
    }

    /// The file's key, once a block was read.
    pub(super) fn data_key(&self) -> Option<&DataKey> {
        self.opener.data_key()
    }

    pub(super) fn into_data_key(self) -> Option<DataKey> {
        self.opener.into_data_key()
    }

    /// Reads on at a place of the same recording, where `source` has to stand.
    pub fn going_on(source: R, place: Place) -> Self {
        let Place { sequence, position, previous, opener } = place;
        Reader { sequence, position, previous, opener, ..Reader::new(source) }
    }

    /// The events, one after the other, and an error where the recording stops being whole.
    pub fn events(self) -> Events<R> {
        Events { reader: self, read: 0, more: false }
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
        if let Err(flaw) = self.opener.open(kind, &header, &mut self.payload) {
            return Err(self.damage(flaw));
        }
        self.sequence += 1;
        self.position += HEADER_BYTES as u64 + got;
        self.previous = header.hash;
        self.phase = match kind {
            BlockKind::Events | BlockKind::Key => Phase::Events,
            BlockKind::Footer => Phase::AfterFooter,
        };
        let Header { flags, frames, hash, .. } = header;
        let (stored, payload) = (self.payload.len(), self.opener.opened(&self.payload));
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
    /// Whether the current block has more of them.
    more: bool,
}

impl<R: Read> Events<R> {
    /// Whether the next event is the first of a block.
    pub fn is_between_blocks(&self) -> bool {
        let rest = self.reader.opener.opened(&self.reader.payload).map(|payload| payload.len() > self.read);
        !self.more || !rest.unwrap_or(true)
    }

    /// Where to read on; None in the middle of a block.
    pub fn into_place(self) -> Option<Place> {
        if !self.is_between_blocks() {
            return None;
        }
        let Reader { sequence, position, previous, mut opener, .. } = self.reader;
        opener.rest();
        Some(Place { sequence, position, previous, opener })
    }

    /// The next event of the current block.
    fn of_block(&mut self) -> Option<Result<Event, ReadError>> {
        if !self.more {
            return None;
        }
        let stored = self.reader.payload.len();
        let payload = match self.reader.opener.opened(&self.reader.payload) {
            Ok(payload) => payload,
            Err(key) => {
                self.reader.phase = Phase::Stopped;
                self.more = false;
                return Some(Err(ReadError::NeedsKey { key }));
            }
        };
        let frame = Frames::new(payload.get(self.read..).unwrap_or_default()).next();
        match frame {
            Some(Ok((frame, body))) => {
                self.read = self.read.saturating_add(FRAME_BYTES + body.len());
                Some(Ok(Event::new(frame, body)))
            }
            Some(Err(error)) => {
                self.reader.phase = Phase::Stopped;
                self.more = false;
                Some(Err(frame_error(&self.reader, stored, error)))
            }
            None => {
                self.more = false;
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
            self.more = match self.reader.next_block() {
                Ok(Some(block)) => block.kind == BlockKind::Events,
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
        }
    }
}
