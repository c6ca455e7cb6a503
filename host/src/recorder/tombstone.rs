//! What is left of a recording that was deleted by the rules: a signed note in its place.
//!
//! It says what was there, until when, and by which rule it went, and nothing of whose it was: that is why it may be kept for ever. It is on
//! the medium before the recording goes, so that whatever happens there is the one, or the other, or both.

use super::deed::{Deed, DeedError};
use super::format::Hash;
use super::library::{self, Library};
use super::sign::{PublicKeys, Statement};
use super::{RecorderError, SessionId};
use chaperone_core::Timestamp;
use chaperone_core::name::TargetName;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The ending of a tombstone's name.
pub(super) const EXTENSION: &str = ".chtomb";

/// A tombstone, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The session.
    pub session: SessionId,
    /// On what it was. None of one that was encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// When it began. None of one that was encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Timestamp,
    /// The hash of the recording's footer block.
    pub footer: Hash,
    /// The recording's length in bytes.
    pub bytes: u64,
    /// When it was deleted, by the gateway's clock.
    pub deleted: Timestamp,
    /// Why: the rule's own words.
    pub rule: String,
    /// The newest checkpoint at that time: the one after it, or after that, names this tombstone.
    pub after: u64,
}

/// The session that a file's name says, if it is that of a tombstone.
pub(super) fn session_of(path: &Path) -> Option<SessionId> {
    path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.parse().ok()
}

/// The file of a session's tombstone.
pub(super) fn path(day: &Path, session: SessionId) -> PathBuf {
    day.join(format!("{session}{EXTENSION}"))
}

/// Reads a tombstone that one of these keys has signed, and its hash.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(path: &Path, keys: &PublicKeys) -> Result<(Tombstone, Hash), String> {
    let (deed, hash) = Deed::<Tombstone>::read(path).map_err(|error: DeedError| error.to_string())?;
    deed.signed(Statement::Tombstone, keys).map_err(|distrust| distrust.to_string())?;
    match session_of(path) {
        Some(session) if session == deed.body.session => Ok((deed.body, hash)),
        _ => Err(format!("it is that of {}", deed.body.session)),
    }
}

/// A file that is named as a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buried {
    /// The session, as the file's name says.
    pub session: SessionId,
    /// The file.
    pub path: PathBuf,
    /// What it says, if it can be read; whether it is to be believed is another question.
    pub says: Option<Tombstone>,
    /// Why it does not count. That a checkpoint names what it stands for is not looked at here.
    pub problem: Option<String>,
}

/// All tombstones of a folder of recordings, in the order of their sessions.
///
/// # Errors
/// When the folder cannot be read.
pub fn buried(recordings: &Library, keys: &PublicKeys) -> Result<Vec<Buried>, RecorderError> {
    let mut buried = Vec::new();
    for day in recordings.days()? {
        for path in library::entries(&day)? {
            let Some(session) = session_of(&path) else { continue };
            let says = Deed::<Tombstone>::read(&path).ok().map(|(deed, _)| deed.body);
            let problem = read(&path, keys).err();
            buried.push(Buried { session, path, says, problem });
        }
    }
    buried.sort_unstable_by_key(|one| one.session);
    Ok(buried)
}
