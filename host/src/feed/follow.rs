//! One recording, followed as it grows, is sealed, and is packed into another file.

use super::{LONGEST_PAUSE, LOOK_EVERY, Wants};
use crate::recorder::{Event, Flaw, Library, Opening, Place, ReadError, Reader, SessionEnd, is_open_name};
use crate::story::{Assembler, Operation};
use chaperone_core::name::SessionId;
use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Events of one step: few, so that a step is short.
const MAX_EVENTS: usize = 512;

/// Bytes of events of one step.
const MAX_BYTES: usize = 2 << 20;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// A recording, and how far it was read.
#[derive(Debug)]
pub(super) struct Follower {
    session: SessionId,
    path: PathBuf,
    /// The file that `place` is in: device and number, and its path, since the number of a deleted file is given to others.
    file: Option<(u64, u64, PathBuf)>,
    place: Option<Place>,
    /// Events of a new file that were read from the one before it.
    skip: u64,
    /// Events that were read.
    read: u64,
    /// Events that the consumer has taken.
    taken: u64,
    assembler: Assembler,
    pause: Duration,
    due: Instant,
    caught_up: Instant,
    /// The same before the last step: what that one read may not have been taken.
    caught_up_before: Instant,
}

/// What a step gave.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) operations: Vec<Operation>,
    pub(super) end: End,
}

/// Where a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// There is more.
    More,
    /// At the end of a file that still grows.
    CaughtUp,
    /// At the recording's end.
    Over,
    /// At something that cannot be read, and why.
    Broken(String),
}

/// Why there was no step.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The recording is not there any more.
    Gone,
    /// It cannot be read now.
    Io(io::Error),
}

impl Follower {
    /// From the start on; what is before `taken` was handed out.
    pub(super) fn new(session: SessionId, path: PathBuf, taken: u64) -> Self {
        let now = Instant::now();
        Follower {
            session,
            path,
            file: None,
            place: None,
            skip: 0,
            read: 0,
            taken,
            assembler: Assembler::default(),
            pause: Duration::ZERO,
            due: now,
            caught_up: now,
            caught_up_before: now,
        }
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    /// The same recording from its start, where only what is before `taken` was handed out. Later each time.
    pub(super) fn again(&self, taken: u64) -> Self {
        let mut again = Follower::new(self.session, self.path.clone(), taken);
        again.pause = self.pause;
        again.caught_up = self.caught_up_before;
        again.pause();
        again
    }

    pub(super) fn opening(&self) -> Option<&Opening> {
        self.assembler.opening()
    }

    /// How it ended, as far as it was read.
    pub(super) fn end(&self) -> Option<&SessionEnd> {
        self.assembler.end()
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// When there was last nothing that was not read.
    pub(super) fn caught_up(&self) -> Instant {
        self.caught_up
    }

    /// From where to where the cursor has to move.
    pub(super) fn unmoved(&self) -> (u64, u64) {
        (self.taken, self.read.max(self.taken))
    }

    /// The consumer has taken what is before `to`.
    pub(super) fn moved(&mut self, to: u64) {
        self.taken = to;
        // Something happened here: more may follow soon.
        self.pause = Duration::ZERO;
    }

    /// Waits a while, each time longer.
    pub(super) fn pause(&mut self) {
        self.pause = (self.pause * 2).clamp(LOOK_EVERY, LONGEST_PAUSE);
        self.due = Instant::now() + self.pause;
    }

    /// Makes it due.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.due = Instant::now();
    }

    /// Reads on. It reads files: not for a thread of the runtime.
    pub(super) fn read(&mut self, library: &Library, wants: Wants) -> Result<Step, Trouble> {
        self.caught_up_before = self.caught_up;
        let mut file = self.open(library)?;
        let began = Instant::now();
        if !self.has_more(&mut file).map_err(Trouble::Io)? {
            self.caught_up = began;
            return Ok(Step { operations: Vec::new(), end: End::CaughtUp });
        }
        let source = BufReader::with_capacity(READ_BYTES, file);
        let reader = match self.place.take() {
            Some(place) => Reader::going_on(source, place),
            None => Reader::new(source).with_keys(library.keys().clone()),
        };
        let (mut events, mut count, mut bytes) = (reader.events(), 0, 0);
        let end = loop {
            if (count >= MAX_EVENTS || bytes >= MAX_BYTES) && events.is_between_blocks() {
                break Ok(End::More);
            }
            match events.next() {
                Some(Ok(event)) => {
                    count += 1;
                    bytes += event.body.len();
                    self.take(&event);
                }
                None => break Ok(End::Over),
                Some(Err(ReadError::Io(error))) => break Err(error),
                Some(Err(ReadError::Damage(damage))) if self.may_grow(&damage.what) => {
                    break Ok(End::CaughtUp);
                }
                Some(Err(error)) => break Ok(End::Broken(error.to_string())),
            }
        };
        // None only in the middle of a block that is broken: it is not read again.
        self.place = events.into_place();
        let end = end.map_err(Trouble::Io)?;
        if end == End::CaughtUp {
            self.caught_up = began;
        }
        let operations = match wants {
            _ if self.read <= self.taken => Vec::new(),
            Wants::Changes => self.assembler.changed(),
            Wants::Settled => self.assembler.settled(),
        };
        Ok(Step { operations, end })
    }

    fn take(&mut self, event: &Event) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.read += 1;
        self.assembler.read(event);
        // Handed out before: all that counts is what comes next.
        match self.read.cmp(&self.taken) {
            Ordering::Less => drop(self.assembler.settled()),
            Ordering::Equal => drop(self.assembler.changed()),
            Ordering::Greater => {}
        }
    }

    /// A file that just stops goes on as long as it has the name of one that is written.
    fn may_grow(&self, flaw: &Flaw) -> bool {
        flaw.is_unfinished() && is_open_name(&self.path)
    }

    /// Opens the recording where it is now. Another file than before holds the same events in other blocks.
    fn open(&mut self, library: &Library) -> Result<File, Trouble> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let found =
                    library.find(self.session).map_err(|error| Trouble::Io(io::Error::other(error)))?;
                self.path = found.ok_or(Trouble::Gone)?;
                File::open(&self.path)
            }
            opened => opened,
        };
        let file = file.map_err(Trouble::Io)?;
        let about = file.metadata().map_err(Trouble::Io)?;
        let now = Some((about.dev(), about.ino(), self.path.clone()));
        if self.file != now {
            (self.file, self.place, self.skip) = (now, None, self.read);
        }
        Ok(file)
    }

    /// Whether a block begins where the last one ended: a look that costs an idle recording little.
    fn has_more(&self, file: &mut File) -> io::Result<bool> {
        let at = self.place.as_ref().map_or(0, Place::position);
        file.seek(SeekFrom::Start(at))?;
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic)?;
        file.seek(SeekFrom::Start(at))?;
        // A sealed one is read to its end in any case, whatever stands there.
        Ok(!is_open_name(&self.path) || magic.iter().any(|byte| *byte != 0))
    }
}
