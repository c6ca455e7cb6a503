//! A whole gateway in front of a real PostgreSQL, as the tests need it: in this process, or as a process of its own.
//!
//! The configuration is a file and is loaded like any operator's. A test changes what it is about with [`Setting`], and
//! gets tokens for whoever it needs from a local issuer.

mod minting;
mod recorded;
mod serving;
mod setting;
mod signin;

pub use minting::{MINTER, Minting, documented_set_up};
pub use recorded::{Recorded, files};
pub use serving::Serving;
pub use setting::{OtherTarget, Setting};
pub use signin::{APPROVERS, CONSOLE, SignIn};

use crate::process::{Ran, run};
use crate::psql::Psql;
use crate::tools;
use anyhow::{Context, Result, bail, ensure};
use chaperone::config;
use chaperone::demo::issuer::{GroupsClaim, Issuer, TokenSpec};
use chaperone::demo::postgres::{Postgres, PostgresOptions, ServerTls, ShopLogin};
use chaperone::gateway::run::{self as gateway, Running};
use chaperone::grant::Clock;
use chaperone::recorder::{EncryptionKey, Event, Library, RecorderError};
use chaperone::state::{AuditEvent, State};
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The tenant of all tokens.
pub const TENANT: &str = "7e570000-0000-4000-8000-000000000001";
/// What the gateway is registered as.
pub const AUDIENCE: &str = "7e570000-0000-4000-8000-0000000000aa";
/// Agents of this group may open a window on `shop` themselves.
pub const AGENTS: &str = "7e570000-0000-4000-8000-0000000000b1";
/// Agents of this group need approvers.
pub const ASKERS: &str = "7e570000-0000-4000-8000-0000000000b2";
/// Approvers and operators.
pub const DBAS: &str = "7e570000-0000-4000-8000-0000000000b3";

/// A gateway with its target and its issuer.
pub struct Stage {
    /// Configuration, state, recordings.
    pub folder: tempfile::TempDir,
    /// The target.
    pub postgres: Postgres,
    /// The account that the gateway uses there.
    pub login: ShopLogin,
    /// The password of [`MINTER`], where there is one.
    pub minter_password: Option<String>,
    /// Makes tokens.
    pub issuer: Issuer,
    running: Option<Running>,
    /// Where PostgreSQL clients connect.
    pub address: SocketAddr,
    /// Where the HTTPS API is.
    pub api: SocketAddr,
    /// Where the metrics are.
    pub metrics: Option<SocketAddr>,
}

impl Stage {
    /// Starts a gateway in this process.
    pub async fn start(setting: Setting) -> Result<Self> {
        let (mut stage, file) = Stage::prepare(setting).await?;
        let running = gateway::start(config::load(&file)?.0).await?;
        (stage.address, stage.api, stage.metrics) = (running.postgres, running.api, running.metrics);
        stage.running = Some(running);
        Ok(stage)
    }

    /// Everything but the gateway: the target, the issuer, the configuration's file.
    pub async fn prepare(setting: Setting) -> Result<(Self, PathBuf)> {
        let folder = tempfile::Builder::new().prefix("chaperone-test-").tempdir()?;
        let bin_dir = match setting.server_tls {
            ServerTls::Off => setting.server_bin.clone(),
            ServerTls::Offered | ServerTls::Required => tools::postgres_with_tls_bin(),
        };
        let options = PostgresOptions { bin_dir, tls: setting.server_tls, settings: setting.server.clone() };
        let minting = setting.minting.clone();
        let (postgres, login, minter_password) = tokio::task::spawn_blocking(move || {
            let postgres = Postgres::start(options)?;
            let login = postgres.load_shop()?;
            let minter = minting.map(|minting| minting::set_up_minting(&postgres, &minting)).transpose()?;
            anyhow::Ok((postgres, login, minter))
        })
        .await??;
        let issuer = Issuer::start(TENANT).await?;
        let password =
            setting.target_password.as_ref().or(minter_password.as_ref()).unwrap_or(&login.password);
        std::fs::write(folder.path().join("target.password"), password)?;
        for target in &setting.more_targets {
            let password = target.password.as_ref().unwrap_or(&login.password);
            std::fs::write(folder.path().join(format!("{}.password", target.name)), password)?;
        }
        if let Some(authority) = postgres.ca_pem() {
            std::fs::write(folder.path().join("target-ca.pem"), authority)?;
        }
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        std::fs::write(folder.path().join("gateway.pem"), own.cert.pem())?;
        std::fs::write(folder.path().join("gateway.key"), own.signing_key.serialize_pem())?;
        let file = folder.path().join("chaperone.yaml");
        let mut text = setting::configuration(&setting, &issuer, &login, postgres.address());
        if setting.sign_in == SignIn::Here {
            text = signin::configured(&text, &issuer)?;
        }
        std::fs::write(&file, text)?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (running, address, api, metrics) = (None, nowhere, nowhere, None);
        let stage =
            Stage { folder, postgres, login, minter_password, issuer, running, address, api, metrics };
        Ok((stage, file))
    }

