//! Writes checkpoints: what is in the folder, and no checkpoint by this gateway's key names yet.
//!
//! Only what this very key has signed counts as named. So a file that somebody put into the chain keeps nothing from being named, and
//! after the key was replaced everything is named once more, by the new one. What is in memory is a few words for each
//! recording of the folder, and one checkpoint at a time.
//!
//! Recordings that are encrypted are read without their keys, also where the gateway has them: a checkpoint is read by whoever verifies, and
//! says nothing that takes a key to know.

use super::super::deed::{self, Deed, DeedError};
use super::super::format::Hash;
use super::super::library::{self, Library, Stamp};
use super::super::sign::{PublicKeys, Signer, Statement};
use super::super::{RecorderError, SessionId, store, tombstone};
use super::{Cause, Checkpoint, Entry, FOLDER, MAX_ENTRIES, Made, Sealing, Was, files, name};
use chaperone_core::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often another gateway may be quicker before this one gives up. The next look tries again.
const ATTEMPTS: usize = 5;

/// Makes the next checkpoint, or as many as it takes. Nothing when there is nothing to say: a stop with nothing new, or another gateway
/// has just made the daily one.
pub(in super::super) fn make(
    recordings: &Path,
    signer: &Signer,
    now: Timestamp,
    cause: Cause,
) -> Result<Vec<Made>, RecorderError> {
    let folder = recordings.join(FOLDER);
    store::make(&folder).map_err(|cause| DeedError::file(&folder, cause))?;
    let mut made = Vec::new();
    for _ in 0..ATTEMPTS {
        match round(recordings, signer, now, cause, &mut made) {
            // Another gateway has just made that of the day.
            Err(RecorderError::Deed(DeedError::Exists(_))) if cause == Cause::Daily && made.is_empty() => {
                return Ok(made);
            }
            Err(RecorderError::Deed(DeedError::Exists(_))) => {}
            other => return other.map(|()| made),
        }
    }
    Err(DeedError::Exists(folder).into())
}

/// What a look into the folder finds that has not been named.
struct Unnamed {
    days: Vec<PathBuf>,
    /// By the day's place in `days`.
    recordings: BTreeMap<SessionId, (usize, Name)>,
    /// With the hash of the file, once it is known to be signed by the own key.
    tombstones: BTreeMap<SessionId, (usize, Hash)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Open,
    Sealed,
}

impl Unnamed {
    fn look(library: &Library) -> Result<Self, RecorderError> {
        let days = library.days()?;
        let (mut recordings, mut tombstones) = (BTreeMap::new(), BTreeMap::new());
        for (index, day) in days.iter().enumerate() {
            for path in library::entries(day)? {
                if let Some(session) = tombstone::session_of(&path) {
                    tombstones.insert(session, (index, Hash::NONE));
                } else if let Some(session) = library::session_of(&path).filter(|_| !path.is_symlink()) {
                    let name = if library::is_open_name(&path) { Name::Open } else { Name::Sealed };
                    // Between two looks at a folder an open one may have been sealed.
                    if name == Name::Sealed || !recordings.contains_key(&session) {
                        recordings.insert(session, (index, name));
                    }
                }
            }
        }
        Ok(Unnamed { days, recordings, tombstones })
    }

    fn named(&mut self, entry: &Entry) {
        let sealed = self.recordings.get(&entry.session).is_some_and(|(_, name)| *name == Name::Sealed);
        match entry.was {
            Was::Sealed(_) | Was::Damaged { .. } if sealed => {
                self.recordings.remove(&entry.session);
            }
            Was::Deleted { .. } => {
                self.tombstones.remove(&entry.session);
            }
            _ => {}
        }
    }

    /// Leaves out tombstones that this key has not signed: whoever puts one there shall not see it named.
    fn only_own(&mut self, keys: &PublicKeys) {
        let days = &self.days;
        self.tombstones.retain(|session, (day, hash)| {
            let path = days.get(*day).map(|day| tombstone::path(day, *session));
            let read = path.map(|path| tombstone::read(&path, keys));
            read.and_then(Result::ok).map(|(_, found)| *hash = found).is_some()
        });
    }

