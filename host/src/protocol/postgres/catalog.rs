//! Which schema, table and column an OID means, asked of the target itself.
//!
//! Result columns name their origin by OID and attribute number (PostgreSQL manual, RowDescription); rules name columns
//! by name. Look-ups run on a connection of the gateway's own, one for each target, so that a session's transaction is
//! neither used nor seen; answers are kept for [`FRESH`], and forgotten at once when a session changes what names mean.
//! A column that another session renames is therefore seen under its old name for at most that long. What cannot be
//! looked up has no known origin, and masks treat that as the worst case.

use super::dial::{LoggedIn, login};
use super::frame::{Body, Frame, HEADER_BYTES, Malformed};
use super::stream::TargetStream;
use crate::target::Lease;
use chaperone_core::name::TargetName;
use chaperone_core::sql::Origin;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// How long an answer counts.
pub(super) const FRESH: Duration = Duration::from_secs(10);

/// One look-up, connecting included.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the connection stays open unused.
const IDLE: Duration = Duration::from_secs(60);

/// Relations remembered for a target; over it, all are forgotten, which costs only look-ups.
const MAX_RELATIONS: usize = 50_000;

/// Look-ups that wait; over it a look-up fails, and the column has no known origin.
const QUEUE: usize = 256;

/// An answer's bound: 1,600 columns of 64-byte names are far below.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The catalogs of all targets.
pub(super) struct Catalogs {
    runtime: Handle,
    by_target: Mutex<HashMap<TargetName, Arc<Shared>>>,
}

/// The catalog of a session's target.
pub(super) struct Catalog {
    shared: Arc<Shared>,
    lease: Arc<Lease>,
}

struct Shared {
    known: Mutex<HashMap<u32, (Instant, Arc<Relation>)>>,
    /// Counts how often all was forgotten.
    generation: AtomicU64,
    questions: mpsc::Sender<Question>,
}

struct Question {
    what: Ask,
    lease: Arc<Lease>,
    answer: oneshot::Sender<Vec<(u32, Relation)>>,
}

enum Ask {
    Oid(u32),
    Name { schema: Option<String>, name: String },
}

/// A relation's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Relation {
    schema: String,
    name: String,
    /// Attribute number and name, in order.
    columns: Vec<(i16, String)>,
}

impl Relation {
    fn origin(&self, column: &str) -> Origin {
        Origin { schema: self.schema.clone(), relation: self.name.clone(), column: column.to_owned() }
    }

    /// All columns, in order.
    pub(super) fn origins(&self) -> impl Iterator<Item = Origin> + '_ {
        self.columns.iter().map(|(_, column)| self.origin(column))
    }
}

impl Catalogs {
    pub(super) fn new(runtime: Handle) -> Self {
        Catalogs { runtime, by_target: Mutex::default() }
    }

    /// The catalog of a lease's target.
    pub(super) fn of(&self, lease: Lease) -> Arc<Catalog> {
        let name = lease.target().name.clone();
        let mut by_target = self.by_target.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = by_target.entry(name).or_insert_with(|| {
            let (questions, asked) = mpsc::channel(QUEUE);
            self.runtime.spawn(answer_all(asked));
            Arc::new(Shared { known: Mutex::default(), generation: AtomicU64::new(0), questions })
        });
        Arc::new(Catalog { shared: Arc::clone(shared), lease: Arc::new(lease) })
    }
}

impl Catalog {
    /// The origin of a result column. None for computed columns, and for what cannot be looked up.
    pub(super) async fn origin(&self, relation: u32, attribute: i16) -> Option<Origin> {
        if relation == 0 || attribute == 0 {
            return None;
        }
        let find = |relation: &Relation| {
            let (_, name) = relation.columns.iter().find(|(number, _)| *number == attribute)?;
            Some(relation.origin(name))
        };
        if let Some(origin) = self.remembered(relation).and_then(|known| find(&known)) {
            return Some(origin);
        }
        if self.remembered(relation).is_some_and(|known| known.columns.is_empty()) {
            // It could not be looked up a moment ago: a slow catalog delays a result once, not once for each column.
            return None;
        }
        if self.ask(Ask::Oid(relation)).await.is_empty() {
            self.lock().insert(relation, (Instant::now(), Arc::default()));
        }
        self.remembered(relation).and_then(|known| find(&known))
    }

    /// All relations of a name; without a schema every one that it could mean.
    pub(super) async fn named(&self, schema: Option<&str>, name: &str) -> Vec<Relation> {
        let ask = Ask::Name { schema: schema.map(str::to_owned), name: name.to_owned() };
        self.ask(ask).await.into_iter().map(|(_, relation)| relation).collect()
    }

    /// Names may mean something else now.
    pub(super) fn forget(&self) {
        self.lock().clear();
        self.shared.generation.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever names may mean something else: what was looked up in another generation does not count.
    pub(super) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, (Instant, Arc<Relation>)>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, oid: u32) -> Option<Arc<Relation>> {
        let known = self.lock();
        let (when, relation) = known.get(&oid)?;
        (when.elapsed() < FRESH).then(|| Arc::clone(relation))
    }

