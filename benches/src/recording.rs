//! What recording costs: the gateway's CPU for a query with it, to what would be left without it.
//!
//! There is no gateway that does not record, and none is made for this: such a switch would be the first thing that somebody
//! looks for. Instead a load runs through a gateway; then what that gateway has recorded of it is recorded once more, event
//! by event, by the same recorder inside the benchmark's own process, and its CPU is taken from the gateway's. JSON is built
//! from parsed values, which costs more than the gateway's own structures, and every statement closes a block, so that the
//! figure is rather too high. Packing and signing at the end of a session count as well.

use crate::load::Load;
use crate::process::cpu_time;
use crate::route::Route;
use anyhow::{Context, Result, ensure};
use chaperone::demo::postgres::Postgres;
use chaperone::recorder::sign::Signer;
use chaperone::recorder::{
    Caps, Durable, EndReason, Event, EventKind, Library, Opening, Recorder, RecorderConfig, SessionEnd,
};
use chaperone_core::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What the loads are called here, and how much more recording may make a query's CPU.
pub(crate) const LOADS: [&str; 2] = ["simple, 8 clients", "prepared, 8 clients"];
pub(crate) const MOST: f64 = 1.1;

/// So many operations are recorded once more: enough for a clock of 10 ms.
const OPERATIONS: u64 = 400_000;

/// How long a gateway may take to seal what it recorded.
const SEALED_WITHIN: Duration = Duration::from_secs(30);

/// What recording costs in one load, for an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recording {
    pub(crate) load: &'static str,
    /// The gateway's CPU.
    gateway: Duration,
    /// Of that: writing events.
    writing: Duration,
    /// Packing and signing, when a session is over.
    sealing: Duration,
}

impl Recording {
    /// CPU with recording to CPU without it.
    pub(crate) fn ratio(&self) -> f64 {
        let without = self.gateway.saturating_sub(self.writing).as_secs_f64();
        (self.gateway + self.sealing).as_secs_f64() / without
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        write!(
            f,
            "recording, {}: {:.1} µs of CPU for a query, of which {:.2} µs write events; {:.2} µs more pack and sign them; ratio {:.2}",
            self.load,
            micros(self.gateway),
            micros(self.writing),
            micros(self.sealing),
            self.ratio()
        )
    }
}

/// A body as it is given to the recorder.
enum Body {
    Json(Value),
    Raw(Vec<u8>),
}

/// Runs a load through a gateway whose recordings are in `folder`, and records it once more.
pub(crate) fn measure(
    load: &Load,
    route: &Route,
    folder: &Path,
    server: &Postgres,
    seconds: u32,
) -> Result<Recording> {
    let before = sealed(folder)?;
    let gateway = load.run(route, server, seconds)?.cpu.context("the gateway's CPU is not known")?;
    let session = newest(folder, &before)?;
    let (writing, sealing) = again(&read(folder, &session)?)?;
    Ok(Recording { load: load.name, gateway, writing, sealing })
}

fn sealed(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let paths = Library::new(folder.to_owned()).paths(usize::MAX)?;
    // Those that are still written end differently.
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "chrec")).collect())
}

/// The longest recording that was sealed since.
fn newest(folder: &Path, before: &BTreeSet<PathBuf>) -> Result<PathBuf> {
    let began = Instant::now();
    loop {
        let new = sealed(folder)?.into_iter().filter(|path| !before.contains(path));
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
        if let Some(path) = new.max_by_key(length).filter(|path| length(path) > 10_000) {
            return Ok(path);
        }
        ensure!(began.elapsed() < SEALED_WITHIN, "the gateway sealed no recording of the load");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a gateway has recorded of one session, but for its head and its end.
struct Recorded {
    opening: Opening,
    events: Vec<(Event, Body)>,
    operations: u64,
}

fn read(folder: &Path, path: &Path) -> Result<Recorded> {
    let library = Library::new(folder.to_owned());
    let (mut opening, mut events, mut operations) = (None, Vec::new(), BTreeSet::new());
    for event in library.open(path)?.events() {
        let event = event?;
        match event.kind {
            EventKind::Head => opening = Some(serde_json::from_slice::<Opening>(&event.body)?),
            EventKind::End => {}
            _ => {
                operations.insert(event.operation);
                let body = event.json().map_or_else(|| Body::Raw(event.body.clone()), Body::Json);
                events.push((event, body));
            }
        }
    }
    let operations = operations.len() as u64;
    ensure!(operations > 100, "the recording holds {operations} operations: no load");
    Ok(Recorded { opening: opening.context("the recording has no head")?, events, operations })
}

/// CPU for an operation: writing, and what comes at the end.
fn again(recorded: &Recorded) -> Result<(Duration, Duration)> {
    let folder = tempfile::tempdir()?;
    let (signer, _) = Signer::generate()?;
    let recorder = Recorder::new(RecorderConfig {
        directory: folder.path().to_owned(),
        caps: Caps::default(),
        signer,
        encryption: Default::default(),
        durable: Durable::No,
        space: Default::default(),
    })?;
    let mut head = recorded.opening.head.clone();
    let (mut writing, mut sealing, mut done) = (Duration::ZERO, Duration::ZERO, 0);
    while done < OPERATIONS {
        head.session = format!("ses_{:032x}", done + 1).parse()?;
        let (mut recording, now) = (recorder.open(&head, Timestamp::now())?, Timestamp::now());
        let began = cpu_time(std::process::id())?;
        for (event, body) in &recorded.events {
            match body {
                Body::Json(value) => recording.json(event.kind, event.operation, value),
                Body::Raw(bytes) => recording.raw(event.kind, event.operation, &[bytes]),
            }
            // What is forwarded has to be written first.
            if matches!(event.kind, EventKind::Decision | EventKind::Execute) {
                recording.tick();
                recording.commit()?;
            }
        }
        recording.commit()?;
        let written = cpu_time(std::process::id())?;
        recording.seal(&SessionEnd {
            ended: now,
            reason: EndReason::ClientClosed,
            code: None,
            detail: String::new(),
        })?;
        writing += written.saturating_sub(began);
        sealing += cpu_time(std::process::id())?.saturating_sub(written);
        done += recorded.operations;
    }
    let each = |time: Duration| time.div_f64(done as f64);
    Ok((each(writing), each(sealing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_away_and_what_comes_at_the_end_both_count() {
        let micros = Duration::from_micros;
        let recording =
            Recording { load: "prepared", gateway: micros(20), writing: micros(4), sealing: micros(2) };
        assert!((recording.ratio() - 22.0 / 16.0).abs() < 1e-9);
    }
}
