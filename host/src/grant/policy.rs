//! The policy that counts, and how another takes its place.
//!
//! Everything asks the policy of the moment. What was begun under an earlier one is judged anew when it is replaced: a window is as
//! good as the grants that stand behind it today, and approvers are those whom their group's name means today.

use super::permit::Watched;
use super::{Grants, PermitEnd};
use chaperone_core::approval::{Approval, Matter};
use chaperone_core::grant::{
    Backing, Grant, GrantProblem, Match, Recorded, Requirement, Subject, When, any_matches, roles_of_all,
};
use chaperone_core::identity::IdentityFacts;
use chaperone_core::name::{GroupAlias, TargetName};
use chaperone_core::window::Window;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who may open what, who runs it, and who approves: the part of the configuration that this module owns.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The grants, in the order of the configuration.
    pub grants: Vec<Grant>,
    /// The groups by alias; a hold names its approvers by alias.
    pub groups: BTreeMap<GroupAlias, Subject>,
    /// Who may see and end everything.
    pub operators: Vec<Subject>,
    /// The base of the API as clients reach it, e.g. `https://chaperone.example:8443`; it is named in refusals.
    pub api_url: String,
}

impl Policy {
    /// Checks every grant; all mistakes at once.
    pub fn check(&self) -> Result<(), Vec<GrantProblem>> {
        let problems: Vec<_> = self.grants.iter().filter_map(|grant| grant.check().err()).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    pub(super) fn covering<'a>(
        &'a self,
        facts: &'a IdentityFacts,
        target: &'a TargetName,
    ) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(move |grant| grant.covers(facts, target) == Match::Proved)
    }

    /// The requirement that a hold's terms stand for; none if nobody is configured under that name.
    pub(super) fn requirement(&self, approvers: &GroupAlias, needed: u8) -> Option<Requirement> {
        let subject = self.groups.get(approvers)?;
        Some(Requirement { approvers: approvers.clone(), members: vec![subject.clone()], needed })
    }

    pub(super) fn is_operator(&self, facts: &IdentityFacts) -> Match {
        any_matches(&self.operators, facts)
    }

    /// What stands behind an open window of this caller: of several grants what all of them give, since which of them opened it
    /// is not kept.
    pub(super) fn backing(&self, facts: &IdentityFacts, window: &Window) -> Option<Grant> {
        let covering = self.covering(facts, window.target());
        let backing: Vec<&Grant> = covering.filter(|grant| grant.backs(window) == Backing::Backed).collect();
        let first = (*backing.first()?).clone();
        let recorded = backing.iter().any(|grant| grant.recorded == Recorded::Yes);
        let recorded = if recorded { Recorded::Yes } else { Recorded::No };
        Some(Grant { roles: roles_of_all(&backing), recorded, ..first })
    }

    /// Who is meant by a group's alias today; nobody if it is no longer configured.
    pub(super) fn members(&self, approvers: &GroupAlias) -> Vec<Subject> {
        self.groups.get(approvers).cloned().into_iter().collect()
    }

    /// Whether some grant would still ask the same people for such a window. About an operation its plugin said whom to ask.
    pub(super) fn still_asks(&self, approval: &Approval) -> bool {
        let Matter::Window(terms) = approval.matter() else { return true };
        let people = |one: &Requirement| (one.approvers.clone(), one.needed);
        let asked = || approval.requirements().iter().map(people);
        self.grants.iter().any(|grant| match &grant.when {
            When::Approved { requirements, .. } => {
                grant.target == terms.target
                    && terms.seconds <= grant.lifetime.as_secs()
                    && requirements.iter().map(people).eq(asked())
            }
            When::Requested => false,
        })
    }
}

impl Grants {
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
        let policy = inner.policy.load();
        inner.live.review(|watched| policy.no_longer_gives(watched));
        inner.tell_waiters();
        Ok(())
    }
}

impl Policy {
    /// How a permit ends because of this policy.
    pub(super) fn no_longer_gives(&self, watched: &Watched) -> Option<PermitEnd> {
        let had = &watched.grant;
        let still = self.backing(watched.identity.facts(), &watched.window).is_some_and(|grant| {
            let roles = had.roles.iter().all(|role| grant.roles.contains(role));
            // Who is recorded may be less so by another policy, and goes on as recorded.
            roles && (had.recorded == Recorded::Yes || grant.recorded == Recorded::No)
        });
        (!still).then_some(PermitEnd::PolicyChanged)
    }
}
