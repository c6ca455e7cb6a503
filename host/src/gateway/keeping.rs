//! Looks after the folder of recordings: a checkpoint each day and at a stop; after that of the day, what the rules say is to go.
//!
//! On the control runtime, and what waits for the disk on its blocking threads: no session waits for any of it. The time is that of the
//! grants' clock, which never goes back.
//!
//! What may go wrong: a checkpoint cannot be made. That is logged and counted, and tried again at the next look. The store does not answer:
//! then nothing is deleted, since nobody can tell what is preserved (fails closed).

mod abroad;

#[cfg(test)]
mod tests;

use super::Gateway;
use crate::config::{Recording, Store};
use crate::grant::Clock;
use crate::metrics::Metrics;
use crate::recorder::checkpoint::{Cause, Made, Newest};
use crate::recorder::retain::{Due, Look, Retention};
use crate::recorder::{Recorder, RecorderError};
use crate::state::{Audit, Deletion, MayDelete, State, StateError};
use chaperone_core::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often it is looked whether a day has begun.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What looks after the recordings.
pub(super) struct Keeping {
    pub(super) recorder: Recorder,
    pub(super) state: State,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// Whether this is the folder for what cannot be recorded in the usual one.
    pub(super) is_elsewhere: bool,
    pub(super) retention: Retention,
    /// The store outside, where recordings of this folder may be alone.
    pub(super) outside: Option<Store>,
}

/// What looks after each folder that this gateway records to.
pub(super) fn keepings(gateway: &Gateway, recording: &Recording) -> Vec<Arc<Keeping>> {
    let elsewhere = gateway.break_glass.as_ref().map(|glass| (&glass.recorder, true));
    let keeping = |(recorder, is_elsewhere): (&Recorder, bool)| Keeping {
        recorder: recorder.clone(),
        state: gateway.grants.state().clone(),
        clock: Arc::clone(gateway.grants.clock()),
        metrics: Arc::clone(&gateway.metrics),
        is_elsewhere,
        retention: recording.retention.clone(),
        // Nothing of the folder for emergencies is brought there.
        outside: recording.store.clone().filter(|_| !is_elsewhere),
    };
    [Some((&gateway.recorder, false)), elsewhere].into_iter().flatten().map(keeping).map(Arc::new).collect()
}

/// Why a run does not go on.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("{0}")]
    Recorder(#[from] RecorderError),
    #[error("the state store does not answer, so nobody can tell what is preserved")]
    Store(#[from] StateError),
}

/// What became of a recording that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Deleted,
    Preserved,
    /// It is not what it should be.
    Stays,
    /// It is kept for longer than that.
    NotDue,
}

