//! Clients that keep a gateway busy and behave badly: reset in the middle of rows, read slowly, cancel in storms.
//!
//! Each client counts what it saw, session by session, so that a test can compare that with what was recorded and what
//! the target ran. Every statement carries a mark (`mark-3-17-5`: client, session, statement) that no other has.

use crate::wire::{Message, Wire, bind, execute, message, packet, parse, query, sync, tcp};
use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Statements of an ordinary session.
const STATEMENTS: u64 = 24;

/// Cancel requests of one storm.
const STORM: usize = 24;

/// How long a client that was not let in waits before it tries again.
const RETRY: Duration = Duration::from_millis(50);

/// What all clients share.
pub struct Load {
    /// Where the gateway is.
    pub address: SocketAddr,
    /// Its certificate.
    pub certificate: PathBuf,
    /// One for each principal; client `n` has number `n` modulo their count.
    pub tokens: Vec<String>,
    /// Set when it is enough.
    pub enough: AtomicBool,
    /// Rows of a large result, about a kilobyte each: more than is buffered anywhere on its way.
    pub large_rows: u32,
    /// Statements that were answered so far.
    pub answered: AtomicU64,
}

/// What all clients saw.
#[derive(Debug, Default)]
pub struct Tally {
    /// Every session that a client was let into.
    pub sessions: Vec<Seen>,
    /// Logins that were refused or cut.
    pub kept_out: u64,
    /// Statements that made a plugin trap, and were refused for it.
    pub trapped: u64,
    /// Statements that a rule refused.
    pub refused: u64,
    /// Statements that were cancelled.
    pub cancelled: u64,
    /// Sessions that the client reset in the middle of rows.
    pub reset: u64,
    /// What must not happen: an answer that never came, or one that fits nothing.
    pub wrong: Vec<String>,
}

/// What the client of one session saw.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its first mark.
    pub mark: String,
    /// The tag of each result, and how many rows came before it.
    pub results: Vec<(String, u64)>,
    /// Whether the client had every answer and said goodbye; else more may be recorded than it saw.
    pub whole: bool,
}

impl Load {
    fn is_over(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }
}

