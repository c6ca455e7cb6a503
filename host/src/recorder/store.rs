//! The folder that recordings are written to.
//!
//! One file a session, made new (never opened if it exists), readable by the gateway's user alone, locked while it is
//! written. The name says whether it is sealed, so that a sealed recording whose end was cut off is never mistaken for
//! one that a crash left, and a crash's leftovers are found without opening everything. A session's end makes a new file of it,
//! and the old one is deleted when the new one has its name and was read back.

use super::flush::{Medium, Unkept};
use super::library::{EXTENSION, OPEN_EXTENSION};
use super::pack::{self, Packed, Packing};
use super::verify::Scan;
use super::window::{self, Window};
use super::writer::Sink;
use super::{Durable, RecorderError, SessionId};
use chaperone_core::Timestamp;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders: the gateway's user alone.
const DIRECTORY_MODE: u32 = 0o700;
/// Files while they are written.
const FILE_MODE: u32 = 0o600;
/// Sealed files: nobody has a reason to write them. This stops accidents, not attackers.
const SEALED_MODE: u32 = 0o400;
/// Write permission of anyone but the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// The ending of the name of a recording that is being packed.
pub(super) const PACKING: &str = ".chrec.packing";
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Blocks of a recording that are written before a window is opened: a short session spares itself the calls for it, and an
/// idle one the memory.
const WRITTEN_FIRST: u32 = 16;
/// Blocks longer than this are written (bytes): a call costs little beside them.
const MAX_COPIED_BYTES: usize = 8 * 1024;
/// What is written to see whether something can be: more than a file's own entry has room for.
const PROBE_BYTES: usize = 16 * 1024;
/// Blocks of a durable recording that wait in memory for the disk's thread (bytes). What is more is written at once, and waits
/// for its sync alone.
const MAX_UNWRITTEN_BYTES: usize = 1024 * 1024;

/// Makes the folder if it is missing, and tries it: a read-only disk is found at start, not at the first session.
pub(super) fn prepare(directory: &Path) -> Result<(), RecorderError> {
    let failed = |source: std::io::Error| RecorderError::Directory {
        path: directory.to_owned(),
        cause: Arc::new(source),
    };
    make(directory).map_err(failed)?;
    let mode = fs::metadata(directory).map_err(failed)?.permissions().mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(RecorderError::OpenToOthers { path: directory.to_owned() });
    }
    tempfile::tempfile_in(directory).map(drop).map_err(failed)
}

/// Whether a file can be made in the folder and written. One that is missing is made, as for a recording.
pub(super) fn probe(directory: &Path) -> io::Result<()> {
    make(directory)?;
    tempfile::tempfile_in(directory)?.write_all_at(&[0; PROBE_BYTES], 0)
}

pub(super) fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)
}

/// Where a recording is packed. It is no name of a recording, so nobody reads it.
pub(super) fn packing_name(sealed: &Path) -> PathBuf {
    sealed.with_extension(PACKING.trim_start_matches('.'))
}

/// Makes the file of a new recording.
pub(super) fn create(
    directory: &Path,
    session: SessionId,
    started: Timestamp,
    durable: Durable,
) -> Result<FileSink, RecorderError> {
    let day = directory.join(started.strftime("%Y-%m-%d").to_string());
    let open = day.join(format!("{session}{OPEN_EXTENSION}"));
    let sealed = day.join(format!("{session}{EXTENSION}"));
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => RecorderError::Exists { path: open.clone() },
        _ => RecorderError::Create { path: open.clone(), cause: source.into() },
    };
    let options = || OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(&open);
    let file = match options() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(&day).map_err(failed)?;
            options()
        }
        other => other,
    };
    let file = file.map_err(failed)?;
    // Waits at most for a reader that looks at the new file this instant. Whoever holds the lock on a file that is no
    // longer at its path holds nothing: a recovery took it away in between.
    file.lock().map_err(failed)?;
    if sealed.exists() || !same_file(&file, &open) {
        return Err(RecorderError::Exists { path: sealed });
    }
    let mut sink = FileSink::new(file, 0, open, sealed);
    sink.kept = match durable {
        Durable::No => None,
        Durable::Yes => Some(0),
    };
    Ok(sink)
}

