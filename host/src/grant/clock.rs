//! The one place where the time is read.
//!
//! A window is wall-clock time, but the wall clock may be set. [`SystemClock`] never runs slower than real time: when the
//! wall clock is set back, it goes on by the monotonic clock from where it was. So a step forwards ends windows early
//! and a step backwards does not lengthen them. How far it has come is noted in the store, so that this holds across a restart.

use chaperone_core::Timestamp;
use chaperone_core::window::after;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Says what time it is.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time to decide by.
    fn now(&self) -> Timestamp;
}

/// The time of this machine, never behind its own past.
#[derive(Debug)]
pub struct SystemClock {
    furthest: Mutex<(Timestamp, Instant)>,
}

impl SystemClock {
    /// Starts from the wall clock.
    pub fn new() -> Self {
        SystemClock::not_before(Timestamp::now())
    }

    /// Starts from the wall clock, or from `furthest` when that is later: how far the clock had come before a restart.
    pub fn not_before(furthest: Timestamp) -> Self {
        SystemClock { furthest: Mutex::new((Timestamp::now().max(furthest), Instant::now())) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let mut furthest = self.furthest.lock().unwrap_or_else(PoisonError::into_inner);
        *furthest = advance(*furthest, Timestamp::now(), Instant::now());
        furthest.0
    }
}

/// The later of the wall clock and of what has really passed since the last answer.
fn advance(last: (Timestamp, Instant), wall: Timestamp, real: Instant) -> (Timestamp, Instant) {
    let passed = real.saturating_duration_since(last.1);
    let at_least = after(last.0, passed).unwrap_or(last.0);
    (wall.max(at_least), real)
}

/// A clock for tests and for trying policies out: it stands still until it is moved.
#[derive(Debug)]
pub struct SimulatedClock(Mutex<Timestamp>);

impl SimulatedClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        SimulatedClock(Mutex::new(now))
    }

    /// Moves on.
    pub fn pass(&self, time: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = after(*now, time).unwrap_or(*now);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the wall clock does, at least the real time passes, and a window is never longer than real time.
        #[test]
        fn steps_of_the_wall_clock_never_slow_it(steps in proptest::collection::vec((0u64..10_000, -100_000i64..100_000), 1..40)) {
            let begin = Instant::now();
            let mut real = begin;
            let mut clock = (Timestamp::from_second(1_000_000).unwrap(), begin);
            for (passed, error) in steps {
                real += Duration::from_millis(passed);
                let wall_millis = 1_000_000_000 + i64::try_from((real - begin).as_millis()).unwrap() + error;
                let before = clock.0;
                clock = advance(clock, Timestamp::from_millisecond(wall_millis).unwrap(), real);
                let seemed = clock.0.duration_since(before).as_millis();
                prop_assert!(seemed >= i128::from(passed), "{seemed} < {passed}");
                prop_assert!(clock.0.as_millisecond() >= wall_millis);
            }
        }
    }
}
