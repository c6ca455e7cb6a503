//! Which recordings are meant.
//!
//! Whatever cannot be told counts as meant: a recording whose head was damaged must not be missing from the evidence for that. So one whose
//! end is not known is taken to go on until now, and one whose begin is not known to be from any time of its day. Only who
//! asks for a target or a principal has to bring the keys of what is encrypted.

use super::gather::Item;
use super::{needs_key, unreadable};
use crate::cli::failure::{Exit, Failure};
use crate::recorder::checkpoint::{Checkpoint, Found, Problem};
use crate::recorder::{Buried, Glance, Library, RecorderError, SessionId, session_of};
use chaperone_core::Timestamp;
use chaperone_core::name::{Principal, TargetName};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// These.
    Sessions(BTreeSet<SessionId>),
    /// Those of a time.
    Span(Span),
}

/// A time, and whose of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// The first moment.
    pub(super) from: Option<Timestamp>,
    /// The first moment that is not within any more.
    pub(super) to: Option<Timestamp>,
    pub(super) target: Option<TargetName>,
    pub(super) principal: Option<Principal>,
}

/// What is meant, and what else there is.
pub(super) struct Chosen {
    /// The oldest first.
    pub(super) glances: Vec<Glance>,
    pub(super) unreadable: Vec<(PathBuf, RecorderError)>,
    /// All recordings of the folder, as far as their footers say.
    pub(super) found: BTreeMap<SessionId, Found>,
}

/// A moment, or the begin of a day.
pub(super) fn from(text: &str) -> Result<Timestamp, String> {
    moment(text, Ok)
}

/// A moment, or the end of a day.
pub(super) fn to(text: &str) -> Result<Timestamp, String> {
    moment(text, Date::tomorrow)
}

fn moment(text: &str, day: impl Fn(Date) -> Result<Date, jiff::Error>) -> Result<Timestamp, String> {
    const ADVICE: &str = "write a moment, such as 2026-12-24T18:00:00Z, or a day, such as 2026-12-24";
    // A day and nothing else: of a moment without its offset nobody knows which it is.
    let date = || text.parse::<Date>().ok().filter(|date| date.to_string() == text);
    text.parse().or_else(|_| begin(date().and_then(|date| day(date).ok()))).map_err(|()| ADVICE.to_owned())
}

/// The first moment of a day, UTC.
fn begin(day: Option<Date>) -> Result<Timestamp, ()> {
    let zoned = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    zoned.map(|zoned| zoned.timestamp()).ok_or(())
}

/// Looks at every recording of a folder.
pub(super) fn choose(library: &Library, selection: &Selection) -> Result<Chosen, Failure> {
    let mut chosen = Chosen { glances: Vec::new(), unreadable: Vec::new(), found: BTreeMap::new() };
    for path in library.all().map_err(|error| unreadable(&error))?.into_iter().rev() {
        let Some(session) = session_of(&path) else { continue };
        match library.glance(&path) {
            Ok(glance) => {
                note(&mut chosen.found, session, glance.footer_hash.map_or(Found::Other, Found::Whole));
                if selection.takes(session, &glance)? {
                    chosen.glances.push(glance);
                }
            }
            // Sealed or deleted since the folder was looked at: `find` has it under its new name.
            Err(_) if !path.exists() => {
                let moved = library.find(session).ok().flatten().and_then(|path| library.glance(&path).ok());
                let Some(glance) = moved else { continue };
                note(&mut chosen.found, session, glance.footer_hash.map_or(Found::Other, Found::Whole));
                if selection.takes(session, &glance)? {
                    chosen.glances.push(glance);
                }
            }
            Err(error) => {
                note(&mut chosen.found, session, Found::Other);
                if selection.takes_unread(session, &path) {
                    chosen.unreadable.push((path, error));
                }
            }
        }
    }
    Ok(chosen)
}

/// Of two files of one session the whole one is compared with the checkpoints.
pub(super) fn note(found: &mut BTreeMap<SessionId, Found>, session: SessionId, one: Found) {
    let before = found.insert(session, one);
    found.extend(before.filter(|before| *before != Found::Other).map(|before| (session, before)));
}

/// The day whose folder a file stands in.
fn day_of(path: &Path) -> Option<Timestamp> {
    begin(path.parent()?.file_name()?.to_str()?.parse().ok()).ok()
}

