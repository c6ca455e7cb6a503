//! What grants count: windows of a caller, and places in a window.
//!
//! What may go wrong: two gateways count at once, and each sees one less. Windows are counted in the transaction that opens one,
//! after the lock of whoever asks; places after the lock of the window.

use super::{State, StateError, micros, moment};
use chaperone_core::Timestamp;
use chaperone_core::approval::person;
use chaperone_core::grant::Amounts;
use chaperone_core::name::{Principal, TargetName, WindowId};
use chaperone_core::window::after;
use sqlx::{Any, Row, Transaction};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The newest windows first; the last of them is the one that has to be a day old.
const LATELY: &str = "SELECT opens FROM windows WHERE person = $1 AND target = $2 AND opens > $3 \
     ORDER BY opens DESC LIMIT $4";

const LAST_END: &str = "SELECT max(CASE WHEN ended IS NULL THEN closes ELSE ended END) AS last FROM windows \
     WHERE person = $1 AND target = $2";

/// First write of a transaction about a window's places: later ones wait here.
const LOCK_WINDOW: &str = "UPDATE windows SET person = person WHERE id = $1";

/// Why no window opens yet, and when one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// The last window ended too short a time ago.
    CoolDown(Timestamp),
    /// As many windows as a day has were opened.
    Today(Timestamp),
}

/// A session's place in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceId(uuid::Uuid);

/// The text by which windows of one person are counted.
pub(super) fn counted_as(principal: &Principal) -> String {
    person(principal).to_ascii_lowercase()
}

/// Whether another window of this principal may open on a target, counted in the transaction that opens it.
pub(super) async fn spent(
    transaction: &mut Transaction<'static, Any>,
    principal: &Principal,
    target: &TargetName,
    amounts: &Amounts,
    now: Timestamp,
) -> Result<Option<Spent>, StateError> {
    let person = counted_as(principal);
    if let Some(pause) = amounts.cool_down {
        let row =
            sqlx::query(LAST_END).bind(&person).bind(target.as_str()).fetch_one(&mut **transaction).await?;
        let last = super::moment_or_none(&row, "last")?;
        if let Some(until) = last.and_then(|last| after(last, pause)).filter(|until| now < *until) {
            return Ok(Some(Spent::CoolDown(until)));
        }
    }
    if let Some(most) = amounts.windows_per_day {
        let rows = sqlx::query(LATELY)
            .bind(&person)
            .bind(target.as_str())
            .bind(micros(now).saturating_sub(i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX)))
            .bind(i64::from(most))
            .fetch_all(&mut **transaction)
            .await?;
        if let Some(oldest) = rows.last().filter(|_| rows.len() >= usize::from(most)) {
            // Where time ends nothing opens any more: fails closed.
            let until = after(moment(oldest, "opens")?, DAY).unwrap_or(Timestamp::MAX);
            return Ok(Some(Spent::Today(until)));
        }
    }
    Ok(None)
}

impl State {
    /// Takes a place in a window that has `most` of them; none if all are taken.
    pub async fn take_place(
        &self,
        window: WindowId,
        most: u16,
        now: Timestamp,
    ) -> Result<Option<PlaceId>, StateError> {
        let mut transaction = self.begin().await?;
        sqlx::query(LOCK_WINDOW).bind(window.to_string()).execute(&mut *transaction).await?;
        let row = sqlx::query("SELECT count(*) AS taken FROM places WHERE window_id = $1")
            .bind(window.to_string())
            .fetch_one(&mut *transaction)
            .await?;
        if row.try_get::<i64, _>("taken")? >= i64::from(most) {
            return Ok(None);
        }
        let id = PlaceId(uuid::Uuid::now_v7());
        sqlx::query("INSERT INTO places (id, window_id, node, taken) VALUES ($1, $2, $3, $4)")
            .bind(id.0.simple().to_string())
            .bind(window.to_string())
            .bind(self.node.as_str())
            .bind(micros(now))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(id))
    }

    /// Gives a place back.
    pub async fn leave_place(&self, place: PlaceId) -> Result<(), StateError> {
        let leave = sqlx::query("DELETE FROM places WHERE id = $1").bind(place.0.simple().to_string());
        leave.execute(&self.write).await?;
        Ok(())
    }
}
