//! Recordings that survive power loss: what was forwarded is on the medium, whatever the disk does, and nobody waits in vain.

use super::super::flush::{Disk, Flusher, Medium, Unkept, WITHIN};
use super::super::reader::Reader;
use super::super::{Ending, Outcome, RecorderError, Status, verify};
use super::*;
use std::fs;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A disk with a cache: what is written is there, and what is synced would still be there after power loss. All files on it
/// share one list of what happened.
#[derive(Clone, Default)]
struct Cached(Arc<Mutex<Cache>>);

#[derive(Default)]
struct Cache {
    file: usize,
    happened: Arc<Mutex<Vec<String>>>,
    bytes: Vec<u8>,
    on_medium: Vec<u8>,
    /// A sync waits for a word here, when it is set.
    hangs: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
    fails: bool,
}

impl Cached {
    fn file(file: usize, happened: &Arc<Mutex<Vec<String>>>) -> Self {
        let cache = Cache { file, happened: Arc::clone(happened), ..Cache::default() };
        Cached(Arc::new(Mutex::new(cache)))
    }

    fn note(&self, what: &str) {
        let cache = self.0.lock().unwrap();
        cache.happened.lock().unwrap().push(format!("{what} {}", cache.file));
    }

    fn on_medium(&self) -> Vec<u8> {
        self.0.lock().unwrap().on_medium.clone()
    }
}

impl Medium for Cached {
    fn write(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.note("write");
        let mut cache = self.0.lock().unwrap();
        cache.bytes.truncate(usize::try_from(position).unwrap());
        assert_eq!(cache.bytes.len() as u64, position, "there is a hole");
        cache.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.note("sync");
        let (hangs, fails) = {
            let cache = self.0.lock().unwrap();
            (cache.hangs.clone(), cache.fails)
        };
        if let Some(hangs) = hangs {
            let _ = hangs.lock().unwrap().recv();
        }
        if fails {
            return Err(io::Error::other("I/O error"));
        }
        let mut cache = self.0.lock().unwrap();
        cache.on_medium = cache.bytes.clone();
        Ok(())
    }
}

/// As the file of a durable recording.
struct CachedSink {
    medium: Cached,
    length: u64,
    unwritten: Vec<u8>,
}

impl Sink for CachedSink {
    fn put(&mut self, block: &[u8]) -> io::Result<()> {
        self.length += block.len() as u64;
        self.unwritten.extend_from_slice(block);
        Ok(())
    }

    fn unkept(&self) -> Option<Unkept> {
        let position = self.length - self.unwritten.len() as u64;
        let bytes = Arc::new(self.unwritten.clone());
        (!bytes.is_empty()).then(|| Unkept { medium: Arc::new(self.medium.clone()), position, bytes })
    }

    fn is_kept(&mut self) {
        self.unwritten.clear();
    }

    fn sync(&mut self) -> io::Result<()> {
        self.medium.write(self.length - self.unwritten.len() as u64, &self.unwritten)?;
        self.unwritten.clear();
        self.medium.sync()
    }

    fn publish(&mut self) -> io::Result<PathBuf> {
        Ok(PathBuf::from("cached"))
    }
}

fn record(medium: &Cached, disk: &Disk) -> Recording {
    let sink = CachedSink { medium: medium.clone(), length: 0, unwritten: Vec::new() };
    let config = config(Path::new(""), Caps::default());
    let begun = Recording::begin(Box::new(sink), &config, &head(1), timestamp());
    begun.unwrap().durable(disk.clone()).unwrap()
}

async fn keep(recording: &mut Recording) {
    let _ = recording.keep().await.unwrap();
}

fn operations(bytes: &[u8]) -> Vec<u64> {
    let events = Reader::new(bytes).events().filter_map(Result::ok);
    events.filter(|event| event.kind == EventKind::Operation).map(|event| event.operation).collect()
}

#[tokio::test]
async fn what_is_forwarded_is_on_the_medium_and_power_loss_takes_none_of_it() {
    let happened = Arc::default();
    let (medium, flusher) = (Cached::file(1, &happened), Flusher::start(WITHIN).unwrap());
    let mut recording = record(&medium, flusher.disk());
    assert_eq!(Reader::new(&medium.on_medium()[..]).events().filter_map(Result::ok).count(), 1, "the head");
    happened.lock().unwrap().clear();
    for operation in 1..=50 {
        recording.raw(EventKind::Operation, operation, &[b"select ", &[b'x'; 100]]);
        recording.json(EventKind::Decision, operation, &"allow");
        keep(&mut recording).await;
        medium.note("forward");
        // The power is cut here: this is the file that is left.
        assert_eq!(operations(&medium.on_medium()), (1..=operation).collect::<Vec<_>>());
    }
    assert_eq!(*happened.lock().unwrap(), ["write 1", "sync 1", "forward 1"].repeat(50));
    // Where there is nothing new, nothing is waited for.
    keep(&mut recording).await;
    assert_eq!(happened.lock().unwrap().len(), 150);
}

