//! Medians of all rounds as a Markdown table: each route's figures, and their ratio to a peer's.

use crate::load::Measured;
use anyhow::Result;
use chaperone::demo::postgres::Postgres;
use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

/// Everything that was measured.
pub(crate) struct Report {
    setting: String,
    /// Load, route, and one value a round.
    runs: Vec<(&'static str, &'static str, Vec<Measured>)>,
}

impl Report {
    pub(crate) fn new(server: &Postgres) -> Result<Self> {
        let version = server.sql("postgres", "show server_version")?;
        Ok(Report::of(format!("{}; commit {}; PostgreSQL {}", machine(), commit(), version.trim())))
    }

    pub(crate) fn of(setting: String) -> Self {
        Report { setting, runs: Vec::new() }
    }

    pub(crate) fn add(&mut self, load: &'static str, route: &'static str, measured: Measured) {
        match self.runs.iter_mut().find(|run| (run.0, run.1) == (load, route)) {
            Some((_, _, values)) => values.push(measured),
            None => self.runs.push((load, route, vec![measured])),
        }
    }

    /// Medians of a load on a route; `None` where it was not measured.
    pub(crate) fn medians(&self, load: &str, route: &str) -> Option<Measured> {
        let (_, _, values) = self.runs.iter().find(|run| (run.0, run.1) == (load, route))?;
        let time = |pick: fn(&Measured) -> Option<Duration>| {
            median(values.iter().filter_map(pick).map(|time| time.as_secs_f64()).collect())
                .map(Duration::from_secs_f64)
        };
        Some(Measured {
            throughput: median(values.iter().map(|value| value.throughput).collect())?,
            mean: time(|value| Some(value.mean))?,
            p99: time(|value| value.p99),
            cpu: time(|value| value.cpu),
        })
    }

    /// The table. Beside each figure stands its ratio to `peer`'s in the same load, or to the first route's where the peer
    /// was not measured.
    pub(crate) fn markdown(&self, peer: &str) -> String {
        let rounds = self.runs.iter().map(|run| run.2.len()).max().unwrap_or(0);
        let mut text = format!(
            "{}; medians of {rounds}; in parentheses: ratio to {peer}, or else to the first of the load\n\n",
            self.setting
        );
        text.push_str(
            "| load | route | throughput | mean | p99 | CPU of the proxy |\n|---|---|---|---|---|---|\n",
        );
        for (load, route, _) in &self.runs {
            let Some(own) = self.medians(load, route) else { continue };
            let has_peer = self.runs.iter().any(|run| (run.0, run.1) == (*load, peer));
            let first = self.runs.iter().find(|run| run.0 == *load).map_or(peer, |run| run.1);
            let peer = if has_peer { peer } else { first };
            let peer = self.medians(load, peer).filter(|_| *route != peer);
            let throughput =
                format!("{:.1}/s{}", own.throughput, ratio(own.throughput, peer.map(|p| p.throughput)));
            let cell = |pick: fn(&Measured) -> Option<Duration>| match pick(&own) {
                Some(time) => {
                    let of_peer = peer.as_ref().and_then(pick).map(|time| time.as_secs_f64());
                    format!("{}{}", in_words(time), ratio(time.as_secs_f64(), of_peer))
                }
                None => "-".to_owned(),
            };
            let (mean, p99, cpu) = (cell(|m| Some(m.mean)), cell(|m| m.p99), cell(|m| m.cpu));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {load} | {route} | {throughput} | {mean} | {p99} | {cpu} |");
        }
        text
    }
}

fn ratio(own: f64, peer: Option<f64>) -> String {
    match peer {
        Some(peer) if peer > 0.0 => format!(" ({:.2})", own / peer),
        _ => String::new(),
    }
}

fn in_words(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1e3 { format!("{micros:.1} µs") } else { format!("{:.1} ms", micros / 1e3) }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some((values.get(low)? + values.get(high)?) / 2.0)
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cpus} CPUs ({})", model.map_or("unknown", |(_, model)| model))
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text =
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(throughput: f64, micros: u64, cpu: Option<u64>) -> Measured {
        let mean = Duration::from_micros(micros);
        Measured { throughput, mean, p99: None, cpu: cpu.map(Duration::from_micros) }
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn the_table_shows_medians_and_ratios() {
        let mut report = Report::of("here".to_owned());
        for throughput in [90.0, 100.0, 5000.0] {
            report.add("simple", "pgbouncer", measured(throughput, 100, Some(20)));
        }
        report.add("simple", "chaperone", measured(50.0, 150, Some(10)));
        report.add("copy", "direct", measured(2.0, 500_000, None));
        let expected = "here; medians of 3; in parentheses: ratio to pgbouncer, or else to the first of the load\n\n\
            | load | route | throughput | mean | p99 | CPU of the proxy |\n|---|---|---|---|---|---|\n\
            | simple | pgbouncer | 100.0/s | 100.0 µs | - | 20.0 µs |\n\
            | simple | chaperone | 50.0/s (0.50) | 150.0 µs (1.50) | - | 10.0 µs (0.50) |\n\
            | copy | direct | 2.0/s | 500.0 ms | - | - |\n";
        assert_eq!(report.markdown("pgbouncer"), expected);
    }
}
