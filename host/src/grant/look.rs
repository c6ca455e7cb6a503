//! One approval as somebody sees it who is about to decide on it.

use super::{AskError, Grants};
use crate::identity::Identity;
use crate::state::StoredApproval;
use chaperone_core::approval::{ApprovalId, ApprovalProblem};
use chaperone_core::grant::Match;

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
        let mut stored = self.inner.state.approval(id).await?.ok_or(AskError::NotFound)?;
        let policy = self.inner.policy.load_full();
        stored.approval.renew_members(|alias| policy.members(alias));
        let (facts, persons) = (identity.facts(), &policy.persons);
        let visible =
            stored.approval.may_decide(facts, persons).is_ok() || self.is_operator(identity) == Match::Proved;
        if !visible {
            return Err(AskError::NotFound);
        }
        let could_decide = stored.approval.could_decide(facts, persons, now);
        Ok(Look { stored, could_decide })
    }
}