    async fn ask(&self, what: Ask) -> Vec<(u32, Relation)> {
        let (answer, answered) = oneshot::channel();
        let question = Question { what, lease: Arc::clone(&self.lease), answer };
        if self.shared.questions.try_send(question).is_err() {
            return Vec::new();
        }
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, answered).await;
        let found = found.ok().and_then(Result::ok).unwrap_or_default();
        let mut known = self.lock();
        if known.len() + found.len() > MAX_RELATIONS {
            known.clear();
        }
        for (oid, relation) in &found {
            known.insert(*oid, (Instant::now(), Arc::new(relation.clone())));
        }
        found
    }
}

/// The task that owns the connection.
async fn answer_all(mut asked: mpsc::Receiver<Question>) {
    let mut connection: Option<LoggedIn> = None;
    loop {
        let question = match tokio::time::timeout(IDLE, asked.recv()).await {
            Ok(Some(question)) => question,
            Ok(None) => return,
            Err(_) => {
                connection = None;
                continue;
            }
        };
        let sql = question.what.sql();
        let mut found = None;
        // A connection that stood idle may be dead: the second try is on a fresh one.
        for _ in 0..2 {
            let fresh = connection.is_none();
            match tokio::time::timeout(LOOKUP_TIMEOUT, look_up(&mut connection, &question.lease, &sql)).await
            {
                Ok(Some(relations)) => {
                    found = Some(relations);
                    break;
                }
                _ => connection = None,
            }
            if fresh {
                break;
            }
        }
        if found.is_none() {
            tracing::warn!(target = %question.lease.target().name, "the target's catalog could not be read");
        }
        // The session may be gone; then nobody wants the answer.
        let _ = question.answer.send(found.unwrap_or_default());
    }
}

impl Ask {
    fn sql(&self) -> String {
        let condition = match self {
            Ask::Oid(oid) => format!("c.oid = {oid}"),
            Ask::Name { schema, name } => {
                let mut condition = format!("c.relname = {}", literal(name));
                if let Some(schema) = schema {
                    condition.push_str(&format!(" AND n.nspname = {}", literal(schema)));
                }
                condition
            }
        };
        format!(
            "SELECT c.oid, n.nspname, c.relname, a.attnum, a.attname FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
             WHERE {condition} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.oid, a.attnum"
        )
    }
}

/// A text as SQL without any quoting rules: its bytes in hexadecimal.
fn literal(text: &str) -> String {
    use std::fmt::Write;
    let mut hex = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    format!("pg_catalog.convert_from('\\x{hex}'::bytea, 'UTF8')")
}

async fn look_up(
    connection: &mut Option<LoggedIn>,
    lease: &Lease,
    sql: &str,
) -> Option<Vec<(u32, Relation)>> {
    if connection.is_none() {
        let settings = [("application_name", "chaperone catalog")];
        let made = login(lease, &settings).await;
        *connection = Some(made.inspect_err(|error| tracing::debug!(%error, "catalog login failed")).ok()?);
    }
    let rows = query(&mut connection.as_mut()?.stream, sql).await?;
    let mut relations: Vec<(u32, Relation)> = Vec::new();
    for row in rows {
        let [oid, schema, name, number, column] = row.try_into().ok()?;
        let oid = oid.parse().ok()?;
        if relations.last().is_none_or(|(last, _)| *last != oid) {
            relations.push((oid, Relation { schema, name, columns: Vec::new() }));
        }
        if let Some((_, relation)) = relations.last_mut() {
            relation.columns.push((number.parse().ok()?, column));
        }
    }
    Some(relations)
}

/// A simple query on the gateway's own connection; rows as text, none on any error.
async fn query(stream: &mut TargetStream, sql: &str) -> Option<Vec<Vec<String>>> {
    let mut out = Vec::with_capacity(sql.len() + 8);
    super::frame::message(&mut out, b'Q', |out| {
        out.extend_from_slice(sql.as_bytes());
        out.push(0);
    });
    stream.write_all(&out).await.ok()?;
    stream.flush().await.ok()?;
    let (mut rows, mut total, mut failed) = (Vec::new(), 0usize, false);
    loop {
        let mut message = vec![0u8; HEADER_BYTES];
        stream.read_exact(&mut message).await.ok()?;
        let frame = Frame::at(&message).ok()??;
        total = total.saturating_add(frame.total);
        if total > MAX_ANSWER_BYTES {
            return None;
        }
        message.resize(frame.total, 0);
        stream.read_exact(message.get_mut(HEADER_BYTES..)?).await.ok()?;
        match frame.kind {
            b'D' => rows.push(texts(&message).ok()?),
            b'E' => failed = true,
            b'Z' => return (!failed).then_some(rows),
            _ => {}
        }
    }
}

fn texts(row: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut body = Body::of(row);
    let count = body.count()?;
    let mut texts = Vec::with_capacity(count.min(16));
    for _ in 0..count {
        let value = body.value()?.unwrap_or_default();
        texts.push(String::from_utf8(value.to_vec()).map_err(|_| Malformed("a name that is not UTF-8"))?);
    }
    body.end()?;
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_literal() {
        let ask = Ask::Name { schema: None, name: "x'; DROP TABLE y; --".into() };
        assert!(!ask.sql().contains("DROP"));
        assert!(literal("a'").contains("6127"));
    }
}