/// Polls a future once.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn all_that_wait_are_written_before_the_first_is_synced_and_each_is_synced_once() {
    let happened = Arc::default();
    let flusher = Flusher::start(WITHIN).unwrap();
    let (go_on, hangs) = mpsc::channel();
    let files: Vec<Cached> = (0..=4).map(|file| Cached::file(file, &happened)).collect();
    let mut recordings: Vec<Recording> = files.iter().map(|file| record(file, flusher.disk())).collect();
    happened.lock().unwrap().clear();
    files[0].0.lock().unwrap().hangs = Some(Arc::new(Mutex::new(hangs)));
    for recording in &mut recordings {
        recording.raw(EventKind::Operation, 1, &[b"select 1"]);
    }
    let mut keeping: Vec<_> = recordings.iter_mut().map(|recording| Box::pin(recording.keep())).collect();
    assert!(poll(keeping[0].as_mut()).is_pending());
    while happened.lock().unwrap().len() < 2 {
        std::thread::yield_now();
    }
    // The others come while the disk is busy.
    for keeping in &mut keeping[1..] {
        assert!(poll(keeping.as_mut()).is_pending());
    }
    go_on.send(()).unwrap();
    for keeping in keeping {
        let _ = keeping.await.unwrap();
    }
    let expected = [
        "write 0", "sync 0", "write 1", "write 2", "write 3", "write 4", "sync 1", "sync 2", "sync 3",
        "sync 4",
    ];
    assert_eq!(*happened.lock().unwrap(), expected);
    drop(go_on);
}

#[tokio::test]
async fn a_sync_that_fails_is_said_for_ever_and_not_tried_again() {
    let happened = Arc::default();
    let (medium, flusher) = (Cached::file(1, &happened), Flusher::start(WITHIN).unwrap());
    let mut recording = record(&medium, flusher.disk());
    medium.0.lock().unwrap().fails = true;
    recording.raw(EventKind::Operation, 1, &[b"delete"]);
    let first = recording.keep().await.err().unwrap().to_string();
    assert!(first.ends_with("cannot be written: I/O error"), "{first}");
    // The kernel would say that all is well now.
    medium.0.lock().unwrap().fails = false;
    let count = happened.lock().unwrap().len();
    assert_eq!(recording.keep().await.err().unwrap().to_string(), first);
    assert_eq!(recording.commit().unwrap_err().to_string(), first);
    assert!(matches!(recording.seal(&end()), Err(RecorderError::Write { .. })));
    assert_eq!(happened.lock().unwrap().len(), count);
    assert_eq!(operations(&medium.on_medium()), [0; 0]);
}

/// One thread carries many sessions: while the disk hangs, those that need nothing of it go on, and who waits is told.
#[tokio::test]
async fn a_disk_that_hangs_keeps_nobody_but_those_who_wait_for_it_and_not_for_ever() {
    let happened = Arc::default();
    let (medium, flusher) = (Cached::file(1, &happened), Flusher::start(Duration::from_millis(50)).unwrap());
    let (go_on, hangs) = mpsc::channel();
    let mut recording = record(&medium, flusher.disk());
    assert_eq!(flusher.disk().lag(), Duration::ZERO);
    medium.0.lock().unwrap().hangs = Some(Arc::new(Mutex::new(hangs)));
    recording.raw(EventKind::Operation, 1, &[b"delete"]);
    let mut turns = 0;
    let others = async {
        loop {
            tokio::task::yield_now().await;
            turns += 1;
        }
    };
    let refused = tokio::select! {
        kept = recording.keep() => kept.err().unwrap().to_string(),
        () = others => unreachable!(),
    };
    assert!(refused.ends_with("cannot be written: the disk did not answer within 0 seconds"), "{refused}");
    assert!(turns > 0, "the thread was kept");
    assert!(flusher.disk().lag() >= Duration::from_millis(50));
    let opened = flusher.disk().open(|| panic!("nobody waits for it any more")).await;
    assert!(opened.is_err());
    // It answers in the end, too late for this one, and works for others.
    drop(go_on);
    medium.0.lock().unwrap().hangs = None;
    let other = Cached::file(2, &happened);
    let mut recording = record(&other, flusher.disk());
    recording.raw(EventKind::Operation, 1, &[b"select 1"]);
    let kept = recording.keep().await.map(drop);
    assert!(kept.is_ok(), "{kept:?}");
}

