//! What concerns a caller and waits for people: what they may decide, and what they have asked for.

use super::{AskError, Grants, may_ask};
use crate::identity::Identity;
use crate::state::StoredApproval;
use chaperone_core::approval::{ApprovalId, State as Standing};
use std::collections::BTreeMap;
use tokio::sync::watch;

impl Grants {
    /// All of it, by id. Operators and auditors see everything that waits.
    pub async fn concerns(
        &self,
        identity: &Identity,
    ) -> Result<BTreeMap<ApprovalId, StoredApproval>, AskError> {
        let now = self.inner.clock.now();
        // Each time: who looks on may be denied in the meantime.
        self.inner.admit(identity, now).map_err(AskError::Failed)?;
        let mut all = self.approvals(identity).await?;
        if may_ask(identity.facts()).is_ok() {
            let own = self.inner.state.requests(Some(&identity.facts().principal)).await?;
            all.extend(own.into_iter().filter(|stored| stored.approval.state(now) == Standing::Pending));
        }
        Ok(all.into_iter().map(|stored| (stored.id, stored)).collect())
    }

    /// How something ended that concerned this caller; none where they may not know any more.
    pub async fn ended(
        &self,
        identity: &Identity,
        id: ApprovalId,
    ) -> Result<Option<StoredApproval>, AskError> {
        let Some(mut stored) = self.inner.state.approval(id).await? else { return Ok(None) };
        let visible = self.inner.policy.load().shows_or_is_of(&mut stored, identity.facts());
        Ok(visible.then_some(stored))
    }

    /// Moves on whenever an approval may have changed on this gateway.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.approvals_changed.subscribe()
    }
}
