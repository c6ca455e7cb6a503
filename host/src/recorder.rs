//! The recorder: one sealed, hash-chained file for every session.
//!
//! No recording, no session: [`Recorder::open`] comes before the target's credential is even borrowed, an operation is
//! forwarded only after [`Recording::commit`] returned `Ok`, and a recorder that cannot write ends the session. The
//! session's own thread writes its file, so there is no queue to fill and nothing to lose when the process dies.
//!
//! - `format`: the bytes, as `host/docs/recording.md` specifies them; `kind`: what events say; `facts`: what is written as JSON;
//!   `footer`: the last block, signed; `payload`: compression; `cipher`: encryption
//! - `writer`: [`Recording`]; `pack`: what becomes of it at its end; `caps`: how much bulk data is kept; `store`: files, names, locks;
//!   `window`: a file's end in memory; `flush`: waits for the disk, where that is wanted
//! - `reader`: [`Reader`], [`Event`]; `flaw`: what it may find; `verify`: [`verify()`]; `recover`: after a crash; `library`: find and list
//! - `replay`: the timing of a replay; `space`: room on the disk
//! - `sign`: keys and signatures; `deed`: small signed files; `checkpoint`: what was recorded; `tombstone`: what was deleted;
//!   `retain`: deletes what has been kept for long enough; `receipt`: what is left of one that is in the store outside alone
//! - `finals`: files that never change any more, to be copied elsewhere
//!
//! What may go wrong: the disk. What is on it survives `kill -9`; power loss may take what the operating system had not
//! written yet, since blocks are not waited for until the recording is sealed. Where that must not be ([`Durable::Yes`]), each
//! block is waited for by [`Recording::keep`].

mod caps;
pub mod checkpoint;
mod cipher;
mod deed;
mod facts;
mod finals;
mod flaw;
mod flush;
mod footer;
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod kind;
mod library;
mod pack;
mod payload;
mod reader;
mod receipt;
mod recover;
pub mod replay;
pub mod retain;
pub mod sign;
mod space;
mod store;
mod tombstone;
mod verify;
mod window;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use caps::Caps;
pub use chaperone_core::name::SessionId;
pub use cipher::{Encryption, EncryptionKey, EncryptionKeys, NoEncryptionKey};
pub use deed::DeedError;
pub use facts::{EndReason, Ending, Footer, Opening, PluginStamp, SessionEnd, SessionHead};
pub use finals::Final;
pub use footer::Signed;
pub use format::{Encoding, EventKind, Hash, Part};
pub(crate) use library::is_open_name;
pub use library::{Glance, Library, Listing, SessionSummary, State, session_of, stated_session, summary};
pub use reader::{Damage, Event, Events, Flaw, Place, ReadError, Reader, to_json};
pub use receipt::{Away, Receipt};
pub use recover::{Outcome, Recovered};
pub use space::{Mark, Space, Watermarks, on_one_disk};
pub use tombstone::{Buried, Tombstone, buried};
pub use verify::{Report, Status, verify, verify_by};
pub use writer::{Kept, Recording, Sealed};

use chaperone_core::Timestamp;
use chaperone_core::name::Principal;
use flush::Flusher;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the recorder needs to know.
#[derive(Debug, Clone)]
pub struct RecorderConfig {
    /// The folder of the recordings. Made if it is missing.
    pub directory: PathBuf,
    /// Bounds of every recording.
    pub caps: Caps,
    /// The key that they are signed by.
    pub signer: sign::Signer,
    /// How they are encrypted.
    pub encryption: Encryption,
    /// Whether blocks are waited for.
    pub durable: Durable,
    /// How much room there has to be.
    pub space: Watermarks,
}

/// What a recording survives, up to the last operation that was forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durable {
    /// The end of the gateway's process: blocks are in the operating system's hands before anything is forwarded.
    #[default]
    No,
    /// Also power loss: they are on the medium before anything is forwarded.
    Yes,
}

/// Opens recordings. Cheap to clone, shared by every session's thread.
#[derive(Debug, Clone)]
pub struct Recorder {
    config: Arc<RecorderConfig>,
    /// There when recordings are durable.
    flusher: Option<Arc<Flusher>>,
}

impl Recorder {
    /// Makes the folder if it is missing, and makes sure that it can be written.
    ///
    /// # Errors
    /// When it cannot be made or written, or when others may write it.
    pub fn new(config: RecorderConfig) -> Result<Self, RecorderError> {
        store::prepare(&config.directory)?;
        let flusher = match config.durable {
            Durable::No => None,
            Durable::Yes => {
                let unusable = |cause: io::Error| RecorderError::Directory {
                    path: config.directory.clone(),
                    cause: cause.into(),
                };
                store::sync_folder(&config.directory).map_err(unusable)?;
                Some(Arc::new(Flusher::start(flush::WITHIN).map_err(unusable)?))
            }
        };
        Ok(Recorder { config: Arc::new(config), flusher })
    }

