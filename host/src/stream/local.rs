//! Streams on this machine: a file, and standard output.
//!
//! A file is made for the gateway and its group, appended to, and synced before a batch counts as written. Somebody who may write in its folder could
//! put something else in its place: symbolic links are not followed, and what is no plain file is not written. It is looked at by
//! its name before each batch, so that one that was renamed (logrotate) is let go and a new one begun; one that was
//! cut short (`copytruncate`) is appended to as well.
//!
//! Standard output may be a pipe that nobody reads. So it is asked first whether a piece would go in, and given up for now if not: a
//! stream that nobody reads stands still, and a gateway that stops does not wait for its reader.
//!
//! What may go wrong: half a batch is written, and then nothing more. A file is cut back to where the batch began. Where that cannot be
//! done (a pipe, a process that was killed) the next batch begins on a new line, so that a broken line spoils no other;
//! the event that was cut comes again, whole.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who may read a new file: the gateway, and its group.
const FILE_MODE: u32 = 0o640;

/// What goes into a pipe that takes anything at all, without waiting (PIPE_BUF of pipe(7), and its section on poll).
const PIECE_BYTES: usize = 4096;

/// How long a reader of standard output may take for a piece, in seconds.
const READER_SECONDS: i64 = 5;

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct Appended {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and number.
    id: (u64, u64),
}

impl Appended {
    pub(super) fn new(path: PathBuf) -> Self {
        Appended { path, open: None }
    }

    /// Appends whole lines; they are on the medium when this returns.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), String> {
        let words = |error: io::Error| format!("{} {}", self.path.display(), why(&error));
        let there = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino())).ok();
        let open = match self.open.take().filter(|open| Some(open.id) == there) {
            Some(open) => open,
            None => Open::at(&self.path).map_err(words)?,
        };
        open.append(lines).map_err(words)?;
        self.open = Some(open);
        Ok(())
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        // Without waiting: opening a FIFO would wait for its reader.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut options = OpenOptions::new();
        let file =
            options.read(true).append(true).create(true).mode(FILE_MODE).custom_flags(flags).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no plain file"));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(ErrorKind::ResourceBusy, "another process writes it"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let open = Open { id: (found.dev(), found.ino()), file };
        match found.len() {
            // Its name has to last, too.
            0 => File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?,
            length => {
                let mut last = [0];
                open.file.read_exact_at(&mut last, length - 1)?;
                if last != *b"\n" {
                    (&open.file).write_all(b"\n")?;
                }
            }
        }
        Ok(open)
    }

    fn append(&self, lines: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let written = (&self.file).write_all(lines).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Only we write it. What cannot be cut off is ended by a new line when it is opened again.
            let _ = self.file.set_len(before);
        }
        written
    }
}

/// In words that say what to mend.
fn why(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ELOOP) => "is a symbolic link, which is not followed".to_owned(),
        Some(libc::ENXIO) => "is no plain file".to_owned(),
        _ => format!("cannot be written: {error}"),
    }
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Printed {
    line: Line,
    patience: Timespec,
}

impl Default for Printed {
    fn default() -> Self {
        Printed { line: Line::Whole, patience: Timespec { tv_sec: READER_SECONDS, tv_nsec: 0 } }
    }
}

/// Where the output stands.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole,
    Cut,
}

impl Printed {
    /// Writes whole lines, as far as somebody reads them.
    pub(super) fn print(&mut self, lines: &[u8]) -> Result<(), String> {
        self.print_to(&io::stdout(), lines)
    }

    fn print_to(&mut self, out: &impl AsFd, lines: &[u8]) -> Result<(), String> {
        if self.line == Line::Cut {
            self.write(out, b"\n")?;
        }
        self.write(out, lines)
    }

