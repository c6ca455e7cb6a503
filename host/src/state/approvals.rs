//! Stored approvals: access requests and held operations, with their decisions.
//!
//! The rules are `chaperone_core::approval`'s. Here is only how they are applied one at a time: the transaction takes the
//! row's lock by writing to it, reads the whole approval, lets the rule speak, and writes what follows.

use super::amounts::{self, Spent, counted_as};
use super::audit::{Audit, note};
use super::{State, StateError, StoredWindow, micros, text, to_json, windows};
use chaperone_core::Timestamp;
use chaperone_core::approval::{
    Approval, ApprovalId, ApprovalProblem, Matter, Persons, State as Standing, Told, Verdict,
};
use chaperone_core::grant::{Amounts, Backing, Grant, Subject};
use chaperone_core::identity::{Caller, IdentityFacts};
use chaperone_core::name::{GroupAlias, HoldId, Principal, RequestId, WindowId};
use chaperone_core::window::{Opened, Window, WindowOf, microseconds};
use serde_json::json;
use sqlx::{Any, AnyConnection, Row, Transaction};
use std::time::Duration;

mod lists;
mod rows;

use rows::load;

/// An approval with its id and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApproval {
    /// Its id.
    pub id: ApprovalId,
    /// Who asked, and through what. None in rows of a version that did not keep it.
    pub caller: Option<Caller>,
    /// The approval.
    pub approval: Approval,
    /// The window that it opened, if it is about one and was approved.
    pub window: Option<WindowId>,
}

/// An access request to store.
#[derive(Debug, Clone)]
pub struct NewRequest {
    /// Its id.
    pub id: RequestId,
    /// Who asks.
    pub caller: Caller,
    /// What is asked, pending or (with `window`) approved by policy.
    pub approval: Approval,
    /// The window that opens at once.
    pub window: Option<Window>,
    /// The requester's key: the same key and terms are the same request.
    pub key: Option<String>,
    /// The grants that cover the requester: an open window that one of them backs is the answer.
    pub grants: Vec<Grant>,
    /// Pending requests that a principal may have.
    pub limit: i64,
    /// Windows that the policy may open to a principal within a day.
    pub opened_limit: i64,
    /// What the grant that answers counts.
    pub amounts: Amounts,
}

/// What one person says.
#[derive(Debug, Clone, Copy)]
pub struct Vote<'a> {
    /// Who.
    pub approver: &'a IdentityFacts,
    /// Who is one person.
    pub persons: &'a Persons,
    /// What.
    pub verdict: Verdict,
    /// In their words.
    pub comment: &'a str,
    /// The id of the window that opens if this is the last approval of a request.
    pub window: WindowId,
    /// How it opens.
    pub opening: &'a Opening,
}

/// How the policy lets a window open now that people have approved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// It closes then at the latest.
    pub until: Option<Timestamp>,
    /// What is counted.
    pub amounts: Amounts,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// It is stored.
    New(StoredApproval, Option<StoredWindow>),
    /// It was asked before and is answered as it stands.
    Repeated(StoredApproval, Option<StoredWindow>),
    /// A window at least as long is open already; windows are not extended.
    AlreadyOpen(StoredWindow),
    /// The key belongs to a request with other terms.
    KeyReused,
    /// Too many are pending.
    TooMany,
    /// Too many were opened by policy.
    TooManyOpened,
    /// The grant has no more windows for this caller yet.
    Spent(Spent),
}

/// A held operation to store.
#[derive(Debug, Clone)]
pub struct NewHold {
    /// Its id.
    pub id: HoldId,
    /// Whose operation it is.
    pub caller: Caller,
    /// What is asked.
    pub approval: Approval,
    /// Pending holds that a principal may have.
    pub limit: i64,
}

/// Why a decision was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecideProblem {
    /// There is none of this id.
    Unknown,
    /// A rule is against it.
    Rule(ApprovalProblem),
    /// The requester may have no other window yet.
    Spent(Spent),
}

/// First write of a transaction about a principal: later ones wait here.
const LOCK_PRINCIPAL: &str = "INSERT INTO principals (principal, touched) VALUES ($1, $2) \
     ON CONFLICT (principal) DO UPDATE SET touched = excluded.touched";

