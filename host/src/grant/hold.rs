//! Held operations: parked until people answer, nobody does in time, or nobody waits any more.

use super::{Grants, Inner, LOOK_EVERY, MAX_PENDING_HOLDS, Permit, words};
use crate::state::NewHold;
use chaperone_core::Timestamp;
use chaperone_core::approval::{
    Approval, ApprovalId, Digest, Matter, OperationTerms, State as Standing, is_text,
};
use chaperone_core::decision::{Finding, HoldTerms, merge_holds};
use chaperone_core::grant::MAX_PATIENCE;
use chaperone_core::name::{HoldId, Principal};
use chaperone_core::refusal::{Refusal, RefusalCode, sentence};
use chaperone_core::window::between;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The longest summary that an approver is shown. A longer operation is refused rather than shown in part.
pub const MAX_SUMMARY_BYTES: usize = 64 * 1024;

/// An operation that people have to approve.
#[derive(Debug, Clone)]
pub struct HeldOperation {
    /// The whole operation as an approver reads it.
    pub summary: String,
    /// SHA-256 of its bytes, parameters included.
    pub digest: [u8; 32],
    /// 0 to 100.
    pub risk: u8,
    /// What the check plugins found.
    pub findings: Vec<Finding>,
    /// Who has to approve; all of these.
    pub terms: Vec<HoldTerms>,
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldOutcome {
    /// The operation with the hold's digest may run.
    Approved {
        /// Who said yes.
        by: Vec<Principal>,
    },
    /// Somebody said no.
    Rejected {
        /// Who.
        by: Principal,
        /// Why, in their words; may be empty.
        comment: String,
    },
    /// Nobody answered in time, or no answer can be had.
    TimedOut,
}

impl HoldOutcome {
    /// What the client is told when its operation does not run.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            HoldOutcome::Approved { .. } => None,
            HoldOutcome::Rejected { comment, .. } => {
                let refusal = Refusal::new(RefusalCode::HoldRejected, "an approver rejected this operation");
                let refusal = refusal.hint("Ask the approver before you send it again.");
                Some(match comment.is_empty() {
                    true => refusal,
                    false => refusal.detail(sentence(&format!("The approver said: {comment}"))),
                })
            }
            HoldOutcome::TimedOut => Some(
                Refusal::new(RefusalCode::HoldTimedOut, "nobody approved this operation in time")
                    .hint("Send it again when an approver is there."),
            ),
        }
    }
}

/// A parked operation. Dropping it withdraws the question, so that nobody approves what will not run.
#[derive(Debug)]
pub struct Hold {
    id: HoldId,
    digest: Digest,
    deadline: Timestamp,
    grants: Arc<Inner>,
    settled: bool,
    ended: &'static str,
}

/// How holds end, as they are counted.
pub(super) const ENDS: &[&str] = &[APPROVED, REJECTED, TIMED_OUT, WITHDRAWN];
const APPROVED: &str = "approved";
const REJECTED: &str = "rejected";
const TIMED_OUT: &str = "timed-out";
/// Nobody waits any more: the client is gone, has cancelled, or its session is over.
const WITHDRAWN: &str = "withdrawn";

impl Grants {
    /// How the holds of this process ended, for those who watch it.
    pub fn holds_ended(&self) -> BTreeMap<&'static str, u64> {
        self.inner.holds.read()
    }

    /// Asks people about an operation of this permit's session. The hold ends at the shortest timeout of its terms, and
    /// never later than the permit.
    pub async fn hold(
        &self,
        permit: &Permit,
        operation: HeldOperation,
        now: Timestamp,
    ) -> Result<Hold, Refusal> {
        if !permit.made_by(self) {
            return Err(Refusal::new(RefusalCode::Internal, "the permit belongs to another gateway")
                .hint("Connect again; tell the operator if it stays so."));
        }
        let (inner, permit) = (self.inner.clone(), permit.clone());
        self.at_home(async move { inner.hold(permit, operation, now).await }).await?
    }
}

impl Inner {
    async fn hold(
        self: Arc<Self>,
        permit: Permit,
        operation: HeldOperation,
        now: Timestamp,
    ) -> Result<Hold, Refusal> {
        if operation.summary.len() > MAX_SUMMARY_BYTES
            || !is_text(&operation.summary.replace(['\t', '\r'], " "), MAX_SUMMARY_BYTES)
        {
            return Err(cannot_be_shown());
        }
        let terms = merge_holds(operation.terms);
        let mut requirements = Vec::with_capacity(terms.len());
        let policy = self.policy.load_full();
        for one in &terms {
            let known = policy.requirement(&one.approvers, one.needed);
            requirements.push(known.ok_or_else(|| nobody_to_ask(one.approvers.as_str()))?);
        }
        let timeout = terms.iter().map(|one| u64::from(one.timeout_seconds)).min().unwrap_or(0);
        let patience = Duration::from_secs(timeout).min(between(now, permit.ends_at())).min(MAX_PATIENCE);
        let digest = Digest(operation.digest);
        let matter = Matter::Operation(OperationTerms {
            target: permit.target().clone(),
            window: permit.window().id(),
            summary: operation.summary,
            digest,
            risk: operation.risk,
            findings: operation.findings,
            reason: terms.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>().join("; "),
        });
        let requester = permit.identity().facts().principal.clone();
        let approval = Approval::ask(requester, matter, requirements, now, patience)
            .map_err(|problem| unusable(&problem))?;
        let (id, deadline) = (HoldId::new(uuid::Uuid::now_v7()), approval.deadline());
        let caller = permit.identity().facts().into();
        let new = NewHold { id, caller, approval, limit: MAX_PENDING_HOLDS };
        match self.state.hold(new, now).await.map_err(words::store_failed)? {
            Some(_) => {
                self.tell_waiters();
                Ok(Hold { id, digest, deadline, grants: self, settled: false, ended: WITHDRAWN })
            }
            None => {
                Err(Refusal::new(RefusalCode::LimitReached, "too many of your operations wait for approval")
                    .hint("Wait until one is answered, or withdraw one by cancelling it."))
            }
        }
    }

