//! Packs the blocks of a session that has ended into a shorter recording, with a chain of its own and a signed footer.
//!
//! The same frames in the same order, in larger blocks, compressed: nothing else. It reads as anybody does, and believes as
//! little: what does not come out with every event that was counted while it was written is not packed. Memory is bounded by
//! one block of each.
//!
//! What may go wrong: anything that may go wrong with a disk. Nothing that was there before is touched here.

use super::cipher::{DataKey, Encryption, EncryptionKey, NONCE_BYTES, TAG_BYTES};
use super::facts::{Footer, Totals};
use super::footer;
use super::format::{BlockKind, ENCRYPTED, EventKind, Frame, Frames, Hash, Header, SIGNED};
use super::payload::Squeezer;
use super::reader::{Flaw, ReadError, Reader};
use super::sign::Signer;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A block is closed when its frames reach this (bytes): long enough to be compressed well, short enough to be read at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// What a workbench keeps allocated for frames, in bytes.
const KEPT_BYTES: usize = 2 * BLOCK_BYTES;

/// What is to be packed.
pub(super) struct Packing<'a> {
    /// The footer that the blocks would get where they are.
    pub(super) journal: &'a Footer,
    /// Signs.
    pub(super) signer: &'a Signer,
    /// Reads the blocks, and encrypts what is made of them.
    pub(super) encryption: &'a Encryption,
}

/// A packed recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) path: PathBuf,
    /// With the footer.
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    pub(super) last_hash: Hash,
}

/// Reads the blocks from `journal`, which ends behind the last one, and writes the recording to `to`. Gives its totals, with the
/// footer.
///
/// # Errors
/// When something cannot be read, written or signed, or not everything came out.
pub(super) fn pack(
    journal: impl Read,
    to: impl Write,
    wanted: &Packing<'_>,
    on: &mut Workbench,
) -> io::Result<Totals> {
    let encryption = wanted.encryption;
    let mut reader = Reader::new(journal).with_keys(encryption.keys().clone());
    let mut packer = Packer::new(to, on)?;
    loop {
        let block = match reader.next_block() {
            Ok(Some(block)) => block,
            Err(ReadError::Damage(damage)) if damage.what == Flaw::NoFooter => break,
            Ok(None) => return Err(io::Error::other("it is sealed")),
            Err(error) => return Err(io::Error::other(error)),
        };
        if block.kind == BlockKind::Key {
            packer.encrypt(encryption.of_new_file(reader.data_key()))?;
            continue;
        }
        packer.encrypt(encryption.of_new_file(None))?;
        let payload = block.payload.map_err(|key| io::Error::other(ReadError::NeedsKey { key }))?;
        for frame in Frames::new(payload) {
            let (frame, body) = frame.map_err(|_| io::Error::other("a block holds what is no event"))?;
            packer.frame(&frame, body)?;
        }
    }
    packer.finish(wanted)
}

/// Memory to pack with, which is kept for the next recording.
pub(super) struct Workbench {
    squeezer: Option<Squeezer>,
    /// The frames of the open block.
    plain: Vec<u8>,
    /// What is stored of a block that is encrypted.
    sealed: Vec<u8>,
}

impl Workbench {
    pub(super) const fn new() -> Self {
        Workbench { squeezer: None, plain: Vec::new(), sealed: Vec::new() }
    }
}

/// Packing takes some megabytes, and all sessions may end at once: so many are packed at a time, and the others wait.
static WORKBENCHES: [Mutex<Workbench>; 2] = [const { Mutex::new(Workbench::new()) }; 2];

/// A workbench that is free, or that is so next.
pub(super) fn workbench() -> MutexGuard<'static, Workbench> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let free = WORKBENCHES.iter().find_map(|one| one.try_lock().ok());
    free.unwrap_or_else(|| {
        let [first, second] = &WORKBENCHES;
        let one = if NEXT.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { first } else { second };
        // What is on it is made anew by each who packs.
        one.lock().unwrap_or_else(PoisonError::into_inner)
    })
}

struct Packer<'a, W> {
    to: W,
    totals: Totals,
    squeezer: &'a mut Squeezer,
    cipher: Option<DataKey>,
    /// What is stored of a block that is encrypted.
    sealed: &'a mut Vec<u8>,
    /// The frames of the open block.
    plain: &'a mut Vec<u8>,
    frames: u32,
}

