//! The index: what was done in all sessions, found by words and by facets.
//!
//! One row for an operation, and its words in what the database has for full text: an FTS5 table, or a tsvector with a GIN
//! index. Facets (target, principal, decision, …) are words there, too: the intersection of any of them is then what the index is made
//! for, where B-trees would need one for every combination. The row's `id` rises with the operation's time, so that times,
//! order and paging are ranges of it: the newest come first without sorting, and a search stops when it has enough.
//!
//! What may go wrong: hostile words. `words` says why none of them is ever syntax; lengths and counts are bounded there.
//! What is in here is a copy: it can be thrown away and made anew from the recordings, which alone prove anything.

use super::feed::count;
use super::{Advance, Moved, State, StateError, Store, micros, moment, name, text};
use chaperone_core::Timestamp;
use chaperone_core::name::{Principal, SessionId, TargetName};
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use std::fmt::Write;

mod words;

pub use words::{Facet, Piece, snippet};

/// The most that one search returns.
pub const MAX_FOUND: u16 = 500;

/// Ids that one microsecond has room for. More operations at the same one go on into the next.
const PER_MICROSECOND: i64 = 1024;

/// Attempts to find a free id, each lost to another gateway.
const MAX_TRIES: usize = 16;

/// An operation, to be found.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number in the session.
    pub operation: u64,
    /// When it came.
    pub at: Timestamp,
    /// Whose session it is.
    pub principal: Principal,
    /// On what.
    pub target: TargetName,
    /// What it is found by besides words.
    pub facets: Vec<(Facet, String)>,
    /// Texts that it is found by.
    pub texts: Vec<String>,
    /// What is shown of it: JSON.
    pub story: String,
}

/// What somebody looks for. What is empty or None restricts nothing.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Words that all have to be there; those in double quotes in a row.
    pub words: String,
    /// Facets that all have to be there.
    pub facets: Vec<(Facet, String)>,
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// Before this one: [`Found::id`] of the last of the page before.
    pub before: Option<i64>,
    /// The most that is returned; at most [`MAX_FOUND`].
    pub limit: u16,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Rises with the time; for paging.
    pub id: i64,
    /// The session.
    pub session: SessionId,
    /// The operation's number in it.
    pub operation: u64,
    /// When it came.
    pub at: Timestamp,
    /// Whose session it is.
    pub principal: Principal,
    /// On what.
    pub target: TargetName,
    /// As it was put in.
    pub story: serde_json::Value,
}

/// What of an operation goes into the index (`recording.search`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Indexing {
    /// Everything, texts and parameters included.
    #[default]
    Text,
    /// No texts and no parameters: who, where, when, what was decided and touched.
    Facts,
    /// Nothing.
    No,
}

/// Why nothing is looked for.
#[derive(Debug, thiserror::Error)]
pub enum SearchProblem {
    /// Nothing in what was typed is a word.
    #[error("there is no letter and no digit in what you look for")]
    NoWords,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StateError),
}

const INSERT: &str = "INSERT INTO operations (id, session, operation, moment, principal, target, story) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
const INSERT_WORDS: &str = "INSERT INTO operations (id, session, operation, moment, principal, target, story, words) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, CAST($8 AS TSVECTOR)) ON CONFLICT DO NOTHING";
const UPDATE: &str = "UPDATE operations SET story = $3 WHERE session = $1 AND operation = $2 RETURNING id";
const UPDATE_WORDS: &str = "UPDATE operations SET story = $3, words = CAST($4 AS TSVECTOR) \
     WHERE session = $1 AND operation = $2 RETURNING id";
/// The first free id from one that is taken on.
const FREE: &str = "SELECT MIN(id) + 1 AS free FROM operations AS taken WHERE id >= $1 \
     AND NOT EXISTS (SELECT 1 FROM operations AS next WHERE next.id = taken.id + 1)";
const PUT_FTS: &str = "INSERT OR REPLACE INTO operation_words (rowid, words, facets) VALUES ($1, $2, $3)";
const FORGET_FTS: &str =
    "DELETE FROM operation_words WHERE rowid IN (SELECT id FROM operations WHERE session = $1)";

