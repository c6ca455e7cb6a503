//! Places in the pool of instances, so that sessions which find it full wait for their turn.
//!
//! A session takes all the places that it needs at once: one that held some and waited for the others would keep both from
//! everybody. Whoever waits is served in order. What may go wrong: nobody gives a place back. Then the wait ends and the
//! operation is refused; a session that rests gives its places back, and at once when few are left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places are scarce when fewer than one in so many is free.
const SCARCE_FRACTION: usize = 4;

/// All places of an engine.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    of: u32,
    /// With fewer free places, sessions give theirs back as soon as they do not need them.
    scarce: usize,
    waiting: AtomicUsize,
    patience: Duration,
}

/// Counts one that waits, also when it gives up half-way.
struct Waiting<'s>(&'s AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    /// `of` places, for which a session waits at most as long as `patience`.
    pub(crate) fn new(of: u32, patience: Duration) -> Self {
        let permits = usize::try_from(of).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        let scarce = permits / SCARCE_FRACTION;
        Slots { free: Arc::new(Semaphore::new(permits)), of, scarce, waiting: AtomicUsize::new(0), patience }
    }

    /// So many places; the error says for operators why there are none.
    pub(crate) async fn take(&self, count: usize) -> Result<OwnedSemaphorePermit, String> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count > self.of {
            return Err(format!("{count} instances are needed, and there are {} in all", self.of));
        }
        if let Ok(taken) = Arc::clone(&self.free).try_acquire_many_owned(count) {
            return Ok(taken);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        let turn = Arc::clone(&self.free).acquire_many_owned(count);
        match tokio::time::timeout(self.patience, turn).await {
            Ok(Ok(taken)) => Ok(taken),
            // Fails closed: without an instance nothing is judged.
            Ok(Err(_)) | Err(_) => Err(format!(
                "all {} instances are in use, and none was free within {:?}",
                self.of, self.patience
            )),
        }
    }

    /// Whether somebody waits for a place.
    pub(crate) fn are_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether somebody does, or soon has to.
    pub(crate) fn are_wanted(&self) -> bool {
        self.are_waited_for() || self.free.available_permits() < self.scarce
    }
}
