//! Reads all checkpoints and compares them with what is in the folder, offline.
//!
//! First the chain is read, then the recordings are looked at, then the two are compared ([`Chain::compare`]): in this order what a running
//! gateway seals or deletes meanwhile is never taken for a loss. Every checkpoint has to be signed by a key that whoever verifies
//! brings, to have the number of its file, and to hold the hash of the one before; what one of them names has to be there, or
//! its tombstone.
//!
//! What may go wrong: the newest checkpoints are deleted together with what only they name. What is left is then a chain without a
//! flaw, only shorter: that is found by a hash that was kept elsewhere, and by nothing else.

use super::super::deed::{self, Deed, DeedError};
use super::super::format::Hash;
use super::super::library::{self, Library};
use super::super::sign::{Distrust, PublicKeys, Statement};
use super::super::{Away, RecorderError, SessionId, tombstone};
use super::{Checkpoint, Newest, Was, files};
use chaperone_core::Timestamp;
use chaperone_core::name::TargetName;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Problems that are listed, at most; the others are counted.
pub const MAX_PROBLEMS: usize = 1_000;

/// What is wrong with a chain of checkpoints, or missing from the folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is none.
    #[error("there are no checkpoints: whether recordings were deleted cannot be told")]
    None,
    /// A number is not there.
    #[error("checkpoint {0} is missing")]
    Missing(u64),
    /// It is no checkpoint.
    #[error("checkpoint {number} cannot be read: {why}")]
    Unreadable {
        /// Its number.
        number: u64,
        /// Why.
        why: String,
    },
    /// Its signature does not count.
    #[error("checkpoint {number}: {why}")]
    Distrusted {
        /// Its number.
        number: u64,
        /// Why.
        why: Distrust,
    },
    /// It was renamed.
    #[error("checkpoint {number} is checkpoint {says} under another name")]
    Renamed {
        /// The number that its name says.
        number: u64,
        /// The number that was signed.
        says: u64,
    },
    /// It does not hold the hash of the one before.
    #[error(
        "checkpoint {0} does not follow the one before: that one was replaced, or this one is of another folder"
    )]
    Apart(u64),
    /// Two checkpoints name one recording, and not the same.
    #[error("checkpoint {number} names another recording of {session} than an earlier one")]
    Contradicts {
        /// The later one.
        number: u64,
        /// The session.
        session: SessionId,
    },
    /// A recording that was sealed is gone.
    #[error("the recording of {session} is missing{}: checkpoint {number} names it", told(sealed.as_ref()))]
    Gone {
        /// The session.
        session: SessionId,
        /// The checkpoint that names it.
        number: u64,
        /// On what and when it was, if it was whole.
        sealed: Option<(Option<TargetName>, Timestamp)>,
    },
    /// A recording is not the one that was named.
    #[error("the recording of {session} is not the one that checkpoint {number} names")]
    Differs {
        /// The session.
        session: SessionId,
        /// The checkpoint.
        number: u64,
    },
    /// A recording that was open never appeared.
    #[error("the recording of {session} is missing: it was being written when checkpoint {number} was made")]
    NeverSealed {
        /// The session.
        session: SessionId,
        /// The last checkpoint that saw it.
        number: u64,
    },
    /// A tombstone does not count.
    #[error("the tombstone of {session} does not count: {why}")]
    Tombstone {
        /// The session, as its name says.
        session: SessionId,
        /// Why.
        why: String,
    },
    /// The hash that was kept elsewhere.
    #[error("no checkpoint here has the hash {0}: the newest ones were deleted, or this is another folder")]
    Expected(Hash),
}

impl Problem {
    /// The one recording that it is about; None when it is about the chain itself.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Problem::Contradicts { session, .. }
            | Problem::Gone { session, .. }
            | Problem::Differs { session, .. }
            | Problem::NeverSealed { session, .. }
            | Problem::Tombstone { session, .. } => Some(*session),
            _ => None,
        }
    }
}

fn told(sealed: Option<&(Option<TargetName>, Timestamp)>) -> String {
    match sealed {
        Some((Some(target), ended)) => format!(" (of {target}, ended {ended:.0})"),
        Some((None, ended)) => format!(" (ended {ended:.0})"),
        None => String::new(),
    }
}

/// A recording that is in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Sealed and whole, with the hash of its footer.
    Whole(Hash),
    /// Something else; what is wrong with it is for its own report.
    Other,
}

/// What comparing found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Checkpoints that were read.
    pub checkpoints: usize,
    /// The newest one.
    pub newest: Option<Newest>,
    /// Recordings that checkpoints name and that are there.
    pub named: usize,
    /// Recordings of which a tombstone is left.
    pub deleted: usize,
    /// Recordings that are in the store outside alone, by their receipts.
    pub away: Vec<Away>,
    /// Sealed recordings that no checkpoint names: newer than the newest, or put there.
    pub unnamed: usize,
    /// Checkpoints that are dated before the one in front of them: a clock was set back.
    pub set_back: Vec<u64>,
    /// What is wrong, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// Further problems.
    pub more: usize,
}

