//! Copies recordings into the bundle, byte by byte, and verifies the copies.
//!
//! A recording of a session that still runs is copied as far as its blocks are complete, and is said to be open. Encrypted ones
//! stay encrypted. One that cannot be read is named, with why.

use super::choose::{Selection, note};
use super::folder::{AT_ONCE, Bundle, Writing};
use super::{Trust, unreadable};
use crate::cli::failure::{Exit, Failure};
use crate::cli::recordings::{list, proof};
use crate::recorder::checkpoint::{self, Found};
use crate::recorder::{Buried, Glance, Library, RecorderError, Report, SessionId, State, Status, session_of};
use crate::state::Preservation;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A recording of the bundle.
pub(super) struct Item {
    pub(super) session: SessionId,
    /// What was seen of the original; None when nothing could be.
    pub(super) glance: Option<Glance>,
    /// The copy's name in the bundle; None when there is none.
    pub(super) copy: Option<String>,
    /// As `verify --json` tells it.
    pub(super) row: Value,
    pub(super) report: Option<Report>,
    pub(super) exit: Exit,
    /// What keeps it from being deleted.
    pub(super) preserved: Option<String>,
    /// Whether it vanished while it was to be copied.
    pub(super) is_gone: bool,
}

impl Item {
    /// Whether its session still ran.
    pub(super) fn is_live(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.status == Status::Live)
    }

    /// A word of its row.
    pub(super) fn word(&self, name: &str) -> &str {
        self.row.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn lost(path: &Path, session: SessionId, glance: Option<Glance>, error: &RecorderError) -> Self {
        Item {
            session,
            glance,
            copy: None,
            row: proof::lost(path, error),
            report: None,
            exit: unreadable(error).exit,
            preserved: None,
            is_gone: !path.exists(),
        }
    }
}

/// A bar on standard error; nowhere when that is no terminal.
pub(super) fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Copies and verifies all that were chosen.
pub(super) fn gather(
    library: &Library,
    glances: Vec<Glance>,
    unread: Vec<(PathBuf, RecorderError)>,
    kept: &[Preservation],
    trust: &Trust,
    bundle: &mut Bundle,
) -> Result<Vec<Item>, Failure> {
    let (total, mut names, mut items) = (glances.len(), BTreeSet::new(), Vec::new());
    for (path, error) in unread {
        let Some(session) = session_of(&path) else { continue };
        items.push(Item::lost(&path, session, None, &error));
    }
    for (index, glance) in glances.into_iter().enumerate() {
        let Some(session) = session_of(&glance.path) else { continue };
        let preserved = glance.opening.as_ref().ok().and_then(|opening| list::preserved(kept, &opening.head));
        let preserved = preserved.map(|entry| entry.id.to_string());
        let label = format!("{}/{total} ", index + 1);
        let item = one(library, session, glance, trust, &label, &mut names, bundle)?;
        items.push(Item { preserved, ..item });
    }
    Ok(items)
}

fn one(
    library: &Library,
    session: SessionId,
    glance: Glance,
    trust: &Trust,
    label: &str,
    names: &mut BTreeSet<String>,
    bundle: &mut Bundle,
) -> Result<Item, Failure> {
    let (glance, file) = open(library, session, glance);
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            let path = glance.path.clone();
            return Ok(Item::lost(&path, session, Some(glance), &error));
        }
    };
    let name = free_name(&glance.path, names);
    let mut writing = bundle.create(&name)?;
    if let Err(cause) = copy(file, &mut writing)? {
        // What there is of it stays out: half a copy proves nothing.
        let _ = fs::remove_file(writing.path());
        let error = RecorderError::Read { path: glance.path.clone(), cause: Arc::new(cause) };
        let path = glance.path.clone();
        return Ok(Item::lost(&path, session, Some(glance), &error));
    }
    bundle.add(writing)?;
    names.insert(name.clone());
    let mut report = match proof::check(library, &bundle.path(&name), trust, label) {
        Ok(report) => report,
        Err(error) => return Err(unreadable(&error)),
    };
    if glance.state == State::Live && is_unfinished(&report.status) {
        // Nobody holds a lock on the copy; somebody held one on what it was made from.
        report.status = Status::Live;
        bundle.shorten(&name, report.bytes)?;
    }
    Ok(Item {
        session,
        row: proof::to_json(Path::new(&name), &report),
        exit: proof::exit(&report),
        report: Some(report),
        glance: Some(glance),
        copy: Some(name),
        preserved: None,
        is_gone: false,
    })
}

