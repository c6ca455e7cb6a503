//! Grants: from an identity and a target to a permit.
//!
//! A [`Permit`] is the proof that a window was open when a session began; only this module makes one, and it ends by
//! itself: at the window's end, at the token's end (a newer token of the same caller moves that, [`Permit::renew`]), or when somebody revokes the window, denies the caller (here or on another
//! gateway) or changes the policy.
//! Requests, approvals and holds are answered here too, so that all of them go through the same policy.
//!
//! What may go wrong: the store does not answer. Then there is no permit, no request and no decision, and after
//! [`STORE_SILENCE`] without an answer live permits end as well, because a revocation could not be seen: fails closed.
//!
//! Everything that touches the store runs on the runtime that [`Grants::start`] was called on. Session threads may come and
//! go, and a call that is dropped half-way still finishes its transaction.

use crate::identity::Identity;
use crate::metrics::Family;
use crate::state::{State, StateError, StoredWindow};
use arc_swap::ArcSwap;
use chaperone_core::Timestamp;
use chaperone_core::grant::{GrantProblem, Match, Occasion};
use chaperone_core::identity::{Audience, IdentityFacts};
use chaperone_core::name::{GroupAlias, SessionId, TargetName};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::window::Window;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

mod ask;
mod clock;
mod concerns;
mod deny;
mod explain;
mod hold;
mod look;
mod pace;
mod permit;
mod policy;
mod preserve;
mod recheck;
mod rules;
#[cfg(test)]
pub(crate) mod tests;
mod words;

pub use ask::{AskError, RequestOutcome, Wish, is_reason};
pub use clock::{Clock, SimulatedClock, SystemClock};
pub use deny::MAX_DENIAL;
pub use explain::{About, AboutProblem, Explanation, Outcome, Ruled};
pub use hold::{HeldOperation, Hold, HoldOutcome, MAX_SUMMARY_BYTES};
pub use look::Look;
pub use pace::MAX_REQUESTS_PER_MINUTE;
pub use permit::{
    ComingEnd, EndsWith, MAX_RENEWALS, NewToken, Permit, PermitEnd, RenewError, Renewal, WARN_BEFORE,
};
use policy::Access;
pub use policy::Policy;
pub use rules::{Rule, Rules};
pub use words::NextStep;

/// How often the store is asked what other gateways ended or approved: half of the second that is promised.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long live permits last while the store does not answer.
pub const STORE_SILENCE: Duration = Duration::from_secs(30);

/// Pending access requests of one principal: enough for a busy agent, too few to bury the approvers.
pub const MAX_PENDING_REQUESTS: i64 = 20;

/// Windows that the policy opens to one principal within a day: many more than work needs, and few enough rows.
pub const MAX_OPENED_PER_DAY: i64 = 1_000;

/// Held operations of one principal: one for each of its sessions, in practice.
pub const MAX_PENDING_HOLDS: i64 = 20;

/// The longest reason of a request, in characters.
pub const MAX_REASON_CHARS: usize = 500;

/// The longest name of a ticket, in characters.
pub const MAX_TICKET_CHARS: usize = 100;

/// The longest idempotency key, in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// Early ends that one look at the store reads.
const MAX_ENDS_PER_LOOK: i64 = 10_000;

/// How often it is noted how far the clock has come, in seconds: by so much at most may a clock that is set back while the gateway is
/// down make a window longer.
const NOTE_TIME_EVERY_SECONDS: i64 = 5;

/// Why the grant module cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A grant is out of bounds.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Policy(Vec<GrantProblem>),
    /// The store does not answer.
    #[error("the state store cannot be read")]
    State(#[from] StateError),
}