#[tokio::test]
async fn without_its_thread_nothing_is_kept() {
    let happened = Arc::default();
    let (medium, flusher) = (Cached::file(1, &happened), Flusher::start(WITHIN).unwrap());
    let mut recording = record(&medium, flusher.disk());
    drop(flusher);
    recording.raw(EventKind::Operation, 1, &[b"delete"]);
    assert!(recording.keep().await.is_err());
}

fn durable(directory: &Path) -> Recorder {
    let config = config(directory, Caps::default());
    Recorder::new(RecorderConfig { durable: Durable::Yes, ..config }).unwrap()
}

fn open_path(directory: &Path, number: u128) -> PathBuf {
    directory.join("2026-11-21").join(format!("{}.chrec.open", session(number)))
}

#[tokio::test]
async fn a_durable_recording_is_the_bytes_that_another_is() {
    let folder = folder();
    let recorder = durable(folder.path());
    let mut recording = recorder.begin(&head(1), timestamp()).await.unwrap();
    let memory = Memory::default();
    let mut other = memory.record(&Caps::default());
    for (number, length) in (1..200).map(|number| (number, if number % 40 == 0 { 3_000_000 } else { 300 })) {
        for recording in [&mut recording, &mut other] {
            recording.raw(EventKind::Operation, number, &[&number.to_le_bytes(), &vec![b'x'; length]]);
        }
        keep(&mut recording).await;
        other.commit().unwrap();
        let written = fs::read(open_path(folder.path(), 1)).unwrap();
        assert!(written == memory.bytes(), "operation {number}: {} bytes", written.len());
    }
    let sealed = recording.seal(&end()).unwrap();
    assert_eq!(verify(&sealed.path).unwrap().status, Status::Intact(Ending::Sealed));
}

/// A session may have to end while it waits for the disk.
#[tokio::test]
async fn what_is_given_up_half_way_is_written_when_it_is_sealed() {
    let folder = folder();
    let recorder = durable(folder.path());
    for number in 1..=50 {
        let mut recording = recorder.begin(&head(number), timestamp()).await.unwrap();
        recording.raw(EventKind::Operation, 1, &[b"select 1"]);
        keep(&mut recording).await;
        recording.raw(EventKind::Operation, 2, &[b"select 2"]);
        {
            // Nearly always it has to wait here.
            let mut keeping = std::pin::pin!(recording.keep());
            let _ = poll(keeping.as_mut());
        }
        if number % 2 == 0 {
            recording.raw(EventKind::Operation, 3, &[b"select 3"]);
            keep(&mut recording).await;
        }
        let sealed = recording.seal(&end()).unwrap();
        assert_eq!(verify(&sealed.path).unwrap().status, Status::Intact(Ending::Sealed));
        let expected: &[u64] = if number % 2 == 0 { &[1, 2, 3] } else { &[1, 2] };
        assert_eq!(operations(&fs::read(&sealed.path).unwrap()), expected);
    }
}

#[tokio::test]
async fn a_durable_recording_that_was_left_is_recovered_up_to_what_was_kept() {
    let folder = folder();
    let recorder = durable(folder.path());
    let mut recording = recorder.begin(&head(1), timestamp()).await.unwrap();
    recording.raw(EventKind::Operation, 1, &[b"select 1"]);
    keep(&mut recording).await;
    recording.raw(EventKind::Operation, 2, &[b"select 2"]);
    drop(recording);
    let recovered = recorder.recover(timestamp()).unwrap();
    assert!(matches!(recovered[0].outcome, Outcome::Sealed { torn_bytes: 0 }), "{recovered:?}");
    assert_eq!(operations(&fs::read(&recovered[0].path).unwrap()), [1]);
}

/// A file without a head is damage to every recovery after it, and nothing has happened that it could tell of.
#[tokio::test]
async fn a_recording_that_cannot_begin_leaves_no_file() {
    let full = Memory::with(|disk| disk.room = Some(10));
    assert!(full.begin(&Caps::default(), signer()).is_err());
    assert!(full.0.lock().unwrap().discarded);
    let broken = Memory::with(|disk| disk.sync_fails = true);
    let flusher = Flusher::start(WITHIN).unwrap();
    assert!(broken.record(&Caps::default()).durable(flusher.disk().clone()).is_err());
    assert!(broken.0.lock().unwrap().discarded);
}
