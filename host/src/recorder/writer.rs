//! A recording while its session lives: events are gathered in one reused buffer and leave it a block at a time.
//!
//! The session's own thread writes; there is no queue and no other thread, so what `commit` returned `Ok` for is in
//! the operating system's hands and survives the end of this process. (Where recordings are durable, only `keep` says that, of the
//! medium.) Appending cannot fail; whatever goes wrong is kept and comes out of both, every time, so that no operation is
//! forwarded after it (fails closed).
//!
//! - `encrypt`: blocks that are encrypted; `seal`: the end of it
//!
//! What may go wrong: a write that fails half-way leaves a torn last block. Nothing is tried on it here: the recording
//! stays unsealed and the recovery cuts the torn block off, which was never complete and so never let anything through.

mod encrypt;
mod seal;

pub use seal::Sealed;

use super::caps::{Admission, Allowance, Reached};
use super::cipher::DataKey;
use super::facts::{Opening, SessionHead, Totals};
use super::flush::{Disk, Unkept};
use super::format::{
    BlockKind, Encoding, EventKind, FRAME_BYTES, Frame, HEADER_BYTES, Header, MAX_FRAGMENT_BYTES,
    MAX_JSON_BYTES, Part,
};
use super::pack::{Packed, Packing};
use super::{RecorderConfig, RecorderError, SessionId};
use chaperone_core::Timestamp;
use serde::Serialize;
use serde_json::json;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A block is closed when its payload reaches this, even before the caller commits (bytes): it bounds the memory of a
/// session that streams, and is long past the point where larger writes are cheaper.
const BLOCK_TARGET_BYTES: usize = 256 * 1024;
/// What a session's buffer keeps allocated between blocks, in bytes.
const BUFFER_KEPT_BYTES: usize = HEADER_BYTES + 2 * BLOCK_TARGET_BYTES;

/// Where blocks go. A file, or in tests something that breaks.
pub(super) trait Sink: Send {
    /// Hands a whole block to the operating system, behind the one before.
    ///
    /// # Errors
    /// Any: the block may be torn, and nothing may be put after it.
    fn put(&mut self, block: &[u8]) -> io::Result<()>;
    /// Does ahead what the next blocks would have to wait for otherwise. Called while nothing does.
    fn make_room(&mut self) {}
    /// What was put and has yet to get to the medium, where that is waited for.
    fn unkept(&self) -> Option<Unkept> {
        None
    }
    /// It is there now.
    fn is_kept(&mut self) {}
    /// Waits until everything put is on the medium.
    fn sync(&mut self) -> io::Result<()>;
    /// Packs all blocks, which end with the end event, into a file of its own with a signed footer, under the final name and on
    /// the medium; what was written before is gone then.
    ///
    /// # Errors
    /// Any: then nothing has changed, and the blocks can be sealed where they are.
    fn pack(&mut self, _: &Packing<'_>) -> io::Result<Packed> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Waits until the file's name is, too.
    fn sync_name(&self) -> io::Result<()> {
        Ok(())
    }
    /// Takes a recording away that could not begin.
    fn discard(&mut self) {}
    /// Gives the sealed recording its final name and returns it.
    fn publish(&mut self) -> io::Result<PathBuf>;
}

/// What keeps a recording from going on. Sticky.
#[derive(Debug, Clone)]
enum Failure {
    /// The file could not be written: what is on the medium may end in a torn block.
    Write(Arc<io::Error>),
    /// The chain is whole, but an event had to be left out.
    LeftOut(RecorderError),
}

/// A recording that is being written. Dropping it without [`Recording::seal`] leaves it to the recovery, which seals
/// it as interrupted: a session that did not say how it ended did not end properly.
#[must_use = "a recording that is not sealed is sealed as interrupted by the next recovery"]
pub struct Recording {
    session: SessionId,
    sink: Box<dyn Sink>,
    /// Room for the header, then the frames of the open block.
    buffer: Vec<u8>,
    /// Frames in the open block.
    frames: u32,
    epoch: Instant,
    /// What the next events are dated, in microseconds since the beginning.
    at_us: u64,
    totals: Totals,
    allowance: Allowance,
    recording_bytes: u64,
    config: RecorderConfig,
    /// Encrypts the blocks of events.
    cipher: Option<DataKey>,
    failure: Option<Failure>,
    /// Who waits for the medium, where that is wanted.
    disk: Option<Disk>,
}

/// Proof that all events of a recording are where they have to be before anything is forwarded. Nothing can be appended to the
/// recording while it is held, and only [`Recording::keep`] makes one.
#[must_use = "what it proves is worth nothing to nobody"]
pub struct Kept<'a>(PhantomData<&'a mut Recording>);

