//! THE PAGE: the path of every session, one line a step.
//!
//! Each step returns a value that the next one needs and that only its own module can make, so that none can be left
//! out: no permit without an identity, no lease without a permit and an open recording, no session without all of them.

mod archive;
mod break_glass;
mod disk;
mod feed;
mod keeping;
mod notify;
mod pages;
mod policy;
mod ready;
mod recheck;
mod recording;
mod reload;
mod roles;
pub mod run;
mod sampling;
mod serve_http;
mod serve_metrics;
mod sessions;
mod store;
mod stream;

use crate::grant::Grants;
use crate::identity::Identities;
use crate::listener::{Connection, ListenerLimits};
use crate::metrics::{self, Metrics};
use crate::protocol::{Hello, Protocol};
use crate::recorder::{Recorder, RecorderError, Recording};
use crate::session::{Session, SessionParts, SessionStop};
use crate::target::{Lease, Targets};
use chaperone_core::grant::Occasion;
use chaperone_core::refusal::{Refusal, RefusalCode};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use break_glass::BreakGlass;
pub use disk::LastLook;
pub(crate) use policy::policy;
pub use sessions::LiveRegistry;

/// Everything that sessions share.
pub struct Gateway {
    /// Credential -> identity.
    pub identities: Arc<Identities>,
    /// Identity and target -> permit.
    pub grants: Grants,
    /// Permit -> recording.
    pub recorder: Recorder,
    /// Permit -> recording, for some and while the other fails.
    pub break_glass: Option<BreakGlass>,
    /// The room that recordings had when the disk was looked at last.
    pub space: LastLook,
    /// Permit and recording -> lease.
    pub targets: Targets,
    /// Sessions that are running now.
    pub live: Arc<LiveRegistry>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Bounds of the listeners.
    pub limits: ListenerLimits,
    /// The longest session, whatever window and token allow.
    pub longest_session: std::time::Duration,
    /// Cancelled when sessions shall end as soon as nothing of theirs runs.
    pub draining: CancellationToken,
    /// Cancelled when running sessions must end.
    pub shutdown: CancellationToken,
    /// The control runtime.
    pub control: tokio::runtime::Handle,
    /// Recordings that are being sealed; the gateway waits for them before it goes.
    pub seals: TaskTracker,
}

impl Gateway {
    /// Carries one connection from greeting to sealed recording.
    pub async fn serve<P: Protocol>(&self, protocol: &P, connection: Connection) {
        let greeting = tokio::time::timeout(self.limits.greet_timeout, protocol.greet(connection));
        let hello = match greeting.await {
            Ok(Ok(hello)) => hello,
            Ok(Err(goodbye)) => {
                return tracing::debug!(why = goodbye.why, "a connection ended before its login");
            }
            Err(_) => {
                self.metrics.refused.count(metrics::LOGIN_TIMEOUT);
                return tracing::debug!("a connection did not finish its login in time");
            }
        };
        match self.open(protocol, &hello).await {
            Ok(opened) => self.carry(protocol, hello, opened).await,
            Err(refusal) => {
                tracing::info!(peer = %hello.peer(), code = %refusal.code, "refused");
                self.metrics.refused.count(refusal.code.as_str());
                protocol.refuse(hello, &refusal).await;
            }
        }
    }

