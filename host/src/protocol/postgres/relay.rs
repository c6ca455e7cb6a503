//! Carries a session: every statement is judged and recorded before it is forwarded, every row is masked and recorded
//! before it is returned.
//!
//! One task, both directions polled together (`relay/lane.rs`). `requests.rs` handles what the client sends,
//! `responses.rs` what the target answers, `pending.rs` keeps the order, `statements.rs` what names mean,
//! `reached.rs` what EXECUTE and FETCH stand for, `rows.rs` masks. What may go wrong: the two sides' views of the protocol
//! drift apart. So every answer is matched with what was asked, and one that was not asked for ends the session.

mod copy;
mod copying;
mod defined;
mod functions;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod judging;
mod lane;
mod messages;
mod pending;
mod plans;
mod reached;
mod recent;
mod refusing;
mod requests;
mod responses;
mod rows;
mod statements;
mod words;

use super::cancel::CancelEntry;
use super::catalog::Catalog;
use super::refuse::{self, Severity};
use super::stream::TargetStream;
use crate::session::{Doing, HeldOperation, HeldOutcome, Judged, News, Session, SessionStop, Warning, Watch};
use crate::tls::ServerTls;
use chaperone_core::name::HoldId;
use chaperone_core::refusal::{Refusal, RefusalCode};
use copying::CopyToCome;
use defined::{Defined, Uses};
use lane::{HIGH_WATER_BYTES, Lane};
use pending::Pending;
use reached::{Reaching, Texts};
use recent::{Descriptions, Plans};
use statements::{Names, Portal, Statement};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// How long a client that is cut gets to take the last message.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the target gets to take a cancel request for what still runs when a session is cut.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the events of a small response may wait in memory for those of the next request, to be written with them.
const RECORD_WITHIN: Duration = Duration::from_millis(5);

/// A session that has been idle for so long, or up to twice that, gives its plugins' memory back: making them anew costs less
/// than a tenth of a millisecond.
const REST_AFTER: Duration = Duration::from_secs(3);

/// Both sides, with the client admitted.
pub struct Link {
    pub(super) client: ServerTls,
    pub(super) target: TargetStream,
    pub(super) cancel: CancelEntry,
    pub(super) catalog: Arc<Catalog>,
    pub(super) status: u8,
    pub(super) place: OwnedSemaphorePermit,
}

/// Why the loop woke up.
enum Wake {
    Client,
    ClientGone,
    Target,
    TargetGone,
    MustEnd(Refusal),
    Held(HeldOutcome),
    /// Something about the session itself.
    News(News),
    /// Events have waited long enough to be written.
    Record,
    /// Nothing has happened for a while.
    Rest,
}

/// A statement that waits for approvers; the frame that asked for it stays at the front of the client's input.
struct Parked {
    judged: Rc<Judged>,
    id: HoldId,
    outcome: Pin<Box<dyn Future<Output = HeldOutcome>>>,
}

/// What is settled about the frame at the front of the client's input, so that it is not judged twice.
struct Settled {
    operation: u64,
    judged: Option<Rc<Judged>>,
    outcome: Result<(), Refusal>,
}

