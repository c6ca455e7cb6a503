//! Ending a session that runs, for the API and for the console alike: who may, that it is noted, and why.

use super::{EndOutcome, LiveSession, LiveSessions};
use crate::grant::{AskError, Grants, is_reason};
use crate::identity::Identity;
use crate::state::Audit;
use chaperone_core::Timestamp;
use chaperone_core::grant::Match;
use chaperone_core::name::SessionId;
use serde_json::json;

/// One session that this caller may end: their own, or for operators any. For others it does not exist.
pub(crate) fn may_end(
    sessions: &dyn LiveSessions,
    grants: &Grants,
    identity: &Identity,
    id: SessionId,
) -> Result<LiveSession, AskError> {
    let own = &identity.facts().principal;
    let operator = grants.is_operator(identity) == Match::Proved;
    let known = sessions.list().into_iter().find(|session| session.id == id);
    known.filter(|session| operator || session.principal == *own).ok_or(AskError::NotFound)
}

/// Ends it.
pub(crate) async fn end(
    sessions: &dyn LiveSessions,
    grants: &Grants,
    identity: &Identity,
    (id, reason): (SessionId, &str),
    now: Timestamp,
) -> Result<(), AskError> {
    if !is_reason(reason) {
        return Err(AskError::Reason);
    }
    let session = may_end(sessions, grants, identity, id)?;
    let by = &identity.facts().principal;
    match sessions.end(id, by, reason) {
        EndOutcome::Ended => {
            let event = Audit {
                event: "session.revoked",
                actor: by.as_str(),
                subject: &id.to_string(),
                target: session.target.as_str(),
                detail: json!({ "principal": session.principal, "window": session.window, "reason": reason }),
            };
            // The session is cut already; a store that fails must not make that look undone.
            if let Err(error) = grants.state().audit(event, now).await {
                tracing::error!(%error, session = %id, "the audit event of an ended session could not be kept");
            }
            Ok(())
        }
        EndOutcome::NotLive => Err(AskError::NotFound),
    }
}
