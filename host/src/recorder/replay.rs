//! When to show which event: the timing of a replay, without a clock.
//!
//! Whoever replays waits for the delay and shows the event; nothing here sleeps, so a replay can be tested by a table
//! and driven by a terminal or a web page alike.

use super::reader::Event;
use std::time::Duration;

/// How fast a replay goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    speed: f64,
    idle_cap: Option<Duration>,
}

/// Why a number is no speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a speed is a number from 0.01 to 1000: 1 is as it happened, 2 is twice as fast")]
pub struct SpeedError;

impl Pace {
    /// As it happened.
    pub const REAL_TIME: Pace = Pace { speed: 1.0, idle_cap: None };

    /// `speed` times as fast as it happened.
    ///
    /// # Errors
    /// Unless it is between 0.01 and 1000.
    pub fn new(speed: f64) -> Result<Self, SpeedError> {
        if (0.01..=1000.0).contains(&speed) { Ok(Pace { speed, idle_cap: None }) } else { Err(SpeedError) }
    }

    /// Shortens every pause in which nothing happened to at most `cap` of recorded time.
    #[must_use]
    pub fn with_idle_cap(mut self, cap: Duration) -> Self {
        self.idle_cap = Some(cap);
        self
    }

    fn delay(self, recorded: Duration) -> Duration {
        let shortened = self.idle_cap.map_or(recorded, |cap| recorded.min(cap));
        Duration::try_from_secs_f64(shortened.as_secs_f64() / self.speed).unwrap_or(Duration::MAX)
    }
}

/// Pairs every event with the time to wait before it is shown. Errors pass through.
pub fn schedule<E>(
    events: impl Iterator<Item = Result<Event, E>>,
    pace: Pace,
) -> impl Iterator<Item = Result<(Duration, Event), E>> {
    let mut shown_us = 0_u64;
    events.map(move |event| {
        let event = event?;
        let recorded = Duration::from_micros(event.at_us.saturating_sub(shown_us));
        shown_us = shown_us.max(event.at_us);
        Ok((pace.delay(recorded), event))
    })
}