impl Findings {
    /// Whether anything is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: Problem) {
        match self.problems.len() < MAX_PROBLEMS {
            true => self.problems.push(problem),
            false => self.more += 1,
        }
    }
}

#[derive(Debug, Default)]
struct Named {
    /// The first checkpoint that names it as sealed or damaged, and the recording, if it was whole.
    closed: Option<(u64, Option<Whole>)>,
    /// The last checkpoint at which it was open.
    open: Option<u64>,
    tombstone: Option<Hash>,
}

#[derive(Debug, Clone)]
struct Whole {
    footer: Hash,
    target: Option<TargetName>,
    ended: Timestamp,
}

/// What all checkpoints of a folder say. In memory: some hundred bytes for each recording that was ever named.
#[derive(Debug)]
pub struct Chain {
    recordings: PathBuf,
    keys: PublicKeys,
    named: BTreeMap<SessionId, Named>,
    /// Of the files, in their order; None of one that cannot be read.
    hashes: Vec<Option<Hash>>,
    findings: Findings,
}

impl Chain {
    /// Reads the checkpoints of a folder of recordings.
    ///
    /// # Errors
    /// When the folder cannot be read; what is wrong with a checkpoint is among the findings.
    pub fn read(recordings: &Path, keys: &PublicKeys) -> Result<Self, RecorderError> {
        let mut chain = Chain {
            recordings: recordings.to_owned(),
            keys: keys.clone(),
            named: BTreeMap::new(),
            hashes: Vec::new(),
            findings: Findings::default(),
        };
        let mut next = 1;
        for (number, path) in files(recordings)? {
            // Each missing one is named, within reason: a number may be anything.
            (next..number)
                .take(MAX_PROBLEMS)
                .for_each(|missing| chain.findings.add(Problem::Missing(missing)));
            chain.one(number, number == next, &path);
            next = number.saturating_add(1);
        }
        if chain.findings.checkpoints == 0 && chain.findings.problems.is_empty() {
            chain.findings.add(Problem::None);
        }
        Ok(chain)
    }

    /// Whether there is not a single checkpoint.
    pub fn is_empty(&self) -> bool {
        self.findings.checkpoints == 0
    }

