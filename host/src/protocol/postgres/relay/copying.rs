//! COPY TO STDOUT: its columns are asked for before it runs, its rows are masked as those of a SELECT are.
//!
//! A COPY has no row description. So the target is asked for that of what the COPY reads: of its query, as it stands in the text,
//! or of a SELECT of the table's columns. It is asked on the session's own connection, right before the COPY and in the
//! same transaction: names mean the same to both, and the relations stay locked in between. Where the target finds a
//! mistake in it, its error is the client's answer. What may go wrong: what is described is not what is copied. So the
//! statement must be alone in its text, its query must be cut out without doubt, and the number of columns has to agree.

use super::super::frame::{self, Body, Frame, Malformed};
use super::copy::{Layout, Reader};
use super::pending::{Asking, Pending};
use super::plans::{read_fields, with_formats};
use super::responses::Finished;
use super::statements::{Described, ResultPlan, Statement};
use super::{Relay, drift};
use crate::session::{Judged, SessionStop};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::sql::{Column, CopyOut};
use std::rc::Rc;
use std::time::Instant;

/// The prepared statement by which columns are asked for. It lives only between two messages of the client.
const NAME: &[u8] = b"chaperone: copied columns\0";

/// The longest row that is masked, in bytes: as long as one that is not copied.
const MAX_ROW_BYTES: usize = super::responses::MAX_FRAME_BYTES;

/// A COPY that was handed on, and how its rows are treated.
pub(super) struct CopyToCome {
    pub(super) operation: u64,
    pub(super) plan: Rc<ResultPlan>,
    pub(super) layout: Layout,
}

/// Whether a COPY may be handed on.
pub(super) enum BeforeCopy {
    /// It is none, or none that is planned like this.
    Other,
    Go(CopyToCome),
    /// The target has to answer first.
    Wait,
    Refuse(Refusal),
}

/// What a COPY reads, as a statement whose columns can be described.
pub(super) struct CopySource<'j> {
    copy: &'j CopyOut,
    layout: Layout,
    text: String,
}

/// The source of a COPY that is alone in its text and understood to the end.
pub(super) fn source(judged: &Judged) -> Option<CopySource<'_>> {
    let [facts] = &*judged.statements else { return None };
    let copy = facts.copy_out.as_ref()?;
    let layout = Layout::of(copy)?;
    let query = copy.form.as_ref()?.query;
    let text = match (&copy.relation, query) {
        (None, Some((start, end))) => query_in(&judged.text, start, end)?,
        (Some(relation), None) => {
            let schema = relation.schema.as_deref().map(|schema| quoted(schema) + ".").unwrap_or_default();
            let columns: Vec<String> = copy.columns.iter().map(|name| quoted(name)).collect();
            let list = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
            format!("SELECT {list} FROM ONLY {schema}{}", quoted(&relation.name))
        }
        _ => return None,
    };
    Some(CopySource { copy, layout, text })
}

/// The query between the parentheses of `COPY (…)`, as PostgreSQL reads it, with spaces before it, so that a place in
/// it is one in the whole text. A check says where it is; that it is there is seen here: before it stands `COPY (` and nothing
/// else, behind it a parenthesis that no comment swallows. Then PostgreSQL takes the same bytes for the query: were it to take
/// fewer or more, parentheses would not match, and it would refuse either the query or the whole.
fn query_in(text: &str, start: u32, end: u32) -> Option<String> {
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    let (before, query, after) = (text.get(..start)?, text.get(start..end)?, text.get(end..)?);
    let opens = skip_space(before)
        .split_at_checked(4)
        .is_some_and(|(word, rest)| word.eq_ignore_ascii_case("copy") && skip_space(rest) == "(");
    let last_line = query.rsplit(['\n', '\r']).next()?;
    (opens && after.starts_with(')') && !last_line.contains("--"))
        .then(|| " ".repeat(before.chars().count()) + query)
}

/// Skips white space and comments (PostgreSQL manual, 4.1.5).
fn skip_space(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']);
        if let Some(comment) = text.strip_prefix("--") {
            text = comment.find(['\n', '\r']).and_then(|end| comment.get(end..)).unwrap_or_default();
        } else if text.starts_with("/*") {
            text = skip_comment(text);
        } else {
            return text;
        }
    }
}

