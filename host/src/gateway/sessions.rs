//! The sessions that this gateway carries now, and what is written about each when it begins and ends.

use crate::api::{EndOutcome, LiveSession, LiveSessions};
use crate::grant::{Permit, RenewError, Renewal};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::recorder::{EndReason, PluginStamp, SessionEnd, SessionHead};
use crate::session::{Activity, Decisions, Revocation, SessionStop};
use crate::state::{SessionStart, State};
use chaperone_core::Timestamp;
use chaperone_core::name::{Principal, SessionId, TargetName};
use chaperone_core::refusal::{Refusal, RefusalCode, sentence};
use chaperone_hooks::{Fault, SessionFacts};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;

/// The sessions that this gateway carries now. Bounded by the listeners' bound of connections.
pub struct LiveRegistry {
    live: Mutex<HashMap<SessionId, Live>>,
    state: State,
    runtime: Handle,
    metrics: Arc<Metrics>,
    /// What sessions that are over have decided, by target: as many as are configured.
    decided: Mutex<BTreeMap<TargetName, Decisions>>,
}

struct Live {
    session: LiveSession,
    permit: Permit,
    revoke: Revocation,
    activity: Arc<Activity>,
}

/// A session's place in the registry; gone with it.
pub(super) struct Entry {
    id: SessionId,
    revoke: Revocation,
    activity: Arc<Activity>,
    registry: Arc<LiveRegistry>,
    stop: &'static str,
}