impl<'a, W: Write> Packer<'a, W> {
    fn new(to: W, on: &'a mut Workbench) -> io::Result<Self> {
        on.plain.clear();
        on.plain.shrink_to(KEPT_BYTES);
        let squeezer = match &mut on.squeezer {
            Some(squeezer) => squeezer,
            none => none.insert(Squeezer::new()?),
        };
        Ok(Packer {
            to,
            totals: Totals::new(),
            squeezer,
            cipher: None,
            sealed: &mut on.sealed,
            plain: &mut on.plain,
            frames: 0,
        })
    }

    /// Begins with a key, if there is one and nothing else was begun with.
    fn encrypt(&mut self, by: Option<&EncryptionKey>) -> io::Result<()> {
        let Some(by) = by.filter(|_| self.totals.blocks == 0) else { return Ok(()) };
        let (key, wrapped) = DataKey::new(by).map_err(io::Error::other)?;
        self.cipher = Some(key);
        put(&mut self.to, &mut self.totals, (BlockKind::Key, 0), 0, &wrapped)
    }

    fn frame(&mut self, frame: &Frame, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        self.plain.extend_from_slice(&frame.encode(length));
        self.plain.extend_from_slice(body);
        self.frames += 1;
        self.totals.frame(frame.kind, frame.part, frame.at_us);
        // The head has a block of its own, so that a listing need not decompress what is behind it.
        if self.plain.len() >= BLOCK_BYTES || frame.kind == EventKind::Head {
            self.close()?;
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        if self.frames == 0 {
            return Ok(());
        }
        let (flags, stored) = self.squeezer.squeeze(self.plain)?;
        let (sequence, previous) = (self.totals.blocks, self.totals.last_hash);
        match &self.cipher {
            None => put(&mut self.to, &mut self.totals, (BlockKind::Events, flags), self.frames, stored)?,
            Some(cipher) => {
                self.sealed.clear();
                self.sealed.resize(NONCE_BYTES, 0);
                self.sealed.extend_from_slice(stored);
                let length = self.sealed.len() + TAG_BYTES;
                let kind = (BlockKind::Events, flags | ENCRYPTED);
                let mut header = Header::before(kind, sequence, self.frames, previous, length);
                cipher.seal(sequence, header.bound(), self.sealed, 0).map_err(io::Error::other)?;
                header.hash = header.digest(self.sealed);
                put_block(&mut self.to, &mut self.totals, &header, self.sealed)?;
            }
        }
        self.plain.clear();
        self.frames = 0;
        Ok(())
    }

    fn finish(mut self, wanted: &Packing<'_>) -> io::Result<Totals> {
        self.close()?;
        let journal = wanted.journal;
        let mut footer = self.totals.footer(journal.session, journal.ending, journal.end.clone());
        footer.dropped_bytes = journal.dropped_bytes;
        footer.packed_from = Some(journal.last_hash.clone());
        // Fails closed: the blocks that were read are about to be deleted.
        if (&footer.kinds, footer.last_at_us) != (&journal.kinds, journal.last_at_us) {
            return Err(io::Error::other("not every event came out"));
        }
        let mut payload = serde_json::to_vec(&footer).map_err(io::Error::other)?;
        footer::finish(&mut payload, 0, wanted.signer).map_err(io::Error::other)?;
        put(&mut self.to, &mut self.totals, (BlockKind::Footer, SIGNED), 0, &payload)?;
        self.to.flush()?;
        Ok(self.totals)
    }
}

fn put(
    to: &mut impl Write,
    totals: &mut Totals,
    kind: (BlockKind, u16),
    frames: u32,
    payload: &[u8],
) -> io::Result<()> {
    let header = Header::seal_as(kind, totals.blocks, frames, totals.last_hash, payload);
    put_block(to, totals, &header, payload)
}

fn put_block(to: &mut impl Write, totals: &mut Totals, header: &Header, payload: &[u8]) -> io::Result<()> {
    to.write_all(&header.encode())?;
    to.write_all(payload)?;
    totals.block(payload.len(), header.hash);
    Ok(())
}
