//! Stored windows. A row is written once; the only later change is an early end.

use super::amounts::counted_as;
use super::audit::{Audit, note};
use super::{LIST_LIMIT, State, StateError, micros, moment, moment_or_none, name, text};
use chaperone_core::Timestamp;
use chaperone_core::identity::Caller;
use chaperone_core::name::{Principal, RequestId, TargetName, WindowId};
use chaperone_core::window::{Opened, Window, WindowOf};
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Row, Transaction};

/// A window with what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredWindow {
    /// The window as it was opened.
    pub window: Window,
    /// The request that opened it.
    pub request: RequestId,
    /// How it was ended early, if it was.
    pub ended: Option<EndedWindow>,
}

/// How a window was ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedWindow {
    /// Which.
    pub id: WindowId,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Principal,
    /// Why.
    pub reason: String,
}

/// What ending a window did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndWindow {
    /// It is over now.
    Ended(EndedWindow),
    /// It was over already.
    AlreadyOver,
    /// There is none of this id.
    Unknown,
}

impl StoredWindow {
    /// Whether it is open: neither past nor ended early.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.window.state(now) == chaperone_core::window::WindowState::Open
    }
}

const INSERT: &str = "INSERT INTO windows (id, principal, target, opens, closes, opened, request, chain, person) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// Open windows of a caller on a target, the one that closes last first.
const OPEN: &str = "SELECT * FROM windows WHERE principal = $1 AND target = $2 AND opens <= $3 AND closes > $3 \
     AND ended IS NULL AND chain = $4 ORDER BY closes DESC LIMIT $5";

/// States what it expects: of two who end a window, the second finds nothing to change.
const END: &str = "UPDATE windows SET ended = $2, ended_by = $3, end_reason = $4 \
     WHERE id = $1 AND ended IS NULL AND closes > $2";

/// Writes a new window in the transaction that grants it.
pub(super) async fn insert(
    transaction: &mut Transaction<'static, Any>,
    window: &Window,
    (request, caller): (RequestId, &Caller),
    actor: &str,
    now: Timestamp,
) -> Result<(), StateError> {
    sqlx::query(INSERT)
        .bind(window.id().to_string())
        .bind(window.principal().as_str())
        .bind(window.target().as_str())
        .bind(micros(window.opens()))
        .bind(micros(window.closes()))
        .bind(window.opened().as_str())
        .bind(request.to_string())
        .bind(caller.chain())
        .bind(counted_as(window.principal()))
        .execute(&mut **transaction)
        .await?;
    let audit = Audit {
        event: "window.opened",
        actor,
        subject: &window.id().to_string(),
        target: window.target().as_str(),
        detail: json!({ "principal": window.principal(), "closes": window.closes(), "request": request, "caller": caller }),
    };
    note(transaction, audit, now).await
}

/// The open window of a caller on a target that closes last, read inside a transaction.
pub(super) async fn open_in(
    transaction: &mut Transaction<'static, Any>,
    caller: &Caller,
    target: &TargetName,
    now: Timestamp,
) -> Result<Option<StoredWindow>, StateError> {
    let row = sqlx::query(OPEN)
        .bind(caller.principal.as_str())
        .bind(target.as_str())
        .bind(micros(now))
        .bind(caller.chain())
        .bind(1_i64)
        .fetch_optional(&mut **transaction)
        .await?;
    row.as_ref().map(stored).transpose()
}

/// Windows that the policy has opened to a principal within the last day, also those that are over.
pub(super) async fn opened_by_policy(
    transaction: &mut Transaction<'static, Any>,
    principal: &Principal,
    now: Timestamp,
) -> Result<i64, StateError> {
    let row = sqlx::query(
        "SELECT count(*) AS opened FROM windows WHERE principal = $1 AND opens > $2 AND opened = $3",
    )
    .bind(principal.as_str())
    .bind(micros(now).saturating_sub(DAY_MICROS))
    .bind(Opened::Requested.as_str())
    .fetch_one(&mut **transaction)
    .await?;
    Ok(row.try_get("opened")?)
}