    fn one(&mut self, number: u64, follows: bool, path: &Path) {
        self.findings.checkpoints += 1;
        let bytes = match deed::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.findings.newest = None;
                self.hashes.push(None);
                return self.findings.add(Problem::Unreadable { number, why: error.to_string() });
            }
        };
        let (previous, hash) = (self.hashes.last().copied().flatten(), Hash::of(&bytes));
        let before =
            self.findings.newest.replace(Newest { number, hash, made: None }).and_then(|newest| newest.made);
        self.hashes.push(Some(hash));
        let Some(deed) = Deed::<Checkpoint>::parse(&bytes) else {
            let why = DeedError::Content(path.to_owned()).to_string();
            return self.findings.add(Problem::Unreadable { number, why });
        };
        let Checkpoint { number: says, previous: stated, made, .. } = deed.body;
        // What is not signed says nothing: fails closed. Its place in the chain is judged all the same.
        let signed = deed.signed(Statement::Checkpoint, &self.keys);
        if let Err(why) = signed {
            self.findings.add(Problem::Distrusted { number, why });
        } else if says != number {
            self.findings.add(Problem::Renamed { number, says });
        }
        if follows && stated != previous {
            self.findings.add(Problem::Apart(number));
        }
        self.findings.newest = Some(Newest { number, hash, made: Some(made) });
        if before.is_some_and(|before| made < before) {
            self.findings.set_back.push(number);
        }
        if signed.is_ok() {
            deed.body.recordings.into_iter().for_each(|entry| self.entry(number, entry.session, entry.was));
        }
    }

    fn entry(&mut self, number: u64, session: SessionId, was: Was) {
        let named = self.named.entry(session).or_default();
        let whole = match was {
            Was::Open => return named.open = Some(number),
            Was::Deleted { tombstone } => return named.tombstone = Some(tombstone),
            Was::Damaged { .. } => None,
            Was::Sealed(sealing) => {
                Some(Whole { footer: sealing.footer, target: sealing.target, ended: sealing.ended })
            }
        };
        match &named.closed {
            None => named.closed = Some((number, whole)),
            Some((_, before)) => {
                let same = before.as_ref().map(|whole| whole.footer) == whole.map(|whole| whole.footer);
                if !same {
                    self.findings.add(Problem::Contradicts { number, session });
                }
            }
        }
    }

    /// Compares what the checkpoints say with the recordings that are there, and with a hash that was kept elsewhere.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn compare(
        mut self,
        found: &BTreeMap<SessionId, Found>,
        expected: Option<Hash>,
    ) -> Result<Findings, RecorderError> {
        if let Some(hash) = expected.filter(|hash| !self.hashes.contains(&Some(*hash))) {
            self.findings.add(Problem::Expected(hash));
        }
        let buried = self.buried()?;
        let away = self.away()?;
        let named = std::mem::take(&mut self.named);
        for (session, named) in &named {
            let tombstone = buried.get(session);
            if let Some(hash) =
                named.tombstone.filter(|hash| tombstone.is_none_or(|(found, _)| found != hash))
            {
                let why = match tombstone {
                    None => format!("it is missing, and a checkpoint names it by {hash}"),
                    Some(_) => "it is not the one that a checkpoint names".to_owned(),
                };
                self.findings.add(Problem::Tombstone { session: *session, why });
            }
            // Only the one that is named, where one is.
            let counts = tombstone.filter(|(found, _)| named.tombstone.is_none_or(|hash| hash == *found));
            let footer = counts.map(|(_, footer)| *footer);
            self.judge(*session, named, found.get(session), footer, away.get(session));
        }
        for (session, one) in found {
            let known = named.get(session).is_some_and(|named| named.closed.is_some());
            self.findings.unnamed += usize::from(!known && matches!(one, Found::Whole(_)));
        }
        Ok(self.findings)
    }

    fn judge(
        &mut self,
        session: SessionId,
        named: &Named,
        found: Option<&Found>,
        buried: Option<Hash>,
        away: Option<&Away>,
    ) {
        let findings = &mut self.findings;
        match (&named.closed, found, named.open) {
            (Some((number, whole)), Some(Found::Whole(hash)), _) => {
                match whole.as_ref().is_some_and(|whole| whole.footer == *hash) {
                    true => findings.named += 1,
                    false => findings.add(Problem::Differs { session, number: *number }),
                }
            }
            // It was damaged, and is.
            (Some((_, None)), Some(Found::Other), _) => findings.named += 1,
            (Some((number, Some(_))), Some(Found::Other), _) => {
                findings.add(Problem::Differs { session, number: *number });
            }
            (Some((_, Some(whole))), None, _) if buried == Some(whole.footer) => findings.deleted += 1,
            (Some((_, Some(whole))), None, _)
                if away.is_some_and(|away| away.receipt.footer == whole.footer) =>
            {
                findings.away.extend(away.cloned());
            }
            (Some((number, whole)), None, _) => {
                let sealed = whole.as_ref().map(|whole| (whole.target.clone(), whole.ended));
                findings.add(Problem::Gone { session, number: *number, sealed });
            }
            (None, None, Some(number)) => findings.add(Problem::NeverSealed { session, number }),
            (None, _, _) => {}
        }
    }

    /// The receipts that count. One that does not is none: then its recording is missing.
    fn away(&self) -> Result<BTreeMap<SessionId, Away>, RecorderError> {
        let all = Library::new(&self.recordings).away(&self.keys)?;
        Ok(all.into_iter().map(|away| (away.receipt.session, away)).collect())
    }

    /// The tombstones that count: hash, and the footer of what was deleted.
    fn buried(&mut self) -> Result<BTreeMap<SessionId, (Hash, Hash)>, RecorderError> {
        let mut buried = BTreeMap::new();
        for day in Library::new(&self.recordings).days()? {
            for path in library::entries(&day)? {
                let Some(session) = tombstone::session_of(&path) else { continue };
                match self.tombstone(session, &path) {
                    Ok(found) => drop(buried.insert(session, found)),
                    Err(why) => self.findings.add(Problem::Tombstone { session, why }),
                }
            }
        }
        Ok(buried)
    }

    fn tombstone(&self, session: SessionId, path: &Path) -> Result<(Hash, Hash), String> {
        let (tombstone, hash) = tombstone::read(path, &self.keys)?;
        let named = self.named.get(&session);
        let Some((_, Some(whole))) = named.and_then(|named| named.closed.as_ref()) else {
            return Err("no checkpoint names the recording that it stands for".to_owned());
        };
        if whole.footer != tombstone.footer {
            return Err("it stands for another recording than the one that a checkpoint names".to_owned());
        }
        // A later checkpoint may have been made while this one was: the one after that has seen it.
        let newest = self.findings.newest.map_or(0, |newest| newest.number);
        if named.is_some_and(|named| named.tombstone.is_none()) && tombstone.after.saturating_add(1) < newest
        {
            return Err(format!(
                "it says that it was made after checkpoint {}, and no later one names it",
                tombstone.after
            ));
        }
        Ok((hash, tombstone.footer))
    }
}
