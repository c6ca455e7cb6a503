//! Deletes what has been kept for as long as the rules say, and leaves a signed tombstone in its place.
//!
//! Only what a checkpoint of this gateway's own key names as sealed is ever deleted, and only after the file was read through and found to
//! be that: a recording that was changed is evidence and stays. The tombstone is on the medium before the recording goes; a crash
//! leaves the one, the other or both, and the next run goes on from there.
//!
//! What may go wrong: the clock. One that is far ahead makes everything seem old. So nothing is deleted in the first run after a leap of more
//! than two days, whether the clock leapt or the gateway was away: that leaves a day for somebody to notice.

use super::checkpoint::{self, Checkpoint, Sealing, Was};
use super::deed::{self, Deed, DeedError};
use super::sign::{PublicKeys, Signer, Statement};
use super::tombstone::{self, Tombstone};
use super::{Away, Library, RecorderError, SessionId, Status, library, receipt};
use chaperone_core::Timestamp;
use chaperone_core::name::{Principal, TargetName};
use chaperone_core::window::after;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Recordings that one run deletes at most: the rest is for the next day's.
pub const MAX_DUE: usize = 100_000;
/// How far the last checkpoint may be behind for a run to delete.
const LONGEST_LEAP: Duration = Duration::from_secs(2 * 24 * 3600);

/// The file beside the recordings that says what is preserved.
const PRESERVED: &str = "preserved.json";
/// The longest such file that is read, in bytes: a thousand entries with the longest reasons.
const MAX_PRESERVED_BYTES: u64 = 4 * 1024 * 1024;

/// Puts what is preserved beside the recordings, for whoever looks at them without a gateway. It decides nothing: the store does.
pub(super) fn note_preserved(recordings: &Path, json: &[u8]) -> std::io::Result<()> {
    let path = recordings.join(PRESERVED);
    if fs::read(&path).is_ok_and(|found| found == json) {
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new_in(recordings)?;
    file.write_all(json)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// What [`note_preserved`] has put there; empty when it has put nothing.
///
/// # Errors
/// When it cannot be read.
pub fn preserved(recordings: &Path) -> std::io::Result<Vec<u8>> {
    let mut json = Vec::new();
    match fs::File::open(recordings.join(PRESERVED)) {
        Ok(file) => file.take(MAX_PRESERVED_BYTES).read_to_end(&mut json).map(|_| json),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(json),
        Err(error) => Err(error),
    }
}

/// How long recordings are kept after their end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing deletes them.
    #[default]
    Forever,
    /// For so long.
    For(Duration),
}

/// How long recordings are kept, by target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Where nothing else is said.
    pub default: Keep,
    /// By target.
    pub targets: BTreeMap<TargetName, Keep>,
}

impl Retention {
    /// Whether anything is ever deleted.
    pub fn deletes(&self) -> bool {
        self.targets.values().chain([&self.default]).any(|keep| *keep != Keep::Forever)
    }

    /// Whether anything is to go now that ended then.
    fn may_be_due(&self, ended: Timestamp, now: Timestamp) -> bool {
        let over = |keep: &Keep| matches!(keep, Keep::For(time) if after(ended, *time).is_some_and(|until| until <= now));
        self.targets.values().chain([&self.default]).any(over)
    }

    /// The rule's words, if a recording that ended then is to go now.
    fn is_due(&self, target: &TargetName, ended: Timestamp, now: Timestamp) -> Option<String> {
        // The target's name may be what its key keeps: a tombstone has these words.
        let (keep, whose) = match self.targets.get(target) {
            Some(keep) => (keep, "of its target"),
            None => (&self.default, "default"),
        };
        let Keep::For(time) = keep else { return None };
        // A moment that there is not is never reached.
        let until = after(ended, *time)?;
        (until <= now).then(|| format!("{} ({whose})", humantime::format_duration(*time)))
    }
}

/// A recording that the rules say is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The session.
    pub session: SessionId,
    /// On what it was.
    pub target: TargetName,
    /// The rule's own words.
    pub rule: String,
    sealing: Sealing,
    day: PathBuf,
    /// The newest checkpoint.
    after: u64,
}

