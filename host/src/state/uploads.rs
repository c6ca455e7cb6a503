//! Which files of recordings are in the store outside, and which gateway brings which.
//!
//! The queue itself is the folder of recordings: whatever is final there and not noted here as stored has to be brought. So
//! nothing is forgotten when a gateway dies between sealing and noting. A claim only spares work: what is brought twice is
//! found there the second time, with the same bytes.

use super::{State, StateError, micros, moment};
use crate::recorder::Final;
use chaperone_core::Timestamp;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};

/// A file that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Since when.
    pub settled: Timestamp,
    /// SHA-256 of what is there, as it was read back.
    pub digest: String,
}

/// A gateway takes its own claims over: after a crash it need not wait for their end.
const CLAIM: &str = "INSERT INTO uploads (store, folder, name, node, attempts, due, state) \
     VALUES ($1, $2, $3, $4, 1, $5, 'waiting') ON CONFLICT (store, folder, name) DO UPDATE \
     SET node = excluded.node, due = excluded.due, attempts = uploads.attempts + 1 \
     WHERE uploads.state = 'waiting' AND (uploads.node = excluded.node OR uploads.due <= $6) RETURNING attempts";

/// That it is there is true whoever has claimed it meanwhile, and also if it came there after somebody had deleted it.
const STORED: &str = "UPDATE uploads SET state = 'stored', settled = $4, digest = $5, error = NULL \
     WHERE store = $1 AND folder = $2 AND name = $3 AND state <> 'stored'";

/// Also of a file that nobody has noted to be there.
const DELETED: &str = "INSERT INTO uploads (store, folder, name, node, attempts, due, state, settled) \
     VALUES ($1, $2, $3, $4, 0, $5, 'deleted', $5) ON CONFLICT (store, folder, name) DO UPDATE \
     SET state = 'deleted', settled = excluded.settled, error = NULL";

/// States what it expects: who lost the claim says nothing about the attempt of another.
const FAILED: &str = "UPDATE uploads SET due = $5, error = $6 \
     WHERE store = $1 AND folder = $2 AND name = $3 AND attempts = $4 AND state = 'waiting'";

impl State {
    /// Claims a file for this gateway until `until`, and says the how many-th attempt that is. None: it is stored, or another
    /// gateway has it.
    pub async fn claim_upload(
        &self,
        store: &str,
        file: &Final,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<i64>, StateError> {
        let row = sqlx::query(CLAIM)
            .bind(store)
            .bind(file.folder())
            .bind(file.name())
            .bind(&self.node)
            .bind(micros(until))
            .bind(micros(now))
            .fetch_optional(&self.write)
            .await?;
        row.map(|row| row.try_get("attempts")).transpose().map_err(StateError::from)
    }

    /// Notes that a file is in the store, with this SHA-256.
    pub async fn upload_stored(
        &self,
        store: &str,
        file: &Final,
        digest: &str,
        now: Timestamp,
    ) -> Result<(), StateError> {
        sqlx::query(STORED)
            .bind(store)
            .bind(file.folder())
            .bind(file.name())
            .bind(micros(now))
            .bind(digest)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Notes why an attempt failed, and when the next is due.
    pub async fn upload_failed(
        &self,
        store: &str,
        file: &Final,
        attempt: i64,
        error: &str,
        due: Timestamp,
    ) -> Result<(), StateError> {
        sqlx::query(FAILED)
            .bind(store)
            .bind(file.folder())
            .bind(file.name())
            .bind(attempt)
            .bind(micros(due))
            .bind(error)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// Notes that a file is in the store no more, and is not to come there again.
    pub async fn upload_deleted(&self, store: &str, file: &Final, now: Timestamp) -> Result<(), StateError> {
        sqlx::query(DELETED)
            .bind(store)
            .bind(file.folder())
            .bind(file.name())
            .bind(&self.node)
            .bind(micros(now))
            .execute(&self.write)
            .await?;
        Ok(())
    }

    /// The files of a folder that were deleted in the store, by name.
    pub async fn uploads_deleted(&self, store: &str, folder: &str) -> Result<BTreeSet<String>, StateError> {
        let rows =
            sqlx::query("SELECT name FROM uploads WHERE store = $1 AND folder = $2 AND state = 'deleted'")
                .bind(store)
                .bind(folder)
                .fetch_all(&self.read)
                .await?;
        rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
    }

    /// The files of a folder that are in the store, by name.
    pub async fn uploads_stored(
        &self,
        store: &str,
        folder: &str,
    ) -> Result<BTreeMap<String, Stored>, StateError> {
        let rows = sqlx::query(
            "SELECT name, settled, digest FROM uploads WHERE store = $1 AND folder = $2 AND state = 'stored'",
        )
        .bind(store)
        .bind(folder)
        .fetch_all(&self.read)
        .await?;
        let stored = |row: &sqlx::any::AnyRow| {
            let stored = Stored { settled: moment(row, "settled")?, digest: row.try_get("digest")? };
            Ok((row.try_get("name")?, stored))
        };
        rows.iter().map(stored).collect()
    }
}
