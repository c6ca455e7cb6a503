//! Streams: what was done in sessions, for a SIEM: to a file, to standard output, or to a receiver over HTTPS; as JSON lines,
//! as OCSF events, or as OTLP logs ([`docs/streams.md`](../docs/streams.md)).
//!
//! A stream is a consumer of the feed. It hands on what is settled, and its cursor moves only after the receiver has taken a batch:
//! a file is synced, an HTTP receiver has answered with success. So everything arrives at least once, whoever dies when; what arrives
//! again has the same id. No session waits for it. While a receiver is down the recordings are what is kept, and the stream
//! goes on where it was when the receiver is back: nothing is given up, and nothing is left out.
//!
//! What may go wrong: a receiver that refuses a batch for ever stops its stream, which the log and the lag say. Leaving the batch out would
//! be a hole that nobody sees. And what a stream sends leaves the house: statements and their parameters only where it says
//! `content: text`; rows never.

mod event;
mod http;
mod local;
mod ocsf;
mod otlp;
#[cfg(test)]
mod tests;

use crate::feed::{Batch, Consumer, NotTaken, Taking, Wants};
use crate::metrics::Lag;
use crate::post::{LoopbackHttp, chance, pause};
use crate::state::{Advance, Standing, State};
use crate::target::SecretSource;
use event::Event;
use http::Receiver;
use local::{Appended, Printed};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a batch is kept before the feed may look after its claims; then it is handed out again.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is handed on at once, in bytes, unless one event is longer.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// The longest event, in bytes. One that is longer loses its texts.
const MAX_EVENT_BYTES: usize = 128 * 1024;

/// Where a stream leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file that is appended to.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// A receiver of POSTs.
    Url(String),
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Objects of our own, one a line.
    JsonLines,
    /// Events of the Open Cybersecurity Schema Framework, one a line.
    Ocsf,
    /// OpenTelemetry's logs, as OTLP/HTTP in JSON.
    Otlp,
}

/// How much an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Who did what kind of thing to which tables, and what became of it.
    Facts,
    /// Also statements and their parameters.
    Text,
}

/// A kind of event that a stream may be limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Begins and ends of sessions.
    Sessions,
    /// Operations.
    Operations,
}

/// A stream as it is configured.
pub struct StreamConfig {
    /// Its name, which is its cursors' name as well.
    pub name: String,
    /// Where it leads.
    pub to: Destination,
    /// How it is written.
    pub format: Format,
    /// How much it says.
    pub content: Content,
    /// What it tells of; empty: of all.
    pub of: Vec<Of>,
    /// What a receiver knows the gateway by. Read for each batch, so that a rotated one counts without a restart.
    pub token: Option<Box<dyn SecretSource>>,
    /// PEM: who may have signed the receiver's certificate; none: the machine's authorities.
    pub ca: Option<PathBuf>,
    /// Whether plain HTTP is spoken with this machine: for tests.
    pub loopback_http: LoopbackHttp,
}

/// Why a stream cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("stream `{stream}`: {why}")]
pub struct StreamError {
    stream: String,
    why: String,
}

/// Where batches go.
enum Sink {
    File(Arc<Lock<Appended>>),
    Stdout(Arc<Lock<Printed>>),
    Url(Receiver),
}

/// Hands on what was done.
pub struct Stream {
    consumer: String,
    format: Format,
    content: Content,
    of: Vec<Of>,
    sink: Sink,
    state: State,
    lag: Arc<Lag>,
    /// What went wrong since the last success. Whoever holds it sends.
    trouble: Mutex<Trouble>,
    waited: AtomicU64,
}

#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    again: Option<Instant>,
}

/// Why a batch was not taken: in words for the log, without a URL or a secret, and how long the receiver wants to be left alone.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    why: String,
    wait: Duration,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Failure { why, wait: Duration::ZERO }
    }
}

impl Stream {
    /// Prepares a stream; nothing is opened or sent yet.
    ///
    /// # Errors
    /// When its authorities cannot be used.
    pub fn new(config: StreamConfig, state: State, lag: Arc<Lag>) -> Result<Self, StreamError> {
        let StreamConfig { name, to, format, content, of, token, ca, loopback_http } = config;
        let sink = match to {
            Destination::File(path) => Sink::File(Arc::new(Lock::new(Appended::new(path)))),
            Destination::Stdout => Sink::Stdout(Arc::default()),
            Destination::Url(url) => {
                let receiver = Receiver::new(url, format, token, ca.as_deref(), loopback_http);
                Sink::Url(receiver.map_err(|why| StreamError { stream: name.clone(), why })?)
            }
        };
        Ok(Stream {
            consumer: consumer(&name),
            format,
            content,
            of,
            sink,
            state,
            lag,
            trouble: Mutex::default(),
            waited: AtomicU64::new(0),
        })
    }

