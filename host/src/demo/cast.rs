//! Who plays in the demo: two agents and an approver, each with nothing but a token.

use super::issuer::{Account, Application, GroupsClaim, Issuer, TokenSpec};
use super::write_private;
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use std::path::Path;

/// The demo's tenant.
pub(super) const TENANT: &str = "d3a0c0de-0000-4000-8000-000000000001";
/// What the gateway is registered as.
pub(super) const AUDIENCE: &str = "d3a0c0de-0000-4000-8000-0000000000aa";
/// What approvers are registered as: their tokens approve, and open nothing.
pub(super) const APPROVERS: &str = "d3a0c0de-0000-4000-8000-0000000000ab";
/// The client application that people sign in with.
pub(super) const CONSOLE: &str = "d3a0c0de-0000-4000-8000-0000000000c0";
/// The approver.
const CAROL: &str = "d3a0c0de-0000-4000-8000-0000000000a3";
/// May open a window without asking anybody.
pub(super) const TRIAGE_AGENTS: &str = "d3a0c0de-0000-4000-8000-0000000000b1";
/// Need an approver.
pub(super) const REPORT_AGENTS: &str = "d3a0c0de-0000-4000-8000-0000000000b2";
/// Approve.
pub(super) const DBAS: &str = "d3a0c0de-0000-4000-8000-0000000000b3";

/// Their tokens.
pub(super) struct Cast {
    /// An agent that triages incidents.
    pub(super) ada: String,
    /// An agent that writes reports.
    pub(super) bob: String,
    /// A person who approves.
    pub(super) carol: String,
}

impl Cast {
    /// Makes the tokens and writes them beside the configuration, readable for this account only.
    pub(super) fn assemble(issuer: &Issuer, folder: &Path) -> std::io::Result<Self> {
        let now = Timestamp::now();
        let token = |kind, object: &str, group: &str, name: &str| {
            let audience = if kind == CallerKind::Human { APPROVERS } else { AUDIENCE };
            let spec = TokenSpec::new(kind, object, audience, now)
                .groups(GroupsClaim::Listed(vec![group.to_owned()]))
                .name(name);
            let spec = match kind {
                CallerKind::Human => spec.client(CONSOLE),
                _ => spec,
            };
            issuer.token(&spec).map_err(std::io::Error::other)
        };
        let cast = Cast {
            ada: token(
                CallerKind::Agent,
                "d3a0c0de-0000-4000-8000-0000000000a1",
                TRIAGE_AGENTS,
                "Ada (agent)",
            )?,
            bob: token(
                CallerKind::Agent,
                "d3a0c0de-0000-4000-8000-0000000000a2",
                REPORT_AGENTS,
                "Bob (agent)",
            )?,
            carol: token(CallerKind::Human, CAROL, DBAS, "Carol")?,
        };
        for (name, token) in [("ada", &cast.ada), ("bob", &cast.bob), ("carol", &cast.carol)] {
            write_private(&folder.join(format!("{name}.token")), token)?;
        }
        // In a browser she needs no password: the issuer's page asks who to be.
        issuer.admit(Account {
            name: "Carol".to_owned(),
            object_id: CAROL.to_owned(),
            groups: GroupsClaim::Listed(vec![DBAS.to_owned()]),
            kind: CallerKind::Human,
        });
        Ok(cast)
    }
}

/// Lets people sign in at the console of the gateway at `url`, in a browser.
pub(super) fn register_console(issuer: &Issuer, url: &str) {
    issuer.register(Application {
        client_id: CONSOLE.to_owned(),
        secret: None,
        redirects: vec![crate::console::redirect_uri(url)],
        audience: APPROVERS.to_owned(),
    });
}
