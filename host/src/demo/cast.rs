//! Who plays in the demo: two agents and an approver, each with nothing but a token.

use super::issuer::{GroupsClaim, Issuer, TokenSpec};
use super::write_private;
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use std::path::Path;

/// The demo's tenant.
pub(super) const TENANT: &str = "d3a0c0de-0000-4000-8000-000000000001";
/// What the gateway is registered as.
pub(super) const AUDIENCE: &str = "d3a0c0de-0000-4000-8000-0000000000aa";
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
            let spec = TokenSpec::new(kind, object, AUDIENCE, now)
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
            carol: token(CallerKind::Human, "d3a0c0de-0000-4000-8000-0000000000a3", DBAS, "Carol")?,
        };
        for (name, token) in [("ada", &cast.ada), ("bob", &cast.bob), ("carol", &cast.carol)] {
            write_private(&folder.join(format!("{name}.token")), token)?;
        }
        Ok(cast)
    }
}

/// The client application that people sign in with.
const CONSOLE: &str = "d3a0c0de-0000-4000-8000-0000000000c0";
