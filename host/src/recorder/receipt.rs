//! What is left of a recording whose only copy is in the store outside: a signed note in its place, that it was stored there.
//!
//! Without it nobody could tell by the folder whether a recording was moved out or made away with. It is on the medium before the local
//! file goes. What it says proves nothing of the store: whoever asks for the recording there compares what comes with what the
//! note names.
//!
//! What may go wrong: a file is moved out that no checkpoint names. It would never be missed again, so it stays (fails closed).

use super::deed::{self, Deed, DeedError};
use super::finals::Final;
use super::format::Hash;
use super::sign::{PublicKeys, Signer, Statement};
use super::{Library, RecorderError, SessionId, checkpoint, library};
use chaperone_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The ending of a receipt's name.
const EXTENSION: &str = ".chstored";

/// A receipt, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The session.
    pub session: SessionId,
    /// The hash of the recording's footer block, which stands for all of it.
    pub footer: Hash,
    /// The recording's length in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub digest: Hash,
    /// The store, as the configuration named it.
    pub store: String,
    /// Since when it is there.
    pub stored: Timestamp,
}

/// A recording that is in the store alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// What it is called there.
    pub file: Final,
    /// What was stored.
    pub receipt: Receipt,
}

/// The session that a file's name says, if it is that of a receipt.
pub(super) fn session_of(path: &Path) -> Option<SessionId> {
    path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.parse().ok()
}

/// The file of a session's receipt.
pub(super) fn path(day: &Path, session: SessionId) -> PathBuf {
    day.join(format!("{session}{EXTENSION}"))
}

/// Reads a receipt that one of these keys has signed.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(path: &Path, keys: &PublicKeys) -> Result<Receipt, String> {
    let (deed, _) = Deed::<Receipt>::read(path).map_err(|error: DeedError| error.to_string())?;
    deed.signed(Statement::Receipt, keys).map_err(|distrust| distrust.to_string())?;
    match session_of(path) {
        Some(session) if session == deed.body.session => Ok(deed.body),
        _ => Err(format!("it is that of {}", deed.body.session)),
    }
}

/// The receipts in a day's folder that count, of sessions whose recording is not there.
pub(super) fn away(day: &Path, keys: &PublicKeys) -> Result<Vec<Away>, RecorderError> {
    let mut all = Vec::new();
    for path in library::entries(day)? {
        let Some(session) = session_of(&path) else { continue };
        if library::sealed_path(day, session).symlink_metadata().is_ok() {
            continue;
        }
        let name = day.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let file = Final::recording(name, session);
        all.extend(file.zip(read(&path, keys).ok()).map(|(file, receipt)| Away { file, receipt }));
    }
    Ok(all)
}

impl Library {
    /// The recordings that are in the store outside alone, by receipts that one of these keys has signed.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn away(&self, keys: &PublicKeys) -> Result<Vec<Away>, RecorderError> {
        let mut all = Vec::new();
        for day in self.days()? {
            all.extend(away(&day, keys)?);
        }
        Ok(all)
    }
}

/// Removes a recording's file and leaves a receipt. The caller has made sure that the store has what `digest` says, and that the
/// file is that.
pub(super) fn move_out(
    recordings: &Library,
    signer: &Signer,
    file: &Final,
    named: &BTreeMap<SessionId, Hash>,
    (store, digest, stored): (&str, Hash, Timestamp),
) -> Result<(), RecorderError> {
    let path = file.path(recordings.directory());
    let stays = |why: &str| RecorderError::Stays { path: path.clone(), why: why.to_owned() };
    let (Some(session), Some(day)) = (file.session(), path.parent()) else {
        return Err(stays("it is no recording"));
    };
    let Some(stamp) = library::stamp(&path)? else { return Err(stays("it is damaged")) };
    if named.get(&session) != Some(&stamp.hash) {
        return Err(stays("no checkpoint names it yet, so nobody would miss it"));
    }
    let body =
        Receipt { session, footer: stamp.hash, bytes: stamp.bytes, digest, store: store.to_owned(), stored };
    let receipt = self::path(day, session);
    match deed::make(&receipt, Statement::Receipt, &body, signer) {
        Ok(_) => {}
        // An earlier run came so far, or it was brought back and goes again.
        Err(DeedError::Exists(_)) => match read(&receipt, &signer.public().into()) {
            Ok(found) if found.footer == body.footer && found.digest == digest => {}
            Ok(_) => return Err(stays("its receipt stands for another recording")),
            Err(why) => return Err(stays(&format!("its receipt does not count: {why}"))),
        },
        Err(error) => return Err(error.into()),
    }
    deed::sync_folder(day).map_err(|cause| DeedError::file(day, cause))?;
    fs::remove_file(&path).map_err(|cause| DeedError::file(&path, cause))?;
    deed::sync_folder(day).map_err(|cause| DeedError::file(day, cause).into())
}

/// Of all sessions that checkpoints of this key name as sealed, what stands for their recordings.
pub(super) fn named(
    recordings: &Path,
    keys: &PublicKeys,
) -> Result<BTreeMap<SessionId, Hash>, RecorderError> {
    let mut named = BTreeMap::new();
    for (number, path) in checkpoint::files(recordings)? {
        let (deed, _) = Deed::<checkpoint::Checkpoint>::read(&path)?;
        if !checkpoint::trusted(number, &deed, keys) {
            continue;
        }
        for entry in deed.body.recordings {
            if let checkpoint::Was::Sealed(sealing) = entry.was {
                named.insert(entry.session, sealing.footer);
            }
        }
    }
    Ok(named)
}