/// One client, until it is enough.
pub fn client(load: &Load, number: usize, tally: &Mutex<Tally>) {
    for session in 0u64.. {
        if load.is_over() {
            return;
        }
        let Some(token) = load.tokens.get(number % load.tokens.len().max(1)) else { return };
        match Wire::login(load.address, &load.certificate, token) {
            Ok(wire) => {
                let mut seen = Session::new(load, wire, number, session);
                seen.run(session + u64::try_from(number).unwrap_or(0));
                seen.count(tally);
            }
            Err(_) => {
                lock(tally).kept_out += 1;
                std::thread::sleep(RETRY);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session while it runs.
struct Session<'a> {
    load: &'a Load,
    wire: Wire,
    prefix: String,
    next: u64,
    own: Tally,
    results: Vec<(String, u64)>,
    whole: bool,
}

impl<'a> Session<'a> {
    fn new(load: &'a Load, wire: Wire, number: usize, session: u64) -> Self {
        let prefix = format!("mark-{number}-{session}");
        Session { load, wire, prefix, next: 0, own: Tally::default(), results: Vec::new(), whole: false }
    }

    fn mark(&mut self) -> String {
        self.next += 1;
        format!("{}-{}", self.prefix, self.next - 1)
    }

    fn large(&mut self) -> Vec<u8> {
        let (mark, rows) = (self.mark(), self.load.large_rows);
        query(&format!("select n, repeat('x', 1000) from generate_series(1, {rows}) n /* {mark} */"))
    }

    fn run(&mut self, kind: u64) {
        let done = match kind % 8 {
            0 => self.reset(),
            1 => self.read_slowly(),
            2 => self.cancel(),
            _ => self.work(),
        };
        if let Err(error) = done {
            // A connection that was cut is what the faults are for; silence is not.
            if !is_gone(&error) {
                self.own.wrong.push(format!("{}-{}: {error:#}", self.prefix, self.next));
            }
        }
    }

    fn count(self, tally: &Mutex<Tally>) {
        let mut all = lock(tally);
        all.sessions.push(Seen {
            mark: format!("{}-0", self.prefix),
            results: self.results,
            whole: self.whole,
        });
        all.trapped += self.own.trapped;
        all.refused += self.own.refused;
        all.cancelled += self.own.cancelled;
        all.reset += self.own.reset;
        all.wrong.extend(self.own.wrong);
    }

    /// Sends, and reads up to ReadyForQuery: the SQLSTATE of an error, if there was one.
    fn ask(&mut self, bytes: &[u8]) -> Result<Option<String>> {
        self.wire.send(bytes).context(GONE)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Option<String>> {
        self.answer_after(0)
    }

    /// The rest of an answer of which so many rows are read.
    fn answer_after(&mut self, mut rows: u64) -> Result<Option<String>> {
        let mut failed = None;
        loop {
            let Some(message) = self.wire.read()? else { bail!(GONE) };
            match message.kind {
                b'D' | b'd' => rows += 1,
                b'C' => {
                    let tag = message.text().trim_end().to_owned();
                    self.results.push((tag, std::mem::take(&mut rows)));
                }
                b'E' => {
                    let code = field(&message, b'C').unwrap_or_default();
                    if field(&message, b'S').is_some_and(|severity| severity == "FATAL") {
                        bail!(GONE);
                    }
                    failed = Some(code);
                }
                b'Z' => {
                    self.load.answered.fetch_add(1, Ordering::Relaxed);
                    return Ok(failed);
                }
                _ => {}
            }
        }
    }

    /// The answer has to be this one: `None` for no error.
    fn expect(&mut self, what: &str, bytes: &[u8], code: Option<&str>) -> Result<()> {
        let said = self.ask(bytes)?;
        if said.as_deref() != code {
            // While the target is gone and the gateway does not know yet, look-ups fail, and what they were for is refused.
            self.ask(&query("select 1"))?;
            bail!("{what}: {said:?} in place of {code:?}");
        }
        Ok(())
    }

    /// What agents do, and what they should not; to its end.
    fn work(&mut self) -> Result<()> {
        for number in 0..STATEMENTS {
            if self.load.is_over() {
                break;
            }
            let mark = self.mark();
            match number % 8 {
                0 => {
                    let sql = "select id, name, $1::text from customers where id <= 20";
                    let frames = [parse("", sql), bind("", "", &[&mark]), execute("", 0), sync()].concat();
                    self.expect("a prepared select", &frames, None)?;
                }
                1 | 5 => {
                    let sql = format!(
                        "insert into orders (customer_id, item, total, status) values (1, '{mark}', 1, 'open')"
                    );
                    self.expect("an insert", &query(&sql), None)?;
                }
                2 => {
                    let sql =
                        format!("copy orders (customer_id, item, total, status) from stdin /* {mark} */");
                    let rows = "1\tcopied\t1\topen\n".repeat(20);
                    let frames = [query(&sql), message(b'd', rows.as_bytes()), message(b'c', b"")].concat();
                    self.expect("a copy in", &frames, None)?;
                }
                3 => {
                    let sql = format!("copy customers (id, name) to stdout /* {mark} */");
                    self.expect("a copy out", &query(&sql), None)?;
                }
                4 => {
                    self.expect("a trap", &query(&format!("select 'hostile:panic', '{mark}'")), Some(FAULT))?;
                    self.own.trapped += 1;
                }
                6 => {
                    self.expect("a refusal", &query(&format!("drop table orders -- {mark}")), Some("42501"))?;
                    self.own.refused += 1;
                }
                _ => self.expect("an error", &query(&format!("select 1/0, '{mark}'")), Some("22012"))?,
            }
        }
        self.goodbye()
    }

    fn goodbye(&mut self) -> Result<()> {
        self.wire.send(&message(b'X', b"")).context(GONE)?;
        self.whole = self.wire.read()?.is_none();
        Ok(())
    }

    /// Closes with rows unread: the system answers the next of them with a reset.
    fn reset(&mut self) -> Result<()> {
        let large = self.large();
        self.wire.send(&large).context(GONE)?;
        self.wire.until(b"D").context(GONE)?;
        self.own.reset += 1;
        Ok(())
    }

    /// Reads a large result in small pieces, and all of it.
    fn read_slowly(&mut self) -> Result<()> {
        let large = self.large();
        self.wire.send(&large).context(GONE)?;
        let mut rows = 0;
        for _ in 0..40 {
            std::thread::sleep(Duration::from_millis(10));
            let Some(message) = self.wire.read()? else { bail!(GONE) };
            match message.kind {
                b'D' => rows += 1,
                b'E' => bail!(GONE),
                _ => {}
            }
        }
        self.answer_after(rows)?;
        self.goodbye()
    }

    /// A storm of cancel requests while a statement runs; one of them is enough, and none of them counts for the next.
    fn cancel(&mut self) -> Result<()> {
        let mark = self.mark();
        self.wire.send(&query(&format!("select pg_sleep(30) /* {mark} */"))).context(GONE)?;
        let mut cancel = 80_877_102u32.to_be_bytes().to_vec();
        cancel.extend_from_slice(&self.wire.key);
        let cancel = packet(&cancel);
        // It may come before the statement has reached the target, and then stops nothing.
        let (address, stop) = (self.load.address, AtomicBool::new(false));
        let said = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let storm: Vec<_> = (0..STORM).filter_map(|_| storm(address, &cancel).ok()).collect();
                    for mut stream in storm {
                        let _ = stream.read(&mut [0; 1]);
                    }
                }
            });
            let said = self.answer();
            stop.store(true, Ordering::Relaxed);
            said
        })?;
        if said.as_deref() != Some("57014") {
            bail!("a cancelled statement: {said:?}");
        }
        self.own.cancelled += 1;
        self.goodbye()
    }
}

