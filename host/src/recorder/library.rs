//! Finds and lists recordings without writing anything and without reading them through.
//!
//! `<directory>/<UTC date>/<session>.chrec` is sealed; `….chrec.open` is being written, or was left by a crash. A
//! listing reads the head block and the footer of each; it shows what they say and proves nothing: that is
//! [`super::verify`]'s work.

use super::cipher::EncryptionKeys;
use super::facts::{Ending, Footer, Opening};
use super::footer::{self, tail_length};
use super::format::{BlockKind, EventKind, HEADER_BYTES, Hash, Header, MAGIC, TAIL_BYTES, VERSION};
use super::reader::{ReadError, Reader};
use super::sign::{KeyId, PublicKeys};
use super::tombstone::{self, Tombstone};
use super::verify::{self, Report};
use super::{RecorderError, SessionId};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The ending of a sealed recording's name.
pub(super) const EXTENSION: &str = ".chrec";
/// The ending of an open recording's name.
pub(super) const OPEN_EXTENSION: &str = ".chrec.open";
/// Bytes read at once.
const READ_BYTES: usize = 256 * 1024;
/// The longest footer block, in bytes. It holds totals only: a footer is under 2 kB.
const MAX_FOOTER_BYTES: u64 = 64 * 1024;

/// The session that a file's name says, whether sealed or open.
pub fn session_of(path: &Path) -> Option<SessionId> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(OPEN_EXTENSION).or_else(|| name.strip_suffix(EXTENSION))?.parse().ok()
}

/// Whether a file's name is that of an open recording.
pub(crate) fn is_open_name(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(OPEN_EXTENSION))
}

/// The name an open recording gets when it is sealed.
pub(super) fn final_name(open: &Path) -> PathBuf {
    match session_of(open) {
        Some(session) => open.with_file_name(format!("{session}{EXTENSION}")),
        None => open.to_owned(),
    }
}

/// The file of a sealed recording.
pub(super) fn sealed_path(day: &Path, session: SessionId) -> PathBuf {
    day.join(format!("{session}{EXTENSION}"))
}

/// What state a recording is in, as far as its name, lock and footer say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Being written.
    Live,
    /// Sealed by its session, or by the recovery.
    Sealed(Ending),
    /// Neither: left by a crash for the next recovery, or damaged.
    Unsealed,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSummary {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its state.
    pub state: State,
    /// Who, where, when.
    pub opening: Opening,
    /// End and totals; None unless sealed.
    pub footer: Option<Footer>,
    /// The hash of the footer block, which stands for the whole recording; None unless sealed.
    pub footer_hash: Option<Hash>,
}

/// What can be seen of a recording without reading it through, also where its head cannot be read.
#[derive(Debug)]
pub struct Glance {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its state.
    pub state: State,
    /// Who, where, when; or why that cannot be read.
    pub opening: Result<Opening, RecorderError>,
    /// End and totals; None unless sealed.
    pub footer: Option<Footer>,
    /// The hash of the footer block; None unless sealed.
    pub footer_hash: Option<Hash>,
}

/// A listing, newest first.
#[derive(Debug, Default)]
pub struct Listing {
    /// What could be read.
    pub sessions: Vec<SessionSummary>,
    /// What could not, and why: shown, never skipped in silence.
    pub unreadable: Vec<(PathBuf, RecorderError)>,
}

/// The recordings in a folder, to read.
#[derive(Debug, Clone)]
pub struct Library {
    directory: PathBuf,
    keys: EncryptionKeys,
}

impl From<&Path> for Library {
    fn from(directory: &Path) -> Self {
        Library::new(directory)
    }
}

