//! What the API shows of what is stored. Moments are RFC 3339 in UTC.

use crate::state::{StoredApproval, StoredWindow};
use chaperone_core::Timestamp;
use chaperone_core::approval::{ApprovalId, Decided, Matter, State};
use chaperone_core::identity::Caller;
use chaperone_core::name::{Principal, RequestId, TargetName, WindowId};
use chaperone_core::window::{Opened, WindowState};
use serde::Serialize;
use std::time::Duration;

/// A window.
#[derive(Debug, Serialize)]
pub(super) struct WindowView {
    id: WindowId,
    principal: Principal,
    target: TargetName,
    opens: Timestamp,
    closes: Timestamp,
    opened: Opened,
    state: WindowState,
    request: RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<EndedView>,
}

#[derive(Debug, Serialize)]
struct EndedView {
    at: Timestamp,
    by: Principal,
    reason: String,
}

impl WindowView {
    pub(super) fn of(stored: StoredWindow, now: Timestamp) -> Self {
        let StoredWindow { window, request, ended } = stored;
        let state = if ended.is_some() { WindowState::Closed } else { window.state(now) };
        WindowView {
            id: window.id(),
            principal: window.principal().clone(),
            target: window.target().clone(),
            opens: window.opens(),
            closes: window.closes(),
            opened: window.opened(),
            state,
            request,
            ended: ended.map(|ended| EndedView { at: ended.at, by: ended.by, reason: ended.reason }),
        }
    }
}

/// An access request or a held operation.
#[derive(Debug, Serialize)]
pub(super) struct ApprovalView {
    id: ApprovalId,
    requester: Principal,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<Caller>,
    target: TargetName,
    state: State,
    asked: Timestamp,
    deadline: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    matter: Matter,
    approvers: Vec<ApproversView>,
    /// Persons who still have to say yes, at the least.
    missing: usize,
    decisions: Vec<Decided>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<WindowView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_id: Option<WindowId>,
}

#[derive(Debug, Serialize)]
struct ApproversView {
    approvers: String,
    needed: u8,
    /// When they are asked: after all of smaller stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<u8>,
}

impl ApprovalView {
    pub(super) fn of(stored: StoredApproval, window: Option<StoredWindow>, now: Timestamp) -> Self {
        let StoredApproval { id, caller, approval, window: window_id } = stored;
        let approvers = approval.requirements().iter();
        let duration = match approval.matter() {
            Matter::Window(terms) => {
                Some(humantime::format_duration(Duration::from_secs(terms.seconds)).to_string())
            }
            Matter::Operation(_) => None,
        };
        ApprovalView {
            id,
            requester: approval.requester().clone(),
            caller,
            target: approval.matter().target().clone(),
            state: approval.state(now),
            asked: approval.asked(),
            deadline: approval.deadline(),
            duration,
            approvers: approvers
                .map(|one| ApproversView {
                    approvers: one.approvers.to_string(),
                    needed: one.needed,
                    stage: (one.stage > 0).then_some(one.stage),
                })
                .collect(),
            missing: approval.missing(),
            decisions: approval.decisions().to_vec(),
            matter: approval.matter().clone(),
            window: window.map(|window| WindowView::of(window, now)),
            window_id,
        }
    }
}