#[cfg(test)]
impl Kept<'_> {
    /// One that proves nothing.
    pub(crate) fn of_nothing() -> Self {
        Kept(PhantomData)
    }
}

impl Recording {
    /// Begins a recording and writes its head.
    pub(super) fn begin(
        sink: Box<dyn Sink>,
        config: &RecorderConfig,
        head: &SessionHead,
        started: Timestamp,
    ) -> Result<Self, RecorderError> {
        let mut recording = Recording::resume(sink, config, head.session, (Totals::new(), None));
        let begun = match config.encryption.of_new_file(None) {
            Some(by) => recording.encrypt(by),
            None => Ok(()),
        };
        recording.json(EventKind::Head, 0, &Opening { started, head: head.clone() });
        if let Err(error) = begun.and_then(|()| recording.commit()) {
            recording.sink.discard();
            return Err(error);
        }
        Ok(recording)
    }

    /// Waits until what is there of it is on the medium, and sees to it that all that follows is waited for by `disk`.
    pub(super) fn durable(mut self, disk: Disk) -> Result<Self, RecorderError> {
        if let Err(error) = self.sink.sync().and_then(|()| self.sink.sync_name()) {
            self.sink.discard();
            return Err(self.write_error(&Arc::new(error)));
        }
        self.disk = Some(disk);
        Ok(self)
    }

    /// Goes on with a recording of which `totals` have been written, encrypted with this key if with any.
    pub(super) fn resume(
        sink: Box<dyn Sink>,
        config: &RecorderConfig,
        session: SessionId,
        (totals, cipher): (Totals, Option<DataKey>),
    ) -> Self {
        let mut recording = Recording {
            session,
            sink,
            buffer: vec![0; HEADER_BYTES],
            frames: 0,
            epoch: Instant::now(),
            at_us: 0,
            totals,
            allowance: Allowance::new(&config.caps),
            recording_bytes: config.caps.recording_bytes,
            config: config.clone(),
            cipher,
            failure: None,
            disk: None,
        };
        recording.clear();
        recording
    }

    /// The session.
    pub fn id(&self) -> SessionId {
        self.session
    }

