//! Runs a throw-away PostgreSQL until standard input ends; prints its address, superuser included, on one line.
//!
//! `cargo xtask test` starts one for all tests that need a PostgreSQL and not one of their own.

use chaperone::demo::postgres::{Postgres, PostgresOptions};
use std::io::Read;

fn main() -> anyhow::Result<()> {
    // Every test may hold a pool of connections at once.
    let settings = vec![("max_connections".to_owned(), "200".to_owned())];
    let server = Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() })?;
    println!("{}", server.url("postgres"));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.stop();
    Ok(())
}