    /// Whether there is more to say than that some are open.
    fn is_news(&self) -> bool {
        !self.tombstones.is_empty() || self.recordings.values().any(|(_, name)| *name == Name::Sealed)
    }

    fn entries(self) -> impl Iterator<Item = Result<Entry, RecorderError>> {
        let days = self.days;
        let recordings = self.recordings.into_iter().filter_map(move |(session, (day, name))| {
            Some(Ok(Entry { session, was: standing(days.get(day)?, session, name)? }))
        });
        let tombstones = self
            .tombstones
            .into_iter()
            .map(|(session, (_, tombstone))| Ok(Entry { session, was: Was::Deleted { tombstone } }));
        recordings.chain(tombstones)
    }
}

/// What a recording is now. None: it was deleted a moment ago.
fn standing(day: &Path, session: SessionId, name: Name) -> Option<Was> {
    if name == Name::Open {
        return Some(Was::Open);
    }
    let path = library::sealed_path(day, session);
    let of = library::stamp(&path).ok().flatten().filter(|stamp| stamp.footer.session == session);
    let Some(Stamp { head, footer, hash, bytes }) = of else {
        // Named as well, so that it is missed when it goes.
        return path.symlink_metadata().ok().map(|found| Was::Damaged { bytes: found.len() });
    };
    let (target, started) = head.map(|head| (head.head.target, head.started)).unzip();
    Some(Was::Sealed(Sealing { target, started, ended: footer.end.ended, footer: hash, bytes }))
}

/// Whether a checkpoint is one that this key has signed, under the number of its file.
pub(in super::super) fn trusted(number: u64, deed: &Deed<Checkpoint>, keys: &PublicKeys) -> bool {
    deed.body.number == number && deed.signed(Statement::Checkpoint, keys).is_ok()
}

fn round(
    recordings: &Path,
    signer: &Signer,
    now: Timestamp,
    cause: Cause,
    made: &mut Vec<Made>,
) -> Result<(), RecorderError> {
    let mut unnamed = Unnamed::look(&Library::new(recordings))?;
    let keys = PublicKeys::from(signer.public());
    let mut last = None;
    for (number, path) in files(recordings)? {
        let bytes = deed::read(&path)?;
        last = Some((number, Hash::of(&bytes)));
        match Deed::<Checkpoint>::parse(&bytes).filter(|deed| trusted(number, deed, &keys)) {
            Some(deed) => deed.body.recordings.iter().for_each(|entry| unnamed.named(entry)),
            None => tracing::debug!(number, "a checkpoint is not signed by this gateway's key"),
        }
    }
    unnamed.only_own(&keys);
    if cause != Cause::Daily && !unnamed.is_news() {
        return Ok(());
    }
    let mut batch = Vec::new();
    for entry in unnamed.entries() {
        if batch.len() == MAX_ENTRIES {
            last = Some(put(recordings, signer, last, now, cause, std::mem::take(&mut batch), made)?);
        }
        batch.push(entry?);
    }
    put(recordings, signer, last, now, cause, batch, made).map(drop)
}

fn put(
    recordings: &Path,
    signer: &Signer,
    last: Option<(u64, Hash)>,
    now: Timestamp,
    cause: Cause,
    entries: Vec<Entry>,
    made: &mut Vec<Made>,
) -> Result<(u64, Hash), RecorderError> {
    let number = last.map_or(1, |(number, _)| number.saturating_add(1));
    let previous = last.map(|(_, hash)| hash);
    let checkpoint = Checkpoint { number, previous, made: now, cause, recordings: entries };
    let path = recordings.join(FOLDER).join(name(number));
    let hash = deed::make(&path, Statement::Checkpoint, &checkpoint, signer)?;
    made.push(Made { number, hash, made: now, counts: checkpoint.counts() });
    Ok((number, hash))
}
