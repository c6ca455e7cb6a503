//! The gateway's own edges: where it listens, its certificate, its state and its limits.

use super::decode::Item;
use super::login::Login;
use super::problem::{ProblemCode, Severity, quote};
use super::secret::{Secret, SecretReference, Vault};
use super::target::Target;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The PostgreSQL listener.
    pub postgres: SocketAddr,
    /// The HTTPS API.
    pub api: SocketAddr,
    /// The metrics, over plain HTTP and without authentication; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where clients reach the API, `https://` and the host; none: by its address, or this machine's name.
    pub public_url: Option<String>,
    /// Where clients by OAUTHBEARER are told to get a token; none: they are not.
    pub oauth: Option<Oauth>,
    /// How command lines sign people in; none: they do not.
    pub login: Option<Login>,
}

/// What clients by OAUTHBEARER are told, before they have proved anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oauth {
    /// The provider's discovery document.
    pub discovery_url: String,
    /// The scopes to ask for, parted by spaces; may be empty.
    pub scope: String,
}

impl Oauth {
    fn decode(item: &Item<'_>) -> Option<Self> {
        let mut fields = item.fields()?;
        let url = fields.need("discovery_url", "the https URL of the provider's discovery document");
        let scope = fields.get("scope");
        fields.finish();
        let discovery_url = url.and_then(|item| super::provider::url(&item, Some(true)));
        let scope = match scope {
            None => Some(String::new()),
            Some(item) => scope_of(&item),
        };
        Some(Oauth { discovery_url: discovery_url?, scope: scope? })
    }
}

/// The API's address as clients write it; paths are the gateway's own to add.
fn public_url(item: &Item<'_>) -> Option<String> {
    let url = super::provider::url(item, Some(true))?;
    let url = url.trim_end_matches('/');
    let host = url.strip_prefix("https://").filter(|host| !host.contains(['/', '?', '#']));
    if host.is_none() {
        item.invalid(
            format!("{} is not where clients reach the API", quote(url)),
            "write `https://` and the host, with a port if it is not 443, and no path",
        );
    }
    host.map(|_| url.to_owned())
}

/// RFC 6749, section 3.3: words parted by single spaces.
pub(super) fn scope_of(item: &Item<'_>) -> Option<String> {
    let text = item.text("the scopes to ask for")?;
    let may_stand = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let fits =
        text.len() <= 1024 && text.split(' ').all(|word| !word.is_empty() && word.bytes().all(may_stand));
    if !fits {
        item.invalid(
            format!("{} is no list of scopes", quote(text)),
            "words parted by single spaces, at most 1024 bytes",
        );
    }
    fits.then(|| text.to_owned())
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            postgres: SocketAddr::from(([127, 0, 0, 1], 6432)),
            api: SocketAddr::from(([127, 0, 0, 1], 8443)),
            metrics: None,
            public_url: None,
            oauth: None,
            login: None,
        }
    }
}

impl Listen {
    /// With the item of `login`, which names a provider and is decoded when those are known.
    pub(crate) fn decode<'a>(item: Option<Item<'a>>) -> (Self, Option<Item<'a>>) {
        let mut listen = Listen::default();
        let Some(mut fields) = item.and_then(|item| item.fields()) else { return (listen, None) };
        const ADDRESS: &str = "an address and a port, such as `127.0.0.1:6432` or `[::]:6432`";
        let (postgres, api, metrics) = (fields.get("postgres"), fields.get("api"), fields.get("metrics"));
        for (item, address) in [(&postgres, &mut listen.postgres), (&api, &mut listen.api)] {
            if let Some(value) = item.as_ref().and_then(|item| item.parsed::<SocketAddr>(ADDRESS)) {
                *address = value;
            }
        }
        if listen.postgres == listen.api && listen.api.port() != 0 {
            let at = api.or(postgres).unwrap_or_else(|| fields.item().clone());
            at.invalid("two listeners have the same address", "give one of them another port");
        }
        if let Some(item) = metrics {
            listen.metrics = item.parsed::<SocketAddr>(ADDRESS);
            listen.check_metrics(&item);
        }
        listen.public_url = fields.get("public_url").and_then(|item| public_url(&item));
        listen.oauth = fields.get("oauth").and_then(|item| Oauth::decode(&item));
        let login = fields.get("login");
        fields.finish();
        (listen, login)
    }

    fn check_metrics(&self, item: &Item<'_>) {
        let Some(address) = self.metrics else { return };
        if address.port() != 0 && [self.postgres, self.api].contains(&address) {
            item.invalid("two listeners have the same address", "give one of them another port");
        }
        if !address.ip().is_loopback() {
            item.risk(
                "the metrics have no authentication and no encryption: whoever reaches this address reads them",
                "listen on 127.0.0.1, or let a firewall allow the monitoring system alone",
            );
        }
    }

    fn only_loopback(&self) -> bool {
        self.postgres.ip().is_loopback() && self.api.ip().is_loopback()
    }
}

/// The certificate that clients see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// PEM files, read again when they change.
    Files {
        /// The certificate chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// Made at start, for loopback addresses only.
    SelfSigned,
}

