//! psql as an agent runs it: nothing but a token, a host and a database name.

use crate::process::{Ran, run, run_watched};
use crate::tools;
use anyhow::Result;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// One run of psql. Everything it is told is here: the environment's own `PG…` variables are not passed on.
#[derive(Debug, Clone)]
pub struct Psql {
    program: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Psql {
    /// To connect to `address` as `user`, asking for `database`. TLS is required, as a token requires it.
    pub fn new(address: SocketAddr, user: &str, database: &str) -> Result<Self> {
        let psql = Psql {
            program: tools::postgres_bin()?.join("psql"),
            environment: Vec::new(),
            arguments: ["--no-psqlrc", "--no-password"].map(str::to_owned).to_vec(),
        };
        Ok(psql
            .env("PGHOST", &address.ip().to_string())
            .env("PGPORT", &address.port().to_string())
            .env("PGUSER", user)
            .env("PGDATABASE", database)
            .env("PGSSLMODE", "require")
            .env("PGCONNECT_TIMEOUT", "30"))
    }

    /// The password, or the token in its place.
    pub fn password(self, password: &str) -> Self {
        self.env("PGPASSWORD", password)
    }

    /// Any of libpq's variables; later ones win.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Rows as `a|b` without headers, for tests that compare them.
    pub fn bare(mut self) -> Self {
        self.arguments.extend(["--no-align", "--tuples-only", "--quiet"].map(str::to_owned));
        self
    }

    /// Any of psql's options.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Runs `script` and sends what Ctrl-C sends when psql has shown `sign` on standard error.
    pub fn interrupted_when(&self, sign: &str, script: &str) -> Result<Ran> {
        self.interrupted_after(sign, script, || ())
    }

    /// As [`Psql::interrupted_when`], when `ready` has returned after the sign.
    pub fn interrupted_after(
        &self,
        sign: &str,
        script: &str,
        ready: impl FnOnce() + Send + 'static,
    ) -> Result<Ran> {
        let mut command = Command::new(&self.program);
        self.clean(&mut command);
        run_watched(&mut command, script, sign, |process| {
            ready();
            // The signal goes to psql alone, as from a terminal; there is no safe function for it in std.
            let _ = Command::new("kill").args(["-INT", &process.to_string()]).status();
        })
    }

    /// Runs `script` in one session. psql goes on after an error, as it does for a person: the errors are in `stderr`.
    pub fn run(&self, script: &str) -> Result<Ran> {
        let mut command = Command::new(&self.program);
        self.clean(&mut command);
        run(&mut command, script)
    }

    /// Arguments and environment, and nothing of ours.
    fn clean(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
    }
}
