//! Grants: who may open which target, how, and for how long.
//!
//! A grant is matched against what a credential *proved*. What is not proved does not match: unknown groups are no
//! groups, a group belongs to the provider that vouches for it, and names or addresses of people never take part.

use crate::Timestamp;
use crate::identity::{CallerKind, IdentityFacts};
use crate::name::{GroupAlias, TargetName};
use crate::role::RoleName;
use crate::window::{Opened, Window, between};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

mod condition;
mod deny;
mod hours;
mod subject;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use condition::{Amounts, Conditions, Denied, MAX_COUNTED, MAX_NETWORKS, Occasion, Unmet};
pub use deny::Deny;
pub use hours::{Edge, Hours, HoursProblem, weekday, weekdays};
pub use subject::{Match, Subject, any_matches};

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

/// Whose approval is needed, and of how many of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// The readable name of the approvers.
    pub approvers: GroupAlias,
    /// Who they are.
    pub members: Vec<Subject>,
    /// Distinct persons, 1 to [`MAX_NEEDED`].
    pub needed: u8,
    /// When they are asked: after all requirements of smaller stages are met.
    #[serde(default, skip_serializing_if = "is_first")]
    pub stage: u8,
}

/// Rows of a version without stages have none.
fn is_first(stage: &u8) -> bool {
    *stage == 0
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

/// Whether a request has to name a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ticket {
    /// It may.
    #[default]
    Optional,
    /// It must.
    Required,
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
    /// When, and from where.
    pub only: Conditions,
    /// Whether whoever asks has to name a ticket.
    pub ticket: Ticket,
    /// Who answers.
    pub when: When,
    /// No window under it is longer. Up to [`MAX_LIFETIME`].
    pub lifetime: Duration,
    /// How many windows and sessions.
    pub amounts: Amounts,
    /// Whether sessions are recorded.
    pub recorded: Recorded,
    /// What a role that is made for a session is a member of, where the target's credentials are minted. Up to
    /// [`MAX_ROLES`].
    pub roles: Vec<RoleName>,
    /// The line of the configuration that it stands on.
    pub line: usize,
}

/// Why a grant does not let somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// It is on another target.
    Target,
    /// It is not proved to mean them.
    Subject,
    /// It is not for callers of their kind.
    Kind,
    /// It means them, but not now or not from there.
    Unmet(Unmet),
}

/// Why a grant cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantProblem {
    /// It names no kind of caller.
    #[error("the grant on `{0}` is for no kind of caller: name at least one under `kind`, or leave it out")]
    NoKind(TargetName),
    /// It means nobody.
    #[error(
        "the grant on `{0}` is to nobody: name at least one group, principal, role or provider under `to`"
    )]
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
    /// Amounts that count nothing, or for ever.
    #[error(
        "the grant on `{0}` counts windows or sessions that are not 1 to {MAX_COUNTED}, or pauses over 7 days"
    )]
    Amounts(TargetName),
    /// More networks than are looked through.
    #[error("the grant on `{0}` names more than {MAX_NETWORKS} networks")]
    Networks(TargetName),
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
        if !self.amounts.fit() {
            return Err(GrantProblem::Amounts(self.target.clone()));
        }
        if self.only.networks.len() > MAX_NETWORKS {
            return Err(GrantProblem::Networks(self.target.clone()));
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

    /// Whether it lets this caller onto the target, and until when it does; without hours it goes on doing so.
    ///
    /// # Errors
    /// The first thing that is against it.
    pub fn judge(
        &self,
        facts: &IdentityFacts,
        target: &TargetName,
        occasion: &Occasion,
    ) -> Result<Option<Timestamp>, Mismatch> {
        if self.target != *target {
            return Err(Mismatch::Target);
        }
        if any_matches(&self.to, facts) == Match::NotProved {
            return Err(Mismatch::Subject);
        }
        if self.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&facts.kind)) {
            return Err(Mismatch::Kind);
        }
        self.only.allow(occasion).map_err(Mismatch::Unmet)
    }

    /// Whether it is on this target and means this caller on this occasion.
    pub fn covers(&self, facts: &IdentityFacts, target: &TargetName, occasion: &Occasion) -> Match {
        self.judge(facts, target, occasion).map_or(Match::NotProved, |_| Match::Proved)
    }

    /// The longest window that it can open now, in whole seconds: what people approve later may still be of its full length.
    pub fn longest(&self, now: Timestamp) -> Duration {
        let ends = match self.when {
            When::Approved { .. } => None,
            When::Requested => self.only.hours.as_ref().map(|hours| hours.open_until(now, Edge::Narrow)),
        };
        match ends {
            None => self.lifetime,
            Some(end) => {
                let left = end.map_or(Duration::ZERO, |end| between(now, end));
                self.lifetime.min(Duration::from_secs(left.as_secs()))
            }
        }
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

/// Chooses among the grants that cover a request of `wanted` (or as long as possible): one that needs no human before one
/// that does, then the longest lifetime, then the first in the configuration.
pub fn choose<'a>(
    covering: impl IntoIterator<Item = &'a Grant>,
    wanted: Option<Duration>,
    now: Timestamp,
) -> Choice<'a> {
    let mut longest = None;
    let mut best: Option<&Grant> = None;
    for grant in covering {
        let most = grant.longest(now);
        longest = longest.max(Some(most));
        if wanted.unwrap_or(Duration::from_secs(1)) > most {
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