struct Relay<'s> {
    session: &'s mut Session,
    client: Lane<ServerTls>,
    target: Lane<TargetStream>,
    cancel: CancelEntry,
    catalog: Arc<Catalog>,
    pending: VecDeque<Pending>,
    /// When each operation that is not answered yet was handed on: its number, and microseconds since the session began.
    sent: VecDeque<(u64, u64)>,
    statements: Names<Statement>,
    portals: Names<Portal>,
    /// `I`, `T` or `E`, from the last ReadyForQuery.
    status: u8,
    /// Counts ReadyForQuery-ending messages sent; names in flight belong to one.
    segment: u64,
    /// Counts those that were answered.
    answered: u64,
    /// Counts the moments from which names in SQL may mean something else; descriptions belong to one.
    epoch: u64,
    /// The segment that last changed what names mean, while its transaction may still be undone.
    changed: Option<u64>,
    /// What that transaction has defined.
    defined: Defined,
    /// What masks said to statements before.
    uses: Uses,
    /// The target was asked for the answers to all that was sent.
    flushed: bool,
    /// Whether the current segment has sent an Execute.
    executed: bool,
    /// Whether the current segment has sent anything that a Sync has yet to end.
    open_segment: bool,
    /// After a refusal or an error in an extended segment the client's messages are skipped until its Sync.
    skipping: bool,
    /// The target waits for CopyData.
    copy_in: bool,
    /// Each COPY TO that was planned and handed on, until it begins.
    copies: VecDeque<CopyToCome>,
    /// The COPY TO at the front of the client's input, a simple query, while the target is asked for its columns.
    describing: Option<Rc<Statement>>,
    /// Texts by which the target may have made what EXECUTE and FETCH run.
    texts: Texts,
    /// The EXECUTE or FETCH at the front of the client's input, while the target is asked what it runs.
    reaching: Option<Reaching>,
    /// What the target and the masks said a moment ago.
    descriptions: Descriptions,
    plans: Plans,
    parked: Option<Parked>,
    settled: Option<Settled>,
    /// The frame at the front of the client's input waits for an answer of the target.
    stalled: bool,
    result: responses::Current,
    /// While an answer is handled: where in the client's output it began, and whether in the middle of a frame.
    unrecorded: Option<(usize, bool)>,
}

/// Carries the session until something ends it.
pub(super) async fn relay(link: Link, session: &mut Session) -> SessionStop {
    let Link { client, target, cancel, catalog, status, place } = link;
    let mut relay = Relay {
        session,
        client: Lane::new(client),
        target: Lane::held(target),
        cancel,
        catalog,
        pending: VecDeque::new(),
        sent: VecDeque::new(),
        statements: Names::default(),
        portals: Names::default(),
        status,
        segment: 0,
        answered: 0,
        epoch: 0,
        changed: None,
        defined: Defined::default(),
        uses: Uses::default(),
        flushed: true,
        executed: false,
        open_segment: false,
        skipping: false,
        copy_in: false,
        copies: VecDeque::new(),
        describing: None,
        texts: Texts::default(),
        reaching: None,
        descriptions: Descriptions::default(),
        plans: Plans::default(),
        parked: None,
        settled: None,
        stalled: false,
        result: responses::Current::default(),
        unrecorded: None,
    };
    let stop = match relay.run().await {
        Ok(stop) | Err(stop) => stop,
    };
    relay.end(&stop).await;
    drop(place);
    stop
}

/// A break of the protocol by one of the sides.
fn violation(what: &str) -> SessionStop {
    SessionStop::Cut(
        Refusal::new(RefusalCode::ProtocolViolation, format!("the client sent {what}"))
            .hint("Connect again; if it stays so, report it to those who maintain the client's driver."),
    )
}

/// The target answered with what nobody asked for: neither side may be believed any more.
fn drift(what: &str) -> SessionStop {
    SessionStop::Cut(
        Refusal::new(
            RefusalCode::TargetUnavailable,
            "the target answered out of order, so the session was ended",
        )
        .detail(format!("It sent {what}."))
        .hint("Connect again; tell the operator if it stays so."),
    )
}

/// Rings so long after it was first asked, and then anew: a busy session touches the clock once for many turns.
struct Timer {
    after: Duration,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Timer {
    fn new(after: Duration) -> Self {
        Timer { after, sleep: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.after)));
        let rung = sleep.as_mut().poll(cx);
        if rung.is_ready() {
            self.sleep = None;
        }
        rung
    }
}