impl Tls {
    pub(crate) fn decode(item: Item<'_>, listen: &Listen, vault: &Vault<'_>) -> Option<Self> {
        let text = match &item.node.value {
            super::node::Value::Scalar { text, .. } => Some(text.as_str()),
            _ => None,
        };
        match text {
            Some("self-signed") if listen.only_loopback() => {
                item.risk(
                    "clients cannot tell a self-signed certificate from an impostor's",
                    "for more than a trial, give `certificate` and `key`",
                );
                Some(Tls::SelfSigned)
            }
            Some("self-signed") => {
                item.invalid(
                    "a self-signed certificate is for loopback addresses only, and `listen` has another",
                    "give `certificate` and `key`, or listen on 127.0.0.1",
                );
                None
            }
            Some(other) => {
                let help = "write `self-signed`, or a mapping with `certificate` and `key`";
                item.invalid(format!("{} is no certificate", quote(other)), help);
                None
            }
            None => {
                let mut fields = item.fields()?;
                let certificate = fields.need("certificate", "the path of a PEM file with the chain");
                let key = fields.need("key", "the path of a PEM file with the private key");
                fields.finish();
                let certificate = certificate.and_then(|item| path(&item, vault));
                let key = key.and_then(|item| path(&item, vault));
                Some(Tls::Files { certificate: certificate?, key: key? })
            }
        }
    }
}

/// A path; a relative one starts at the configuration file's folder.
pub(crate) fn path(item: &Item<'_>, vault: &Vault<'_>) -> Option<PathBuf> {
    let text = item.text("a path")?;
    if vault.reference(text).is_some() {
        item.invalid(
            format!("{} is a reference, and a plain path is wanted", quote(text)),
            "write the path alone",
        );
        return None;
    }
    Some(vault.folder.join(text))
}

/// Where requests, windows, holds and audit events are kept.
#[derive(Clone)]
pub enum State {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL URL, which holds a password.
    Postgres(Secret),
}

impl State {
    pub(crate) fn decode(item: Item<'_>, vault: &Vault<'_>) -> Option<Self> {
        let text = item.text("the path of a SQLite file, or a reference to a PostgreSQL URL")?;
        if text.starts_with("env:") || text.starts_with("file:") {
            let secret = vault.secret(&item)?;
            let known =
                ["postgres://", "postgresql://"].iter().any(|scheme| secret.expose().starts_with(scheme));
            if !known && !secret.expose().is_empty() {
                item.invalid(
                    format!("what `{}` holds is no PostgreSQL URL", secret.reference()),
                    "it must start with `postgres://`; for SQLite write the path itself",
                );
                return None;
            }
            return Some(State::Postgres(secret));
        }
        if text.contains("://") {
            item.sink.conceal(item.node.mark);
            item.problem(
                Severity::Error,
                ProblemCode::LiteralSecret,
                "a database URL holds a password, and secrets do not stand in this file".into(),
                "write a reference to the URL: `state: env:CHAPERONE_STATE_URL` or `state: file:/path`",
            );
            return None;
        }
        Some(State::Sqlite(vault.folder.join(text)))
    }

    /// The reference of the URL, when there is one.
    pub fn reference(&self) -> Option<&SecretReference> {
        match self {
            State::Sqlite(_) => None,
            State::Postgres(secret) => Some(secret.reference()),
        }
    }
}

/// Bounds of the whole gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at one time, on all listeners.
    pub connections: u32,
    /// From accept to admission: TLS, credential, window.
    pub handshake_timeout: Duration,
    /// To reach a target and be let in by it.
    pub dial_timeout: Duration,
    /// The longest session, whatever the window and the token allow.
    pub session: Duration,
    /// What running operations get at shutdown before they are cut.
    pub shutdown_deadline: Duration,
    /// Threads that carry sessions; none = one for each core but one.
    pub session_threads: Option<u16>,
    /// Plugin instances of all sessions together.
    pub plugin_instances: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 5000,
            handshake_timeout: Duration::from_secs(15),
            dial_timeout: Duration::from_secs(10),
            session: Duration::from_secs(12 * 3600),
            shutdown_deadline: Duration::from_secs(30),
            session_threads: None,
            plugin_instances: 6000,
        }
    }
}

impl Limits {
    pub(crate) fn decode(item: Option<Item<'_>>, targets: &[Target]) -> Option<Self> {
        let mut limits = Limits::default();
        let Some(mut fields) = item.and_then(|item| item.fields()) else { return Some(limits) };
        let seconds = Duration::from_secs;
        if let Some(number) = fields.get("connections").and_then(|item| item.number(1, 1_000_000)) {
            limits.connections = u32::try_from(number).ok()?;
        }
        if let Some(number) = fields.get("session_threads").and_then(|item| item.number(1, 1024)) {
            limits.session_threads = u16::try_from(number).ok();
        }
        if let Some(number) = fields.get("plugin_instances").and_then(|item| instances(&item, targets)) {
            limits.plugin_instances = number;
        }
        for (key, value, max) in [
            ("handshake_timeout", &mut limits.handshake_timeout, 120),
            ("dial_timeout", &mut limits.dial_timeout, 120),
            ("session", &mut limits.session, 30 * 86_400),
            ("shutdown_deadline", &mut limits.shutdown_deadline, 3600),
        ] {
            if let Some(duration) = fields.get(key).and_then(|item| item.duration(seconds(1), seconds(max))) {
                *value = duration;
            }
        }
        fields.finish();
        Some(limits)
    }
}

/// Enough for at least one session: it needs all plugins of its target at once.
fn instances(item: &Item<'_>, targets: &[Target]) -> Option<u32> {
    let number = u32::try_from(item.number(1, 20_000)?).ok()?;
    let enough = |target: &&Target| target.plugins.len() <= usize::try_from(number).unwrap_or(usize::MAX);
    if let Some(target) = targets.iter().find(|target| !enough(target)) {
        let (name, needed) = (&target.name, target.plugins.len());
        let message = format!("{number} is less than the {needed} plugins of target `{name}`");
        item.invalid(message, "no session on it could run; the default is 6000");
        return None;
    }
    Some(number)
}
