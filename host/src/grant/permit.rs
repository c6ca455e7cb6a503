//! Permits, and how they end.
//!
//! A permit does not need to be told that its time is up: whoever holds one waits for [`Permit::ended`], which looks at the
//! clock at least every second and hears of revocations at once. What ends permits before their time goes through all
//! live ones with one question ([`Live::review`]), and a new one is asked it once more when it is listed, so that none is
//! made past a revocation. What may still move is the token that a permit ends with (`permit/renew.rs`), so that stands in
//! the list, too: whoever judges a permit judges the token that counts now, and an end that was seen once stays.

use super::clock::Clock;
use super::policy::Backed;
use super::{Grants, Inner, words};
use crate::identity::Identity;
use crate::state::{EndedWindow, PlaceId};
use chaperone_core::Timestamp;
use chaperone_core::denial::Denial;
use chaperone_core::grant::{Grant, Recorded};
use chaperone_core::name::{Principal, RequestId, TargetName, WindowId};
use chaperone_core::refusal::{Refusal, RefusalCode, sentence};
use chaperone_core::window::{Window, between};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

#[cfg(test)]
mod orders;
mod renew;
mod warning;

pub use renew::{MAX_RENEWALS, NewToken, RenewError, Renewal};
pub use warning::{ComingEnd, EndsWith, WARN_BEFORE};

/// The longest sleep between two looks at the clock: the wall clock may be set at any time.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

/// In-memory proof that a window was open when this session began. Clones are the same permit.
#[derive(Debug, Clone)]
pub struct Permit {
    inner: Arc<Proof>,
}

#[derive(Debug)]
struct Proof {
    identity: Identity,
    window: Arc<Window>,
    grant: Arc<Grant>,
    request: RequestId,
    approved_by: Vec<Principal>,
    grants: Arc<Inner>,
    /// Its place in [`Live`].
    number: u64,
    /// Its place in the window, where the grant counts sessions. Given back when the last clone of the permit is gone.
    _place: Option<Place>,
    /// Moves on when another token has come to count.
    renewed: watch::Sender<()>,
}

/// How the window of a permit came to be.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: RequestId,
    pub(super) approved_by: Vec<Principal>,
    /// Where its grant counts sessions.
    pub(super) place: Option<Place>,
}

/// A place that is taken in a window with few of them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: PlaceId,
    pub(super) grants: Arc<Inner>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let (grants, id) = (self.grants.clone(), self.id);
        self.grants.home.spawn(async move {
            // Fails closed: a place that is not given back stays taken until this gateway starts again.
            if let Err(error) = grants.state.leave_place(id).await {
                tracing::warn!(%error, "a session's place in its window could not be given back");
            }
        });
    }
}

/// Why a permit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermitEnd {
    /// The window's end.
    WindowClosed,
    /// The token's end.
    TokenExpired,
    /// The end of the hours in which the policy gives it.
    HoursOver,
    /// Somebody ended the window.
    Revoked {
        /// Who: a principal, or `chaperone` when the gateway itself had to.
        by: String,
        /// Why.
        reason: String,
    },
    /// Its holder is on the deny list.
    Denied {
        /// The entry.
        by: Denial,
    },
    /// The policy was replaced, and would not give it again.
    PolicyChanged,
    /// Its holder's provider no longer says what it was given for.
    NoLongerProved {
        /// What is not so any more: the words for its holder.
        what: &'static str,
    },
}

impl PermitEnd {
    /// What the client is told when it is cut.
    pub fn refusal(&self) -> Refusal {
        match self {
            PermitEnd::WindowClosed => {
                Refusal::new(RefusalCode::WindowClosed, "your window on this target closed")
                    .hint("Request a new window and connect again.")
            }
            PermitEnd::HoursOver => {
                Refusal::new(RefusalCode::WindowClosed, "the hours in which you may use this target are over")
                    .hint("Connect again when they have begun.")
            }
            PermitEnd::TokenExpired => Refusal::new(RefusalCode::CredentialExpired, "your token has expired")
                .hint("Get a new token and connect again."),
            PermitEnd::Revoked { by, reason } => {
                Refusal::new(RefusalCode::Revoked, "your window on this target was ended")
                    .detail(sentence(&format!("It was ended by {by}: {reason}")))
                    .hint("Ask an operator before you request another.")
            }
            // Of a session that is cut: what it was let in by is taken back.
            PermitEnd::Denied { by } => Refusal { code: RefusalCode::Revoked, ..words::denied(by) },
            PermitEnd::PolicyChanged => {
                Refusal::new(RefusalCode::Revoked, "the policy that let you onto this target was changed")
                    .hint("Connect again: you are told then what you may ask for.")
            }
            PermitEnd::NoLongerProved { what } => {
                Refusal::new(RefusalCode::Revoked, "your identity provider no longer vouches for you")
                    .detail(sentence(what))
                    .hint("Sign in again and connect again if you may; ask your administrator otherwise.")
            }
        }
    }
}