fn is_unfinished(status: &Status) -> bool {
    match status {
        Status::Unsealed => true,
        Status::Damaged(damage) => damage.what.is_unfinished(),
        _ => false,
    }
}

/// One that was sealed since it was looked at has another name now.
fn open(library: &Library, session: SessionId, glance: Glance) -> (Glance, Result<File, RecorderError>) {
    let cause = match File::open(&glance.path) {
        Ok(file) => return (glance, Ok(file)),
        Err(cause) => cause,
    };
    if cause.kind() == io::ErrorKind::NotFound
        && let Ok(Some(path)) = library.find(session)
        && let (Ok(file), Ok(moved)) = (File::open(&path), library.glance(&path))
    {
        return (moved, Ok(file));
    }
    let error = RecorderError::Read { path: glance.path.clone(), cause: Arc::new(cause) };
    (glance, Err(error))
}

/// A name in the bundle by which a reader knows the session: of two files of one session the second stands in a folder of its own.
fn free_name(path: &Path, names: &BTreeSet<String>) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let first = format!("recordings/{file}");
    let further = (2..).map(|number: u32| format!("recordings-{number}/{file}"));
    std::iter::once(first).chain(further).find(|name| !names.contains(name)).unwrap_or_default()
}

/// Copies what there is now: of a file that is being written, blocks that come later would stand behind room that was
/// empty when it was read. The inner error is the original's.
fn copy(file: File, to: &mut Writing) -> Result<io::Result<()>, Failure> {
    let mut room = vec![0; AT_ONCE];
    let length = match file.metadata() {
        Ok(found) => found.len(),
        Err(error) => return Ok(Err(error)),
    };
    let mut file = file.take(length);
    loop {
        match file.read(&mut room) {
            Ok(0) => return Ok(Ok(())),
            Ok(read) => to.all(room.get(..read).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// What verifying found of them, for the comparison with the checkpoints.
pub(super) fn found(items: &[Item], found: &mut BTreeMap<SessionId, Found>) {
    for item in items.iter().filter(|item| !item.is_gone) {
        found.remove(&item.session);
    }
    for item in items.iter().filter(|item| !item.is_gone) {
        let whole = item.report.as_ref().filter(|report| matches!(report.status, Status::Intact(_)));
        note(found, item.session, whole.map_or(Found::Other, |report| Found::Whole(report.last_hash)));
    }
}

/// The keys that were trusted. That they are in the bundle is no reason to trust them.
pub(super) fn keys(trust: &Trust, bundle: &mut Bundle) -> Result<(), Failure> {
    trust
        .keys
        .keys()
        .try_for_each(|key| bundle.write(&format!("keys/{}.pem", key.id()), key.to_pem().as_bytes()))
}

/// Those that name any of these sessions, and those of the time.
pub(super) fn checkpoints(
    library: &Library,
    selection: &Selection,
    items: &[Item],
    deleted: &[Buried],
    bundle: &mut Bundle,
) -> Result<(), Failure> {
    let sessions = items.iter().map(|item| item.session).chain(deleted.iter().map(|one| one.session));
    let sessions: BTreeSet<SessionId> = sessions.collect();
    let mut is_wanted = |checkpoint: &_| selection.takes_checkpoint(checkpoint, &sessions);
    let wanted = checkpoint::wanted(library.directory(), &mut is_wanted);
    for (_, path) in wanted.map_err(|error| unreadable(&error.into()))? {
        small(&path, "checkpoints", bundle)?;
    }
    Ok(())
}

/// What is left of those that were deleted.
pub(super) fn tombstones(deleted: &[Buried], bundle: &mut Bundle) -> Result<(), Failure> {
    // One that cannot be read as what its name says may be anything, and of any length: it is named, and not copied.
    deleted.iter().filter(|one| one.says.is_some()).try_for_each(|one| {
        let day = one.path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        small(&one.path, &format!("tombstones/{day}"), bundle)
    })
}

fn small(path: &Path, folder: &str, bundle: &mut Bundle) -> Result<(), Failure> {
    let failed = |cause| RecorderError::Read { path: path.to_owned(), cause: Arc::new(cause) };
    let bytes = fs::read(path).map_err(|error| unreadable(&failed(error)))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    bundle.write(&format!("{folder}/{name}"), &bytes)
}
