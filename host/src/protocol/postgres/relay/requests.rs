//! What the client sends: judged, recorded, and only then forwarded; refused in its place; or parked.

use super::super::frame::{self, Body, Frame, Malformed};
use super::pending::{Asker, MAX_PENDING, Pending, Refused};
use super::statements::{Known, Portal, ResultPlan, Statement};
use super::{Relay, Settled, violation};
use crate::session::EventKind;
use crate::session::{Judged, Planned, Ruling, SessionStop};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::sql::{Column, Format};
use serde_json::json;
use std::cell::{Cell, RefCell};
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
enum Step {
    /// It is done with.
    Done,
    /// It has to wait where it is.
    Wait,
}

/// What a statement that the target must refuse looks like (see `Relay::refuse_extended`).
const POISON: &[u8] = b"chaperone: refused";

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
                if frame.kind == b'd' && self.copy_in {
                    self.client.passing = frame.total;
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
            self.target.output.bytes.extend_from_slice(b"H\0\0\0\x04");
            self.stalled = true;
        }
        self.client.input.shrink();
        // Fails closed: what is in the target's output is written only after this.
        self.session.commit().map_err(SessionStop::Cut)
    }

    /// Moves bytes from the client's input to the target's output.
    fn forward(&mut self, count: usize) {
        if let Some(bytes) = self.client.input.bytes().get(..count) {
            self.target.output.bytes.extend_from_slice(bytes);
        }
        self.client.input.consume(count);
    }

    fn drop_frame(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        self.client.input.consume(frame.total);
        Ok(Step::Done)
    }

    fn front(&self, frame: Frame) -> &[u8] {
        self.client.input.bytes().get(..frame.total).unwrap_or_default()
    }

    async fn request(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        match frame.kind {
            b'X' => return Err(SessionStop::ClientClosed),
            b'S' => return self.sync(frame),
            // After a refusal the client's messages are skipped, as the target would skip them after an error.
            _ if self.skipping => return self.drop_frame(frame),
            _ => {}
        }
        match frame.kind {
            b'Q' => self.query(frame).await,
            b'P' => self.parse(frame).await,
            b'B' => self.bind(frame),
            b'D' => self.describe(frame),
            b'E' => self.execute(frame).await,
            b'C' => self.close(frame),
            b'H' => {
                self.forward(frame.total);
                Ok(Step::Done)
            }
            b'd' => {
                if self.copy_in {
                    self.note_copy_in(frame);
                }
                self.forward(frame.total);
                Ok(Step::Done)
            }
            b'c' | b'f' => {
                self.copy_in = false;
                self.forward(frame.total);
                Ok(Step::Done)
            }
            b'F' => {
                let refusal =
                    Refusal::new(RefusalCode::OperationRefused, "function calls by OID are not allowed")
                        .hint("Call the function in a SELECT, where it can be judged.");
                self.client.input.consume(frame.total);
                self.refuse_query(Refused { operation: 0, refusal });
                Ok(Step::Done)
            }
            _ => Err(violation("a message of an unknown type")),
        }
    }

    fn note_copy_in(&mut self, frame: Frame) {
        let operation = self.result.operation;
        let bytes = self.client.input.bytes().get(frame::HEADER_BYTES..frame.total).unwrap_or_default();
        self.session.note_raw(EventKind::CopyIn, operation, &[bytes]);
    }

    fn sync(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        if self.copy_in {
            // The target ignores a Sync during COPY FROM STDIN (PostgreSQL source, CopyGetData).
            return self.drop_frame(frame);
        }
        self.skipping = false;
        self.forward(frame.total);
        self.end_segment(Pending::Sync);
        Ok(Step::Done)
    }

    fn end_segment(&mut self, pending: Pending) {
        self.pending.push_back(pending);
        self.segment += 1;
        self.executed = false;
        self.open_segment = false;
    }

    async fn query(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        let settled = self.settled.take();
        let judged = match settled {
            Some(Settled { outcome: Err(refusal), operation, .. }) => {
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
        self.forward(frame.total);
        self.end_segment(Pending::Query(judged));
        Ok(Step::Done)
    }

    /// Judges a text, and what only the gateway can see of it; the decision is recorded as it is enforced.
    async fn judge(&mut self, kind: &str, text: &str) -> Judged {
        let mut judged = self.session.judge_sql(kind, text).await;
        if !matches!(judged.ruling, Ruling::Refuse(_))
            && let Some(refusal) = self.refused_result(&judged).await
        {
            judged.ruling = Ruling::Refuse(refusal);
        }
        if let Some(refusal) = self.hidden_from_approvers(&judged) {
            judged.ruling = Ruling::Refuse(refusal);
        }
        self.session.note_decision(&judged);
        judged
    }

    /// PREPARE and EXECUTE in SQL would show approvers a text without its parameters, or parameters without their text.
    /// What was approved is what runs (invariant 7), so what needs approval goes neither way. Fails closed.
    fn hidden_from_approvers(&self, judged: &Judged) -> Option<Refusal> {
        let class = |class: &str| judged.statements.iter().any(|facts| facts.is(class));
        let held = |ruling: &Ruling| matches!(ruling, Ruling::Hold(_));
        let prepares = class("prepare") && held(&judged.ruling);
        let executes =
            class("execute") && self.statements.all().any(|statement| held(&statement.judged.ruling));
        if matches!(judged.ruling, Ruling::Refuse(_)) || !(prepares || executes) {
            return None;
        }
        Some(
            Refusal::new(
                RefusalCode::OperationRefused,
                "a statement that needs approval cannot be run by PREPARE and EXECUTE in SQL",
            )
            .detail("An approver has to see the statement and its parameters together.")
            .hint("Run it directly, or with your driver's parameters."),
        )
    }

    /// A statement that writes cannot be taken back when its result turns out to be unshowable, and COPY TO has no row
    /// description: both are planned before they run. Fails closed.
    async fn refused_result(&mut self, judged: &Judged) -> Option<Refusal> {
        let mut columns = Vec::new();
        for facts in &judged.statements {
            let Some(copy) = &facts.copy_out else { continue };
            match &copy.relation {
                None => columns.push(computed()),
                Some(relation) => {
                    let found = self.catalog.named(relation.schema.as_deref(), &relation.name).await;
                    if found.is_empty() {
                        columns.push(computed());
                    }
                    for relation in &found {
                        columns.extend(relation.origins().map(|origin| Column {
                            name: origin.column.clone(),
                            origin: Some(origin),
                            ..computed()
                        }));
                    }
                }
            }
        }
        let copies = !columns.is_empty();
        let writes_and_returns = judged
            .statements
            .iter()
            .any(|facts| ["insert", "update", "delete", "merge"].iter().any(|class| facts.is(class)))
            && judged.statements.iter().any(|facts| {
                facts.opaque
                    || facts.columns.iter().any(|column| column.place == chaperone_core::sql::Place::Output)
            });
        if writes_and_returns {
            columns.push(computed());
        }
        if columns.is_empty() {
            return None;
        }
        match self.session.plan(judged, &columns).await {
            Planned::Refuse(refusal) => Some(refusal),
            Planned::Show(plan) if copies && !plan.passes_all() => Some(
                Refusal::new(
                    RefusalCode::MaskImpossible,
                    "this COPY would show values that have to be masked",
                )
                .hint("Read them with SELECT: the result is masked."),
            ),
            Planned::Show(_) => None,
        }
    }

    async fn parse(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        if let Some(Settled { operation, outcome: Err(refusal), .. }) = self.settled.take() {
            return self.refuse_extended(frame, operation, refusal);
        }
        let (name, text) = match parse_text(self.front(frame)) {
            Ok((name, text)) => (Box::<[u8]>::from(name), text.to_owned()),
            Err(refusal) => return self.refuse_extended(frame, 0, refusal),
        };
        if self.statements.is_full() {
            let refusal =
                Refusal::new(RefusalCode::LimitReached, "too many prepared statements in this session")
                    .hint("Close those that are not needed any more.");
            return self.refuse_extended(frame, 0, refusal);
        }
        let judged = Rc::new(self.judge("parse", &text).await);
        if let Ruling::Refuse(refusal) = &judged.ruling {
            return self.refuse_extended(frame, judged.operation, refusal.clone());
        }
        self.statements.send(&name, Statement::new(judged), self.segment);
        self.forward(frame.total);
        self.open_segment = true;
        self.pending.push_back(Pending::Parse);
        Ok(Step::Done)
    }

    fn bind(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        let bind = match BindMessage::read(self.front(frame)) {
            Ok(bind) => bind,
            Err(Malformed(what)) => return Err(violation(what)),
        };
        let statement = match self.statements.meaning(bind.statement, self.segment) {
            Known::Yes(statement) => statement,
            Known::No => Statement::unseen(),
            Known::Wait => return Ok(Step::Wait),
        };
        let (name, formats) = (Box::<[u8]>::from(bind.portal), bind.result_formats);
        if self.portals.is_full() {
            let refusal = Refusal::new(RefusalCode::LimitReached, "too many open portals in this session");
            return self.refuse_extended(frame, statement.judged.operation, refusal);
        }
        let held = matches!(statement.judged.ruling, Ruling::Hold(_));
        let bound = held.then(|| Box::<[u8]>::from(self.front(frame)));
        let recorded = frame.total.min(MAX_RECORDED_PARAMETER_BYTES);
        let bytes = self.client.input.bytes().get(frame::HEADER_BYTES..recorded).unwrap_or_default();
        self.session.note_raw(EventKind::Parameters, statement.judged.operation, &[bytes]);
        let portal = Portal { statement, formats, bound: RefCell::new(bound), approved: Cell::new(false) };
        self.portals.send(&name, Rc::new(portal), self.segment);
        self.forward(frame.total);
        self.open_segment = true;
        self.pending.push_back(Pending::Bind);
        Ok(Step::Done)
    }

    fn describe(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        let (kind, name) = kind_and_name(self.front(frame))?;
        let pending = match kind {
            b'S' => match self.statements.meaning(name, self.segment) {
                Known::Yes(statement) => Pending::DescribeStatement(statement),
                Known::No => Pending::DescribeStatement(Statement::unseen()),
                Known::Wait => return Ok(Step::Wait),
            },
            b'P' => match self.portals.meaning(name, self.segment) {
                Known::Yes(portal) => Pending::DescribePortal(portal, Asker::Client),
                Known::No => Pending::DescribePortal(Portal::unseen(), Asker::Client),
                Known::Wait => return Ok(Step::Wait),
            },
            _ => return Err(violation("a Describe of an unknown kind")),
        };
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
        let name = Box::from(name);
        self.forward(frame.total);
        self.open_segment = true;
        self.pending.push_back(Pending::Close { statement, name });
        Ok(Step::Done)
    }

    async fn execute(&mut self, frame: Frame) -> Result<Step, SessionStop> {
        let settled = self.settled.take();
        let mut body = Body::of(self.front(frame));
        let name = match body.zero_terminated().and_then(|name| body.i32().map(|_| name)) {
            Ok(name) => Box::<[u8]>::from(name),
            Err(Malformed(what)) => return Err(violation(what)),
        };
        let portal = match self.portals.meaning(&name, self.segment) {
            Known::Yes(portal) => portal,
            Known::No => Portal::unseen(),
            Known::Wait => return Ok(Step::Wait),
        };
        match settled {
            Some(Settled { operation, outcome: Err(refusal), .. }) => {
                return self.refuse_extended(frame, operation, refusal);
            }
            Some(Settled { outcome: Ok(()), judged: Some(judged), .. })
                if Rc::ptr_eq(&judged, &portal.statement.judged) =>
            {
                portal.approved.set(true);
            }
            _ => {}
        }
        let judged = Rc::clone(&portal.statement.judged);
        if let Ruling::Refuse(refusal) = &judged.ruling {
            return self.refuse_extended(frame, judged.operation, refusal.clone());
        }
        if let Ruling::Hold(terms) = &judged.ruling
            && !portal.approved.get()
        {
            let bound = portal.bound.borrow().clone().unwrap_or_default();
            return self.hold(&judged, terms, &bound).await;
        }
        match self.result_plan_before(&portal, &name).await? {
            Before::Go => {}
            Before::Wait => return Ok(Step::Wait),
            Before::Refuse(refusal) => return self.refuse_extended(frame, judged.operation, refusal),
        }
        let operation = self.session.next_operation();
        self.session.note(EventKind::Execute, operation, &json!({ "of": judged.operation }));
        self.forward(frame.total);
        self.open_segment = true;
        self.executed = true;
        self.pending.push_back(Pending::Execute { operation, portal });
        Ok(Step::Done)
    }

    /// Knows the result's columns before it runs where that matters: a statement that writes cannot be taken back.
    async fn result_plan_before(&mut self, portal: &Rc<Portal>, name: &[u8]) -> Result<Before, SessionStop> {
        let statement = Rc::clone(&portal.statement);
        if statement.columns.borrow().is_none() {
            let reads = statement.judged.only_reads();
            let described = self.pending.iter().any(|pending| match pending {
                Pending::DescribeStatement(other) => Rc::ptr_eq(other, &statement),
                Pending::DescribePortal(other, _) => Rc::ptr_eq(other, portal),
                _ => false,
            });
            if !described {
                frame::message(&mut self.target.output.bytes, b'D', |out| {
                    out.push(b'P');
                    out.extend_from_slice(name);
                    out.push(0);
                });
                self.pending.push_back(Pending::DescribePortal(Rc::clone(portal), Asker::Gateway));
            }
            if reads {
                return Ok(Before::Go);
            }
            if !statement.asked.replace(true) {
                self.target.output.bytes.extend_from_slice(b"H\0\0\0\x04");
            }
            return Ok(Before::Wait);
        }
        match &*self.plan_for(portal).await {
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

    /// A refused simple query: the client gets an error and stays ready, in the transaction it was in.
    fn refuse_query(&mut self, refused: Refused) {
        if self.open_segment {
            // The query would have ended the segment before it; a Sync does that in its place.
            self.target.output.bytes.extend_from_slice(b"S\0\0\0\x04");
            self.end_segment(Pending::LocalSync(refused));
        } else {
            self.pending.push_back(Pending::LocalQuery(refused));
            self.say_locals();
        }
    }

    /// A refused message of an extended segment. What the segment did before in an implicit transaction has to be undone,
    /// or the client would believe that it was: then the target is made to fail the segment itself.
    fn refuse_extended(
        &mut self,
        frame: Frame,
        operation: u64,
        refusal: Refusal,
    ) -> Result<Step, SessionStop> {
        if self.executed {
            if self.pending.iter().any(Pending::ends_segment) {
                // The transaction's state is known only when all before was answered.
                self.settled = Some(Settled { operation, judged: None, outcome: Err(refusal) });
                return Ok(Step::Wait);
            }
            if self.status == b'I' {
                frame::message(&mut self.target.output.bytes, b'P', |out| {
                    out.push(0);
                    out.extend_from_slice(POISON);
                    out.extend_from_slice(&[0, 0, 0]);
                });
                self.client.input.consume(frame.total);
                self.pending.push_back(Pending::Poison(Refused { operation, refusal }));
                self.skipping = true;
                return Ok(Step::Done);
            }
        }
        if !self.pending.is_empty() {
            // So that what was asked before is answered before.
            self.target.output.bytes.extend_from_slice(b"H\0\0\0\x04");
        }
        self.client.input.consume(frame.total);
        self.pending.push_back(Pending::Local(Refused { operation, refusal }));
        self.skipping = true;
        self.say_locals();
        Ok(Step::Done)
    }
}

/// Whether an Execute may be forwarded.
enum Before {
    Go,
    Wait,
    Refuse(Refusal),
}

/// A column that nothing is known of.
pub(super) fn computed() -> Column {
    Column { name: String::new(), origin: None, type_oid: 25, format: Format::Text }
}

fn bound(frame: Frame) -> Result<(), SessionStop> {
    let most = match frame.kind {
        b'Q' | b'P' => MAX_STATEMENT_BYTES + MAX_SMALL_BYTES,
        b'B' => MAX_BIND_BYTES,
        b'd' => 64 << 20,
        _ => MAX_SMALL_BYTES,
    };
    if frame.total <= most {
        return Ok(());
    }
    let what = match frame.kind {
        b'Q' | b'P' => "statement",
        b'B' => "set of parameters",
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

/// Statements are judged as UTF-8, whole: anything else could be read differently by the target.
fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| {
        Refusal::new(RefusalCode::NotUnderstood, "the statement is not valid UTF-8, so it cannot be judged")
    })
}

fn malformed(wrong: Malformed) -> Refusal {
    Refusal::new(RefusalCode::NotUnderstood, wrong.0)
}

fn query_text(frame: &[u8]) -> Result<&str, Refusal> {
    let mut body = Body::of(frame);
    let text = body.zero_terminated().map_err(malformed)?;
    body.end().map_err(malformed)?;
    utf8(text)
}

fn parse_text(frame: &[u8]) -> Result<(&[u8], &str), Refusal> {
    let mut body = Body::of(frame);
    let name = body.zero_terminated().map_err(malformed)?;
    let text = body.zero_terminated().map_err(malformed)?;
    let types = body.count().map_err(malformed)?;
    body.bytes(types * 4).map_err(malformed)?;
    body.end().map_err(malformed)?;
    Ok((name, utf8(text)?))
}

fn kind_and_name(frame: &[u8]) -> Result<(u8, &[u8]), SessionStop> {
    let mut body = Body::of(frame);
    let read = (|| {
        let kind = body.u8()?;
        let name = body.zero_terminated()?;
        body.end()?;
        Ok((kind, name))
    })();
    read.map_err(|Malformed(what)| violation(what))
}

struct BindMessage<'a> {
    portal: &'a [u8],
    statement: &'a [u8],
    result_formats: Box<[i16]>,
}

impl<'a> BindMessage<'a> {
    fn read(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut body = Body::of(frame);
        let portal = body.zero_terminated()?;
        let statement = body.zero_terminated()?;
        let formats = body.count()?;
        body.bytes(formats * 2)?;
        for _ in 0..body.count()? {
            body.value()?;
        }
        let results = body.count()?;
        let mut result_formats = Vec::with_capacity(results.min(64));
        for _ in 0..results {
            result_formats.push(body.i16()?);
        }
        body.end()?;
        Ok(BindMessage { portal, statement, result_formats: result_formats.into() })
    }
}