    /// Stops the gateway and starts it again on the same state and recordings, at another port.
    pub async fn restart(&mut self) -> Result<()> {
        self.restart_by(None).await
    }

    /// The same, by a clock of the test's.
    pub async fn restart_by(&mut self, clock: Option<std::sync::Arc<dyn Clock>>) -> Result<()> {
        self.stop().await;
        let running = gateway::start_by(config::load(&self.path("chaperone.yaml"))?.0, clock).await?;
        (self.address, self.api, self.metrics) = (running.postgres, running.api, running.metrics);
        self.running = Some(running);
        Ok(())
    }

    /// Stops the gateway of this process and runs `chaperone serve` instead, on the same state and recordings.
    pub async fn serve(&mut self) -> Result<Serving> {
        self.serve_by(Command::new(tools::chaperone()?)).await
    }

    /// As [`Stage::serve`], by a command to which `serve` and its arguments are added.
    pub async fn serve_by(&mut self, mut command: Command) -> Result<Serving> {
        self.stop().await;
        command.args(["serve", "--config"]).arg(self.path("chaperone.yaml")).env_remove("NO_COLOR");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
        let mut log = String::new();
        for line in lines.by_ref() {
            let line = line?;
            log.push_str(&line);
            log.push('\n');
            if line.contains("metrics, for whoever reaches them") {
                self.metrics = Some(named(&line, "address=")?);
            }
            if line.contains("listening postgres=") {
                (self.address, self.api) = (named(&line, "postgres=")?, named(&line, "api=")?);
                // Read on, or it would wait for us at its next line.
                let log = std::thread::spawn(move || {
                    lines.map_while(Result::ok).fold(log, |log, line| log + &line + "\n")
                });
                return Ok(Serving { child, log: Some(log) });
            }
        }
        let _ = child.kill();
        child.wait()?;
        bail!("`chaperone serve` did not start: {log}")
    }

    /// Puts one text in another's place in the gateway's file, where the other is.
    pub fn edit(&self, from: &str, to: &str) -> Result<()> {
        let path = self.path("chaperone.yaml");
        let text = std::fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{from} is not in {text}");
        Ok(std::fs::write(&path, text.replace(from, to))?)
    }

    /// Stops the gateway as SIGTERM would.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// A token for somebody; `number` makes it somebody else.
    pub fn token(&self, kind: CallerKind, group: &str, number: u8) -> Result<String> {
        self.token_for(kind, group, number, Duration::from_secs(3600))
    }

    /// A token that lives as long as it is told.
    pub fn token_for(&self, kind: CallerKind, group: &str, number: u8, lifetime: Duration) -> Result<String> {
        let object = object_id(number);
        let spec = TokenSpec::new(kind, &object, AUDIENCE, Timestamp::now())
            .groups(GroupsClaim::Listed(vec![group.to_owned()]))
            .lifetime(lifetime);
        let spec = match kind {
            CallerKind::Human => spec.client(CONSOLE),
            _ => spec,
        };
        Ok(self.issuer.token(&spec)?)
    }

    /// An agent that may open windows itself.
    pub fn agent(&self) -> Result<String> {
        self.token(CallerKind::Agent, AGENTS, 1)
    }

    /// A person who approves.
    pub fn approver(&self) -> Result<String> {
        self.token(CallerKind::Human, DBAS, 9)
    }

    /// An agent with an open window.
    pub fn agent_with_window(&self) -> Result<String> {
        let token = self.agent()?;
        self.open_window(&token, None)?;
        Ok(token)
    }

    /// Asks for a window, which has to be granted at once. Returns its id.
    pub fn open_window(&self, token: &str, duration: Option<&str>) -> Result<String> {
        self.open_window_on("shop", token, duration)
    }

    /// As [`Stage::open_window`], on another target.
    pub fn open_window_on(&self, target: &str, token: &str, duration: Option<&str>) -> Result<String> {
        let mut arguments = vec!["request", target, "--reason", "a test", "--json"];
        if let Some(duration) = duration {
            arguments.extend(["--duration", duration]);
        }
        let said = self.chaperone(token, &arguments)?;
        ensure!(said.status.success(), "no window: {} {}", said.stdout, said.stderr);
        first_id(&said.stdout, "win_").with_context(|| format!("no window's id in {}", said.stdout))
    }

    /// The audit events in the state, one in a line: name, subject, detail, who did it.
    pub fn audited(&self) -> Result<String> {
        let (runtime, path) = (tokio::runtime::Handle::current(), self.path("state.db"));
        let read = async move { anyhow::Ok(State::sqlite(&path, "a test").await?.audit_events().await?) };
        let events = tokio::task::block_in_place(|| runtime.block_on(read))?;
        let line = |event: AuditEvent| {
            format!("{} {} {} {}\n", event.event, event.subject, event.detail, event.actor)
        };
        Ok(events.into_iter().map(line).collect())
    }

