//! The deny list: it counts for whoever asks, connects or is connected, before anything else is looked at.
//!
//! Every gateway keeps the whole list in memory and reads it anew with each look at the store, so an entry made anywhere
//! holds everywhere within a second. What may go wrong: a caller slips in while an entry is made. So the list is replaced
//! first and live permits are gone through afterwards, while a new permit is listed first and then asks the list: one of the
//! two sees the other.

use super::{AskError, Grants, Inner, PermitEnd, is_reason, words};
use crate::identity::Identity;
use crate::state::StateError;
use chaperone_core::Timestamp;
use chaperone_core::approval::ApprovalProblem;
use chaperone_core::denial::{Denial, Denied};
use chaperone_core::grant::Match;
use chaperone_core::identity::IdentityFacts;
use chaperone_core::name::DenialId;
use chaperone_core::refusal::Refusal;
use chaperone_core::window::after;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The longest time that an entry can be made for; one without a time holds until it is lifted.
pub const MAX_DENIAL: Duration = Duration::from_secs(366 * 24 * 3600);

/// The list, as it was read last.
#[derive(Debug, Default)]
pub(super) struct Denials {
    /// Readings that were begun.
    begun: AtomicU64,
    /// The number of the reading that it is from, and the list.
    list: RwLock<(u64, Arc<[Denial]>)>,
}

impl Denials {
    fn now(&self) -> Arc<[Denial]> {
        Arc::clone(&self.list.read().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Takes what a reading found, unless a later one was faster. Whether the list is another now.
    pub(super) fn replace(&self, reading: u64, denials: Vec<Denial>) -> bool {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let news = reading > list.0 && *denials != *list.1;
        if reading > list.0 {
            *list = (reading, denials.into());
        }
        news
    }

    /// The entry that keeps a caller out.
    pub(super) fn against(&self, facts: &IdentityFacts, now: Timestamp) -> Option<Denial> {
        self.now().iter().find(|denial| denial.holds_against(facts, now)).cloned()
    }
}

impl Inner {
    /// Reads the list anew and ends what it does not suffer any more.
    pub(super) async fn renew_denials(&self, now: Timestamp) -> Result<(), StateError> {
        let reading = self.denials.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let denials = self.state.denials(now).await?;
        if self.denials.replace(reading, denials) {
            self.review_denied(now);
        }
        Ok(())
    }

    /// Ends what the list does not suffer; also what came in by a token that no longer counts.
    pub(super) fn review_denied(&self, now: Timestamp) {
        self.live.review(|watched| watched.identities().find_map(|one| self.denied(one, now)));
    }

    /// How a permit of this caller ends because of the list.
    pub(super) fn denied(&self, identity: &Identity, now: Timestamp) -> Option<PermitEnd> {
        let by = self.denials.against(identity.facts(), now)?;
        Some(PermitEnd::Denied { by })
    }

    /// Keeps out who is on the list.
    pub(super) fn admit(&self, identity: &Identity, now: Timestamp) -> Result<(), Refusal> {
        self.denials.against(identity.facts(), now).map_or(Ok(()), |by| Err(words::denied(&by)))
    }

    async fn deny(self: Arc<Self>, denial: Denial) -> Result<Denial, AskError> {
        if !self.state.deny(&denial).await? {
            return Err(AskError::TooManyDenials);
        }
        self.renew_denials(denial.made).await?;
        Ok(denial)
    }

    async fn lift(self: Arc<Self>, operator: Identity, id: DenialId, now: Timestamp) -> Result<(), AskError> {
        if !self.state.lift(id, &operator.facts().principal, now).await? {
            return Err(AskError::NotFound);
        }
        Ok(self.renew_denials(now).await?)
    }
}

impl Grants {
    /// Keeps out who is on the deny list: asked for every call of the API, whatever it is about.
    pub fn admit(&self, identity: &Identity, now: Timestamp) -> Result<(), Refusal> {
        self.inner.admit(identity, now)
    }

    /// Puts somebody on the deny list, until it is lifted or for so long. Live sessions that it is about are cut.
    pub async fn deny(
        &self,
        operator: &Identity,
        denied: Denied,
        reason: &str,
        length: Option<Duration>,
        now: Timestamp,
    ) -> Result<Denial, AskError> {
        self.is_a_person_who_operates(operator)?;
        if !is_reason(reason) {
            return Err(AskError::Reason);
        }
        if length.is_some_and(|length| length < Duration::from_secs(1) || length > MAX_DENIAL) {
            return Err(AskError::DenialLength);
        }
        if denied.hits(operator.facts()) {
            // Nobody could lift it but others, of whom there may be none.
            return Err(AskError::DeniesItself);
        }
        let denial = Denial {
            id: DenialId::new(uuid::Uuid::now_v7()),
            denied,
            reason: reason.to_owned(),
            by: operator.facts().principal.clone(),
            made: now,
            until: length.and_then(|length| after(now, length)),
        };
        let inner = self.inner.clone();
        self.home(async move { inner.deny(denial).await }).await
    }

    /// Takes an entry off the list.
    pub async fn lift(&self, operator: &Identity, id: DenialId, now: Timestamp) -> Result<(), AskError> {
        self.is_a_person_who_operates(operator)?;
        let (inner, operator) = (self.inner.clone(), operator.clone());
        self.home(async move { inner.lift(operator, id, now).await }).await
    }

    /// The entries that hold, the newest first: for operators and auditors only.
    pub async fn denials(&self, identity: &Identity, now: Timestamp) -> Result<Vec<Denial>, AskError> {
        if self.sees_everything(identity) == Match::NotProved {
            return Err(AskError::NotFound.to(identity));
        }
        Ok(self.inner.state.denials(now).await?)
    }

    /// Operators who are persons: an agent that runs the gateway must not be able to shut people out, or agents in.
    ///
    /// # Errors
    /// To who is no operator, there is nothing there.
    pub fn is_a_person_who_operates(&self, operator: &Identity) -> Result<(), AskError> {
        if self.is_operator(operator) == Match::NotProved {
            return Err(AskError::NotFound.to(operator));
        }
        let kind = operator.facts().kind;
        match kind.may_approve() {
            true => Ok(()),
            false => Err(AskError::Rule(ApprovalProblem::NotAPerson(kind))),
        }
    }
}
