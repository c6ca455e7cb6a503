//! Proves offline that a recording is what its session wrote, or says where it is not.
//!
//! The chain finds every changed, missing, repeated or moved block; the footer finds a cut end; its signature finds a recording
//! that somebody wrote anew from its first byte. What none of them finds is a recording that was deleted.

use super::cipher::{DataKey, EncryptionKeys};
use super::facts::{Ending, Footer, Opening, SessionEnd, Totals};
use super::footer::{self, Signed, tail_length};
use super::format::{BadFrame, BlockKind, EventKind, Frames, HEADER_BYTES, Hash};
use super::library;
use super::reader::{Damage, Flaw, ReadError, Reader, frame_error};
use super::sign::{KeyId, PublicKeys};
use super::{RecorderError, SessionId};
use std::fs::{File, TryLockError};
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// What a recording is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Every byte is as it was written, and it is complete.
    Intact(Ending),
    /// It is being written now; every complete block so far is as it was written.
    Live,
    /// Nobody writes it and nobody sealed it: left by a crash, for the next recovery. Complete blocks are whole.
    Unsealed,
    /// Something was changed, removed, added or cut off.
    Damaged(Damage),
    /// It is whole as far as can be told, but written by a newer version.
    Unsupported(String),
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The verdict.
    pub status: Status,
    /// The session, when the head could be read.
    pub session: Option<SessionId>,
    /// Blocks that are whole, with the footer.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes that are whole.
    pub bytes: u64,
    /// The hash of the last whole block: of the footer, when it is intact.
    pub last_hash: Hash,
    /// By whom it is signed. None unless it is intact.
    pub signed: Option<Signed>,
    /// Why it was not packed when it was sealed, if it was not: it is as good, only longer.
    pub unpacked: Option<String>,
    /// The key that it takes to read what it says, if that was not given: then only the chain and the footer were checked.
    pub locked: Option<KeyId>,
}

/// Checks a recording without any key: whether it is whole, and not who wrote it.
///
/// # Errors
/// Only when the file cannot be read; whatever is wrong with what it says is in the report.
pub fn verify(path: &Path) -> Result<Report, RecorderError> {
    verify_by(path, &PublicKeys::default(), &mut |_, _| {})
}

