//! Summaries of sessions, so that a list needs no recording to be opened.

use super::audit::{Audit, note};
use super::{
    LIST_LIMIT, State, StateError, json_or_none, micros, moment, moment_or_none, name, text, to_json,
};
use chaperone_core::Timestamp;
use chaperone_core::approval::Told;
use chaperone_core::identity::Caller;
use chaperone_core::name::{Principal, SessionId, TargetName, WindowId};
use serde::Serialize;
use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

/// A session that begins.
#[derive(Debug, Clone)]
pub struct SessionStart {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub caller: Caller,
    /// On what.
    pub target: TargetName,
    /// In which window.
    pub window: WindowId,
}

/// A session as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub principal: Principal,
    /// The caller's kind, in its word.
    pub kind: String,
    /// Who it is, and through what. None in rows of a version that did not keep it.
    pub caller: Option<Caller>,
    /// On what.
    pub target: TargetName,
    /// In which window.
    pub window: WindowId,
    /// The gateway that carries or carried it.
    pub node: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; none while it is live.
    pub ended: Option<Timestamp>,
    /// Why it ended.
    pub end_reason: Option<String>,
}

impl State {
    /// Notes that a session began.
    pub async fn session_started(&self, session: &SessionStart, now: Timestamp) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO sessions (id, principal, kind, target, window_id, node, started, caller) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(session.id.to_string())
        .bind(session.caller.principal.as_str())
        .bind(session.caller.kind.as_str())
        .bind(session.target.as_str())
        .bind(session.window.to_string())
        .bind(self.node.as_str())
        .bind(micros(now))
        .bind(to_json(&session.caller, "caller")?)
        .execute(&mut *transaction)
        .await?;
        let audit = Audit {
            event: "session.started",
            actor: session.caller.principal.as_str(),
            subject: &session.id.to_string(),
            target: session.target.as_str(),
            detail: json!({ "window": session.window, "kind": session.caller.kind, "caller": session.caller }),
        };
        note(&mut transaction, audit, now).await?;
        Ok(transaction.commit().await?)
    }

    /// Notes that a session ended, once.
    pub async fn session_ended(&self, id: SessionId, reason: &str, now: Timestamp) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(
            "UPDATE sessions SET ended = $2, end_reason = $3 WHERE id = $1 AND ended IS NULL \
             RETURNING principal, target",
        )
        .bind(id.to_string())
        .bind(micros(now))
        .bind(reason)
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = row else { return Ok(()) };
        let audit = Audit {
            event: "session.ended",
            actor: &row.try_get::<String, _>("principal")?,
            subject: &id.to_string(),
            target: &row.try_get::<String, _>("target")?,
            detail: json!({ "reason": reason }),
        };
        note(&mut transaction, audit, now).await?;
        Ok(transaction.commit().await?)
    }

    /// A session, wherever it is carried.
    pub async fn session(&self, id: SessionId) -> Result<Option<SessionRow>, StateError> {
        let row = sqlx::query("SELECT * FROM sessions WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.read)
            .await?;
        row.as_ref().map(stored).transpose()
    }

    /// The newest sessions, of one principal or of all, live ones included.
    pub async fn sessions(&self, of: Option<&Principal>) -> Result<Vec<SessionRow>, StateError> {
        let rows = match of {
            Some(principal) => {
                sqlx::query(
                    "SELECT * FROM sessions WHERE principal = $1 ORDER BY started DESC, id DESC LIMIT $2",
                )
                .bind(principal.as_str())
                .bind(LIST_LIMIT)
                .fetch_all(&self.read)
                .await?
            }
            None => {
                sqlx::query("SELECT * FROM sessions ORDER BY started DESC, id DESC LIMIT $1")
                    .bind(LIST_LIMIT)
                    .fetch_all(&self.read)
                    .await?
            }
        };
        rows.iter().map(stored).collect()
    }

    /// Settles what a former process of this node left: its sessions are over, their places are free, and nobody waits for
    /// its holds.
    pub async fn settle_left_behind(&self, now: Timestamp) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "UPDATE sessions SET ended = $2, end_reason = 'the gateway stopped' WHERE node = $1 AND ended IS NULL",
        )
        .bind(self.node.as_str())
        .bind(micros(now))
        .execute(&mut *transaction)
        .await?;
        let holds = sqlx::query(
            "UPDATE approvals SET state = 'withdrawn', settled = $2 \
             WHERE node = $1 AND kind = 'hold' AND state = 'pending' RETURNING id, target",
        )
        .bind(self.node.as_str())
        .bind(micros(now))
        .fetch_all(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM places WHERE node = $1")
            .bind(self.node.as_str())
            .execute(&mut *transaction)
            .await?;
        for hold in &holds {
            let target: String = hold.try_get("target")?;
            self.tell(&mut transaction, text(hold, "id")?, Told::Withdrawn, &target, now).await?;
        }
        let audit = Audit {
            event: "gateway.started",
            actor: "chaperone",
            subject: &self.node,
            target: "",
            detail: json!({}),
        };
        note(&mut transaction, audit, now).await?;
        Ok(transaction.commit().await?)
    }
}

fn stored(row: &AnyRow) -> Result<SessionRow, StateError> {
    Ok(SessionRow {
        id: text(row, "id")?,
        principal: name(row, "principal")?,
        kind: row.try_get("kind")?,
        caller: json_or_none(row, "caller")?,
        target: name(row, "target")?,
        window: text(row, "window_id")?,
        node: row.try_get("node")?,
        started: moment(row, "started")?,
        ended: moment_or_none(row, "ended")?,
        end_reason: row.try_get("end_reason")?,
    })
}