    /// What the events of a batch are to the receiver, in parts that are sent one by one.
    fn bodies(&self, batch: &Batch<'_>, step: &Advance<'_>) -> Vec<Vec<u8>> {
        let wants = |of| self.of.is_empty() || self.of.contains(&of);
        let mut events = Vec::new();
        if wants(Of::Sessions) && step.from == 0 {
            events.push(Event::begin(batch.opening));
        }
        if wants(Of::Operations) {
            events.extend(
                batch.operations.iter().map(|one| Event::operation(batch.opening, one, self.content)),
            );
        }
        if wants(Of::Sessions) && step.standing == Standing::Done {
            events.extend(batch.end.map(|end| Event::end(batch.opening, end)));
        }
        let records = events.iter().map(|event| match self.format {
            Format::JsonLines => bounded(event, |event| event.json()),
            Format::Ocsf => bounded(event, ocsf::event),
            Format::Otlp => bounded(event, otlp::record),
        });
        let mut bodies: Vec<Vec<String>> = Vec::new();
        let mut bytes = 0;
        for record in records {
            bytes += record.len();
            match bodies.last_mut() {
                Some(body) if bytes <= MAX_BATCH_BYTES => body.push(record),
                _ => {
                    bytes = record.len();
                    bodies.push(vec![record]);
                }
            }
        }
        let whole = |records: Vec<String>| match self.format {
            Format::JsonLines | Format::Ocsf => (records.join("\n") + "\n").into_bytes(),
            Format::Otlp => otlp::request(&records).into_bytes(),
        };
        bodies.into_iter().map(whole).collect()
    }

    /// Hands a body on, again and again, with growing pauses in between, as long as there is patience for it.
    async fn deliver(&self, body: &[u8]) -> Result<(), NotTaken> {
        let began = Instant::now();
        let mut trouble = self.trouble.lock().await;
        loop {
            if let Some(again) = trouble.again {
                let rest = again.saturating_duration_since(Instant::now());
                let left = PATIENCE.saturating_sub(began.elapsed());
                tokio::time::sleep(rest.min(left)).await;
                if rest > left {
                    return Err(NotTaken::Receiver);
                }
            }
            match self.sink.take(body).await {
                Ok(()) => {
                    if trouble.failures > 0 {
                        tracing::info!(stream = self.consumer, "the receiver takes events again");
                    }
                    *trouble = Trouble::default();
                    return Ok(());
                }
                Err(Failure { why, wait }) => {
                    self.lag.failures.count();
                    trouble.failures = trouble.failures.saturating_add(1);
                    let pause = pause(trouble.failures.into(), LONGEST_PAUSE, chance());
                    trouble.again = Some(Instant::now() + pause.max(wait.min(LONGEST_PAUSE)));
                    // The first, and ever fewer of those that say the same.
                    if trouble.failures.is_power_of_two() {
                        let (stream, failures) = (&self.consumer, trouble.failures);
                        tracing::warn!(
                            stream,
                            failures,
                            why,
                            "events cannot be handed on now; they are kept"
                        );
                    }
                }
            }
        }
    }
}

/// The cursors' name of a stream.
pub fn consumer(name: &str) -> String {
    format!("stream:{name}")
}

/// An event as text. One that is too long is told without what makes it long: at last, that it was there.
fn bounded(event: &Event<'_>, write: impl Fn(&Event<'_>) -> serde_json::Value) -> String {
    for shorter in [event.clone(), event.without_texts()] {
        let text = event::text(&write(&shorter));
        if text.len() <= MAX_EVENT_BYTES {
            return text;
        }
    }
    event::text(&write(&event.without_facts()))
}

impl Consumer for Stream {
    fn name(&self) -> &str {
        &self.consumer
    }

    fn wants(&self) -> Wants {
        Wants::Settled
    }

    fn take<'a>(&'a self, batch: Batch<'a>, step: Advance<'a>) -> Taking<'a> {
        let bodies = self.bodies(&batch, &step);
        Box::pin(async move {
            for body in bodies {
                let began = Instant::now();
                let delivered = self.deliver(&body).await;
                let waited = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.waited.fetch_add(waited, Ordering::Relaxed);
                delivered?;
            }
            // Only now: what comes before has been taken.
            Ok(self.state.advance(step).await?)
        })
    }

    fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }
}

impl Sink {
    async fn take(&self, body: &[u8]) -> Result<(), Failure> {
        match self {
            Sink::Url(receiver) => receiver.take(body).await,
            Sink::File(file) => blocking(file, body, Appended::append).await,
            Sink::Stdout(out) => blocking(out, body, Printed::print).await,
        }
    }
}

/// Files and pipes are written on a thread that may wait.
async fn blocking<T: Send + 'static>(
    sink: &Arc<Lock<T>>,
    body: &[u8],
    write: impl Fn(&mut T, &[u8]) -> Result<(), String> + Send + 'static,
) -> Result<(), Failure> {
    let (sink, body) = (Arc::clone(sink), body.to_vec());
    let written = tokio::task::spawn_blocking(move || {
        // What a panic has left is a file and a flag: both are looked at again before anything is written.
        write(&mut sink.lock().unwrap_or_else(PoisonError::into_inner), &body)
    });
    Ok(written.await.map_err(|_| "writing was cut off".to_owned())??)
}