impl Selection {
    fn takes(&self, session: SessionId, glance: &Glance) -> Result<bool, Failure> {
        let span = match self {
            Selection::Sessions(sessions) => return Ok(sessions.contains(&session)),
            Selection::Span(span) => span,
        };
        let started = match &glance.opening {
            Ok(opening) => Some(opening.started),
            Err(_) => day_of(&glance.path),
        };
        if !span.covers(started, glance.footer.as_ref().map(|footer| footer.end.ended)) {
            return Ok(false);
        }
        match &glance.opening {
            Ok(opening) => {
                let head = &opening.head;
                Ok(span.target.as_ref().is_none_or(|target| *target == head.target)
                    && span.principal.as_ref().is_none_or(|one| *one == head.identity.principal))
            }
            // Nothing may be left out because nobody could read it.
            Err(error @ RecorderError::NeedsKey { .. }) if span.is_about_somebody() => {
                Err(needs_key(format!("{error}: whether it is one of those that are meant cannot be told")))
            }
            Err(_) => Ok(true),
        }
    }

    fn takes_unread(&self, session: SessionId, path: &Path) -> bool {
        match self {
            Selection::Sessions(sessions) => sessions.contains(&session),
            Selection::Span(span) => span.covers(day_of(path), None),
        }
    }

    /// A tombstone names nobody, and of a recording that was encrypted no target either.
    pub(super) fn takes_deleted(&self, one: &Buried) -> bool {
        let span = match self {
            Selection::Sessions(sessions) => return sessions.contains(&one.session),
            Selection::Span(span) => span,
        };
        let Some(says) = &one.says else { return span.covers(day_of(&one.path), None) };
        let is_target = |target: &TargetName| says.target.as_ref().is_none_or(|its| its == target);
        span.covers(says.started.or(day_of(&one.path)), Some(says.ended))
            && span.target.as_ref().is_none_or(is_target)
    }

    /// Whether a checkpoint belongs to what is meant.
    pub(super) fn takes_checkpoint(&self, checkpoint: &Checkpoint, sessions: &BTreeSet<SessionId>) -> bool {
        let made = Some(checkpoint.made);
        let within = matches!(self, Selection::Span(span) if span.covers(made, made));
        within || checkpoint.recordings.iter().any(|entry| sessions.contains(&entry.session))
    }

    /// Who asks for sessions is not told of others. What is wrong with the chain itself is about all of them.
    pub(super) fn is_concerned(&self, problem: &Problem) -> bool {
        match (self, problem.session()) {
            (Selection::Span(_), _) => true,
            (Selection::Sessions(sessions), Some(session)) => sessions.contains(&session),
            (Selection::Sessions(_), None) => *problem != Problem::None,
        }
    }

    /// Fails when nothing is meant, or not all of it is there.
    pub(super) fn is_met(
        &self,
        items: &[Item],
        deleted: &[Buried],
        missing: &[(SessionId, String)],
        library: &Library,
    ) -> Result<(), Failure> {
        let there = |session: SessionId| {
            items.iter().any(|item| item.session == session)
                || deleted.iter().any(|one| one.session == session)
        };
        let folder = library.directory().display();
        let what = match self {
            Selection::Sessions(sessions) => match sessions.iter().find(|session| !there(**session)) {
                None => return Ok(()),
                Some(session) => match missing.iter().find(|(gone, _)| gone == session) {
                    Some((_, why)) => why.clone(),
                    None => format!("there is no recording of {session} in {folder}"),
                },
            },
            Selection::Span(_) if items.is_empty() && deleted.is_empty() && missing.is_empty() => {
                format!("there is no recording {self} in {folder}")
            }
            Selection::Span(_) => return Ok(()),
        };
        let advice = "`chaperone sessions` lists what is there; `--recordings DIR` looks elsewhere. Nothing was written";
        Err(Failure::new(Exit::Usage, "no-recording", what, advice))
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Selection::Sessions(sessions) => json!({ "sessions": sessions }),
            Selection::Span(Span { from, to, target, principal }) => {
                json!({ "from": from, "to": to, "target": target, "principal": principal })
            }
        }
    }
}

impl fmt::Display for Selection {
    /// Goes on after "recordings".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Sessions(sessions) => {
                let sessions: Vec<String> = sessions.iter().map(ToString::to_string).collect();
                write!(f, "of {}", sessions.join(", "))
            }
            Selection::Span(Span { from, to, target, principal }) => {
                let from = from.map(|from| format!("from {from}"));
                let to = to.map(|to| format!("until {to}"));
                let target = target.as_ref().map(|target| format!("on {target}"));
                let principal = principal.as_ref().map(|principal| format!("of {principal}"));
                let parts: Vec<String> = [from, to, target, principal].into_iter().flatten().collect();
                f.write_str(&parts.join(" "))
            }
        }
    }
}

impl Span {
    fn is_about_somebody(&self) -> bool {
        self.target.is_some() || self.principal.is_some()
    }

    /// Whether something that began and ended then was going on within. What is not known does not keep it out.
    fn covers(&self, started: Option<Timestamp>, ended: Option<Timestamp>) -> bool {
        let begun = |to: Timestamp| started.is_none_or(|started| started < to);
        let over = |from: Timestamp| ended.is_some_and(|ended| ended < from);
        self.to.is_none_or(begun) && !self.from.is_some_and(over)
    }
}
