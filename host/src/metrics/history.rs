//! How the gateway's numbers were in the last hours: a ring of samples in memory, for the console's plots.
//!
//! For a look at a running gateway; what has to last is a monitoring system's business ([`super::text`]). A restart begins anew.
//! Bounded: [`MAX_SAMPLES`], each of some hundred bytes.

use crate::session::Decisions;
use chaperone_core::Timestamp;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often a sample is taken.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Samples that are kept: six hours.
pub const MAX_SAMPLES: usize = 6 * 60 * 6;

/// The hooks of plugins, in their order.
pub const HOOKS: usize = chaperone_hooks::Hook::ALL.len();

/// One sample. What counts up is told since the one before.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When it was taken.
    pub at: Timestamp,
    /// Sessions that ran then.
    pub live: usize,
    /// What was decided since the one before.
    pub decided: Decisions,
    /// What waited for people then, of all gateways on the store; none where it did not answer.
    pub waiting: Option<u64>,
    /// For each hook what 99 of 100 calls since the one before took at most; none without calls.
    pub hooks: [Option<Duration>; HOOKS],
}

/// The samples, the oldest first.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Sample>>);

impl History {
    /// Keeps one; the oldest goes when there is no place.
    pub fn note(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() >= MAX_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Those from a moment on.
    pub fn since(&self, moment: Timestamp) -> Vec<Sample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().filter(|sample| sample.at >= moment).cloned().collect()
    }
}

/// At most `points` samples that say the same: of neighbours the sum of what was counted, and the highest of what was measured,
/// so that no peak is lost.
pub fn thinned(samples: &[Sample], points: usize) -> Vec<Sample> {
    let together = samples.len().div_ceil(points.max(1)).max(1);
    samples.chunks(together).filter_map(|chunk| chunk.iter().cloned().reduce(joined)).collect()
}

fn joined(one: Sample, next: Sample) -> Sample {
    Sample {
        at: next.at,
        live: one.live.max(next.live),
        decided: one.decided.and(next.decided),
        waiting: one.waiting.max(next.waiting),
        hooks: std::array::from_fn(|hook| {
            let of = |sample: &Sample| sample.hooks.get(hook).copied().flatten();
            of(&one).max(of(&next))
        }),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::state::tests::at;

    fn sample(second: i64, live: usize) -> Sample {
        let decided = Decisions { allowed: 1, refused: 0, held: 2 };
        Sample {
            at: at(second),
            live,
            decided,
            waiting: None,
            hooks: [None, Some(Duration::from_micros(7)), None],
        }
    }

    #[test]
    fn the_oldest_goes_when_the_ring_is_full() {
        let history = History::default();
        for second in 0..=i64::try_from(MAX_SAMPLES).unwrap() {
            history.note(sample(second, 0));
        }
        let all = history.since(Timestamp::MIN);
        assert_eq!((all.len(), all[0].at), (MAX_SAMPLES, at(1)));
        assert_eq!(history.since(at(2000)).len(), MAX_SAMPLES - 1999);
    }

    #[test]
    fn fewer_points_lose_no_count_and_no_peak() {
        let samples: Vec<_> = (0..10).map(|second| sample(second, usize::from(second == 4) * 9)).collect();
        for points in [1, 3, 7, 10, 100] {
            let few = thinned(&samples, points);
            assert!(few.len() <= points, "{points}");
            assert_eq!(few.iter().map(|one| one.decided.held).sum::<u64>(), 20);
            assert_eq!(few.iter().map(|one| one.live).max(), Some(9));
            assert_eq!(few.last().map(|one| one.at), Some(at(9)));
            assert!(
                few.iter()
                    .all(|one| one.hooks[1] == Some(Duration::from_micros(7)) && one.hooks[0].is_none())
            );
        }
        assert!(thinned(&[], 10).is_empty());
    }
}
