//! What is promised, and whether this run kept it. A shared machine's figures move, so a miss is said and fails the command
//! only with `--check`.

use crate::idle::Idle;
use crate::load::{Measured, SESSION_START};
use crate::permits::{MOST_MS, Permits};
use crate::recording::{self, Recording};
use crate::report::Report;
use crate::search::{self, Searches};
use std::fmt::Write;

/// Windows in the store, fewest first.
pub(crate) const WINDOWS: [u32; 3] = [10, 1_000, 100_000];

/// How much more than with few of them something may cost with many and still be called flat.
const FLAT: f64 = 1.15;

/// One promise and what was measured.
struct Target {
    what: &'static str,
    measured: Option<f64>,
    wanted: Wanted,
    stretch: Option<f64>,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Wanted {
    fn met(self, measured: f64) -> bool {
        match self {
            Wanted::AtLeast(wanted) => measured >= wanted,
            Wanted::AtMost(wanted) => measured <= wanted,
        }
    }

    fn with(self, limit: f64) -> Self {
        match self {
            Wanted::AtLeast(_) => Wanted::AtLeast(limit),
            Wanted::AtMost(_) => Wanted::AtMost(limit),
        }
    }

    fn in_words(self) -> String {
        match self {
            Wanted::AtLeast(wanted) => format!("≥ {wanted}"),
            Wanted::AtMost(wanted) => format!("≤ {wanted}"),
        }
    }
}

/// The name of a load that is measured with so many windows.
pub(crate) fn with_windows(load: &'static str, windows: u32) -> &'static str {
    match (load, windows) {
        (SESSION_START, 10) => "session start, 10 windows",
        (SESSION_START, 1_000) => "session start, 1,000 windows",
        (SESSION_START, _) => "session start, 100,000 windows",
        (_, 10) => "prepared, 10 windows",
        (_, 1_000) => "prepared, 1,000 windows",
        _ => "prepared, 100,000 windows",
    }
}

/// The table of promises, and whether all that was measured was kept.
pub(crate) fn table(
    report: &Report,
    idle: Option<Idle>,
    recordings: &[Recording],
    permits: Option<Permits>,
    search: Option<&Searches>,
) -> (String, bool) {
    let mut text = String::from("| promise | target | stretch | measured | |\n|---|---|---|---|---|\n");
    let mut kept = true;
    for target in targets(report, idle, recordings, permits, search) {
        let stretch = target.stretch.map_or("-".to_owned(), |limit| target.wanted.with(limit).in_words());
        let (measured, verdict) = match target.measured {
            None => ("not measured".to_owned(), ""),
            Some(measured) => {
                let met = target.wanted.met(measured);
                kept &= met;
                let far = target.stretch.is_some_and(|limit| target.wanted.with(limit).met(measured));
                (
                    format!("{measured:.2}"),
                    if far {
                        "stretch met"
                    } else if met {
                        "met"
                    } else {
                        "**missed**"
                    },
                )
            }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {stretch} | {measured} | {verdict} |",
            target.what,
            target.wanted.in_words()
        );
    }
    (text, kept)
}

fn targets(
    report: &Report,
    idle: Option<Idle>,
    recordings: &[Recording],
    permits: Option<Permits>,
    search: Option<&Searches>,
) -> Vec<Target> {
    use Wanted::{AtLeast, AtMost};
    let of =
        |load: &str, route: &str, pick: fn(&Measured) -> Option<f64>| pick(&report.medians(load, route)?);
    let throughput: fn(&Measured) -> Option<f64> = |it| Some(it.throughput);
    let cpu: fn(&Measured) -> Option<f64> = |it| it.cpu.map(|time| time.as_secs_f64());
    let mean: fn(&Measured) -> Option<f64> = |it| Some(it.mean.as_secs_f64());
    let ratio = |load: &str, peer: &str, pick| Some(of(load, "chaperone", pick)? / of(load, peer, pick)?);
    let added = |route: &str| {
        Some(of("prepared, 1 client", route, mean)? - of("prepared, 1 client", "direct", mean)?)
    };
    let grown = |load: &'static str, pick| {
        let [few, .., many] = WINDOWS.map(|windows| of(with_windows(load, windows), "chaperone", pick));
        Some(many? / few?)
    };
    let many_rules = || {
        Some(
            of("rules, 1 client", "chaperone, 1,000 rules", cpu)?
                / of("rules, 1 client", "chaperone, 10 rules", cpu)?,
        )
    };
    let target =
        |what, measured, wanted, stretch: f64| Target { what, measured, wanted, stretch: Some(stretch) };
    let flat = |what, measured| Target { what, measured, wanted: AtMost(FLAT), stretch: None };
    let recorded = |what, load: &str| Target {
        what,
        measured: recordings.iter().find(|one| one.load == load).map(Recording::ratio),
        wanted: AtMost(recording::MOST),
        stretch: None,
    };
    vec![
        target(
            "prepared, 8 clients: throughput to pgbouncer's",
            ratio("prepared, 8 clients", "pgbouncer", throughput),
            AtLeast(0.95),
            1.1,
        ),
        target(
            "prepared, 8 clients: CPU per query to pgbouncer's",
            ratio("prepared, 8 clients", "pgbouncer", cpu),
            AtMost(1.1),
            0.8,
        ),
        target(
            "one client: latency added to a direct connection, to what pgbouncer adds",
            added("chaperone").zip(added("pgbouncer")).map(|(own, peer)| own / peer),
            AtMost(1.2),
            0.8,
        ),
        target(
            "simple, never seen before: CPU per query to pgbouncer's",
            ratio("simple, 8 clients", "pgbouncer", cpu),
            AtMost(1.8),
            1.4,
        ),
        target(
            "COPY of 100 MB: throughput to direct",
            ratio("COPY of 100 MB", "direct", throughput),
            AtLeast(0.95),
            1.0,
        ),
        target(
            "masked COPY of 100 MB: throughput to direct",
            ratio("masked COPY of 100 MB", "direct", throughput),
            AtLeast(0.6),
            0.85,
        ),
        target(
            "masked SELECT of 100 MB: throughput to direct",
            ratio("masked SELECT of 100 MB", "direct", throughput),
            AtLeast(0.6),
            0.85,
        ),
        target(
            "session start: time to that of a direct connection",
            ratio(SESSION_START, "direct", mean),
            AtMost(1.5),
            1.15,
        ),
        target(
            "idle sessions: resident kB for each",
            idle.map(|idle| idle.idle as f64 / 1000.0),
            AtMost(200.0),
            100.0,
        ),
        flat("session start, 100,000 windows to 10", grown(SESSION_START, mean)),
        flat("prepared, 100,000 windows to 10: CPU per query", grown("prepared, 1 client", cpu)),
        flat("simple, 1,000 rules to 10: CPU per query", many_rules()),
        recorded("recording, simple: CPU per query to that without it", recording::LOADS[0]),
        recorded("recording, prepared: CPU per query to that without it", recording::LOADS[1]),
        Target {
            what: "a permit, 100,000 windows and 1,000 requests: ms at p99",
            measured: permits.map(|permits| permits.p99.as_secs_f64() * 1e3),
            wanted: AtMost(MOST_MS),
            stretch: None,
        },
        Target {
            what: "a search in 1,000,000 operations: ms at p99, the slowest kind",
            measured: search.map(|search| search.slowest().as_secs_f64() * 1e3),
            wanted: AtMost(search::MOST_MS),
            stretch: None,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_missed_promise_is_said() {
        let mut report = Report::of("here".to_owned());
        let measured = |throughput| Measured {
            throughput,
            mean: Duration::from_micros(100),
            p99: None,
            cpu: Some(Duration::from_micros(10)),
        };
        report.add("prepared, 8 clients", "pgbouncer", measured(100.0));
        report.add("prepared, 8 clients", "chaperone", measured(96.0));
        let (text, kept) = table(&report, None, &[], None, None);
        assert!(kept, "{text}");
        assert!(text.contains("throughput to pgbouncer's | ≥ 0.95 | ≥ 1.1 | 0.96 | met |"), "{text}");
        let (text, kept) =
            table(&report, Some(Idle { sessions: 1, opened: 0, idle: 250_000 }), &[], None, None);
        assert!(!kept && text.contains("| ≤ 200 | ≤ 100 | 250.00 | **missed** |"), "{text}");
        let slow = Permits { p50: Duration::ZERO, p99: Duration::from_micros(1_010) };
        let (text, kept) = table(&report, None, &[], Some(slow), None);
        assert!(!kept && text.contains("ms at p99 | ≤ 1 | - | 1.01 | **missed** |"), "{text}");
    }
}