/// First write of a transaction about an approval: later ones wait here.
const LOCK_APPROVAL: &str = "UPDATE approvals SET touched = touched + 1 WHERE id = $1";

const INSERT: &str = "INSERT INTO approvals (id, kind, requester, target, matter, requirements, asked, deadline, \
     state, idempotency_key, window_id, node, caller, chain, touched) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0)";

/// States what it expects: a final state is never overwritten.
const SETTLE: &str =
    "UPDATE approvals SET state = $2, settled = $3, window_id = $4 WHERE id = $1 AND state = 'pending'";

const EXPIRE: &str = "UPDATE approvals SET state = 'expired', settled = $1 WHERE state = 'pending' AND deadline <= $1 \
     RETURNING id, target";

const WITHDRAW: &str = "UPDATE approvals SET state = 'withdrawn', settled = $2 WHERE id = $1 AND state = 'pending' \
     RETURNING requester, target";

impl State {
    /// Stores an access request, unless it was asked before or its answer is already open.
    pub async fn request(&self, new: NewRequest, now: Timestamp) -> Result<Requested, StateError> {
        let mut transaction = self.begin().await?;
        let requester = new.approval.requester().clone();
        lock_principal(&mut transaction, &requester, now).await?;
        if let Some(answer) = asked_before(&mut transaction, &new, now).await? {
            return Ok(answer);
        }
        if let Some(window) = open_already(&mut transaction, &new, now).await? {
            return Ok(Requested::AlreadyOpen(window));
        }
        // A key that belongs to other terms is looked at first, so the limit is only for what is new.
        if new.window.is_none() && pending(&mut transaction, &requester, "request", now).await? >= new.limit {
            return Ok(Requested::TooMany);
        }
        if new.window.is_some()
            && windows::opened_by_policy(&mut transaction, &requester, now).await? >= new.opened_limit
        {
            return Ok(Requested::TooManyOpened);
        }
        let target = new.approval.matter().target();
        if let Some(spent) = amounts::spent(&mut transaction, &requester, target, &new.amounts, now).await? {
            return Ok(Requested::Spent(spent));
        }
        let window_id = new.window.as_ref().map(Window::id);
        let stored = StoredApproval {
            id: ApprovalId::Request(new.id),
            caller: Some(new.caller.clone()),
            approval: new.approval,
            window: window_id,
        };
        insert(&mut transaction, &stored, new.key.as_deref(), &self.node, now).await?;
        let window = match new.window {
            None => {
                let target = stored.approval.matter().target().as_str();
                self.tell(&mut transaction, stored.id, Told::Asked, target, now).await?;
                None
            }
            Some(window) => {
                windows::insert(&mut transaction, &window, (new.id, &new.caller), "policy", now).await?;
                Some(StoredWindow { window, request: new.id, ended: None })
            }
        };
        transaction.commit().await?;
        Ok(Requested::New(stored, window))
    }

    /// Stores a held operation; `None` if too many of the principal's are pending.
    pub async fn hold(&self, new: NewHold, now: Timestamp) -> Result<Option<StoredApproval>, StateError> {
        let mut transaction = self.begin().await?;
        let requester = new.approval.requester().clone();
        lock_principal(&mut transaction, &requester, now).await?;
        if pending(&mut transaction, &requester, "hold", now).await? >= new.limit {
            return Ok(None);
        }
        let stored = StoredApproval {
            id: ApprovalId::Hold(new.id),
            caller: Some(new.caller),
            approval: new.approval,
            window: None,
        };
        insert(&mut transaction, &stored, None, &self.node, now).await?;
        let target = stored.approval.matter().target().as_str();
        self.tell(&mut transaction, stored.id, Told::Asked, target, now).await?;
        transaction.commit().await?;
        Ok(Some(stored))
    }

