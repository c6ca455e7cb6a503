//! Looks after the folder of recordings: a checkpoint each day and at a stop.
//!
//! On the control runtime, and what waits for the disk on its blocking threads: no session waits for any of it. The time is that of the
//! grants' clock, which never goes back.
//!
//! What may go wrong: a checkpoint cannot be made. That is logged and counted, and tried again at the next look.

use super::Gateway;
use crate::grant::Clock;
use crate::metrics::Metrics;
use crate::recorder::checkpoint::{Cause, Made, Newest};
use crate::recorder::{Recorder, RecorderError};
use crate::state::{Audit, State};
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
}

/// What looks after each folder that this gateway records to.
pub(super) fn keepings(gateway: &Gateway) -> Vec<Arc<Keeping>> {
    let elsewhere = gateway.break_glass.as_ref().map(|glass| (&glass.recorder, true));
    let keeping = |(recorder, is_elsewhere): (&Recorder, bool)| Keeping {
        recorder: recorder.clone(),
        state: gateway.grants.state().clone(),
        clock: Arc::clone(gateway.grants.clock()),
        metrics: Arc::clone(&gateway.metrics),
        is_elsewhere,
    };
    [Some((&gateway.recorder, false)), elsewhere].into_iter().flatten().map(keeping).map(Arc::new).collect()
}

impl Keeping {
    /// Looks at once and then every minute, until `stop`.
    pub(super) fn start(self: &Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        let (keeping, stop) = (Arc::clone(self), stop.clone());
        tasks.spawn(async move {
            let look = async {
                loop {
                    keeping.look().await;
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
            Ok(_) | Err(_) => self.checkpoint(now, Cause::Daily).await,
        }
    }

    /// Names what was sealed last. Call it when no session is left.
    pub(super) async fn at_stop(&self) {
        self.checkpoint(self.clock.now(), Cause::Stop).await;
    }

    async fn checkpoint(&self, now: Timestamp, cause: Cause) {
        match self.blocking(move |recorder| recorder.checkpoint(now, cause)).await {
            Ok(made) => {
                for one in made {
                    self.made(one).await;
                }
            }
            Err(error) => {
                self.metrics.checkpoints_failed.count();
                tracing::error!(%error, "a checkpoint could not be made: a recording that goes now may not be missed");
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::grant::SimulatedClock;
    use crate::recorder::sign::Signer;
    use crate::recorder::{Caps, RecorderConfig, checkpoint};
    use crate::state::tests::{at, stores};

    const HOUR: Duration = Duration::from_secs(3600);

    fn keeping(folder: &std::path::Path, state: State, clock: &Arc<SimulatedClock>) -> Keeping {
        let signer = Signer::generate().unwrap().0;
        let config = RecorderConfig { signer, ..crate::recorder::tests::config(folder, Caps::default()) };
        let recorder = Recorder::new(config).unwrap();
        Keeping { recorder, state, clock: clock.clone(), metrics: Arc::default(), is_elsewhere: false }
    }

    #[tokio::test]
    async fn there_is_one_checkpoint_a_day_and_none_at_a_stop_without_news() {
        for store in stores().await {
            let folder = tempfile::tempdir().unwrap();
            // 08:00 UTC.
            let clock = Arc::new(SimulatedClock::at(at(0)));
            let keeping = keeping(folder.path(), store.state.clone(), &clock);
            let count = || checkpoint::list(folder.path(), 100).unwrap().0.len();
            keeping.look().await;
            for hours in 0..15 {
                keeping.look().await;
                assert_eq!(count(), 1, "{hours}");
                clock.pass(HOUR);
            }
            clock.pass(HOUR);
            keeping.look().await;
            assert_eq!(count(), 2, "a day has begun");
            // Another gateway on this folder finds it there, and shows its hash.
            let other = Keeping {
                metrics: Arc::default(),
                recorder: keeping.recorder.clone(),
                ..self::keeping(folder.path(), store.state.clone(), &clock)
            };
            other.look().await;
            keeping.at_stop().await;
            assert_eq!(count(), 2);
            let newest = checkpoint::newest(folder.path()).unwrap();
            assert_eq!(*other.metrics.newest_checkpoint.lock().unwrap(), newest);
            assert_eq!(*keeping.metrics.newest_checkpoint.lock().unwrap(), newest);
            let elsewhere = Keeping { is_elsewhere: true, metrics: Arc::default(), ..other };
            elsewhere.look().await;
            assert_eq!(*elsewhere.metrics.newest_checkpoint.lock().unwrap(), None);
            let events = store.state.audit_events().await.unwrap();
            assert_eq!(
                (events.len(), events[0].event.as_str(), events[0].subject.as_str()),
                (2, "checkpoint.made", "2")
            );
            assert_eq!(events[0].detail["hash"], json!(newest.unwrap().hash));
        }
    }

    #[tokio::test]
    async fn a_checkpoint_that_cannot_be_made_is_counted_and_tried_again() {
        let store = stores().await.remove(0);
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SimulatedClock::at(at(0)));
        let keeping = keeping(folder.path(), store.state.clone(), &clock);
        let inside = folder.path().join("checkpoints");
        std::fs::write(&inside, "in the way").unwrap();
        keeping.look().await;
        keeping.look().await;
        assert_eq!((keeping.metrics.checkpoints_failed.read(), keeping.metrics.checkpoints.read()), (2, 0));
        std::fs::remove_file(inside).unwrap();
        keeping.look().await;
        assert_eq!(keeping.metrics.checkpoints.read(), 1);
    }
}
