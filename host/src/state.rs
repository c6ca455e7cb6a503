//! What outlives a process: requests, windows, holds, sessions, the deny list, the outbox, the search index and audit events.
//!
//! One repository over two databases. SQLite (WAL, one writer) is the default; PostgreSQL lets several gateways share
//! one state. Every statement is the same text on both, run through sqlx's `Any` driver, and the same tests run on both. Only
//! full text is spelled in two ways, in `search`.
//!
//! What may go wrong: two gateways (or two tasks) change one thing at once. Every transaction therefore begins with a
//! *write* to the row that the change is about, which makes the second wait until the first has committed, and only then
//! reads and applies the rules of `chaperone-core`. The last write states what it expects (`WHERE state = 'pending'`)
//! and a transaction that changes nothing there is an error.

use chaperone_core::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, Row, SqlSafeStr, Transaction};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

mod amounts;
mod approvals;
mod audit;
mod clock;
mod deliveries;
mod denials;
mod feed;
mod keeping;
mod search;
mod sessions;
#[cfg(test)]
pub(crate) mod tests;
mod uploads;
mod windows;

pub use amounts::{PlaceId, Spent};
pub use approvals::{DecideProblem, NewHold, NewRequest, Opening, Requested, StoredApproval, Vote};
pub use audit::{Audit, AuditEvent};
pub use deliveries::{Delivery, DeliveryState, Route};
pub use denials::MAX_DENIALS;
pub use feed::{Advance, Claim, Moved, Standing};
pub use keeping::{
    Deletion, MAX_PRESERVATIONS, MayDelete, MayDeleteCopy, Preservation, Preserved, Preserving,
};
pub use search::{Entry, Facet, Found, Indexing, MAX_FOUND, Piece, Search, SearchProblem, snippet};
pub use sessions::{SessionRow, SessionStart};
pub use uploads::Stored;
pub use windows::{EndWindow, EndedWindow, StoredWindow};

/// Rows that a list returns at most: the newest. Bounds memory and the answer's size.
pub const LIST_LIMIT: i64 = 500;

/// Connections that read SQLite at once; WAL lets them run beside the writer.
const SQLITE_READERS: u32 = 4;
/// Room that a SQLite file has in reserve: 2 MiB, thousands of small changes.
const RESERVE: &str = "INSERT INTO reserve VALUES (zeroblob(2097152))";

/// Connections to PostgreSQL of one gateway.
const POSTGRES_CONNECTIONS: u32 = 8;

/// How long a task waits for a connection before it gives up (and the operation is refused).
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the state could not be used. Whatever depended on it is refused: fails closed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The place of the database cannot be used.
    #[error("the state cannot be kept in {place}: {why}")]
    Place {
        /// Which file or server; never with a password.
        place: String,
        /// What went wrong.
        why: String,
    },
    /// The database refused a statement or does not answer.
    #[error("the state store failed")]
    Store(#[from] sqlx::Error),
    /// The tables cannot be brought to this version.
    #[error("the state store's tables cannot be brought up to date")]
    Migrate(#[source] MigrateError),
    /// Another version of this program has brought them further.
    #[error("the state store was written by a newer version of Chaperone: start that one, or a later one")]
    Newer,
    /// A row does not hold what this version writes.
    #[error("the state store holds something unreadable in `{0}`")]
    Unreadable(&'static str),
}

/// The repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct State {
    read: AnyPool,
    write: AnyPool,
    node: String,
    store: Store,
    /// What goes into the search index.
    indexing: Indexing,
    /// Who is told of approvals.
    routes: Arc<[Route]>,
}

/// Which database it is, for the little that both spell differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Sqlite,
    Postgres,
}

/// What is open now, on all gateways that share the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenCounts {
    /// Windows that are open.
    pub windows: i64,
    /// Access requests that wait for people.
    pub requests: i64,
    /// Held operations that wait for people.
    pub holds: i64,
    /// Messages to channels that wait to be sent.
    pub deliveries: i64,
}

