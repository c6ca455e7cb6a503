//! What a validated credential proves.
//!
//! [`IdentityFacts`] is plain data: only the host's identity module turns a credential into an `Identity`, which wraps
//! these facts and which every later step asks for.

use crate::Timestamp;
use crate::name::{Principal, ProviderName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// What kind of caller a credential proves (IDENTITY: markers may be missing, then nothing is concluded).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallerKind {
    /// A person using a plain client.
    Human,
    /// A person, acting through an agent (on behalf of).
    HumanThroughAgent,
    /// An agent acting for itself.
    Agent,
    /// An agent's own user account.
    AgentUser,
    /// A service principal or managed identity that is not known to be an agent.
    Workload,
    /// Not proved; treated as the least trusted.
    Unknown,
}

impl CallerKind {
    /// All of them.
    pub const ALL: [CallerKind; 6] = [
        CallerKind::Human,
        CallerKind::HumanThroughAgent,
        CallerKind::Agent,
        CallerKind::AgentUser,
        CallerKind::Workload,
        CallerKind::Unknown,
    ];

    /// Only a person at a plain client may approve: never an agent, a workload, or what is unknown.
    pub fn may_approve(self) -> bool {
        matches!(self, CallerKind::Human)
    }

    /// The word used in configuration, records and errors.
    pub fn as_str(self) -> &'static str {
        match self {
            CallerKind::Human => "human",
            CallerKind::HumanThroughAgent => "human-through-agent",
            CallerKind::Agent => "agent",
            CallerKind::AgentUser => "agent-user",
            CallerKind::Workload => "workload",
            CallerKind::Unknown => "unknown",
        }
    }
}

impl fmt::Display for CallerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a credential was issued for, where a provider tells the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audience {
    /// For asking and for sessions at targets; where approvers have no registration of their own, for approving as well.
    #[default]
    Agents,
    /// For approving. It asks for nothing and opens nothing.
    Approvers,
}

/// Whether the groups of a caller are known. Entra omits them for many callers, and that means *unknown*, not none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "ids")]
pub enum Groups {
    /// The ids that the credential (or a look-up) proved.
    Known(BTreeSet<String>),
    /// The credential did not say, and the provider was asked about some groups: about no others is anything known.
    Asked {
        /// Those of them that the caller is in.
        held: BTreeSet<String>,
        /// Those that the provider was asked about.
        asked: BTreeSet<String>,
    },
    /// The credential did not say: no group grant matches.
    Unknown,
}

impl Groups {
    /// Whether membership in `id` is proved. Unknown groups prove nothing.
    pub fn contains(&self, id: &str) -> bool {
        match self {
            Groups::Known(ids) => ids.contains(id),
            // Not `asked`: that a group was asked about says nothing of who is in it.
            Groups::Asked { held, .. } => held.contains(id),
            Groups::Unknown => false,
        }
    }

    /// Whether membership in `id` cannot be ruled out.
    pub fn may_contain(&self, id: &str) -> bool {
        match self {
            Groups::Known(ids) => ids.contains(id),
            Groups::Asked { held, asked } => held.contains(id) || !asked.contains(id),
            Groups::Unknown => true,
        }
    }
}

/// What a validated credential proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityFacts {
    /// The configured provider that issued the credential.
    pub provider: ProviderName,
    /// The tenant's id.
    pub tenant: String,
    /// The immutable object id within the tenant.
    pub object_id: String,
    /// `provider/tenant/object-id`.
    pub principal: Principal,
    /// What kind of caller it is.
    pub kind: CallerKind,
    /// What the credential was issued for. Recordings of before there was a choice do not say.
    #[serde(default)]
    pub audience: Audience,
    /// Groups, if known.
    pub groups: Groups,
    /// App roles assigned to the caller.
    pub roles: BTreeSet<String>,
    /// The application that acts (`azp` or `appid`); the agent, when a human comes through one.
    pub actor: String,
    /// The agent's blueprint, for the record only.
    pub blueprint: Option<String>,
    /// For display only; never decides anything.
    pub display_name: Option<String>,
    /// Who answers for an agent, where its provider was asked and said so. Decides nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sponsors: Vec<Sponsor>,
    /// The credential's own id (`uti`), for the deny list and the record.
    pub credential_id: String,
    /// When the credential was issued.
    pub issued_at: Timestamp,
    /// When the credential expires: no session outlives it.
    pub expires_at: Timestamp,
}

/// A person or a group that answers for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sponsor {
    /// Its object id.
    pub id: String,
    /// For display only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// When the provider said so.
    pub seen: Timestamp,
}

/// Who asks, and through what: the part of a caller's facts that approvers see, and that what is opened for them is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// On whose behalf.
    pub principal: Principal,
    /// What kind of caller.
    pub kind: CallerKind,
    /// The application that acts; the agent, when a person comes through one.
    pub actor: String,
    /// The agent's blueprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blueprint: Option<String>,
    /// As they call themselves; never decides anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Who answers for an agent, as far as it is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sponsors: Vec<Sponsor>,
}

impl From<&IdentityFacts> for Caller {
    fn from(facts: &IdentityFacts) -> Self {
        Caller {
            principal: facts.principal.clone(),
            kind: facts.kind,
            actor: facts.actor.clone(),
            blueprint: facts.blueprint.clone(),
            display_name: facts.display_name.clone(),
            sponsors: facts.sponsors.clone(),
        }
    }
}

impl Caller {
    /// The same text for callers who are the same to whoever approves: of one kind, and through one application. A person at a
    /// plain client is the same at each, since approvers approve the person; but what was asked through one agent is of no
    /// use to another that acts for the same person, nor what a person asked to any agent of theirs.
    pub fn chain(&self) -> String {
        match self.kind {
            CallerKind::Human => self.kind.to_string(),
            kind => format!("{kind} {}", self.actor.to_ascii_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_asked_about_is_not_being_in() {
        let set = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let groups = Groups::Asked { held: set(&["a"]), asked: set(&["a", "b"]) };
        assert_eq!(["a", "b", "c"].map(|id| groups.contains(id)), [true, false, false]);
        for (groups, text) in [
            (groups, r#"{"state":"asked","ids":{"held":["a"],"asked":["a","b"]}}"#),
            (Groups::Known(set(&["a"])), r#"{"state":"known","ids":["a"]}"#),
            (Groups::Unknown, r#"{"state":"unknown"}"#),
        ] {
            assert_eq!(serde_json::to_string(&groups).unwrap(), text);
            assert_eq!(serde_json::from_str::<Groups>(text).unwrap(), groups);
        }
    }

    #[test]
    fn callers_are_told_apart_by_kind_and_but_for_people_by_what_acts() {
        let provider = ProviderName::new("corp").unwrap();
        let chain = |kind, actor: &str| {
            let principal = Principal::of(&provider, "t", "ann").unwrap();
            let (blueprint, display_name, sponsors) = (None, None, Vec::new());
            Caller { principal, kind, actor: actor.into(), blueprint, display_name, sponsors }.chain()
        };
        for one in CallerKind::ALL {
            for other in CallerKind::ALL {
                assert_eq!(chain(one, "a") == chain(other, "a"), one == other, "{one} {other}");
                let same = one == other && one == CallerKind::Human;
                assert_eq!(chain(one, "a") == chain(other, "b"), same, "{one} {other}");
            }
            assert_eq!(chain(one, "Ab-1"), chain(one, "aB-1"), "ids have no case");
        }
    }
}
