//! Access to targets while recordings cannot be written: for one group, and recorded elsewhere.
//!
//! It exists only where it is configured, and it is no way around anything: token, grant, window, plugins and holds are as ever,
//! and the recording has the same guarantees, in a folder on another file system. What is different is who may (its group
//! alone), when (the usual recorder has just failed at this very session, by its disk), and that it is loud: an error in the log,
//! an audit event, a counter, and a warning in the recording itself. What cannot be noted in the audit events does not begin.
//!
//! What may go wrong: somebody fills the disk to get here. What is gained by that is another folder for the same recording.

use super::{Gateway, unrecorded};
use crate::identity::Identity;
use crate::recorder::{EventKind, Recorder, RecorderError, Recording, SessionHead};
use crate::state::Audit;
use chaperone_core::Timestamp;
use chaperone_core::grant::Match;
use chaperone_core::name::GroupAlias;
use chaperone_core::refusal::Refusal;
use serde_json::json;

/// The other folder, and for whom it is.
pub struct BreakGlass {
    /// Records elsewhere.
    pub recorder: Recorder,
    /// Whose sessions.
    pub group: GroupAlias,
}

impl Gateway {
    /// The recording of a session: in its usual place, or while that cannot be written, for some, elsewhere.
    pub(super) async fn record(
        &self,
        identity: &Identity,
        head: &SessionHead,
        now: Timestamp,
    ) -> Result<Recording, Refusal> {
        let error = match self.recorder.begin(head, now).await {
            Ok(recording) => return Ok(recording),
            Err(error) => error,
        };
        let may = |glass: &&BreakGlass| self.grants.is_in(&glass.group, identity) == Match::Proved;
        match self.break_glass.as_ref().filter(may) {
            Some(glass) if error.is_of_the_disk() => self.break_in(glass, head, now, &error).await,
            _ => Err(unrecorded(&error)),
        }
    }

    async fn break_in(
        &self,
        glass: &BreakGlass,
        head: &SessionHead,
        now: Timestamp,
        error: &RecorderError,
    ) -> Result<Recording, Refusal> {
        let mut recording = glass.recorder.begin(head, now).await.map_err(|error| unrecorded(&error))?;
        let what = "recorded elsewhere: the usual folder could not be written";
        recording.json(EventKind::Warning, 0, &json!({ "what": what, "why": error.to_string() }));
        let (state, noted) = (self.grants.state().clone(), head.clone());
        let audit = async move {
            let (actor, subject) = (noted.identity.principal.to_string(), noted.session.to_string());
            let detail = json!({ "window": noted.window, "what": what });
            let target = noted.target.as_str();
            let audit =
                Audit { event: "session.break-glass", actor: &actor, subject: &subject, target, detail };
            state.audit(audit, now).await.map_err(|error| error.to_string())
        };
        let audited = self.control.spawn(audit).await.unwrap_or_else(|error| Err(error.to_string()));
        if let Err(error) = audited {
            // Fails closed: what nobody hears of does not begin.
            tracing::error!(%error, "a session that would be recorded elsewhere could not be noted");
            return Err(self.stillborn(recording, super::unheard()));
        }
        self.metrics.break_glass.count();
        let principal = head.identity.principal.to_string();
        tracing::error!(session = %head.session, principal, %error, "break glass: a session is recorded elsewhere");
        Ok(recording)
    }
}