    fn write(&mut self, out: &impl AsFd, mut bytes: &[u8]) -> Result<(), String> {
        let failed = |error: rustix::io::Errno| match error {
            rustix::io::Errno::PIPE => "nobody reads standard output any more".to_owned(),
            error => format!("standard output cannot be written: {error}"),
        };
        while !bytes.is_empty() {
            let mut ready = [PollFd::new(out, PollFlags::OUT)];
            match poll(&mut ready, Some(&self.patience)) {
                Ok(0) => return Err("nobody reads standard output".to_owned()),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(failed(error)),
            }
            let piece = bytes.get(..PIECE_BYTES).unwrap_or(bytes);
            let written = match rustix::io::write(out, piece) {
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(failed(error)),
            };
            bytes = bytes.get(written..).unwrap_or_default();
            self.line = if bytes.is_empty() { Line::Whole } else { Line::Cut };
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_that_was_renamed_is_let_go_and_a_new_one_begun() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("events"), folder.path().join("events.1"));
        let mut appended = Appended::new(path.clone());
        appended.append(b"1\n2\n").unwrap();
        fs::rename(&path, &old).unwrap();
        appended.append(b"3\n").unwrap();
        assert_eq!((read(&old), read(&path)), ("1\n2\n".into(), "3\n".into()));
        // Deleted; and cut short in place.
        fs::remove_file(&path).unwrap();
        appended.append(b"4\n").unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        appended.append(b"5\n").unwrap();
        assert_eq!(read(&path), "5\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o137, 0, "others may read or write it");
    }

    #[test]
    fn a_line_that_a_killed_process_left_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        fs::write(&path, "1\n{\"ha").unwrap();
        let mut appended = Appended::new(path.clone());
        appended.append(b"2\n").unwrap();
        appended.append(b"3\n").unwrap();
        assert_eq!(read(&path), "1\n{\"ha\n2\n3\n");
    }

    #[test]
    fn only_a_plain_file_that_nobody_else_writes_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("elsewhere"), "").unwrap();
        symlink(at("elsewhere"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let mut other = Appended::new(at("taken"));
        other.append(b"x\n").unwrap();
        for (name, why) in [
            ("link", "is a symbolic link, which is not followed"),
            ("dangling", "is a symbolic link, which is not followed"),
            ("folder", "cannot be written: Is a directory (os error 21)"),
            ("fifo", "cannot be written: it is no plain file"),
            ("socket", "is no plain file"),
            ("taken", "cannot be written: another process writes it"),
            ("no/such", "cannot be written: No such file or directory (os error 2)"),
        ] {
            let error = Appended::new(at(name)).append(b"secret\n").unwrap_err();
            assert_eq!(error, format!("{} {why}", at(name).display()));
        }
        assert_eq!((read(&at("elsewhere")), read(&at("taken"))), (String::new(), "x\n".into()));
        assert!(!at("nowhere").exists());
        drop(other);
        Appended::new(at("taken")).append(b"y\n").unwrap();
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_given_up_and_goes_on_with_whole_lines() {
        let (mut reader, writer) = io::pipe().unwrap();
        let patience = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let mut printed = Printed { patience, ..Printed::default() };
        let line = format!("\"{}\"\n", "x".repeat(40_000));
        let mut taken = 0;
        let why = loop {
            match printed.print_to(&writer, line.as_bytes()) {
                Ok(()) => taken += 1,
                Err(why) => break why,
            }
        };
        assert_eq!((why.as_str(), taken), ("nobody reads standard output", 1), "a pipe holds 64 KiB");
        // It is not waited for the second time either.
        printed.print_to(&writer, line.as_bytes()).unwrap_err();
        let mut read = vec![0; 70_000];
        let count = reader.read(&mut read).unwrap();
        read.truncate(count);
        printed.print_to(&writer, line.as_bytes()).unwrap();
        drop(writer);
        reader.read_to_end(&mut read).unwrap();
        let text = String::from_utf8(read).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let whole: Vec<_> = lines.iter().filter(|one| format!("{one}\n") == line).collect();
        assert_eq!((lines.len(), whole.len()), (3, 2), "one was cut, and no other");
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let error = printed.print_to(&writer, b"x\n").unwrap_err();
        assert_eq!(error, "nobody reads standard output any more");
    }
}
