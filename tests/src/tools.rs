//! Where the tests find what they run: `cargo xtask test` says so in environment variables.

use anyhow::{Context, Result, bail};
use chaperone::demo::postgres::find_binaries;
use std::path::PathBuf;

/// The folder of PostgreSQL's programs.
pub fn postgres_bin() -> Result<PathBuf> {
    Ok(find_binaries(None)?)
}

/// The folder of a PostgreSQL whose server can do TLS, or `None`: then a test of that has nothing to run against, and
/// `cargo xtask test` says that it was left out.
pub fn postgres_with_tls_bin() -> Option<PathBuf> {
    std::env::var_os("CHAPERONE_POSTGRES_TLS_BIN").map(PathBuf::from)
}

/// The address of a server that all tests share, as superuser: make a database of your own in it.
pub fn shared_postgres() -> Result<String> {
    std::env::var("CHAPERONE_TEST_POSTGRES")
        .context("CHAPERONE_TEST_POSTGRES is not set: run cargo xtask test")
}

/// A Python that has psycopg and asyncpg.
pub fn python() -> Result<PathBuf> {
    let python = std::env::var_os("CHAPERONE_TEST_PYTHON");
    python.map(PathBuf::from).context("CHAPERONE_TEST_PYTHON is not set: run cargo xtask test")
}

/// The folder `node_modules` with node-postgres and axe-core, or `None`: then their tests have nothing to run, and
/// `cargo xtask test` says that they were left out.
pub fn node_modules() -> Option<PathBuf> {
    std::env::var_os("CHAPERONE_TEST_NODE_MODULES").map(PathBuf::from)
}

/// The folder `node_modules` with Azurite, or `None`, likewise.
pub fn azurite() -> Option<PathBuf> {
    std::env::var_os("CHAPERONE_TEST_AZURITE").map(PathBuf::from)
}

/// The archive of pgjdbc, for a Java that is on the path; or `None`, likewise.
pub fn pgjdbc() -> Option<PathBuf> {
    std::env::var_os("CHAPERONE_TEST_PGJDBC").map(PathBuf::from)
}

/// Chromium, and the program that leads it.
pub struct BrowserTools {
    /// The browser.
    pub browser: PathBuf,
    /// ChromeDriver.
    pub driver: PathBuf,
}

/// A browser, or `None`: then its tests have nothing to run, and `cargo xtask test` says that they were left out.
pub fn browser() -> Option<BrowserTools> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    Some(BrowserTools {
        browser: named("CHAPERONE_TEST_CHROMIUM")?,
        driver: named("CHAPERONE_TEST_CHROMEDRIVER")?,
    })
}

/// Servers of other versions than the usual one: their major version and the folder of their programs. Empty where they
/// cannot be had, which `cargo xtask test` says.
pub fn other_servers() -> Vec<(String, PathBuf)> {
    let list = std::env::var("CHAPERONE_TEST_SERVERS").unwrap_or_default();
    let servers = list.split(':').filter_map(|entry| entry.split_once('='));
    servers.map(|(version, folder)| (version.to_owned(), PathBuf::from(folder))).collect()
}

/// The `chaperone` program: `CHAPERONE_BIN`, or the one that cargo built beside this test.
pub fn chaperone() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CHAPERONE_BIN") {
        return Ok(PathBuf::from(named));
    }
    let test = std::env::current_exe()?;
    let beside = test.ancestors().nth(2).context("a test lies two folders below cargo's")?.join("chaperone");
    if !beside.is_file() {
        bail!("{} is not built: run cargo xtask test, or cargo build first", beside.display());
    }
    Ok(beside)
}
