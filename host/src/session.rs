//! A session: one principal on one target under one permit, with its plugins and its recording.
//!
//! Protocols reach plugins, recorder and grants only through here. The order is the point: an operation is judged, its
//! event is written ([`Session::commit`]), and only then may the protocol forward it; a result is masked and recorded
//! before the client sees it. A recorder or a plugin that fails never lets anything through.

mod activity;
mod memo;
mod news;
mod operation;
mod results;
mod traits;
mod watch;

use crate::grant::{Grants, Permit};
use crate::recorder::Recording;
use chaperone_core::grant::Recorded;
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_hooks::SessionHooks;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

pub use crate::recorder::{EventKind, Kept};
pub use activity::{Activities, Activity, Decisions, Doing};
pub use chaperone_hooks::{Batch, MaskPlan, Masked, UseJudgement};
pub use news::{News, Warning};
pub use operation::{HeldOperation, HeldOutcome, Judged, Reached, Ruling, refused_by};
pub use results::Planned;
pub use traits::Traits;
pub use watch::Watch;

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionStop {
    /// The client left.
    ClientClosed,
    /// The target closed the connection.
    TargetClosed,
    /// The window, the token, an operator or a shutdown ended it, or the gateway had to; the client was told this.
    Cut(Refusal),
}

impl SessionStop {
    /// The stable word for the recording.
    pub fn as_str(&self) -> &'static str {
        match self {
            SessionStop::ClientClosed => "client-closed",
            SessionStop::TargetClosed => "target-closed",
            SessionStop::Cut(refusal) => refusal.code.as_str(),
        }
    }
}

/// A running session.
pub struct Session {
    permit: Permit,
    recording: Recording,
    hooks: SessionHooks,
    grants: Grants,
    longest: Duration,
    draining: CancellationToken,
    shutdown: CancellationToken,
    revoked: Revocation,
    operation: u64,
    memo: memo::Memo,
    noted: news::Noted,
    protocol: &'static str,
    activity: Arc<Activity>,
}

/// Set once, when somebody ends one session: what its client is told.
pub type Revocation = Arc<SetOnce<Refusal>>;

/// What [`Session::begin`] needs; each part proves that a step of the path was made.
pub struct SessionParts {
    /// Who, where, until when.
    pub permit: Permit,
    /// The open recording.
    pub recording: Recording,
    /// The target's plugins, instantiated for this session.
    pub hooks: SessionHooks,
    /// For holds.
    pub grants: Grants,
    /// The gateway's own bound of a session.
    pub longest: Duration,
    /// The gateway wants to stop.
    pub draining: CancellationToken,
    /// The gateway's shutdown deadline.
    pub shutdown: CancellationToken,
    /// The end of this very session by its owner or an operator.
    pub revoked: Revocation,
    /// The protocol's name.
    pub protocol: &'static str,
    /// What others see of it while it runs.
    pub activity: Arc<Activity>,
}

impl Session {
    /// Starts a session.
    pub fn begin(parts: SessionParts) -> Self {
        Session {
            permit: parts.permit,
            recording: parts.recording,
            hooks: parts.hooks,
            grants: parts.grants,
            longest: parts.longest,
            draining: parts.draining,
            shutdown: parts.shutdown,
            revoked: parts.revoked,
            operation: 0,
            memo: memo::Memo::default(),
            noted: news::Noted::default(),
            protocol: parts.protocol,
            activity: parts.activity,
        }
    }

    /// The proof that a window was open when this session began.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Ends the session: gives the recording back, so that the gateway can seal it.
    pub fn finish(mut self) -> Recording {
        // One that came in the last moment.
        self.note_renewals();
        self.recording
    }

    /// Resolves when the session has to end, whatever it is doing (invariant 5).
    pub fn must_end(&self) -> Watch {
        let permit = self.permit.clone();
        let shutdown = self.shutdown.clone();
        let revoked = self.revoked.clone();
        let longest = self.longest;
        let end = async move {
            tokio::select! {
                end = permit.ended() => end.refusal(),
                why = revoked.wait() => why.clone(),
                () = tokio::time::sleep(longest) => {
                    Refusal::new(RefusalCode::LimitReached, "this session is as long as sessions may be here")
                        .hint("Connect again; your window may still be open.")
                }
                () = shutdown.cancelled() => shutting_down(),
            }
        };
        Watch::over(end, watch::unwatched)
    }