impl Relay<'_> {
    async fn run(&mut self) -> Result<SessionStop, SessionStop> {
        let mut must_end = self.session.must_end();
        let mut should_end = self.session.should_end();
        let mut news = self.session.news();
        let (mut record, mut rest) = (Timer::new(RECORD_WITHIN), Timer::new(REST_AFTER));
        // Whether anything happened since `rest` rang last.
        let mut busy = true;
        loop {
            let wake = std::future::poll_fn(|cx| {
                // While something runs it may finish; the shutdown deadline is in `must_end`.
                if self.is_idle()
                    && let Poll::Ready(refusal) = Pin::new(&mut should_end).poll(cx)
                {
                    return Poll::Ready(Wake::MustEnd(refusal));
                }
                // A warning has its place between two messages, and not in one that is passed on in pieces.
                if self.target.passing == 0
                    && let Poll::Ready(news) = Pin::new(&mut news).poll(cx)
                {
                    return Poll::Ready(Wake::News(news));
                }
                let wake = self.poll_wake(cx, &mut must_end);
                if wake.is_pending() {
                    // Once for each time that it has nothing more to do at once, not for each message.
                    self.session.does(self.doing());
                }
                if wake.is_pending() && self.session.has_events() {
                    return record.poll(cx).map(|()| Wake::Record);
                }
                if wake.is_pending() && self.session.can_rest() {
                    // One that works gives its plugins back for others that wait, but not for those that may come.
                    if self.session.is_waited_for() || self.is_idle() && self.session.is_wanted_to_rest() {
                        return Poll::Ready(Wake::Rest);
                    }
                    return rest.poll(cx).map(|()| Wake::Rest);
                }
                wake
            })
            .await;
            match wake {
                Wake::Rest if !std::mem::take(&mut busy) || self.session.is_wanted_to_rest() => self.rest(),
                Wake::Rest => {}
                _ => busy = true,
            }
            if let Wake::MustEnd(refusal) = wake {
                return Ok(SessionStop::Cut(refusal));
            }
            let told = matches!(wake, Wake::News(_));
            // Plugins and catalog look-ups may take their time: the session's end does not wait for them.
            tokio::select! {
                biased;
                refusal = &mut must_end => return Ok(SessionStop::Cut(refusal)),
                handled = self.handle(wake) => {
                    if let Some(stop) = handled? {
                        return Ok(stop);
                    }
                }
            }
            if told {
                news = self.session.news();
            }
        }
    }

    async fn handle(&mut self, wake: Wake) -> Result<Option<SessionStop>, SessionStop> {
        self.session.tick();
        match wake {
            Wake::MustEnd(refusal) => return Ok(Some(SessionStop::Cut(refusal))),
            Wake::ClientGone => return Ok(Some(SessionStop::ClientClosed)),
            Wake::TargetGone => return Ok(Some(SessionStop::TargetClosed)),
            Wake::Target => {
                self.target_burst().await?;
                if std::mem::take(&mut self.stalled) {
                    self.client_burst().await?;
                }
            }
            Wake::Client => self.client_burst().await?,
            Wake::Record => {
                self.keep().await?;
                self.session.make_room();
            }
            Wake::Rest => {}
            Wake::News(news) => {
                if let Some(warning) = self.session.note_news(news) {
                    self.keep().await?;
                    let Warning { message, detail, hint } = warning;
                    refuse::warning(&mut self.client.output.bytes, &message, &detail, &hint);
                }
            }
            Wake::Held(outcome) => {
                if let Some(parked) = self.parked.take() {
                    self.session.note_held(&parked.judged, parked.id, &outcome);
                    let outcome = match outcome {
                        HeldOutcome::Approved(_) => Ok(()),
                        HeldOutcome::Refused(refusal) => Err(refusal),
                    };
                    let operation = parked.judged.operation;
                    self.settled = Some(Settled { operation, judged: Some(parked.judged), outcome });
                }
                self.client_burst().await?;
            }
        }
        Ok(None)
    }

    /// Keeps what was noted, and lets what was put out for the target go: not a byte of it goes before (`lane.rs`).
    async fn keep(&mut self) -> Result<(), SessionStop> {
        let kept = self.session.commit().await.map_err(SessionStop::Cut)?;
        self.target.output.release(kept);
        Ok(())
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>, must_end: &mut Watch) -> Poll<Wake> {
        if let Poll::Ready(refusal) = Pin::new(must_end).poll(cx) {
            return Poll::Ready(Wake::MustEnd(refusal));
        }
        if let Poll::Ready(Err(_)) = self.client.poll_drain(cx) {
            return Poll::Ready(Wake::ClientGone);
        }
        if let Poll::Ready(Err(_)) = self.target.poll_drain(cx) {
            return Poll::Ready(Wake::TargetGone);
        }
        if let Some(parked) = &mut self.parked
            && let Poll::Ready(outcome) = parked.outcome.as_mut().poll(cx)
        {
            return Poll::Ready(Wake::Held(outcome));
        }
        if self.client.output.len() < HIGH_WATER_BYTES
            && let Poll::Ready(read) = self.target.poll_fill(cx)
        {
            return Poll::Ready(if matches!(read, Ok(1..)) { Wake::Target } else { Wake::TargetGone });
        }
        // What a client sends can make answers here as well as at the target: one that reads neither is not read.
        if self.target.output.len() < HIGH_WATER_BYTES
            && self.client.output.len() < HIGH_WATER_BYTES
            && let Poll::Ready(read) = self.client.poll_fill(cx)
        {
            return Poll::Ready(if matches!(read, Ok(1..)) { Wake::Client } else { Wake::ClientGone });
        }
        Poll::Pending
    }

    /// Gives back what only work needs. Whatever runs or waits at the target, or for people, needs no plugin meanwhile.
    fn rest(&mut self) {
        self.session.rest();
        self.client.rest();
        self.target.rest();
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.parked.is_none()
            && self.client.output.len() == 0
            && self.client.input.bytes().is_empty()
            && self.status == b'I'
    }

    /// What it does while it waits for one of the sides, or for people.
    fn doing(&self) -> Doing {
        match (&self.parked, self.pending.is_empty(), self.status) {
            (Some(_), _, _) => Doing::Held,
            (None, false, _) => Doing::Runs,
            (None, true, b'I') => Doing::Idle,
            (None, true, _) => Doing::InTransaction,
        }
    }

    /// Parks the operation at the front of the client's input and tells the client what it waits for.
    fn park(
        &mut self,
        judged: Rc<Judged>,
        mut held: HeldOperation,
        terms: &[chaperone_core::decision::HoldTerms],
    ) {
        let id = held.id;
        for term in terms {
            let approvals = if term.needed == 1 { "approval" } else { "approvals" };
            refuse::notice(
                &mut self.client.output.bytes,
                &format!("this statement waits for {} {approvals} of {} ({id})", term.needed, term.approvers),
                &term.reason,
                &format!(
                    "An approver runs `chaperone approve {id}`. It is refused after {} seconds; cancel to withdraw it.",
                    term.timeout_seconds
                ),
            );
        }
        let cancel = Arc::clone(&self.cancel.cancel);
        let asked = cancel.times_asked();
        let outcome = async move {
            tokio::select! {
                outcome = held.outcome() => outcome,
                () = cancel.asked_since(asked) => HeldOutcome::Refused(
                    Refusal::new(RefusalCode::Cancelled, "the held statement was withdrawn by a cancel request")
                        .hint("Send it again if it shall run after all."),
                ),
            }
        };
        self.parked = Some(Parked { judged, id, outcome: Box::pin(outcome) });
    }

    /// Tells the client why it is over, and the target to stop what still runs: both at once, so that a target that hangs
    /// does not keep the client.
    async fn end(&mut self, stop: &SessionStop) {
        // Withdrawn first: nobody shall approve what cannot run any more.
        self.parked = None;
        // Fails closed: what is not in the recording is not returned.
        if let Some((recorded, inside_frame)) = self.unrecorded {
            self.client.output.truncate(recorded);
            self.target.passing = usize::from(inside_frame);
        }
        // Closing alone would let a running statement go on until it next writes.
        let runs = !self.pending.is_empty() && !matches!(stop, SessionStop::TargetClosed);
        let cancel = Arc::clone(&self.cancel.cancel);
        let stop_target = async {
            if runs {
                let _ = tokio::time::timeout(CANCEL_TIMEOUT, cancel.cancel_target()).await;
            }
        };
        let last_word = match stop {
            SessionStop::Cut(refusal) => Some(refusal.clone()),
            // A target that says why it closes has said it already.
            SessionStop::TargetClosed if !self.result.fatal => Some(
                Refusal::new(RefusalCode::TargetUnavailable, "the target closed the connection")
                    .hint("Connect again; your window may still be open."),
            ),
            SessionStop::TargetClosed | SessionStop::ClientClosed => None,
        };
        if let Some(refusal) = last_word
            && self.target.passing == 0
        {
            refuse::error(&mut self.client.output.bytes, Severity::Fatal, &refusal);
        }
        let last_words = async {
            let _ = std::future::poll_fn(|cx| self.client.poll_drain(cx)).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.client.stream).await;
        };
        let _ = tokio::join!(stop_target, tokio::time::timeout(GOODBYE_TIMEOUT, last_words));
    }
}
