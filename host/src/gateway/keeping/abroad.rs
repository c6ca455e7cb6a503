//! Retention of what is in the store outside alone.
//!
//! A recording is deleted only after it was read through, and only if nothing preserves it, whose it was included: so it is brought
//! back first, one at a time, and then goes like any other. That its copy in the store goes as well is the uploader's work, by its
//! tombstone. What is known to be kept for longer, or to be preserved, is not brought back for that.
//!
//! What may go wrong: the store does not answer, has something else, or there is no room here. Then the recording stays until
//! tomorrow (fails closed).

use super::{Fate, Keeping, Stopped};
use crate::archive::{Archive, ArchiveError};
use crate::recorder::retain::Abroad;
use chaperone_core::Timestamp;

impl Keeping {
    /// Deletes a recording that is in the store alone, if it is to go.
    pub(super) async fn retire_abroad(&self, one: Abroad, now: Timestamp) -> Result<Fate, Stopped> {
        let session = one.away.receipt.session;
        // What the state says only spares the way: it is looked at again, in the recording itself.
        if let Some(row) = self.state.session(session).await? {
            if !one.is_due(&row.target, &self.retention, now) {
                return Ok(Fate::NotDue);
            }
            if let Some(by) = self.state.preserved(session, &row.target, &row.principal).await? {
                tracing::debug!(%session, %by, "a recording in the store is preserved");
                return Ok(Fate::Preserved);
            }
        }
        if let Err(error) = self.bring_back(&one).await {
            self.metrics.recordings_not_deleted.count();
            tracing::error!(%session, %error, "a recording in the store that has been kept for long enough stays: look at it");
            return Ok(Fate::Stays);
        }
        let rules = self.retention.clone();
        match self.blocking(move |recorder| recorder.due_again(&one, &rules, now)).await {
            Ok(Some(due)) => self.retire(due, now).await,
            // The uploader moves it out again.
            Ok(None) => Ok(Fate::NotDue),
            Err(error) => {
                self.metrics.recordings_not_deleted.count();
                tracing::error!(%session, %error, "a recording may have been kept for long enough, and stays: who can tell has its key");
                Ok(Fate::Stays)
            }
        }
    }

    async fn bring_back(&self, one: &Abroad) -> Result<(), ArchiveError> {
        let receipt = &one.away.receipt;
        let Some(store) = self.outside.as_ref().filter(|store| store.to_string() == receipt.store) else {
            let why = format!("it is in {}, which is not `recording.store` any more", receipt.store);
            return Err(ArchiveError::Config(why));
        };
        let (bytes, warn) = (receipt.bytes, self.recorder.watermarks().warn);
        let room = self.blocking(move |recorder| recorder.space()).await;
        // Sessions need the room more. Fails closed: also where nobody can tell.
        let room = room.ok().filter(|room| room.free > bytes && !room.less(bytes).is_below(warn));
        if room.is_none() {
            return Err(ArchiveError::Config("there is too little room here to look at it".into()));
        }
        let archive = Archive::open(store)?;
        let wanted = receipt.digest.to_string();
        archive.fetch(&one.away.file, self.recorder.library().directory(), Some(&wanted)).await.map(drop)
    }
}
