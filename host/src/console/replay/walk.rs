//! A recording read on from where somebody stopped: a window of operations at a time.
//!
//! What an operation says may rest on one long before it (a prepared statement has its text, its decision and its columns
//! there), so a recording is read from its first event, in order, and never from the middle. Whoever reads on does not begin again: where a
//! reading stopped is kept, for the few that were read last ([`MAX_KEPT`]). Each block is handed out only when its place in the
//! chain and its hash are right, so what is shown is verified up to there; what the page says of the whole is [`super::proof`]'s work.
//!
//! What may go wrong: going back in a very long recording reads it anew up to there.

use super::super::archive::Left;
use crate::recorder::sign::KeyId;
use crate::recorder::{Event, Events, Library, Opening, Place, ReadError, Reader, SessionEnd, is_open_name};
use crate::story::{Act, Scene, Scenes};
use chaperone_core::name::SessionId;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Operations of one window.
pub(super) const WINDOW: usize = 50;

/// Bytes of text and values of one window, about; over it, it has fewer operations, but one at least.
const WINDOW_BYTES: usize = 256 * 1024;

/// Readings that are kept to go on with. Each has what prepared statements need: kilobytes, and some megabytes at the most.
const MAX_KEPT: usize = 8;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// Where a window begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At this operation, or the next that there is.
    Operation(u64),
    /// At the one that ran, or came next, so many microseconds after the start.
    Time(u64),
    /// At the first one after this that an auditor would want to look at.
    Finding(u64),
}

/// Why there is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// The recording is over.
    End,
    /// It is being written, or was left by a crash.
    Unfinished,
    /// From here on it is not what was written, and why.
    Broken(String),
    /// It is encrypted, and this key is missing.
    Locked(KeyId),
    /// The reader has left.
    Left,
}

/// A part of a recording.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) scenes: Vec<Scene>,
    /// Operations at the end of what was written, of which more may come.
    pub(super) open: Vec<Act>,
    /// Whether there is more behind it.
    pub(super) more: bool,
    /// What stopped it, where it ends.
    pub(super) stop: Option<Stop>,
    pub(super) opening: Option<Opening>,
    pub(super) end: Option<SessionEnd>,
}

/// A reading.
pub(super) struct Walker {
    path: PathBuf,
    file: (u64, u64),
    source: Source,
    scenes: Scenes,
    ready: VecDeque<Scene>,
    /// The next operation has this number or a higher one, and ends no earlier than this.
    next: u64,
    next_us: u64,
    stop: Option<Stop>,
}

enum Source {
    Reading(Box<Events<BufReader<File>>>),
    /// At the end of what was written.
    Waiting(Place),
    Nothing,
}

impl Walker {
    /// From the start of a file.
    pub(super) fn open(library: &Library, path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let about = file.metadata()?;
        let source = BufReader::with_capacity(READ_BYTES, file);
        let events = Reader::new(source).with_keys(library.keys().clone()).events();
        Ok(Walker {
            path,
            file: (about.dev(), about.ino()),
            source: Source::Reading(Box::new(events)),
            scenes: Scenes::default(),
            ready: VecDeque::new(),
            next: 1,
            next_us: 0,
            stop: None,
        })
    }

    /// Whether the window may be reached by reading on.
    fn is_before(&self, from: Start) -> bool {
        match from {
            Start::Operation(number) => self.next <= number.max(1),
            Start::Time(at_us) => self.next == 1 || self.next_us <= at_us,
            Start::Finding(after) => self.next <= after.saturating_add(1),
        }
    }

    /// The window from there on.
    pub(super) fn window(&mut self, from: Start, left: &Left) -> io::Result<Window> {
        self.go_on()?;
        let mut window = Window::default();
        let (mut operations, mut bytes) = (0, 0);
        // After the last operation there is none: then the last ones are what there is to see.
        let mut behind = Behind::default();
        while let Some(scene) = self.next(left)? {
            let begun = !window.scenes.is_empty();
            let (fits, weight) = match &scene {
                Scene::Operation(act) => (begun || is_there(from, act), act.bytes),
                // Before the first operation there is nothing to skip.
                Scene::Aside { .. } => (begun || from == Start::Operation(1), 0),
            };
            if !fits {
                self.passed(&scene);
                if matches!(from, Start::Time(_)) {
                    behind.keep(scene, weight);
                }
                continue;
            }
            if operations >= WINDOW || (operations > 0 && bytes + weight > WINDOW_BYTES) {
                self.ready.push_front(scene);
                window.more = true;
                break;
            }
            self.passed(&scene);
            // A session's own events count, or there would be no end of them.
            operations += 1;
            bytes += weight;
            window.scenes.push(scene);
        }
        if window.scenes.is_empty() {
            window.scenes = behind.scenes.into_iter().map(|(scene, _)| scene).collect();
        }
        if !window.more {
            window.stop.clone_from(&self.stop);
            if self.stop == Some(Stop::Unfinished) {
                let open = self.scenes.unsettled();
                let begun = !window.scenes.is_empty();
                window.open =
                    open.into_iter().filter(|act| begun || is_there(from, act)).take(WINDOW).collect();
            }
        }
        window.opening = self.scenes.opening().cloned();
        window.end = self.scenes.end().cloned();
        Ok(window)
    }