    /// One person decides; `members` says whom an approver group means today.
    pub async fn decide(
        &self,
        id: ApprovalId,
        members: impl Fn(&GroupAlias) -> Vec<Subject> + Send,
        vote: Vote<'_>,
        now: Timestamp,
    ) -> Result<Result<StoredApproval, DecideProblem>, StateError> {
        let Vote { approver, persons, verdict, comment, .. } = vote;
        let mut transaction = self.begin().await?;
        let locked = sqlx::query(LOCK_APPROVAL).bind(id.to_string()).execute(&mut *transaction).await?;
        if locked.rows_affected() == 0 {
            return Ok(Err(DecideProblem::Unknown));
        }
        let Some(mut stored) = load(&mut transaction, id).await? else {
            return Ok(Err(DecideProblem::Unknown));
        };
        stored.approval.renew_members(members);
        let standing = match stored.approval.decide(approver, persons, verdict, comment, now) {
            Ok(standing) => standing,
            Err(problem) => return Ok(Err(DecideProblem::Rule(problem))),
        };
        write_decision(&mut transaction, &stored, now).await?;
        if standing == Standing::Approved {
            match open_approved(&mut transaction, &stored, &vote, now).await? {
                Ok(window) => stored.window = window,
                // Nothing of this vote is kept: it may be given again when there is a window to open.
                Err(spent) => return Ok(Err(DecideProblem::Spent(spent))),
            }
        }
        if standing != Standing::Pending {
            settle(&mut transaction, &stored, standing, now).await?;
            let target = stored.approval.matter().target().as_str();
            self.tell(&mut transaction, id, Told::of(standing), target, now).await?;
        }
        transaction.commit().await?;
        Ok(Ok(stored))
    }

    /// Nobody waits any more. What is settled already stays as it is.
    pub async fn withdraw(&self, id: ApprovalId, now: Timestamp) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(WITHDRAW)
            .bind(id.to_string())
            .bind(micros(now))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else { return Ok(()) };
        let (actor, target): (String, String) = (row.try_get("requester")?, row.try_get("target")?);
        let audit = event(id, "withdrawn", &actor, &target);
        note(&mut transaction, audit.as_audit(json!({})), now).await?;
        self.tell(&mut transaction, id, Told::Withdrawn, &target, now).await?;
        Ok(transaction.commit().await?)
    }

    /// Settles everything whose deadline has passed and says how many that were.
    pub async fn expire(&self, now: Timestamp) -> Result<usize, StateError> {
        // Looked for first, so that the usual answer, nothing, costs no write.
        let overdue =
            sqlx::query("SELECT id FROM approvals WHERE state = 'pending' AND deadline <= $1 LIMIT 1")
                .bind(micros(now))
                .fetch_optional(&self.read)
                .await?;
        if overdue.is_none() {
            return Ok(0);
        }
        let mut transaction = self.begin().await?;
        let rows = sqlx::query(EXPIRE).bind(micros(now)).fetch_all(&mut *transaction).await?;
        for row in &rows {
            let target: String = row.try_get("target")?;
            let id = text(row, "id")?;
            let audit = event(id, "expired", "chaperone", &target);
            note(&mut transaction, audit.as_audit(json!({})), now).await?;
            self.tell(&mut transaction, id, Told::Expired, &target, now).await?;
        }
        transaction.commit().await?;
        Ok(rows.len())
    }

    /// One approval, with its decisions.
    pub async fn approval(&self, id: ApprovalId) -> Result<Option<StoredApproval>, StateError> {
        let mut connection = self.read.acquire().await?;
        load(&mut connection, id).await
    }
}