    /// Opens the recording of a session and writes its head. Where recordings are durable, it is waited for without keeping the
    /// thread.
    ///
    /// # Errors
    /// When it cannot be made, or exists. The session must not begin then.
    pub async fn begin(&self, head: &SessionHead, started: Timestamp) -> Result<Recording, RecorderError> {
        let Some(flusher) = &self.flusher else { return self.open(head, started) };
        let (recorder, its_head) = (self.clone(), head.clone());
        let opened = flusher.disk().open(move || recorder.open(&its_head, started)).await;
        opened.map_err(|cause| RecorderError::Write { session: head.session, cause: cause.into() })?
    }

    /// The same; waits for the disk.
    ///
    /// # Errors
    /// When it cannot be made, or exists. The session must not begin then.
    pub fn open(&self, head: &SessionHead, started: Timestamp) -> Result<Recording, RecorderError> {
        let RecorderConfig { directory, durable, space, .. } = &*self.config;
        // Fails closed. A folder that is missing is made, and whatever else is wrong with it is found by that.
        if let Ok(now) = Space::at(directory)
            && now.is_below(space.refuse)
        {
            return Err(RecorderError::NoRoom {
                path: directory.clone(),
                free: now.free,
                mark: space.refuse,
            });
        }
        let sink = store::create(directory, head.session, started, *durable)?;
        let recording = Recording::begin(Box::new(sink), &self.config, head, started)?;
        match &self.flusher {
            None => Ok(recording),
            Some(flusher) => recording.durable(flusher.disk().clone()),
        }
    }

    /// Seals what was left open by a crash, or by a session that broke. Recordings that are being written, by whichever
    /// process, are left alone: it may run at any time, and has to run at start. It reads every open recording
    /// through: not for a thread that sessions run on.
    ///
    /// # Errors
    /// When the folder cannot be read. What went wrong with a single recording is in its outcome.
    pub fn recover(&self, now: Timestamp) -> Result<Vec<Recovered>, RecorderError> {
        recover::recover(&self.library(), &self.config, now)
    }

    /// The room that there is now. This may wait for the disk.
    ///
    /// # Errors
    /// When the folder cannot be looked at.
    pub fn space(&self) -> Result<Space, RecorderError> {
        Space::at(&self.config.directory).map_err(|cause| RecorderError::Directory {
            path: self.config.directory.clone(),
            cause: cause.into(),
        })
    }

    /// Whether the folder can be written, tried. This may wait for the disk.
    pub fn is_writable(&self) -> bool {
        store::probe(&self.config.directory).is_ok()
    }

    /// How much room there has to be.
    pub fn watermarks(&self) -> Watermarks {
        self.config.space
    }

    /// How long the longest of those that wait for the disk has waited. Zero where recordings are not durable: nobody waits.
    pub fn lag(&self) -> Duration {
        self.flusher.as_ref().map(|flusher| flusher.disk().lag()).unwrap_or_default()
    }

    /// Makes the next checkpoint: names what was sealed since the last one. Nothing for a stop without anything new, or when another
    /// gateway has just made that of the day. It looks through the folder: not for a thread that sessions run on.
    ///
    /// # Errors
    /// When it cannot be made. The next one names the same.
    pub fn checkpoint(
        &self,
        now: Timestamp,
        cause: checkpoint::Cause,
    ) -> Result<Vec<checkpoint::Made>, RecorderError> {
        checkpoint::make(&self.config.directory, &self.config.signer, now, cause)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn newest_checkpoint(&self) -> Result<Option<checkpoint::Newest>, RecorderError> {
        Ok(checkpoint::newest(&self.config.directory)?)
    }

    /// What the rules say is to go now.
    ///
    /// # Errors
    /// When the folder or a checkpoint cannot be read. Nothing may be deleted then.
    pub fn due(&self, rules: &retain::Retention, now: Timestamp) -> Result<retain::Look, RecorderError> {
        retain::look(&self.library(), &self.config.signer, rules, now)
    }

    /// The same of one that was in the store outside alone, and has been brought back. None: it is not to go.
    ///
    /// # Errors
    /// When it cannot be told on what it was.
    pub fn due_again(
        &self,
        one: &retain::Abroad,
        rules: &retain::Retention,
        now: Timestamp,
    ) -> Result<Option<retain::Due>, RecorderError> {
        one.due(&self.library(), rules, now)
    }

    /// Reads a recording through that is to go, and says whose it was.
    ///
    /// # Errors
    /// When it is not, or not any more, what the checkpoint names. It has to stay then: fails closed.
    pub fn examine(&self, due: &retain::Due) -> Result<Principal, RecorderError> {
        due.examine(&self.library())
    }

    /// Deletes a recording that [`Recorder::examine`] has found to be what it is named, and leaves a tombstone.
    ///
    /// # Errors
    /// When it cannot be deleted. Then there is the recording, or its tombstone, or both.
    pub fn delete(&self, due: &retain::Due, now: Timestamp) -> Result<(), RecorderError> {
        due.delete(&self.config.signer, now, &mut |_| Ok(()))
    }

    /// Of all sessions that checkpoints of this gateway's key name as sealed, what stands for their recordings. It reads all checkpoints.
    ///
    /// # Errors
    /// When one cannot be read. Nothing may be moved out then.
    pub fn named(&self) -> Result<BTreeMap<SessionId, Hash>, RecorderError> {
        receipt::named(&self.config.directory, &self.public_key().into())
    }

    /// Removes a recording's file, which the store has and which `digest` stands for, and leaves a receipt; `named` is what
    /// [`Recorder::named`] says.
    ///
    /// # Errors
    /// When it cannot be removed, or no checkpoint names it. Then there is the recording, or its receipt, or both.
    pub fn move_out(
        &self,
        file: &Final,
        named: &BTreeMap<SessionId, Hash>,
        stored: (&str, Hash, Timestamp),
    ) -> Result<(), RecorderError> {
        receipt::move_out(&self.library(), &self.config.signer, file, named, stored)
    }

    /// What stands for the recording that a tombstone of this gateway's key is left of.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn buried(&self, tombstone: &Final) -> Result<Hash, String> {
        let path = tombstone.path(&self.config.directory);
        tombstone::read(&path, &self.public_key().into()).map(|(found, _)| found.footer)
    }

