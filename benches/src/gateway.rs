//! Chaperone as a process of its own, with all three built-in plugins and recording on, in front of the same server.

use crate::configuration::{self, AGENTS, AUDIENCE, CERTIFICATE, Survive, TENANT, Target};
use crate::route::Route;
use anyhow::{Context, Result, bail};
use chaperone::demo::issuer::{GroupsClaim, Issuer, TokenSpec};
use chaperone::demo::postgres::Postgres;
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// Lines of the gateway's log that are kept.
const KEPT_LINES: usize = 20;

pub(crate) const AGENT: &str = "be9c0000-0000-4000-8000-0000000000a1";

/// Takes away what [`MORE_WINDOWS`] has made.
const NO_MORE_WINDOWS: &str = "\
    WITH model AS (SELECT id FROM windows ORDER BY opens LIMIT 1) \
    DELETE FROM windows WHERE id <> (SELECT id FROM model) \
    AND substr(id, 1, length(id) - 8) = (SELECT substr(id, 1, length(id) - 8) FROM model)";

/// Copies of the first window, for agents and with ids that differ in their last eight digits.
pub(crate) const MORE_WINDOWS: &str = "\
    WITH RECURSIVE had(most) AS (SELECT count(*) FROM windows), \
    numbers(n) AS (SELECT most FROM had UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?1), \
    model AS (SELECT * FROM windows ORDER BY opens LIMIT 1) \
    INSERT INTO windows (id, principal, target, opens, closes, opened, request, ended, ended_by, end_reason, chain) \
    SELECT substr(id, 1, length(id) - 8) || printf('%08x', n), \
    substr(principal, 1, length(principal) - 8) || printf('%08x', n), \
    target, opens, closes, opened, request, ended, ended_by, end_reason, chain FROM numbers, model, had WHERE most < ?1";

/// A running gateway with an agent that has an open window.
pub(crate) struct Gateway {
    process: Child,
    port: u16,
    token: String,
    folder: tempfile::TempDir,
    said: Arc<Mutex<VecDeque<String>>>,
    _issuer: Issuer,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have gone already; then there is nothing to stop.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Gateway {
    /// `pooler` is where the target of idle sessions listens.
    pub(crate) fn start(program: &Path, server: &Postgres, pooler: u16, survive: Survive) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let issuer = runtime.block_on(Issuer::start(TENANT))?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("target.password"), server.password())?;
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        std::fs::write(folder.path().join(CERTIFICATE), made.cert.pem())?;
        std::fs::write(folder.path().join("server.key"), made.signing_key.serialize_pem())?;
        let file = folder.path().join("chaperone.yaml");
        std::fs::write(&file, configuration::text(&issuer.jwks_url(), server, pooler, survive))?;
        let mut process = Command::new(program)
            .args(["serve", "--config"])
            .arg(&file)
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run chaperone")?;
        let log = process.stderr.take().context("chaperone has no standard error")?;
        let said = Arc::default();
        let (port, api) = listening(log, Arc::clone(&said))?;
        let spec = TokenSpec::new(CallerKind::Agent, AGENT, AUDIENCE, Timestamp::now())
            .groups(GroupsClaim::Listed(vec![AGENTS.to_owned()]));
        let token = issuer.token(&spec)?;
        let gateway = Gateway { process, port, token, folder, said, _issuer: issuer, _runtime: runtime };
        for target in Target::ALL {
            gateway.open_window(program, api, target)?;
        }
        Ok(gateway)
    }

    fn open_window(&self, program: &Path, api: u16, target: Target) -> Result<()> {
        let asked = Command::new(program)
            .args(["request", target.name(), "--reason", "benchmark"])
            .env("CHAPERONE_TOKEN", &self.token)
            .env("CHAPERONE_GATEWAY", format!("https://127.0.0.1:{api}"))
            .env("CHAPERONE_CA", self.certificate())
            .output()?;
        if !asked.status.success() {
            bail!("no window: {}", String::from_utf8_lossy(&asked.stderr));
        }
        Ok(())
    }

    /// The last lines of its log: why something failed.
    pub(crate) fn log_tail(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().fold("the gateway's log ends with:".to_owned(), |text, line| text + "\n" + line)
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where its recordings are.
    pub(crate) fn recordings(&self) -> PathBuf {
        self.folder.path().join("recordings")
    }

    /// Has so many windows in the store: those of the benchmark's agent and, to make up the number, open ones of other agents.
    pub(crate) fn have_windows(&self, count: u32) -> Result<()> {
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join(configuration::STATE));
        self._runtime.block_on(async {
            let mut store = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await?;
            sqlx::query(NO_MORE_WINDOWS).execute(&mut store).await?;
            sqlx::query(MORE_WINDOWS).bind(count).execute(&mut store).await
        })?;
        Ok(())
    }

    pub(crate) fn route(&self, target: Target) -> Route {
        Route {
            name: target.route(),
            port: self.port,
            user: "agent".to_owned(),
            password: self.token.clone(),
            database: target.name().to_owned(),
            proxy: Some(self.process.id()),
        }
    }
}

/// Waits for the line that names the ports, and reads on in the background so that the gateway never waits for us.
fn listening(
    log: impl std::io::Read + Send + 'static,
    kept: Arc<Mutex<VecDeque<String>>>,
) -> Result<(u16, u16)> {
    let mut lines = BufReader::new(log).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        let port = |name: &str| {
            let rest = line.split_once(&format!("{name}=127.0.0.1:"))?.1;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        if let (Some(postgres), Some(api)) = (port("postgres"), port("api")) {
            std::thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push_back(line);
                    if kept.len() > KEPT_LINES {
                        kept.pop_front();
                    }
                }
            });
            return Ok((postgres, api));
        }
        said.push_str(&line);
        said.push('\n');
    }
    bail!("chaperone did not start: {said}")
}
