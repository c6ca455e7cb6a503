//! A way from a client to the server: nothing in between, or a proxy whose CPU time counts.

use anyhow::{Context, Result, bail};
use chaperone::demo::postgres::{Postgres, SUPERUSER};
use std::path::Path;
use std::process::Command;

/// The database of the loads.
pub(crate) const DATABASE: &str = "postgres";

/// Where a client connects, and as whom.
pub(crate) struct Route {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
    /// The proxy's process; none for a direct connection.
    pub(crate) proxy: Option<u32>,
}

impl Route {
    /// Straight to the server.
    pub(crate) fn direct(server: &Postgres) -> Self {
        Route {
            name: "direct",
            port: server.port(),
            user: SUPERUSER.to_owned(),
            password: server.password().to_owned(),
            database: DATABASE.to_owned(),
            proxy: None,
        }
    }

    /// One of PostgreSQL's clients, told to take this route, with TLS or not at all.
    pub(crate) fn client(&self, bin_dir: &Path, program: &str) -> Command {
        let mut command = Command::new(bin_dir.join(program));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGPASSWORD", &self.password)
            .env("PGDATABASE", &self.database)
            .env("PGSSLMODE", "require")
            .env("LC_ALL", "C");
        command
    }

    /// The version of TLS that a client on this route speaks, in the client's own words.
    pub(crate) fn tls_version(&self, bin_dir: &Path) -> Result<String> {
        let mut psql = self.client(bin_dir, "psql");
        let output =
            psql.args(["--no-psqlrc", "--command", r"\conninfo"]).output().context("cannot run psql")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // psql 15 writes a sentence, psql 18 a table; both name the version, and neither does without TLS.
        let version =
            said.split(|c: char| c.is_whitespace() || c == ',').find(|word| word.starts_with("TLSv1."));
        match version {
            Some(version) => Ok(version.to_owned()),
            None => bail!("{}: no TLS: {said}{}", self.name, String::from_utf8_lossy(&output.stderr)),
        }
    }
}
