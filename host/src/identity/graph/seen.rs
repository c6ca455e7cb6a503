//! What Graph said of an object, and what follows from it.

use chaperone_core::Timestamp;
use chaperone_core::identity::{CallerKind, Groups, IdentityFacts, Sponsor};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccountKind {
    /// A member of the tenant. Not proof of a person: other programs than known agents have user accounts, too.
    Member,
    /// A guest, or a user of a kind that is not known.
    OtherUser,
    /// An agent's user account.
    AgentUser,
    /// An agent.
    Agent,
    /// Any other service principal.
    Application,
}

/// An object of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) kind: AccountKind,
    pub(super) enabled: bool,
    /// Tokens from before this moment were taken back.
    pub(super) sessions_from: Option<Timestamp>,
    /// Those of the groups asked about that it is in.
    pub(super) held: BTreeSet<String>,
    /// Who answers for it, where it is an agent and they are known.
    pub(super) sponsors: Vec<Sponsor>,
}

/// An answer, with what was asked and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Timestamp,
    pub(super) asked: Arc<BTreeSet<String>>,
    /// `None`: the tenant has no such object.
    pub(super) account: Option<Account>,
}

/// Why a token does not count any more, although it is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The object is gone.
    Gone,
    /// The account is disabled.
    Disabled,
    /// All sign-ins before some moment were taken back, and the token is from before it.
    SignedOut,
    /// A group that was held is not any more.
    Group,
    /// What it was taken for it is not.
    Kind,
}

impl Lost {
    /// The end of a sentence.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Lost::Gone => "your account is gone",
            Lost::Disabled => "your account is disabled",
            Lost::SignedOut => "your sign-ins were revoked after your token was issued",
            Lost::Group => "you are no longer in a group that you were in when you were let in",
            Lost::Kind => "your account is of another kind than it was taken for when you were let in",
        }
    }
}

impl Seen {
    /// Why tokens of this object do not count any more.
    fn lost(&self, facts: &IdentityFacts) -> Option<Lost> {
        let Some(account) = &self.account else { return Some(Lost::Gone) };
        match account.sessions_from {
            _ if !account.enabled => Some(Lost::Disabled),
            Some(from) if facts.issued_at < from => Some(Lost::SignedOut),
            _ => None,
        }
    }

    /// The account, if it is an enabled member's.
    pub(super) fn member(&self) -> Option<&Account> {
        self.account.as_ref().filter(|account| account.enabled && account.kind == AccountKind::Member)
    }

    /// What is no longer as it was when these facts let somebody in. Any group that the policy names counts, not only the one that a
    /// grant was matched by: plugins were told of it when the session began.
    pub(super) fn no_longer(&self, facts: &IdentityFacts) -> Option<Lost> {
        if let Some(lost) = self.lost(facts) {
            return Some(lost);
        }
        let Some(account) = &self.account else { return Some(Lost::Gone) };
        let held = match &facts.groups {
            Groups::Known(held) | Groups::Asked { held, .. } => held,
            Groups::Unknown => &BTreeSet::new(),
        };
        if held.iter().any(|id| self.asked.contains(id) && !account.held.contains(id)) {
            return Some(Lost::Group);
        }
        (settled(facts.kind, account.kind) != facts.kind).then_some(Lost::Kind)
    }

    /// The facts with what the token left open. Nothing that the token did say is taken from Graph, but for one thing: a user
    /// without markers that Graph knows to be an agent's is no person.
    pub(super) fn complete(&self, facts: &IdentityFacts) -> Result<IdentityFacts, Lost> {
        if let Some(lost) = self.lost(facts) {
            return Err(lost);
        }
        let Some(account) = &self.account else { return Err(Lost::Gone) };
        let mut facts = facts.clone();
        facts.kind = settled(facts.kind, account.kind);
        facts.sponsors = account.sponsors.clone();
        if facts.groups == Groups::Unknown {
            facts.groups = Groups::Asked { held: account.held.clone(), asked: self.asked.as_ref().clone() };
        }
        Ok(facts)
    }
}

/// The kind of a caller whose token says `told`. Never a person where the token proved none.
fn settled(told: CallerKind, found: AccountKind) -> CallerKind {
    match (told, found) {
        (CallerKind::Workload | CallerKind::Unknown, AccountKind::Agent) => CallerKind::Agent,
        (CallerKind::Human | CallerKind::HumanThroughAgent, AccountKind::AgentUser) => CallerKind::AgentUser,
        // Also what is half marked and no agent: a contradiction stays unknown.
        _ => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graph_settles_agents_and_never_concludes_a_person() {
        use AccountKind as A;
        use CallerKind as C;
        for told in C::ALL {
            for found in [A::Member, A::OtherUser, A::AgentUser, A::Agent, A::Application] {
                let settled = settled(told, found);
                let expected = match (told, found) {
                    (C::Workload | C::Unknown, A::Agent) => C::Agent,
                    (C::Human | C::HumanThroughAgent, A::AgentUser) => C::AgentUser,
                    _ => told,
                };
                assert_eq!(settled, expected, "{told} {found:?}");
                assert!(!settled.may_approve() || told == C::Human, "{told} {found:?}");
            }
        }
    }
}
