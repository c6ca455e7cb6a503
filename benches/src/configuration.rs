//! The gateway's configuration: one target for each question that the benchmark asks.

use crate::pgbouncer::IDLE_DATABASE;
use crate::route::DATABASE;
use chaperone::demo::postgres::{Postgres, SUPERUSER};
use std::fmt::Write;

pub(crate) const TENANT: &str = "be9c0000-0000-4000-8000-000000000001";
pub(crate) const AUDIENCE: &str = "be9c0000-0000-4000-8000-0000000000aa";
pub(crate) const AGENTS: &str = "be9c0000-0000-4000-8000-0000000000b1";
pub(crate) const CERTIFICATE: &str = "server.crt";
pub(crate) const STATE: &str = "state.db";

/// A target, all with three plugins and recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nothing in its tables is masked.
    Plain,
    /// One column is masked by name, and all others are scanned.
    Masked,
    /// Ten rules in sql-guard and in column-mask.
    FewRules,
    /// A thousand in each.
    ManyRules,
    /// Behind a pooler, so that thousands of sessions need no thousands of server processes.
    Idle,
}

impl Target {
    pub(crate) const ALL: [Target; 5] =
        [Target::Plain, Target::Masked, Target::FewRules, Target::ManyRules, Target::Idle];

    /// Its name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Target::Plain => "bench",
            Target::Masked => "masked",
            Target::FewRules => "few-rules",
            Target::ManyRules => "many-rules",
            Target::Idle => "idle",
        }
    }

    /// What the report calls the way to it.
    pub(crate) fn route(self) -> &'static str {
        match self {
            Target::Plain | Target::Masked | Target::Idle => "chaperone",
            Target::FewRules => "chaperone, 10 rules",
            Target::ManyRules => "chaperone, 1,000 rules",
        }
    }

    fn guard_and_mask(self) -> (String, String) {
        let rules = |count: u32| {
            let (mut guard, mut mask) = (String::new(), String::new());
            for number in 0..count {
                // Writing to a string cannot fail.
                let _ = write!(guard, "{{ class: select, relation: secret_{number}, action: refuse }}, ");
                let _ = write!(mask, "{{ match: \"*.people_{number}.ssn\", strategy: redact }}, ");
            }
            (format!("rules: [{guard}]"), format!("columns: [{mask}]"))
        };
        match self {
            Target::FewRules => rules(10),
            Target::ManyRules => rules(1000),
            Target::Masked => {
                let kinds =
                    ["card", "ssn", "email"].map(|kind| format!("{{ kind: {kind}, strategy: redact }}"));
                let columns = "columns: [{ match: \"*.masked.secret\", strategy: redact }]";
                (String::new(), format!("{columns}, content: [{}]", kinds.join(", ")))
            }
            Target::Plain | Target::Idle => (
                String::new(),
                "columns: [{ match: \"*.customers.ssn\", strategy: redact }, \
                 { match: \"*.*.card_number\", strategy: partial }]"
                    .to_owned(),
            ),
        }
    }
}

/// What recordings survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survive {
    /// The end of the gateway.
    Kill,
    /// Power loss: every statement waits for the disk that the folder for temporary files is on.
    PowerLoss,
}

/// The whole file. `pooler` is the port that [`Target::Idle`] leads to.
pub(crate) fn text(jwks: &str, server: &Postgres, pooler: u16, survive: Survive) -> String {
    let durable = if survive == Survive::PowerLoss { "yes" } else { "no" };
    let mut text = format!(
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
recording: {{ directory: recordings, durable: {durable} }}
state: {STATE}
limits: {{ connections: 12000 }}
"#
    );
    let (mut targets, mut plugins, mut grants) = (String::new(), String::new(), String::new());
    plugins.push_str(
        "  - { name: trigger, source: \"builtin:approval-trigger\", config: { threshold: 70, approvers: dba } }\n",
    );
    for target in Target::ALL {
        let name = target.name();
        let (address, database) = match target {
            Target::Idle => (format!("127.0.0.1:{pooler}"), IDLE_DATABASE),
            _ => (server.address().to_string(), DATABASE),
        };
        let (guard, mask) = target.guard_and_mask();
        // Writing to a string cannot fail.
        let _ = write!(
            targets,
            "  - name: {name}\n    protocol: postgres\n    address: {address}\n    database: {database}\n    \
             user: {SUPERUSER}\n    password: file:target.password\n    tls: {{ mode: disabled }}\n    \
             plugins: [{name}-guard, {name}-mask, trigger]\n"
        );
        let _ = write!(
            plugins,
            "  - {{ name: {name}-guard, source: \"builtin:sql-guard\", config: {{ {guard} }} }}\n  \
             - {{ name: {name}-mask, source: \"builtin:column-mask\", config: {{ {mask} }} }}\n"
        );
        let _ = writeln!(
            grants,
            "  - {{ grant: {name}, to: \"group:agents\", when: requested, lifetime: 6h, recorded: yes }}"
        );
    }
    let _ = write!(text, "targets:\n{targets}plugins:\n{plugins}grants:\n{grants}");
    text
}