impl Permit {
    /// The only constructor: `window` was read as open, and `backed` stands behind it.
    pub(super) fn new(
        grants: &Arc<Inner>,
        identity: Identity,
        from: Option<IpAddr>,
        window: Window,
        backed: Backed,
        asked: Asked,
    ) -> Self {
        let permit = Permit::listed(grants, identity, from, window, backed, asked);
        permit.judge();
        permit
    }

    /// One that whatever ends live permits sees from now on. A window that is ended between being read and this line is
    /// seen at the next look at the store.
    fn listed(
        grants: &Arc<Inner>,
        identity: Identity,
        from: Option<IpAddr>,
        window: Window,
        Backed { grant, until }: Backed,
        Asked { request, approved_by, place }: Asked,
    ) -> Self {
        let (window, grant) = (Arc::new(window), Arc::new(grant));
        let watched = Watched {
            window: window.clone(),
            grant: grant.clone(),
            identity: identity.clone(),
            from,
            before: vec![],
            until,
            since: grants.clock.now(),
            end: None,
        };
        let number = grants.live.enter(watched);
        let (grants, renewed) = (grants.clone(), watch::Sender::new(()));
        let proof =
            Proof { identity, window, grant, request, approved_by, grants, number, _place: place, renewed };
        Permit { inner: Arc::new(proof) }
    }

    /// Asks the deny list and the policy once more, before anybody holds it: what came since they were asked is seen here, or
    /// sees the permit.
    fn judge(&self) {
        let Proof { grants, number, .. } = &*self.inner;
        grants.live.review_one(*number, |watched| {
            let now = grants.clock.now();
            let denied = grants.denied(&watched.identity, now);
            denied.or_else(|| grants.policy.load().no_longer_gives(watched, now))
        });
    }

    /// Whose it is, by the token that it was given for. A later one is of the same caller.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// On what.
    pub fn target(&self) -> &TargetName {
        self.inner.window.target()
    }

    /// The window that was open.
    pub fn window(&self) -> &Window {
        &self.inner.window
    }

    /// The grant that backs the window.
    pub fn grant(&self) -> &Grant {
        &self.inner.grant
    }

    /// The request that opened the window.
    pub fn request(&self) -> RequestId {
        self.inner.request
    }

    /// Who approved that request; empty when the policy did.
    pub fn approved_by(&self) -> &[Principal] {
        &self.inner.approved_by
    }

    /// Aliases of the configured groups that the caller is proved to be in.
    pub fn groups(&self) -> Vec<String> {
        let policy = self.inner.grants.policy.load();
        policy.aliases(self.inner.identity.facts()).into_iter().map(ToString::to_string).collect()
    }

    /// Whether its session is recorded.
    pub fn recorded(&self) -> Recorded {
        self.inner.grant.recorded
    }

    /// The first moment at which it no longer holds: the earliest end of the token that counts now, of the window, and of the
    /// hours.
    pub fn ends_at(&self) -> Timestamp {
        self.inner.grants.live.ends_at(self.inner.number)
    }

    /// The latest moment that any token could move its end to.
    pub fn ends_at_latest(&self) -> Timestamp {
        self.inner.grants.live.ends_at_latest(self.inner.number)
    }

    /// The time by the clock that it ends by.
    pub fn now(&self) -> Timestamp {
        self.inner.grants.clock.now()
    }

    /// Whether it has ended, and why.
    pub fn end(&self) -> Option<PermitEnd> {
        let proof = &self.inner;
        proof.grants.live.end_of(proof.number, &*proof.grants.clock)
    }

    /// Resolves at the moment it ends. May be called on any runtime with a timer, and any number of times.
    pub async fn ended(&self) -> PermitEnd {
        let proof = &self.inner;
        let mut changed = proof.grants.live.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(end) = self.end() {
                return end;
            }
            let rest = between(proof.grants.clock.now(), self.ends_at()).min(LOOK_AT_CLOCK);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                // The sender lives in `grants`, which this permit keeps alive.
                _ = changed.changed() => {}
            }
        }
    }

    /// The module that made it.
    pub(super) fn made_by(&self, grants: &Grants) -> bool {
        Arc::ptr_eq(&self.inner.grants, &grants.inner)
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        self.grants.live.leave(self.number);
    }
}

/// All live permits, and which of them ended before their time. As large as there are permits.
#[derive(Debug)]
pub(super) struct Live {
    permits: Mutex<Permits>,
    /// When the store last answered.
    answered: Mutex<Instant>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Permits {
    last: u64,
    by_number: HashMap<u64, Watched>,
}

/// A live permit, as far as it matters to whether it may live on.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) window: Arc<Window>,
    /// What it was given by.
    pub(super) grant: Arc<Grant>,
    /// What the token proved that counts now.
    pub(super) identity: Identity,
    /// The client's address.
    pub(super) from: Option<IpAddr>,
    /// What those proved that counted before.
    before: Vec<Identity>,
    /// Until when the policy gives it, whatever window and token allow. It never moves later.
    until: Option<Timestamp>,
    /// From when on its end by the clock has been what it is.
    since: Timestamp,
    end: Option<PermitEnd>,
}