/// Each part is answered from an index of what is still ahead; what is past is not read.
const OPEN_COUNTS: &str = "SELECT \
     (SELECT count(*) FROM windows WHERE opens <= $1 AND closes > $1 AND ended IS NULL) AS windows, \
     (SELECT count(*) FROM approvals WHERE state = 'pending' AND deadline > $1 AND kind = 'request') AS requests, \
     (SELECT count(*) FROM approvals WHERE state = 'pending' AND deadline > $1 AND kind = 'hold') AS holds, \
     (SELECT count(*) FROM deliveries WHERE state = 'waiting') AS deliveries";

impl State {
    /// Opens or creates a SQLite file, readable by its owner only. `node` names this gateway in rows that die with it.
    pub async fn sqlite(path: &Path, node: &str) -> Result<Self, StateError> {
        let place = |why: String| StateError::Place { place: path.display().to_string(), why };
        let path = std::path::absolute(path).map_err(|error| place(error.to_string()))?;
        create_private(&path).map_err(|error| place(error.to_string()))?;
        let name = path.to_str().ok_or_else(|| place("its name is not UTF-8".into()))?;
        let url = format!("sqlite://{}?mode=rw", percent_encoded(name));
        sqlx::any::install_default_drivers();
        // A second writer of one process would only wait for the first, and could find its snapshot outdated.
        let write = sqlite_pool(1).connect(&url).await?;
        migrate(&write, Store::Sqlite).await?;
        if let Err(error) = reserve(&write).await {
            tracing::warn!(%error, "there is no room in reserve for the state: on a full disk, windows may not be ended");
        }
        let read = sqlite_pool(SQLITE_READERS).connect(&url).await?;
        Ok(State::of(read, write, node, Store::Sqlite))
    }

    /// Connects to PostgreSQL, 13 or later, by a `postgres://` URL (TLS by its `sslmode` and `sslrootcert`).
    pub async fn postgres(url: &SecretString, node: &str) -> Result<Self, StateError> {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect(url.expose_secret())
            .await?;
        migrate(&pool, Store::Postgres).await?;
        Ok(State::of(pool.clone(), pool, node, Store::Postgres))
    }

    fn of(read: AnyPool, write: AnyPool, node: &str, store: Store) -> Self {
        let (indexing, routes) = (Indexing::default(), Arc::default());
        State { read, write, node: node.to_owned(), store, indexing, routes }
    }

    /// The name of this gateway.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<(), StateError> {
        sqlx::query("SELECT 1").fetch_one(&self.read).await?;
        Ok(())
    }

    /// How much is open.
    pub async fn open_counts(&self, now: Timestamp) -> Result<OpenCounts, StateError> {
        let row = sqlx::query(OPEN_COUNTS).bind(micros(now)).fetch_one(&self.read).await?;
        Ok(OpenCounts {
            windows: row.try_get("windows")?,
            requests: row.try_get("requests")?,
            holds: row.try_get("holds")?,
            deliveries: row.try_get("deliveries")?,
        })
    }

    /// Closes all connections, so that a SQLite file is left without its log.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// Begins a transaction. Its first statement must be a write (see the module's text).
    async fn begin(&self) -> Result<Transaction<'static, Any>, StateError> {
        Ok(self.write.begin().await?)
    }
}

fn sqlite_pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).after_connect(
        |connection, _| {
            Box::pin(async move {
                for pragma in
                    ["PRAGMA busy_timeout = 5000", "PRAGMA journal_mode = WAL", "PRAGMA foreign_keys = ON"]
                {
                    sqlx::query(pragma).fetch_all(&mut *connection).await?;
                }
                // A revocation that was acknowledged must survive a power cut.
                sqlx::query("PRAGMA synchronous = FULL").execute(&mut *connection).await?;
                Ok(())
            })
        },
    )
}

/// Makes the file and its log so large that windows can be ended on a disk that is full: SQLite gives no page back, and writes over
/// its log from the beginning (SQLite, "Write-Ahead Logging", section 2.3). What it says stays as it is.
async fn reserve(pool: &AnyPool) -> Result<(), sqlx::Error> {
    for step in [
        "DROP TABLE IF EXISTS reserve",
        "CREATE TABLE reserve (room BLOB NOT NULL)",
        RESERVE,
        "DROP TABLE reserve",
        "PRAGMA wal_checkpoint(RESTART)",
    ] {
        sqlx::query(step).fetch_all(pool).await?;
    }
    Ok(())
}

