//! What is run on each route, and reading what pgbench says about it.

use crate::places::Places;
use crate::process::cpu_time;
use crate::route::{DATABASE, Route};
use anyhow::{Context, Result, bail};
use chaperone::demo::postgres::Postgres;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// pgbench's accounts: 100,000 rows each. Small enough to stay in memory.
const SCALE: &str = "5";

/// Rows of the table that is copied: 100 MB as text.
const COPIED_ROWS: u32 = 1_000_000;

/// The part of transactions whose latency is logged. All of them would cost pgbench more than the query does.
const SAMPLED: &str = "0.1";

/// One thing to measure.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    kind: Kind,
    /// On which routes.
    pub(crate) on: On,
}

/// The routes of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// Direct, pgbouncer, Chaperone.
    All,
    /// Direct, and Chaperone with masks that apply.
    Masked,
    /// Chaperone with few rules and with many.
    Rules,
    /// Chaperone, and Chaperone with recordings that survive power loss.
    Durable,
}

enum Kind {
    /// `pgbench -S` in a query mode with so many clients.
    Select { mode: &'static str, clients: u32 },
    /// One `COPY TO STDOUT` of a table.
    Copy { table: &'static str },
    /// One `SELECT` of a whole table.
    Whole { table: &'static str },
    /// A connection for each query.
    Connect,
}

/// In the order of the report.
pub(crate) const LOADS: &[Load] = &[
    select("simple, 1 client", "simple", 1, On::All),
    select("simple, 8 clients", "simple", 8, On::All),
    select("extended, 1 client", "extended", 1, On::All),
    select("extended, 8 clients", "extended", 8, On::All),
    select("prepared, 1 client", "prepared", 1, On::All),
    select("prepared, 8 clients", "prepared", 8, On::All),
    Load { name: "COPY of 100 MB", kind: Kind::Copy { table: "copied" }, on: On::All },
    Load { name: "masked COPY of 100 MB", kind: Kind::Copy { table: "masked" }, on: On::Masked },
    Load { name: "masked SELECT of 100 MB", kind: Kind::Whole { table: "masked" }, on: On::Masked },
    Load { name: SESSION_START, kind: Kind::Connect, on: On::All },
    select("rules, 1 client", "simple", 1, On::Rules),
    select("durable, 1 client", "prepared", 1, On::Durable),
    select("durable, 8 clients", "prepared", 8, On::Durable),
    Load { name: "durable session start", kind: Kind::Connect, on: On::Durable },
];

/// Also measured with more and more windows in the store.
pub(crate) const SESSION_START: &str = "session start";

const fn select(name: &'static str, mode: &'static str, clients: u32, on: On) -> Load {
    Load { name, kind: Kind::Select { mode, clients }, on }
}

/// What one run of a load gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    /// Operations per second: transactions, connections, or copies.
    pub(crate) throughput: f64,
    /// Mean time of one operation.
    pub(crate) mean: Duration,
    /// 99th percentile of that, where single operations are timed.
    pub(crate) p99: Option<Duration>,
    /// CPU time of the proxy for one operation, where there is a proxy.
    pub(crate) cpu: Option<Duration>,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, mean {:?}", self.throughput, self.mean)?;
        self.p99.map_or(Ok(()), |p99| write!(f, ", p99 {p99:?}"))?;
        self.cpu.map_or(Ok(()), |cpu| write!(f, ", CPU {cpu:?}"))
    }
}

/// Fills the database that all routes lead to.
pub(crate) fn prepare(server: &Postgres) -> Result<()> {
    let route = Route::direct(server);
    let mut pgbench = route.client(server.bin_dir(), "pgbench");
    run(pgbench.args(["--initialize", "--quiet", "--scale", SCALE]))?;
    server.sql(
        DATABASE,
        &format!(
            "create table copied as select n, md5(n::text) as a, md5((n + 1)::text) as b, repeat('x', 25) as c \
             from generate_series(1, {COPIED_ROWS}) n;\n\
             create table masked as select md5(n::text) as secret, md5((n + 1)::text) as a, \
             'order ' || n as b, 'left with the porter' as c from generate_series(1, {COPIED_ROWS}) n;\n\
             vacuum analyze copied, masked;"
        ),
    )?;
    Ok(())
}

impl Load {
    /// Runs it once. `seconds` is how long, where that can be chosen.
    pub(crate) fn run(&self, route: &Route, server: &Postgres, seconds: u32) -> Result<Measured> {
        let bin_dir = server.bin_dir();
        let alone = matches!(self.kind, Kind::Select { clients: 1, .. });
        let places = match server.pid() {
            Some(server) if alone => Places::take(route.proxy, server)?,
            _ => None,
        };
        let before = route.proxy.map(cpu_time).transpose()?;
        let (count, mut measured) = match self.kind {
            Kind::Select { mode, clients } => {
                let threads = clients.min(2).to_string();
                let arguments = ["--select-only", "--protocol", mode, "--jobs", &threads];
                pgbench(route, bin_dir, seconds, clients, &arguments, places.as_ref())?
            }
            Kind::Connect => {
                let (count, measured) =
                    pgbench(route, bin_dir, seconds, 1, &["--select-only", "--connect"], None)?;
                // What is logged is the query alone, without the connection.
                (count, Measured { p99: None, ..measured })
            }
            Kind::Copy { table } => copy(route, bin_dir, table)?,
            Kind::Whole { table } => whole(route, bin_dir, table)?,
        };
        if let (Some(pid), Some(before)) = (route.proxy, before) {
            let used = cpu_time(pid)?.saturating_sub(before);
            measured.cpu = Some(used.div_f64(count as f64));
        }
        Ok(measured)
    }
}

fn pgbench(
    route: &Route,
    bin_dir: &Path,
    seconds: u32,
    clients: u32,
    arguments: &[&str],
    places: Option<&Places>,
) -> Result<(u64, Measured)> {
    let logs = tempfile::tempdir()?;
    let mut command = route.client(bin_dir, "pgbench");
    command.args(["--no-vacuum", "--log", "--sampling-rate", SAMPLED, "--time"]).arg(seconds.to_string());
    command.arg("--client").arg(clients.to_string());
    command.arg("--log-prefix").arg(logs.path().join("log")).args(arguments);
    if places.is_some() {
        command = Places::first(&command);
    }
    let said = run(&mut command)?;
    let summary = Summary::parse(&said).with_context(|| format!("pgbench said something else: {said}"))?;
    if summary.failed != 0 {
        bail!("{} transactions failed through {}", summary.failed, route.name);
    }
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(logs.path())? {
        latencies.extend(logged_latencies(&std::fs::read_to_string(entry?.path())?));
    }
    let measured = Measured {
        throughput: summary.tps,
        // Each client has one transaction under way at any time. pgbench's own figure has three digits only.
        mean: Duration::from_secs_f64(f64::from(clients) / summary.tps),
        p99: percentile(&mut latencies, 0.99),
        cpu: None,
    };
    Ok((summary.transactions, measured))
}

/// The lines of pgbench's summary that are used.
#[derive(Debug, PartialEq)]
struct Summary {
    transactions: u64,
    failed: u64,
    tps: f64,
}

impl Summary {
    fn parse(text: &str) -> Option<Self> {
        // Every line is `name = value unit (remark)` or `name: value (remark)`.
        let value = |name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            rest.trim_start_matches([' ', '=', ':']).split([' ', '/']).next()
        };
        Some(Summary {
            transactions: value("number of transactions actually processed")?
                .parse()
                .ok()
                .filter(|n| *n > 0)?,
            failed: value("number of failed transactions")?.parse().ok()?,
            tps: value("tps")?.parse().ok().filter(|tps| *tps > 0.0)?,
        })
    }
}