async fn lock_principal(
    transaction: &mut Transaction<'static, Any>,
    principal: &Principal,
    now: Timestamp,
) -> Result<(), StateError> {
    sqlx::query(LOCK_PRINCIPAL)
        // Whatever the provider is called: windows are counted by person.
        .bind(counted_as(principal))
        .bind(micros(now))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// The same request as before: by its key, or the same terms still pending.
async fn asked_before(
    transaction: &mut Transaction<'static, Any>,
    new: &NewRequest,
    now: Timestamp,
) -> Result<Option<Requested>, StateError> {
    let requester = new.approval.requester();
    if let Some(key) = &new.key {
        let row = sqlx::query("SELECT id FROM approvals WHERE requester = $1 AND idempotency_key = $2")
            .bind(requester.as_str())
            .bind(key.as_str())
            .fetch_optional(&mut **transaction)
            .await?;
        if let Some(row) = row {
            let Some(stored) = load(transaction, text(&row, "id")?).await? else { return Ok(None) };
            let chain = stored.caller.as_ref().map(Caller::chain);
            if stored.approval.matter() != new.approval.matter() || chain != Some(new.caller.chain()) {
                return Ok(Some(Requested::KeyReused));
            }
            let window = window_of(transaction, &stored).await?;
            return Ok(Some(Requested::Repeated(stored, window)));
        }
    }
    let rows = sqlx::query(
        "SELECT id FROM approvals WHERE requester = $1 AND kind = 'request' AND target = $2 AND state = 'pending' \
         AND deadline > $3 AND chain = $4 ORDER BY asked LIMIT $5",
    )
    .bind(requester.as_str())
    .bind(new.approval.matter().target().as_str())
    .bind(micros(now))
    .bind(new.caller.chain())
    .bind(new.limit)
    .fetch_all(&mut **transaction)
    .await?;
    for row in &rows {
        let Some(stored) = load(transaction, text(row, "id")?).await? else { continue };
        if same_terms(stored.approval.matter(), new.approval.matter()) {
            return Ok(Some(Requested::Repeated(stored, None)));
        }
    }
    Ok(None)
}

/// Asking again in other words is not another request: approvers see one.
fn same_terms(one: &Matter, other: &Matter) -> bool {
    match (one, other) {
        (Matter::Window(one), Matter::Window(other)) => {
            one.target == other.target && one.seconds == other.seconds && one.ticket == other.ticket
        }
        _ => one == other,
    }
}

/// An open window of the requester that is long enough and that a grant still backs.
async fn open_already(
    transaction: &mut Transaction<'static, Any>,
    new: &NewRequest,
    now: Timestamp,
) -> Result<Option<StoredWindow>, StateError> {
    let Matter::Window(terms) = new.approval.matter() else { return Ok(None) };
    let wanted = Duration::from_secs(terms.seconds);
    let open = windows::open_in(transaction, &new.caller, &terms.target, now).await?;
    Ok(open.filter(|open| {
        let backed = new.grants.iter().any(|grant| grant.backs(&open.window) == Backing::Backed);
        backed && open.window.length() >= wanted
    }))
}

async fn pending(
    transaction: &mut Transaction<'static, Any>,
    requester: &Principal,
    kind: &'static str,
    now: Timestamp,
) -> Result<i64, StateError> {
    let row = sqlx::query(
        "SELECT count(*) AS pending FROM approvals WHERE requester = $1 AND kind = $2 AND state = 'pending' \
         AND deadline > $3",
    )
    .bind(requester.as_str())
    .bind(kind)
    .bind(micros(now))
    .fetch_one(&mut **transaction)
    .await?;
    Ok(row.try_get("pending")?)
}

async fn insert(
    transaction: &mut Transaction<'static, Any>,
    stored: &StoredApproval,
    key: Option<&str>,
    node: &str,
    now: Timestamp,
) -> Result<(), StateError> {
    let approval = &stored.approval;
    if stored.caller.as_ref().is_none_or(|caller| caller.principal != *approval.requester()) {
        return Err(StateError::Unreadable("caller"));
    }
    let kind = match stored.id {
        ApprovalId::Request(_) => "request",
        ApprovalId::Hold(_) => "hold",
    };
    sqlx::query(INSERT)
        .bind(stored.id.to_string())
        .bind(kind)
        .bind(approval.requester().as_str())
        .bind(approval.matter().target().as_str())
        .bind(to_json(approval.matter(), "matter")?)
        .bind(to_json(&approval.requirements(), "requirements")?)
        .bind(micros(approval.asked()))
        .bind(micros(approval.deadline()))
        // By its own words, not by the clock: what is stored is what was asked.
        .bind(approval.state(approval.asked()).as_str())
        .bind(key.map(str::to_owned))
        .bind(stored.window.map(|window| window.to_string()))
        .bind(node)
        .bind(to_json(&stored.caller, "caller")?)
        .bind(stored.caller.as_ref().map(Caller::chain))
        .execute(&mut **transaction)
        .await?;
    let audit = event(stored.id, "asked", approval.requester().as_str(), approval.matter().target().as_str());
    note(transaction, audit.as_audit(json!({ "matter": approval.matter(), "caller": stored.caller })), now)
        .await
}

async fn write_decision(
    transaction: &mut Transaction<'static, Any>,
    stored: &StoredApproval,
    now: Timestamp,
) -> Result<(), StateError> {
    let Some(decided) = stored.approval.decisions().last() else {
        return Err(StateError::Unreadable("decisions"));
    };
    sqlx::query(
        "INSERT INTO decisions (approval, principal, verdict, comment, decided, through) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(stored.id.to_string())
    .bind(decided.by.as_str())
    .bind(decided.verdict.as_str())
    .bind(decided.comment.as_str())
    .bind(micros(decided.at))
    .bind(to_json(&decided.through, "through")?)
    .execute(&mut **transaction)
    .await?;
    let audit = event(stored.id, "decided", decided.by.as_str(), stored.approval.matter().target().as_str());
    let detail = json!({ "verdict": decided.verdict, "comment": decided.comment });
    note(transaction, audit.as_audit(detail), now).await
}

/// The window of an approved request opens at the moment of the last approval, not when it was asked for.
async fn open_approved(
    transaction: &mut Transaction<'static, Any>,
    stored: &StoredApproval,
    vote: &Vote<'_>,
    now: Timestamp,
) -> Result<Result<Option<WindowId>, Spent>, StateError> {
    let (ApprovalId::Request(request), Matter::Window(terms)) = (stored.id, stored.approval.matter()) else {
        return Ok(Ok(None));
    };
    let requester = stored.approval.requester();
    lock_principal(transaction, requester, now).await?;
    let Vote { window: id, opening: Opening { until, amounts }, .. } = *vote;
    if let Some(spent) = amounts::spent(transaction, requester, &terms.target, amounts, now).await? {
        return Ok(Err(spent));
    }
    let of =
        WindowOf { id, principal: requester.clone(), target: terms.target.clone(), opened: Opened::Approved };
    let length = Duration::from_secs(terms.seconds);
    let window = Window::open(of, now, length, length).map_err(|_| StateError::Unreadable("matter"))?;
    let window = match until {
        None => Some(window),
        Some(until) => window.ended(microseconds(*until)),
    };
    // The policy was asked a moment ago whether these are its hours.
    let window = window.ok_or(StateError::Unreadable("hours"))?;
    // Fails closed: a window that is bound to nobody would be anybody's of this principal.
    let caller = stored.caller.as_ref().ok_or(StateError::Unreadable("caller"))?;
    windows::insert(transaction, &window, (request, caller), vote.approver.principal.as_str(), now).await?;
    Ok(Ok(Some(id)))
}

async fn settle(
    transaction: &mut Transaction<'static, Any>,
    stored: &StoredApproval,
    standing: Standing,
    now: Timestamp,
) -> Result<(), StateError> {
    let done = sqlx::query(SETTLE)
        .bind(stored.id.to_string())
        .bind(standing.as_str())
        .bind(micros(now))
        .bind(stored.window.map(|window| window.to_string()))
        .execute(&mut **transaction)
        .await?;
    // Cannot happen while the row is locked; if it does, nothing of this transaction counts.
    if done.rows_affected() != 1 {
        return Err(StateError::Unreadable("state"));
    }
    let word = match standing {
        Standing::Approved => "approved",
        _ => "rejected",
    };
    let audit = event(stored.id, word, "chaperone", stored.approval.matter().target().as_str());
    note(transaction, audit.as_audit(json!({ "window": stored.window })), now).await
}

async fn window_of(
    connection: &mut AnyConnection,
    stored: &StoredApproval,
) -> Result<Option<StoredWindow>, StateError> {
    match stored.window {
        None => Ok(None),
        Some(id) => windows::by_id(connection, id).await,
    }
}

/// The parts of an audit event about an approval.
struct Event<'a> {
    name: String,
    actor: &'a str,
    subject: String,
    target: &'a str,
}

fn event<'a>(id: ApprovalId, what: &'static str, actor: &'a str, target: &'a str) -> Event<'a> {
    let kind = match id {
        ApprovalId::Request(_) => "request",
        ApprovalId::Hold(_) => "hold",
    };
    Event { name: format!("{kind}.{what}"), actor, subject: id.to_string(), target }
}

impl Event<'_> {
    fn as_audit(&self, detail: serde_json::Value) -> Audit<'_> {
        Audit { event: &self.name, actor: self.actor, subject: &self.subject, target: self.target, detail }
    }
}
