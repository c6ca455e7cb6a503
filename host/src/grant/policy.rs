//! The policy that counts, and how another takes its place.
//!
//! Everything asks the policy of the moment. What was begun under an earlier one is judged anew when it is replaced: a window is as
//! good as the grants that stand behind it today, and approvers are those whom their group's name means today.

use super::permit::Watched;
use super::{Grants, Inner, PermitEnd};
use crate::state::{Opening, StoredApproval};
use chaperone_core::Timestamp;
use chaperone_core::approval::{Matter, Persons};
use chaperone_core::grant::{
    Amounts, Backing, Denied, Deny, Edge, Grant, GrantProblem, Hours, Match, Mismatch, Occasion, Recorded,
    Requirement, Subject, When, any_matches, roles_of_all,
};
use chaperone_core::identity::{Caller, IdentityFacts};
use chaperone_core::name::{GroupAlias, ProviderName, TargetName};
use chaperone_core::window::Window;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who may open what, who runs it, and who approves: the part of the configuration that this module owns.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The grants, in the order of the configuration.
    pub grants: Vec<Grant>,
    /// What no grant allows.
    pub denies: Vec<Deny>,
    /// The groups by alias; a hold names its approvers by alias.
    pub groups: BTreeMap<GroupAlias, Subject>,
    /// Who may see and end everything.
    pub operators: Vec<Subject>,
    /// Who may see everything, and thereby change nothing.
    pub auditors: Vec<Subject>,
    /// Who is one person, and with which credentials people approve.
    pub persons: Persons,
    /// The base of the API as clients reach it, e.g. `https://chaperone.example:8443`; it is named in refusals.
    pub api_url: String,
}

