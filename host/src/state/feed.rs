//! How far consumers of recordings have come, and which gateway reads which recording.
//!
//! A recording is read by one gateway at a time: it claims it for a while and renews the claim as it goes on. The claim only
//! spares work. What counts is that a cursor moves from where it was read to where it is now ([`Advance`]): of two gateways
//! that believe to have the claim one finds the cursor elsewhere, and nothing of what it wrote is kept.

use super::{State, StateError, micros};
use chaperone_core::Timestamp;
use chaperone_core::name::SessionId;
use sqlx::{Any, Row, Transaction};
use std::collections::BTreeSet;

/// Whether a recording is read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// More may come.
    Open,
    /// Nothing more comes.
    Done,
}

impl Standing {
    fn as_str(self) -> &'static str {
        match self {
            Standing::Open => "open",
            Standing::Done => "done",
        }
    }
}

/// A claim on a recording, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Events that the consumer has taken before.
    pub events: u64,
}

/// A cursor's next step. It counts only from where the cursor is.
#[derive(Debug, Clone, Copy)]
pub struct Advance<'a> {
    /// Whose cursor.
    pub consumer: &'a str,
    /// In which recording.
    pub session: SessionId,
    /// Events that were taken before.
    pub from: u64,
    /// Events that are taken now.
    pub to: u64,
    /// Whether more may come.
    pub standing: Standing,
    /// How long the claim holds from here on.
    pub until: Timestamp,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// The cursor stands where the step leads.
    Yes,
    /// Another gateway has gone on, or the recording is forgotten: nothing was kept.
    No,
}

const CLAIM: &str = "INSERT INTO feed_cursors (consumer, session, events, state, node, claimed) \
     VALUES ($1, $2, 0, 'open', $3, $4) ON CONFLICT (consumer, session) DO UPDATE \
     SET node = excluded.node, claimed = excluded.claimed \
     WHERE feed_cursors.state = 'open' AND (feed_cursors.node = excluded.node OR feed_cursors.claimed <= $5) \
     RETURNING events";

const ADVANCE: &str = "UPDATE feed_cursors SET events = $5, state = $6, claimed = $7 \
     WHERE consumer = $1 AND session = $2 AND node = $3 AND events = $4 AND state = 'open'";

impl State {
    /// Claims a recording for this gateway until `until`. None: it is read to its end, or another gateway has it.
    pub async fn claim_recording(
        &self,
        consumer: &str,
        session: SessionId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Claim>, StateError> {
        let row = sqlx::query(CLAIM)
            .bind(consumer)
            .bind(session.to_string())
            .bind(&self.node)
            .bind(micros(until))
            .bind(micros(now))
            .fetch_optional(&self.write)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let events = u64::try_from(row.try_get::<i64, _>("events")?);
        Ok(Some(Claim { events: events.map_err(|_| StateError::Unreadable("events"))? }))
    }

    /// Renews all claims of this gateway.
    pub async fn renew_claims(&self, consumer: &str, until: Timestamp) -> Result<(), StateError> {
        sqlx::query(
            "UPDATE feed_cursors SET claimed = $3 WHERE consumer = $1 AND node = $2 AND state = 'open'",
        )
        .bind(consumer)
        .bind(&self.node)
        .bind(micros(until))
        .execute(&self.write)
        .await?;
        Ok(())
    }

    /// Those recordings of `first ..= last` that a consumer has read to their end.
    pub async fn recordings_done(
        &self,
        consumer: &str,
        first: SessionId,
        last: SessionId,
    ) -> Result<BTreeSet<SessionId>, StateError> {
        let rows = sqlx::query(
            "SELECT session FROM feed_cursors \
             WHERE consumer = $1 AND session >= $2 AND session <= $3 AND state = 'done'",
        )
        .bind(consumer)
        .bind(first.to_string())
        .bind(last.to_string())
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(|row| super::text(row, "session")).collect()
    }

    /// Forgets how far a consumer has come: it begins anew.
    pub async fn forget_consumer(&self, consumer: &str) -> Result<(), StateError> {
        sqlx::query("DELETE FROM feed_cursors WHERE consumer = $1")
            .bind(consumer)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Moves a cursor, for a consumer that keeps nothing here.
    pub async fn advance(&self, step: Advance<'_>) -> Result<Moved, StateError> {
        let mut transaction = self.begin().await?;
        let moved = self.advance_in(&mut transaction, step).await?;
        transaction.commit().await?;
        Ok(moved)
    }

    /// Moves a cursor in the transaction of what the consumer keeps. It is the transaction's first statement.
    pub(super) async fn advance_in(
        &self,
        transaction: &mut Transaction<'static, Any>,
        step: Advance<'_>,
    ) -> Result<Moved, StateError> {
        let moved = sqlx::query(ADVANCE)
            .bind(step.consumer)
            .bind(step.session.to_string())
            .bind(&self.node)
            .bind(count(step.from))
            .bind(count(step.to))
            .bind(step.standing.as_str())
            .bind(micros(step.until))
            .execute(&mut **transaction)
            .await?;
        Ok(if moved.rows_affected() == 1 { Moved::Yes } else { Moved::No })
    }
}

pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
