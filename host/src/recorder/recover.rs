//! Seals what a crash left open.
//!
//! An operation is forwarded only after its block was written whole, so a block that is not whole let nothing through
//! and is cut off. That is all that is ever removed: a recording with any other flaw keeps every byte, gets its final
//! name, and `verify` says from then on what is wrong with it. A recording that somebody still writes is locked and is
//! left alone, also when the recovery is another process. What is sealed is packed, as at a session's own end.

use super::facts::{EndReason, Ending, SessionEnd};
use super::footer::Signed;
use super::library::{self, Library};
use super::reader::{Damage, ReadError};
use super::store::{FileSink, PACKING, same_file, sync_name_of};
use super::verify::Scan;
use super::writer::Recording;
use super::{RecorderConfig, RecorderError, SessionId};
use chaperone_core::Timestamp;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;

/// What became of a recording that was left open.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Sealed as interrupted.
    Sealed {
        /// Bytes of a last block that was never complete, now cut off.
        torn_bytes: u64,
    },
    /// It had been sealed; only its final name was missing.
    WasSealed,
    /// It cannot be trusted: kept as it is, under its final name.
    Damaged(Damage),
    /// It could not be sealed now (the disk, for example); the next recovery tries again.
    Failed(RecorderError),
}

/// One recording that was left open.
#[derive(Debug)]
pub struct Recovered {
    /// The session, as the file's name says.
    pub session: SessionId,
    /// Where it is now.
    pub path: PathBuf,
    /// What became of it.
    pub outcome: Outcome,
}

pub(super) fn recover(
    library: &Library,
    config: &RecorderConfig,
    now: Timestamp,
) -> Result<Vec<Recovered>, RecorderError> {
    let mut recovered = Vec::new();
    for day in library.days()? {
        for path in library::files_of(&day)? {
            let Some(session) = library::session_of(&path).filter(|_| library::is_open_name(&path)) else {
                continue;
            };
            match recover_one(&path, session, config, now) {
                Ok(None) => {}
                Ok(Some((path, outcome))) => recovered.push(Recovered { session, path, outcome }),
                Err(error) => recovered.push(Recovered { session, path, outcome: Outcome::Failed(error) }),
            }
        }
        sweep(&day)?;
    }
    Ok(recovered)
}

fn recover_one(
    path: &Path,
    session: SessionId,
    config: &RecorderConfig,
    now: Timestamp,
) -> Result<Option<(PathBuf, Outcome)>, RecorderError> {
    let failed =
        |source: std::io::Error| RecorderError::Read { path: path.to_owned(), cause: Arc::new(source) };
    let Some(file) = lock(path).map_err(failed)? else { return Ok(None) };
    let sealed = library::final_name(path);
    if sealed.exists() {
        return packed_before(path, &sealed, &file, config).map(Some);
    }
    let mut scan = Scan::with_keys(config.encryption.keys().clone());
    let stopped = scan.run(BufReader::with_capacity(READ_BYTES, &file), &mut |_| {});
    let length = file.metadata().map_err(failed)?.len();
    let whole = scan.totals.bytes;
    let copy = file.try_clone().map_err(failed)?;
    let sink = FileSink::new(file, whole, path.to_owned(), sealed);
    match stopped {
        Ok(_) => Ok(Some((sink.rename().map_err(failed)?, Outcome::WasSealed))),
        Err(ReadError::Damage(damage)) => {
            let ours = scan.opening.as_ref().is_some_and(|opening| opening.head.session == session);
            // Its end has to be written with the key that it was begun with.
            if let Some(key) = scan.locked.filter(|_| damage.what.is_unfinished()) {
                return Err(RecorderError::NeedsKey { path: path.to_owned(), key });
            }
            if !(damage.what.is_unfinished() && ours) {
                return Ok(Some((sink.rename().map_err(failed)?, Outcome::Damaged(damage))));
            }
            copy.set_len(whole).map_err(failed)?;
            let torn_bytes = length.saturating_sub(whole);
            let path = seal(sink, session, config, scan, torn_bytes, now)?;
            Ok(Some((path, Outcome::Sealed { torn_bytes })))
        }
        Err(error @ (ReadError::Unsupported { .. } | ReadError::NeedsKey { .. })) => {
            Err(RecorderError::NoHead { path: path.to_owned(), why: error.to_string() })
        }
        Err(ReadError::Io(source)) => Err(failed(source)),
    }
}

/// A crash came between the packed recording's final name and the deletion of what it was packed from. That is deleted now, if it
/// is what the packed one says, and that one is whole and signed by this gateway; else both are kept (fails closed).
fn packed_before(
    open: &Path,
    sealed: &Path,
    file: &File,
    config: &RecorderConfig,
) -> Result<(PathBuf, Outcome), RecorderError> {
    let failed =
        |source: std::io::Error| RecorderError::Read { path: open.to_owned(), cause: Arc::new(source) };
    let keys = config.encryption.keys();
    let (mut journal, mut packed) = (Scan::with_keys(keys.clone()), Scan::with_keys(keys.clone()));
    // It ends without a footer; how much of it is whole is what counts.
    let _ = journal.run(BufReader::with_capacity(READ_BYTES, file), &mut |_| {});
    let source = File::open(sealed).map_err(failed)?;
    let footer = packed.run(BufReader::with_capacity(READ_BYTES, source), &mut |_| {});
    let keys = config.signer.public().into();
    let signed = packed.footer.as_ref().is_some_and(|footer| matches!(footer.signed(&keys), Signed::By(_)));
    let same = footer.is_ok_and(|footer| footer.packed_from == Some(journal.totals.last_hash.to_string()));
    if !(signed && same) {
        return Err(RecorderError::Exists { path: sealed.to_owned() });
    }
    sync_name_of(sealed).and_then(|()| std::fs::remove_file(open)).map_err(failed)?;
    Ok((sealed.to_owned(), Outcome::WasSealed))
}

/// Removes what is left of packing where nothing is left to be packed.
fn sweep(day: &Path) -> Result<(), RecorderError> {
    for path in library::entries(day)? {
        let Some(session) =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(PACKING)?.parse().ok())
        else {
            continue;
        };
        let session: SessionId = session;
        if !path.with_file_name(format!("{session}{}", library::OPEN_EXTENSION)).exists() {
            // Gone already, or never to be had: nobody reads it, and the next recovery tries again.
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

fn seal(
    sink: FileSink,
    session: SessionId,
    config: &RecorderConfig,
    scan: Scan,
    torn_bytes: u64,
    now: Timestamp,
) -> Result<PathBuf, RecorderError> {
    let last_us = scan.totals.last_at_us;
    let recording = Recording::resume(Box::new(sink), config, session, (scan.totals, scan.data_key));
    // A session that wrote its end and died before the footer did end for its own reason.
    let (end_at_us, end) = match scan.end {
        Some(end) => (None, end),
        None => {
            let detail = format!(
                "the gateway stopped while this session was live; {torn_bytes} bytes of an incomplete last block were cut off"
            );
            let end = SessionEnd { ended: now, reason: EndReason::Interrupted, code: None, detail };
            (Some(last_us), end)
        }
    };
    Ok(recording.finish(end_at_us, &end, Ending::Interrupted, None)?.path)
}

/// Opens and locks an open recording. None: somebody writes it, or sealed it a moment ago.
fn lock(path: &Path) -> std::io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) if same_file(&file, path) => Ok(Some(file)),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
