//! What a recording promises, tried: nothing changed unnoticed, nothing lost that was committed, nothing unbounded.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod bytes;
mod chain;
mod crash;
mod damage;
mod durable;
mod encrypted;
mod evade;
mod folder;
mod forged;
mod packing;
mod retain;
mod sign;
mod window;
mod writing;

use super::facts::{EndReason, PluginStamp, SessionEnd, SessionHead};
use super::format::EventKind;
use super::reader::{Event, Reader};
use super::sign::Signer;
use super::writer::{Recording, Sink};
use super::{Caps, Durable, Encryption, Recorder, RecorderConfig, RecorderError, SessionId, Watermarks};
use chaperone_core::Timestamp;
use chaperone_core::identity::{CallerKind, Groups, IdentityFacts};
use chaperone_core::name::{Principal, ProviderName, TargetName};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

fn timestamp() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn session(number: u128) -> SessionId {
    SessionId::new(uuid::Uuid::from_u128(number))
}

pub(crate) fn head(number: u128) -> SessionHead {
    let provider = ProviderName::new("corp").unwrap();
    let identity = IdentityFacts {
        principal: Principal::of(&provider, "t", "o").unwrap(),
        provider,
        tenant: "t".into(),
        object_id: "o".into(),
        kind: CallerKind::Agent,
        audience: Default::default(),
        groups: Groups::Unknown,
        roles: [].into(),
        actor: "a".into(),
        blueprint: None,
        display_name: Some("Søren 🦀".into()),
        sponsors: Vec::new(),
        credential_id: "u".into(),
        issued_at: timestamp(),
        expires_at: timestamp(),
    };
    SessionHead {
        session: session(number),
        protocol: "postgres".into(),
        target: TargetName::new("prod-logs").unwrap(),
        identity,
        grant: "prod-logs".into(),
        window: "win_1".into(),
        request: None,
        approved_by: vec![],
        requested_role: Some("reader".into()),
        target_role: Some("chp_bot_1".into()),
        client_address: "127.0.0.1:5".into(),
        plugins: vec![PluginStamp {
            name: "sql-guard".into(),
            version: "0.1.0".into(),
            digest: "00".into(),
            config_hash: "11".into(),
            hooks: vec!["sql-check".into()],
        }],
        gateway_version: "0.1.0".into(),
    }
}

fn end() -> SessionEnd {
    SessionEnd { ended: timestamp(), reason: EndReason::ClientClosed, code: None, detail: String::new() }
}

/// Until its program begins, a process that is being started has a copy of every file that is open here, and with them
/// the locks: a recording that was given up would seem to be written still. So a test that starts one waits for those
/// with a [`folder`], where tests are threads of one process.
static STARTS: RwLock<()> = RwLock::new(());

/// A folder whose recordings nobody else holds.
struct Folder {
    directory: tempfile::TempDir,
    _nothing_starts: RwLockReadGuard<'static, ()>,
}

impl Folder {
    fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// One for each test: a second one would wait for a start that waits for the first.
fn folder() -> Folder {
    let nothing_starts = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    Folder { directory: directory(), _nothing_starts: nothing_starts }
}

/// Starts a process while nobody has a [`folder`].
fn start(command: &mut Command) -> io::Result<Child> {
    let _alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
    // Returns when the program has begun.
    command.spawn()
}

/// A directory that is quick to sync, where there is one.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub(crate) fn config(directory: &Path, caps: Caps) -> RecorderConfig {
    RecorderConfig {
        directory: directory.to_owned(),
        caps,
        signer: signer(),
        encryption: Encryption::default(),
        durable: Durable::No,
        space: Watermarks::default(),
    }
}

fn recorder(directory: &Path, caps: Caps) -> Recorder {
    Recorder::new(config(directory, caps)).unwrap()
}

/// RFC 8032, section 7.1, test 2, as PKCS#8.
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n-----END PRIVATE KEY-----\n";

fn signer() -> Signer {
    Signer::from_pem(PRIVATE_KEY).unwrap()
}

/// Memory that can be told to break, in the ways a disk does.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    writes: usize,
    syncs: usize,
    /// Room on the disk, when it is bounded.
    room: Option<usize>,
    /// The most that one write takes.
    short: Option<usize>,
    /// How many of the next writes are interrupted by a signal.
    interrupts: usize,
    sync_fails: bool,
    discarded: bool,
}

impl Memory {
    fn with(set: impl FnOnce(&mut Disk)) -> Self {
        let memory = Memory::default();
        set(&mut memory.0.lock().unwrap());
        memory
    }

    fn set(&self, set: impl FnOnce(&mut Disk)) {
        set(&mut self.0.lock().unwrap());
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    fn writes(&self) -> usize {
        self.0.lock().unwrap().writes
    }

    fn record(&self, caps: &Caps) -> Recording {
        self.begin(caps, signer()).unwrap()
    }

    fn begin(&self, caps: &Caps, signer: Signer) -> Result<Recording, RecorderError> {
        let config = RecorderConfig { signer, ..config(Path::new(""), caps.clone()) };
        self.by(&config)
    }

    fn by(&self, config: &RecorderConfig) -> Result<Recording, RecorderError> {
        Recording::begin(Box::new(self.clone()), config, &head(1), timestamp())
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.0.lock().unwrap();
        if disk.interrupts > 0 {
            disk.interrupts -= 1;
            return Err(io::ErrorKind::Interrupted.into());
        }
        disk.writes += 1;
        let room = disk.room.map_or(usize::MAX, |room| room - disk.bytes.len());
        let length = bytes.len().min(disk.short.unwrap_or(usize::MAX)).min(room);
        if length == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.bytes.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {
    fn put(&mut self, block: &[u8]) -> io::Result<()> {
        self.write_all(block)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.syncs += 1;
        if disk.sync_fails { Err(io::Error::other("I/O error")) } else { Ok(()) }
    }

    fn publish(&mut self) -> io::Result<PathBuf> {
        Ok(PathBuf::from("memory"))
    }

    fn discard(&mut self) {
        self.set(|disk| disk.discarded = true);
    }
}

/// A small recording of several blocks: its bytes.
fn small() -> Vec<u8> {
    small_of("1")
}

fn small_of(value: &str) -> Vec<u8> {
    small_by(value, signer())
}

fn small_by(value: &str, signer: Signer) -> Vec<u8> {
    let memory = Memory::default();
    let mut recording = memory.begin(&Caps::default(), signer).unwrap();
    for operation in 1..4 {
        recording.raw(EventKind::Operation, operation, &[b"select ", value.as_bytes()]);
        recording.json(EventKind::Decision, operation, &serde_json::json!({ "allow": operation }));
        recording.commit().unwrap();
    }
    recording.raw(EventKind::Rows, 3, &[b"D\0\0\0\x0b\0\x01\0\0\0\x011"]);
    recording.seal(&end()).unwrap();
    memory.bytes()
}

/// The events up to where it stops being whole.
fn events(bytes: &[u8]) -> Vec<Event> {
    Reader::new(bytes).events().map_while(Result::ok).collect()
}

/// Where the blocks of a recording begin, and where the file ends.
fn borders(bytes: &[u8]) -> Vec<usize> {
    let mut borders = vec![0];
    let mut at = 0;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap());
        at += 96 + length as usize;
        borders.push(at);
    }
    borders
}
