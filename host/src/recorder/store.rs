//! The folder that recordings are written to.
//!
//! One file a session, made new (never opened if it exists), readable by the gateway's user alone, locked while it is
//! written. The name says whether it is sealed, so that a sealed recording whose end was cut off is never mistaken for
//! one that a crash left, and a crash's leftovers are found without opening everything.

use super::RecorderError;
use super::SessionId;
use super::library::{EXTENSION, OPEN_EXTENSION};
use super::writer::Sink;
use chaperone_core::Timestamp;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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

fn make(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)
}

/// Makes the file of a new recording.
pub(super) fn create(
    directory: &Path,
    session: SessionId,
    started: Timestamp,
) -> Result<FileSink, RecorderError> {
    let day = directory.join(started.strftime("%Y-%m-%d").to_string());
    let open = day.join(format!("{session}{OPEN_EXTENSION}"));
    let sealed = day.join(format!("{session}{EXTENSION}"));
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => RecorderError::Exists { path: open.clone() },
        _ => RecorderError::Create { path: open.clone(), cause: source.into() },
    };
    let options = || OpenOptions::new().append(true).create_new(true).mode(FILE_MODE).open(&open);
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
    Ok(FileSink::new(file, open, sealed))
}

/// Whether the path still names this file.
pub(super) fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(path)) => (file.dev(), file.ino()) == (path.dev(), path.ino()),
        _ => false,
    }
}

/// The file of an open recording. The lock lives as long as it.
#[derive(Debug)]
pub(super) struct FileSink {
    file: File,
    open: PathBuf,
    sealed: PathBuf,
}

impl FileSink {
    pub(super) fn new(file: File, open: PathBuf, sealed: PathBuf) -> Self {
        FileSink { file, open, sealed }
    }

    /// Gives the file its final name, unless that name is taken.
    pub(super) fn rename(&self) -> io::Result<PathBuf> {
        if self.sealed.exists() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a sealed recording of this session exists",
            ));
        }
        self.file.set_permissions(Permissions::from_mode(SEALED_MODE))?;
        fs::rename(&self.open, &self.sealed)?;
        Ok(self.sealed.clone())
    }
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for FileSink {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn publish(&mut self) -> io::Result<PathBuf> {
        self.rename()
    }
}
