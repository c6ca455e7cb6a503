//! Audit events: what changed in the control plane, written in the transaction that changed it.

use super::{LIST_LIMIT, State, StateError, micros, moment};
use chaperone_core::Timestamp;
use serde::Serialize;
use sqlx::{Any, Row, Transaction};

/// A fact to keep.
#[derive(Debug, Clone)]
pub struct Audit<'a> {
    /// Dotted stable name, e.g. `window.opened`.
    pub event: &'a str,
    /// Who did it: a principal, or `chaperone` for the gateway itself.
    pub actor: &'a str,
    /// The id of what changed.
    pub subject: &'a str,
    /// The target concerned; may be empty.
    pub target: &'a str,
    /// What a reader needs besides; never credentials, never data of a target.
    pub detail: serde_json::Value,
}

/// A kept fact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AuditEvent {
    /// Ids order as their events.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Dotted stable name.
    pub event: String,
    /// Who.
    pub actor: String,
    /// The id of what changed.
    pub subject: String,
    /// The target concerned.
    pub target: String,
    /// What a reader needs besides.
    pub detail: serde_json::Value,
}

const INSERT: &str = "INSERT INTO audit_events (id, moment, event, actor, subject, target, detail) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Keeps a fact in the transaction of the change.
pub(super) async fn note(
    transaction: &mut Transaction<'static, Any>,
    audit: Audit<'_>,
    now: Timestamp,
) -> Result<(), StateError> {
    sqlx::query(INSERT)
        .bind(format!("aud_{}", uuid::Uuid::now_v7().simple()))
        .bind(micros(now))
        .bind(audit.event)
        .bind(audit.actor)
        .bind(audit.subject)
        .bind(audit.target)
        .bind(audit.detail.to_string())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

impl State {
    /// Keeps a fact that has no row of its own (a configuration load, a sign-in).
    pub async fn audit(&self, audit: Audit<'_>, now: Timestamp) -> Result<(), StateError> {
        let mut transaction = self.begin().await?;
        note(&mut transaction, audit, now).await?;
        Ok(transaction.commit().await?)
    }

    /// The newest events, newest first.
    pub async fn audit_events(&self) -> Result<Vec<AuditEvent>, StateError> {
        let rows = sqlx::query("SELECT * FROM audit_events ORDER BY moment DESC, id DESC LIMIT $1")
            .bind(LIST_LIMIT)
            .fetch_all(&self.read)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(AuditEvent {
                    id: row.try_get("id")?,
                    at: moment(row, "moment")?,
                    event: row.try_get("event")?,
                    actor: row.try_get("actor")?,
                    subject: row.try_get("subject")?,
                    target: row.try_get("target")?,
                    detail: super::json(row, "detail")?,
                })
            })
            .collect()
    }
}
