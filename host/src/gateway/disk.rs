//! Looks after the disk of the recordings while the gateway runs: says when room gets scarce, and seals what a disk that failed
//! has left open, once it works again.
//!
//! What may go wrong: the disk hangs, and with it the look at it. Then nothing is said, the last reading gets too old to be
//! shown, and sessions end or are refused by their own bounds.

use super::Gateway;
use crate::recorder::{Outcome, Recorder, Space, Watermarks};
use chaperone_core::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often the disk is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// When sealing what was left open is tried again, on a disk that can be written and all the same did not take it: it reads all
/// of it.
const TRY_EVERY: Duration = Duration::from_secs(60);

/// How old a reading may be that is shown.
const FRESH: Duration = Duration::from_secs(15);

/// The last reading, for whoever asks for numbers.
#[derive(Debug, Default)]
pub struct LastLook(Mutex<Option<(Instant, Space)>>);

impl LastLook {
    fn keep(&self, space: Space) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), space));
    }

    /// None where the disk has not answered for a while: an old number would be a lie.
    pub(super) fn read(&self) -> Option<Space> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(at, _)| at.elapsed() < FRESH).map(|(_, space)| space)
    }
}

/// How much room there is, as operators are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Room {
    #[default]
    Enough,
    Scarce,
    TooLittle,
    Unknown,
}

impl Room {
    fn of(space: Space, marks: Watermarks) -> Self {
        match (space.is_below(marks.refuse), space.is_below(marks.warn)) {
            (true, _) => Room::TooLittle,
            (false, true) => Room::Scarce,
            (false, false) => Room::Enough,
        }
    }
}

/// Looks until `stop`.
pub(super) fn spawn(gateway: &Arc<Gateway>, tasks: &TaskTracker, stop: &CancellationToken) {
    let (gateway, stop) = (Arc::clone(gateway), stop.clone());
    tasks.spawn(async move {
        let _ = stop.run_until_cancelled(watch(&gateway)).await;
    });
}

async fn watch(gateway: &Gateway) {
    let mut room = Room::default();
    // Recordings that could not be sealed by their sessions: how many there were when all that was left open had been sealed.
    let (mut settled, mut tried) = (0, None);
    loop {
        let recorder = gateway.recorder.clone();
        let looked = tokio::task::spawn_blocking(move || recorder.space()).await;
        let now = match looked {
            Ok(Ok(space)) => {
                gateway.space.keep(space);
                let now = Room::of(space, gateway.recorder.watermarks());
                tell(room, now, space, gateway.recorder.watermarks());
                now
            }
            Ok(Err(error)) => {
                if room != Room::Unknown {
                    tracing::error!(%error, "the disk of the recordings cannot be looked at");
                }
                Room::Unknown
            }
            Err(_) => Room::Unknown,
        };
        room = now;
        let unsealed = gateway.metrics.unsealed.read();
        let again = tried.is_none_or(|(of, at): (u64, Instant)| of != unsealed || at.elapsed() >= TRY_EVERY);
        if unsealed > settled && again && matches!(room, Room::Enough | Room::Scarce) {
            match seal(gateway.recorder.clone(), gateway.grants.clock().now()).await {
                Leftovers::Sealed => settled = unsealed,
                Leftovers::Stay => tried = Some((unsealed, Instant::now())),
                Leftovers::NotYet => {}
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn tell(before: Room, now: Room, space: Space, marks: Watermarks) {
    let Space { free, size } = space;
    match now {
        _ if now == before => {}
        Room::TooLittle => tracing::error!(
            free, size, mark = %marks.refuse,
            "there is too little room for recordings: no session starts until some is made"
        ),
        Room::Scarce => tracing::warn!(
            free, size, mark = %marks.warn,
            "room for recordings gets scarce: make some before sessions are refused"
        ),
        Room::Enough | Room::Unknown => tracing::info!(free, size, "there is room for recordings again"),
    }
}

/// What became of recordings that were left open.
enum Leftovers {
    Sealed,
    /// Not all of them were.
    Stay,
    /// The disk still cannot be written.
    NotYet,
}

async fn seal(recorder: Recorder, now: Timestamp) -> Leftovers {
    let recovered =
        tokio::task::spawn_blocking(move || recorder.is_writable().then(|| recorder.recover(now)));
    match recovered.await {
        Ok(None) => Leftovers::NotYet,
        Ok(Some(Ok(all))) => {
            for one in &all {
                tracing::warn!(session = ?one.session, outcome = ?one.outcome, "a recording was left open");
            }
            let failed = all.iter().any(|one| matches!(one.outcome, Outcome::Failed(_)));
            if failed { Leftovers::Stay } else { Leftovers::Sealed }
        }
        Ok(Some(Err(error))) => {
            tracing::error!(%error, "what is left open cannot be sealed");
            Leftovers::Stay
        }
        Err(_) => Leftovers::Stay,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::recorder::Mark;

    #[test]
    fn operators_are_told_before_sessions_are_refused() {
        let marks = Watermarks { warn: Mark::Percent(10), refuse: Mark::Percent(2) };
        let room = |free| Room::of(Space { free, size: 100 }, marks);
        assert_eq!(
            [room(50), room(10), room(9), room(2), room(1), room(0)],
            [Room::Enough, Room::Enough, Room::Scarce, Room::Scarce, Room::TooLittle, Room::TooLittle]
        );
    }

    #[test]
    fn an_old_reading_is_not_shown() {
        let (look, space) = (LastLook::default(), Space { free: 1, size: 2 });
        assert_eq!(look.read(), None);
        look.keep(space);
        assert_eq!(look.read(), Some(space));
        let old = Instant::now().checked_sub(FRESH).unwrap();
        *look.0.lock().unwrap() = Some((old, space));
        assert_eq!(look.read(), None);
    }
}
