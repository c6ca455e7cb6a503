//! What the target answers: matched with what was asked, masked, recorded, and only then returned.
//!
//! The bytes that the client gets are what the recording holds, under the operation that they answer.

use super::super::frame::{self, Frame, Malformed};
use super::super::refuse::{self, Severity};
use super::copy::Reader;
use super::pending::{Asker, Asking, Pending};
use super::rows::RowBatch;
use super::statements::{Form, Portal, ResultPlan};
use super::{Relay, drift, functions, words};
use crate::session::EventKind;
use crate::session::{Judged, SessionStop};
use chaperone_core::refusal::{Refusal, RefusalCode};
use serde::Serialize;
use serde_json::json;
use std::rc::Rc;

/// The longest row that can be masked, and the longest message of another kind.
pub(super) const MAX_FRAME_BYTES: usize = 64 << 20;

/// Events of a response up to this many bytes are written with the next request, or `RECORD_WITHIN` later: one write for
/// each short statement and not two.
const RECORD_LATER_BYTES: usize = 8 * 1024;

/// The result that is being returned.
#[derive(Default)]
pub(super) struct Current {
    /// Its operation's number.
    pub(super) operation: u64,
    pub(super) plan: Option<Rc<ResultPlan>>,
    form: Form,
    pub(super) rows: u64,
    masked: u64,
    started_micros: u64,
    /// The client was told that it will not see this result; the rest of it is dropped.
    pub(super) hidden: bool,
    /// Everything up to the next ReadyForQuery is dropped: the client was told of an error in an extended segment.
    hidden_segment: bool,
    /// CopyData of the target belongs to this result, and goes on as it is.
    pub(super) copies_out: bool,
    /// Reads CopyData that has to be masked.
    pub(super) reader: Option<Box<Reader>>,
    pub(super) batch: RowBatch,
    /// The target has said that it closes the connection, and why.
    pub(super) fatal: bool,
}

