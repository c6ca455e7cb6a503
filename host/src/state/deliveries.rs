//! The outbox: what channels are to be told of approvals.
//!
//! A row is written in the transaction that asks or settles an approval, so that nothing is told that did not happen and
//! nothing that happened is forgotten. It names the approval and holds none of its text. Whoever sends claims a row by
//! moving its `due` on; a gateway that dies with a claim leaves a row that is due again a little later, for any gateway.
//! So each message is sent at least once, and by one gateway at a time.
//!
//! What may go wrong: a channel that does not answer. Its rows wait, [`MAX_WAITING`] of them at most, and are given up in
//! the end; all are gone after [`KEPT`].

use super::{LIST_LIMIT, State, StateError, micros, moment, moment_or_none, name, text};
use chaperone_core::Timestamp;
use chaperone_core::approval::{ApprovalId, Told};
use chaperone_core::name::{ChannelName, DeliveryId, TargetName};
use chaperone_core::window::after;
use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use std::time::Duration;

/// Messages of one channel that wait; what comes on top is kept as failed, and sent to nobody.
pub(super) const MAX_WAITING: i64 = 10_000;

/// How long a message is tried.
pub(super) const TRIED: Duration = Duration::from_secs(24 * 3600);

/// How long a row is kept.
pub(super) const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a channel is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The channel.
    pub channel: ChannelName,
    /// Of approvals on these targets; empty: on all.
    pub targets: Vec<TargetName>,
    /// Of these events; empty: of all.
    pub events: Vec<Told>,
}

impl Route {
    /// Whether the channel has to do with a target.
    pub fn covers(&self, target: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|one| one.as_str() == target)
    }

    fn wants(&self, told: Told, target: &str) -> bool {
        self.covers(target) && (self.events.is_empty() || self.events.contains(&told))
    }
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It is sent when it is due.
    Waiting,
    /// Its receiver has taken it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Waiting => "waiting",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
        }
    }
}

/// One message to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Its id, the same at every attempt.
    pub id: DeliveryId,
    /// To which channel.
    pub channel: ChannelName,
    /// About which approval.
    pub approval: ApprovalId,
    /// What is told.
    pub event: Told,
    /// On which target.
    pub target: TargetName,
    /// How often it was sent, or is being sent.
    pub attempts: i64,
    /// When what it tells of happened.
    pub made: Timestamp,
    /// When it is sent next. While it is being sent, when that counts as broken off.
    pub due: Timestamp,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it was delivered or given up.
    pub settled: Option<Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

const INSERT: &str = "INSERT INTO deliveries (id, channel, approval, event, target, attempts, made, due, state, settled, error) \
     VALUES ($1, $2, $3, $4, $5, 0, $6, $6, $7, $8, $9) ON CONFLICT DO NOTHING";

/// The conditions stand twice: of two gateways that claim at once, the second waits for the first and then looks again.
const CLAIM: &str = "UPDATE deliveries SET due = $3, attempts = attempts + 1 WHERE id IN (SELECT id FROM deliveries \
     WHERE channel = $1 AND state = 'waiting' AND due <= $2 ORDER BY due, id LIMIT $4) \
     AND state = 'waiting' AND due <= $2 RETURNING *";

/// That it was delivered is true whoever has claimed it meanwhile.
const DELIVERED: &str = "UPDATE deliveries SET state = 'delivered', settled = $2, error = NULL WHERE id = $1 AND state <> 'delivered'";

/// States what it expects: who lost the claim says nothing about the attempt of another.
const NOT_DELIVERED: &str = "UPDATE deliveries SET state = $3, due = $4, settled = $5, error = $6 \
     WHERE id = $1 AND attempts = $2 AND state = 'waiting'";

const GIVE_UP: &str = "UPDATE deliveries SET state = 'failed', settled = $1, error = COALESCE(error, $3) \
     WHERE state = 'waiting' AND due <= $1 AND made <= $2";

impl State {
    /// The same store for a gateway that tells these channels.
    #[must_use]
    pub fn telling(self, routes: Vec<Route>) -> Self {
        State { routes: routes.into(), ..self }
    }

