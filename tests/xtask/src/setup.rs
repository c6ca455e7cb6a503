//! What each command needs to have on the machine.

mod browser;
mod debian;
pub(crate) mod disks;
mod java;
mod npm;
mod plugin_target;
mod postgres;
mod python;
mod regression;
mod wheel;

use crate::workspace::Workspace;
use anyhow::Result;
use std::path::PathBuf;

/// For `cargo xtask demo`: the folder of PostgreSQL's programs.
pub(crate) fn for_demo(workspace: &Workspace) -> Result<PathBuf> {
    plugin_target::install()?;
    postgres::install(workspace)
}

/// Where the tests find what they run against.
pub(crate) struct TestTools {
    /// PostgreSQL's programs.
    pub(crate) postgres: PathBuf,
    /// Those of a PostgreSQL that can do TLS as a server. `None`: tests of a target with TLS are left out.
    pub(crate) postgres_with_tls: Option<PathBuf>,
    /// A Python that has the drivers, PostgreSQL's parser and a server for S3.
    pub(crate) python: PathBuf,
    /// The folder `node_modules` with node-postgres. `None`: its test is left out.
    pub(crate) node_modules: Option<PathBuf>,
    /// The folder `node_modules` with Azurite. `None`: the store of Azure is not tested.
    pub(crate) azurite: Option<PathBuf>,
    /// The archive of pgjdbc. `None`: its test is left out.
    pub(crate) pgjdbc: Option<PathBuf>,
    /// Older servers, as `version=folder` with `:` between them. `None`: they are not tested.
    pub(crate) servers: Option<String>,
    /// Chromium, and ChromeDriver to lead it. `None`: tests in a browser are left out.
    pub(crate) browser: Option<(PathBuf, PathBuf)>,
    /// Whether a test may mount a file system of its own. `None`: tests of disks that fail are left out.
    pub(crate) disks: Option<disks::Mountable>,
    /// PostgreSQL's own tests. `None`: what compares `sql-guard` with PostgreSQL's parser is left out.
    pub(crate) regression: Option<PathBuf>,
}

/// For `cargo xtask test`.
pub(crate) fn for_tests(workspace: &Workspace) -> Result<TestTools> {
    let postgres = for_demo(workspace)?;
    let postgres_with_tls = postgres::with_tls(&postgres, postgres::Server::Wanted)?;
    let python = python::with_drivers(workspace)?;
    python::with_parser(workspace)?;
    python::with_schemas(workspace)?;
    python::with_store(workspace)?;
    let node_modules = npm::drivers(workspace);
    let azurite = npm::azurite(workspace);
    let servers = npm::servers(workspace, &postgres);
    let pgjdbc = java::pgjdbc(workspace);
    let browser = browser::chromium();
    let disks = disks::mountable();
    let regression = regression::install(workspace);
    Ok(TestTools {
        postgres,
        postgres_with_tls,
        python,
        node_modules,
        azurite,
        pgjdbc,
        servers,
        browser,
        disks,
        regression,
    })
}

/// Where the benchmark finds its peers.
pub(crate) struct BenchTools {
    /// The programs of a PostgreSQL that can do TLS as a server.
    pub(crate) postgres: PathBuf,
    /// pgbouncer.
    pub(crate) pgbouncer: PathBuf,
}

/// For `cargo xtask bench`.
pub(crate) fn for_bench(workspace: &Workspace) -> Result<BenchTools> {
    let usual = for_demo(workspace)?;
    // `Needed` leaves no `None`: it is an error there.
    let postgres = postgres::with_tls(&usual, postgres::Server::Needed)?.unwrap_or(usual);
    let pgbouncer = debian::program("pgbouncer", "pgbouncer")?;
    Ok(BenchTools { postgres, pgbouncer })
}
