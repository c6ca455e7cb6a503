//! How the frames of a block are stored, and how they are read again.
//!
//! Frames of a live recording are stored as they are: each block is small, and nothing may cost a session more than it has to.
//! Those of a packed one are compressed (Zstandard, RFC 8878), a quarter of a megabyte at once, and kept as they are where
//! that saves nothing. What is read back is bounded whatever the bytes say: one frame of Zstandard, of a size that it states
//! itself and that is at most [`MAX_PAYLOAD_BYTES`]. Where the first block of a file holds a key, all others are encrypted
//! ([`super::cipher`]), after they were compressed.

use super::cipher::{DataKey, EncryptionKeys, NONCE_BYTES, Wrapped};
use super::format::{BlockKind, COMPRESSED, ENCRYPTED, Header, MAX_PAYLOAD_BYTES};
use super::reader::Flaw;
use super::sign::KeyId;
use std::fmt;
use std::io;
use std::ops::Range;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// How hard it is tried. Of statements of PostgreSQL's regression tests with made-up rows, in these blocks, 1 left a fifth at 450 MB/s; 3
/// left no less at the same speed, and 6 took more than three times as long for a sixteenth of that fifth.
const LEVEL: i32 = 1;
/// Shorter payloads are stored as they are (bytes): there is next to nothing to be won.
const WORTH_BYTES: usize = 4096;

const UNDECIPHERABLE: Flaw =
    Flaw::Content("what it holds cannot be decrypted, so it or the key was replaced");

/// What is kept allocated for what was compressed, in bytes.
const KEPT_BYTES: usize = 512 * 1024;

/// Compresses payloads.
pub(super) struct Squeezer {
    compressor: Compressor<'static>,
    room: Vec<u8>,
}

impl Squeezer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Squeezer { compressor: Compressor::new(LEVEL)?, room: Vec::new() })
    }

    /// What is to be stored for `plain`, and the flags that say so.
    ///
    /// # Errors
    /// When the library fails.
    pub(super) fn squeeze<'a>(&'a mut self, plain: &'a [u8]) -> io::Result<(u16, &'a [u8])> {
        if plain.len() < WORTH_BYTES {
            return Ok((0, plain));
        }
        self.room.clear();
        self.room.shrink_to(KEPT_BYTES);
        self.room.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        self.compressor.compress_to_buffer(plain, &mut self.room)?;
        match self.room.len() < plain.len() {
            true => Ok((COMPRESSED, &self.room)),
            false => Ok((0, plain)),
        }
    }
}

/// Reads payloads back.
#[derive(Default)]
pub(super) struct Opener {
    keys: EncryptionKeys,
    lock: Lock,
    decompressor: Option<Decompressor<'static>>,
    plain: Vec<u8>,
    opened: Opened,
}

/// Whether the file is encrypted, as its first block says.
#[derive(Default)]
enum Lock {
    #[default]
    None,
    Open(DataKey),
    Closed(KeyId),
}

/// Where the frames are that were opened last.
#[derive(Default)]
enum Opened {
    /// In the payload as it was stored, or decrypted there.
    Stored(Range<usize>),
    Decompressed,
    /// Nowhere: this key is missing.
    #[default]
    Nothing,
    Locked(KeyId),
}

impl Opener {
    pub(super) fn new(keys: EncryptionKeys) -> Self {
        Opener { keys, ..Opener::default() }
    }

    /// The file's key, when it has one and it could be unwrapped.
    pub(super) fn data_key(&self) -> Option<&DataKey> {
        match &self.lock {
            Lock::Open(key) => Some(key),
            _ => None,
        }
    }

    pub(super) fn into_data_key(self) -> Option<DataKey> {
        match self.lock {
            Lock::Open(key) => Some(key),
            _ => None,
        }
    }

    /// Gives back the room that is only taken while something is read.
    pub(super) fn rest(&mut self) {
        (self.decompressor, self.plain, self.opened) = (None, Vec::new(), Opened::Nothing);
    }

    /// Makes a payload readable: [`Opener::opened`] gives it. It is decrypted where it is.
    ///
    /// # Errors
    /// When it is not what its header says.
    pub(super) fn open(&mut self, kind: BlockKind, header: &Header, stored: &mut [u8]) -> Result<(), Flaw> {
        self.opened = Opened::Nothing;
        match kind {
            BlockKind::Key => return self.unlock(header.sequence, stored),
            BlockKind::Footer => {
                self.opened = Opened::Stored(0..stored.len());
                return Ok(());
            }
            BlockKind::Events => {}
        }
        let encrypted = header.flags & ENCRYPTED != 0;
        let inner = match &self.lock {
            Lock::None if encrypted => {
                return Err(Flaw::Content("it is encrypted, and no key stands before it"));
            }
            // Fails closed: somebody put it in.
            Lock::Open(_) | Lock::Closed(_) if !encrypted => {
                return Err(Flaw::Content("it is not encrypted, and those before it are"));
            }
            Lock::None => 0..stored.len(),
            Lock::Closed(key) => {
                self.opened = Opened::Locked(*key);
                return Ok(());
            }
            Lock::Open(key) => {
                let plain = key.open(header.bound(), stored).ok_or(UNDECIPHERABLE)?;
                NONCE_BYTES..NONCE_BYTES + plain.len()
            }
        };
        self.opened = match header.flags & COMPRESSED {
            0 => Opened::Stored(inner),
            _ => {
                self.decompress(stored.get(inner).unwrap_or_default())?;
                Opened::Decompressed
            }
        };
        Ok(())
    }

    fn unlock(&mut self, sequence: u64, stored: &[u8]) -> Result<(), Flaw> {
        if sequence != 0 {
            return Err(Flaw::Content("it holds a key, and is not the first"));
        }
        self.lock = match DataKey::unwrap(stored, &self.keys) {
            Ok(key) => Lock::Open(key),
            Err(Wrapped::By(key)) => Lock::Closed(key),
            Err(Wrapped::Wrong) => return Err(Flaw::Content("the key in it was changed")),
        };
        Ok(())
    }

    fn decompress(&mut self, stored: &[u8]) -> Result<(), Flaw> {
        const FLAW: Flaw = Flaw::Content("what it holds cannot be decompressed");
        let length = get_frame_content_size(stored).ok().flatten().ok_or(FLAW)?;
        let whole = find_frame_compressed_size(stored).is_ok_and(|size| size == stored.len());
        if length > u64::from(MAX_PAYLOAD_BYTES) || !whole {
            return Err(FLAW);
        }
        let length = usize::try_from(length).map_err(|_| FLAW)?;
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(|_| FLAW)?),
        };
        self.plain.clear();
        // Bounded above, and no more than this is ever written.
        self.plain.reserve_exact(length);
        decompressor.decompress_to_buffer(stored, &mut self.plain).map_err(|_| FLAW)?;
        if self.plain.len() == length { Ok(()) } else { Err(FLAW) }
    }

    /// What was opened last; else the key that it takes.
    pub(super) fn opened<'a>(&'a self, stored: &'a [u8]) -> Result<&'a [u8], KeyId> {
        match &self.opened {
            Opened::Stored(range) => Ok(stored.get(range.clone()).unwrap_or_default()),
            Opened::Decompressed => Ok(&self.plain),
            Opened::Nothing => Ok(&[]),
            Opened::Locked(key) => Err(*key),
        }
    }
}

impl fmt::Debug for Opener {
    /// Without what was read: no payload is ever logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}
