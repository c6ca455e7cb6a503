//! The connection that looks names up, and what is asked on it.
//!
//! Nothing here runs a view or a function: definitions are read, parsed and described, never executed.

use super::super::dial::{LoggedIn, error_code, login};
use super::super::frame::{self, Body, Frame, HEADER_BYTES, Malformed};
use super::super::stream::TargetStream;
use super::lineage::Follower;
use super::{Callable, LOOKUP_TIMEOUT, Name, Relation, callable};
use crate::target::Target;
use chaperone_core::sql::Source;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

/// How long the connection stays open unused.
const IDLE: Duration = Duration::from_secs(60);

/// An answer's bound: 1,600 columns of 64-byte names are far below.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// What is asked, by whom.
pub(super) struct Question {
    pub(super) what: Ask,
    pub(super) target: Arc<Target>,
    /// None: it could not be found out.
    pub(super) answer: oneshot::Sender<Option<Told>>,
}

/// What is asked.
#[derive(Clone)]
pub(super) enum Ask {
    /// The relation of an OID.
    Oid(u32),
    /// All relations that a name may mean.
    Name(Name),
    /// Functions of these names that may read anything.
    Functions(Vec<String>),
    /// Functions behind operators and casts that may read anything.
    Operators,
    /// The function of an OID, to be called by its name.
    Callable(u32),
}

/// The answer.
pub(super) enum Told {
    Relations(Vec<Arc<Relation>>),
    Functions(Vec<Function>),
    Operators(Vec<Operator>),
    Callable(Option<Arc<Callable>>),
}

/// A function of which nobody knows what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) source: Source,
    /// It can be called with one argument, and so with a dot behind that.
    pub(super) takes_one: bool,
}

/// An operator, or a cast, that calls such a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operator {
    /// As it is written; empty for a cast.
    pub(super) symbol: String,
    pub(super) source: Source,
}

/// The condition that a function `p` may read anything. Those of the server itself do not, but for a few that masks know by
/// name; one in C that is declared immutable was put there by a superuser with that promise. All others may.
pub(super) const MAY_READ: &str = "NOT (p.oid < 16384 OR (p.provolatile = 'i' AND p.prokind = 'f' AND p.prolang IN \
     (SELECT l.oid FROM pg_catalog.pg_language l WHERE l.lanname IN ('c', 'internal'))))";

/// The task that owns the connection.
pub(super) async fn answer_all(mut asked: mpsc::Receiver<Question>) {
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
        let mut told = None;
        // A connection that stood idle may be dead: the second try is on a fresh one.
        for _ in 0..2 {
            let fresh = connection.is_none();
            let work = answer(&mut connection, &question.target, &question.what);
            match tokio::time::timeout(LOOKUP_TIMEOUT, work).await {
                Ok(Some(found)) => {
                    told = Some(found);
                    break;
                }
                _ => connection = None,
            }
            if fresh {
                break;
            }
        }
        if told.is_none() {
            tracing::warn!(target = %question.target.name, "the target's catalog could not be read");
        }
        // The session may be gone; then nobody wants the answer.
        let _ = question.answer.send(told);
    }
}

async fn answer(connection: &mut Option<LoggedIn>, target: &Target, what: &Ask) -> Option<Told> {
    if connection.is_none() {
        let settings = [("application_name", "chaperone catalog")];
        let account = target.own_account();
        let account =
            account.inspect_err(|problem| tracing::debug!(%problem, "catalog login failed")).ok()?;
        let made = login(target, &account, &settings).await;
        *connection = Some(made.inspect_err(|error| tracing::debug!(%error, "catalog login failed")).ok()?);
    }
    let stream = &mut connection.as_mut()?.stream;
    Some(match what {
        Ask::Oid(oid) => Told::Relations(Follower::new(stream).find(&format!("c.oid = {oid}")).await?),
        Ask::Name((schema, name)) => {
            let mut condition = format!("c.relname = {}", literal(name));
            if let Some(schema) = schema {
                let _ = write!(condition, " AND n.nspname = {}", literal(schema));
            }
            Told::Relations(Follower::new(stream).find(&condition).await?)
        }
        Ask::Functions(names) => Told::Functions(functions(stream, names).await?),
        Ask::Operators => Told::Operators(operators(stream).await?),
        Ask::Callable(oid) => Told::Callable(callable::find(stream, *oid).await?),
    })
}

async fn functions(stream: &mut TargetStream, names: &[String]) -> Option<Vec<Function>> {
    let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
    let sql = format!(
        "SELECT DISTINCT n.nspname, p.proname, p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1 \
         FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         WHERE p.proname IN ({}) AND {MAY_READ}",
        names.join(", ")
    );
    let function = |row: Vec<String>| {
        let [schema, name, takes_one] = row.try_into().ok()?;
        Some(Function { source: Source { schema, name }, takes_one: takes_one == "t" })
    };
    query(stream, &sql).await?.into_iter().map(function).collect()
}