/// What is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// These.
    Due {
        /// What is to go.
        due: Vec<Due>,
        /// These may be, and are in the store outside alone.
        away: Vec<Abroad>,
        /// How many others may be, and stay: they are encrypted, and cannot be read here.
        unread: usize,
    },
    /// Nothing now: the last checkpoint before this one is from then.
    Leapt(Timestamp),
}

/// A recording in the store outside that may be to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abroad {
    /// Which.
    pub away: Away,
    /// On what it was; none of one that is encrypted.
    pub target: Option<TargetName>,
    sealing: Sealing,
    day: PathBuf,
    after: u64,
}

impl Abroad {
    /// Whether it is to go, if it was on this target.
    pub fn is_due(&self, target: &TargetName, rules: &Retention, now: Timestamp) -> bool {
        rules.is_due(target, self.sealing.ended, now).is_some()
    }

    /// The same as of one that is there, once it has been brought back. None: it is not to go.
    pub(super) fn due(
        &self,
        recordings: &Library,
        rules: &Retention,
        now: Timestamp,
    ) -> Result<Option<Due>, RecorderError> {
        let session = self.away.receipt.session;
        let target = target(recordings, &self.sealing, &library::sealed_path(&self.day, session))?;
        let rule = rules.is_due(&target, self.sealing.ended, now);
        let (sealing, day, after) = (self.sealing.clone(), self.day.clone(), self.after);
        Ok(rule.map(|rule| Due { session, target, rule, sealing, day, after }))
    }
}

/// The recordings of a folder: in which day's folder each is, and the receipt of one that is elsewhere.
fn present<'a>(
    days: &'a [PathBuf],
    keys: &PublicKeys,
) -> Result<BTreeMap<SessionId, (&'a PathBuf, Option<Away>)>, RecorderError> {
    let mut present = BTreeMap::new();
    for day in days {
        for path in library::files_of(day)?.iter().filter(|path| !library::is_open_name(path)) {
            present.extend(library::session_of(path).map(|session| (session, (day, None))));
        }
        let away = receipt::away(day, keys)?.into_iter();
        present.extend(away.map(|away| (away.receipt.session, (day, Some(away)))));
    }
    Ok(present)
}

/// Reads the checkpoints for what is to go and is there.
pub(super) fn look(
    recordings: &Library,
    signer: &Signer,
    rules: &Retention,
    now: Timestamp,
) -> Result<Look, RecorderError> {
    let days = recordings.days()?;
    let keys = PublicKeys::from(signer.public());
    let mut present = present(&days, &keys)?;
    let (mut due, mut newest, mut made, mut before) = (Vec::new(), 0, None, None);
    let (mut abroad, mut unread) = (Vec::new(), 0);
    for (number, path) in checkpoint::files(recordings.directory())? {
        newest = number;
        let bytes = deed::read(&path)?;
        // Fails closed: what another key has signed, or nobody, lets nothing be deleted.
        let signed =
            Deed::<Checkpoint>::parse(&bytes).filter(|deed| checkpoint::trusted(number, deed, &keys));
        let Some(deed) = signed else { continue };
        if made != Some(deed.body.made) {
            before = made.replace(deed.body.made);
        }
        for entry in deed.body.recordings {
            let Was::Sealed(sealing) = entry.was else { continue };
            if due.len() + abroad.len() >= MAX_DUE {
                break;
            }
            if !rules.may_be_due(sealing.ended, now) {
                continue;
            }
            // Taken out, since a recording may be named twice: after the key was replaced and put back.
            let (session, Some((day, away))) = (entry.session, present.remove(&entry.session)) else {
                continue;
            };
            if let Some(away) = away.filter(|away| away.receipt.footer == sealing.footer) {
                let (target, day) = (sealing.target.clone(), day.clone());
                let one = Abroad { away, target, sealing, day, after: 0 };
                let not_due = one.target.as_ref().is_some_and(|target| !one.is_due(target, rules, now));
                abroad.extend((!not_due).then_some(one));
                continue;
            }
            match target(recordings, &sealing, &library::sealed_path(day, session)) {
                Ok(target) => due.extend(rules.is_due(&target, sealing.ended, now).map(|rule| Due {
                    session,
                    target,
                    rule,
                    sealing,
                    day: day.clone(),
                    after: 0,
                })),
                Err(error) => {
                    unread += 1;
                    tracing::error!(%error, "a recording may have been kept for long enough, and stays: who can tell has its key");
                }
            }
        }
    }
    due.iter_mut().for_each(|one| one.after = newest);
    abroad.iter_mut().for_each(|one| one.after = newest);
    match before.filter(|before| after(*before, LONGEST_LEAP).is_none_or(|latest| latest < now)) {
        Some(before) => Ok(Look::Leapt(before)),
        None => Ok(Look::Due { due, away: abroad, unread }),
    }
}