    fn passed(&mut self, scene: &Scene) {
        if let Scene::Operation(act) = scene {
            self.next = act.operation.number.saturating_add(1);
            self.next_us = act.until_us;
        }
    }

    /// Reads on in a file that may have grown.
    fn go_on(&mut self) -> io::Result<()> {
        self.source = match std::mem::replace(&mut self.source, Source::Nothing) {
            Source::Waiting(place) => {
                let mut file = File::open(&self.path)?;
                file.seek(SeekFrom::Start(place.position()))?;
                let source = BufReader::with_capacity(READ_BYTES, file);
                self.stop = None;
                Source::Reading(Box::new(Reader::going_on(source, place).events()))
            }
            other => other,
        };
        Ok(())
    }

    fn next(&mut self, left: &Left) -> io::Result<Option<Scene>> {
        loop {
            if let Some(scene) = self.ready.pop_front() {
                return Ok(Some(scene));
            }
            if self.stop.is_some() {
                return Ok(None);
            }
            if left.is_so() {
                self.stop = Some(Stop::Left);
                return Ok(None);
            }
            let Source::Reading(events) = &mut self.source else { return Ok(None) };
            match events.next() {
                Some(Ok(event)) => self.take(&event),
                other => self.stopped(other.transpose().err())?,
            }
        }
    }

    fn take(&mut self, event: &Event) {
        self.scenes.read(event);
        self.ready.extend(self.scenes.take());
    }

    fn stopped(&mut self, error: Option<ReadError>) -> io::Result<()> {
        let stop = match error {
            None => Stop::End,
            Some(ReadError::Io(error)) => return Err(error),
            Some(ReadError::NeedsKey { key }) => Stop::Locked(key),
            Some(ReadError::Damage(damage)) if damage.what.is_unfinished() && is_open_name(&self.path) => {
                Stop::Unfinished
            }
            Some(error) => Stop::Broken(error.to_string()),
        };
        if stop == Stop::Unfinished
            && let Source::Reading(events) = std::mem::replace(&mut self.source, Source::Nothing)
            && let Some(place) = events.into_place()
        {
            self.source = Source::Waiting(place);
        } else {
            self.scenes.finish();
            self.ready.extend(self.scenes.take());
        }
        self.stop = Some(stop);
        Ok(())
    }
}

/// The last scenes, as many as a window has.
#[derive(Default)]
struct Behind {
    scenes: VecDeque<(Scene, usize)>,
    bytes: usize,
}

impl Behind {
    fn keep(&mut self, scene: Scene, bytes: usize) {
        self.bytes += bytes;
        self.scenes.push_back((scene, bytes));
        while self.scenes.len() > 1 && (self.scenes.len() > WINDOW || self.bytes > WINDOW_BYTES) {
            self.bytes -= self.scenes.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }
}

fn is_there(from: Start, act: &Act) -> bool {
    match from {
        Start::Operation(number) => act.operation.number >= number,
        Start::Time(at_us) => act.until_us >= at_us,
        Start::Finding(after) => act.operation.number > after && act.operation.is_notable(),
    }
}

/// Readings to go on with.
#[derive(Default)]
pub(in super::super) struct Shelf(Mutex<VecDeque<(SessionId, Walker)>>);

impl Shelf {
    /// A reading that leads there without beginning again, if the file is still the same; else a new one.
    pub(super) fn take(
        &self,
        session: SessionId,
        library: &Library,
        path: PathBuf,
        from: Start,
    ) -> io::Result<Walker> {
        let about = std::fs::metadata(&path)?;
        let file = (about.dev(), about.ino());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another file under this name is another recording, or the same in other blocks.
        kept.retain(|(of, walker)| *of != session || (walker.file == file && walker.path == path));
        let fits =
            kept.iter().enumerate().filter(|(_, (of, walker))| *of == session && walker.is_before(from));
        let best = fits.max_by_key(|(_, (_, walker))| walker.next).map(|(index, _)| index);
        match best.and_then(|index| kept.remove(index)) {
            Some((_, walker)) => Ok(walker),
            None => {
                drop(kept);
                Walker::open(library, path)
            }
        }
    }

    /// Keeps one, and drops the one that was used longest ago. One that can go on no more is not worth a place.
    pub(super) fn keep(&self, session: SessionId, walker: Walker) {
        if matches!(walker.source, Source::Nothing)
            || matches!(walker.stop, Some(Stop::End | Stop::Broken(_) | Stop::Locked(_)))
        {
            return;
        }
        let mut walker = walker;
        if walker.stop == Some(Stop::Left) {
            walker.stop = None;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((session, walker));
        if kept.len() > MAX_KEPT {
            kept.pop_front();
        }
    }
}