fn storm(address: SocketAddr, packet: &[u8]) -> Result<std::net::TcpStream> {
    let mut stream = tcp(address)?;
    stream.write_all(packet)?;
    Ok(stream)
}

/// The connection is gone.
const GONE: &str = "the connection is gone";

fn is_gone(error: &anyhow::Error) -> bool {
    let late = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    error.root_cause().downcast_ref::<std::io::Error>().is_some_and(|error| !late(error))
        || format!("{error:#}").contains(GONE) && !format!("{error:#}").contains("no answer")
}

/// What a statement is refused with whose plugin broke.
const FAULT: &str = "58000";

fn field(message: &Message, wanted: u8) -> Option<String> {
    let texts = message.body.split(|byte| *byte == 0);
    let found = texts.filter_map(|text| text.split_first()).find(|(kind, _)| **kind == wanted);
    found.map(|(_, text)| String::from_utf8_lossy(text).into_owned())
}

/// What a process holds, as the system tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holds {
    /// Resident memory, in kB.
    pub resident_kb: u64,
    /// Open files and sockets.
    pub files: usize,
    /// Threads.
    pub threads: usize,
}

/// What a process holds now.
pub fn holds(process: u32) -> Result<Holds> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let resident_kb = line.trim().trim_end_matches(" kB").trim().parse()?;
    let count =
        |what: &str| Ok::<_, anyhow::Error>(std::fs::read_dir(format!("/proc/{process}/{what}"))?.count());
    Ok(Holds { resident_kb, files: count("fd")?, threads: count("task")? })
}

/// The median of some numbers; 0 of none.
pub fn median(numbers: &[u64]) -> u64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// The numbers of a counter's samples in Prometheus' text, by name and labels.
pub fn scrape(address: SocketAddr) -> Result<Vec<(String, f64)>> {
    let mut stream = tcp(address)?;
    stream.write_all(
        format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (_, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(samples.filter_map(sample).collect())
}