/// Waits until a folder's entries are on the medium.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether the path still names this file.
pub(super) fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(path)) => (file.dev(), file.ino()) == (path.dev(), path.ino()),
        _ => false,
    }
}

fn taken() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "a sealed recording of this session exists")
}

/// Waits until the names in a file's folder are.
pub(super) fn sync_name_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

/// The file of an open recording. The lock lives as long as it.
pub(super) struct FileSink {
    file: Arc<File>,
    /// Bytes of the file that are blocks: where the next one goes.
    length: u64,
    /// Blocks that were put in through this value.
    blocks: u32,
    window: Option<Window>,
    /// The one behind it, when it was opened ahead.
    next: Option<Window>,
    /// Whether windows are to be had: where one could not be opened, none is tried again.
    windows: bool,
    /// Whether the file goes on behind its blocks, with room that was reserved for a window.
    reserved: bool,
    /// Where recordings are durable: bytes of the file that are on the medium. Such a file is written by the disk's thread, and
    /// never through a window.
    kept: Option<u64>,
    /// The last blocks of such a file, which nobody has written yet, or whose writing nobody has waited for.
    unwritten: Arc<Vec<u8>>,
    open: PathBuf,
    sealed: PathBuf,
}

impl FileSink {
    /// The file of a recording whose blocks end at `length`.
    pub(super) fn new(file: File, length: u64, open: PathBuf, sealed: PathBuf) -> Self {
        FileSink {
            file: Arc::new(file),
            length,
            blocks: 0,
            window: None,
            next: None,
            windows: true,
            reserved: false,
            kept: None,
            unwritten: Arc::default(),
            open,
            sealed,
        }
    }

    /// Gives the file its final name, unless that name is taken.
    pub(super) fn rename(&self) -> io::Result<PathBuf> {
        if self.sealed.exists() {
            return Err(taken());
        }
        self.file.set_permissions(Permissions::from_mode(SEALED_MODE))?;
        fs::rename(&self.open, &self.sealed)?;
        Ok(self.sealed.clone())
    }

    /// Where [`FileSink::unwritten`] belongs.
    fn written(&self) -> u64 {
        self.length - self.unwritten.len() as u64
    }

    /// Leaves a block of a durable recording to the disk's thread.
    fn leave(&mut self, block: &[u8]) -> io::Result<()> {
        if self.unwritten.len() + block.len() > MAX_UNWRITTEN_BYTES {
            self.write_unwritten()?;
        }
        Arc::make_mut(&mut self.unwritten).extend_from_slice(block);
        Ok(())
    }

    fn write_unwritten(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.unwritten, self.written())?;
        self.unwritten = Arc::default();
        Ok(())
    }

    /// Copies a block into the file's window. `false`: it has to be written.
    fn copied(&mut self, block: &[u8]) -> io::Result<bool> {
        if self.blocks < WRITTEN_FIRST || block.len() > MAX_COPIED_BYTES || !self.windows {
            return Ok(false);
        }
        if !self.window.as_ref().is_some_and(|window| window.holds(self.length)) {
            self.window = self.next.take().filter(|next| next.holds(self.length));
            if self.window.is_none() {
                self.window = self.open_window(self.length);
            }
        }
        let Some(window) = &mut self.window else { return Ok(false) };
        // What is left of a file whose pages were lost is not touched any more.
        window.put(self.length, block).inspect_err(|_| self.reserved = false)
    }

    /// None where there is none to be had.
    fn open_window(&mut self, position: u64) -> Option<Window> {
        // It fills what it opens with zeros.
        debug_assert!(position >= self.length);
        self.reserved = true;
        let opened = Window::open(&self.file, position).ok();
        self.windows = opened.is_some();
        opened
    }

    /// Writes the packed recording beside this one, and reads it back: what it was packed from is deleted next.
    fn packed(&self, to: &Path, wanted: &Packing<'_>) -> io::Result<Packed> {
        let mut workbench = pack::workbench();
        let created = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(to);
        let mut file = match created {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by a crash: whoever holds this one's lock is the only one who packs it.
                fs::remove_file(to)?;
                OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(to)?
            }
            created => created?,
        };
        let mut journal = &*self.file;
        journal.seek(SeekFrom::Start(0))?;
        let journal = BufReader::with_capacity(READ_BYTES, journal.take(self.length));
        let totals = pack::pack(journal, &mut file, wanted, &mut workbench)?;
        file.set_permissions(Permissions::from_mode(SEALED_MODE))?;
        file.sync_all()?;
        let mut scan = Scan::with_keys(wanted.encryption.keys().clone());
        scan.run(BufReader::with_capacity(READ_BYTES, File::open(to)?), &mut |_| {})
            .map_err(io::Error::other)?;
        if scan.totals != totals {
            return Err(io::Error::other("what was packed does not read back"));
        }
        let path = self.sealed.clone();
        Ok(Packed { path, blocks: totals.blocks, bytes: totals.bytes, last_hash: totals.last_hash })
    }

    /// Gives back the room behind the last block.
    fn release(&mut self) -> io::Result<()> {
        (self.window, self.next) = (None, None);
        match std::mem::take(&mut self.reserved) {
            true => self.file.set_len(self.length),
            false => Ok(()),
        }
    }
}