async fn migrate(pool: &AnyPool, store: Store) -> Result<(), StateError> {
    let all = MIGRATIONS.iter().zip(1..).map(|((name, sql), version)| {
        let own = OWN_TEXT.iter().find(|(of, _, _)| *of == version);
        let sql =
            match own.map(|(_, sqlite, postgres)| if store == Store::Sqlite { sqlite } else { postgres }) {
                None => (*sql).into_sql_str(),
                Some(own) => sqlx::AssertSqlSafe(format!("{sql}{own}")).into_sql_str(),
            };
        Migration::new(version, (*name).into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(all.collect()).run(pool).await.map_err(|error| match error {
        // An older one would not see what the newer one relies on: fails closed.
        MigrateError::VersionMissing(_) => StateError::Newer,
        other => StateError::Migrate(other),
    })
}

/// In the order of their versions, from 1. What was released is never changed: its checksum is in every store.
const MIGRATIONS: [(&str, &str); 10] = [
    ("init", include_str!("state/migrations/0001_init.sql")),
    ("clock", include_str!("state/migrations/0002_clock.sql")),
    ("denials", include_str!("state/migrations/0003_denials.sql")),
    ("windows by principal", include_str!("state/migrations/0004_windows_by.sql")),
    ("callers", include_str!("state/migrations/0005_callers.sql")),
    ("amounts", include_str!("state/migrations/0006_amounts.sql")),
    ("deliveries", include_str!("state/migrations/0007_deliveries.sql")),
    ("search", include_str!("state/migrations/0008_search.sql")),
    ("keep", include_str!("state/migrations/0009_keep.sql")),
    ("stores", include_str!("state/migrations/0010_stores.sql")),
];

/// What a version has besides, on SQLite and on PostgreSQL.
const OWN_TEXT: [(i64, &str, &str); 1] = [(
    8,
    include_str!("state/migrations/0008_search_sqlite.sql"),
    include_str!("state/migrations/0008_search_postgres.sql"),
)];

/// Makes the file if it is missing, for its owner only: SQLite gives its side files the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn percent_encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn micros(moment: Timestamp) -> i64 {
    chaperone_core::window::microseconds(moment).as_microsecond()
}

fn moment(row: &AnyRow, column: &'static str) -> Result<Timestamp, StateError> {
    let micros: i64 = row.try_get(column)?;
    Timestamp::from_microsecond(micros).map_err(|_| StateError::Unreadable(column))
}

fn moment_or_none(row: &AnyRow, column: &'static str) -> Result<Option<Timestamp>, StateError> {
    let micros: Option<i64> = row.try_get(column)?;
    micros.map(Timestamp::from_microsecond).transpose().map_err(|_| StateError::Unreadable(column))
}

fn text<T: std::str::FromStr>(row: &AnyRow, column: &'static str) -> Result<T, StateError> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| StateError::Unreadable(column))
}

fn name<T: TryFrom<String>>(row: &AnyRow, column: &'static str) -> Result<T, StateError> {
    T::try_from(row.try_get::<String, _>(column)?).map_err(|_| StateError::Unreadable(column))
}

fn json<T: serde::de::DeserializeOwned>(row: &AnyRow, column: &'static str) -> Result<T, StateError> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|_| StateError::Unreadable(column))
}

/// The same of a column that older rows have not.
fn json_or_none<T: serde::de::DeserializeOwned>(
    row: &AnyRow,
    column: &'static str,
) -> Result<Option<T>, StateError> {
    let text: Option<String> = row.try_get(column)?;
    text.map_or(Ok(None), |text| serde_json::from_str(&text)).map_err(|_| StateError::Unreadable(column))
}

fn to_json<T: serde::Serialize>(value: &T, column: &'static str) -> Result<String, StateError> {
    serde_json::to_string(value).map_err(|_| StateError::Unreadable(column))
}
