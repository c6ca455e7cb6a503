//! Approvals from their rows.

use super::StoredApproval;
use crate::state::{StateError, json, json_or_none, moment, name, text};
use chaperone_core::approval::{
    Approval, ApprovalId, ApprovalParts, Decided, Matter, State as Standing, Verdict,
};
use chaperone_core::name::TargetName;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use std::collections::HashMap;

/// One approval with its decisions, read on a given connection.
pub(super) async fn load(
    connection: &mut AnyConnection,
    id: ApprovalId,
) -> Result<Option<StoredApproval>, StateError> {
    let row = sqlx::query("SELECT * FROM approvals WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let decisions = sqlx::query("SELECT * FROM decisions WHERE approval = $1 ORDER BY decided, principal")
        .bind(id.to_string())
        .fetch_all(connection)
        .await?;
    let decided = decisions.iter().map(decided).collect::<Result<_, _>>()?;
    stored(&row, decided).map(Some)
}

/// Approvals from their rows and from the rows of all their decisions.
pub(super) fn assemble(rows: &[AnyRow], decisions: &[AnyRow]) -> Result<Vec<StoredApproval>, StateError> {
    let mut by_approval: HashMap<String, Vec<Decided>> = HashMap::new();
    for row in decisions {
        by_approval.entry(row.try_get("approval")?).or_default().push(decided(row)?);
    }
    rows.iter()
        .map(|row| stored(row, by_approval.remove(&row.try_get::<String, _>("id")?).unwrap_or_default()))
        .collect()
}

fn decided(row: &AnyRow) -> Result<Decided, StateError> {
    let verdict = match row.try_get::<String, _>("verdict")?.as_str() {
        "approve" => Verdict::Approve,
        "reject" => Verdict::Reject,
        _ => return Err(StateError::Unreadable("verdict")),
    };
    Ok(Decided {
        by: name(row, "principal")?,
        verdict,
        comment: row.try_get("comment")?,
        at: moment(row, "decided")?,
        through: json(row, "through")?,
    })
}

fn stored(row: &AnyRow, decisions: Vec<Decided>) -> Result<StoredApproval, StateError> {
    let state =
        Standing::parse(&row.try_get::<String, _>("state")?).ok_or(StateError::Unreadable("state"))?;
    let matter: Matter = json(row, "matter")?;
    // The column is what queries look at; it must say what the matter says.
    if *matter.target() != name::<TargetName>(row, "target")? {
        return Err(StateError::Unreadable("target"));
    }
    let window: Option<String> = row.try_get("window_id")?;
    Ok(StoredApproval {
        id: text(row, "id")?,
        caller: json_or_none(row, "caller")?,
        approval: Approval::restore(ApprovalParts {
            requester: name(row, "requester")?,
            matter,
            requirements: json(row, "requirements")?,
            asked: moment(row, "asked")?,
            deadline: moment(row, "deadline")?,
            decisions,
            state,
        }),
        window: window.map(|id| id.parse()).transpose().map_err(|_| StateError::Unreadable("window_id"))?,
    })
}