    /// Resolves when the gateway wants to stop: the session ends as soon as nothing of it runs.
    pub fn should_end(&self) -> Watch {
        let draining = self.draining.clone();
        let stop = async move {
            draining.cancelled().await;
            shutting_down()
        };
        Watch::over(stop, watch::unwatched)
    }

    /// Numbers the next operation, from 1.
    pub fn next_operation(&mut self) -> u64 {
        self.operation += 1;
        self.activity.begins(self.operation);
        self.operation
    }

    /// Says what the session does from now on, for those who watch.
    pub fn does(&self, doing: Doing) {
        self.activity.does(doing, || self.elapsed_micros());
    }

    /// Appends an event with a JSON body; it is written by the next [`Session::commit`].
    pub fn note(&mut self, kind: EventKind, operation: u64, body: &impl Serialize) {
        self.recording.json(kind, operation, body);
    }

    /// Appends an event with a body as it was on the wire. A grant with `recorded: no` keeps statements, decisions and
    /// counts, but no data: there is no session without a recording (invariant 4).
    pub fn note_raw(&mut self, kind: EventKind, operation: u64, parts: &[&[u8]]) {
        let data = matches!(kind, EventKind::Rows | EventKind::CopyIn | EventKind::Parameters);
        if !data || self.permit.recorded() == Recorded::Yes {
            self.recording.raw(kind, operation, parts);
        }
    }

    /// Writes what was appended, and where recordings are durable waits for the medium. Fails closed: what is forwarded needs
    /// the proof that this makes (invariants 3 and 4).
    pub async fn commit(&mut self) -> Result<Kept<'_>, Refusal> {
        let session = self.recording.id();
        self.recording.keep().await.map_err(|error| {
            tracing::error!(%session, %error, "the recording cannot be written");
            Refusal::new(RefusalCode::RecorderFailed, "the session's recording cannot be written")
                .hint("Tell the operator: nothing runs unrecorded.")
        })
    }

    /// Does ahead what the next commits would take longer for; nobody waits now.
    pub fn make_room(&mut self) {
        self.recording.make_room();
    }

    /// Whether events wait for [`Session::commit`], or the recording has failed, which only a commit says.
    pub fn has_events(&self) -> bool {
        self.has_to_commit(0)
    }

    /// Whether more than `bytes` of events wait for [`Session::commit`], or the recording has failed.
    pub fn has_to_commit(&self, bytes: usize) -> bool {
        self.recording.has_to_commit(bytes)
    }

    /// Whether [`Session::rest`] would give memory back.
    pub fn can_rest(&self) -> bool {
        self.hooks.can_rest()
    }

    /// Whether other sessions wait for the places that [`Session::rest`] gives back.
    pub fn is_waited_for(&self) -> bool {
        self.hooks.are_waited_for()
    }

    /// Whether they do, or soon have to.
    pub fn is_wanted_to_rest(&self) -> bool {
        self.hooks.are_wanted()
    }

    /// Nothing has happened for a while: gives memory back that the next operation takes again.
    pub fn rest(&mut self) {
        self.hooks.rest();
        self.memo = memo::Memo::default();
    }

    /// Milliseconds since 1970, as plugins are told the time.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.grants.clock().now().as_millisecond()).unwrap_or(0)
    }

    /// Something was waited for: what is noted from here on happens now.
    pub fn tick(&mut self) {
        self.recording.tick();
    }

    /// Microseconds from the session's begin to the last [`Session::tick`].
    pub fn elapsed_micros(&self) -> u64 {
        self.recording.at_us()
    }
}

fn shutting_down() -> Refusal {
    Refusal::new(RefusalCode::ShuttingDown, "the gateway is shutting down")
        .hint("Connect again in a moment; your window stays open until its end.")
}
