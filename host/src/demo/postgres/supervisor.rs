//! The server's process, and the small shell that stops it when we are gone.
//!
//! A child process outlives a parent that is killed. The shell holds the reading end of a pipe whose other end is
//! ours: however we end, the pipe closes, and the shell stops the server and removes its directory.

use super::binaries::Account;
use super::{PostgresError, io_error, tail};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a server may take until it accepts connections. A loaded two-core machine needs about two seconds.
const START_WITHIN: Duration = Duration::from_secs(60);

/// How long a server may take to stop before the shell is killed. An immediate shutdown takes milliseconds.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How often the server's state is looked at while waiting.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Arguments: the server's program, the directory. `stopped` tells an end that we asked for from one that the server
/// came to by itself, whose log is still wanted.
const SCRIPT: &str = r#"
exec 3<&0
"$1" -D "$2/data" </dev/null >>"$2/server.log" 2>&1 3<&- &
server=$!
{ read -r _ <&3; : >"$2/stopped"; kill -QUIT "$server"; } 2>/dev/null &
watch=$!
wait "$server"
status=$?
kill "$watch" 2>/dev/null
if [ -e "$2/stopped" ]; then cd / && rm -rf "$2"; fi
exit "$status"
"#;

/// How a start went.
pub(super) enum Start {
    /// The server accepts connections.
    Ready,
    /// Somebody else has the port; the end of the log says so.
    PortTaken(String),
    /// The server was built without TLS, which the configuration asks for.
    NoTls,
}

/// A running server. Dropping it stops the server at once.
pub(super) struct Supervisor(Child);

impl Supervisor {
    pub(super) fn spawn(bin_dir: &Path, account: &Account, dir: &Path) -> Result<Self, PostgresError> {
        let mut command = account.command(Path::new("/bin/sh"), dir);
        command
            .args(["-c", SCRIPT, "supervisor"])
            .arg(bin_dir.join("postgres"))
            .arg(dir)
            // A group of its own: Ctrl-C in a terminal is for us, and we stop the server when we are done with it.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(Supervisor).map_err(io_error("start PostgreSQL"))
    }

    /// Waits until the server accepts connections or has ended.
    pub(super) fn wait_until_ready(&mut self, dir: &Path) -> Result<Start, PostgresError> {
        for _ in 0..(START_WITHIN.as_millis() / POLL_EVERY.as_millis()) {
            if self.0.try_wait().map_err(io_error("wait for PostgreSQL"))?.is_some() {
                let log = tail(&super::read_log(dir));
                if log.contains("Address already in use") {
                    return Ok(Start::PortTaken(log));
                }
                if log.contains("not supported by this build") {
                    return Ok(Start::NoTls);
                }
                return Err(PostgresError::Program { program: "postgres", output: log });
            }
            // The eighth line is the server's own word on its state, the one `pg_ctl --wait` reads. Connecting would
            // be misled by somebody else's server on the port.
            let status = std::fs::read_to_string(dir.join("data/postmaster.pid")).unwrap_or_default();
            if status.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(Start::Ready);
            }
            std::thread::sleep(POLL_EVERY);
        }
        Err(PostgresError::NotReady { seconds: START_WITHIN.as_secs(), log: tail(&super::read_log(dir)) })
    }
}

impl Supervisor {
    /// Ends the server without telling the shell that it was us: its directory stays.
    pub(super) fn quit(&mut self, dir: &Path) -> Result<(), PostgresError> {
        let file = dir.join("data/postmaster.pid");
        let process = std::fs::read_to_string(&file).unwrap_or_default();
        let process = process.lines().next().unwrap_or_default().trim().to_owned();
        let signal = Command::new("kill").args(["-s", "QUIT", &process]).status();
        signal.map_err(io_error("stop PostgreSQL"))?;
        // Not `wait`, which closes the pipe first: that would tell the shell.
        while self.0.try_wait().map_err(io_error("wait for PostgreSQL"))?.is_none() {
            std::thread::sleep(POLL_EVERY);
        }
        // It leaves the file behind, whose last line would pass for the next server's.
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error("start PostgreSQL again")(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        for _ in 0..(STOP_WITHIN.as_millis() / POLL_EVERY.as_millis()) {
            match self.0.try_wait() {
                Ok(None) => std::thread::sleep(POLL_EVERY),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