    /// Bytes that wait for [`Recording::commit`], without the block's header.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(self.front())
    }

    /// Whether more than `bytes` wait for [`Recording::commit`], or only that can say that the recording has failed. Fails closed:
    /// what was left out is no longer among the bytes that wait.
    pub fn has_to_commit(&self, bytes: usize) -> bool {
        self.failure.is_some() || self.pending_bytes() > bytes
    }

    /// Dates the events that follow. Called whenever something has been waited for: several events that come of one message
    /// share their time, because a reading of the clock for each would be a hundredth of what a short statement costs.
    pub fn tick(&mut self) {
        self.at_us = u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX);
    }

    /// The time of the last [`Recording::tick`], in microseconds since the beginning.
    pub fn at_us(&self) -> u64 {
        self.at_us
    }

    /// Appends an event with a JSON body. Operation 0 is the session itself.
    pub fn json(&mut self, kind: EventKind, operation: u64, body: &impl Serialize) {
        self.json_at(self.at_us, kind, operation, body);
    }

    /// The same with a body that is JSON already.
    pub fn encoded_json(&mut self, kind: EventKind, operation: u64, body: &[u8]) {
        self.json_with(self.at_us, kind, operation, |buffer| {
            if body.is_empty() {
                return Err(serde::ser::Error::custom("there is no JSON"));
            }
            buffer.extend_from_slice(body);
            Ok(())
        });
    }

    /// Appends an event whose body is `parts`, one after the other, copied as they are. Rows and copied data beyond
    /// the caps are left out (see [`super::Caps`]).
    pub fn raw(&mut self, kind: EventKind, operation: u64, parts: &[&[u8]]) {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        match self.allowance.admit(kind, operation, total as u64) {
            Admission::Keep => self.raw_kept(kind, operation, parts, total),
            Admission::LeaveOutFirst(reached) => self.truncated(kind, operation, reached),
            Admission::LeaveOut => {}
        }
    }

    /// Closes the block and puts it into the file. Does nothing when nothing is pending.
    ///
    /// # Errors
    /// The first thing that went wrong since the recording began, at every call after it: the caller ends the session.
    pub fn commit(&mut self) -> Result<(), RecorderError> {
        self.check()?;
        self.close_block();
        self.check()
    }

    /// The same, and where recordings are durable waits until all that was committed is on the medium, without keeping the thread.
    /// Where it was given up in between, the next one or [`Recording::seal`] begins it anew.
    ///
    /// # Errors
    /// As [`Recording::commit`].
    pub async fn keep(&mut self) -> Result<Kept<'_>, RecorderError> {
        self.commit()?;
        if let Some(disk) = &self.disk
            && let Some(unkept) = self.sink.unkept()
        {
            match disk.keep(unkept).await {
                Ok(()) => self.sink.is_kept(),
                Err(error) => self.failure = Some(Failure::Write(Arc::new(error))),
            }
            self.check()?;
        }
        Ok(Kept(PhantomData))
    }

    /// Does ahead what the next commits would take longer for, at a moment when nobody waits.
    pub fn make_room(&mut self) {
        if self.failure.is_none() {
            self.sink.make_room();
        }
    }

    fn json_at(&mut self, at_us: u64, kind: EventKind, operation: u64, body: &impl Serialize) {
        self.json_with(at_us, kind, operation, |buffer| serde_json::to_writer(buffer, body));
    }

    fn json_with(
        &mut self,
        at_us: u64,
        kind: EventKind,
        operation: u64,
        write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
    ) {
        if self.failure.is_some() {
            return;
        }
        let start = self.buffer.len();
        self.buffer.resize(start + FRAME_BYTES, 0);
        let written = write(&mut self.buffer);
        let length = self.buffer.len() - start - FRAME_BYTES;
        let problem = match written {
            Err(error) => Some(self.encoding_error(&error)),
            Ok(()) if length > MAX_JSON_BYTES => {
                Some(RecorderError::EventTooLong { session: self.session, kind })
            }
            Ok(()) => self.recording_full(0),
        };
        if let Some(problem) = problem {
            self.buffer.truncate(start);
            self.failure = Some(Failure::LeftOut(problem));
            return;
        }
        let frame = Frame { kind, encoding: Encoding::Json, part: Part::Last, operation, at_us };
        // Cannot be cut short: the length is at most MAX_JSON_BYTES.
        let bytes = frame.encode(u32::try_from(length).unwrap_or(u32::MAX));
        if let Some(room) = self.buffer.get_mut(start..start + FRAME_BYTES) {
            room.copy_from_slice(&bytes);
        }
        self.appended(&frame);
    }

    fn raw_kept(&mut self, kind: EventKind, operation: u64, parts: &[&[u8]], total: usize) {
        if self.failure.is_some() {
            return;
        }
        if let Some(full) = self.recording_full(total + FRAME_BYTES) {
            self.failure = Some(Failure::LeftOut(full));
            return;
        }
        let mut frame =
            Frame { kind, encoding: Encoding::Raw, part: Part::Last, operation, at_us: self.at_us };
        if total <= MAX_FRAGMENT_BYTES {
            self.buffer.extend_from_slice(&frame.encode(u32::try_from(total).unwrap_or(u32::MAX)));
            parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
            self.appended(&frame);
            return;
        }
        let (mut unframed, mut room) = (total, 0);
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                if room == 0 {
                    room = unframed.min(MAX_FRAGMENT_BYTES);
                    unframed -= room;
                    frame.part = if unframed > 0 { Part::More } else { Part::Last };
                    self.buffer.extend_from_slice(&frame.encode(u32::try_from(room).unwrap_or(u32::MAX)));
                }
                let (now, later) = rest.split_at(room.min(rest.len()));
                self.buffer.extend_from_slice(now);
                room -= now.len();
                rest = later;
                if room == 0 {
                    self.appended(&frame);
                }
            }
        }
    }

    fn truncated(&mut self, kind: EventKind, operation: u64, reached: Reached) {
        let body = json!({
            "kind": kind.as_str(),
            "limit": reached.limit,
            "limit_bytes": reached.limit_bytes,
            "kept_bytes": reached.kept_bytes,
        });
        self.json(EventKind::Truncated, operation, &body);
    }

    fn appended(&mut self, frame: &Frame) {
        self.frames += 1;
        self.totals.frame(frame.kind, frame.part, frame.at_us);
        if self.pending_bytes() >= BLOCK_TARGET_BYTES {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        if self.frames > 0 && self.failure.is_none() {
            self.write_block(BlockKind::Events, 0);
        }
    }

    fn write_block(&mut self, kind: BlockKind, flags: u16) {
        let encrypted = if kind == BlockKind::Events { self.encrypted(flags) } else { None };
        let payload = self.buffer.get(HEADER_BYTES..).unwrap_or_default();
        let (sequence, previous) = (self.totals.blocks, self.totals.last_hash);
        let header = match encrypted {
            None => Header::seal_as((kind, flags), sequence, self.frames, previous, payload),
            Some(Ok(header)) => header,
            // Fails closed: nothing goes into the file in the clear.
            Some(Err(_)) => {
                self.failure = Some(Failure::Write(Arc::new(encrypt::impossible())));
                return;
            }
        };
        let length = payload.len();
        if let Some(room) = self.buffer.get_mut(..HEADER_BYTES) {
            room.copy_from_slice(&header.encode());
        }
        match self.sink.put(&self.buffer) {
            Ok(()) => self.totals.block(length, header.hash),
            Err(error) => self.failure = Some(Failure::Write(Arc::new(error))),
        }
        self.frames = 0;
        self.clear();
        if self.buffer.capacity() > BUFFER_KEPT_BYTES {
            self.buffer.shrink_to(BUFFER_KEPT_BYTES);
        }
    }

    fn recording_full(&self, more: usize) -> Option<RecorderError> {
        let bytes = self.totals.bytes.saturating_add((self.buffer.len() + more) as u64);
        let (session, limit_bytes) = (self.session, self.recording_bytes);
        (bytes > limit_bytes).then_some(RecorderError::Full { session, limit_bytes })
    }

    /// Fails closed: after the first failure nothing is ever committed again.
    fn check(&self) -> Result<(), RecorderError> {
        match &self.failure {
            None => Ok(()),
            Some(Failure::Write(error)) => Err(self.write_error(error)),
            Some(Failure::LeftOut(error)) => Err(error.clone()),
        }
    }

    fn write_error(&self, source: &Arc<io::Error>) -> RecorderError {
        RecorderError::Write { session: self.session, cause: Arc::clone(source) }
    }

    fn encoding_error(&self, error: &serde_json::Error) -> RecorderError {
        RecorderError::Encoding { session: self.session, why: error.to_string() }
    }
}

impl std::fmt::Debug for Recording {
    /// Without the buffer: it holds payload, and no payload is ever logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording")
            .field("session", &self.session)
            .field("blocks", &self.totals.blocks)
            .finish_non_exhaustive()
    }
}
