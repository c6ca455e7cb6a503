//! The protected systems: where each is, how it is verified, the account used there, and which plugins judge.

use super::decode::Item;
use super::labels::{self, Labels};
use super::names::{Kind, Names};
use super::plugin::Plugin;
use super::problem::quote;
use super::provider::is_loopback;
use super::secret::{Secret, Vault};
use chaperone_core::name::TargetName;
use chaperone_core::role::RoleName;
use std::path::PathBuf;

/// The most targets.
pub(crate) const MAX_TARGETS: usize = 1000;
/// The most plugins of one target.
pub(crate) const MAX_TARGET_PLUGINS: usize = 16;

/// What a target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// PostgreSQL.
    Postgres,
}

/// How the target's own certificate is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetTls {
    /// Chain and host name are verified, against the given roots or the system's.
    VerifyFull {
        /// A PEM file of roots.
        ca: Option<PathBuf>,
    },
    /// No TLS; loopback only.
    Disabled,
}

/// Where the credential of a session comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// All sessions use the gateway's own role.
    Static,
    /// Each session has a role that is made for it.
    Minted {
        /// Who gets what such a role has made.
        owned_to: Option<RoleName>,
    },
}

/// One target.
#[derive(Clone)]
pub struct Target {
    /// What clients ask for, e.g. as `dbname`.
    pub name: TargetName,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its host: a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database on the target.
    pub database: String,
    /// The gateway's own account on the target.
    pub user: String,
    /// The account's password.
    pub password: Secret,
    /// Whether sessions use that account.
    pub credential: Credential,
    /// How it is verified.
    pub tls: TargetTls,
    /// Names of plugins, in the order in which they are asked. Never empty.
    pub plugins: Vec<String>,
    /// What it is, for rules that mean all that are alike.
    pub labels: Labels,
}

impl Target {
    pub(crate) fn decode<'a>(
        item: &Item<'a>,
        plugins: &[Plugin],
        vault: &Vault<'_>,
        names: &mut Names<'a>,
    ) -> Option<Self> {
        let mut fields = item.fields()?;
        let name = fields.need("name", "what clients will ask for");
        let protocol = fields.need("protocol", "`postgres`");
        let address = fields.need("address", "`host:port`");
        let database = fields.need("database", "the database on the target");
        let user = fields.need("user", "the gateway's account on the target");
        let password = fields.need("password", "`env:VARIABLE` or `file:/path`");
        let credential = fields.get("credential");
        let owned_to = fields.get("owned_to");
        let tls = fields.get("tls");
        let listed =
            fields.need("plugins", "a list with at least one plugin that checks, such as `sql-guard`");
        let labels = fields.get("labels");
        fields.finish();
        let name = name.and_then(|item| {
            let name = item.plain_name("a target's name")?;
            names.define(Kind::Target, name, &item);
            TargetName::new(name).ok()
        });
        let address = address.and_then(|item| host_and_port(&item));
        let loopback = address.as_ref().is_some_and(|address| is_loopback(&address.0));
        let database = database.and_then(|item| identifier(&item, "a database's name"));
        let user = user.and_then(|item| identifier(&item, "a PostgreSQL role's name"));
        let password = password.and_then(|item| vault.secret(&item));
        let tls = match tls {
            None => Some(TargetTls::VerifyFull { ca: None }),
            // Without a good address nothing can be said about loopback; the address is what is wrong then.
            Some(item) => decode_tls(&item, loopback || address.is_none(), vault),
        };
        let credential = decode_credential(credential.as_ref(), owned_to.as_ref(), user.as_deref());
        let judged_by = listed.map(|item| plugin_list(&item, plugins, names));
        let protocol = protocol.and_then(|item| item.choice(&[("postgres", Protocol::Postgres)]));
        let (host, port) = address?;
        Some(Target {
            name: name?,
            protocol: protocol?,
            host,
            port,
            database: database?,
            user: user?,
            password: password?,
            credential: credential?,
            tls: tls?,
            plugins: judged_by?,
            labels: labels.map(|item| labels::decode(&item)).unwrap_or_default(),
        })
    }
}

fn decode_credential(
    credential: Option<&Item<'_>>,
    owned_to: Option<&Item<'_>>,
    user: Option<&str>,
) -> Option<Credential> {
    let minted = Credential::Minted { owned_to: None };
    let choices = [("static", &Credential::Static), ("minted", &minted)];
    let chosen = credential.map_or(Some(&Credential::Static), |item| item.choice(&choices))?;
    let Some(item) = owned_to else { return Some(chosen.clone()) };
    if *chosen == Credential::Static {
        item.no_effect(
            "`owned_to` does nothing where no roles are made",
            "write `credential: minted`, or delete it",
        );
        return None;
    }
    let name = role(
        item,
        user.as_slice(),
        "what sessions have made would be the gateway's own, which may make roles",
    )?;
    Some(Credential::Minted { owned_to: Some(name) })
}

