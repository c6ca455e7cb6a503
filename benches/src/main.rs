//! The benchmark behind `cargo xtask bench`: the same load through nothing, through pgbouncer and through Chaperone.
//!
//! What counts are ratios of medians within one run: every round runs each load on each route in turn, so that a
//! neighbour's noise meets all of them. TLS is spoken by the client on every route, and that is checked first, since
//! libpq falls back silently and a comparison against plain TCP flatters the wrong side.

mod gateway;
mod load;
mod pgbouncer;
mod process;
mod report;
mod route;

use anyhow::{Context, Result, bail};
use chaperone::demo::postgres::{Postgres, PostgresOptions, ServerTls};
use gateway::Gateway;
use load::{LOADS, Measured};
use pgbouncer::Pgbouncer;
use report::Report;
use route::Route;
use std::path::PathBuf;

/// How much is measured. The defaults take about ten minutes.
struct Options {
    rounds: usize,
    seconds: u32,
    /// Only loads whose name contains this.
    only: String,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Options { rounds: 5, seconds: 5, only: String::new() };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse().context("--rounds is a number")?,
                "--seconds" => options.seconds = value()?.parse().context("--seconds is a number")?,
                "--only" => options.only = value()?,
                other => bail!("no option `{other}`; there are --rounds N, --seconds N and --only NAME"),
            }
        }
        if options.rounds == 0 || options.seconds == 0 {
            bail!("--rounds and --seconds are at least 1");
        }
        Ok(options)
    }
}

fn main() -> Result<()> {
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
    let gateway = Gateway::start(&program, &server)?;
    let routes = [Route::direct(&server), bouncer.route(&server), gateway.route()];
    for route in &routes {
        println!("{}: the client speaks {}", route.name, route.tls_version(server.bin_dir())?);
    }

    let mut report = Report::new(&server)?;
    for round in 1..=options.rounds {
        for load in LOADS.iter().filter(|load| load.name.contains(&options.only)) {
            for route in &routes {
                let measured: Measured = load.run(route, server.bin_dir(), options.seconds)?;
                println!("round {round}/{}: {}, {}: {measured}", options.rounds, load.name, route.name);
                report.add(load.name, route.name, measured);
            }
        }
    }
    println!("\n{}", report.markdown("pgbouncer"));
    Ok(())
}
