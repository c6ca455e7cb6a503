//! Permits, and how they end.
//!
//! A permit does not need to be told that its time is up: whoever holds one waits for [`Permit::ended`], which looks at the
//! clock at least every second and hears of revocations at once.

use super::{Grants, Inner};
use crate::identity::Identity;
use crate::state::EndedWindow;
use chaperone_core::Timestamp;
use chaperone_core::grant::{Grant, Match, Recorded};
use chaperone_core::name::{Principal, RequestId, TargetName, WindowId};
use chaperone_core::refusal::{Refusal, RefusalCode, sentence};
use chaperone_core::window::{Window, between};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

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
    window: Window,
    grant: Grant,
    request: RequestId,
    approved_by: Vec<Principal>,
    ends_at: Timestamp,
    grants: Arc<Inner>,
}

/// How the window of a permit came to be.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: RequestId,
    pub(super) approved_by: Vec<Principal>,
}

/// Why a permit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermitEnd {
    /// The window's end.
    WindowClosed,
    /// The token's end.
    TokenExpired,
    /// Somebody ended the window.
    Revoked {
        /// Who: a principal, or `chaperone` when the gateway itself had to.
        by: String,
        /// Why.
        reason: String,
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
            PermitEnd::TokenExpired => Refusal::new(RefusalCode::CredentialExpired, "your token has expired")
                .hint("Get a new token and connect again."),
            PermitEnd::Revoked { by, reason } => {
                Refusal::new(RefusalCode::Revoked, "your window on this target was ended")
                    .detail(sentence(&format!("It was ended by {by}: {reason}")))
                    .hint("Ask an operator before you request another.")
            }
        }
    }
}

impl Permit {
    /// The only constructor: `window` was read as open, and `grant` backs it.
    pub(super) fn new(
        grants: &Arc<Inner>,
        identity: Identity,
        window: Window,
        grant: Grant,
        asked: Asked,
    ) -> Self {
        let ends_at = window.closes().min(identity.facts().expires_at);
        // A revocation between the reading of the window and this line is seen at the next look at the store.
        grants.live.enter(window.id());
        let Asked { request, approved_by } = asked;
        let grants = grants.clone();
        Permit { inner: Arc::new(Proof { identity, window, grant, request, approved_by, ends_at, grants }) }
    }

    /// Whose it is.
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
        let facts = self.inner.identity.facts();
        let groups = self.inner.grants.policy.groups.iter();
        let proved = groups.filter(|(_, subject)| subject.matches(facts) == Match::Proved);
        proved.map(|(alias, _)| alias.to_string()).collect()
    }

    /// Whether its session is recorded.
    pub fn recorded(&self) -> Recorded {
        self.inner.grant.recorded
    }

    /// The first moment at which it no longer holds: the earlier of the token's and the window's end.
    pub fn ends_at(&self) -> Timestamp {
        self.inner.ends_at
    }

    /// The time by the clock that it ends by.
    pub fn now(&self) -> Timestamp {
        self.inner.grants.clock.now()
    }

    /// Whether it has ended, and why.
    pub fn end(&self) -> Option<PermitEnd> {
        let proof = &self.inner;
        if let Some(end) = proof.grants.live.end_of(proof.window.id()) {
            return Some(end);
        }
        let now = proof.grants.clock.now();
        if now >= proof.window.closes() {
            Some(PermitEnd::WindowClosed)
        } else if now >= proof.ends_at {
            Some(PermitEnd::TokenExpired)
        } else {
            None
        }
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
            let rest = between(proof.grants.clock.now(), proof.ends_at).min(LOOK_AT_CLOCK);
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
        self.grants.live.leave(self.window.id());
    }
}

/// The windows that live permits stand on, and which of them ended. As large as there are permits.
#[derive(Debug)]
pub(super) struct Live {
    windows: Mutex<HashMap<WindowId, Watched>>,
    /// When the store last answered.
    answered: Mutex<Instant>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Watched {
    permits: usize,
    end: Option<PermitEnd>,
}

impl Default for Live {
    fn default() -> Self {
        Live {
            windows: Mutex::default(),
            answered: Mutex::new(Instant::now()),
            changed: watch::Sender::new(()),
        }
    }
}

impl Live {
    fn windows(&self) -> MutexGuard<'_, HashMap<WindowId, Watched>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, window: WindowId) {
        self.windows().entry(window).or_default().permits += 1;
    }

    fn leave(&self, window: WindowId) {
        let mut windows = self.windows();
        if let Some(watched) = windows.get_mut(&window) {
            watched.permits -= 1;
            if watched.permits == 0 {
                windows.remove(&window);
            }
        }
    }

    fn end_of(&self, window: WindowId) -> Option<PermitEnd> {
        self.windows().get(&window).and_then(|watched| watched.end.clone())
    }

    /// The store answered: these windows were ended.
    pub(super) fn ended(&self, ended: Vec<EndedWindow>) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let mut news = false;
        let mut windows = self.windows();
        for EndedWindow { id, by, reason, .. } in ended {
            if let Some(watched) = windows.get_mut(&id).filter(|watched| watched.end.is_none()) {
                watched.end = Some(PermitEnd::Revoked { by: by.to_string(), reason });
                news = true;
            }
        }
        drop(windows);
        if news {
            self.changed.send_replace(());
        }
    }

    /// The store did not answer. Once that lasts, a revocation could be missed, so all permits end: fails closed.
    pub(super) fn silent(&self, longest: Duration) {
        if self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < longest {
            return;
        }
        for watched in self.windows().values_mut().filter(|watched| watched.end.is_none()) {
            let reason = "the gateway cannot read its state, so it could not see a revocation".to_owned();
            watched.end = Some(PermitEnd::Revoked { by: "chaperone".into(), reason });
        }
        self.changed.send_replace(());
    }
}