impl Policy {
    /// Checks every grant; all mistakes at once.
    pub fn check(&self) -> Result<(), Vec<GrantProblem>> {
        let problems: Vec<_> = self.grants.iter().filter_map(|grant| grant.check().err()).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// How somebody stands to a target now. Rules that deny win over all grants, and are told of only to those whom a grant
    /// means: others do not learn that there is such a target.
    pub(super) fn access<'a>(
        &'a self,
        facts: &IdentityFacts,
        target: &TargetName,
        occasion: &Occasion,
    ) -> Access<'a> {
        let (mut granted, mut unmet, mut until) = (Vec::new(), Vec::new(), None);
        for grant in self.grants.iter().filter(|grant| grant.target == *target) {
            match grant.judge(facts, target, occasion) {
                Ok(end) => granted.push((grant, end)),
                Err(Mismatch::Unmet(_)) => unmet.push(grant),
                Err(Mismatch::Target | Mismatch::Subject | Mismatch::Kind) => {}
            }
        }
        if granted.is_empty() && unmet.is_empty() {
            return Access::NotGranted;
        }
        for rule in self.denies.iter().filter(|rule| rule.target == *target) {
            match rule.hits(facts, target, occasion) {
                Denied::Now => return Access::Denied(rule),
                Denied::From(begin) => until = earlier(until, Some(begin)),
                Denied::Never => {}
            }
        }
        if granted.is_empty() { Access::NotNow(unmet) } else { Access::Granted { grants: granted, until } }
    }

    /// The requirement that a hold's terms stand for; none if nobody is configured under that name.
    pub(super) fn requirement(&self, approvers: &GroupAlias, needed: u8) -> Option<Requirement> {
        let subject = self.groups.get(approvers)?;
        Some(Requirement { approvers: approvers.clone(), members: vec![subject.clone()], needed, stage: 0 })
    }

    /// The ids of all groups of a provider that are named anywhere: in grants and rules that deny, as approvers, operators or auditors,
    /// and by alias.
    fn groups_of(&self, provider: &ProviderName) -> BTreeSet<String> {
        let approvers = |grant: &'_ Grant| match &grant.when {
            When::Approved { requirements, .. } => {
                requirements.iter().flat_map(|one| one.members.clone()).collect()
            }
            When::Requested => Vec::new(),
        };
        let named = self.grants.iter().flat_map(|grant| [grant.to.clone(), approvers(grant)].concat());
        let named = named.chain(self.denies.iter().flat_map(|rule| rule.to.clone()));
        let rulers = self.operators.iter().chain(&self.auditors).cloned();
        let all = named.chain(rulers).chain(self.groups.values().cloned());
        all.filter_map(|subject| match subject {
            Subject::Group { provider: of, id, .. } if of == *provider => Some(id),
            _ => None,
        })
        .collect()
    }

    pub(super) fn is_operator(&self, facts: &IdentityFacts) -> Match {
        any_matches(&self.operators, facts)
    }

    /// Operators and auditors.
    pub(super) fn sees_everything(&self, facts: &IdentityFacts) -> Match {
        match self.is_operator(facts) {
            Match::Proved => Match::Proved,
            Match::NotProved => any_matches(&self.auditors, facts),
        }
    }

    /// What stands behind an open window of this caller: of several grants what all of them give, since which of them opened it
    /// is not kept.
    pub(super) fn backing(
        &self,
        facts: &IdentityFacts,
        window: &Window,
        occasion: &Occasion,
    ) -> Option<Backed> {
        let Access::Granted { grants, until } = self.access(facts, window.target(), occasion) else {
            return None;
        };
        let backs = |(grant, _): &(&Grant, Option<Timestamp>)| grant.backs(window) == Backing::Backed;
        let (backing, ends): (Vec<&Grant>, Vec<_>) = grants.into_iter().filter(backs).unzip();
        let first = (*backing.first()?).clone();
        let recorded = backing.iter().any(|grant| grant.recorded == Recorded::Yes);
        let recorded = if recorded { Recorded::Yes } else { Recorded::No };
        let amounts = backing.iter().fold(Amounts::default(), |all, grant| all.and(&grant.amounts));
        // It goes on as long as one of them stands behind it, and never into what is denied.
        let hours = if ends.contains(&None) { None } else { ends.into_iter().flatten().max() };
        let grant = Grant { roles: roles_of_all(&backing), recorded, amounts, ..first };
        Some(Backed { grant, until: earlier(until, hours) })
    }

    /// Whether an approval may be shown to somebody because they may decide on it or see everything. Its members are those of
    /// today from here on.
    pub(super) fn shows(&self, stored: &mut StoredApproval, facts: &IdentityFacts) -> bool {
        stored.approval.renew_members(|alias| self.members(alias));
        self.sees_everything(facts) == Match::Proved
            || stored.approval.may_decide(facts, &self.persons).is_ok()
    }

    /// The same, and to whoever asked for it.
    pub(super) fn shows_or_is_of(&self, stored: &mut StoredApproval, facts: &IdentityFacts) -> bool {
        self.shows(stored, facts) || *stored.approval.requester() == facts.principal
    }

    /// The configured groups that a caller is proved to be in.
    pub(super) fn aliases(&self, facts: &IdentityFacts) -> Vec<&GroupAlias> {
        let proved = self.groups.iter().filter(|(_, subject)| subject.matches(facts) == Match::Proved);
        proved.map(|(alias, _)| alias).collect()
    }

    /// Who is meant by a group's alias today; nobody if it is no longer configured.
    pub(super) fn members(&self, approvers: &GroupAlias) -> Vec<Subject> {
        self.groups.get(approvers).cloned().into_iter().collect()
    }

    /// Whether some grant would still ask the same people for such a window, and how it would open now. About an operation its
    /// plugin said whom to ask.
    pub(super) fn still_asks(&self, stored: &StoredApproval, now: Timestamp) -> StillAsks {
        let Matter::Window(terms) = stored.approval.matter() else {
            return StillAsks::Yes(Opening::default());
        };
        let people = |one: &Requirement| (one.approvers.clone(), one.needed, one.stage);
        let asked = || stored.approval.requirements().iter().map(people);
        let kind = |grant: &Grant, caller: &Caller| {
            grant.kinds.as_ref().is_none_or(|kinds| kinds.contains(&caller.kind))
        };
        let asking = self.grants.iter().filter(|grant| match &grant.when {
            When::Approved { requirements, .. } => {
                grant.target == terms.target
                    && terms.seconds <= grant.lifetime.as_secs()
                    && requirements.iter().map(people).eq(asked())
                    && stored.caller.as_ref().is_some_and(|caller| kind(grant, caller))
            }
            When::Requested => false,
        });
        let mut closed = None;
        let mut opening: Option<Opening> = None;
        for grant in asking {
            let until = grant.only.hours.as_ref().map(|hours| hours.open_until(now, Edge::Narrow));
            if until == Some(None) {
                closed = grant.only.hours.clone();
                continue;
            }
            // Which of them was asked is not kept: what all of them allow.
            let other = opening.unwrap_or_default();
            opening = Some(Opening {
                until: earlier(other.until, until.flatten()),
                amounts: other.amounts.and(&grant.amounts),
            });
        }
        match (opening, closed) {
            (Some(opening), _) => StillAsks::Yes(opening),
            (None, Some(hours)) => StillAsks::NotNow(hours),
            (None, None) => StillAsks::No,
        }
    }
}