impl Library {
    /// Looks at a folder of recordings.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Library::with_keys(directory, EncryptionKeys::default())
    }

    /// The same, with keys to read recordings that are encrypted.
    pub fn with_keys(directory: impl Into<PathBuf>, keys: EncryptionKeys) -> Self {
        Library { directory: directory.into(), keys }
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What recordings are read with.
    pub(crate) fn keys(&self) -> &EncryptionKeys {
        &self.keys
    }

    /// Opens a recording, to read what it says.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(&self, path: &Path) -> Result<Reader<BufReader<File>>, RecorderError> {
        let file = File::open(path)
            .map_err(|error| RecorderError::Read { path: path.to_owned(), cause: Arc::new(error) })?;
        Ok(Reader::new(BufReader::with_capacity(READ_BYTES, file)).with_keys(self.keys.clone()))
    }

    /// The head and, when it is sealed, the footer of a recording.
    ///
    /// # Errors
    /// When the file or its head cannot be read.
    pub fn summary(&self, path: &Path) -> Result<SessionSummary, RecorderError> {
        summarize(path, &self.keys)
    }

    /// The same, of a recording whose head cannot be read as well.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn glance(&self, path: &Path) -> Result<Glance, RecorderError> {
        glance(path, &self.keys)
    }

    /// Checks a recording against keys that are trusted to sign, and tells after each block how many bytes of how many are done.
    ///
    /// # Errors
    /// Only when the file cannot be read; whatever is wrong with what it says is in the report.
    pub fn verify(
        &self,
        path: &Path,
        trusted: &PublicKeys,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Report, RecorderError> {
        verify::check(path, trusted, &self.keys, progress)
    }

    /// The recording of a session; None when there is none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn find(&self, session: SessionId) -> Result<Option<PathBuf>, RecorderError> {
        for day in self.days()? {
            // Open first: between the two looks a recording may go from open to sealed, never back.
            for extension in [OPEN_EXTENSION, EXTENSION] {
                let path = day.join(format!("{session}{extension}"));
                if path.is_file() {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    /// The newest `limit` recordings, newest first.
    ///
    /// # Errors
    /// When the folder cannot be read. A recording that cannot be read is in the listing.
    pub fn list(&self, limit: usize) -> Result<Listing, RecorderError> {
        let mut listing = Listing::default();
        for path in self.paths(limit)? {
            match self.summary(&path) {
                Ok(summary) => listing.sessions.push(summary),
                Err(error) => listing.unreadable.push((path, error)),
            }
        }
        Ok(listing)
    }

    /// The files of the newest `limit` recordings, newest first: by day, then by id, which version 7 orders by time.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn paths(&self, limit: usize) -> Result<Vec<PathBuf>, RecorderError> {
        let mut paths = Vec::new();
        for day in self.days()? {
            let of_day = files_of(&day)?;
            paths.extend(in_order(of_day));
            if paths.len() >= limit {
                break;
            }
        }
        paths.truncate(limit);
        Ok(paths)
    }

    /// The files of `limit` recordings, newest first, from before `before`: the name of a day's folder, and a session there.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn page(
        &self,
        before: Option<(&str, SessionId)>,
        limit: usize,
    ) -> Result<Vec<PathBuf>, RecorderError> {
        let mut paths = Vec::new();
        for day in self.days()? {
            let name = day.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let known = before.filter(|(day, _)| name >= *day);
            // Days are newest first, and named so that they sort.
            if known.is_some_and(|(day, _)| name > day) {
                continue;
            }
            let of_day = in_order(files_of(&day)?).into_iter();
            let is_before = |path: &PathBuf| known.is_none_or(|(_, last)| session_of(path) < Some(last));
            paths.extend(of_day.filter(is_before));
            if paths.len() >= limit {
                break;
            }
        }
        paths.truncate(limit);
        Ok(paths)
    }

    /// What is left of a session's recording that was deleted by the rules, if one of these keys has signed it; else what is wrong
    /// with it, in words. None when there is no such note.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn tombstone(
        &self,
        session: SessionId,
        keys: &PublicKeys,
    ) -> Result<Option<Result<Tombstone, String>>, RecorderError> {
        let paths = self.days()?.into_iter().map(|day| tombstone::path(&day, session));
        let found = paths.into_iter().find(|path| path.is_file());
        Ok(found.map(|path| tombstone::read(&path, keys).map(|(tombstone, _)| tombstone)))
    }

    /// The key that it takes to read a recording; None of one that is not encrypted, or whose begin cannot be read.
    pub fn encrypted_by(&self, path: &Path) -> Option<KeyId> {
        let file = File::open(path).ok()?;
        match Reader::new(BufReader::new(file)).events().next()? {
            Err(ReadError::NeedsKey { key }) => Some(key),
            _ => None,
        }
    }

    /// The files of all recordings, newest first, also of those that stand in the folder itself, as in a day's or a copy.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn all(&self) -> Result<Vec<PathBuf>, RecorderError> {
        let mut paths = self.paths(usize::MAX)?;
        paths.extend(in_order(files_of(&self.directory)?));
        Ok(paths)
    }

    /// The recordings in a day's folder, in the order of their sessions' starts.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn of_day(&self, day: &Path) -> Result<Vec<(SessionId, PathBuf)>, RecorderError> {
        let files = files_of(day)?.into_iter();
        let mut files: Vec<_> = files.filter_map(|path| Some((session_of(&path)?, path))).collect();
        files.sort_unstable_by_key(|(session, _)| *session);
        Ok(files)
    }

    /// The days' folders, newest first. Others (`lost+found`, for one) are not ours to look into.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn days(&self) -> Result<Vec<PathBuf>, RecorderError> {
        let mut days = entries(&self.directory)?;
        days.retain(|path| is_day(path) && path.is_dir());
        days.sort_unstable_by(|a, b| b.cmp(a));
        Ok(days)
    }
}

pub(super) fn is_day(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.parse::<jiff::civil::Date>().is_ok_and(|day| day.to_string() == name))
}

/// By id, backwards. While one is packed there are two files of it for a moment: the sealed one is all of it.
fn in_order(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    files.sort_unstable_by_key(|path| (std::cmp::Reverse(session_of(path)), is_open_name(path)));
    files.dedup_by_key(|path| session_of(path));
    files
}

/// The recordings in a day's folder, sealed and open, in no order.
pub(super) fn files_of(day: &Path) -> Result<Vec<PathBuf>, RecorderError> {
    let mut files = entries(day)?;
    files.retain(|path| session_of(path).is_some() && !path.is_symlink());
    Ok(files)
}

pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, RecorderError> {
    let failed = |source: std::io::Error| RecorderError::Directory {
        path: directory.to_owned(),
        cause: Arc::new(source),
    };
    let entries = fs::read_dir(directory).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

/// The head and, when it is sealed, the footer of a recording.
///
/// # Errors
/// When the file or its head cannot be read.
pub fn summary(path: &Path) -> Result<SessionSummary, RecorderError> {
    summarize(path, &EncryptionKeys::default())
}

fn summarize(path: &Path, keys: &EncryptionKeys) -> Result<SessionSummary, RecorderError> {
    let Glance { path, bytes, state, opening, footer, footer_hash } = glance(path, keys)?;
    Ok(SessionSummary { path, bytes, state, opening: opening?, footer, footer_hash })
}

fn glance(path: &Path, keys: &EncryptionKeys) -> Result<Glance, RecorderError> {
    let failed = |cause| unreadable(path, cause);
    let mut file = File::open(path).map_err(failed)?;
    let opening = head(path, &file, keys);
    let bytes = file.metadata().map_err(failed)?.len();
    let footer = footer(&mut file, bytes).map_err(failed)?;
    let fits = |session| opening.as_ref().map_or(true, |opening| opening.head.session == session);
    let (footer, footer_hash) = footer.filter(|(footer, _)| fits(footer.session)).unzip();
    let state = match &footer {
        Some(footer) => State::Sealed(footer.ending),
        // Under the name of a sealed recording a lock says nothing: nobody writes it any more.
        None => match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) if is_open_name(path) => State::Live,
            _ => State::Unsealed,
        },
    };
    Ok(Glance { path: path.to_owned(), bytes, state, opening, footer, footer_hash })
}

fn unreadable(path: &Path, cause: io::Error) -> RecorderError {
    RecorderError::Read { path: path.to_owned(), cause: Arc::new(cause) }
}

fn head(path: &Path, file: &File, keys: &EncryptionKeys) -> Result<Opening, RecorderError> {
    let reader = Reader::new(BufReader::new(file)).with_keys(keys.clone());
    opening(reader).map_err(|error| match error {
        ReadError::NeedsKey { key } => RecorderError::NeedsKey { path: path.to_owned(), key },
        error => RecorderError::NoHead { path: path.to_owned(), why: error.to_string() },
    })
}

/// What a sealed recording says to whoever has no key.
pub(super) struct Stamp {
    /// None of one that is encrypted.
    pub(super) head: Option<Opening>,
    pub(super) footer: Footer,
    /// Of the footer block.
    pub(super) hash: Hash,
    /// The file's length.
    pub(super) bytes: u64,
}

/// Reads it; None when it has no footer, or one of another session than its head.
pub(super) fn stamp(path: &Path) -> Result<Option<Stamp>, RecorderError> {
    let mut file = File::open(path).map_err(|cause| unreadable(path, cause))?;
    let head = match head(path, &file, &EncryptionKeys::default()) {
        Err(RecorderError::NeedsKey { .. }) => None,
        head => Some(head?),
    };
    let bytes = file.metadata().map_err(|cause| unreadable(path, cause))?.len();
    let Some((footer, hash)) = footer(&mut file, bytes).map_err(|cause| unreadable(path, cause))? else {
        return Ok(None);
    };
    let fits = head.as_ref().is_none_or(|head| head.head.session == footer.session);
    Ok(fits.then_some(Stamp { head, footer, hash, bytes }))
}

/// The session that a recording's own footer says it is of; None when it has no footer that can be read.
pub fn stated_session(path: &Path) -> Option<SessionId> {
    let mut file = File::open(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    footer(&mut file, bytes).ok()?.map(|(footer, _)| footer.session)
}

fn opening(reader: Reader<impl Read>) -> Result<Opening, ReadError> {
    let unreadable = "the first block holds no head that can be read";
    let found = match reader.events().next().transpose()? {
        Some(event) if event.kind == EventKind::Head => serde_json::from_slice(&event.body).ok(),
        _ => None,
    };
    found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, unreadable).into())
}

/// The footer at the end of a file. Its own hash is checked, its place in the chain is not.
fn footer(file: &mut File, bytes: u64) -> io::Result<Option<(Footer, Hash)>> {
    let Some(tail_at) = bytes.checked_sub(TAIL_BYTES as u64) else { return Ok(None) };
    let tail = read_at(file, tail_at, TAIL_BYTES as u64)?;
    let Some(length) = tail_length(&tail).filter(|length| *length <= MAX_FOOTER_BYTES.min(bytes)) else {
        return Ok(None);
    };
    let block = read_at(file, bytes - length, length)?;
    let Some((front, payload)) = block.split_at_checked(HEADER_BYTES) else { return Ok(None) };
    let header = Header::parse(front).filter(|header| {
        header.magic == MAGIC
            && header.version == VERSION
            && header.flags & !BlockKind::Footer.flags() == 0
            && BlockKind::from_code(header.kind) == Some(BlockKind::Footer)
            && header.digest(payload) == header.hash
    });
    Ok(header.and_then(|header| Some((footer::Parsed::new(payload, header.flags)?.footer, header.hash))))
}

fn read_at(file: &mut File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