/// Access requests, windows, permits, approvals and holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Grants {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    policy: ArcSwap<Policy>,
    state: State,
    clock: Arc<dyn Clock>,
    live: permit::Live,
    denials: deny::Denials,
    pace: pace::Pace,
    /// Moves on whenever an approval may have changed, so that who waits looks again.
    approvals_changed: watch::Sender<u64>,
    /// How far the clock had come when it was last noted, in seconds since 1970.
    noted: AtomicI64,
    /// How holds of this process ended.
    holds: Family,
    home: Handle,
}

impl Grants {
    /// Checks the policy, settles what a former process left behind, and begins to watch the store.
    pub async fn start(policy: Policy, state: State, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        policy.check().map_err(StartError::Policy)?;
        state.clock_has_come_to(clock.now()).await?;
        state.settle_left_behind(clock.now()).await?;
        let inner = Arc::new(Inner {
            policy: ArcSwap::from_pointee(policy),
            state,
            clock,
            live: permit::Live::default(),
            denials: deny::Denials::default(),
            pace: pace::Pace::default(),
            approvals_changed: watch::Sender::new(0),
            noted: AtomicI64::new(i64::MIN),
            holds: Family::new(hold::ENDS),
            home: Handle::current(),
        });
        // Before anybody is let in.
        inner.renew_denials(inner.clock.now()).await?;
        tokio::spawn(keep_looking(Arc::downgrade(&inner)));
        Ok(Grants { inner })
    }

    /// The clock that all of this goes by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The store.
    pub fn state(&self) -> &State {
        &self.inner.state
    }

    /// What a client has to send to get a window on a target.
    pub fn next_step(&self, target: &TargetName) -> NextStep {
        NextStep::request(&self.inner.policy.load().api_url, target)
    }

    /// How a session gets a newer token.
    pub fn how_to_renew(&self, session: SessionId) -> NextStep {
        NextStep::renewal(&self.inner.policy.load().api_url, session)
    }

    /// Whether this caller is proved to be in a group of today's policy.
    pub fn is_in(&self, group: &GroupAlias, identity: &Identity) -> Match {
        let policy = self.inner.policy.load();
        // Fails closed: a group that a reload has taken away has nobody in it.
        policy.groups.get(group).map_or(Match::NotProved, |subject| subject.matches(identity.facts()))
    }

    /// Whether this caller may see and end what is not theirs.
    pub fn is_operator(&self, identity: &Identity) -> Match {
        self.inner.policy.load().is_operator(identity.facts())
    }

    /// Whether this caller may see what is not theirs: operators and auditors.
    pub fn sees_everything(&self, identity: &Identity) -> Match {
        self.inner.policy.load().sees_everything(identity.facts())
    }

    /// Identity and target to permit. Without a grant the answer is the same whether the target exists or not.
    pub async fn permit(
        &self,
        identity: &Identity,
        target: &TargetName,
        occasion: impl Into<Occasion>,
    ) -> Result<Permit, Refusal> {
        let (inner, identity, target) = (self.inner.clone(), identity.clone(), target.clone());
        let occasion = occasion.into();
        self.at_home(async move { inner.permit(identity, target, occasion).await }).await?
    }

    /// Runs on the runtime that the store's connections belong to, and to its end even if the caller goes away.
    async fn at_home<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.inner.home.spawn(work).await.map_err(|_| words::shutting_down())
    }
}