/// One window, read on a given connection.
pub(super) async fn by_id(
    connection: &mut AnyConnection,
    id: WindowId,
) -> Result<Option<StoredWindow>, StateError> {
    let row = sqlx::query("SELECT * FROM windows WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(stored).transpose()
}

impl State {
    /// All open windows of a caller on a target, the one that closes last first.
    pub async fn open_windows(
        &self,
        caller: &Caller,
        target: &TargetName,
        now: Timestamp,
    ) -> Result<Vec<StoredWindow>, StateError> {
        let rows = sqlx::query(OPEN)
            .bind(caller.principal.as_str())
            .bind(target.as_str())
            .bind(micros(now))
            .bind(caller.chain())
            .bind(LIST_LIMIT)
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(stored).collect()
    }

    /// One window.
    pub async fn window(&self, id: WindowId) -> Result<Option<StoredWindow>, StateError> {
        by_id(&mut *self.read.acquire().await?, id).await
    }

    /// The newest windows, of one principal or of all.
    pub async fn windows(&self, of: Option<&Principal>) -> Result<Vec<StoredWindow>, StateError> {
        let rows = match of {
            Some(principal) => {
                sqlx::query(
                    "SELECT * FROM windows WHERE principal = $1 ORDER BY opens DESC, id DESC LIMIT $2",
                )
                .bind(principal.as_str())
                .bind(LIST_LIMIT)
                .fetch_all(&self.read)
                .await?
            }
            None => {
                sqlx::query("SELECT * FROM windows ORDER BY opens DESC, id DESC LIMIT $1")
                    .bind(LIST_LIMIT)
                    .fetch_all(&self.read)
                    .await?
            }
        };
        rows.iter().map(stored).collect()
    }

    /// All that are open now, the one that closes first first.
    pub async fn all_open_windows(&self, now: Timestamp) -> Result<Vec<StoredWindow>, StateError> {
        let rows = sqlx::query(
            "SELECT * FROM windows WHERE opens <= $1 AND closes > $1 AND ended IS NULL ORDER BY closes, id LIMIT $2",
        );
        let rows = rows.bind(micros(now)).bind(LIST_LIMIT).fetch_all(&self.read).await?;
        rows.iter().map(stored).collect()
    }

    /// Ends a window early.
    pub async fn end_window(
        &self,
        id: WindowId,
        by: &Principal,
        reason: &str,
        now: Timestamp,
    ) -> Result<EndWindow, StateError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(END)
            .bind(id.to_string())
            .bind(micros(now))
            .bind(by.as_str())
            .bind(reason)
            .execute(&mut *transaction)
            .await?;
        let Some(window) = by_id(&mut transaction, id).await? else { return Ok(EndWindow::Unknown) };
        let (1, Some(ended)) = (done.rows_affected(), window.ended) else {
            return Ok(EndWindow::AlreadyOver);
        };
        let audit = Audit {
            event: "window.ended",
            actor: by.as_str(),
            subject: &id.to_string(),
            target: window.window.target().as_str(),
            detail: json!({ "principal": window.window.principal(), "reason": reason }),
        };
        note(&mut transaction, audit, now).await?;
        transaction.commit().await?;
        Ok(EndWindow::Ended(ended))
    }

    /// Windows ended early (by any gateway) whose own end is still ahead, the newest ends first. Bounded: more than
    /// `limit` can only be older ends, which a gateway that looks every second has seen before.
    pub async fn ended_early(&self, now: Timestamp, limit: i64) -> Result<Vec<EndedWindow>, StateError> {
        let rows = sqlx::query(
            "SELECT * FROM windows WHERE ended IS NOT NULL AND closes > $1 ORDER BY ended DESC LIMIT $2",
        )
        .bind(micros(now))
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.iter().filter_map(|row| stored(row).map(|window| window.ended).transpose()).collect()
    }
}

fn stored(row: &AnyRow) -> Result<StoredWindow, StateError> {
    let id = text(row, "id")?;
    let opened = match row.try_get::<String, _>("opened")?.as_str() {
        "requested" => Opened::Requested,
        "approved" => Opened::Approved,
        _ => return Err(StateError::Unreadable("opened")),
    };
    let of = WindowOf { id, principal: name(row, "principal")?, target: name(row, "target")?, opened };
    let window = Window::restore(of, moment(row, "opens")?, moment(row, "closes")?)
        .map_err(|_| StateError::Unreadable("closes"))?;
    let ended = match moment_or_none(row, "ended")? {
        None => None,
        Some(at) => {
            Some(EndedWindow { id, at, by: name(row, "ended_by")?, reason: row.try_get("end_reason")? })
        }
    };
    Ok(StoredWindow { window, request: text(row, "request")?, ended })
}