const COLUMNS: &str = "SELECT id, session, operation, moment, principal, target, story FROM operations";
const FTS: &str = "WHERE id IN (SELECT rowid FROM operation_words WHERE operation_words MATCH $4 \
     AND rowid >= $1 AND rowid < $2 ORDER BY rowid DESC LIMIT $3) ORDER BY id DESC";
const TSQUERY: &str = "WHERE words @@ CAST($4 AS TSQUERY) AND id >= $1 AND id < $2 ORDER BY id DESC LIMIT $3";
const NEWEST: &str = "WHERE id >= $1 AND id < $2 ORDER BY id DESC LIMIT $3";

impl State {
    /// The same store for a gateway that indexes so much.
    #[must_use]
    pub fn with_indexing(self, indexing: Indexing) -> Self {
        State { indexing, ..self }
    }

    /// What this gateway indexes.
    pub fn indexing(&self) -> Indexing {
        self.indexing
    }

    /// Puts operations of one recording into the index, and moves the cursor of whoever read them: both or neither. One that is
    /// there already is replaced.
    pub async fn index(&self, entries: &[Entry], step: Advance<'_>) -> Result<Moved, StateError> {
        let mut transaction = self.begin().await?;
        if self.advance_in(&mut transaction, step).await? == Moved::No {
            // Dropping it undoes it.
            return Ok(Moved::No);
        }
        let mut entries: Vec<&Entry> = entries.iter().collect();
        // FTS5 writes a segment whenever ids go back.
        entries.sort_by_key(|entry| (entry.at, entry.operation));
        let mut next = i64::MIN;
        for entry in entries {
            // Those of one burst share their time: each begins where the one before has ended.
            let first = id_of(entry.at).max(next);
            next = self.put(&mut transaction, step.session, entry, first).await?.saturating_add(1);
        }
        transaction.commit().await?;
        Ok(Moved::Yes)
    }

    /// Puts one operation in, with an id from `first` on, and says which it has.
    async fn put(
        &self,
        transaction: &mut Transaction<'static, Any>,
        session: SessionId,
        entry: &Entry,
        first: i64,
    ) -> Result<i64, StateError> {
        let vector = (self.store == Store::Postgres).then(|| tsvector(entry));
        let mut candidate = first;
        let mut known = None;
        // Almost always the first is free. A taken one is this operation's own, or another's of the same microsecond.
        for _ in 0..MAX_TRIES {
            if self.insert(transaction, session, entry, candidate, vector.as_deref()).await? {
                known = Some(candidate);
                break;
            }
            known = self.update(transaction, session, entry, vector.as_deref()).await?;
            if known.is_some() {
                break;
            }
            let free = sqlx::query(FREE).bind(candidate).fetch_one(&mut **transaction).await?;
            candidate = free.try_get::<Option<i64>, _>("free")?.unwrap_or(candidate);
        }
        let id: i64 = known.ok_or(StateError::Unreadable("operations: no room at one moment"))?;
        if self.store == Store::Sqlite {
            let facets: Vec<String> = entry.facets.iter().map(|(facet, value)| facet.word(value)).collect();
            let all: Vec<String> = words_of(entry).collect();
            sqlx::query(PUT_FTS)
                .bind(id)
                .bind(all.join(" "))
                .bind(facets.join(" "))
                .execute(&mut **transaction)
                .await?;
        }
        Ok(id)
    }

    async fn insert(
        &self,
        transaction: &mut Transaction<'static, Any>,
        session: SessionId,
        entry: &Entry,
        id: i64,
        vector: Option<&str>,
    ) -> Result<bool, StateError> {
        let insert = sqlx::query(if vector.is_some() { INSERT_WORDS } else { INSERT })
            .bind(id)
            .bind(session.to_string())
            .bind(count(entry.operation))
            .bind(micros(entry.at))
            .bind(entry.principal.as_str())
            .bind(entry.target.as_str())
            .bind(&entry.story);
        let insert = if let Some(vector) = vector { insert.bind(vector) } else { insert };
        Ok(insert.execute(&mut **transaction).await?.rows_affected() == 1)
    }

    async fn update(
        &self,
        transaction: &mut Transaction<'static, Any>,
        session: SessionId,
        entry: &Entry,
        vector: Option<&str>,
    ) -> Result<Option<i64>, StateError> {
        let update = sqlx::query(if vector.is_some() { UPDATE_WORDS } else { UPDATE })
            .bind(session.to_string())
            .bind(count(entry.operation))
            .bind(&entry.story);
        let update = if let Some(vector) = vector { update.bind(vector) } else { update };
        let row = update.fetch_optional(&mut **transaction).await?;
        Ok(row.map(|row| row.try_get("id")).transpose()?)
    }

