//! How far this gateway's clock has come, so that a restart does not go behind it.

use super::{State, StateError, micros, moment};
use chaperone_core::Timestamp;

impl State {
    /// The latest time that this gateway has noted.
    pub async fn furthest(&self) -> Result<Option<Timestamp>, StateError> {
        let row = sqlx::query("SELECT furthest FROM clock WHERE node = $1")
            .bind(&self.node)
            .fetch_optional(&self.read)
            .await?;
        row.map(|row| moment(&row, "furthest")).transpose()
    }

    /// Notes that this gateway's clock has come to `now`; an earlier time changes nothing.
    pub async fn clock_has_come_to(&self, now: Timestamp) -> Result<(), StateError> {
        sqlx::query(
            "INSERT INTO clock (node, furthest) VALUES ($1, $2) \
             ON CONFLICT (node) DO UPDATE SET furthest = excluded.furthest WHERE clock.furthest < excluded.furthest",
        )
        .bind(&self.node)
        .bind(micros(now))
        .execute(&self.write)
        .await?;
        Ok(())
    }
}