impl Relay<'_> {
    /// Handles every whole frame that the target has sent, then writes the recording, at once or a moment later.
    pub(super) async fn target_burst(&mut self) -> Result<(), SessionStop> {
        let (start, inside_frame) = (self.client.output.bytes.len(), self.target.passing > 0);
        self.unrecorded = Some((start, inside_frame));
        let mut mark = start;
        let done = self.answers(&mut mark).await;
        // Also when the session is about to be cut: what is in the output by now, the client gets to see.
        let operation = self.result.operation;
        self.note_response(operation, &mut mark);
        if done.is_ok() {
            self.target.input.shrink();
            self.say_locals();
        }
        if done.is_err() || self.session.has_to_commit(RECORD_LATER_BYTES) {
            // Fails closed: what could not be recorded is not shown (`Relay::end`).
            self.keep().await?;
        }
        self.unrecorded = None;
        done
    }

    async fn answers(&mut self, mark: &mut usize) -> Result<(), SessionStop> {
        loop {
            if self.target.passing > 0 {
                let count = self.target.passing.min(self.target.input.bytes().len());
                if count == 0 {
                    break;
                }
                self.target.passing -= count;
                self.copy(count);
                continue;
            }
            let available = self.target.input.bytes();
            let frame = match Frame::at(available) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(Malformed(what)) => return Err(drift(what)),
            };
            if frame.total > available.len() {
                if self.can_stream(frame) {
                    self.result.rows += u64::from(frame.kind == b'D');
                    self.target.passing = frame.total;
                    continue;
                }
                if frame.total > MAX_FRAME_BYTES {
                    return Err(drift("a message that is too long to be looked at"));
                }
                self.target.input.reserve(frame.total);
                break;
            }
            // Rows are most of what a target sends: nothing but a counter and a copy for each.
            if frame.kind == b'D' && self.passes_rows() {
                self.result.rows += 1;
                self.copy(frame.total);
                continue;
            }
            if frame.kind == b'd' && !self.result.hidden {
                if self.result.copies_out {
                    self.result.rows += 1;
                    self.copy(frame.total);
                    continue;
                }
                if self.result.reader.is_some() {
                    self.copied(frame).await?;
                    continue;
                }
            }
            if frame.kind != b'D' {
                self.flush_rows().await?;
            }
            if let Finished::Yes = self.response(frame).await? {
                self.note_response(self.result.operation, mark);
            }
        }
        self.flush_rows().await
    }

    /// The bytes that were added for the client since `mark` are an operation's response.
    fn note_response(&mut self, operation: u64, mark: &mut usize) {
        let output = &self.client.output.bytes;
        if let Some(bytes) = output.get(*mark..).filter(|bytes| !bytes.is_empty()) {
            self.session.note_raw(EventKind::Rows, operation, &[bytes]);
        }
        *mark = output.len();
    }

    /// Hands on a part of a result, unless it is hidden.
    pub(super) fn copy(&mut self, count: usize) {
        match self.result.hidden {
            true => self.target.input.consume(count),
            false => self.pass(count),
        }
    }

    fn pass(&mut self, count: usize) {
        if let Some(bytes) = self.target.input.bytes().get(..count) {
            self.client.output.bytes.extend_from_slice(bytes);
        }
        self.target.input.consume(count);
    }

    pub(super) fn drop_answer(&mut self, frame: Frame) {
        self.target.input.consume(frame.total);
    }

    fn can_stream(&self, frame: Frame) -> bool {
        match frame.kind {
            b'D' => self.passes_rows(),
            b'd' => self.result.copies_out,
            _ => false,
        }
    }

    /// Whether rows of the current result go to the client as they are.
    fn passes_rows(&self) -> bool {
        !self.result.hidden
            && self.result.form == Form::Rows
            && self.result.plan.as_deref().is_some_and(|plan| !plan.masks())
    }

    async fn response(&mut self, frame: Frame) -> Result<Finished, SessionStop> {
        match frame.kind {
            // These may come at any time and answer nothing.
            b'N' => {
                self.notice(frame).await;
                return Ok(Finished::No);
            }
            b'A' => {
                self.notification(frame).await?;
                return Ok(Finished::No);
            }
            b'S' => {
                self.watch_setting(frame)?;
                // No part of a result: what the session's settings are now, the client has to know also after a refusal.
                self.pass(frame.total);
                return Ok(Finished::No);
            }
            b'E' => return self.error(frame).await,
            b'Z' => return self.ready(frame),
            _ => {}
        }
        let Some(head) = self.pending.front() else { return Err(drift("an answer that nobody asked for")) };
        match (frame.kind, head) {
            (b'1', Pending::Parse(asker)) => {
                let asker = *asker;
                self.statements.confirm();
                self.answered(frame, asker)
            }
            (b'2', Pending::Bind(asker)) => {
                let asker = *asker;
                self.portals.confirm();
                self.answered(frame, asker)
            }
            (b'3', Pending::Close { statement, name, asker }) => {
                let asker = *asker;
                match statement {
                    true => self.statements.remove(name),
                    false => self.portals.remove(name),
                }
                self.answered(frame, asker)
            }
            (b't', Pending::DescribeStatement(..)) => {
                self.copy(frame.total);
                Ok(Finished::No)
            }
            (b'T' | b'n', Pending::DescribeStatement(statement, epoch)) => {
                let (statement, epoch) = (Rc::clone(statement), *epoch);
                self.described(frame, &statement, Asker::Client, epoch).await
            }
            (b'T' | b'n', Pending::DescribePortal(portal, asker, epoch)) => {
                let (statement, asker, epoch) = (Rc::clone(&portal.statement), *asker, *epoch);
                self.described(frame, &statement, asker, epoch).await
            }
            (b'1' | b't' | b'T' | b'n' | b'3', Pending::DescribeCopy { .. }) => {
                Box::pin(self.copied_columns_described(frame)).await
            }
            (b'1' | b'2' | b'3' | b'T' | b'D' | b'C', Pending::AskReached { .. }) => {
                self.reached_answered(frame)
            }
            (b'T', Pending::Query(judged)) => {
                let judged = Rc::clone(judged);
                self.query_described(frame, &judged).await
            }
            (b'D', Pending::Query(_)) => self.row(frame).await,
            (b'D', Pending::Execute { operation, portal, epoch }) => {
                let (operation, portal, epoch) = (*operation, Rc::clone(portal), *epoch);
                self.executed_row(frame, operation, &portal, epoch).await
            }
            (b'C' | b'I' | b's', Pending::Query(judged)) => {
                let judged = Rc::clone(judged);
                self.complete(frame, &judged, judged.operation, Form::Rows)
            }
            (b'C' | b'I' | b's', Pending::Execute { operation, portal, .. }) => {
                let (operation, judged) = (*operation, Rc::clone(&portal.statement.judged));
                let form = portal.form;
                self.pending.pop_front();
                self.complete(frame, &judged, operation, form)
            }
            (b'G', Pending::Query(_) | Pending::Execute { .. }) => self.copy_in_begins(frame),
            (b'H' | b'd' | b'c', Pending::Query(_) | Pending::Execute { .. }) => self.copy_out(frame),
            _ => Err(drift("an answer to something else than what was asked")),
        }
    }

    fn answered(&mut self, frame: Frame, asker: Asker) -> Result<Finished, SessionStop> {
        self.pending.pop_front();
        match asker {
            Asker::Client => self.copy(frame.total),
            Asker::Gateway => self.drop_answer(frame),
        }
        self.say_locals();
        Ok(Finished::No)
    }

    async fn query_described(&mut self, frame: Frame, judged: &Rc<Judged>) -> Result<Finished, SessionStop> {
        let columns = self.columns(frame, self.epoch).await?;
        let plan = self.make_plan(judged, &columns).await;
        self.begin_result(judged.operation);
        match &*plan {
            ResultPlan::Refuse(refusal) => {
                let refusal = refusal.clone();
                self.hide(&refusal)?;
                self.drop_answer(frame);
            }
            ResultPlan::Show { .. } => self.copy(frame.total),
        }
        self.result.plan = Some(plan);
        Ok(Finished::No)
    }

    pub(super) fn begin_result(&mut self, operation: u64) {
        let hidden = self.result.hidden_segment;
        let batch = std::mem::take(&mut self.result.batch);
        // Operations are answered in their order; those before this one were skipped after an error.
        while self.sent.front().is_some_and(|(sent, _)| *sent < operation) {
            self.sent.pop_front();
        }
        while self.copies.pop_front_if(|copy| copy.operation < operation).is_some() {}
        let sent = self.sent.pop_front_if(|(sent, _)| *sent == operation);
        self.result = Current {
            operation,
            started_micros: sent.map_or_else(|| self.session.elapsed_micros(), |(_, micros)| micros),
            hidden,
            hidden_segment: hidden,
            batch,
            fatal: self.result.fatal,
            ..Current::default()
        };
    }

    /// The client is told that it does not see this result, and sees nothing more of it.
    pub(super) fn hide(&mut self, refusal: &Refusal) -> Result<(), SessionStop> {
        if matches!(self.pending.front(), Some(Pending::Execute { .. })) {
            // What was sent after it has run or will run, while the client would believe that it was skipped.
            let mut later = self.pending.iter().skip(1).take_while(|pending| !pending.ends_segment());
            if later.any(|pending| matches!(pending, Pending::Execute { .. })) {
                return Err(SessionStop::Cut(refusal.clone()));
            }
        }
        if !self.result.hidden {
            let operation = self.result.operation;
            self.session.note(EventKind::Refusal, operation, refusal);
            refuse::error(&mut self.client.output.bytes, Severity::Error, refusal);
        }
        // After an error a client expects nothing more before ReadyForQuery, and skips what it had sent.
        self.result.hidden = true;
        self.result.hidden_segment = true;
        self.skipping |= self.open_segment && !self.pending.iter().any(Pending::ends_segment);
        Ok(())
    }

    async fn executed_row(
        &mut self,
        frame: Frame,
        operation: u64,
        portal: &Rc<Portal>,
        epoch: u64,
    ) -> Result<Finished, SessionStop> {
        if self.result.operation != operation || self.result.plan.is_none() {
            let plan = self.plan_for(portal, epoch).await;
            self.begin_result(operation);
            self.result.form = portal.form;
            if let ResultPlan::Refuse(refusal) = &*plan {
                let refusal = refusal.clone();
                self.hide(&refusal)?;
            }
            self.result.plan = Some(plan);
        }
        self.row(frame).await
    }

    async fn row(&mut self, frame: Frame) -> Result<Finished, SessionStop> {
        if self.result.hidden {
            self.drop_answer(frame);
            return Ok(Finished::No);
        }
        let Some(plan) = self.result.plan.clone() else {
            return Err(drift("rows without a description"));
        };
        let ResultPlan::Show { masked, columns, .. } = &*plan else {
            return Err(drift("rows of a result that is not shown"));
        };
        self.result.rows += 1;
        if masked.is_empty() {
            let start = self.client.output.bytes.len();
            self.copy(frame.total);
            self.in_its_form(start)?;
            return Ok(Finished::No);
        }
        let row = self.target.input.bytes().get(..frame.total).unwrap_or_default();
        self.result.batch.push(row, columns.len(), masked).map_err(|Malformed(what)| drift(what))?;
        self.target.input.consume(frame.total);
        if self.result.batch.is_full() {
            self.flush_rows().await?;
        }
        Ok(Finished::No)
    }

    /// Masks the rows that were gathered and hands them to the client.
    pub(super) async fn flush_rows(&mut self) -> Result<(), SessionStop> {
        if self.result.batch.is_empty() {
            return Ok(());
        }
        let Some(plan) = self.result.plan.clone() else { return Err(drift("rows without a plan")) };
        let ResultPlan::Show { plan, masked, .. } = &*plan else { return Err(drift("rows without a plan")) };
        let operation = self.result.operation;
        let batches = self.result.batch.take_batches();
        let values = match self.result.batch.count() {
            0 => Ok(Vec::new()),
            _ => self.session.mask(operation, plan, batches).await,
        };
        match values {
            Ok(values) => {
                self.result.masked += values.iter().map(|values| u64::from(values.changed())).sum::<u64>();
                let layout = self.result.reader.as_deref().map(|reader| &reader.layout);
                let start = self.client.output.bytes.len();
                let rebuilt =
                    self.result.batch.rebuild(&mut self.client.output.bytes, masked, &values, layout);
                rebuilt.map_err(|Malformed(what)| drift(what))?;
                self.in_its_form(start)
            }
            Err(refusal) => {
                self.result.batch.clear();
                // Rows that the client already has stay; from here on it sees none.
                self.hide(&refusal)
            }
        }
    }

    /// The row at the end of the client's output, from `start`, as the client waits for it.
    fn in_its_form(&mut self, start: usize) -> Result<(), SessionStop> {
        match self.result.form {
            Form::Rows => Ok(()),
            Form::FunctionResult => functions::response(&mut self.client.output.bytes, start)
                .map_err(|Malformed(what)| drift(what)),
        }
    }

    fn complete(
        &mut self,
        frame: Frame,
        judged: &Judged,
        operation: u64,
        form: Form,
    ) -> Result<Finished, SessionStop> {
        if self.result.operation != operation {
            self.begin_result(operation);
        }
        let tag = self.target.input.bytes().get(frame::HEADER_BYTES..frame.total).unwrap_or_default();
        let tag = String::from_utf8_lossy(tag.split(|byte| *byte == 0).next().unwrap_or_default());
        let micros = self.session.elapsed_micros().saturating_sub(self.result.started_micros);
        let body = Completed { tag: &tag, rows: self.result.rows, masked: self.result.masked, micros };
        self.session.note(EventKind::Result, operation, &body);
        match form {
            Form::Rows => self.copy(frame.total),
            Form::FunctionResult if self.result.rows == 1 || self.result.hidden => self.drop_answer(frame),
            Form::FunctionResult => return Err(drift("other than one value of a function")),
        }
        if judged.traits.changes_session && !self.defined.is_nothing() {
            self.catalog.forget();
        }
        // Another result of the same simple query brings its own description.
        self.result.plan = None;
        self.result.rows = 0;
        self.result.masked = 0;
        self.result.started_micros = self.session.elapsed_micros();
        self.say_locals();
        Ok(Finished::Yes)
    }

    fn copy_in_begins(&mut self, frame: Frame) -> Result<Finished, SessionStop> {
        let (operation, judged) = match self.pending.front() {
            Some(Pending::Query(judged)) => (judged.operation, judged),
            Some(Pending::Execute { operation, portal, .. }) => (*operation, &portal.statement.judged),
            _ => return Err(drift("COPY data that nobody asked for")),
        };
        // Fails closed: a COPY that the checks did not see as one was not waited for, and its Syncs are miscounted.
        if !judged.traits.copies_in {
            return Err(unseen_copy());
        }
        self.begin_result(operation);
        self.copy_in = true;
        self.copy(frame.total);
        Ok(Finished::No)
    }

    async fn error(&mut self, frame: Frame) -> Result<Finished, SessionStop> {
        let operation = match self.pending.front() {
            Some(Pending::Query(judged)) => judged.operation,
            Some(Pending::Execute { operation, .. }) => *operation,
            Some(Pending::DescribeCopy { statement, .. }) => statement.judged.operation,
            _ => self.result.operation,
        };
        if self.result.operation != operation {
            self.begin_result(operation);
        }
        self.copy_in = false;
        let bytes = self.target.input.bytes().get(..frame.total).unwrap_or_default();
        let body = json!({ "side": "target", "sqlstate": words::error_code(bytes) });
        self.session.note(EventKind::Error, operation, &body);
        if let Some(Pending::Poison(refused)) = self.pending.front() {
            let refused = refused.clone();
            self.say(&refused);
            self.drop_answer(frame);
        } else {
            self.say_targets_words(frame).await;
        }
        self.fail_asked_query();
        // After an error the target skips everything up to the end of the segment.
        while let Some(head) = self.pending.front() {
            if head.ends_segment() || matches!(head, Pending::LocalQuery(_)) {
                break;
            }
            match head {
                Pending::Parse(_) => self.statements.fail(),
                Pending::Bind(_) => self.portals.fail(),
                Pending::DescribeStatement(statement, _) => statement.asked.set(None),
                Pending::DescribePortal(portal, ..) => portal.statement.asked.set(None),
                Pending::DescribeCopy { statement, .. } => statement.copied_asked.set(None),
                Pending::Execute { operation, .. } => {
                    while self.sent.pop_front_if(|(sent, _)| *sent <= *operation).is_some() {}
                }
                _ => {}
            }
            self.pending.pop_front();
        }
        if self.open_segment && !self.pending.iter().any(Pending::ends_segment) {
            // The segment's end was not sent yet: what comes before it is skipped there, so it is skipped here. A
            // statement that waits for approvers cannot run any more either.
            self.skipping = true;
            self.stalled |= self.parked.take().is_some();
        }
        self.result.plan = None;
        self.result.reader = None;
        self.result.copies_out = false;
        self.say_locals();
        Ok(Finished::Yes)
    }

    fn ready(&mut self, frame: Frame) -> Result<Finished, SessionStop> {
        let status = self.target.input.bytes().get(frame::HEADER_BYTES).copied();
        let (Some(status @ (b'I' | b'T' | b'E')), 6) = (status, frame.total) else {
            return Err(drift("a ReadyForQuery without a transaction status"));
        };
        let mut asked = None;
        match self.pending.pop_front() {
            Some(Pending::Sync | Pending::Query(_)) => {}
            Some(Pending::AskReached { asking: Asking::Query, found, .. }) => asked = Some(found),
            Some(Pending::LocalSync(refused)) => self.say(&refused),
            _ => return Err(drift("a ReadyForQuery that nobody asked for")),
        }
        self.status = status;
        if status == b'I' && self.changed.is_some_and(|changed| changed <= self.answered) {
            self.changed = None;
            self.defined.clear();
            // Others may have looked up since what was changed, and before it was committed.
            self.catalog.forget();
        }
        self.answered += 1;
        if self.pending.is_empty() {
            self.sent.clear();
            self.copies.clear();
        }
        if status == b'I' {
            // Portals end with their transaction.
            self.portals.clear_confirmed();
        }
        self.copy_in = false;
        self.result.hidden = false;
        self.result.hidden_segment = false;
        self.result.plan = None;
        match asked {
            // The gateway had asked: the client's query comes now.
            Some(found) => {
                self.reached_told(found);
                self.drop_answer(frame);
            }
            None => self.copy(frame.total),
        }
        self.say_locals();
        Ok(Finished::No)
    }
}

/// A result as it is recorded.
#[derive(Serialize)]
struct Completed<'a> {
    tag: &'a str,
    rows: u64,
    masked: u64,
    micros: u64,
}

pub(super) fn unseen_copy() -> SessionStop {
    SessionStop::Cut(
        Refusal::new(RefusalCode::NotUnderstood, "the target copies data in a way that no check has seen")
            .hint("Connect again, and send COPY as a statement of its own."),
    )
}

/// Whether an operation's response is complete.
pub(super) enum Finished {
    Yes,
    No,
}
