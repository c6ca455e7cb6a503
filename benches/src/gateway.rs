//! Chaperone as a process of its own, with all three built-in plugins and recording on, in front of the same server.

use crate::route::{DATABASE, Route};
use anyhow::{Context, Result, bail};
use chaperone::demo::issuer::{GroupsClaim, Issuer, TokenSpec};
use chaperone::demo::postgres::{Postgres, SUPERUSER};
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const TENANT: &str = "be9c0000-0000-4000-8000-000000000001";
const AUDIENCE: &str = "be9c0000-0000-4000-8000-0000000000aa";
const AGENTS: &str = "be9c0000-0000-4000-8000-0000000000b1";
const CERTIFICATE: &str = "server.crt";
const AGENT: &str = "be9c0000-0000-4000-8000-0000000000a1";

/// A running gateway with an agent that has an open window.
pub(crate) struct Gateway {
    process: Child,
    port: u16,
    token: String,
    folder: tempfile::TempDir,
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
    pub(crate) fn start(program: &Path, server: &Postgres) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let issuer = runtime.block_on(Issuer::start(TENANT))?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("target.password"), server.password())?;
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        std::fs::write(folder.path().join(CERTIFICATE), made.cert.pem())?;
        std::fs::write(folder.path().join("server.key"), made.signing_key.serialize_pem())?;
        let file = folder.path().join("chaperone.yaml");
        std::fs::write(&file, configuration(&issuer, server))?;
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
        let (port, api) = listening(log)?;
        let spec = TokenSpec::new(CallerKind::Agent, AGENT, AUDIENCE, Timestamp::now())
            .groups(GroupsClaim::Listed(vec![AGENTS.to_owned()]));
        let token = issuer.token(&spec)?;
        let gateway = Gateway { process, port, token, folder, _issuer: issuer, _runtime: runtime };
        gateway.open_window(program, api)?;
        Ok(gateway)
    }

    fn open_window(&self, program: &Path, api: u16) -> Result<()> {
        let asked = Command::new(program)
            .args(["request", "bench", "--reason", "benchmark"])
            .env("CHAPERONE_TOKEN", &self.token)
            .env("CHAPERONE_GATEWAY", format!("https://127.0.0.1:{api}"))
            .env("CHAPERONE_CA", self.certificate())
            .output()?;
        if !asked.status.success() {
            bail!("no window: {}", String::from_utf8_lossy(&asked.stderr));
        }
        Ok(())
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    pub(crate) fn route(&self) -> Route {
        Route {
            name: "chaperone",
            port: self.port,
            user: "agent".to_owned(),
            password: self.token.clone(),
            database: "bench".to_owned(),
            proxy: Some(self.process.id()),
        }
    }
}

/// Waits for the line that names the ports, and reads on in the background so that the gateway never waits for us.
fn listening(log: impl std::io::Read + Send + 'static) -> Result<(u16, u16)> {
    let mut lines = BufReader::new(log).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        let port = |name: &str| {
            let rest = line.split_once(&format!("{name}=127.0.0.1:"))?.1;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        if let (Some(postgres), Some(api)) = (port("postgres"), port("api")) {
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((postgres, api));
        }
        said.push_str(&line);
        said.push('\n');
    }
    bail!("chaperone did not start: {said}")
}

fn configuration(issuer: &Issuer, server: &Postgres) -> String {
    let (jwks, address) = (issuer.jwks_url(), server.address());
    format!(
        r#"listen: {{ postgres: "127.0.0.1:0", api: "127.0.0.1:0" }}
tls: {{ certificate: {CERTIFICATE}, key: server.key }}
providers:
  - name: bench
    kind: entra
    tenants: [{TENANT}]
    audiences: [{AUDIENCE}]
    jwks_url: {jwks}
    allow_http_loopback: yes
groups: {{ agents: bench/{AGENTS}, dba: bench/{AGENTS} }}
targets:
  - name: bench
    protocol: postgres
    address: {address}
    database: {DATABASE}
    user: {SUPERUSER}
    password: file:target.password
    tls: {{ mode: disabled }}
    plugins: [guard, mask, trigger]
plugins:
  - {{ name: guard, source: "builtin:sql-guard" }}
  - {{ name: mask, source: "builtin:column-mask", config: {{ columns: [{{ match: "*.customers.ssn", strategy: redact }}, {{ match: "*.*.card_number", strategy: partial }}] }} }}
  - {{ name: trigger, source: "builtin:approval-trigger", config: {{ threshold: 70, approvers: dba }} }}
grants:
  - {{ grant: bench, to: "group:agents", when: requested, lifetime: 6h, recorded: yes }}
recording: {{ directory: recordings }}
state: state.db
"#
    )
}