async fn operators(stream: &mut TargetStream) -> Option<Vec<Operator>> {
    let sql = format!(
        "SELECT DISTINCT used.symbol, n.nspname, p.proname FROM \
         (SELECT o.oprname::pg_catalog.text AS symbol, o.oprcode::pg_catalog.oid AS code FROM pg_catalog.pg_operator o \
         UNION SELECT '', k.castfunc FROM pg_catalog.pg_cast k) used \
         JOIN pg_catalog.pg_proc p ON p.oid = used.code \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE {MAY_READ}"
    );
    let operator = |row: Vec<String>| {
        let [symbol, schema, name] = row.try_into().ok()?;
        Some(Operator { symbol, source: Source { schema, name } })
    };
    query(stream, &sql).await?.into_iter().map(operator).collect()
}

/// A text as SQL without any quoting rules: its bytes in hexadecimal.
fn literal(text: &str) -> String {
    let mut hex = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        // Writing into a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    format!("pg_catalog.convert_from('\\x{hex}'::bytea, 'UTF8')")
}

/// Why a query on the gateway's own connection has no rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::protocol::postgres) enum Unanswered {
    /// The connection is lost, or what came on it was not understood.
    Lost,
    /// The target refused it; the SQLSTATE of its first error.
    Refused(String),
}

/// As [`simple`], where it does not matter why.
pub(super) async fn query(stream: &mut TargetStream, sql: &str) -> Option<Vec<Vec<String>>> {
    simple(stream, sql).await.ok()
}

/// A simple query on the gateway's own connection, of one statement or several: all rows, as text.
pub(in crate::protocol::postgres) async fn simple(
    stream: &mut TargetStream,
    sql: &str,
) -> Result<Vec<Vec<String>>, Unanswered> {
    let mut out = Vec::with_capacity(sql.len() + 8);
    frame::message(&mut out, b'Q', |out| {
        out.extend_from_slice(sql.as_bytes());
        out.push(0);
    });
    let mut rows = Vec::new();
    let succeeded = exchange(stream, &out, |message| {
        if message.first() == Some(&b'D') {
            rows.push(texts(message).ok()?);
        }
        Some(())
    });
    match succeeded.await {
        None => Err(Unanswered::Lost),
        Some(Err(state)) => Err(Unanswered::Refused(state)),
        Some(Ok(())) => Ok(rows),
    }
}

/// What the target says about the columns of a query that is not run: OID of the table and attribute number of each, zeros
/// for computed ones. The inner None: it refuses the query.
pub(super) async fn describe(stream: &mut TargetStream, sql: &str) -> Option<Option<Vec<(u32, i16)>>> {
    let mut out = Vec::with_capacity(sql.len() + 32);
    frame::message(&mut out, b'P', |out| {
        out.push(0);
        out.extend_from_slice(sql.as_bytes());
        out.extend_from_slice(&[0, 0, 0]);
    });
    frame::message(&mut out, b'D', |out| out.extend_from_slice(b"S\0"));
    frame::message(&mut out, b'S', |_| {});
    let mut columns = Vec::new();
    let succeeded = exchange(stream, &out, |message| {
        if message.first() == Some(&b'T') {
            columns = origins(message).ok()?;
        }
        Some(())
    });
    Some(succeeded.await?.is_ok().then_some(columns))
}

/// Sends messages and reads the answers up to ReadyForQuery; the SQLSTATE if there was an error. None: the connection is lost.
async fn exchange(
    stream: &mut TargetStream,
    out: &[u8],
    mut read: impl FnMut(&[u8]) -> Option<()>,
) -> Option<Result<(), String>> {
    stream.write_all(out).await.ok()?;
    stream.flush().await.ok()?;
    let (mut total, mut failed) = (0usize, None);
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
            b'E' => failed = failed.or_else(|| Some(error_code(&message))),
            b'Z' => return Some(failed.map_or(Ok(()), Err)),
            _ => read(&message)?,
        }
    }
}

pub(in super::super) fn texts(row: &[u8]) -> Result<Vec<String>, Malformed> {
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

pub(in super::super) fn origins(description: &[u8]) -> Result<Vec<(u32, i16)>, Malformed> {
    let mut body = Body::of(description);
    let count = body.count()?;
    let mut origins = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        body.zero_terminated()?;
        origins.push((body.u32()?, body.i16()?));
        body.bytes(12)?;
    }
    body.end()?;
    Ok(origins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_literal() {
        assert!(!literal("x'; DROP TABLE y; --").contains("DROP"));
        assert!(literal("a'").contains("6127"));
    }
}
