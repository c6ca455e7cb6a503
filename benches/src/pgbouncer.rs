//! pgbouncer in session mode, TLS from the client, in front of the server: the pooler that Chaperone is measured against.

use crate::route::{DATABASE, Route};
use anyhow::{Context, Result, bail};
use chaperone::demo::postgres::{Account, Postgres, SUPERUSER};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// How often a starting pgbouncer is looked at, and how many times: five seconds in all.
const POLL_EVERY: Duration = Duration::from_millis(20);
const POLLS: u32 = 250;

/// A database whose server connections are shared: thousands of idle clients need no thousands of server processes.
pub(crate) const IDLE_DATABASE: &str = "idle";

/// A running pgbouncer; dropping it ends it.
pub(crate) struct Pgbouncer {
    process: Child,
    port: u16,
    // Its configuration and certificate.
    _dir: tempfile::TempDir,
}

impl Pgbouncer {
    pub(crate) fn start(program: &Path, server: &Postgres) -> Result<Self> {
        let account = Account::current()?;
        let dir = tempfile::tempdir()?;
        account.own(dir.path())?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        // The password is hexadecimal digits: nothing in it ends the quotes.
        let users = format!("\"{SUPERUSER}\" \"{}\"\n", server.password());
        let files = [
            ("server.crt", certificate.cert.pem()),
            ("server.key", certificate.signing_key.serialize_pem()),
            ("users.txt", users),
            ("pgbouncer.ini", settings(dir.path(), port, server.port())),
        ];
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text)?;
            account.own_privately(&dir.path().join(name))?;
        }
        let mut command = account.command(program, dir.path());
        let process = command
            .arg("--quiet")
            .arg(dir.path().join("pgbouncer.ini"))
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let mut pgbouncer = Pgbouncer { process, port, _dir: dir };
        pgbouncer.wait_until_ready()?;
        Ok(pgbouncer)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        for _ in 0..POLLS {
            if let Some(status) = self.process.try_wait()? {
                bail!("pgbouncer ended at once ({status})");
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(POLL_EVERY);
        }
        bail!("pgbouncer does not listen on port {}", self.port)
    }

    /// The port for clients.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The way through it.
    pub(crate) fn route(&self, server: &Postgres) -> Route {
        let direct = Route::direct(server);
        Route { name: "pgbouncer", port: self.port, proxy: Some(self.process.id()), ..direct }
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn settings(dir: &Path, port: u16, server: u16) -> String {
    let dir = dir.display();
    format!(
        "[databases]\n\
         {IDLE_DATABASE} = host=127.0.0.1 port={server} dbname={DATABASE} pool_mode=transaction pool_size=4\n\
         * = host=127.0.0.1 port={server}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         pool_mode = session\n\
         default_pool_size = 100\n\
         max_client_conn = 6000\n\
         auth_type = scram-sha-256\n\
         auth_file = {dir}/users.txt\n\
         client_tls_sslmode = allow\n\
         client_tls_cert_file = {dir}/server.crt\n\
         client_tls_key_file = {dir}/server.key\n\
         server_tls_sslmode = disable\n\
         log_connections = 0\n\
         log_disconnections = 0\n\
         ignore_startup_parameters = extra_float_digits\n"
    )
}
