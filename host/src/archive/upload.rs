//! Brings what is sealed to the store outside, in the background, until it is there.
//!
//! Nothing of a session waits for it. The queue is the folder itself: what is final there and not noted as stored. So it
//! survives every restart, and costs no memory but the names. One file is brought at a time, in parts, and a claim in the state store
//! keeps a second gateway on the same folder from bringing it too.
//!
//! What may go wrong: the store is down, or refuses. Then everything waits, and one file is tried after a pause that doubles up to
//! ten minutes. A file that finds something else in its place does not hold up the others. A local copy goes, where the
//! configuration says so, only when the store still has it and this file is still the one that was stored (fails closed).
//!
//! - `local`: what goes here because the store has it, and there because the rules have deleted it here

mod local;

use super::{Archive, ArchiveError, PARTIAL};
use crate::config::Store;
use crate::grant::Clock;
use crate::metrics::{FAILED, Queue, RETRIED, Uploads};
use crate::recorder::{Final, Library, Recorder, RecorderError};
use crate::state::{State, StateError, Stored};
use chaperone_core::Timestamp;
use chaperone_core::window::after;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often it is looked for new files.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks take at most this part of the time.
const LOOK_SHARE: u32 = 50;
/// The longest time between two looks, for folders that are large.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// How often all folders are looked through, not only the newest.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_secs(600);
/// Folders in which files become final: the checkpoints', today's, and those of sessions that began a day or two before.
const NEWEST_FOLDERS: usize = 4;
/// Names that are kept to be brought; what is beyond is found when there is room.
const MAX_PENDING: usize = 65_536;
/// The pause after a first failure; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How long an attempt may take, whatever the size.
const ATTEMPT: Duration = Duration::from_secs(120);
/// The slowest line that is waited for, in bytes a second, both ways.
const SLOWEST: u64 = 64 * 1024;
/// What is being fetched for so long was left by a process that was killed.
const LEFT_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Files that are brought before it is looked again for new ones.
const IN_A_ROW: usize = 64;

/// Brings files to a store.
pub struct Uploader {
    recorder: Recorder,
    library: Library,
    store: Store,
    /// The store's name in the state.
    name: String,
    state: State,
    clock: Arc<dyn Clock>,
    metrics: Arc<Uploads>,
    /// Who reads the folder's recordings to their end: consumers of the feed.
    readers: Vec<String>,
    /// None: it is opened at the next attempt, with the secrets of that moment.
    archive: Option<Arc<Archive>>,
    pending: BTreeMap<Final, Waiting>,
    /// Files of the newest folders that are stored.
    done: BTreeSet<Final>,
    /// Tombstones of what may be in the store still, and when it is deleted there.
    graves: BTreeMap<Final, Instant>,
    next_look: Instant,
    look_at_all: Instant,
    /// Failures of the store since it last took something.
    failures: u32,
    /// Nothing is tried before.
    rest: Instant,
}

/// A file that is not stored.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// When it is tried next.
    due: Instant,
    /// When it was sealed, by its file's time.
    sealed: Option<Timestamp>,
    /// The store has something else in its place.
    conflicting: bool,
    failures: u32,
}

#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Recordings(#[from] RecorderError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("{0}")]
    Stays(String),
    #[error("the work was cut off")]
    Cut(#[from] tokio::task::JoinError),
}

impl UploadError {
    fn is_of_store(&self) -> bool {
        matches!(self, UploadError::Archive(ArchiveError::Store(_) | ArchiveError::Config(_)))
    }
}

/// A folder with what was found in it.
type Found = (String, Vec<Final>);

impl Uploader {
    /// One that has not begun.
    pub fn new(
        recorder: Recorder,
        store: Store,
        state: State,
        clock: Arc<dyn Clock>,
        metrics: Arc<Uploads>,
    ) -> Self {
        let (name, now) = (store.to_string(), Instant::now());
        Uploader {
            library: recorder.library(),
            recorder,
            store,
            name,
            state,
            clock,
            metrics,
            readers: Vec::new(),
            archive: None,
            pending: BTreeMap::new(),
            done: BTreeSet::new(),
            graves: BTreeMap::new(),
            next_look: now,
            look_at_all: now,
            failures: 0,
            rest: now,
        }
    }

    /// The same, which leaves a recording in the folder until these consumers of the feed have read it.
    pub fn after(mut self, readers: Vec<String>) -> Self {
        self.readers = readers;
        self
    }