    /// The answer in the store, if there is one. What is not exactly what was asked is no answer: fails closed.
    async fn outcome(&self, id: HoldId, digest: Digest, deadline: Timestamp) -> Option<HoldOutcome> {
        let now = self.clock.now();
        if now >= deadline {
            // The store decides between an approval and the deadline; afterwards nobody can approve any more.
            if self.state.expire(now).await.is_err() {
                return Some(HoldOutcome::TimedOut);
            }
        }
        let stored = match self.state.approval(ApprovalId::Hold(id)).await {
            Ok(Some(stored)) => stored.approval,
            Ok(None) => return Some(HoldOutcome::TimedOut),
            // Asked again until the deadline, and never later.
            Err(_) => return None,
        };
        match stored.state(now) {
            Standing::Pending => None,
            Standing::Approved => match stored.matter() {
                Matter::Operation(terms) if terms.digest == digest => {
                    Some(HoldOutcome::Approved { by: stored.approved_by() })
                }
                _ => Some(HoldOutcome::TimedOut),
            },
            Standing::Rejected => Some(match stored.rejection() {
                Some(no) => HoldOutcome::Rejected { by: no.by.clone(), comment: no.comment.clone() },
                None => HoldOutcome::TimedOut,
            }),
            Standing::Expired | Standing::Withdrawn => Some(HoldOutcome::TimedOut),
        }
    }
}

impl Hold {
    /// Its id, for the client's notice and the recording.
    pub fn id(&self) -> HoldId {
        self.id
    }

    /// What an approval is bound to.
    pub fn digest(&self) -> [u8; 32] {
        self.digest.0
    }

    /// The first moment at which nobody can approve any more.
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Waits for the answer, from this gateway or another.
    pub async fn outcome(&mut self) -> HoldOutcome {
        let mut changed = self.grants.approvals_changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (grants, id, digest, deadline) = (self.grants.clone(), self.id, self.digest, self.deadline);
            let look = self.grants.home.spawn(async move { grants.outcome(id, digest, deadline).await });
            // A runtime that goes away answers nothing: fails closed.
            if let Some(outcome) = look.await.unwrap_or(Some(HoldOutcome::TimedOut)) {
                self.settled = outcome != HoldOutcome::TimedOut;
                self.ended = match outcome {
                    HoldOutcome::Approved { .. } => APPROVED,
                    HoldOutcome::Rejected { .. } => REJECTED,
                    HoldOutcome::TimedOut => TIMED_OUT,
                };
                return outcome;
            }
            // At least a moment, so that a store that fails at the very end is not asked in a circle.
            let rest =
                between(self.grants.clock.now(), self.deadline).clamp(Duration::from_millis(1), LOOK_EVERY);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = changed.changed() => {}
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.grants.holds.count(self.ended);
        if self.settled {
            return;
        }
        let (grants, id) = (self.grants.clone(), self.id);
        self.grants.home.spawn(async move {
            let now = grants.clock.now();
            // Past its deadline it has expired; that is the truer word for the record.
            let _ = grants.state.expire(now).await;
            if let Err(error) = grants.state.withdraw(ApprovalId::Hold(id), now).await {
                tracing::warn!(%error, hold = %id, "a hold could not be withdrawn; it ends at its deadline");
            }
            grants.tell_waiters();
        });
    }
}

fn cannot_be_shown() -> Refusal {
    Refusal::new(
        RefusalCode::OperationRefused,
        "this operation needs approval, but it cannot be shown to an approver",
    )
    .detail("It is longer than 64 KiB or holds control characters.")
    .hint("Split it, or pass long values as parameters.")
}

fn nobody_to_ask(alias: &str) -> Refusal {
    Refusal::new(RefusalCode::OperationRefused, "this operation needs approval, but nobody can give it")
        .detail(format!("The approver group `{alias}` is not defined in the gateway's configuration."))
        .hint("Tell the operator.")
}

fn unusable(problem: &chaperone_core::approval::AskProblem) -> Refusal {
    Refusal::new(RefusalCode::OperationRefused, "this operation needs approval, but it cannot be asked for")
        .detail(format!("The terms of the approval are wrong: {problem}."))
        .hint("Tell the operator.")
}
