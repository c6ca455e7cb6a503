//! `chaperone demo`: everything on this machine, nothing to set up, nothing left behind.
//!
//! One process holds a real PostgreSQL with sample customers, a token issuer of Entra's shape, and the gateway with the
//! three built-in plugins; the configuration is a file like any operator's, and is checked and loaded like one. The
//! issuer's keys and all passwords are made at start and die with it.

mod cast;
pub mod graph;
pub mod issuer;
pub mod postgres;
mod tour;

use crate::cli::{DemoArgs, Failure};
use crate::config;
use crate::gateway::run::{self, Running};
use cast::Cast;
use issuer::Issuer;
use postgres::{Postgres, PostgresOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The ports that the demo tries first, so that its commands can be typed; if one is taken, any two do.
const PORTS: [u16; 2] = [6432, 8443];

/// The running demo.
pub struct Demo {
    folder: tempfile::TempDir,
    /// Kept alive: it is stopped and removed when it is dropped.
    postgres: Postgres,
    _issuer: Issuer,
    running: Running,
    cast: Cast,
}

/// Runs the demo: the tour, or until Ctrl-C.
pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    let demo = Demo::start(args.postgres_bin.clone()).await?;
    let outcome = if args.tour { tour::walk(&demo).await } else { demo.wait().await };
    demo.running.stop().await;
    outcome
}

fn failed(what: impl std::fmt::Display, advice: &str) -> Failure {
    Failure::usage(what.to_string(), advice)
}

impl Demo {
    /// Starts everything.
    pub async fn start(postgres_bin: Option<PathBuf>) -> Result<Self, Failure> {
        let disk = "check that the folder for temporary files can be written";
        let folder = tempfile::Builder::new()
            .prefix("chaperone-demo-")
            .tempdir()
            .map_err(|error| failed(error, disk))?;
        say("Starting a PostgreSQL with sample customers …");
        let options = PostgresOptions { bin_dir: postgres_bin, ..PostgresOptions::default() };
        let started = tokio::task::spawn_blocking(move || {
            let postgres = Postgres::start(options)?;
            let login = postgres.load_shop()?;
            Ok::<_, postgres::PostgresError>((postgres, login))
        });
        let (postgres, login) =
            started.await.map_err(|error| failed(error, "report this"))?.map_err(|error| {
                failed(error, "`cargo xtask demo` brings a PostgreSQL; or name one with --postgres-bin DIR")
            })?;
        say("Starting a token issuer of Microsoft Entra's shape …");
        let issuer = Issuer::start(cast::TENANT).await.map_err(|error| failed(error, "report this"))?;
        let cast = Cast::assemble(&issuer, folder.path()).map_err(|error| failed(error, disk))?;
        say("Compiling the built-in plugins and starting the gateway …");
        write_private(&folder.path().join("target.password"), &login.password)
            .map_err(|error| failed(error, disk))?;
        let place =
            Place { folder: folder.path(), issuer: &issuer, login: &login, target: postgres.address() };
        let running = match place.open(PORTS).await {
            Ok(running) => running,
            // Somebody has one of the usual ports, perhaps another demo; any other cause is the second try's, too.
            Err(_) => place.open(any_ports().map_err(|error| failed(error, disk))?).await?,
        };
        std::fs::write(folder.path().join("gateway.pem"), running.certificate_pem.as_str())
            .map_err(|error| failed(error, disk))?;
        Ok(Demo { folder, postgres, _issuer: issuer, running, cast })
    }