/// Comments lie in each other.
fn skip_comment(text: &str) -> &str {
    let (mut depth, mut at) = (0usize, 0);
    let bytes = text.as_bytes();
    while let Some([first, second]) = bytes.get(at..at + 2) {
        match (first, second) {
            (b'/', b'*') => depth += 1,
            (b'*', b'/') => depth = depth.saturating_sub(1),
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    if depth == 0 { text.get(at..).unwrap_or_default() } else { "" }
}

/// A name as an identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Relay<'_> {
    /// Whether a text is a COPY whose columns are asked for before it runs.
    pub(super) fn asks_for_copied_columns(&self, judged: &Judged) -> bool {
        self.session.has_masks() && source(judged).is_some()
    }

    /// Knows how the rows of a COPY are masked before it is handed on, as `operation`.
    pub(super) async fn before_copy(
        &mut self,
        statement: &Rc<Statement>,
        asking: Asking,
    ) -> Result<BeforeCopy, SessionStop> {
        let judged = Rc::clone(&statement.judged);
        if !judged.traits.copies_out || !self.session.has_masks() {
            return Ok(BeforeCopy::Other);
        }
        let Some(CopySource { layout, text, .. }) = source(&judged) else {
            // Judged once before, perhaps long ago: its names may mean something else by now.
            return Ok(match self.refused_result(&judged).await {
                Some(refusal) => BeforeCopy::Refuse(refusal),
                None => BeforeCopy::Other,
            });
        };
        // Taken: it counts for this COPY alone, because PostgreSQL analyses each one anew and says nothing when it changed.
        let known = statement
            .copied
            .take()
            .filter(|described| described.counts(self.epoch, self.catalog.generation()))
            .map(|described| described.columns);
        let Some(columns) = known else {
            self.ask_for_copied_columns(statement, asking, &text);
            return Ok(BeforeCopy::Wait);
        };
        if let Some(refusal) = self.refused_use(&judged).await {
            return Ok(BeforeCopy::Refuse(refusal));
        }
        let columns = with_formats(&columns, if layout.is_binary() { &[1] } else { &[] });
        let plan = self.make_plan(&judged, &columns).await;
        Ok(match &*plan {
            ResultPlan::Refuse(refusal) => BeforeCopy::Refuse(refusal.clone()),
            ResultPlan::Show { masked, .. } if !masked.is_empty() && !layout.tells_nulls() => {
                BeforeCopy::Refuse(ambiguous_null())
            }
            ResultPlan::Show { .. } => BeforeCopy::Go(CopyToCome { operation: 0, plan, layout }),
        })
    }

    /// The same for a simple query; one that goes on is kept in mind until it begins.
    pub(super) async fn before_copy_query(
        &mut self,
        judged: &Rc<Judged>,
        describing: Option<Rc<Statement>>,
    ) -> Result<BeforeCopy, SessionStop> {
        let statement = describing.unwrap_or_else(|| Statement::new(Rc::clone(judged)));
        Ok(match self.before_copy(&statement, Asking::Query).await? {
            BeforeCopy::Go(copy) => {
                self.copies.push_back(CopyToCome { operation: judged.operation, ..copy });
                BeforeCopy::Other
            }
            BeforeCopy::Wait => {
                self.describing = Some(statement);
                BeforeCopy::Wait
            }
            other => other,
        })
    }

    fn ask_for_copied_columns(&mut self, statement: &Rc<Statement>, asking: Asking, text: &str) {
        let now = Some((self.epoch, self.segment));
        if statement.copied_asked.replace(now) == now {
            return;
        }
        let out = &mut self.target.output.bytes;
        let close = |out: &mut Vec<u8>| {
            frame::message(out, b'C', |out| {
                out.push(b'S');
                out.extend_from_slice(NAME);
            });
        };
        // Closing what does not exist is no error, and what was left over by one would be in the way.
        close(out);
        frame::message(out, b'P', |out| {
            out.extend_from_slice(NAME);
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(&[0, 0, 0]);
        });
        frame::message(out, b'D', |out| {
            out.push(b'S');
            out.extend_from_slice(NAME);
        });
        close(out);
        self.flushed = false;
        self.open_segment = true;
        self.pending.push_back(Pending::DescribeCopy {
            statement: Rc::clone(statement),
            epoch: self.epoch,
            asking,
            closed: 0,
        });
        self.flush_target();
    }

    /// The target answers what was asked by `ask_for_copied_columns`.
    pub(super) async fn copied_columns_described(&mut self, frame: Frame) -> Result<Finished, SessionStop> {
        let Some(Pending::DescribeCopy { statement, epoch, closed, .. }) = self.pending.front_mut() else {
            return Err(drift("a description that nobody asked for"));
        };
        let (statement, epoch) = (Rc::clone(statement), *epoch);
        match frame.kind {
            b'3' => *closed += 1,
            b'T' | b'n' => {
                let columns = self.copied_columns(frame, &statement, epoch).await?;
                *statement.copied.borrow_mut() = Some(Described {
                    epoch,
                    generation: self.catalog.generation(),
                    at: Instant::now(),
                    columns,
                });
            }
            _ => {}
        }
        self.drop_answer(frame);
        if matches!(self.pending.front(), Some(Pending::DescribeCopy { closed: 2.., .. })) {
            self.pending.pop_front();
            statement.copied_asked.set(None);
            self.say_locals();
        }
        Ok(Finished::No)
    }

    /// The columns of a COPY. Of a table without a list they are all but the generated ones (PostgreSQL manual, COPY).
    async fn copied_columns(
        &mut self,
        frame: Frame,
        statement: &Statement,
        epoch: u64,
    ) -> Result<Rc<[Column]>, SessionStop> {
        let columns = self.columns(frame, epoch).await?;
        let whole_table = source(&statement.judged)
            .is_some_and(|source| source.copy.relation.is_some() && source.copy.columns.is_empty());
        if !whole_table || frame.kind == b'n' {
            return Ok(columns);
        }
        let bytes = self.target.input.bytes().get(..frame.total).unwrap_or_default();
        let fields = read_fields(bytes).map_err(|Malformed(what)| drift(what))?;
        let mut kept = Vec::with_capacity(columns.len());
        for (column, field) in columns.iter().zip(fields) {
            if !self.catalog.is_generated(field.relation, field.attribute).await {
                kept.push(column.clone());
            }
        }
        Ok(kept.into())
    }

    /// The error of the target about what was asked for a simple query: it is the query's answer.
    pub(super) fn fail_asked_query(&mut self) {
        let is_query = match self.pending.front() {
            Some(Pending::DescribeCopy { asking: Asking::Query, .. }) => false,
            Some(Pending::AskReached { asking: Asking::Query, .. }) => true,
            _ => return,
        };
        if let Ok(Some(query)) = Frame::at(self.client.input.bytes()) {
            self.client.input.consume(query.total);
        }
        (self.describing, self.reaching, self.settled) = (None, None, None);
        if is_query {
            // Its ReadyForQuery is the client's.
            self.pending.pop_front();
            self.pending.push_front(Pending::Sync);
        } else {
            // It ends what the target now skips.
            self.target.output.bytes.extend_from_slice(b"S\0\0\0\x04");
            self.end_segment(Pending::Sync);
        }
    }

    /// Data of a COPY TO, of its begin and its end.
    pub(super) fn copy_out(&mut self, frame: Frame) -> Result<Finished, SessionStop> {
        let (operation, judged) = match self.pending.front() {
            Some(Pending::Query(judged)) => (judged.operation, Rc::clone(judged)),
            Some(Pending::Execute { operation, portal, .. }) => {
                (*operation, Rc::clone(&portal.statement.judged))
            }
            _ => return Err(drift("COPY data that nobody asked for")),
        };
        // Fails closed: a COPY that the checks did not see as one was not planned either.
        if !judged.traits.copies_out || !judged.statements.iter().any(|facts| facts.copy_out.is_some()) {
            return Err(super::responses::unseen_copy());
        }
        match frame.kind {
            b'H' => self.copy_out_begins(frame, operation, &judged)?,
            // Data that is shown is dealt with before (`answers`).
            b'd' if self.result.hidden => {}
            b'd' => return Err(drift("data of a COPY that has not begun")),
            _ => {
                if let Some(reader) = self.result.reader.take().filter(|_| !self.result.hidden) {
                    reader.finish().map_err(|Malformed(what)| drift(what))?;
                }
                self.result.copies_out = false;
            }
        }
        self.copy(frame.total);
        Ok(Finished::No)
    }

    fn copy_out_begins(&mut self, frame: Frame, operation: u64, judged: &Judged) -> Result<(), SessionStop> {
        self.begin_result(operation);
        let Some(to_come) = self.copies.pop_front_if(|copy| copy.operation == operation) else {
            // Fails closed: one that had to be planned was not.
            if self.asks_for_copied_columns(judged) {
                return Err(super::responses::unseen_copy());
            }
            // Nothing in it has to be masked, or it had been refused (`refused_result`).
            self.result.copies_out = true;
            return Ok(());
        };
        let CopyToCome { plan, layout, .. } = to_come;
        let ResultPlan::Show { masked, columns, .. } = &*plan else {
            return Err(super::responses::unseen_copy());
        };
        let bytes = self.target.input.bytes().get(..frame.total).unwrap_or_default();
        let (binary, count) = read_beginning(bytes).map_err(|Malformed(what)| drift(what))?;
        // Fails closed: what comes is not what was described.
        if binary != layout.is_binary() || count != columns.len() {
            return self.hide(&other_columns());
        }
        if masked.is_empty() {
            self.result.copies_out = true;
        } else {
            self.result.reader = Some(Box::new(Reader::new(layout, Rc::clone(columns), MAX_ROW_BYTES)));
            self.result.plan = Some(plan);
        }
        Ok(())
    }

    /// Rows, or parts of them, that have to be masked.
    pub(super) async fn copied(&mut self, frame: Frame) -> Result<(), SessionStop> {
        let mut at = frame::HEADER_BYTES;
        while at < frame.total && !self.result.hidden {
            let Some(ResultPlan::Show { masked, columns, .. }) = self.result.plan.as_deref() else {
                return Err(drift("copied rows without a plan"));
            };
            let Some(reader) = &mut self.result.reader else {
                return Err(drift("copied rows without a plan"));
            };
            let data = self.target.input.bytes().get(at..frame.total).unwrap_or_default();
            let batch = &mut self.result.batch;
            let before = batch.count();
            let taken = batch
                .push_copied(reader, data, columns.len(), masked)
                .map_err(|Malformed(what)| drift(what))?;
            self.result.rows += u64::try_from(batch.count() - before).unwrap_or(0);
            at += taken;
            if self.result.batch.is_full() {
                self.flush_rows().await?;
            }
        }
        self.target.input.consume(frame.total);
        Ok(())
    }
}

/// CopyOutResponse: whether the format is binary, and the number of columns.
fn read_beginning(frame: &[u8]) -> Result<(bool, usize), Malformed> {
    let mut body = Body::of(frame);
    let binary = body.u8()?;
    let count = body.count()?;
    let formats = body.bytes(2 * count)?;
    body.end()?;
    let expected: [u8; 2] = [0, binary];
    let agree = binary <= 1 && formats.as_chunks::<2>().0.iter().all(|format| *format == expected);
    if agree { Ok((binary == 1, count)) } else { Err(Malformed("a COPY in a format that does not exist")) }
}

fn ambiguous_null() -> Refusal {
    Refusal::new(
        RefusalCode::MaskImpossible,
        "this COPY writes NULL in a way that a value may be written, too, so its rows cannot be masked",
    )
    .hint("Leave NULL out, or use the csv format.")
}

fn other_columns() -> Refusal {
    Refusal::new(
        RefusalCode::MaskImpossible,
        "this COPY sends other columns than its description says, so it cannot be shown",
    )
    .hint("Name the columns, or read them with SELECT.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_cut_out_only_where_there_is_no_doubt() {
        let cut = |text: &str| {
            let (start, end) = (text.find('{').unwrap(), text.rfind('}').unwrap() - 1);
            let text = text.replace(['{', '}'], "");
            query_in(&text, start.try_into().unwrap(), end.try_into().unwrap())
        };
        assert_eq!(cut("copy ({select 1}) to stdout"), Some("      select 1".into()));
        assert_eq!(
            cut("/* ü /* */ */ COPY--\r\n({ select 1 -- x\n}) to"),
            Some(" ".repeat(23) + " select 1 -- x\n")
        );
        for text in [
            "copy ({select 1} ) to stdout",
            "copy ( {select 1}) to stdout",
            "copy ({select 1 --}) to stdout\n) to stdout",
            "copy ({select 1 \r--}) to stdout\n) to stdout",
            "select 1; copy ({select 1}) to stdout",
            "copy /* ({select 1}) to stdout",
            "copy -- ({select 1}) to stdout",
            "copyx ({select 1}) to stdout",
            "({select 1}) to stdout",
        ] {
            assert_eq!(cut(text), None, "{text}");
        }
        assert_eq!(query_in("copy (é) to stdout", 7, 8), None);
        assert_eq!(query_in("copy (a) to stdout", 7, 6), None);
        assert_eq!(query_in("copy (a)", 6, u32::MAX), None);
    }

    #[test]
    fn a_name_stays_one() {
        assert_eq!(quoted("a\"; drop table x; --"), "\"a\"\"; drop table x; --\"");
    }

    #[test]
    fn the_beginning_of_a_copy_has_one_format() {
        let frame = |body: &[u8]| [b"H\0\0\0\0", body].concat();
        assert_eq!(read_beginning(&frame(&[0, 0, 2, 0, 0, 0, 0])), Ok((false, 2)));
        assert_eq!(read_beginning(&frame(&[1, 0, 1, 0, 1])), Ok((true, 1)));
        for body in
            [&[0, 0, 1, 0, 1][..], &[1, 0, 1, 0, 0], &[2, 0, 0], &[0, 0, 1], &[0, 0, 0, 0], &[0, 0xff, 0xff]]
        {
            assert!(read_beginning(&frame(body)).is_err(), "{body:?}");
        }
    }
}
