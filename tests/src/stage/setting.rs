//! What a test wants different of the gateway's configuration, and the file that says so.
//!
//! A file and not a value: tests load what an operator would write, with the same errors.

use super::{AGENTS, ASKERS, AUDIENCE, DBAS, MINTER, Minting, SignIn, TENANT};
use chaperone::demo::issuer::Issuer;
use chaperone::demo::postgres::{ServerTls, ShopLogin};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a test wants different.
#[derive(Debug, Clone)]
pub struct Setting {
    /// sql-guard's configuration.
    pub guard: String,
    /// column-mask's.
    pub mask: String,
    /// approval-trigger's.
    pub trigger: String,
    /// More entries under `plugins`, and their names for the target's list.
    pub more_plugins: Vec<(String, String)>,
    /// The target's list in front of those.
    pub plugins: String,
    /// Lifetime of both grants.
    pub lifetime: String,
    /// The value of `recording`.
    pub recording: String,
    /// The value of `state`.
    pub state: String,
    /// Whole top-level keys to add, e.g. `limits: { … }`.
    pub more: String,
    /// The target's password file holds this instead of the right one.
    pub target_password: Option<String>,
    /// The target's address, instead of the real server's.
    pub target_address: Option<String>,
    /// Settings of the PostgreSQL server.
    pub server: Vec<(String, String)>,
    /// The folder of that server's programs, instead of the usual one.
    pub server_bin: Option<PathBuf>,
    /// Whether that server speaks TLS; it has to be one that can, see [`crate::tools::postgres_with_tls_bin`].
    pub server_tls: ServerTls,
    /// How `shop` mints a role for each session, if it does.
    pub minting: Option<Minting>,
    /// More targets, each with a grant for [`AGENTS`].
    pub more_targets: Vec<OtherTarget>,
    /// Whether people sign in at the gateway. Then approvers have a registration of their own.
    pub sign_in: SignIn,
}

/// A target beside `shop`, with the same database, role and plugins.
#[derive(Debug, Clone)]
pub struct OtherTarget {
    /// What clients ask for.
    pub name: String,
    /// `host:port`; a `{port}` in it is the real server's.
    pub address: String,
    /// The value of `tls`; the file `target-ca.pem` is the real server's authority, when it has one.
    pub tls: String,
    /// What the gateway takes for the role's password; `None` for the right one.
    pub password: Option<String>,
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            guard: "{}".into(),
            mask: r#"{ columns: [{ match: "public.customers.ssn", strategy: redact }, { match: "public.customers.card", strategy: partial }], content: [{ kind: card, strategy: partial }, { kind: ssn, strategy: redact }] }"#.into(),
            trigger: "{ threshold: 50, approvers: dba, timeout: 1m }".into(),
            more_plugins: Vec::new(),
            plugins: "guard, mask, trigger".into(),
            lifetime: "15m".into(),
            recording: "{ directory: recordings }".into(),
            state: "state.db".into(),
            more: String::new(),
            target_password: None,
            target_address: None,
            server: Vec::new(),
            server_bin: None,
            server_tls: ServerTls::Off,
            minting: None,
            more_targets: Vec::new(),
            sign_in: SignIn::Nowhere,
        }
    }
}

/// The configuration file of a setting, for one server and one issuer.
pub(super) fn configuration(
    setting: &Setting,
    issuer: &Issuer,
    login: &ShopLogin,
    server: SocketAddr,
) -> String {
    let Setting { guard, mask, trigger, lifetime, recording, state, more, plugins: order, .. } = setting;
    let address = setting.target_address.clone().unwrap_or_else(|| server.to_string());
    let names: String = setting.more_plugins.iter().map(|(name, _)| format!(", {name}")).collect();
    let target = |other: &OtherTarget| {
        let OtherTarget { name, address, tls, .. } = other;
        let address = address.replace("{port}", &server.port().to_string());
        format!(
            "  - {{ name: {name}, protocol: postgres, address: \"{address}\", database: {}, user: {}, \
             password: \"file:{name}.password\", tls: {tls}, plugins: [{order}] }}\n",
            login.database, login.role
        )
    };
    let grant = |other: &OtherTarget| {
        let name = &other.name;
        format!("  - {{ grant: {name}, to: \"group:agents\", when: requested, lifetime: {lifetime} }}\n")
    };
    let minting = setting.minting.as_ref();
    let user = minting.map_or(login.role.as_str(), |_| MINTER);
    let gateway = minting.map(|minting| format!("gateway: {}\n", minting.gateway)).unwrap_or_default();
    let owned_to = minting.and_then(|minting| minting.owned_to.as_ref());
    let owned_to = owned_to.map(|owner| format!(", owned_to: {owner}")).unwrap_or_default();
    let credential =
        minting.map(|_| format!("credential: minted{owned_to}")).unwrap_or("credential: static".into());
    let credential = credential.replace(", ", "\n    ");
    let roles = minting.map(|minting| format!(", roles: [{}]", minting.roles)).unwrap_or_default();
    let targets: String = setting.more_targets.iter().map(target).collect();
    let grants: String = setting.more_targets.iter().map(grant).collect();
    let plugins: String = setting.more_plugins.iter().map(|(_, entry)| format!("  - {entry}\n")).collect();
    format!(
        r#"{gateway}listen: {{ postgres: "127.0.0.1:0", api: "127.0.0.1:0", metrics: "127.0.0.1:0" }}
tls: {{ certificate: gateway.pem, key: gateway.key }}
providers:
  - name: test
    kind: entra
    tenants: [{TENANT}]
    audiences: [{AUDIENCE}]
    jwks_url: {jwks}
    allow_http_loopback: yes
groups: {{ agents: test/{AGENTS}, askers: test/{ASKERS}, dba: test/{DBAS} }}
operators: group:dba
targets:
  - name: shop
    protocol: postgres
    address: {address}
    database: {database}
    user: {user}
    password: file:target.password
    {credential}
    tls: {{ mode: disabled }}
    plugins: [{order}{names}]
{targets}plugins:
  - {{ name: guard, source: "builtin:sql-guard", config: {guard} }}
  - {{ name: mask, source: "builtin:column-mask", config: {mask} }}
  - {{ name: trigger, source: "builtin:approval-trigger", config: {trigger} }}
{plugins}grants:
  - {{ grant: shop, to: "group:agents", when: requested, lifetime: {lifetime}, recorded: yes{roles} }}
  - {{ grant: shop, to: "group:askers", when: approved, approvers: "group:dba", lifetime: {lifetime}{roles} }}
{grants}recording: {recording}
state: {state}
{more}
"#,
        jwks = issuer.jwks_url(),
        database = login.database,
    )
}
