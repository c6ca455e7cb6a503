//! What a recording proves, computed when it is looked at: every block read, the chain followed, the signature checked. And, since it is
//! read through for that anyway, what its timing bar shows.
//!
//! Nothing of it is kept: a recording that was changed since it was last looked at has to say so the next time.

use crate::recorder::sign::{KeyId, PublicKeys};
use crate::recorder::{Ending, Library, Report, Signed, Status};
use crate::story::{self, Operation};
use std::path::Path;

/// Parts of the timing bar.
const PARTS: usize = 240;

/// Operations that are listed as worth a look.
const MAX_MARKS: usize = 20;

/// A recording as it was just found.
pub(super) struct Proof {
    /// What verifying found; else why it could not be read.
    pub(super) report: Result<Report, String>,
    /// The key that it takes to read it, if any.
    pub(super) key: Option<KeyId>,
    pub(super) outline: Outline,
}

impl Proof {
    /// Reads it through.
    pub(super) fn of(library: &Library, path: &Path, keys: &PublicKeys) -> Self {
        let report = library.verify(path, keys, &mut |_, _| {}).map_err(|error| error.to_string());
        let mut outline = Outline::default();
        if let Ok(reader) = library.open(path) {
            // Up to where it breaks: the report says where that is.
            story::operations(reader.events()).map_while(Result::ok).for_each(|one| outline.note(&one));
        }
        Proof { report, key: library.encrypted_by(path), outline }
    }

    pub(super) fn badge(&self) -> Badge {
        match &self.report {
            Ok(report) => judged(report),
            Err(why) => Badge::new("refused", "Cannot be read", why.clone()),
        }
    }
}

/// A verdict: how it looks, in a word, and in sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Badge {
    pub(super) class: &'static str,
    pub(super) word: &'static str,
    pub(super) text: String,
}

impl Badge {
    fn new(class: &'static str, word: &'static str, text: impl Into<String>) -> Self {
        Badge { class, word, text: text.into() }
    }
}

fn judged(report: &Report) -> Badge {
    let (blocks, bytes) = (report.blocks, report.bytes);
    match &report.status {
        Status::Intact(ending) => signed(report, *ending),
        Status::Live => Badge::new(
            "live",
            "Being written",
            format!(
                "The session is running. The {blocks} blocks so far are as they were written; it is signed when the session ends."
            ),
        ),
        Status::Unsealed => Badge::new(
            "waits",
            "Not sealed",
            format!(
                "Nobody writes it and nobody has sealed it: the gateway was stopped in the middle. Its {blocks} blocks are as they were \
                 written; whether its end is missing, nobody can tell. The gateway's next start seals it as interrupted."
            ),
        ),
        Status::Damaged(damage) => Badge::new(
            "refused",
            "Not what was written",
            format!(
                "It was changed, cut, or put together anew. {damage}. The {blocks} blocks ({bytes} bytes) before that are as they were \
                 written, and are shown below. Keep the file."
            ),
        ),
        Status::Unsupported(why) => Badge::new(
            "refused",
            "Not verified",
            format!("This version cannot judge it: {why}. Use a newer one."),
        ),
    }
}

fn signed(report: &Report, ending: Ending) -> Badge {
    let (blocks, events) = (report.blocks, report.events);
    let whole = format!("All {blocks} blocks are in their place and unchanged, {events} events");
    match report.signed {
        Some(Signed::By(key)) => match ending {
            Ending::Sealed => {
                Badge::new("ok", "Verified", format!("{whole}; signed by this gateway's key {key}."))
            }
            Ending::Interrupted => Badge::new(
                "waits",
                "Verified, interrupted",
                format!(
                    "{whole}; signed by this gateway's key {key}. The gateway stopped in the middle of the session, and sealed what there was \
                     at its next start."
                ),
            ),
        },
        Some(Signed::ByUnknown(key)) => Badge::new(
            "waits",
            "Whole, signed by another key",
            format!(
                "{whole}. The signature names the key {key}, which is not this gateway's: it may be one of before or of another gateway, or \
                 somebody's. `chaperone verify` with that gateway's public key tells."
            ),
        ),
        Some(Signed::Wrong(key)) => Badge::new(
            "refused",
            "Forged",
            format!(
                "{whole}, but the signature is not one of the key {key}, which it names: somebody else wrote it."
            ),
        ),
        Some(Signed::Not) | None => Badge::new(
            "refused",
            "Not signed",
            format!(
                "{whole}, but nobody has signed them: an early version wrote it, or the signature was taken off. It proves nothing."
            ),
        ),
    }
}

/// What happened when: counts over time, in parts that double in length when the session is longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outline {
    pub(super) parts: Vec<Part>,
    /// Microseconds of a part; 0 before the first operation.
    pub(super) part_us: u64,
    pub(super) last_us: u64,
    pub(super) operations: u64,
    /// Operations that an auditor would want to look at.
    pub(super) notable: u64,
    /// The first of them.
    pub(super) marks: Vec<Mark>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) operations: u64,
    pub(super) notable: u64,
}

/// An operation that an auditor would want to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) number: u64,
    pub(super) at_us: u64,
    pub(super) what: String,
}

impl Outline {
    pub(super) fn note(&mut self, operation: &Operation) {
        let at_us = operation.at_us;
        if self.part_us == 0 {
            (self.part_us, self.parts) = (1000, vec![Part::default(); PARTS]);
        }
        while self.index(at_us).is_none() {
            self.double();
        }
        self.operations += 1;
        self.last_us = self.last_us.max(at_us);
        let notable = operation.is_notable();
        if let Some(part) = self.index(at_us).and_then(|index| self.parts.get_mut(index)) {
            part.operations += 1;
            part.notable += u64::from(notable);
        }
        if notable {
            self.notable += 1;
            if self.marks.len() < MAX_MARKS {
                self.marks.push(Mark { number: operation.number, at_us, what: what(operation) });
            }
        }
    }

    fn index(&self, at_us: u64) -> Option<usize> {
        let index = usize::try_from(at_us / self.part_us.max(1)).ok()?;
        // No part is longer than a time can be.
        (index < PARTS || self.part_us > u64::MAX / 4).then_some(index.min(PARTS - 1))
    }

    fn double(&mut self) {
        self.part_us = self.part_us.saturating_mul(2);
        let pair = |pair: &[Part]| {
            pair.iter().fold(Part::default(), |all, one| Part {
                operations: all.operations + one.operations,
                notable: all.notable + one.notable,
            })
        };
        let mut parts: Vec<Part> = self.parts.chunks(2).map(pair).collect();
        parts.resize(PARTS, Part::default());
        self.parts = parts;
    }
}

/// Why to look at it, shortly. Of a plugin's rule its own words.
fn what(operation: &Operation) -> String {
    let rule =
        operation.decision.iter().flat_map(|decided| &decided.findings).map(|one| one.rule.clone()).next();
    let word = match operation {
        one if one.was_refused() => "refused",
        one if one.was_held() => "held",
        one if !one.faults.is_empty() => "a plugin broke",
        one if one.error.is_some() => "failed",
        _ => "finding",
    };
    rule.map_or(word.to_owned(), |rule| format!("{word}: {rule}"))
}
