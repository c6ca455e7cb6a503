//! One approval as somebody sees it who is about to decide on it.

use super::{AskError, Grants};
use crate::identity::Identity;
use crate::state::StoredApproval;
use chaperone_core::approval::{ApprovalId, ApprovalProblem};

/// An approval, and whether it can still be decided by who looks at it.
#[derive(Debug)]
pub struct Look {
    /// What it is about, with today's approvers.
    pub stored: StoredApproval,
    /// Why a decision of theirs would not count now.
    pub could_decide: Result<(), ApprovalProblem>,
}

impl Grants {
    /// Whether this caller could approve anything at all.
    ///
    /// # Errors
    /// Why not.
    pub fn may_approve(&self, identity: &Identity) -> Result<(), ApprovalProblem> {
        self.inner.policy.load().persons.may_approve(identity.facts())
    }

    /// One approval, for those who may decide on it and for operators. To all others it does not exist.
    pub async fn look(&self, identity: &Identity, id: ApprovalId) -> Result<Look, AskError> {
        let now = self.inner.clock.now();
        self.admit(identity, now).map_err(AskError::Failed)?;
        let nothing = || AskError::NotFound.to(identity);
        let mut stored = self.inner.state.approval(id).await?.ok_or_else(nothing)?;
        let policy = self.inner.policy.load_full();
        let (facts, persons) = (identity.facts(), &policy.persons);
        if !policy.shows(&mut stored, facts) {
            return Err(nothing());
        }
        let could_decide = stored.approval.could_decide(facts, persons, now);
        Ok(Look { stored, could_decide })
    }
}
