//! What somebody sees who is about to decide, or looks on: one approval with what came before it, and what is open.

use super::{AskError, Grants};
use crate::identity::Identity;
use crate::state::{StoredApproval, StoredWindow};
use chaperone_core::approval::{ApprovalId, ApprovalProblem};
use chaperone_core::grant::Match;

/// What is shown of what was decided before.
const MAX_BEFORE: i64 = 10;

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

    /// One approval, for those who may decide on it or see everything. To all others it does not exist.
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

    /// What people have decided before for the same requester on the same target, the newest first: as much of it as this
    /// caller may see.
    pub async fn decided_before(
        &self,
        identity: &Identity,
        look: &Look,
    ) -> Result<Vec<StoredApproval>, AskError> {
        let approval = &look.stored.approval;
        let (requester, target) = (approval.requester(), approval.matter().target());
        let mut before = self.inner.state.decided_before(requester, target, MAX_BEFORE).await?;
        let policy = self.inner.policy.load_full();
        before.retain_mut(|stored| stored.id != look.stored.id && policy.shows(stored, identity.facts()));
        Ok(before)
    }

    /// All windows that are open now, for those who see everything. To others there is nothing.
    pub async fn open_windows(&self, identity: &Identity) -> Result<Vec<StoredWindow>, AskError> {
        if self.sees_everything(identity) == Match::NotProved {
            return Err(AskError::NotFound.to(identity));
        }
        Ok(self.inner.state.all_open_windows(self.inner.clock.now()).await?)
    }
}
