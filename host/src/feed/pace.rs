//! How much of the machine a feed takes: a quarter of one CPU while nothing else happens, a few hundredths under load.
//!
//! What sessions cost is the product's promise; when something is found is not. So the busier the rest of this process is, the
//! longer a feed rests after each piece of work, and it catches up later. `/proc/self/stat` says how busy it is (proc(5)); where it
//! cannot be read, the rest counts as idle.

use std::time::{Duration, Instant};

/// Rests are this many times as long as the work before them when nothing else happens.
const IDLE_FACTOR: f64 = 3.0;

/// So many times more for each CPU that the rest of the process keeps busy.
const BUSY_FACTOR: f64 = 90.0;

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Rests shorter than this are taken together: a timer is not finer.
const SHORTEST_REST: Duration = Duration::from_millis(5);

/// How often it is looked how busy the process is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A tick of `/proc/self/stat`: `USER_HZ` is 100 wherever Linux runs.
const TICK: Duration = Duration::from_millis(10);

/// Work so far, and how busy the rest is.
#[derive(Debug)]
pub(super) struct Pace {
    looked: Instant,
    cpu: Duration,
    /// The feed's own work since then.
    work: Duration,
    /// Rest that was not taken yet.
    owed: Duration,
    /// CPUs that the rest of the process kept busy.
    busy: f64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Pace { looked: Instant::now(), cpu: cpu(), work: Duration::ZERO, owed: Duration::ZERO, busy: 0.0 }
    }

    /// How long to rest after so much work.
    pub(super) fn rest_after(&mut self, work: Duration) -> Duration {
        self.work += work;
        let passed = self.looked.elapsed();
        if passed >= LOOK_EVERY {
            let cpu = cpu();
            self.busy = share(cpu.saturating_sub(self.cpu), self.work, passed);
            (self.looked, self.cpu, self.work) = (Instant::now(), cpu, Duration::ZERO);
        }
        self.owed += rest(work, self.busy);
        if self.owed < SHORTEST_REST {
            Duration::ZERO
        } else {
            std::mem::take(&mut self.owed).min(LONGEST_REST)
        }
    }
}

/// CPUs that others kept busy. Waiting for the store counts as work here: it makes the share smaller, never negative.
fn share(cpu: Duration, own: Duration, passed: Duration) -> f64 {
    cpu.saturating_sub(own).as_secs_f64() / passed.as_secs_f64().max(f64::EPSILON)
}

fn rest(work: Duration, busy: f64) -> Duration {
    let rest = work.as_secs_f64() * (IDLE_FACTOR + BUSY_FACTOR * busy);
    Duration::try_from_secs_f64(rest).unwrap_or(LONGEST_REST).min(LONGEST_REST)
}

/// What the process has used: user and system time of all its threads.
fn cpu() -> Duration {
    let ticks = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| ticks(&stat));
    TICK.saturating_mul(u32::try_from(ticks.unwrap_or(0)).unwrap_or(u32::MAX))
}

/// The fields `utime` and `stime`: the 14th and the 15th. The second is the program's name in parentheses, and may hold any.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_the_rest_is_the_longer_the_feed_rests() {
        let work = Duration::from_millis(10);
        assert_eq!(rest(work, 0.0), Duration::from_millis(30));
        assert_eq!(rest(work, 1.0), Duration::from_millis(930));
        assert_eq!(rest(Duration::from_secs(60), 0.0), LONGEST_REST);
        assert_eq!(rest(work, f64::NAN), LONGEST_REST);
        let seconds = Duration::from_secs;
        assert!((share(seconds(3), seconds(1), seconds(2)) - 1.0).abs() < 1e-9);
        assert!(share(seconds(1), seconds(2), seconds(2)).abs() < 1e-9);
    }

    #[test]
    fn used_time_is_read_whatever_the_program_is_called() {
        let stat = "7 (a) R b (c)) S 1 7 7 0 -1 4 5 6 7 8 120 30 1 2 20 0 9 0 100";
        assert_eq!(ticks(stat), Some(150));
        assert_eq!(ticks("7 (x) S 1"), None);
        assert!(std::fs::read_to_string("/proc/self/stat").is_ok_and(|stat| ticks(&stat).is_some()));
    }
}
