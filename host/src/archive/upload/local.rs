//! What becomes of a folder's own copies: those that go because the store has them, and copies in the store that go because
//! the rules have deleted the recording here.
//!
//! Both fail closed. A local copy goes when the store, asked now, gives back every byte of it, when the file here is still that, and
//! when a checkpoint names it, and when whoever is fed from the folder has read it; a signed receipt stays. A copy in the store goes when a tombstone of this gateway's own key stands in
//! the recording's place, when what the store has, read through, is the recording that the tombstone stands for, and when the state
//! store has noted the deletion and knows of nothing that preserves it at this moment.
//!
//! What may go wrong: the store does not let anything be deleted. Then its copies stay, which is logged and counted, and is tried
//! again at every look.

use super::{IN_A_ROW, LONGEST_PAUSE, LOOK_AT_LEAST_EVERY, MAX_PENDING, UploadError, Uploader};
use crate::archive::{ArchiveError, PARTIAL, digest_of};
use crate::config::Deletes;
use crate::recorder::{Final, Hash, SessionId, Status};
use crate::state::{MayDeleteCopy, Stored};
use chaperone_core::window::after;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When it is looked again at what has to stay in the store: each look reads it there.
const LOOK_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// What checkpoints name, read when it is first needed in a look.
pub(super) type Named = Option<Arc<BTreeMap<SessionId, Hash>>>;

impl Uploader {
    /// Deletes local copies of what has been stored for long enough.
    pub(super) async fn move_out(
        &mut self,
        stored: &BTreeMap<String, Stored>,
        folder: &str,
        named: &mut Named,
    ) {
        let Some(kept) = self.store.keep_local else { return };
        let now = self.clock.now();
        for (name, stored) in stored {
            let file = Final::new(folder, name).filter(|file| file.session().is_some());
            let Some(file) = file else { continue };
            let path = file.path(self.library.directory());
            if after(stored.settled, kept).is_none_or(|end| end > now) || !path.exists() {
                continue;
            }
            match self.move_one(&file, &path, stored, named).await {
                Ok(()) => {
                    tracing::info!(store = %self.name, %file, "a recording is in the store alone from now on")
                }
                Err(error) => tracing::warn!(store = %self.name, %file, %error, "a local copy stays"),
            }
        }
    }

    async fn move_one(
        &mut self,
        file: &Final,
        path: &Path,
        stored: &Stored,
        named: &mut Named,
    ) -> Result<(), UploadError> {
        let session = file.session().ok_or_else(|| UploadError::Stays("it is no recording".into()))?;
        for reader in &self.readers {
            // Fails closed: a receiver that was down for days still gets everything.
            if !self.state.recordings_done(reader, session, session).await?.contains(&session) {
                return Err(UploadError::Stays(format!("`{reader}` has not read it to its end")));
            }
        }
        if named.is_none() {
            let recorder = self.recorder.clone();
            *named = Some(Arc::new(tokio::task::spawn_blocking(move || recorder.named()).await??));
        }
        let digest = self.may_go(path, file, stored).await?;
        let (recorder, file, name) = (self.recorder.clone(), file.clone(), self.name.clone());
        let (named, settled) = (named.clone().unwrap_or_default(), stored.settled);
        let gone = move || recorder.move_out(&file, &named, (&name, digest, settled));
        Ok(tokio::task::spawn_blocking(gone).await??)
    }

    /// Whether a local copy may go: the one place that is asked. Fails closed: the store must give back now what was stored, and the
    /// file must be that.
    async fn may_go(&mut self, path: &Path, file: &Final, stored: &Stored) -> Result<Hash, ArchiveError> {
        let read = path.to_owned();
        let read = tokio::task::spawn_blocking(move || digest_of(&read)).await;
        let (bytes, digest) = read.map_err(io::Error::other)??;
        if digest != stored.digest {
            return Err(ArchiveError::Different);
        }
        if self.open()?.digest(file, bytes).await? != digest {
            return Err(ArchiveError::Changed);
        }
        digest.parse().map_err(|_| ArchiveError::Different)
    }