    /// Whether new recordings are encrypted.
    pub fn encrypts(&self) -> bool {
        self.config.encryption.encrypts()
    }

    /// Puts what is preserved, as JSON, beside the recordings.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_preserved(&self, json: &[u8]) -> Result<(), RecorderError> {
        let directory = &self.config.directory;
        let noted = retain::note_preserved(directory, json);
        noted.map_err(|cause| RecorderError::Directory { path: directory.clone(), cause: Arc::new(cause) })
    }

    /// The public half of the key that signs here.
    pub fn public_key(&self) -> sign::PublicKey {
        self.config.signer.public()
    }

    /// The recordings, to read.
    pub fn library(&self) -> Library {
        Library::with_keys(&self.config.directory, self.config.encryption.keys().clone())
    }

    /// The recording of a session.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn find(&self, session: SessionId) -> Result<Option<PathBuf>, RecorderError> {
        self.library().find(session)
    }

    /// The newest `limit` recordings.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self, limit: usize) -> Result<Listing, RecorderError> {
        self.library().list(limit)
    }
}

impl RecorderError {
    /// Whether the disk, or its folder, is what keeps a recording from being made.
    pub fn is_of_the_disk(&self) -> bool {
        use RecorderError::{Create, Directory, NoRoom, Write};
        matches!(self, Directory { .. } | Create { .. } | Write { .. } | NoRoom { .. })
    }
}

/// Why a recording cannot be made, written, sealed or read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RecorderError {
    /// The folder cannot be made, read or written.
    #[error("the folder of the recordings, {}, cannot be used: {cause}; give it to the gateway's user and free some space, or set another", path.display())]
    Directory {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: Arc<io::Error>,
    },
    /// There is too little room for another recording.
    #[error("{} has {free} bytes free, less than {mark} (`recording.space.refuse`): make room there, or move recordings elsewhere", path.display())]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// What there has to be.
        mark: Mark,
    },
    /// Others may write the folder.
    #[error("others may write to the folder of the recordings: run `chmod go-w {}`", path.display())]
    OpenToOthers {
        /// The folder.
        path: PathBuf,
    },
    /// There is a recording with this id.
    #[error("there is a recording of this session already: {}", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("the recording {} cannot be made: {cause}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Arc<io::Error>,
    },
    /// The file cannot be written.
    #[error("the recording of {session} cannot be written: {cause}")]
    Write {
        /// The session.
        session: SessionId,
        /// Why.
        cause: Arc<io::Error>,
    },
    /// The recording is as long as it may be.
    #[error("the recording of {session} reached its limit of {limit_bytes} bytes (recording_bytes)")]
    Full {
        /// The session.
        session: SessionId,
        /// The limit.
        limit_bytes: u64,
    },
    /// A JSON body is too long.
    #[error("a {kind} event of {session} is too long to be recorded")]
    EventTooLong {
        /// The session.
        session: SessionId,
        /// The event.
        kind: EventKind,
    },
    /// A body cannot be written as JSON.
    #[error("an event of {session} cannot be recorded: {why}")]
    Encoding {
        /// The session.
        session: SessionId,
        /// Why.
        why: String,
    },
    /// The footer cannot be signed.
    #[error("the recording of {session} cannot be signed: {why}")]
    Unsigned {
        /// The session.
        session: SessionId,
        /// Why.
        why: String,
    },
    /// The file cannot be read.
    #[error("the recording {} cannot be read: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Arc<io::Error>,
    },
    /// The key that it was encrypted with is missing.
    #[error("the recording {} is encrypted, and takes the key {key}, which was not given", path.display())]
    NeedsKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: sign::KeyId,
    },
    /// A checkpoint or a tombstone cannot be made or read.
    #[error(transparent)]
    Deed(#[from] DeedError),
    /// A recording that was to be deleted has to stay.
    #[error("the recording {} is not deleted: {why}", path.display())]
    Stays {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The gateway stops, and the work with it.
    #[error("the gateway stops")]
    Stopped,
    /// The head cannot be read.
    #[error("the head of the recording {} cannot be read: {why}", path.display())]
    NoHead {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}