/// How somebody stands to a target.
#[derive(Debug)]
pub(super) enum Access<'a> {
    /// These grants mean them, each until a moment or without end, and from `until` on a rule denies it.
    Granted {
        /// At least one.
        grants: Vec<(&'a Grant, Option<Timestamp>)>,
        /// When the first rule begins that denies it.
        until: Option<Timestamp>,
    },
    /// A rule denies what a grant would allow.
    Denied(&'a Deny),
    /// These grants mean them, but not now or not from there.
    NotNow(Vec<&'a Grant>),
    /// No grant means them.
    NotGranted,
}

/// What stands behind a window.
#[derive(Debug)]
pub(super) struct Backed {
    /// What all grants give that do.
    pub(super) grant: Grant,
    /// Until when.
    pub(super) until: Option<Timestamp>,
}

/// Whether a request could be asked again as it was.
#[derive(Debug)]
pub(super) enum StillAsks {
    /// It could, and a window would open like this.
    Yes(Opening),
    /// In these hours, which it is not now.
    NotNow(Hours),
    /// It could not.
    No,
}

/// The earlier of two moments, of which none is never.
pub(super) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

impl Grants {
    /// The groups of a provider that matter here, whoever asks and for whatever target: what a caller's provider is asked for must not
    /// depend on the target, or the time that it takes would say which ones there are.
    pub fn groups_of(&self, provider: &ProviderName) -> BTreeSet<String> {
        self.inner.policy.load().groups_of(provider)
    }

    /// Puts another policy in the place of today's. Live permits that it would not give again end at once; so does what was
    /// asked for and is not asked of the same people any more, as soon as somebody would approve it.
    ///
    /// # Errors
    /// All that is wrong with it. Today's policy stays then.
    pub fn replace(&self, policy: Policy) -> Result<(), Vec<GrantProblem>> {
        policy.check()?;
        let inner = &self.inner;
        // First the policy and then the permits: one that is being made meanwhile is listed first and then asks the policy.
        inner.policy.store(Arc::new(policy));
        inner.review_policy();
        inner.tell_waiters();
        Ok(())
    }
}

impl Inner {
    /// Ends what today's policy would not give again.
    pub(super) fn review_policy(&self) {
        let (policy, now) = (self.policy.load(), self.clock.now());
        self.live.review(|watched| policy.no_longer_gives(watched, now));
    }
}

impl Policy {
    /// How a permit ends because of this policy.
    pub(super) fn no_longer_gives(&self, watched: &Watched, now: Timestamp) -> Option<PermitEnd> {
        let had = &watched.grant;
        let occasion = Occasion { at: now, from: watched.from };
        let backed = self.backing(watched.identity.facts(), &watched.window, &occasion);
        let still = backed.is_some_and(|Backed { grant, until }| {
            let roles = had.roles.iter().all(|role| grant.roles.contains(role));
            // Who is recorded may be less so by another policy, and goes on as recorded.
            let recorded = had.recorded == Recorded::Yes || grant.recorded == Recorded::No;
            // Hours that end before the permit would are as good as a window that is too long.
            roles && recorded && until.is_none_or(|until| until >= watched.ends_at())
        });
        (!still).then_some(PermitEnd::PolicyChanged)
    }
}