    /// Where everything of the demo is kept.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn wait(&self) -> Result<(), Failure> {
        say(&self.introduction());
        let _ = tokio::signal::ctrl_c().await;
        say("\nStopping; everything of the demo is removed.");
        Ok(())
    }

    /// What is there, and commands to paste.
    fn introduction(&self) -> String {
        let folder = self.folder().display();
        let chaperone =
            std::env::current_exe().map_or_else(|_| "chaperone".into(), |path| path.display().to_string());
        let psql = self.psql_command();
        let api = self.running.api;
        format!(
            r#"
Chaperone is running. The agent `ada` may open a window on the target `shop` herself; `bob` needs the approver `carol`.
Each of them has nothing but a token, in {folder}/*.token. Paste into another terminal:

  export CHAPERONE_GATEWAY=https://{api} CHAPERONE_CA={folder}/gateway.pem PGSSLMODE=require
  cd {folder}

  # No window yet: refused, and told what to ask for.
  PGPASSWORD=$(cat ada.token) {psql}

  # Ask for one; the policy answers at once.
  CHAPERONE_TOKEN=$(cat ada.token) {chaperone} request shop --reason "triage of ticket 4711"

  # Now she is in: try these.
  PGPASSWORD=$(cat ada.token) {psql}
      SELECT id, name, ssn, card FROM customers LIMIT 3;     -- masked
      DROP TABLE customers;                                  -- refused, the session goes on
      DELETE FROM orders WHERE id = 1;                       -- waits for an approver

  # As the approver, in a third terminal (after the same exports):
  CHAPERONE_TOKEN=$(cat carol.token) {chaperone} approvals
  CHAPERONE_TOKEN=$(cat carol.token) {chaperone} approve <the id that is shown>

  # Or in a browser, where Carol signs in without a password. It warns first: the certificate was made for this demo.
  https://{api}/console

  # What happened, and proof that nobody changed it:
  {chaperone} sessions --config chaperone.yaml
  {chaperone} replay <session> --config chaperone.yaml --speed 10
  {chaperone} verify --all --config chaperone.yaml

Ctrl-C stops it."#
        )
    }

    fn psql_command(&self) -> String {
        let (psql, postgres) = (self.psql().display().to_string(), self.running.postgres);
        format!("{psql} -h {} -p {} -U app -d shop", postgres.ip(), postgres.port())
    }

    fn psql(&self) -> PathBuf {
        self.postgres.bin_dir().join("psql")
    }
}

fn say(text: &str) {
    anstream::println!("{text}");
}

/// A file that only this account can read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Two ports that are free now. They are known before the gateway starts, since browsers have to be sent back to it.
fn any_ports() -> std::io::Result<[u16; 2]> {
    let bind = || std::net::TcpListener::bind(("127.0.0.1", 0));
    // Both are held until both are known, else they could be the same.
    let (first, second) = (bind()?, bind()?);
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

/// Where people reach the gateway.
fn console_url([_, api]: [u16; 2]) -> String {
    format!("https://127.0.0.1:{api}")
}

/// What the gateway is started on.
struct Place<'d> {
    folder: &'d Path,
    issuer: &'d Issuer,
    login: &'d postgres::ShopLogin,
    target: SocketAddr,
}

impl Place<'_> {
    /// Writes the configuration, and starts the gateway with it as an operator would.
    async fn open(&self, ports: [u16; 2]) -> Result<Running, Failure> {
        cast::register_console(self.issuer, &console_url(ports));
        let file = self.folder.join("chaperone.yaml");
        let text = configuration(self.issuer, self.login, self.target, ports);
        std::fs::write(&file, text)
            .map_err(|error| failed(error, "check that the folder for temporary files can be written"))?;
        let (config, _) = config::load(&file).map_err(|error| failed(error, "report this"))?;
        run::start(config).await.map_err(|error| failed(&error, &error.advice))
    }
}

/// A configuration like an operator's.
fn configuration(
    issuer: &Issuer,
    login: &postgres::ShopLogin,
    target: SocketAddr,
    [postgres, api]: [u16; 2],
) -> String {
    let (tenant, audience, jwks) = (cast::TENANT, cast::AUDIENCE, issuer.jwks_url());
    let (persons, console, discovery) = (cast::APPROVERS, cast::CONSOLE, issuer.discovery_url());
    let url = console_url([postgres, api]);
    let (agents, reporters, approvers) = (cast::TRIAGE_AGENTS, cast::REPORT_AGENTS, cast::DBAS);
    let (database, user) = (&login.database, &login.role);
    format!(
        r#"listen:
  postgres: "127.0.0.1:{postgres}"
  api: "127.0.0.1:{api}"
  public_url: {url}
tls: self-signed
providers:
  - name: demo
    kind: entra
    tenants: [{tenant}]
    audiences: [{audience}]
    jwks_url: {jwks}
    allow_http_loopback: yes             # only because the issuer is on this machine
    approvers:
      audience: {persons}
      clients: {console}
      sign_in: {{ client_id: {console}, scope: "api://{persons}/approve", discovery_url: "{discovery}" }}
groups:
  incident-triage-agents: demo/{agents}
  report-agents: demo/{reporters}
  dba: demo/{approvers}
operators: group:dba
targets:
  - name: shop
    protocol: postgres
    address: {target}
    database: {database}
    user: {user}
    password: file:target.password
    tls: {{ mode: disabled }}              # only because it is on this machine
    plugins: [guard, mask, trigger]
plugins:
  - name: guard
    source: builtin:sql-guard
  - name: mask
    source: builtin:column-mask
    config:
      columns:
        - {{ match: "public.customers.ssn", strategy: redact }}
        - {{ match: "public.customers.card", strategy: partial }}
      content:
        - {{ kind: card, strategy: partial }}
        - {{ kind: ssn, strategy: redact }}
  - name: trigger
    source: builtin:approval-trigger
    config: {{ threshold: 50, approvers: dba, timeout: 5m }}
grants:
  - grant: shop                          # the target
    to: group:incident-triage-agents
    when: requested
    lifetime: 15m
    recorded: yes
  - grant: shop
    to: group:report-agents
    when: approved
    approvers: group:dba
    lifetime: 15m
recording: {{ directory: recordings }}
state: state.db
"#
    )
}