    /// identify -> complete -> permit -> record -> lease. Protocols with many requests on one connection run it for each of them.
    async fn open<P: Protocol>(&self, _: &P, hello: &P::Hello) -> Result<Opened, Refusal> {
        // Not the machine's clock, which may have been set back: windows that have closed must stay so.
        let clock = self.grants.clock();
        let identity = self.identities.identify(hello.credential(), clock.now()).await?;
        let groups = |provider: &_| self.grants.groups_of(provider);
        let identity = self.identities.complete(identity, &groups, clock.now()).await?;
        let now = clock.now();
        let occasion = Occasion { at: now, from: Some(hello.peer().ip()) };
        let permit = self.grants.permit(&identity, &hello.target(), occasion).await?;
        let target = self.targets.of(&permit)?;
        let mut head =
            sessions::head(P::NAME, &permit, hello.requested_role(), hello.peer(), target.chain.stamps());
        head.target_role = Some(self.targets.role_of(&permit, head.session)?);
        let recording = self.record(&identity, &head, now).await?;
        let hooks = match target.chain.open(sessions::facts(&permit, hello.requested_role())).await {
            Ok(hooks) => hooks,
            Err(fault) => return Err(self.stillborn(recording, sessions::no_plugins(&fault))),
        };
        match self.targets.lease(&permit, &recording, self.longest_session).await {
            Ok(lease) => {
                let entry = self.live.enter(&head, &permit);
                let (revoked, activity) = (entry.revoked(), entry.activity());
                let session = Session::begin(SessionParts {
                    permit,
                    recording,
                    hooks,
                    grants: self.grants.clone(),
                    longest: self.longest_session,
                    draining: self.draining.clone(),
                    shutdown: self.shutdown.clone(),
                    revoked,
                    protocol: P::NAME,
                    activity,
                });
                Ok(Opened { session, lease, entry })
            }
            Err(refusal) => Err(self.stillborn(recording, refusal)),
        }
    }

    /// dial -> admit -> relay -> seal.
    async fn carry<P: Protocol>(&self, protocol: &P, hello: P::Hello, opened: Opened) {
        let Opened { mut session, lease, entry } = opened;
        let stop = match protocol.dial(&hello, &lease).await {
            Err(refusal) => {
                protocol.refuse(hello, &refusal).await;
                SessionStop::Cut(refusal)
            }
            Ok(dialled) => match protocol.admit(hello, dialled).await {
                Err(_) => SessionStop::ClientClosed,
                Ok(link) => protocol.relay(link, &mut session).await,
            },
        };
        // A role that was minted for this session goes now, whatever ended it. Every other road drops the lease, too.
        drop(lease);
        self.seal(session.finish(), &stop);
        entry.ended(&stop);
    }

    /// A session that was recorded, but never dialled: the recording says why.
    fn stillborn(&self, recording: Recording, refusal: Refusal) -> Refusal {
        self.seal(recording, &SessionStop::Cut(refusal.clone()));
        refusal
    }

    /// Sealing waits for the disk, so it does not happen on a thread that carries sessions.
    fn seal(&self, recording: Recording, stop: &SessionStop) {
        let (id, end, reason) = (recording.id(), sessions::end_of(stop), stop.as_str());
        let metrics = Arc::clone(&self.metrics);
        self.seals.spawn_blocking_on(
            move || match recording.seal(&end) {
                Ok(sealed) => {
                    metrics.sealed.count();
                    if let Some(why) = sealed.unpacked {
                        tracing::warn!(session = %id, why, "a recording was sealed without being packed");
                    }
                    tracing::info!(session = %id, reason, "sealed");
                }
                // What was forwarded was written before; the next start recovers the file as interrupted.
                Err(error) => {
                    metrics.unsealed.count();
                    tracing::error!(session = %id, %error, "a recording could not be sealed");
                }
            },
            &self.control,
        );
    }
}

/// A session with its lease, not yet dialled.
struct Opened {
    session: Session,
    lease: Lease,
    entry: sessions::Entry,
}

/// Fails closed: nobody would hear of the session.
fn unheard() -> Refusal {
    Refusal::new(RefusalCode::RecorderFailed, "the session cannot be noted, so it does not start")
        .hint("Tell the operator; your token and your window are fine.")
}

/// Fails closed: no recording, no session.
fn unrecorded(error: &RecorderError) -> Refusal {
    tracing::error!(%error, "a recording could not be opened");
    if let RecorderError::NoRoom { .. } = error {
        let what = "there is too little room for recordings, so the session does not start";
        return Refusal::new(RefusalCode::RecorderFailed, what)
            .hint("Tell the operator to make room on the disk of the recordings; your token and your window are fine.");
    }
    Refusal::new(RefusalCode::RecorderFailed, "the session cannot be recorded, so it does not start")
        .hint("Tell the operator; your token and your window are fine.")
}
