//! Checkpoints: signed lists of what was recorded, each with the hash of the one before.
//!
//! A signature on a recording shows who wrote it, and nothing of a recording that is gone. So once a day, and when the gateway
//! stops, a file is written that names every recording that was sealed since the last one, every one that is being written, and
//! every tombstone. Each file has the next number and the hash of the file before: none can be left out, replaced or put in
//! without its being seen, the newest excepted; for that its hash has to be kept elsewhere.
//!
//! Gateways that share a folder write one chain. There is no lock: a checkpoint appears under its number whole or not at all, and of
//! two that want the same number one finds it taken, reads what was written there, and begins again.
//!
//! - `make`: writes them; `chain`: reads all of them and compares them with the folder
//!
//! What may go wrong: a full disk. Then there is no checkpoint, which is logged and counted, and nothing is deleted by
//! retention. A clock that was set: what is sealed is told apart by name, never by time, so nothing is left out.

mod chain;
mod make;

pub use chain::{Chain, Findings, Found, MAX_PROBLEMS, Problem};
pub(super) use make::{make, trusted};

use super::SessionId;
use super::deed::{self, Deed, DeedError};
use super::format::Hash;
use super::sign::KeyId;
use chaperone_core::Timestamp;
use chaperone_core::name::TargetName;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of the checkpoints, in that of the recordings.
pub(super) const FOLDER: &str = "checkpoints";
/// Entries of one checkpoint: under 5 MB. More are spread over several.
pub(super) const MAX_ENTRIES: usize = 10_000;
/// Digits of a number in a file's name.
const DIGITS: usize = 8;

/// Why a checkpoint was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A day has begun (UTC), or there was none.
    Daily,
    /// The gateway stops.
    Stop,
    /// One that only a newer version knows.
    #[serde(other)]
    Other,
}

/// A checkpoint, as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// 1 for the first, then one more each; the file's name.
    pub number: u64,
    /// SHA-256 of the file before, both lines of it. None in the first.
    pub previous: Option<Hash>,
    /// When it was made, by the gateway's clock.
    pub made: Timestamp,
    /// Why.
    pub cause: Cause,
    /// What it says of recordings.
    pub recordings: Vec<Entry>,
}

/// What a checkpoint says of one recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The session.
    pub session: SessionId,
    /// What its recording was.
    #[serde(flatten)]
    pub was: Was,
}

/// What a recording was when a checkpoint was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "kebab-case")]
pub enum Was {
    /// Sealed since the last checkpoint.
    Sealed(Sealing),
    /// Not sealed yet: said in each checkpoint for as long.
    Open,
    /// Under the name of a sealed one, and without a head or a footer that could be read.
    Damaged {
        /// The file's length in bytes.
        bytes: u64,
    },
    /// Deleted by the rules, since the last checkpoint.
    Deleted {
        /// SHA-256 of the tombstone, both lines of it.
        tombstone: Hash,
    },
}

/// A sealed recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealing {
    /// On what. None of one that is encrypted: what its key keeps is said nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetName>,
    /// When it began. None of one that is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Timestamp,
    /// The hash of the footer block, which stands for all of it.
    pub footer: Hash,
    /// The file's length in bytes.
    pub bytes: u64,
}

/// The newest checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub number: u64,
    /// SHA-256 of its file: what is to be kept elsewhere.
    pub hash: Hash,
    /// When it was made, as it says; None when it cannot be read.
    pub made: Option<Timestamp>,
}

/// A checkpoint that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub number: u64,
    /// SHA-256 of its file.
    pub hash: Hash,
    /// When.
    pub made: Timestamp,
    /// What it names.
    pub counts: Counts,
}

/// How many recordings a checkpoint names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sealed.
    pub sealed: usize,
    /// Open.
    pub open: usize,
    /// Damaged.
    pub damaged: usize,
    /// Deleted.
    pub deleted: usize,
}

impl Checkpoint {
    /// How much it names.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in &self.recordings {
            *match entry.was {
                Was::Sealed(_) => &mut counts.sealed,
                Was::Open => &mut counts.open,
                Was::Damaged { .. } => &mut counts.damaged,
                Was::Deleted { .. } => &mut counts.deleted,
            } += 1;
        }
        counts
    }
}

/// A line of a list of checkpoints. It shows what they say and proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub made: Timestamp,
    /// Why.
    pub cause: Cause,
    /// How much it names.
    #[serde(flatten)]
    pub counts: Counts,
    /// The key that it says signed it.
    pub key_id: KeyId,
    /// SHA-256 of its file.
    pub hash: Hash,
}

/// The numbers and files of the checkpoints of a folder of recordings, in their order. Names that are none of ours are left out.
pub(super) fn files(recordings: &Path) -> Result<Vec<(u64, PathBuf)>, DeedError> {
    let folder = recordings.join(FOLDER);
    let failed = |cause| DeedError::file(&folder, cause);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        files.extend(number_of(&path).map(|number| (number, path)));
    }
    files.sort_unstable();
    Ok(files)
}

/// The number that a checkpoint's name says.
pub(super) fn number_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".json")?;
    let fits = digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = fits.then(|| digits.parse().ok())??;
    // One number has one name.
    (name(number) == path.file_name()?.to_str()?).then_some(number)
}

fn name(number: u64) -> String {
    format!("{number:0DIGITS$}.json")
}

/// The newest checkpoint of a folder of recordings.
///
/// # Errors
/// When it cannot be read at all.
pub fn newest(recordings: &Path) -> Result<Option<Newest>, DeedError> {
    let Some((number, path)) = files(recordings)?.pop() else { return Ok(None) };
    let bytes = deed::read(&path)?;
    let made = Deed::<Checkpoint>::parse(&bytes).map(|deed| deed.body.made);
    Ok(Some(Newest { number, hash: Hash::of(&bytes), made }))
}

/// The newest `limit` checkpoints, the newest first, and those of them that cannot be read.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(recordings: &Path, limit: usize) -> Result<(Vec<Listed>, Vec<DeedError>), DeedError> {
    let (mut listed, mut unreadable) = (Vec::new(), Vec::new());
    for (number, path) in files(recordings)?.into_iter().rev().take(limit) {
        match Deed::<Checkpoint>::read(&path) {
            Ok((deed, hash)) => {
                let Checkpoint { made, cause, .. } = deed.body;
                let (counts, key_id) = (deed.body.counts(), deed.signature.key);
                listed.push(Listed { number, made, cause, counts, key_id, hash });
            }
            Err(error) => unreadable.push(error),
        }
    }
    Ok((listed, unreadable))
}

/// The files of those checkpoints that are wanted, in their order. Those that cannot be read are left out: [`Chain`] names them.
///
/// # Errors
/// When the folder cannot be read.
pub fn wanted(
    recordings: &Path,
    is_wanted: &mut dyn FnMut(&Checkpoint) -> bool,
) -> Result<Vec<(u64, PathBuf)>, DeedError> {
    let read = |path: &Path| Deed::<Checkpoint>::read(path).ok().map(|(deed, _)| deed.body);
    let mut wanted = files(recordings)?;
    wanted.retain(|(_, path)| read(path).is_some_and(|checkpoint| is_wanted(&checkpoint)));
    Ok(wanted)
}