    /// Brings files until `stop`, on the runtime that this is called on. What is cut then is brought after the next start.
    pub fn start(mut self, tasks: &TaskTracker, stop: &CancellationToken) {
        let stop = stop.clone();
        tasks.spawn(async move {
            let work = async {
                loop {
                    self.round().await;
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            let _ = stop.run_until_cancelled(work).await;
        });
    }

    /// As if all pauses were over.
    #[cfg(test)]
    pub(crate) fn hurry(&mut self) {
        let now = Instant::now();
        (self.rest, self.next_look, self.look_at_all) = (now, now, now);
        self.pending.values_mut().for_each(|waiting| waiting.due = now);
        self.graves.values_mut().for_each(|due| *due = now);
    }

    /// One look, when it is time for one, and what is due.
    pub(crate) async fn round(&mut self) {
        let began = Instant::now();
        if self.next_look <= began {
            if let Err(error) = self.look().await {
                tracing::warn!(store = %self.name, %error, "it could not be looked for recordings to upload");
            }
            let pause = began.elapsed().saturating_mul(LOOK_SHARE);
            self.next_look = Instant::now() + pause.clamp(LOOK_EVERY, LOOK_AT_LEAST_EVERY);
        }
        if let Err(error) = self.turn().await {
            tracing::warn!(store = %self.name, %error, "recordings cannot be uploaded now");
            self.rest = Instant::now() + LOOK_AT_LEAST_EVERY;
        }
        self.measure();
    }

    async fn look(&mut self) -> Result<(), UploadError> {
        let all = self.look_at_all <= Instant::now();
        let library = self.library.clone();
        let found = tokio::task::spawn_blocking(move || files(&library, all)).await??;
        let (mut newest, mut named) = (BTreeSet::new(), local::Named::default());
        for (index, (folder, files)) in found.into_iter().enumerate() {
            let known = |file: &Final| self.pending.contains_key(file) || self.done.contains(file);
            let looked_at = index < NEWEST_FOLDERS;
            if looked_at {
                newest.extend(files.iter().cloned());
            }
            // A look at all asks again also for those that are stored: their local copies may go.
            if all || !files.iter().all(known) {
                let stored = self.state.uploads_stored(&self.name, &folder).await?;
                let deleted = self.state.uploads_deleted(&self.name, &folder).await?;
                if all {
                    self.graves(&files, &folder, &deleted);
                }
                let files = files.into_iter().filter(|file| !deleted.contains(file.name())).collect();
                self.sort(files, &stored, looked_at);
                if all {
                    self.move_out(&stored, &folder, &mut named).await;
                }
            }
        }
        self.done.retain(|file| newest.contains(file));
        if all {
            self.look_at_all = Instant::now() + LOOK_AT_ALL_EVERY;
        }
        Ok(())
    }

    /// What is stored and what waits among the files of a folder.
    fn sort(&mut self, files: Vec<Final>, stored: &BTreeMap<String, Stored>, newest: bool) {
        for file in files {
            if stored.contains_key(file.name()) {
                self.pending.remove(&file);
                if newest {
                    self.done.insert(file);
                }
            } else if self.pending.len() < MAX_PENDING && !self.pending.contains_key(&file) {
                let path = file.path(self.library.directory());
                let changed = std::fs::metadata(path).and_then(|meta| meta.modified());
                let sealed = changed.ok().and_then(|time| Timestamp::try_from(time).ok());
                let waiting = Waiting { due: Instant::now(), sealed, conflicting: false, failures: 0 };
                self.pending.insert(file, waiting);
            }
        }
    }

    /// Brings what is due, those first that wait longest.
    async fn turn(&mut self) -> Result<(), UploadError> {
        let now = Instant::now();
        if self.rest > now {
            return Ok(());
        }
        let due = self.pending.iter().filter(|(_, waiting)| waiting.due <= now);
        let mut due: Vec<_> = due.map(|(file, waiting)| (waiting.sealed, file.clone())).collect();
        due.sort_unstable();
        due.truncate(IN_A_ROW);
        for (_, file) in due {
            if self.bring(file).await? == Went::StoreFails {
                return Ok(());
            }
        }
        self.bury().await
    }

    async fn bring(&mut self, file: Final) -> Result<Went, UploadError> {
        let path = file.path(self.library.directory());
        let time = time_for(&path);
        let now = self.clock.now();
        let until = after(now, time.saturating_add(ATTEMPT)).unwrap_or(now);
        let Some(attempt) = self.state.claim_upload(&self.name, &file, now, until).await? else {
            // Another gateway has it, or had. The next look says whether it is stored.
            self.put_off(&file, ATTEMPT);
            self.forget_if_stored(&file).await?;
            return Ok(Went::On);
        };
        let put = async { self.open()?.put(&file, &path).await };
        let slow = || ArchiveError::Store("it took too long".into());
        match tokio::time::timeout(time, put).await.unwrap_or_else(|_| Err(slow())) {
            Ok(digest) => {
                self.state.upload_stored(&self.name, &file, &digest, self.clock.now()).await?;
                self.metrics.stored();
                self.failures = 0;
                self.pending.remove(&file);
                tracing::debug!(store = %self.name, %file, "it was uploaded");
                self.done.insert(file);
                Ok(Went::On)
            }
            Err(ArchiveError::Local(error)) if error.kind() == io::ErrorKind::NotFound => {
                // Deleted, by a rule or by hand: there is nothing to bring any more.
                tracing::warn!(store = %self.name, %file, "a recording was gone before it was uploaded");
                self.pending.remove(&file);
                Ok(Went::On)
            }
            Err(error) => self.failed(&file, attempt, &error).await,
        }
    }

    async fn failed(
        &mut self,
        file: &Final,
        attempt: i64,
        error: &ArchiveError,
    ) -> Result<Went, UploadError> {
        let of_store = matches!(error, ArchiveError::Store(_) | ArchiveError::Config(_));
        let conflicting = matches!(error, ArchiveError::Different);
        let mut wait = LONGEST_PAUSE;
        let mut first = false;
        if let Some(waiting) = self.pending.get_mut(file) {
            first = waiting.failures == 0;
            wait = pause(waiting.failures);
            waiting.failures = waiting.failures.saturating_add(1);
            waiting.conflicting = conflicting;
            waiting.due = Instant::now() + wait;
        }
        if of_store {
            // Perhaps another secret helps, or another connection.
            self.archive = None;
            self.rest = Instant::now() + pause(self.failures);
            first = self.failures == 0;
            self.failures = self.failures.saturating_add(1);
        }
        self.metrics.outcomes.count(if conflicting { FAILED } else { RETRIED });
        // Once, and then from time to time: the metrics say the rest.
        if first || wait == LONGEST_PAUSE {
            let store = &self.name;
            match conflicting {
                true => tracing::error!(%store, %file, %error, "a recording is not uploaded"),
                false => tracing::warn!(%store, %file, %error, "a recording could not be uploaded"),
            }
        }
        let due = after(self.clock.now(), wait).unwrap_or_else(|| self.clock.now());
        self.state.upload_failed(&self.name, file, attempt, &error.to_string(), due).await?;
        Ok(if of_store { Went::StoreFails } else { Went::On })
    }

    fn put_off(&mut self, file: &Final, wait: Duration) {
        if let Some(waiting) = self.pending.get_mut(file) {
            waiting.due = Instant::now() + wait;
        }
    }

    async fn forget_if_stored(&mut self, file: &Final) -> Result<(), UploadError> {
        if self.state.uploads_stored(&self.name, file.folder()).await?.contains_key(file.name()) {
            self.pending.remove(file);
            self.done.insert(file.clone());
        }
        Ok(())
    }

    fn open(&mut self) -> Result<Arc<Archive>, ArchiveError> {
        let archive = match self.archive.take() {
            Some(archive) => archive,
            None => Arc::new(Archive::open(&self.store)?),
        };
        self.archive = Some(Arc::clone(&archive));
        Ok(archive)
    }

    fn measure(&self) {
        let now = self.clock.now();
        let oldest = self.pending.values().filter_map(|waiting| waiting.sealed).min();
        let age = oldest.map(|sealed| Duration::try_from(now.duration_since(sealed)).unwrap_or_default());
        self.metrics.set(Queue {
            pending: self.pending.len(),
            undeleted: self.graves.len(),
            conflicting: self.pending.values().filter(|waiting| waiting.conflicting).count(),
            oldest: age.unwrap_or_default(),
        });
    }
}

/// Whether it makes sense to go on with another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    On,
    StoreFails,
}

/// How long to wait after so many failures before this one.
fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE)
}

/// How long an attempt may take: there and back again.
fn time_for(path: &Path) -> Duration {
    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
    ATTEMPT + Duration::from_secs(bytes.saturating_mul(2) / SLOWEST)
}

/// The final files of the newest folders, or of all; then also what killed processes have left is removed.
fn files(library: &Library, all: bool) -> Result<Vec<Found>, RecorderError> {
    let most = if all { usize::MAX } else { NEWEST_FOLDERS };
    let folders: Vec<PathBuf> = library.final_folders()?.into_iter().take(most).collect();
    if all {
        sweep(library.directory());
        folders.iter().for_each(|folder| sweep(folder));
    }
    let in_folder = |folder: PathBuf| {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok((name, library.finals_of(&folder)?))
    };
    folders.into_iter().map(in_folder).collect()
}

/// Removes files that were being fetched when a process was killed: one of them may be of a recording that is deleted by now.
fn sweep(folder: &Path) {
    let is_left = |entry: &std::fs::DirEntry| {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
        entry.file_name().to_string_lossy().starts_with(PARTIAL) && age.is_some_and(|age| age > LEFT_AFTER)
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().filter(is_left) {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(file = %entry.path().display(), %error, "what was left half fetched cannot be removed");
        }
    }
}
