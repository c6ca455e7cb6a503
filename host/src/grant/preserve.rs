//! What operators preserve: recordings that retention must not delete.
//!
//! The store decides whether a deletion or a preservation comes first ([`State::preserve`](crate::state::State::preserve)). What may go
//! wrong: it does not answer. Then nothing is preserved, which is said, and nothing is deleted either.

use super::{AskError, Grants, is_reason};
use crate::identity::Identity;
use crate::state::{Preservation, Preserved, Preserving};
use chaperone_core::Timestamp;
use chaperone_core::grant::Match;
use chaperone_core::name::PreservationId;

impl Grants {
    /// Keeps recordings from being deleted until it is released. With it when the deletion of the recording had begun before, if it
    /// had: then there may be nothing left.
    pub async fn preserve(
        &self,
        operator: &Identity,
        preserved: Preserved,
        reason: &str,
        now: Timestamp,
    ) -> Result<(Preservation, Option<Timestamp>), AskError> {
        self.is_a_person_who_operates(operator)?;
        if !is_reason(reason) {
            return Err(AskError::Reason);
        }
        let entry = Preservation {
            id: PreservationId::new(uuid::Uuid::now_v7()),
            preserved,
            reason: reason.to_owned(),
            by: operator.facts().principal.clone(),
            made: now,
        };
        let (inner, kept) = (self.inner.clone(), entry.clone());
        match self.home(async move { Ok(inner.state.preserve(&kept).await?) }).await? {
            Preserving::Made { too_late } => Ok((entry, too_late)),
            Preserving::NoSession => Err(AskError::NotFound),
            Preserving::TooMany => Err(AskError::TooManyPreservations),
        }
    }

    /// Ends a preservation.
    pub async fn release(
        &self,
        operator: &Identity,
        id: PreservationId,
        now: Timestamp,
    ) -> Result<(), AskError> {
        self.is_a_person_who_operates(operator)?;
        let (inner, by) = (self.inner.clone(), operator.facts().principal.clone());
        match self.home(async move { Ok(inner.state.release(id, &by, now).await?) }).await? {
            true => Ok(()),
            false => Err(AskError::NotFound),
        }
    }

    /// What is preserved, the newest first: for operators and auditors only.
    pub async fn preservations(&self, identity: &Identity) -> Result<Vec<Preservation>, AskError> {
        if self.sees_everything(identity) == Match::NotProved {
            return Err(AskError::NotFound.to(identity));
        }
        Ok(self.inner.state.preservations().await?)
    }
}