    /// Notes which recordings of a folder are to be deleted in the store: those that a tombstone is left of here.
    pub(super) fn graves(&mut self, files: &[Final], folder: &str, deleted: &BTreeSet<String>) {
        if self.store.deletes == Deletes::No {
            return;
        }
        for tombstone in files {
            let Some(session) = tombstone.buried() else { continue };
            let Some(recording) = Final::recording(folder, session) else { continue };
            // What is still here will go first, or is there again for a reason that nobody here knows.
            let here = recording.path(self.library.directory()).symlink_metadata().is_ok();
            if here || deleted.contains(recording.name()) {
                self.graves.remove(tombstone);
            } else if self.graves.len() < MAX_PENDING {
                self.graves.entry(tombstone.clone()).or_insert_with(Instant::now);
            }
        }
    }

    /// Deletes in the store what the rules have deleted here.
    pub(super) async fn bury(&mut self) -> Result<(), UploadError> {
        let now = Instant::now();
        let due = self.graves.iter().filter(|(_, due)| **due <= now).map(|(tombstone, _)| tombstone.clone());
        let due: Vec<Final> = due.take(IN_A_ROW).collect();
        for tombstone in due {
            match self.bury_one(&tombstone).await {
                Ok(()) => drop(self.graves.remove(&tombstone)),
                Err(error) => {
                    let again = if error.is_of_store() { LONGEST_PAUSE } else { LOOK_AGAIN };
                    self.graves.insert(tombstone.clone(), Instant::now() + again);
                    tracing::warn!(
                        store = %self.name, file = %tombstone, %error,
                        "a recording that was deleted by the rules stays in the store"
                    );
                    if error.is_of_store() {
                        // Perhaps another secret helps. The others would not fare better now.
                        self.archive = None;
                        self.rest = Instant::now() + LOOK_AT_LEAST_EVERY;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn bury_one(&mut self, tombstone: &Final) -> Result<(), UploadError> {
        let stays = |why: &str| UploadError::Stays(why.to_owned());
        let session = tombstone.buried().ok_or_else(|| stays("it is no tombstone"))?;
        let recording = Final::recording(tombstone.folder(), session);
        let recording = recording.ok_or_else(|| stays("it is no recording"))?;
        let (recorder, of) = (self.recorder.clone(), tombstone.clone());
        let footer = tokio::task::spawn_blocking(move || recorder.buried(&of)).await?;
        let footer = footer.map_err(|why| stays(&format!("its tombstone does not count: {why}")))?;
        let archive = self.open()?;
        if archive.has(&recording).await? {
            self.may_be_deleted(session).await?;
            self.is_that(&recording, footer).await?;
            // Once more, since reading it took its time: whoever preserves it from now on is told that it is too late.
            self.may_be_deleted(session).await?;
            archive.delete(&recording).await?;
            self.metrics.deleted();
            tracing::info!(store = %self.name, file = %recording, "a recording was deleted in the store, too");
        }
        Ok(self.state.upload_deleted(&self.name, &recording, self.clock.now()).await?)
    }

    async fn may_be_deleted(&self, session: SessionId) -> Result<(), UploadError> {
        match self.state.may_delete_copy(session).await? {
            MayDeleteCopy::Yes => Ok(()),
            MayDeleteCopy::Preserved(by) => Err(UploadError::Stays(format!("{by} preserves it"))),
            MayDeleteCopy::Unknown => Err(UploadError::Stays(
                "the state store does not know of its deletion, so nobody can tell whether it is preserved"
                    .into(),
            )),
        }
    }

    /// That the object is the recording that its tombstone stands for: anything else is evidence, and stays.
    async fn is_that(&mut self, recording: &Final, footer: Hash) -> Result<(), UploadError> {
        let folder = self.library.directory().to_owned();
        let mut copy =
            tempfile::Builder::new().prefix(PARTIAL).tempfile_in(folder).map_err(ArchiveError::Local)?;
        self.open()?.get(recording, copy.as_file_mut()).await?;
        let (library, path): (_, PathBuf) = (self.library.clone(), copy.path().to_owned());
        let report =
            tokio::task::spawn_blocking(move || library.verify(&path, &Default::default(), &mut |_, _| {}));
        let report = report.await??;
        match report.status {
            Status::Intact(_) if report.last_hash == footer => Ok(()),
            _ => Err(UploadError::Stays(
                "what the store has in its place is not that recording: find out who put it there".into(),
            )),
        }
    }
}