    /// An approver and operator; another number is another person.
    pub fn person(&self, number: u8) -> Result<String> {
        self.token(CallerKind::Human, DBAS, number)
    }

    /// Sessions at the target that the gateway carries for clients, as the target counts them.
    pub fn backends(&self, application: &str) -> Result<usize> {
        let sql =
            format!("select count(*) from pg_stat_activity where application_name like '%/{application}'");
        Ok(self.real(&sql)?.trim().parse()?)
    }

    /// Looks until `done` says so; an error when it never does.
    pub async fn until(&self, what: &str, mut done: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let started = std::time::Instant::now();
        while !done(self)? {
            ensure!(started.elapsed() < PATIENCE, "this never came: {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Every recording: its file, and its events as JSON, verified as they are read. A session that is sealed while
    /// this looks renames its file (`.chrec.open` to `.chrec`): then everything is listed again, so that none is missed.
    pub fn recorded(&self) -> Result<Vec<Recorded>> {
        for _ in 0..100 {
            if let Some(all) = self.recorded_at_once()? {
                return Ok(all);
            }
        }
        anyhow::bail!("the recordings' folder never held still")
    }

    /// None when a file that was listed was renamed before it was opened.
    fn recorded_at_once(&self) -> Result<Option<Vec<Recorded>>> {
        let mut all = Vec::new();
        // Where a test encrypts recordings, its key is there.
        let key = std::fs::read_to_string(self.path("disk.key")).ok();
        let keys = key.iter().filter_map(|text| EncryptionKey::parse(text).ok()).collect();
        let library = Library::with_keys(self.recordings(), keys);
        for path in library.paths(usize::MAX)? {
            let reader = match library.open(&path) {
                Ok(reader) => reader,
                Err(RecorderError::Read { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            // A recording that is still written ends somewhere.
            let events: Vec<Event> = reader.events().map_while(Result::ok).collect();
            all.push(Recorded { path, events });
        }
        Ok(Some(all))
    }

    /// The recordings of one principal, by the number of its token; newest first.
    pub fn recorded_of(&self, number: u8) -> Result<Vec<Recorded>> {
        let mut all = self.recorded()?;
        all.retain(|one| one.head().contains(&object_id(number)));
        Ok(all)
    }

    /// Runs the command line against this gateway with somebody's token.
    pub fn chaperone(&self, token: &str, arguments: &[&str]) -> Result<Ran> {
        run(&mut self.command(token, arguments)?, "")
    }

    /// The same, to be started.
    pub fn command(&self, token: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(tools::chaperone()?);
        command
            .args(arguments)
            .env("CHAPERONE_TOKEN", token)
            .env("CHAPERONE_GATEWAY", format!("https://{}", self.api))
            .env("CHAPERONE_CA", self.folder.path().join("gateway.pem"))
            .env("CHAPERONE_CONFIG", self.folder.path().join("chaperone.yaml"))
            .env("NO_COLOR", "1");
        Ok(command)
    }

    /// psql through the gateway; rows come as `a|b`.
    pub fn psql(&self, token: &str) -> Result<Psql> {
        Ok(Psql::new(self.address, "app", "shop")?.password(token).bare())
    }

    /// Connection variables for a driver.
    pub fn driver_environment(&self, token: &str) -> Vec<(String, String)> {
        let text = |name: &str, value: String| (name.to_owned(), value);
        vec![
            text("PGHOST", self.address.ip().to_string()),
            text("PGPORT", self.address.port().to_string()),
            text("PGUSER", "app".into()),
            text("PGDATABASE", "shop".into()),
            text("PGPASSWORD", token.to_owned()),
            text("PGSSLMODE", "require".into()),
        ]
    }

    /// The recordings' folder.
    pub fn recordings(&self) -> PathBuf {
        self.folder.path().join("recordings")
    }

    /// What the database really holds, past the gateway.
    pub fn real(&self, sql: &str) -> Result<String> {
        Ok(self.postgres.sql("shop", sql)?)
    }

    /// A file of the stage.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

/// The object id of the principal with a number.
pub fn object_id(number: u8) -> String {
    format!("7e570000-0000-4000-8000-0000000001{number:02x}")
}

/// The address behind a word of a log line.
fn named(line: &str, word: &str) -> Result<SocketAddr> {
    let rest = line.split_once(word).map(|(_, rest)| rest).unwrap_or_default();
    let address = rest.split_whitespace().next().unwrap_or_default();
    address.parse().with_context(|| format!("no address behind {word} in {line}"))
}

/// How often [`Stage::until`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// When [`Stage::until`] gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first id with a prefix in a text.
pub fn first_id(text: &str, prefix: &str) -> Option<String> {
    let at = text.find(prefix)?;
    let id = text.get(at..)?;
    let end = id.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(id.len());
    id.get(..end).map(str::to_owned)
}