impl LiveRegistry {
    /// An empty registry; the store is told of sessions on `runtime`, so that no session waits for it.
    pub fn new(state: State, runtime: Handle, metrics: Arc<Metrics>) -> Self {
        LiveRegistry { live: Mutex::default(), state, runtime, metrics, decided: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Live>> {
        // The map is whole after any panic: every change is one call.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(self: &Arc<Self>, head: &SessionHead, permit: &Permit) -> Entry {
        let (revoke, activity) = (Revocation::default(), Arc::new(Activity::default()));
        let facts = permit.identity().facts();
        let now = Timestamp::now();
        let session = LiveSession {
            id: head.session,
            principal: facts.principal.clone(),
            caller: facts.into(),
            target: permit.target().clone(),
            window: permit.window().id(),
            started: now,
            ends: permit.ends_at(),
            activity: activity.read(),
        };
        let start = SessionStart {
            id: head.session,
            caller: facts.into(),
            target: permit.target().clone(),
            window: permit.window().id(),
        };
        let state = self.state.clone();
        self.runtime.spawn(async move {
            // The recording is the record; this is the list that `chaperone sessions` is quick with.
            if let Err(error) = state.session_started(&start, now).await {
                tracing::warn!(%error, "a session's start could not be listed");
            }
        });
        let live =
            Live { session, permit: permit.clone(), revoke: revoke.clone(), activity: Arc::clone(&activity) };
        self.lock().insert(head.session, live);
        self.metrics.started.count();
        Entry { id: head.session, revoke, activity, registry: Arc::clone(self), stop: "broken" }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// What all sessions of this process have decided, also those that are over.
    pub fn decided(&self) -> Decisions {
        self.decided_on().into_values().fold(Decisions::default(), Decisions::and)
    }

    /// The same for each target that had a session.
    pub fn decided_on(&self) -> BTreeMap<TargetName, Decisions> {
        // In this order a session that ends meanwhile is counted once: it leaves the map under the lock of the sums.
        let over = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.lock();
        let mut all = over.clone();
        for live in live.values() {
            add(&mut all, &live.session.target, live.activity.read().decided);
        }
        all
    }
}

fn add(all: &mut BTreeMap<TargetName, Decisions>, target: &TargetName, more: Decisions) {
    match all.get_mut(target) {
        Some(sum) => *sum = sum.and(more),
        None => {
            all.insert(target.clone(), more);
        }
    }
}

impl Entry {
    /// Set when its owner or an operator ends this session.
    pub(super) fn revoked(&self) -> Revocation {
        self.revoke.clone()
    }

    /// Where it says what it does.
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// How it ended, for the list.
    pub(super) fn ended(mut self, stop: &SessionStop) {
        self.stop = stop.as_str();
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        {
            let mut over = self.registry.decided.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(live) = self.registry.lock().remove(&self.id) {
                add(&mut over, &live.session.target, self.activity.read().decided);
            }
        }
        self.registry.metrics.ended.count(self.stop);
        let (state, id, stop) = (self.registry.state.clone(), self.id, self.stop);
        self.registry.runtime.spawn(async move {
            if let Err(error) = state.session_ended(id, stop, Timestamp::now()).await {
                tracing::warn!(%error, "a session's end could not be listed");
            }
        });
    }
}

impl LiveSessions for LiveRegistry {
    fn list(&self) -> Vec<LiveSession> {
        let listed = |live: &Live| LiveSession {
            ends: live.permit.ends_at(),
            activity: live.activity.read(),
            ..live.session.clone()
        };
        self.lock().values().map(listed).collect()
    }

    fn end(&self, id: SessionId, by: &Principal, reason: &str) -> EndOutcome {
        match self.lock().get(&id) {
            Some(live) => {
                tracing::info!(session = %id, %by, "a session is ended by its owner or an operator");
                let why = Refusal::new(RefusalCode::Revoked, "your session on this target was ended")
                    .detail(sentence(&format!("It was ended by {by}: {reason}")))
                    .hint("Ask an operator before you connect again.");
                // Who came first has ended it: the client is told of them.
                let _ = live.revoke.set(why);
                EndOutcome::Ended
            }
            None => EndOutcome::NotLive,
        }
    }

    fn renew(&self, id: SessionId, identity: &Identity) -> Result<Renewal, RenewError> {
        let permit = self.lock().get(&id).map(|live| live.permit.clone());
        permit.ok_or(RenewError::NotLive)?.renew(identity)
    }
}

/// The recording's first event.
pub(super) fn head(
    protocol: &str,
    permit: &Permit,
    requested_role: &str,
    peer: SocketAddr,
    plugins: Vec<chaperone_hooks::PluginStamp>,
) -> SessionHead {
    let stamp = |plugin: chaperone_hooks::PluginStamp| PluginStamp {
        name: plugin.name,
        version: plugin.version,
        digest: plugin.digest,
        config_hash: plugin.config_hash,
        hooks: plugin.hooks.into_iter().map(str::to_owned).collect(),
    };
    SessionHead {
        session: SessionId::new(uuid::Uuid::now_v7()),
        protocol: protocol.to_owned(),
        target: permit.target().clone(),
        identity: permit.identity().facts().clone(),
        grant: permit.grant().target.to_string(),
        window: permit.window().id().to_string(),
        request: Some(permit.request().to_string()),
        approved_by: permit.approved_by().to_vec(),
        requested_role: (!requested_role.is_empty()).then(|| requested_role.to_owned()),
        target_role: None,
        client_address: peer.to_string(),
        plugins: plugins.into_iter().map(stamp).collect(),
        gateway_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// What plugins may know of a session.
pub(super) fn facts(permit: &Permit, requested_role: &str) -> SessionFacts {
    let identity = permit.identity().facts();
    SessionFacts {
        principal: identity.principal.to_string(),
        caller_kind: identity.kind,
        target: permit.target().to_string(),
        groups: permit.groups(),
        requested_role: requested_role.to_owned(),
    }
}

/// No instances: the session does not start. Fails closed.
pub(super) fn no_plugins(fault: &Fault) -> Refusal {
    tracing::error!(%fault, "a session's plugins could not be started");
    Refusal::new(RefusalCode::PluginFault, "the plugins that judge this target could not be started")
        .hint("Connect again in a moment; tell the operator if it stays so.")
}

/// The recording's last event.
pub(super) fn end_of(stop: &SessionStop) -> SessionEnd {
    let (reason, code, detail) = match stop {
        SessionStop::ClientClosed => (EndReason::ClientClosed, None, String::new()),
        SessionStop::TargetClosed => (EndReason::TargetClosed, None, String::new()),
        SessionStop::Cut(refusal) => {
            let reason = match refusal.code {
                RefusalCode::WindowClosed => EndReason::WindowClosed,
                RefusalCode::CredentialExpired => EndReason::CredentialExpired,
                RefusalCode::Revoked => EndReason::Revoked,
                RefusalCode::ShuttingDown => EndReason::ShuttingDown,
                RefusalCode::TargetUnavailable | RefusalCode::PluginFault => EndReason::Refused,
                _ => EndReason::Broken,
            };
            // Who took a right back, and why: people's words, or an entry's id. Other details may hold what the target said.
            let more = if refusal.code == RefusalCode::Revoked { refusal.detail.as_str() } else { "" };
            let detail = format!("{} {more}", sentence(&refusal.message)).trim_end().to_owned();
            (reason, Some(refusal.code.as_str().to_owned()), detail)
        }
    };
    SessionEnd { ended: Timestamp::now(), reason, code, detail }
}
