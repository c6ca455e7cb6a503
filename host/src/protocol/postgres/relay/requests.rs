//! What the client sends: judged, recorded, and only then forwarded; refused in its place; or parked.

use super::super::frame::{self, Frame, Malformed};
use super::copying::{BeforeCopy, CopyToCome};
use super::defined::Defines;
use super::messages::{BindMessage, execute_portal, kind_and_name, parse_text, query_text};
use super::pending::{Asker, Asking, MAX_PENDING, Pending, Refused};
use super::refusing::{long_name, too_many_portals};
use super::statements::{Form, Known, MAX_NAME_BYTES, Portal, ResultPlan, Statement};
use super::{Relay, Settled, violation};
use crate::session::EventKind;
use crate::session::{Judged, Ruling, SessionStop};
use chaperone_core::refusal::{Refusal, RefusalCode};
use serde::Serialize;
use std::rc::Rc;

/// The longest Query or Parse that is judged; DESIGN: what is not understood is refused, and nobody reads a longer one.
const MAX_STATEMENT_BYTES: usize = 1 << 20;

/// The longest Bind that is taken; it is kept whole, because an approval is bound to its bytes.
const MAX_BIND_BYTES: usize = 64 << 20;

/// Names and small messages.
const MAX_SMALL_BYTES: usize = 64 * 1024;

/// Parameters that are recorded of one Bind.
const MAX_RECORDED_PARAMETER_BYTES: usize = 256 * 1024;

/// What became of the frame at the front.
pub(super) enum Step {
    /// It is done with.
    Done,
    /// It has to wait where it is.
    Wait,
}