/// On what a recording is: of one that is encrypted only its head says so.
fn target(recordings: &Library, sealing: &Sealing, path: &Path) -> Result<TargetName, RecorderError> {
    match &sealing.target {
        Some(target) => Ok(target.clone()),
        None => Ok(recordings.summary(path)?.opening.head.target),
    }
}

/// What has been done of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Begun,
    /// The tombstone is on the medium.
    Buried,
    /// The recording's name is gone, though perhaps not from the medium.
    Removed,
}

impl Due {
    fn path(&self) -> PathBuf {
        library::sealed_path(&self.day, self.session)
    }

    fn stays(&self, why: impl Into<String>) -> RecorderError {
        RecorderError::Stays { path: self.path(), why: why.into() }
    }

    /// Reads the recording through, and says whose it was.
    ///
    /// # Errors
    /// When it is not, or not any more, what the checkpoint names. It has to stay then: fails closed.
    pub(super) fn examine(&self, recordings: &Library) -> Result<Principal, RecorderError> {
        let path = self.path();
        // By whom it is signed makes no difference: a checkpoint of the own key names its last hash.
        let report = recordings.verify(&path, &PublicKeys::default(), &mut |_, _| {})?;
        if !matches!(report.status, Status::Intact(_)) || report.last_hash != self.sealing.footer {
            return Err(self.stays("it is not as it was when a checkpoint named it"));
        }
        // What the recovery could not tell to be the same. It would be left there, as something that nobody has named.
        let other = self.day.join(format!("{}{}", self.session, library::OPEN_EXTENSION));
        if other.symlink_metadata().is_ok() {
            return Err(self.stays("there is another file of this session beside it"));
        }
        let head = recordings.summary(&path)?.opening.head;
        if head.session != self.session || head.target != self.target {
            return Err(self.stays("its head says something else than the checkpoint"));
        }
        Ok(head.identity.principal)
    }

    /// Buries and removes it; `told` is told before each step and may end it there.
    pub(super) fn delete(
        &self,
        signer: &Signer,
        now: Timestamp,
        told: &mut dyn FnMut(Step) -> Result<(), RecorderError>,
    ) -> Result<(), RecorderError> {
        let Sealing { target, started, ended, footer, bytes } = self.sealing.clone();
        let (session, rule, after) = (self.session, self.rule.clone(), self.after);
        let body = Tombstone { session, target, started, ended, footer, bytes, deleted: now, rule, after };
        let tombstone = tombstone::path(&self.day, session);
        told(Step::Begun)?;
        match deed::make(&tombstone, Statement::Tombstone, &body, signer) {
            Ok(_) => {}
            // An earlier run came so far, or somebody has put one there.
            Err(DeedError::Exists(_)) => match tombstone::read(&tombstone, &signer.public().into()) {
                Ok((found, _)) if found.footer == footer => {}
                Ok(_) => return Err(self.stays("its tombstone stands for another recording")),
                Err(why) => return Err(self.stays(format!("its tombstone does not count: {why}"))),
            },
            Err(error) => return Err(error.into()),
        }
        // Also for that of an earlier run: it may not have come so far.
        deed::sync_folder(&self.day).map_err(|cause| DeedError::file(&self.day, cause))?;
        told(Step::Buried)?;
        // Of one that was brought back to be deleted. Before the recording, so that it never stands for one that is gone.
        let receipt = receipt::path(&self.day, session);
        match fs::remove_file(&receipt) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(DeedError::file(&receipt, cause).into());
            }
            _ => {}
        }
        let path = self.path();
        fs::remove_file(&path).map_err(|cause| DeedError::file(&path, cause))?;
        told(Step::Removed)?;
        deed::sync_folder(&self.day).map_err(|cause| DeedError::file(&self.day, cause).into())
    }
}