/// A role on the target that is not the gateway's own; `otherwise` says what would be wrong with that.
pub(crate) fn role(item: &Item<'_>, users: &[&str], otherwise: &str) -> Option<RoleName> {
    let name = identifier(item, "a PostgreSQL role's name")?;
    if users.contains(&name.as_str()) {
        item.invalid(format!("{} is the gateway's own role: {otherwise}", quote(&name)), "name another role");
        return None;
    }
    RoleName::new(name).ok()
}

/// A name on the target: no control characters, within PostgreSQL's 63 bytes.
fn identifier(item: &Item<'_>, what: &str) -> Option<String> {
    let text = item.text(what)?;
    let fits = text.len() <= 63 && !text.chars().any(char::is_control);
    if !fits {
        item.invalid(format!("{} is not {what}", quote(text)), "at most 63 bytes, no control characters");
    }
    fits.then(|| text.to_owned())
}

/// `db.internal:5432`, `10.0.0.1:5432`, `[::1]:5432`; the brackets are taken off.
fn host_and_port(item: &Item<'_>) -> Option<(String, u16)> {
    let text = item.text("`host:port`")?;
    if text.contains('@') {
        // Before anything quotes it: what stands in front of the `@` may be a password.
        item.sink.conceal(item.node.mark);
        item.invalid(
            "an address has no name or password in it",
            "write `host:port`; `user` and `password` are keys",
        );
        return None;
    }
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let fits = |host: &str| match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let label = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            (1..=253).contains(&host.len()) && host.bytes().all(label)
        }
    };
    match parts {
        Some((host, port)) if port != 0 && fits(host) => {
            Some((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
        }
        _ => {
            item.invalid(
                format!("{} is not `host:port`", quote(text)),
                "write `db.internal:5432`, `10.0.0.1:5432` or `[::1]:5432`",
            );
            None
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    VerifyFull,
    Disabled,
}

fn decode_tls(item: &Item<'_>, loopback: bool, vault: &Vault<'_>) -> Option<TargetTls> {
    let mut fields = item.fields()?;
    let mode = fields.get("mode");
    let ca = fields.get("ca");
    fields.finish();
    let choices = [("verify-full", Mode::VerifyFull), ("disabled", Mode::Disabled)];
    let chosen = mode.as_ref().map_or(Some(Mode::VerifyFull), |mode| mode.choice(&choices))?;
    let at = mode.unwrap_or_else(|| item.clone());
    if chosen == Mode::VerifyFull {
        return match ca {
            Some(item) => {
                super::edge::path(&item, vault).map(|path| TargetTls::VerifyFull { ca: Some(path) })
            }
            None => Some(TargetTls::VerifyFull { ca: None }),
        };
    }
    if let Some(ca) = ca {
        ca.no_effect("`ca` is not read when TLS is disabled", "delete it, or set `mode: verify-full`");
    }
    if !loopback {
        at.invalid(
            "TLS can be disabled for loopback addresses only: the target's password would cross the network",
            "set `mode: verify-full`, with `ca` if the target has a private authority",
        );
        return None;
    }
    at.risk("the target is reached without TLS", "fine for a trial on one machine");
    Some(TargetTls::Disabled)
}

fn plugin_list<'a>(item: &Item<'a>, plugins: &[Plugin], names: &mut Names<'a>) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    // A plugin that is wrong or unknown has its own problem; whether it checks cannot be said then.
    let mut may_check = false;
    for item in item.list(MAX_TARGET_PLUGINS) {
        let Some(name) = item.text("a plugin's name") else { continue };
        names.refer(Kind::Plugin, name, &item);
        if list.iter().any(|other| other == name) {
            item.no_effect(format!("{} is listed twice", quote(name)), "one is enough: delete this one");
            continue;
        }
        let plugin = plugins.iter().find(|plugin| plugin.name == name);
        may_check |= plugin.is_none_or(|plugin| plugin.source.may_check());
        list.push(name.to_owned());
    }
    if !may_check && matches!(item.node.value, super::node::Value::List(_)) {
        item.invalid(
            "no plugin of this target checks operations, so everything would be allowed",
            "add a plugin that checks, such as one with `source: builtin:sql-guard`",
        );
    }
    list
}
