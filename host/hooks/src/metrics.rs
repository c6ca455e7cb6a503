//! Counters for each plugin and hook: calls by how long they took, time, faults. Plain atomics, so that counting never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The hooks that exist, in the order of a plugin's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// `sql-check`
    SqlCheck,
    /// `approval-trigger`
    ApprovalTrigger,
    /// `column-mask`
    ColumnMask,
}

impl Hook {
    /// All hooks.
    pub const ALL: [Hook; 3] = [Hook::SqlCheck, Hook::ApprovalTrigger, Hook::ColumnMask];

    /// The interface's name in `wit/`.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::SqlCheck => "sql-check",
            Hook::ApprovalTrigger => "approval-trigger",
            Hook::ColumnMask => "column-mask",
        }
    }
}

/// Where the steps of [`Times`] begin: everything under 512 ns is one step.
const FIRST_BITS: u32 = 9;

/// Doublings that are told apart: up to 8.6 seconds, longer than any deadline.
const DOUBLINGS: usize = 24;

/// Steps of each doubling: a time is known to a quarter of it.
const PARTS: usize = 4;

/// The doublings that end at 1.024 microseconds and at 1.07 seconds.
const FIRST_BUCKET: usize = 1;
const LAST_BUCKET: usize = 21;

const STEPS: usize = 1 + DOUBLINGS * PARTS;

/// Counters of one hook of one plugin.
#[derive(Debug)]
pub struct HookMetrics {
    /// Calls by their time. Their sum is the number of calls, so that a call costs one addition for both.
    times: [AtomicU64; STEPS],
    nanoseconds: AtomicU64,
    faults: AtomicU64,
}

impl Default for HookMetrics {
    fn default() -> Self {
        HookMetrics {
            times: std::array::from_fn(|_| AtomicU64::new(0)),
            nanoseconds: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }
}

/// How long calls took, each known to a quarter of a doubling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times([u64; STEPS]);

impl Default for Times {
    fn default() -> Self {
        Times([0; STEPS])
    }
}

impl Times {
    /// How many calls.
    pub fn calls(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many took less than each of some times, each twice the one before, from a microsecond to a second: the buckets
    /// of a histogram, without the last one, which is for all calls.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut seen = 0;
        self.0.iter().enumerate().filter_map(move |(step, count)| {
            seen += count;
            let is_end = step % PARTS == 0 && (FIRST_BUCKET..=LAST_BUCKET).contains(&(step / PARTS));
            is_end.then(|| (Duration::from_nanos(end_of(step)), seen))
        })
    }

    /// Those of both.
    pub fn and(&self, other: &Times) -> Times {
        Times(std::array::from_fn(|step| at(&self.0, step) + at(&other.0, step)))
    }

    /// Those that are new since an earlier reading of the same counters.
    pub fn since(&self, earlier: &Times) -> Times {
        Times(std::array::from_fn(|step| at(&self.0, step).saturating_sub(at(&earlier.0, step))))
    }

    /// What `percent` of the calls took at most, rounded up to the end of its step; none without calls.
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let wanted = (self.calls() * u64::from(percent)).div_ceil(100);
        if wanted == 0 {
            return None;
        }
        let mut seen = 0;
        let step = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        step.map(|step| Duration::from_nanos(end_of(step)))
    }
}

fn at(times: &[u64; STEPS], step: usize) -> u64 {
    times.get(step).copied().unwrap_or_default()
}

/// The step of a time in nanoseconds; the last one is for all that is longer.
fn step_of(nanoseconds: u64) -> usize {
    let bits = u64::BITS - nanoseconds.leading_zeros();
    let Some(doubling) = bits.checked_sub(FIRST_BITS + 1) else { return 0 };
    // The two bits behind the first.
    let part = (nanoseconds >> (bits - 3)) & 3;
    let step =
        1 + usize::try_from(doubling).unwrap_or(DOUBLINGS) * PARTS + usize::try_from(part).unwrap_or(0);
    step.min(STEPS - 1)
}