impl Watched {
    /// The same with another token, and until another moment, from `since` on.
    fn with(&self, identity: Identity, until: Option<Timestamp>, since: Timestamp) -> Self {
        let (window, grant) = (self.window.clone(), self.grant.clone());
        Watched { window, grant, identity, from: self.from, before: vec![], until, since, end: None }
    }

    /// What each token proved that it was ever kept alive by, the one that counts now included.
    pub(super) fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.before.iter().chain([&self.identity])
    }

    /// The end that no token moves: of the window or of the hours.
    fn ends_at_latest(&self) -> Timestamp {
        let closes = self.window.closes();
        self.until.map_or(closes, |until| until.min(closes))
    }

    pub(super) fn ends_at(&self) -> Timestamp {
        self.ends_at_latest().min(self.identity.facts().expires_at)
    }

    /// Whether it has ended, and why. Once it has, it stays so: a token that comes later changes nothing.
    fn has_ended(&mut self, now: Timestamp) -> Option<PermitEnd> {
        if self.end.is_none() {
            self.end = match () {
                () if now >= self.window.closes() => Some(PermitEnd::WindowClosed),
                () if now >= self.identity.facts().expires_at => Some(PermitEnd::TokenExpired),
                () if now >= self.ends_at() => Some(PermitEnd::HoursOver),
                () => None,
            };
        }
        self.end.clone()
    }
}

impl Default for Live {
    fn default() -> Self {
        Live {
            permits: Mutex::default(),
            answered: Mutex::new(Instant::now()),
            changed: watch::Sender::new(()),
        }
    }
}

impl Live {
    fn permits(&self) -> MutexGuard<'_, Permits> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, watched: Watched) -> u64 {
        let mut permits = self.permits();
        permits.last += 1;
        let number = permits.last;
        permits.by_number.insert(number, watched);
        number
    }

    fn leave(&self, number: u64) {
        self.permits().by_number.remove(&number);
    }

    /// A permit that is not listed has no right to live: fails closed. The time is asked while the list is locked, so that
    /// nothing is renewed between the two.
    fn end_of(&self, number: u64, clock: &dyn Clock) -> Option<PermitEnd> {
        match self.permits().by_number.get_mut(&number) {
            Some(watched) => watched.has_ended(clock.now()),
            None => Some(PermitEnd::WindowClosed),
        }
    }

    /// The same here: what is not listed has ended.
    fn ends_at(&self, number: u64) -> Timestamp {
        self.permits().by_number.get(&number).map_or(Timestamp::MIN, Watched::ends_at)
    }

    fn ends_at_latest(&self, number: u64) -> Timestamp {
        self.permits().by_number.get(&number).map_or(Timestamp::MIN, Watched::ends_at_latest)
    }

    /// Ends every permit that `judge` has a reason for.
    pub(super) fn review(&self, judge: impl Fn(&Watched) -> Option<PermitEnd>) {
        let mut news = false;
        for watched in self.permits().by_number.values_mut().filter(|watched| watched.end.is_none()) {
            watched.end = judge(watched);
            news |= watched.end.is_some();
        }
        if news {
            self.changed.send_replace(());
        }
    }

    /// Whose permits have not ended, once for each permit.
    pub(super) fn identities(&self) -> Vec<Identity> {
        let permits = self.permits();
        let live = permits.by_number.values().filter(|watched| watched.end.is_none());
        live.map(|watched| watched.identity.clone()).collect()
    }

    /// The same for one permit, before anybody holds it.
    fn review_one(&self, number: u64, judge: impl FnOnce(&Watched) -> Option<PermitEnd>) {
        if let Some(watched) = self.permits().by_number.get_mut(&number) {
            watched.end = judge(watched);
        }
    }

    /// The store answered: these windows were ended.
    pub(super) fn ended(&self, ended: Vec<EndedWindow>) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if ended.is_empty() {
            return;
        }
        let ended: HashMap<WindowId, EndedWindow> =
            ended.into_iter().map(|ended| (ended.id, ended)).collect();
        self.review(|watched| {
            let EndedWindow { by, reason, .. } = ended.get(&watched.window.id())?;
            Some(PermitEnd::Revoked { by: by.to_string(), reason: reason.clone() })
        });
    }

    /// The store did not answer. Once that lasts, a revocation could be missed, so all permits end: fails closed.
    pub(super) fn silent(&self, longest: Duration) {
        if self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < longest {
            return;
        }
        let reason = "the gateway cannot read its state, so it could not see a revocation";
        self.review(|_| Some(PermitEnd::Revoked { by: "chaperone".into(), reason: reason.into() }));
    }
}