impl Drop for FileSink {
    /// A recording that was not sealed: the recovery copes with the room as well.
    fn drop(&mut self) {
        let _ = self.release();
    }
}

impl Sink for FileSink {
    fn put(&mut self, block: &[u8]) -> io::Result<()> {
        if self.kept.is_some() {
            self.leave(block)?;
        } else if !self.copied(block)? {
            self.file.write_all_at(block, self.length)?;
        }
        self.length += block.len() as u64;
        self.blocks = self.blocks.saturating_add(1);
        Ok(())
    }

    fn make_room(&mut self) {
        // One that blocks have gone past stands for nothing: what is behind its end is written already.
        let Some(window) = self.window.as_ref().filter(|window| window.holds(self.length)) else { return };
        let (end, room) = (window.end(), window.end().saturating_sub(self.length));
        if self.windows && self.next.is_none() && room < window::BYTES as u64 / 2 {
            self.next = self.open_window(end);
        }
    }

    fn unkept(&self) -> Option<Unkept> {
        let (medium, bytes) = (Arc::clone(&self.file) as Arc<dyn Medium>, Arc::clone(&self.unwritten));
        self.kept.filter(|kept| *kept < self.length).map(|_| Unkept {
            medium,
            position: self.written(),
            bytes,
        })
    }

    fn is_kept(&mut self) {
        // Used again, where the thread has dropped its own.
        match Arc::get_mut(&mut self.unwritten) {
            Some(unwritten) => unwritten.clear(),
            None => self.unwritten = Arc::default(),
        }
        self.kept = Some(self.length);
    }

    fn sync(&mut self) -> io::Result<()> {
        self.release()?;
        self.write_unwritten()?;
        self.file.sync_all()?;
        self.kept = self.kept.map(|_| self.length);
        Ok(())
    }

    fn sync_name(&self) -> io::Result<()> {
        // The day's folder may be as new as the file.
        self.open.ancestors().skip(1).take(2).try_for_each(sync_folder)
    }

    fn discard(&mut self) {
        // What stays is damage to a recovery: a file without a head.
        let _ = fs::remove_file(&self.open);
    }

    fn pack(&mut self, wanted: &Packing<'_>) -> io::Result<Packed> {
        self.release()?;
        self.write_unwritten()?;
        let to = packing_name(&self.sealed);
        let packed = match self.sealed.exists() {
            true => Err(taken()),
            false => {
                self.packed(&to, wanted).and_then(|packed| fs::rename(&to, &self.sealed).map(|()| packed))
            }
        };
        let packed = packed.inspect_err(|_| drop(fs::remove_file(&to)))?;
        // From here on it is sealed. What it was packed from goes only when the new name is on the medium; where that cannot
        // be made sure, or this ends in between, the next recovery finds both and sees to it.
        let _ = sync_name_of(&self.sealed).and_then(|()| fs::remove_file(&self.open));
        Ok(packed)
    }

    fn publish(&mut self) -> io::Result<PathBuf> {
        let path = self.rename()?;
        sync_name_of(&path)?;
        Ok(path)
    }
}