/// The first time, in nanoseconds, that is longer than those of a step.
fn end_of(step: usize) -> u64 {
    let Some(behind) = step.checked_sub(1) else { return 1 << FIRST_BITS };
    let begin = 1_u64 << (FIRST_BITS as usize + behind / PARTS);
    let parts = u64::try_from(behind % PARTS).unwrap_or(0) + 1;
    begin + begin / 4 * parts
}

/// A reading of [`HookMetrics`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookReading {
    /// Calls that reached the plugin, faulted ones included.
    pub calls: u64,
    /// The same calls by how long each took.
    pub times: Times,
    /// Time inside the plugin and across its border.
    pub time: Duration,
    /// Faults: of calls, of answers, and of questions that could not be asked.
    pub faults: u64,
}

impl HookMetrics {
    pub(crate) fn called(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(step) = self.times.get(step_of(nanoseconds)) {
            step.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn faulted(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads the counters; they are not read at one instant.
    pub fn read(&self) -> HookReading {
        let counted = |step: usize| self.times.get(step).map_or(0, |count| count.load(Ordering::Relaxed));
        let times = Times(std::array::from_fn(counted));
        HookReading {
            calls: times.calls(),
            times,
            time: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
            faults: self.faults.load(Ordering::Relaxed),
        }
    }
}

/// Counts instances that are alive.
#[derive(Debug, Default)]
pub(crate) struct Alive(Arc<AtomicU64>);

/// One of them, until it is dropped.
pub(crate) struct Counted(Arc<AtomicU64>);

impl Alive {
    /// One more.
    pub(crate) fn count(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }

    /// How many there are.
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_step_that_ends_next_behind_it() {
        for nanoseconds in
            (0..40).flat_map(|bits| [0, 1, 3].map(|more| (1_u64 << bits) + more * (1 << bits) / 4))
        {
            let step = step_of(nanoseconds);
            if step < STEPS - 1 {
                assert!(nanoseconds < end_of(step), "{nanoseconds} in {step}");
            }
            assert!(step == 0 || end_of(step - 1) <= nanoseconds, "{nanoseconds} in {step}");
        }
        assert_eq!((step_of(0), step_of(511), step_of(512), step_of(u64::MAX)), (0, 0, 1, STEPS - 1));
        assert!((1..STEPS).all(|step| end_of(step) > end_of(step - 1)));
    }

    #[test]
    fn a_bucket_has_what_took_less_than_its_end() {
        let metrics = HookMetrics::default();
        for nanoseconds in [0, 1023, 1024, 2047, 2048, 1 << 30, u64::MAX] {
            metrics.called(Duration::from_nanos(nanoseconds));
        }
        let buckets: Vec<_> = metrics.read().times.buckets().collect();
        let end = |at: usize| (buckets[at].0.as_nanos(), buckets[at].1);
        assert_eq!((buckets.len(), end(0), end(1), end(2)), (21, (1024, 2), (2048, 4), (4096, 5)));
        assert_eq!(end(20), (1 << 30, 5), "two of seven took a second or more");
        assert!(buckets.windows(2).all(|two| two[1].0 == two[0].0 * 2 && two[1].1 >= two[0].1));
    }

    #[test]
    fn a_percentile_is_never_too_short_and_at_most_a_quarter_too_long() {
        let metrics = HookMetrics::default();
        assert_eq!(metrics.read().times.percentile(99), None);
        for micros in 1..=1000 {
            metrics.called(Duration::from_micros(micros));
        }
        let read = metrics.read();
        assert_eq!((read.calls, read.time), (1000, Duration::from_micros(500_500)));
        for percent in [1, 50, 99, 100] {
            let exact = Duration::from_micros(10 * u64::from(percent));
            let told = read.times.percentile(percent).unwrap();
            assert!(told >= exact && told <= exact.mul_f64(1.26), "{percent}: {told:?}");
        }
        metrics.called(Duration::from_secs(1));
        let new = metrics.read().times.since(&read.times);
        assert_eq!(new.calls(), 1);
        assert!(new.percentile(1).unwrap() >= Duration::from_secs(1));
        assert_eq!(new.and(&read.times), metrics.read().times);
    }
}
