//! Grants: who may open which target, how, and for how long.
//!
//! A grant is matched against what a credential *proved*. What is not proved does not match: unknown groups are no
//! groups, a group belongs to the provider that vouches for it, and names or addresses of people never take part.

use crate::identity::{CallerKind, IdentityFacts};
use crate::name::{GroupAlias, Principal, ProviderName, TargetName};
use crate::role::RoleName;
use crate::window::{Opened, Window};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

#[cfg(test)]
pub(crate) mod testing;

/// The longest lifetime a grant may have. Longer access is not just in time, whatever it is called.
pub const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The longest time that a request or a held operation may wait for people.
pub const MAX_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Distinct persons that one requirement may ask for: a bound on the work of [`crate::approval`].
pub const MAX_NEEDED: u8 = 16;

/// Requirements of one approval: a bound on the work of [`crate::approval`].
pub const MAX_REQUIREMENTS: usize = 8;

/// Roles at the target that one grant may give: each is a membership to be made when a session begins.
pub const MAX_ROLES: usize = 16;

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
        };
        if proved { Match::Proved } else { Match::NotProved }
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

/// Whose approval is needed, and of how many of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// The readable name of the approvers.
    pub approvers: GroupAlias,
    /// Who they are.
    pub members: Vec<Subject>,
    /// Distinct persons, 1 to [`MAX_NEEDED`].
    pub needed: u8,
}

/// Who answers an access request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The policy itself: the window opens as soon as it is asked for.
    Requested,
    /// People: the window opens when all requirements are met.
    Approved {
        /// All of these, 1 to [`MAX_REQUIREMENTS`].
        requirements: Vec<Requirement>,
        /// How long a request waits before it expires, up to [`MAX_PATIENCE`].
        patience: Duration,
    },
}

impl When {
    /// The word of the configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            When::Requested => "requested",
            When::Approved { .. } => "approved",
        }
    }
}

/// Whether sessions under a grant are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Everything, within the bounds of `recording`.
    Yes,
    /// Statements, decisions and counts alone: there is no session without a recording.
    No,
}

/// The policy rule: who may open which target, how, for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The target that it opens.
    pub target: TargetName,
    /// Whom it means; at least one.
    pub to: Vec<Subject>,
    /// Of which kinds they have to be proved to be; none: of any kind, also an unknown one.
    pub kinds: Option<BTreeSet<CallerKind>>,
    /// Who answers.
    pub when: When,
    /// No window under it is longer. Up to [`MAX_LIFETIME`].
    pub lifetime: Duration,
    /// Whether sessions are recorded.
    pub recorded: Recorded,
    /// What a role that is made for a session is a member of, where the target's credentials are minted. Up to
    /// [`MAX_ROLES`].
    pub roles: Vec<RoleName>,
}

/// Why a grant cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantProblem {
    /// It names no kind of caller.
    #[error("the grant on `{0}` is for no kind of caller: name at least one under `kind`, or leave it out")]
    NoKind(TargetName),
    /// It means nobody.
    #[error("the grant on `{0}` is to nobody: name at least one group, principal or role under `to`")]
    ToNobody(TargetName),
    /// Its lifetime is zero or too long.
    #[error("the lifetime of the grant on `{0}` must be between 1 second and 7 days")]
    Lifetime(TargetName),
    /// `when: approved` without usable approvers.
    #[error("the grant on `{0}` needs 1 to 8 approver groups, each with 1 to 16 persons needed")]
    Approvers(TargetName),
    /// Requests would never or never not expire.
    #[error("requests under the grant on `{0}` must expire after 1 second to 24 hours")]
    Patience(TargetName),
    /// More roles than a session may be a member of.
    #[error("the grant on `{0}` names more than {MAX_ROLES} roles")]
    Roles(TargetName),
}