impl Relay<'_> {
    /// Handles every whole frame that the client has sent, then writes the recording, once.
    pub(super) async fn client_burst(&mut self) -> Result<(), SessionStop> {
        while self.parked.is_none() && self.pending.len() < MAX_PENDING {
            if self.client.passing > 0 {
                let count = self.client.passing.min(self.client.input.bytes().len());
                if count == 0 {
                    break;
                }
                self.client.passing -= count;
                self.note_copy_in(0, count);
                self.forward(count);
                continue;
            }
            let available = self.client.input.bytes();
            let frame = match Frame::at(available) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(Malformed(what)) => return Err(violation(what)),
            };
            if frame.total > available.len() {
                if frame.kind == b'd' && self.copy_in && self.target.passing == 0 {
                    // The header goes first, so that the recording holds the data alone.
                    self.client.passing = frame.total - frame::HEADER_BYTES;
                    self.forward(frame::HEADER_BYTES);
                    continue;
                }
                bound(frame)?;
                self.client.input.reserve(frame.total);
                break;
            }
            match self.request(frame).await? {
                Step::Done => {}
                Step::Wait => {
                    self.stalled = self.parked.is_none();
                    break;
                }
            }
        }
        if self.pending.len() >= MAX_PENDING {
            // The target answers a long pipeline only when it is told to.
            self.flush_target();
            self.stalled = true;
        }
        self.client.input.shrink();
        // Fails closed: what is in the target's output is held until then.
        self.keep().await
    }

    /// Asks the target for the answers to everything that was sent, if that was not done already.
    pub(super) fn flush_target(&mut self) {
        if !std::mem::replace(&mut self.flushed, true) {
            self.target.output.bytes.extend_from_slice(b"H\0\0\0\x04");
        }
    }

    /// Moves bytes from the client's input to the target's output.
    fn forward(&mut self, count: usize) {
        self.flushed = false;
        self.reaching = None;
        if let Some(bytes) = self.client.input.bytes().get(..count) {
            self.target.output.bytes.extend_from_slice(bytes);
        }
        self.client.input.consume(count);
    }

    fn drop_frame(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        // What was settled was settled about this frame, and must not count for another one.
        self.settled = None;
        self.describing = None;
        self.reaching = None;
        self.client.input.consume(frame.total);
        Ok(Step::Done)
    }

    pub(super) fn front(&self, frame: Frame) -> &[u8] {
        self.client.input.bytes().get(..frame.total).unwrap_or_default()
    }

    async fn request(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        if frame.kind == b'X' {
            return Err(SessionStop::ClientClosed);
        }
        // A long row is on its way to the client, and what is said here must not come in the middle of it. And before a
        // COPY FROM STDIN has begun, or ended, nobody knows whether the target reads a frame as data or eats a Sync.
        if self.target.passing > 0 || self.copy_may_begin() {
            // The target may keep the rest of that row until it is asked, and what asks it may be what waits here.
            self.flush_target();
            return Ok(Step::Wait);
        }
        match frame.kind {
            b'S' => return self.sync(frame),
            // After a refusal the client's messages are skipped, as the target would skip them after an error.
            _ if self.skipping => return self.drop_frame(frame),
            b'd' | b'c' | b'f' if !self.copy_in => return self.drop_frame(frame),
            b'd' => {
                self.note_copy_in(frame::HEADER_BYTES, frame.total);
                self.forward(frame.total);
                return Ok(Step::Done);
            }
            b'c' | b'f' => {
                self.copy_in = false;
                self.forward(frame.total);
                self.flush_target();
                return Ok(Step::Done);
            }
            b'H' => {
                self.forward(frame.total);
                self.flushed = true;
                return Ok(Step::Done);
            }
            // The target would lose track of the messages (PostgreSQL source, CopyGetData).
            _ if self.copy_in => return Err(violation("a message that has no place in a COPY")),
            // A query that comes before the Sync is skipped with the segment if that fails: first its answers.
            b'Q' | b'F' if self.open_segment && !self.pending.is_empty() => {
                self.flush_target();
                return Ok(Step::Wait);
            }
            _ => {}
        }
        match frame.kind {
            b'Q' => self.query(frame).await,
            b'P' => self.parse(frame).await,
            b'B' => self.bind(frame).await,
            b'D' => self.describe(frame),
            b'E' => self.execute(frame).await,
            b'C' => self.close(frame),
            b'F' => self.function_call(frame).await,
            _ => Err(violation("a message of an unknown type")),
        }
    }

    /// Whether the last thing that was sent may turn the target to reading CopyData.
    fn copy_may_begin(&self) -> bool {
        !self.copy_in
            && match self.pending.back() {
                Some(Pending::Query(judged)) => judged.traits.copies_in,
                Some(Pending::Execute { portal, .. }) => portal.statement.judged.traits.copies_in,
                _ => false,
            }
    }

    /// Bytes of the client's input are COPY data.
    fn note_copy_in(&mut self, from: usize, to: usize) {
        let operation = self.result.operation;
        let bytes = self.client.input.bytes().get(from..to).unwrap_or_default();
        self.session.note_raw(EventKind::CopyIn, operation, &[bytes]);
    }

    fn sync(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        if self.copy_in {
            // The target ignores a Sync during COPY FROM STDIN (PostgreSQL source, CopyGetData).
            return self.drop_frame(frame);
        }
        self.skipping = false;
        self.forward(frame.total);
        self.flushed = true;
        self.end_segment(Pending::Sync);
        Ok(Step::Done)
    }

    pub(super) fn end_segment(&mut self, pending: Pending) {
        self.pending.push_back(pending);
        self.segment += 1;
        self.executed = false;
        self.open_segment = false;
        if self.changed.is_some() {
            // The end of a transaction may undo a setting, and what names mean with it.
            self.epoch += 1;
        }
    }

    async fn query(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        let (settled, describing) = (self.settled.take(), self.describing.take());
        let judged = match settled {
            _ if let Some(statement) = &describing => Rc::clone(&statement.judged),
            Some(Settled { operation, outcome: Err(refusal), .. }) => {
                self.client.input.consume(frame.total);
                self.refuse_query(Refused { operation, refusal });
                return Ok(Step::Done);
            }
            Some(Settled { judged: Some(judged), .. }) => judged,
            _ => {
                let text = match query_text(self.front(frame)) {
                    Ok(text) => text.to_owned(),
                    Err(refusal) => {
                        self.client.input.consume(frame.total);
                        self.refuse_query(Refused { operation: 0, refusal });
                        return Ok(Step::Done);
                    }
                };
                let judged = Rc::new(self.judge("query", &text).await);
                match &judged.ruling {
                    Ruling::Refuse(refusal) => {
                        let refused = Refused { operation: judged.operation, refusal: refusal.clone() };
                        self.client.input.consume(frame.total);
                        self.refuse_query(refused);
                        return Ok(Step::Done);
                    }
                    Ruling::Hold(terms) => return self.hold(&judged, terms, &[]).await,
                    Ruling::Allow => {}
                }
                judged
            }
        };
        if judged.traits.copies_out {
            match Box::pin(self.before_copy_query(&judged, describing)).await? {
                BeforeCopy::Other | BeforeCopy::Go(_) => {}
                BeforeCopy::Wait => return Ok(Step::Wait),
                BeforeCopy::Refuse(refusal) => {
                    self.client.input.consume(frame.total);
                    self.refuse_query(Refused { operation: judged.operation, refusal });
                    return Ok(Step::Done);
                }
            }
        }
        let (judged, defines) = match judged.traits.moves_on {
            false => (judged, Defines::AsItSays),
            true => match Box::pin(self.moving_on(&judged, Asking::Query)).await {
                Some(known) => known,
                None => {
                    let operation = judged.operation;
                    self.settled = Some(Settled { operation, judged: Some(judged), outcome: Ok(()) });
                    return Ok(Step::Wait);
                }
            },
        };
        self.forward(frame.total);
        self.flushed = true;
        self.sent.push_back((judged.operation, self.session.elapsed_micros()));
        self.note_sent(&judged, defines);
        self.end_segment(Pending::Query(judged));
        Ok(Step::Done)
    }

    async fn parse(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        if let Some(Settled { operation, outcome: Err(refusal), .. }) = self.settled.take() {
            return self.refuse_extended(frame, operation, refusal);
        }
        let (name, text) = match parse_text(self.front(frame)) {
            Ok((name, text)) => (Box::<[u8]>::from(name), text.to_owned()),
            Err(refusal) => return self.refuse_extended(frame, 0, refusal),
        };
        if name.len() > MAX_NAME_BYTES {
            return self.refuse_extended(frame, 0, long_name());
        }
        self.statements.make_room();
        if self.statements.is_full() {
            let refusal =
                Refusal::new(RefusalCode::LimitReached, "too many prepared statements in this session")
                    .hint("Close those that you do not need any more.");
            return self.refuse_extended(frame, 0, refusal);
        }
        let asker = self.asker();
        let kind = match asker {
            Asker::Client => "parse",
            Asker::Gateway => "function-call",
        };
        let judged = Rc::new(self.judge(kind, &text).await);
        if let Ruling::Refuse(refusal) = &judged.ruling {
            return self.refuse_extended(frame, judged.operation, refusal.clone());
        }
        self.note_parsed(&name, &judged);
        self.statements.send(&name, Statement::new(judged), self.segment);
        self.forward(frame.total);
        self.open_segment = true;
        self.pending.push_back(Pending::Parse(asker));
        Ok(Step::Done)
    }

    /// A statement that needs approval waits here and not at its Execute: FETCH and MOVE in SQL run what is bound, too.
    async fn bind(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        let settled = self.settled.take();
        if let Some(Settled { operation, outcome: Err(refusal), .. }) = settled {
            return self.refuse_extended(frame, operation, refusal);
        }
        let bind = match BindMessage::read(self.front(frame)) {
            Ok(bind) => bind,
            Err(Malformed(what)) => return Err(violation(what)),
        };
        if bind.statement.len() > MAX_NAME_BYTES || bind.portal.len() > MAX_NAME_BYTES {
            return self.refuse_extended(frame, 0, long_name());
        }
        let statement = match self.statements.meaning(bind.statement, self.segment) {
            Known::Yes(statement) => statement,
            Known::No => Statement::unseen(),
            Known::Wait => {
                self.settled = settled;
                return Ok(Step::Wait);
            }
        };
        let (name, formats) = (Box::<[u8]>::from(bind.portal), bind.result_formats);
        if self.portals.is_full() {
            let refusal = too_many_portals();
            return self.refuse_extended(frame, statement.judged.operation, refusal);
        }
        let approved = settled
            .and_then(|settled| settled.judged)
            .is_some_and(|judged| Rc::ptr_eq(&judged, &statement.judged));
        if !approved {
            // Also of what is then refused or rejected: what was tried is what an auditor looks for.
            let recorded = frame.total.min(MAX_RECORDED_PARAMETER_BYTES);
            let bytes = self.client.input.bytes().get(frame::HEADER_BYTES..recorded).unwrap_or_default();
            self.session.note_raw(EventKind::Parameters, statement.judged.operation, &[bytes]);
        }
        if let Ruling::Refuse(refusal) = &statement.judged.ruling {
            return self.refuse_extended(frame, statement.judged.operation, refusal.clone());
        }
        if let Ruling::Hold(terms) = &statement.judged.ruling
            && !approved
        {
            let bound = Box::<[u8]>::from(self.front(frame));
            return self.hold(&statement.judged, terms, &bound).await;
        }
        let asker = self.asker();
        let form = match asker {
            Asker::Client => Form::Rows,
            Asker::Gateway => Form::FunctionResult,
        };
        self.portals.send(&name, Rc::new(Portal { statement, formats, form }), self.segment);
        self.forward(frame.total);
        self.open_segment = true;
        self.pending.push_back(Pending::Bind(asker));
        Ok(Step::Done)
    }

    fn describe(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        let (kind, name) = kind_and_name(self.front(frame))?;
        if name.len() > MAX_NAME_BYTES {
            return self.refuse_extended(frame, 0, long_name());
        }
        let (statement, pending) = match kind {
            b'S' => {
                let statement = match self.statements.meaning(name, self.segment) {
                    Known::Yes(statement) => statement,
                    Known::No => Statement::unseen(),
                    Known::Wait => return Ok(Step::Wait),
                };
                (Rc::clone(&statement), Pending::DescribeStatement(statement, self.epoch))
            }
            b'P' => {
                let portal = match self.portals.meaning(name, self.segment) {
                    Known::Yes(portal) => portal,
                    Known::No => Portal::unseen(),
                    Known::Wait => return Ok(Step::Wait),
                };
                let statement = Rc::clone(&portal.statement);
                (statement, Pending::DescribePortal(portal, Asker::Client, self.epoch))
            }
            _ => return Err(violation("a Describe of an unknown kind")),
        };
        statement.asked.set(Some((self.epoch, self.segment)));
        self.forward(frame.total);
        self.open_segment = true;
        self.pending.push_back(pending);
        Ok(Step::Done)
    }

    fn close(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        let (kind, name) = kind_and_name(self.front(frame))?;
        let statement = match kind {
            b'S' => true,
            b'P' => false,
            _ => return Err(violation("a Close of an unknown kind")),
        };
        if name.len() > MAX_NAME_BYTES {
            return self.refuse_extended(frame, 0, long_name());
        }
        let (name, asker) = (Box::from(name), self.asker());
        self.forward(frame.total);
        self.open_segment = true;
        self.pending.push_back(Pending::Close { statement, name, asker });
        Ok(Step::Done)
    }

    async fn execute(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        if let Some(Settled { operation, outcome: Err(refusal), .. }) = self.settled.take() {
            return self.refuse_extended(frame, operation, refusal);
        }
        let name = Box::<[u8]>::from(execute_portal(self.front(frame))?);
        if name.len() > MAX_NAME_BYTES {
            return self.refuse_extended(frame, 0, long_name());
        }
        let portal = match self.portals.meaning(&name, self.segment) {
            Known::Yes(portal) => portal,
            Known::Wait => return Ok(Step::Wait),
            Known::No if self.portals.is_full() => {
                let refusal = too_many_portals();
                return self.refuse_extended(frame, 0, refusal);
            }
            Known::No => self.portals.adopt(&name),
        };
        if let Some(refusal) = self.runs_what_is_held(&portal.statement.judged) {
            return self.refuse_extended(frame, portal.statement.judged.operation, refusal);
        }
        let (portal, defines) = match portal.statement.judged.traits.moves_on {
            false => (portal, Defines::AsItSays),
            true => match Box::pin(self.portal_moving_on(portal)).await {
                Some(known) => known,
                None => return Ok(Step::Wait),
            },
        };
        let judged = Rc::clone(&portal.statement.judged);
        let mut to_copy = None;
        let before = match judged.traits.copies_out {
            true => Box::pin(self.before_copy(&portal.statement, Asking::Execute)).await?,
            false => BeforeCopy::Other,
        };
        match before {
            BeforeCopy::Other => match self.result_plan_before(&portal, &name).await? {
                Before::Go => {}
                Before::Wait => return Ok(Step::Wait),
                Before::Refuse(refusal) => return self.refuse_extended(frame, judged.operation, refusal),
            },
            BeforeCopy::Go(copy) => to_copy = Some(copy),
            BeforeCopy::Wait => return Ok(Step::Wait),
            BeforeCopy::Refuse(refusal) => return self.refuse_extended(frame, judged.operation, refusal),
        }
        let operation = self.session.next_operation();
        self.copies.extend(to_copy.map(|copy| CopyToCome { operation, ..copy }));
        self.session.note(EventKind::Execute, operation, &Executed { of: judged.operation });
        self.forward(frame.total);
        self.open_segment = true;
        self.executed = true;
        if judged.traits.copies_in {
            self.flush_target();
        }
        self.sent.push_back((operation, self.session.elapsed_micros()));
        self.pending.push_back(Pending::Execute { operation, portal, epoch: self.epoch });
        self.note_sent(&judged, defines);
        Ok(Step::Done)
    }

    /// Knows the result's columns before it runs where that matters: a statement that writes cannot be taken back.
    async fn result_plan_before(&mut self, portal: &Rc<Portal>, name: &[u8]) -> Result<Before, SessionStop> {
        let statement = Rc::clone(&portal.statement);
        if statement.is_stale(self.epoch, self.catalog.generation()) {
            let now = Some((self.epoch, self.segment));
            if statement.asked.get() != now {
                frame::message(&mut self.target.output.bytes, b'D', |out| {
                    out.push(b'P');
                    out.extend_from_slice(name);
                    out.push(0);
                });
                self.flushed = false;
                self.open_segment = true;
                statement.asked.set(now);
                let asked = Pending::DescribePortal(Rc::clone(portal), Asker::Gateway, self.epoch);
                self.pending.push_back(asked);
            }
            if statement.judged.traits.only_reads {
                // Whether it may choose by what it chooses by: without rows nobody would ask.
                if let Some(refusal) = self.refused_use(&statement.judged).await {
                    return Ok(Before::Refuse(refusal));
                }
                return Ok(Before::Go);
            }
            self.flush_target();
            return Ok(Before::Wait);
        }
        match &*self.plan_for(portal, self.epoch).await {
            ResultPlan::Show { .. } => Ok(Before::Go),
            ResultPlan::Refuse(refusal) => Ok(Before::Refuse(refusal.clone())),
        }
    }

    async fn hold(
        &mut self,
        judged: &Rc<Judged>,
        terms: &[chaperone_core::decision::HoldTerms],
        bound: &[u8],
    ) -> Result<Step, SessionStop> {
        let shown = super::super::render::statement(&judged.text, bound.get(frame::HEADER_BYTES..));
        match self.session.hold(judged, terms, shown, bound).await {
            Ok(held) => self.park(Rc::clone(judged), held, terms),
            // Nobody can be asked: it does not run. The frame is settled and handled again.
            Err(refusal) => {
                let operation = judged.operation;
                self.settled = Some(Settled { operation, judged: None, outcome: Err(refusal) });
                return Ok(Step::Done);
            }
        }
        Ok(Step::Wait)
    }
}

/// An Execute as it is recorded.
#[derive(Serialize)]
struct Executed {
    /// The operation that judged its statement.
    of: u64,
}

/// Whether an Execute may be forwarded.
enum Before {
    Go,
    Wait,
    Refuse(Refusal),
}

fn bound(frame: Frame) -> Result<(), SessionStop> {
    let most = match frame.kind {
        b'Q' | b'P' => MAX_STATEMENT_BYTES + MAX_SMALL_BYTES,
        b'B' | b'F' => MAX_BIND_BYTES,
        b'd' => 64 << 20,
        _ => MAX_SMALL_BYTES,
    };
    if frame.total <= most {
        return Ok(());
    }
    let what = match frame.kind {
        b'Q' | b'P' => "statement",
        b'B' | b'F' => "set of parameters",
        _ => "message",
    };
    Err(SessionStop::Cut(
        Refusal::new(
            RefusalCode::LimitReached,
            format!("a {what} of {} bytes is longer than {most}", frame.total),
        )
        .hint("Send large data as parameters or with COPY, in smaller parts."),
    ))
}