/// Checks a recording against keys that are trusted, and tells after each block how many bytes of how many are done.
///
/// # Errors
/// As [`verify`].
pub fn verify_by(
    path: &Path,
    keys: &PublicKeys,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, RecorderError> {
    check(path, keys, &EncryptionKeys::default(), progress)
}

pub(super) fn check(
    path: &Path,
    keys: &PublicKeys,
    opening: &EncryptionKeys,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, RecorderError> {
    let unreadable =
        |source: std::io::Error| RecorderError::Read { path: path.to_owned(), cause: Arc::new(source) };
    let file = File::open(path).map_err(unreadable)?;
    // Asked before reading, and kept while reading, so that a session's end meanwhile is not mistaken for a crash.
    let writer = match file.try_lock_shared() {
        Ok(()) => Writer::Gone,
        Err(TryLockError::WouldBlock) => Writer::Alive,
        Err(TryLockError::Error(source)) => return Err(unreadable(source)),
    };
    let length = file.metadata().map_err(unreadable)?.len();
    let mut scan = Scan::with_keys(opening.clone());
    let stopped = scan.run(BufReader::with_capacity(READ_BYTES, &file), &mut |done| progress(done, length));
    let named = library::session_of(path);
    let status = match stopped {
        Err(ReadError::Io(source)) => return Err(unreadable(source)),
        Err(error @ (ReadError::Unsupported { .. } | ReadError::NeedsKey { .. })) => {
            Status::Unsupported(error.to_string())
        }
        // Fails closed: only under the name of an open recording. A sealed one that stops early was cut, and whoever may
        // read it may also hold a lock on it.
        Err(ReadError::Damage(damage)) if !(damage.what.is_unfinished() && library::is_open_name(path)) => {
            Status::Damaged(damage)
        }
        Err(ReadError::Damage(damage)) => match writer {
            Writer::Alive => Status::Live,
            Writer::Gone if scan.opening.is_some() || scan.locked.is_some() => Status::Unsealed,
            Writer::Gone => Status::Damaged(damage),
        },
        // The footer's session is the head's, where that could be read.
        Ok(footer) => match named {
            Some(named) if footer.session != named => {
                Status::Damaged(Damage { at_block: 0, at_byte: 0, what: Flaw::OtherSession(footer.session) })
            }
            _ => Status::Intact(footer.ending),
        },
    };
    let signed = match (&status, &scan.footer) {
        (Status::Intact(_), Some(footer)) => Some(footer.signed(keys)),
        _ => None,
    };
    Ok(Report {
        status,
        session: scan
            .opening
            .map(|opening| opening.head.session)
            .or(scan.footer.as_ref().map(|parsed| parsed.footer.session)),
        locked: scan.locked,
        blocks: scan.totals.blocks,
        events: scan.totals.events(),
        bytes: scan.totals.bytes,
        last_hash: scan.totals.last_hash,
        signed,
        unpacked: scan.footer.and_then(|parsed| parsed.footer.unpacked),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Alive,
    Gone,
}

/// One pass over a recording: what is whole, and what was said at its beginning and end.
pub(super) struct Scan {
    /// Of the whole blocks; with the footer, when there is one.
    pub(super) totals: Totals,
    pub(super) opening: Option<Opening>,
    pub(super) end: Option<SessionEnd>,
    pub(super) footer: Option<footer::Parsed>,
    /// The key that is missing, if it cannot be read for that.
    pub(super) locked: Option<KeyId>,
    /// The file's own key, where it has one and could be read.
    pub(super) data_key: Option<DataKey>,
    keys: EncryptionKeys,
}

impl Scan {
    #[cfg(test)]
    pub(super) fn new() -> Self {
        Scan::with_keys(EncryptionKeys::default())
    }

    pub(super) fn with_keys(keys: EncryptionKeys) -> Self {
        let totals = Totals::new();
        Scan { totals, opening: None, end: None, footer: None, locked: None, data_key: None, keys }
    }

    /// Reads to the end. `Ok` only for a sealed recording without a flaw.
    pub(super) fn run(
        &mut self,
        source: impl Read,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Footer, ReadError> {
        let mut reader = Reader::new(source).with_keys(self.keys.clone());
        let read = self.read(&mut reader, progress);
        self.data_key = reader.into_data_key();
        read
    }

    fn read(
        &mut self,
        reader: &mut Reader<impl Read>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Footer, ReadError> {
        while let Some(block) = reader.next_block()? {
            let (hash, length) = (block.hash, block.stored);
            let judged = match (block.kind, block.payload) {
                (_, Err(key)) => {
                    self.locked = Some(key);
                    Ok(())
                }
                (BlockKind::Events, Ok(payload)) => self.events(payload, block.frames),
                (BlockKind::Footer, Ok(payload)) => self.footer(payload, block.flags),
                (BlockKind::Key, Ok(_)) => Ok(()),
            };
            judged.map_err(|bad| match bad {
                Bad::Flaw(flaw) => reader.damage_in_last(length, flaw),
                Bad::Frame(error) => frame_error(reader, length, error),
            })?;
            self.totals.block(length, hash);
            progress(reader.position());
        }
        // The reader ends without an error only after a footer.
        let footer = self.footer.as_ref().map(|parsed| parsed.footer.clone());
        footer.ok_or_else(|| reader.damage(Flaw::NoFooter))
    }

    fn events(&mut self, payload: &[u8], frames: u32) -> Result<(), Bad> {
        let mut found = 0_u32;
        for frame in Frames::new(payload) {
            let (frame, body) = frame.map_err(Bad::Frame)?;
            let content = |what| Bad::Flaw(Flaw::Content(what));
            if self.end.is_some() {
                return Err(content("it goes on after the end event"));
            }
            match (frame.kind, &self.opening) {
                (EventKind::Head, None) => {
                    let opening =
                        serde_json::from_slice(body).map_err(|_| content("its head cannot be read"))?;
                    self.opening = Some(opening);
                }
                (EventKind::Head, Some(_)) => return Err(content("there is a second head")),
                (_, None) => return Err(content("the head is not the first event")),
                (EventKind::End, Some(_)) => {
                    let end =
                        serde_json::from_slice(body).map_err(|_| content("its end event cannot be read"))?;
                    self.end = Some(end);
                }
                _ => {}
            }
            self.totals.frame(frame.kind, frame.part, frame.at_us);
            found += 1;
        }
        if found == 0 || found != frames {
            return Err(Bad::Flaw(Flaw::Content("its header counts other events than it holds")));
        }
        Ok(())
    }

    /// Compares every number of the footer with what was read.
    fn footer(&mut self, payload: &[u8], flags: u16) -> Result<(), Bad> {
        let parsed = footer::Parsed::new(payload, flags);
        let parsed = parsed.ok_or(Bad::Flaw(Flaw::Content("its footer cannot be read")))?;
        let footer = &parsed.footer;
        let (session, end) = match (&self.opening, &self.end, self.locked) {
            (Some(opening), Some(end), None) => (opening.head.session, end),
            // What its events say is not known; the chain is, and what is signed says the rest.
            (_, _, Some(_)) => (footer.session, &footer.end),
            _ => return Err(Bad::Flaw(Flaw::Content("there is no end event before the footer"))),
        };
        let mut expected = self.totals.footer(session, footer.ending, end.clone());
        if self.locked.is_some() {
            expected.events = footer.events;
            expected.kinds.clone_from(&footer.kinds);
            expected.last_at_us = footer.last_at_us;
        }
        // Known to the writer alone.
        expected.dropped_bytes = footer.dropped_bytes;
        expected.packed_from.clone_from(&footer.packed_from);
        expected.unpacked.clone_from(&footer.unpacked);
        let tail = tail_length(payload);
        let differs = if footer.session != expected.session {
            "session"
        } else if footer.blocks != expected.blocks {
            "number of blocks"
        } else if footer.bytes != expected.bytes {
            "number of bytes"
        } else if footer.last_hash != expected.last_hash {
            "last hash"
        } else if footer.end != expected.end {
            "end"
        } else if *footer != expected {
            "number of events"
        } else if tail != Some((HEADER_BYTES + payload.len()) as u64) {
            "own length"
        } else {
            self.footer = Some(parsed);
            return Ok(());
        };
        Err(Bad::Flaw(Flaw::Footer(differs)))
    }
}

enum Bad {
    Flaw(Flaw),
    Frame(BadFrame),
}