impl Grant {
    /// Checks the bounds. A grant that does not pass must not be loaded.
    pub fn check(&self) -> Result<(), GrantProblem> {
        if self.to.is_empty() {
            return Err(GrantProblem::ToNobody(self.target.clone()));
        }
        if self.kinds.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(GrantProblem::NoKind(self.target.clone()));
        }
        if self.lifetime < Duration::from_secs(1) || self.lifetime > MAX_LIFETIME {
            return Err(GrantProblem::Lifetime(self.target.clone()));
        }
        if self.roles.len() > MAX_ROLES {
            return Err(GrantProblem::Roles(self.target.clone()));
        }
        if let When::Approved { requirements, patience } = &self.when {
            let usable = requirements
                .iter()
                .all(|one| (1..=MAX_NEEDED).contains(&one.needed) && !one.members.is_empty());
            if !usable || !(1..=MAX_REQUIREMENTS).contains(&requirements.len()) {
                return Err(GrantProblem::Approvers(self.target.clone()));
            }
            if *patience < Duration::from_secs(1) || *patience > MAX_PATIENCE {
                return Err(GrantProblem::Patience(self.target.clone()));
            }
        }
        Ok(())
    }

    /// Whether it is on this target and means this caller.
    pub fn covers(&self, facts: &IdentityFacts, target: &TargetName) -> Match {
        let kind = self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&facts.kind));
        if self.target == *target && kind { any_matches(&self.to, facts) } else { Match::NotProved }
    }

    /// Whether it would still open such a window: a window is only as good as a grant that stands behind it, so a
    /// policy that was made stricter also holds for what was opened before.
    pub fn backs(&self, window: &Window) -> Backing {
        let people_asked = matches!(self.when, When::Requested) || window.opened() == Opened::Approved;
        let fits = self.target == *window.target() && window.length() <= self.lifetime;
        if people_asked && fits { Backing::Backed } else { Backing::NotBacked }
    }
}

/// The roles of a session whose window several grants stand behind: those that all of them name. Which of them opened the
/// window is not kept, and approvers of the one have not approved the roles of the other: fails closed.
pub fn roles_of_all(backing: &[&Grant]) -> Vec<RoleName> {
    let Some((first, others)) = backing.split_first() else { return Vec::new() };
    let by_all = |role: &&RoleName| others.iter().all(|other| other.roles.contains(role));
    first.roles.iter().filter(by_all).cloned().collect()
}

/// Whether a grant stands behind a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// It would open it again.
    Backed,
    /// It would not.
    NotBacked,
}

/// Which grant answers an access request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// None matches.
    NoGrant,
    /// Some match, but none for so long; the longest that is possible.
    TooLong(Duration),
    /// This one.
    Grant(&'a Grant),
}

/// Chooses the grant for a request of `wanted` (or as long as possible): one that needs no human before one that does,
/// then the longest lifetime, then the first in the configuration.
pub fn choose<'a>(
    grants: &'a [Grant],
    facts: &IdentityFacts,
    target: &TargetName,
    wanted: Option<Duration>,
) -> Choice<'a> {
    let mut longest = None;
    let mut best: Option<&Grant> = None;
    for grant in grants.iter().filter(|grant| grant.covers(facts, target) == Match::Proved) {
        longest = longest.max(Some(grant.lifetime));
        if wanted.is_some_and(|wanted| wanted > grant.lifetime) {
            continue;
        }
        if best.is_none_or(|best| rank(grant) > rank(best)) {
            best = Some(grant);
        }
    }
    match (best, longest) {
        (Some(grant), _) => Choice::Grant(grant),
        (None, Some(longest)) => Choice::TooLong(longest),
        (None, None) => Choice::NoGrant,
    }
}

