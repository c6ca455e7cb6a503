//! The thread that waits for the disk, where `recording.durable` wants it: one for each gateway.
//!
//! It takes all recordings that wait, writes the blocks of each and then syncs each once (`fdatasync`): what they share, a
//! file system's journal for one, is then written once for all of them (group commit). Sessions wait for it without
//! keeping their thread, so a disk that is slow, or hangs, is felt by those alone that have something to record, and
//! each of them still ends when it has to. New recordings are made here, too, for the same reason.
//!
//! What may go wrong: the disk fails or never answers. An answer is waited for [`WITHIN`], and what did not get one counts
//! as not recorded (fails closed). A sync that failed is never tried again: the kernel forgets what it could not write, and a
//! second one would succeed.

use super::RecorderError;
use super::writer::Recording;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the disk may take for what a session waits for.
pub(super) const WITHIN: Duration = Duration::from_secs(30);

/// Recordings that wait; when there are more, the disk hangs. Each has at most one waiting, and those that gave up leave theirs
/// behind.
const MAX_WAITING: usize = 16_384;

/// A file that blocks are put into, as the thread uses it.
pub(super) trait Medium: Send + Sync {
    /// Writes all bytes at a position. The same bytes may be written there twice, also at the same time.
    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()>;
    /// Waits until everything written is on the medium.
    fn sync(&self) -> io::Result<()>;
}

impl Medium for File {
    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// What a recording has that is not on the medium yet.
pub(super) struct Unkept {
    pub(super) medium: Arc<dyn Medium>,
    /// Where in the file the bytes belong.
    pub(super) position: u64,
    /// May be empty: what was written already and only has to be synced.
    pub(super) bytes: Arc<Vec<u8>>,
}

enum Job {
    Keep(Unkept, oneshot::Sender<io::Result<()>>),
    Open(Box<dyn FnOnce() + Send>),
}

/// The thread, which ends with this value.
#[derive(Debug)]
pub(super) struct Flusher(Disk);

/// The way to it.
#[derive(Clone)]
pub(super) struct Disk(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    came: Condvar,
    within: Duration,
}

#[derive(Default)]
struct Queue {
    /// Each with the moment when it came.
    waiting: Vec<(Instant, Job)>,
    /// When the first of those came that the thread is busy with.
    busy_with: Option<Instant>,
    closed: bool,
}

impl Flusher {
    /// Starts the thread. Whoever waits for it waits at most `within`.
    pub(super) fn start(within: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), came: Condvar::new(), within });
        let its_own = Arc::clone(&shared);
        std::thread::Builder::new().name("recorder".to_owned()).spawn(move || its_own.run())?;
        Ok(Flusher(Disk(shared)))
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.0
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // Not waited for: the disk may hang.
        self.0.0.lock().closed = true;
        self.0.0.came.notify_one();
    }
}

impl Disk {
    /// Waits until what a recording has is on the medium.
    ///
    /// # Errors
    /// When it could not be written or synced, or was not in time.
    pub(super) async fn keep(&self, unkept: Unkept) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        self.push(Job::Keep(unkept, done))?;
        self.answer(answer).await?
    }

    /// Makes a recording on the disk's thread.
    ///
    /// # Errors
    /// When nothing came of it in time.
    pub(super) async fn open(
        &self,
        open: impl FnOnce() -> Result<Recording, RecorderError> + Send + 'static,
    ) -> io::Result<Result<Recording, RecorderError>> {
        let (done, answer) = oneshot::channel();
        let open = move || {
            // Nobody waits for it any more: it is not even made. One that is given up in between is left to the recovery.
            if !done.is_closed() {
                let _ = done.send(open());
            }
        };
        self.push(Job::Open(Box::new(open)))?;
        self.answer(answer).await
    }

    /// How long the longest of those that wait has waited.
    pub(super) fn lag(&self) -> Duration {
        let queue = self.0.lock();
        let first = queue.busy_with.or_else(|| queue.waiting.first().map(|(came, _)| *came));
        first.map(|came| came.elapsed()).unwrap_or_default()
    }

    /// Fails closed: past the bound nothing waits.
    fn push(&self, job: Job) -> io::Result<()> {
        let mut queue = self.0.lock();
        if queue.closed {
            return Err(gone());
        }
        if queue.waiting.len() >= MAX_WAITING {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"));
        }
        queue.waiting.push((Instant::now(), job));
        drop(queue);
        self.0.came.notify_one();
        Ok(())
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<T>) -> io::Result<T> {
        match tokio::time::timeout(self.0.within, answer).await {
            Ok(answer) => answer.map_err(|_| gone()),
            Err(_) => {
                let why = format!("the disk did not answer within {} seconds", self.0.within.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that writes recordings is gone")
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole after any panic: every change is one call.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that waits; None when there will be no more.
    fn next(&self) -> Option<Vec<(Instant, Job)>> {
        let mut queue = self.lock();
        queue.busy_with = None;
        let waits = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closed;
        let mut queue = self.came.wait_while(queue, waits).unwrap_or_else(PoisonError::into_inner);
        let batch = std::mem::take(&mut queue.waiting);
        queue.busy_with = batch.first().map(|(came, _)| *came);
        (!batch.is_empty()).then_some(batch)
    }

    fn run(&self) {
        while let Some(batch) = self.next() {
            let mut written = Vec::new();
            for (_, job) in batch {
                match job {
                    Job::Open(open) => open(),
                    // Its session has ended; sealing writes it.
                    Job::Keep(_, done) if done.is_closed() => {}
                    Job::Keep(unkept, done) => {
                        let Unkept { medium, position, bytes } = unkept;
                        written.push((medium.write(position, &bytes), medium, done));
                    }
                }
            }
            for (written, medium, done) in written {
                let result = written.and_then(|()| medium.sync());
                // The file's lock goes with its last holder.
                drop(medium);
                // Nobody waits where its session has ended meanwhile.
                let _ = done.send(result);
            }
        }
    }
}

impl std::fmt::Debug for Disk {
    /// Without what waits: it holds payload.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}
