//! Whom grants, operators and approvers mean.

use crate::identity::{CallerKind, IdentityFacts};
use crate::name::{GroupAlias, Principal, ProviderName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One way to be meant by a grant, as an operator, or as an approver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The members of a group of one provider.
    Group {
        /// Whose group it is: the same id of another provider is another group.
        provider: ProviderName,
        /// The immutable id (Entra: a GUID, written as the provider writes it).
        id: String,
        /// Its readable name in the configuration.
        alias: GroupAlias,
    },
    /// Exactly this caller.
    Principal(Principal),
    /// Applications that were assigned this app role. Roles of users are another namespace and never match.
    Role {
        /// Whose role it is.
        provider: ProviderName,
        /// The value of the role.
        role: String,
    },
    /// Everybody whom this provider vouches for.
    Provider(ProviderName),
}

impl Subject {
    /// Whether these facts prove that the caller is meant.
    pub fn matches(&self, facts: &IdentityFacts) -> Match {
        let proved = match self {
            Subject::Group { provider, id, .. } => *provider == facts.provider && facts.groups.contains(id),
            Subject::Principal(principal) => *principal == facts.principal,
            Subject::Role { provider, role } => {
                *provider == facts.provider && is_application(facts.kind) && facts.roles.contains(role)
            }
            Subject::Provider(provider) => *provider == facts.provider,
        };
        if proved { Match::Proved } else { Match::NotProved }
    }

    /// Whether the caller may be meant for all that is known: the question of rules that deny. Of whom the groups are not known,
    /// or the kind, nobody can say that they are *not* meant: fails closed.
    pub fn may_mean(&self, facts: &IdentityFacts) -> bool {
        match self {
            Subject::Group { provider, id, .. } => {
                *provider == facts.provider && facts.groups.may_contain(id)
            }
            Subject::Role { provider, role } => {
                let application = is_application(facts.kind) || facts.kind == CallerKind::Unknown;
                *provider == facts.provider && application && facts.roles.contains(role)
            }
            Subject::Principal(_) | Subject::Provider(_) => self.matches(facts) == Match::Proved,
        }
    }
}

/// Whether the token was issued to an application itself; only then are its roles app roles.
fn is_application(kind: CallerKind) -> bool {
    matches!(kind, CallerKind::Agent | CallerKind::Workload)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Group { alias, .. } => write!(f, "group:{alias}"),
            Subject::Principal(principal) => write!(f, "principal:{principal}"),
            Subject::Role { provider, role } => write!(f, "role:{provider}/{role}"),
            Subject::Provider(provider) => write!(f, "provider:{provider}"),
        }
    }
}

/// Whether a subject was proved to mean the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The credential proves it.
    Proved,
    /// It does not; the truth may be unknown, which is treated alike.
    NotProved,
}

/// Whether any of the subjects means the caller.
pub fn any_matches(subjects: &[Subject], facts: &IdentityFacts) -> Match {
    if subjects.iter().any(|subject| subject.matches(facts) == Match::Proved) {
        Match::Proved
    } else {
        Match::NotProved
    }
}