/// Later in this order is preferred.
fn rank(grant: &Grant) -> (u8, Duration) {
    match grant.when {
        When::Approved { .. } => (0, grant.lifetime),
        When::Requested => (1, grant.lifetime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::testing::{facts, group};
    use crate::identity::Groups;

    fn grant(to: Vec<Subject>, when: When, minutes: u64) -> Grant {
        Grant {
            target: TargetName::new("db").unwrap(),
            to,
            kinds: None,
            when,
            lifetime: Duration::from_secs(60 * minutes),
            recorded: Recorded::Yes,
            roles: vec![],
        }
    }

    #[test]
    fn a_grant_for_some_kinds_means_callers_that_are_proved_to_be_of_one() {
        let caller = |kind| IdentityFacts { kind, ..facts("corp", "ann", CallerKind::Human, &["g1"]) };
        let target = TargetName::new("db").unwrap();
        let of = |kinds: &[CallerKind]| Grant {
            kinds: Some(kinds.iter().copied().collect()),
            ..grant(vec![group("corp", "g1", "team")], When::Requested, 15)
        };
        for kinds in [&[CallerKind::Agent] as &[CallerKind], &[CallerKind::Agent, CallerKind::Workload]] {
            for kind in CallerKind::ALL {
                let expected = if kinds.contains(&kind) { Match::Proved } else { Match::NotProved };
                assert_eq!(of(kinds).covers(&caller(kind), &target), expected, "{kinds:?} {kind}");
            }
        }
        // The kind alone is not enough.
        let stranger = facts("corp", "bot", CallerKind::Agent, &["g2"]);
        assert_eq!(of(&[CallerKind::Agent]).covers(&stranger, &target), Match::NotProved);
        assert_eq!(of(&[]).check(), Err(GrantProblem::NoKind(target)));
    }

    #[test]
    fn several_grants_give_only_the_roles_that_all_of_them_name() {
        let role = |name: &str| RoleName::new(name).unwrap();
        let with = |names: &[&str]| Grant {
            roles: names.iter().map(|name| role(name)).collect(),
            ..grant(vec![group("corp", "g1", "team")], When::Requested, 15)
        };
        let (reads, writes, both) = (with(&["read"]), with(&["write"]), with(&["read", "write"]));
        assert_eq!(roles_of_all(&[&both]), both.roles);
        assert_eq!(roles_of_all(&[&both, &reads]), [role("read")]);
        assert_eq!(roles_of_all(&[&writes, &both]), [role("write")]);
        assert_eq!(roles_of_all(&[&reads, &writes]), []);
        assert_eq!(roles_of_all(&[]), []);
    }

    fn approved() -> When {
        When::Approved {
            requirements: vec![Requirement {
                approvers: GroupAlias::new("dba").unwrap(),
                members: vec![group("corp", "g-dba", "dba")],
                needed: 1,
            }],
            patience: Duration::from_secs(600),
        }
    }

    #[test]
    fn a_group_of_another_provider_and_unknown_groups_prove_nothing() {
        let subject = group("corp", "g1", "team");
        let mut caller = facts("corp", "alice", CallerKind::Agent, &["g1"]);
        assert_eq!(subject.matches(&caller), Match::Proved);
        assert_eq!(group("other", "g1", "team").matches(&caller), Match::NotProved);
        assert_eq!(group("corp", "G1", "team").matches(&caller), Match::NotProved);
        caller.groups = Groups::Unknown;
        assert_eq!(subject.matches(&caller), Match::NotProved);
    }

    #[test]
    fn a_role_is_only_held_by_an_application() {
        let role = Subject::Role { provider: ProviderName::new("corp").unwrap(), role: "Run".into() };
        for (kind, expected) in [
            (CallerKind::Agent, Match::Proved),
            (CallerKind::Workload, Match::Proved),
            (CallerKind::AgentUser, Match::NotProved),
            (CallerKind::Human, Match::NotProved),
            (CallerKind::HumanThroughAgent, Match::NotProved),
            (CallerKind::Unknown, Match::NotProved),
        ] {
            let mut caller = facts("corp", "app", kind, &[]);
            caller.roles.insert("Run".into());
            assert_eq!(role.matches(&caller), expected, "{kind}");
            caller.provider = ProviderName::new("other").unwrap();
            assert_eq!(role.matches(&caller), Match::NotProved, "{kind} of another provider");
        }
    }

    #[test]
    fn a_principal_is_matched_whole() {
        let subject = Subject::Principal(Principal::new("corp/t/alice").unwrap());
        assert_eq!(subject.matches(&facts("corp", "alice", CallerKind::Agent, &[])), Match::Proved);
        assert_eq!(subject.matches(&facts("other", "alice", CallerKind::Agent, &[])), Match::NotProved);
    }

    #[test]
    fn the_grant_that_asks_nobody_is_chosen_then_the_longer_one() {
        let to = vec![group("corp", "g1", "team")];
        let grants = [
            grant(to.clone(), approved(), 240),
            grant(to.clone(), When::Requested, 15),
            grant(to, When::Requested, 30),
        ];
        let caller = facts("corp", "a", CallerKind::Agent, &["g1"]);
        let target = TargetName::new("db").unwrap();
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!(choose(&grants, &caller, &target, None), Choice::Grant(&grants[2]));
        assert_eq!(choose(&grants, &caller, &target, minutes(10)), Choice::Grant(&grants[2]));
        assert_eq!(choose(&grants, &caller, &target, minutes(31)), Choice::Grant(&grants[0]));
        assert_eq!(
            choose(&grants, &caller, &target, minutes(241)),
            Choice::TooLong(Duration::from_secs(240 * 60))
        );
        let other = TargetName::new("other").unwrap();
        assert_eq!(choose(&grants, &caller, &other, None), Choice::NoGrant);
        let stranger = facts("corp", "b", CallerKind::Agent, &["g2"]);
        assert_eq!(choose(&grants, &stranger, &target, None), Choice::NoGrant);
    }

    #[test]
    fn a_window_is_backed_by_what_would_open_it_again() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let window = |opened, target: &str, length| {
            let of = crate::window::WindowOf {
                id: crate::name::WindowId::new(uuid::Uuid::from_u128(1)),
                principal: Principal::new("corp/t/a").unwrap(),
                target: TargetName::new(target).unwrap(),
                opened,
            };
            Window::open(of, crate::Timestamp::UNIX_EPOCH, length, length).unwrap()
        };
        let to = || vec![group("corp", "g1", "team")];
        for (when, opened, target, length, expected) in [
            (When::Requested, Opened::Requested, "db", 15, Backing::Backed),
            (When::Requested, Opened::Approved, "db", 15, Backing::Backed),
            (approved(), Opened::Approved, "db", 15, Backing::Backed),
            (approved(), Opened::Requested, "db", 15, Backing::NotBacked),
            (When::Requested, Opened::Requested, "db", 16, Backing::NotBacked),
            (When::Requested, Opened::Requested, "other", 15, Backing::NotBacked),
        ] {
            let grant = grant(to(), when, 15);
            assert_eq!(
                grant.backs(&window(opened, target, minutes(length))),
                expected,
                "{opened:?} {length}"
            );
        }
    }

    #[test]
    fn a_grant_that_could_not_work_is_no_grant() {
        let to = || vec![group("corp", "g1", "team")];
        assert_eq!(grant(to(), approved(), 15).check(), Ok(()));
        let text = |grant: Grant| grant.check().unwrap_err().to_string();
        assert!(text(grant(vec![], When::Requested, 15)).contains("to nobody"));
        assert!(text(grant(to(), When::Requested, 0)).contains("lifetime"));
        assert!(text(grant(to(), When::Requested, 7 * 24 * 60 + 1)).contains("lifetime"));
        let when = When::Approved { requirements: vec![], patience: Duration::from_secs(60) };
        assert!(text(grant(to(), when, 15)).contains("approver groups"));
        let When::Approved { mut requirements, .. } = approved() else { unreachable!() };
        let role = RoleName::new("reads").unwrap();
        let many = Grant { roles: vec![role; MAX_ROLES + 1], ..grant(to(), When::Requested, 15) };
        assert!(text(many).contains("roles"));
        requirements[0].needed = 0;
        let when = When::Approved { requirements, patience: Duration::from_secs(60) };
        assert!(text(grant(to(), when, 15)).contains("approver groups"));
    }
}