/// The third field of each line of a log is the transaction's time in microseconds, or a word where it failed.
fn logged_latencies(log: &str) -> impl Iterator<Item = Duration> {
    log.lines().filter_map(|line| Some(Duration::from_micros(line.split(' ').nth(2)?.parse().ok()?)))
}

/// The nearest-rank percentile; `part` is 0 to 1. `None` of nothing.
fn percentile(values: &mut [Duration], part: f64) -> Option<Duration> {
    values.sort_unstable();
    let rank = (part * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

fn copy(route: &Route, bin_dir: &Path, table: &str) -> Result<(u64, Measured)> {
    let mut psql = route.client(bin_dir, "psql");
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--command"]);
    psql.arg(format!("copy {table} to stdout"));
    let started = Instant::now();
    let status = psql.stdout(Stdio::null()).stdin(Stdio::null()).status().context("cannot run psql")?;
    let took = started.elapsed();
    if !status.success() {
        bail!("the copy through {} failed", route.name);
    }
    Ok((1, Measured { throughput: 1.0 / took.as_secs_f64(), mean: took, p99: None, cpu: None }))
}

/// By pgbench, which reads a result and drops it.
fn whole(route: &Route, bin_dir: &Path, table: &str) -> Result<(u64, Measured)> {
    let mut script = tempfile::NamedTempFile::new()?;
    writeln!(script, "select * from {table};")?;
    let mut command = route.client(bin_dir, "pgbench");
    command.args(["--no-vacuum", "--transactions", "1", "--file"]).arg(script.path());
    let said = run(&mut command)?;
    let summary = Summary::parse(&said).with_context(|| format!("pgbench said something else: {said}"))?;
    let mean = Duration::from_secs_f64(1.0 / summary.tps);
    Ok((1, Measured { throughput: summary.tps, mean, p99: None, cpu: None }))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("cannot run pgbench")?;
    if !output.status.success() {
        bail!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_pgbench_is_understood() {
        let common = "transaction type: <builtin: select only>\nscaling factor: 5\nquery mode: prepared\n\
            number of clients: 8\nduration: 2 s\nnumber of transactions actually processed: 50377\n\
            number of failed transactions: 0 (0.000%)\nlatency average = 0.317 ms\n";
        let steady = format!(
            "{common}initial connection time = 24.8 ms\ntps = 25202.5 (without initial connection time)\n"
        );
        let expected = Summary { transactions: 50377, failed: 0, tps: 25202.5 };
        assert_eq!(Summary::parse(&steady), Some(expected));
        let connecting =
            format!("{common}average connection time = 3.5 ms\ntps = 270.1 (including reconnection times)\n");
        assert_eq!(Summary::parse(&connecting).unwrap().tps, 270.1);
        let limited = common.replace("50377", "50377/60000");
        assert_eq!(Summary::parse(&format!("{limited}tps = 1.0\n")).unwrap().transactions, 50377);
        assert_eq!(Summary::parse(common), None);
        assert_eq!(Summary::parse(&steady.replace("50377", "0")), None);
    }

    #[test]
    fn latencies_are_read_and_failures_are_left_out() {
        let log = "0 199 2241 0 1175850568 995598\n0 200 failed 0 1175850568 998079\n1 3 60 0 1 2\n\n";
        let latencies: Vec<u128> = logged_latencies(log).map(|latency| latency.as_micros()).collect();
        assert_eq!(latencies, [2241, 60]);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let mut values: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        for (part, expected) in [(0.99, 99), (1.0, 100), (0.5, 50), (0.0, 1)] {
            assert_eq!(percentile(&mut values, part), Some(Duration::from_micros(expected)), "{part}");
        }
        assert_eq!(percentile(&mut [], 0.99), None);
    }
}
