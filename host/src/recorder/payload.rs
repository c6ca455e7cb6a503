//! How the frames of a block are stored, and how they are read again.
//!
//! Frames of a live recording are stored as they are: each block is small, and nothing may cost a session more than it has to.
//! Those of a packed one are compressed (Zstandard, RFC 8878), a quarter of a megabyte at once, and kept as they are where
//! that saves nothing. What is read back is bounded whatever the bytes say: one frame of Zstandard, of a size that it states
//! itself and that is at most [`MAX_PAYLOAD_BYTES`].

use super::format::{COMPRESSED, MAX_PAYLOAD_BYTES};
use super::reader::Flaw;
use std::fmt;
use std::io;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// How hard it is tried. Of statements of PostgreSQL's regression tests with made-up rows, in these blocks, 1 left a fifth at 450 MB/s; 3
/// left no less at the same speed, and 6 took more than three times as long for a sixteenth of that fifth.
const LEVEL: i32 = 1;
/// Shorter payloads are stored as they are (bytes): there is next to nothing to be won.
const WORTH_BYTES: usize = 4096;

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
    decompressor: Option<Decompressor<'static>>,
    plain: Vec<u8>,
}

impl Opener {
    /// Makes the frames of a payload readable: [`Opener::opened`] gives them.
    ///
    /// # Errors
    /// When they are not what the flags say.
    pub(super) fn open(&mut self, flags: u16, stored: &[u8]) -> Result<(), Flaw> {
        if flags & COMPRESSED == 0 {
            return Ok(());
        }
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

    /// The frames that were opened last.
    pub(super) fn opened<'a>(&'a self, flags: u16, stored: &'a [u8]) -> &'a [u8] {
        if flags & COMPRESSED == 0 { stored } else { &self.plain }
    }
}

impl fmt::Debug for Opener {
    /// Without what was read: no payload is ever logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}