    /// Writes a row for each channel that wants to know, in the transaction of the change.
    pub(super) async fn tell(
        &self,
        transaction: &mut Transaction<'static, Any>,
        approval: ApprovalId,
        told: Told,
        target: &str,
        now: Timestamp,
    ) -> Result<(), StateError> {
        for route in self.routes.iter().filter(|route| route.wants(told, target)) {
            let waiting =
                "SELECT count(*) AS waiting FROM deliveries WHERE channel = $1 AND state = 'waiting'";
            let row = sqlx::query(waiting).bind(route.channel.as_str()).fetch_one(&mut **transaction).await?;
            let full = row.try_get::<i64, _>("waiting")? >= MAX_WAITING;
            let state = if full { DeliveryState::Failed } else { DeliveryState::Waiting };
            sqlx::query(INSERT)
                .bind(DeliveryId::new(uuid::Uuid::now_v7()).to_string())
                .bind(route.channel.as_str())
                .bind(approval.to_string())
                .bind(told.as_str())
                .bind(target)
                .bind(micros(now))
                .bind(state.as_str())
                .bind(full.then(|| micros(now)))
                .bind(full.then(|| format!("{MAX_WAITING} messages wait for this channel already")))
                .execute(&mut **transaction)
                .await?;
        }
        Ok(())
    }

    /// Claims up to `most` messages of a channel that are due, until `end`: then they are due again.
    pub async fn claim_deliveries(
        &self,
        channel: &ChannelName,
        most: i64,
        now: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<Delivery>, StateError> {
        // Looked for first, so that the usual answer, nothing, costs no write.
        let due = sqlx::query(
            "SELECT id FROM deliveries WHERE channel = $1 AND state = 'waiting' AND due <= $2 LIMIT 1",
        )
        .bind(channel.as_str())
        .bind(micros(now))
        .fetch_optional(&self.read)
        .await?;
        if due.is_none() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(CLAIM)
            .bind(channel.as_str())
            .bind(micros(now))
            .bind(micros(end))
            .bind(most)
            .fetch_all(&self.write)
            .await?;
        rows.iter().map(stored).collect()
    }

    /// Notes that a message was taken by its receiver.
    pub async fn delivered(&self, id: DeliveryId, now: Timestamp) -> Result<(), StateError> {
        sqlx::query(DELIVERED).bind(id.to_string()).bind(micros(now)).execute(&self.write).await?;
        Ok(())
    }

    /// Notes why an attempt failed, and when the next is due; none: it is given up.
    pub async fn not_delivered(
        &self,
        delivery: &Delivery,
        error: &str,
        next: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let state = if next.is_some() { DeliveryState::Waiting } else { DeliveryState::Failed };
        sqlx::query(NOT_DELIVERED)
            .bind(delivery.id.to_string())
            .bind(delivery.attempts)
            .bind(state.as_str())
            .bind(micros(next.unwrap_or(now)))
            .bind(next.is_none().then(|| micros(now)))
            .bind(error)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Gives up what nobody sends (its channel is configured nowhere any more), says how many that were, and removes what is old.
    pub async fn prune_deliveries(&self, now: Timestamp) -> Result<u64, StateError> {
        let before = |length: Duration| {
            micros(now).saturating_sub(i64::try_from(length.as_micros()).unwrap_or(i64::MAX))
        };
        let given_up = sqlx::query(GIVE_UP)
            .bind(micros(now))
            .bind(before(TRIED))
            .bind("no gateway has sent it: is its channel still configured?")
            .execute(&self.write)
            .await?;
        sqlx::query("DELETE FROM deliveries WHERE made < $1").bind(before(KEPT)).execute(&self.write).await?;
        Ok(given_up.rows_affected())
    }

    /// The newest messages, of all channels.
    pub async fn deliveries(&self) -> Result<Vec<Delivery>, StateError> {
        let rows = sqlx::query("SELECT * FROM deliveries ORDER BY made DESC, id DESC LIMIT $1")
            .bind(LIST_LIMIT)
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(stored).collect()
    }
}

impl Delivery {
    /// When it is given up.
    pub fn ends(&self) -> Timestamp {
        after(self.made, TRIED).unwrap_or(self.made)
    }
}

fn stored(row: &AnyRow) -> Result<Delivery, StateError> {
    let state = match row.try_get::<String, _>("state")?.as_str() {
        "waiting" => DeliveryState::Waiting,
        "delivered" => DeliveryState::Delivered,
        "failed" => DeliveryState::Failed,
        _ => return Err(StateError::Unreadable("state")),
    };
    Ok(Delivery {
        id: text(row, "id")?,
        channel: name(row, "channel")?,
        approval: text(row, "approval")?,
        event: text(row, "event")?,
        target: name(row, "target")?,
        attempts: row.try_get("attempts")?,
        made: moment(row, "made")?,
        due: moment(row, "due")?,
        state,
        settled: moment_or_none(row, "settled")?,
        error: row.try_get("error")?,
    })
}