impl Inner {
    async fn permit(
        self: Arc<Self>,
        identity: Identity,
        target: TargetName,
        occasion: Occasion,
    ) -> Result<Permit, Refusal> {
        let (facts, now) = (identity.facts(), occasion.at);
        if now >= facts.expires_at {
            return Err(Refusal::new(RefusalCode::CredentialExpired, "the token has expired")
                .hint("Get a new token and connect again."));
        }
        self.admit(&identity, now)?;
        may_ask(facts)?;
        let policy = self.policy.load_full();
        match policy.access(facts, &target, &occasion) {
            Access::Granted { .. } => {}
            Access::Denied(rule) => return Err(words::denied_by_rule(rule)),
            Access::NotNow(grants) => return Err(words::not_now(&grants)),
            Access::NotGranted => return Err(words::not_granted_to(&identity)),
        }
        let open = self.state.open_windows(&facts.into(), &target, now).await.map_err(words::store_failed)?;
        let backed = open.into_iter().find_map(|StoredWindow { window, request, .. }| {
            let backed = policy.backing(facts, &window, &occasion)?;
            Some((window, request, backed))
        });
        let Some((window, request, backed)) = backed else {
            return Err(self.no_window(&policy.api_url, facts, &target, now).await);
        };
        let asked = self.state.approval(chaperone_core::approval::ApprovalId::Request(request)).await;
        let asked = asked.map_err(words::store_failed)?;
        let approved_by = asked.map(|asked| asked.approval.approved_by()).unwrap_or_default();
        let place = self.place_in(&window, backed.grant.amounts.max_sessions, now).await?;
        let asked = permit::Asked { request, approved_by, place };
        Ok(Permit::new(&self, identity.clone(), occasion.from, window, backed, asked))
    }

    /// A place in a window that has few of them.
    async fn place_in(
        self: &Arc<Self>,
        window: &Window,
        most: Option<u16>,
        now: Timestamp,
    ) -> Result<Option<permit::Place>, Refusal> {
        let Some(most) = most else { return Ok(None) };
        let taken = self.state.take_place(window.id(), most, now).await.map_err(words::store_failed)?;
        let id = taken.ok_or_else(|| words::no_place(most))?;
        Ok(Some(permit::Place { id, grants: self.clone() }))
    }

    /// Says what to do: ask for a window, or wait for the request that is pending already.
    async fn no_window(
        &self,
        api_url: &str,
        facts: &IdentityFacts,
        target: &TargetName,
        now: Timestamp,
    ) -> Refusal {
        match self.state.pending_request(&facts.into(), target, now).await {
            Ok(Some(id)) => words::still_pending(api_url, target, id),
            Ok(None) => words::no_window(&NextStep::request(api_url, target)),
            Err(error) => words::store_failed(error),
        }
    }

    fn tell_waiters(&self) {
        self.approvals_changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Notes in the store how far the clock has come, every few seconds.
    async fn note_time(&self, now: Timestamp) -> Result<(), StateError> {
        let noted = self.noted.load(Ordering::Relaxed);
        if now.as_second() < noted.saturating_add(NOTE_TIME_EVERY_SECONDS) {
            return Ok(());
        }
        self.state.clock_has_come_to(now).await?;
        self.noted.store(now.as_second(), Ordering::Relaxed);
        Ok(())
    }

    /// One look at the store: what ended elsewhere, and what nobody answered in time.
    async fn look(&self) {
        let now = self.clock.now();
        if let Err(error) = self.note_time(now).await {
            tracing::warn!(%error, "how far the clock has come could not be noted");
        }
        let seen = match self.renew_denials(now).await {
            Ok(()) => self.state.ended_early(now, MAX_ENDS_PER_LOOK).await,
            Err(error) => Err(error),
        };
        // The store has answered only if it has answered both.
        match seen {
            Ok(ended) => self.live.ended(ended),
            Err(error) => {
                tracing::warn!(%error, "the state store did not answer");
                self.live.silent(STORE_SILENCE);
                return;
            }
        }
        match self.state.expire(now).await {
            Ok(0) => {}
            Ok(_) => self.tell_waiters(),
            Err(error) => tracing::warn!(%error, "expired requests could not be settled"),
        }
    }
}

/// Whether this credential is one to ask and connect with at all.
fn may_ask(facts: &IdentityFacts) -> Result<(), Refusal> {
    match facts.audience {
        Audience::Agents => Ok(()),
        Audience::Approvers => Err(words::only_approves()),
    }
}

/// Looks until the last handle is gone.
async fn keep_looking(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match inner.upgrade() {
            Some(inner) => inner.look().await,
            None => return,
        }
    }
}