impl Keeping {
    /// Looks at once and then every minute, until `stop`.
    pub(super) fn start(self: &Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        let (keeping, stop) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move {
            let look = async {
                loop {
                    keeping.look().await;
                    keeping.note_preserved().await;
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            let _ = stop.run_until_cancelled(look).await;
        });
    }

    /// Makes the checkpoint of the day, if there is none.
    async fn look(&self) {
        let now = self.clock.now();
        match self.blocking(|recorder| recorder.newest_checkpoint()).await {
            Ok(newest) if newest.and_then(|newest| newest.made).is_some_and(|made| day(made) == day(now)) => {
                self.show(newest);
            }
            // One that cannot be read is not of today; making the next one says what is wrong.
            Ok(_) | Err(_) => {
                // Whoever has made it deletes: of gateways that share a folder one. Fails closed: without it nothing is deleted.
                if self.checkpoint(now, Cause::Daily).await > 0 && self.retention.deletes() {
                    self.retain(now).await;
                }
            }
        }
    }

    /// Deletes what the rules say is to go, one after the other.
    async fn retain(&self, now: Timestamp) {
        let rules = self.retention.clone();
        let (due, away, unread) = match self.blocking(move |recorder| recorder.due(&rules, now)).await {
            Ok(Look::Due { due, away, unread }) => (due, away, unread),
            Ok(Look::Leapt(from)) => {
                return tracing::warn!(
                    %from, %now,
                    "no recording is deleted today: the clock has leapt, or the gateway was away for days; if the clock is wrong, set it right before tomorrow"
                );
            }
            Err(error) => return tracing::error!(%error, "no recording is deleted"),
        };
        self.metrics.recordings_not_deleted.add(unread as u64);
        let (mut deleted, mut preserved, mut stay) = (0_u64, 0_u64, unread as u64);
        let mut count = |fate: Result<Fate, Stopped>| {
            match fate {
                Ok(Fate::Deleted) => deleted += 1,
                Ok(Fate::Preserved) => preserved += 1,
                Ok(Fate::Stays) => stay += 1,
                Ok(Fate::NotDue) => {}
                Err(error) => {
                    tracing::error!(%error, deleted, "no further recording is deleted today");
                    return false;
                }
            }
            true
        };
        let mut goes_on = true;
        for one in due {
            if goes_on {
                goes_on = count(self.retire(one, now).await);
            }
        }
        for one in away {
            if goes_on {
                goes_on = count(self.retire_abroad(one, now).await);
            }
        }
        if deleted + preserved + stay > 0 {
            tracing::info!(deleted, preserved, stay, "retention");
        }
    }

    async fn retire(&self, due: Due, now: Timestamp) -> Result<Fate, Stopped> {
        let due = Arc::new(due);
        let looked = Arc::clone(&due);
        let principal = match self.blocking(move |recorder| recorder.examine(&looked)).await {
            Ok(principal) => principal,
            Err(error) => {
                self.metrics.recordings_not_deleted.count();
                tracing::error!(%error, "a recording that has been kept for long enough stays: look at it");
                return Ok(Fate::Stays);
            }
        };
        let deletion =
            Deletion { session: due.session, target: &due.target, principal: &principal, rule: &due.rule };
        if let MayDelete::Preserved(by) = self.state.may_delete(&deletion, now).await? {
            tracing::debug!(session = %due.session, %by, "a recording is preserved");
            return Ok(Fate::Preserved);
        }
        let gone = Arc::clone(&due);
        match self.blocking(move |recorder| recorder.delete(&gone, now)).await {
            Ok(()) => {}
            Err(error @ RecorderError::Stays { .. }) => {
                self.metrics.recordings_not_deleted.count();
                tracing::error!(%error, "a recording that has been kept for long enough stays: look at it");
                return Ok(Fate::Stays);
            }
            // The disk: the next one would not fare better.
            Err(error) => return Err(error.into()),
        }
        self.metrics.recordings_deleted.count();
        tracing::info!(session = %due.session, target = %due.target, rule = due.rule, "a recording was deleted");
        self.state.forget_recording(due.session).await?;
        Ok(Fate::Deleted)
    }

    /// Says beside the recordings what is preserved, for `chaperone sessions`. It decides nothing. Nothing is said beside encrypted ones:
    /// what they keep, as whose they are, would be in these entries.
    async fn note_preserved(&self) {
        let entries = match self.recorder.encrypts() {
            true => Ok(Vec::new()),
            false => self.state.preservations().await,
        };
        let Ok(entries) = entries else { return };
        let Ok(json) = serde_json::to_vec(&entries) else { return };
        if let Err(error) = self.blocking(move |recorder| recorder.note_preserved(&json)).await {
            tracing::warn!(%error, "what is preserved cannot be told beside the recordings");
        }
    }

    /// Names what was sealed last. Call it when no session is left.
    pub(super) async fn at_stop(&self) {
        let _made = self.checkpoint(self.clock.now(), Cause::Stop).await;
    }

    /// How many were made.
    async fn checkpoint(&self, now: Timestamp, cause: Cause) -> usize {
        match self.blocking(move |recorder| recorder.checkpoint(now, cause)).await {
            Ok(made) => {
                for one in &made {
                    self.made(*one).await;
                }
                made.len()
            }
            Err(error) => {
                self.metrics.checkpoints_failed.count();
                tracing::error!(%error, "a checkpoint could not be made: a recording that goes now may not be missed");
                0
            }
        }
    }

    /// Says its hash in three places that are not the folder: the log, the metrics and the audit events.
    async fn made(&self, made: Made) {
        let Made { number, hash, made: at, counts } = made;
        tracing::info!(number, %hash, sealed = counts.sealed, open = counts.open, deleted = counts.deleted, break_glass = self.is_elsewhere, "checkpoint");
        self.metrics.checkpoints.count();
        self.show(Some(Newest { number, hash, made: Some(at) }));
        let audit = Audit {
            event: "checkpoint.made",
            actor: "chaperone",
            subject: &number.to_string(),
            target: "",
            detail: json!({ "hash": hash, "recordings": counts, "break_glass": self.is_elsewhere }),
        };
        if let Err(error) = self.state.audit(audit, at).await {
            tracing::warn!(%error, number, "the audit event of a checkpoint could not be kept");
        }
    }

    /// In the metrics there is room for one: that of the usual folder.
    fn show(&self, newest: Option<Newest>) {
        if self.is_elsewhere {
            return;
        }
        *self.metrics.newest_checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = newest;
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Recorder) -> Result<T, RecorderError> + Send + 'static,
    ) -> Result<T, RecorderError> {
        let recorder = self.recorder.clone();
        let done = tokio::task::spawn_blocking(move || work(&recorder)).await;
        done.unwrap_or_else(|_| Err(RecorderError::Stopped))
    }
}

/// The day in UTC.
fn day(moment: Timestamp) -> jiff::civil::Date {
    moment.to_zoned(TimeZone::UTC).date()
}
