//! The benchmark behind `cargo xtask bench`: the same load through nothing, through pgbouncer and through Chaperone.
//!
//! What counts are ratios of medians within one run: every round runs each load on each route in turn, so that a
//! neighbour's noise meets all of them. TLS is spoken by the client on every route, and that is checked first, since
//! libpq falls back silently and a comparison against plain TCP flatters the wrong side.

mod configuration;
mod gateway;
mod idle;
mod load;
mod permits;
mod pgbouncer;
mod places;
mod process;
mod recording;
mod report;
mod route;
mod search;
mod targets;

use anyhow::{Context, Result, bail};
use chaperone::demo::postgres::{Postgres, PostgresOptions, ServerTls};
use configuration::{Survive, Target};
use gateway::Gateway;
use idle::Idle;
use load::{LOADS, Measured, On, SESSION_START};
use pgbouncer::Pgbouncer;
use report::Report;
use route::Route;
use std::path::PathBuf;
use std::process::ExitCode;
use targets::WINDOWS;

/// Idle sessions that are opened.
const IDLE_SESSIONS: u32 = 5_000;

/// How much is measured. The defaults take about a quarter of an hour.
struct Options {
    rounds: usize,
    seconds: u32,
    /// Only loads whose name contains this.
    only: String,
    /// A promise that is missed fails the command.
    check: bool,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Options { rounds: 7, seconds: 2, only: String::new(), check: false };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse().context("--rounds is a number")?,
                "--seconds" => options.seconds = value()?.parse().context("--seconds is a number")?,
                "--only" => options.only = value()?,
                "--check" => options.check = true,
                other => {
                    bail!("no option `{other}`; there are --rounds N, --seconds N, --only NAME and --check")
                }
            }
        }
        if options.rounds == 0 || options.seconds == 0 {
            bail!("--rounds and --seconds are at least 1");
        }
        Ok(options)
    }
}

fn main() -> Result<ExitCode> {
    let options = Options::parse(std::env::args().skip(1))?;
    let pgbouncer = std::env::var_os("CHAPERONE_PGBOUNCER").map(PathBuf::from);
    let pgbouncer = pgbouncer.context("CHAPERONE_PGBOUNCER is not set: run cargo xtask bench")?;

    let program = std::env::var_os("CHAPERONE_BIN").map(PathBuf::from);
    let program = program.context("CHAPERONE_BIN is not set: run cargo xtask bench")?;

    let settings = [("max_connections", "200"), ("shared_buffers", "512MB"), ("max_wal_size", "4GB")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let server =
        Postgres::start(PostgresOptions { tls: ServerTls::Offered, settings, ..Default::default() })?;
    let bouncer = Pgbouncer::start(&pgbouncer, &server)?;
    load::prepare(&server)?;
    let gateway = Gateway::start(&program, &server, bouncer.port(), Survive::Kill)?;
    let kept = Gateway::start(&program, &server, bouncer.port(), Survive::PowerLoss)?;
    let durable = Route { name: "chaperone, durable", ..kept.route(Target::Plain) };
    let (direct, plain) = (Route::direct(&server), gateway.route(Target::Plain));
    let (few, many) = (gateway.route(Target::FewRules), gateway.route(Target::ManyRules));
    let (pooled, masked) = (bouncer.route(&server), gateway.route(Target::Masked));
    for route in [&direct, &pooled, &plain, &masked] {
        println!("{}: the client speaks {}", route.name, route.tls_version(server.bin_dir())?);
    }

    let mut report = Report::new(&server)?;
    for round in 1..=options.rounds {
        for load in LOADS.iter().filter(|load| load.name.contains(&options.only)) {
            let routes = match load.on {
                On::All => vec![&direct, &pooled, &plain],
                On::Masked => vec![&direct, &masked],
                On::Rules => vec![&few, &many],
                On::Durable => vec![&plain, &durable],
            };
            for route in routes {
                let measured: Measured = load.run(route, &server, options.seconds)?;
                println!("round {round}/{}: {}, {}: {measured}", options.rounds, load.name, route.name);
                report.add(load.name, route.name, measured);
            }
        }
    }
    let mut idle = None;
    if "idle".contains(&options.only) {
        let measured =
            idle::measure(&gateway.route(Target::Idle), gateway.pid(), server.bin_dir(), IDLE_SESSIONS);
        idle = Some(measured.with_context(|| gateway.log_tail())?);
    }
    if "windows".contains(&options.only) {
        with_windows(&gateway, &plain, &server, &options, &mut report)?;
    }
    let mut recordings = Vec::new();
    if "recording".contains(&options.only) {
        for load in LOADS.iter().filter(|load| recording::LOADS.contains(&load.name)) {
            let folder = gateway.recordings();
            recordings.push(recording::measure(load, &plain, &folder, &server, options.seconds)?);
        }
    }
    let permits = if "permits".contains(&options.only) { Some(permits::measure()?) } else { None };
    let search = if "search".contains(&options.only) { Some(search::measure()?) } else { None };
    println!("\n{}", report.markdown("pgbouncer"));
    if let Some(Idle { sessions, opened, idle }) = idle {
        println!("{sessions} sessions: {opened} bytes each when opened, {idle} bytes each when idle\n");
    }
    for recording in &recordings {
        println!("{recording}\n");
    }
    if let Some(permits) = permits {
        println!("{permits}\n");
    }
    if let Some(search) = &search {
        println!("{search}");
    }
    let (table, kept) = targets::table(&report, idle, &recordings, permits, search.as_ref());
    println!("{table}");
    Ok(if kept || !options.check { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same loads with few and with many windows in the store, in turns as everything else.
fn with_windows(
    gateway: &Gateway,
    route: &Route,
    server: &Postgres,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    for round in 1..=options.rounds {
        for windows in WINDOWS {
            gateway.have_windows(windows)?;
            for load in LOADS.iter().filter(|load| [SESSION_START, "prepared, 1 client"].contains(&load.name))
            {
                let measured = load.run(route, server, options.seconds)?;
                println!("round {round}/{}: {windows} windows: {}: {measured}", options.rounds, load.name);
                report.add(targets::with_windows(load.name, windows), route.name, measured);
            }
        }
    }
    Ok(())
}