    /// The newest operations that match, newest first.
    pub async fn search(&self, search: &Search) -> Result<Vec<Found>, SearchProblem> {
        let terms = words::terms(&search.words);
        if terms.is_empty() && !search.words.trim().is_empty() {
            return Err(SearchProblem::NoWords);
        }
        let low = search.since.map_or(i64::MIN, id_of);
        let high = search.until.map_or(i64::MAX, id_of).min(search.before.unwrap_or(i64::MAX));
        let facets: Vec<String> = search.facets.iter().map(|(facet, value)| facet.word(value)).collect();
        let all = terms.is_empty() && facets.is_empty();
        let (clause, wanted) = match self.store {
            _ if all => (NEWEST, None),
            Store::Sqlite => (FTS, Some(fts(&terms, &facets))),
            Store::Postgres => (TSQUERY, Some(tsquery(&terms, &facets))),
        };
        let statement = sqlx::AssertSqlSafe(format!("{COLUMNS} {clause}"));
        let query = sqlx::query(statement).bind(low).bind(high).bind(i64::from(search.limit.min(MAX_FOUND)));
        let query = if let Some(wanted) = wanted { query.bind(wanted) } else { query };
        let rows = query.fetch_all(&self.read).await.map_err(StateError::from)?;
        Ok(rows.iter().map(found).collect::<Result<_, _>>()?)
    }

    /// Removes a recording from the index and forgets how far it was read. Call it when the file is gone: one that is still there
    /// is read again.
    pub async fn forget_recording(&self, session: SessionId) -> Result<(), StateError> {
        let session = session.to_string();
        let mut transaction = self.begin().await?;
        // First the cursors: whoever reads the recording now finds its own gone, and keeps nothing.
        sqlx::query("DELETE FROM feed_cursors WHERE session = $1")
            .bind(&session)
            .execute(&mut *transaction)
            .await?;
        if self.store == Store::Sqlite {
            sqlx::query(FORGET_FTS).bind(&session).execute(&mut *transaction).await?;
        }
        sqlx::query("DELETE FROM operations WHERE session = $1")
            .bind(&session)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

/// The first id of a moment: microseconds with room behind each. It fits until the year 2255.
fn id_of(at: Timestamp) -> i64 {
    micros(at).saturating_mul(PER_MICROSECOND)
}

fn words_of(entry: &Entry) -> impl Iterator<Item = String> + '_ {
    entry.texts.iter().flat_map(|text| words::words(text)).take(words::MAX_WORDS)
}

/// Words with their places, and facets behind a sign that no word has.
fn tsvector(entry: &Entry) -> String {
    let mut vector = String::new();
    for (index, word) in words_of(entry).enumerate() {
        let _ = write!(vector, "'{word}':{} ", index + 1);
    }
    for (facet, value) in &entry.facets {
        let _ = write!(vector, "'={}' ", facet.word(value));
    }
    vector
}

fn tsquery(terms: &[Vec<String>], facets: &[String]) -> String {
    let terms = terms.iter().map(|term| format!("('{}')", term.join("' <-> '")));
    let facets = facets.iter().map(|facet| format!("'={facet}'"));
    terms.chain(facets).collect::<Vec<_>>().join(" & ")
}

fn fts(terms: &[Vec<String>], facets: &[String]) -> String {
    let terms = terms.iter().map(|term| format!("words : \"{}\"", term.join(" ")));
    let facets = facets.iter().map(|facet| format!("facets : \"{facet}\""));
    terms.chain(facets).collect::<Vec<_>>().join(" AND ")
}

fn found(row: &AnyRow) -> Result<Found, StateError> {
    let operation = u64::try_from(row.try_get::<i64, _>("operation")?);
    Ok(Found {
        id: row.try_get("id")?,
        session: text(row, "session")?,
        operation: operation.map_err(|_| StateError::Unreadable("operation"))?,
        at: moment(row, "moment")?,
        principal: name(row, "principal")?,
        target: name(row, "target")?,
        story: super::json(row, "story")?,
    })
}
