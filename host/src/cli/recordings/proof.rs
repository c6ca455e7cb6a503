//! `chaperone verify`: whether recordings are as they were written, and complete.
//!
//! A live recording is no failure: it cannot be complete yet, and what there is of it is whole. One that nobody sealed
//! is: its end may be missing, and nobody can tell (fails closed) until the gateway's recovery has sealed it. Of a folder it also
//! says whether a recording is missing that a checkpoint names.

use super::chain::Verdict;
use super::trust::Trust;
use super::{ELSEWHERE, Screen, What, find, pretty, unreadable};
use crate::cli::failure::{Exit, Failure};
use crate::cli::print::{self, Audience, Column, clean};
use crate::recorder::checkpoint::{Chain, Found};
use crate::recorder::sign::KeyId;
use crate::recorder::{Ending, Hash, Library, RecorderError, Report, Signed, Status, session_of};
use chaperone_core::name::SessionId;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Characters of a hash in the table of many recordings.
const SHORT_HASH: usize = 16;

pub(super) fn run(
    library: impl Into<Library>,
    what: &What,
    trust: &Trust,
    audience: Audience,
    screen: &mut dyn Screen,
) -> Result<Exit, Failure> {
    let library = library.into();
    match what {
        What::One(session) => one(&library, &find(&library, *session)?, trust, audience, screen),
        What::File(path) => one(&library, path, trust, audience, screen),
        What::All(expected) => all(&library, trust, *expected, audience, screen),
    }
}

fn one(
    library: &Library,
    path: &Path,
    trust: &Trust,
    audience: Audience,
    screen: &mut dyn Screen,
) -> Result<Exit, Failure> {
    let report = check(library, path, trust, "").map_err(|error| unreadable(&error))?;
    match audience {
        Audience::Programs => screen.data(&pretty(&to_json(path, &report))),
        Audience::People => screen.show(&sentences(path, &report, trust)),
    }
    Ok(exit(&report))
}

fn all(
    library: &Library,
    trust: &Trust,
    expected: Option<Hash>,
    audience: Audience,
    screen: &mut dyn Screen,
) -> Result<Exit, Failure> {
    // First, so that what is sealed or deleted meanwhile is not taken for a loss.
    let chain = Chain::read(library.directory(), &trust.keys).map_err(|error| unreadable(&error))?;
    let paths = library.all().map_err(|error| unreadable(&error))?;
    if paths.is_empty() && chain.is_empty() {
        let what = format!("there is nothing to verify in {}", library.directory().display());
        return Err(Failure::new(Exit::Usage, "no-recording", what, ELSEWHERE));
    }
    let days = library.days().map_err(|error| unreadable(&error))?;
    let is_copy = days.is_empty() && chain.is_empty() && expected.is_none();
    let (rows, found, failed, worst) = each(library, &paths, trust);
    let verdict = Verdict::of(chain.compare(&found, expected), expected, is_copy)?;
    let total = rows.len();
    match audience {
        Audience::Programs => {
            let trusted: Vec<_> = trust.keys.ids().collect();
            screen.data(&pretty(&json!({
                "recordings": rows,
                "failed": failed,
                "checkpoints": verdict.to_json(),
                "trusted_keys": trusted,
            })));
        }
        Audience::People => {
            show(rows, screen);
            screen.show(&format!("{} of {total} recordings verify, by {trust}\n", total - failed));
            screen.show(&verdict.sentences());
        }
    }
    Ok(worse(worst, verdict.exit()))
}

pub(super) fn worse(one: Exit, other: Exit) -> Exit {
    if one as u8 > other as u8 { one } else { other }
}

/// Verifies one file after the other: rows, what is there, how many fail, and the worst of it.
fn each(
    library: &Library,
    paths: &[std::path::PathBuf],
    trust: &Trust,
) -> (Vec<Value>, BTreeMap<SessionId, Found>, usize, Exit) {
    let (mut rows, mut found, mut worst, mut failed) = (Vec::new(), BTreeMap::new(), Exit::Done, 0);
    for (index, path) in paths.iter().enumerate() {
        let (row, exit, one) = match check(library, path, trust, &format!("{}/{} ", index + 1, paths.len())) {
            Ok(report) => {
                let whole = matches!(report.status, Status::Intact(_));
                let one = if whole { Found::Whole(report.last_hash) } else { Found::Other };
                (to_json(path, &report), exit(&report), one)
            }
            // Deleted by the rules, or sealed, since the folder was looked at: the checkpoints say whether it may be gone.
            Err(_) if !path.exists() => continue,
            Err(error) => (lost(path, &error), unreadable(&error).exit, Found::Other),
        };
        if let Some(session) = session_of(path) {
            // Of two files of one session the whole one is compared; the other has its own row.
            let before = found.insert(session, one);
            found.extend(before.filter(|before| *before != Found::Other).map(|before| (session, before)));
        }
        failed += usize::from(exit != Exit::Done);
        worst = worse(worst, exit);
        rows.push(row);
    }
    (rows, found, failed, worst)
}

fn show(mut rows: Vec<Value>, screen: &mut dyn Screen) {
    const COLUMNS: [Column; 7] = [
        Column { title: "SESSION", pointer: "/session" },
        Column { title: "STATUS", pointer: "/status" },
        Column { title: "SIGNATURE", pointer: "/signature" },
        Column { title: "BLOCKS", pointer: "/blocks" },
        Column { title: "EVENTS", pointer: "/events" },
        Column { title: "LAST HASH", pointer: "/last_hash" },
        Column { title: "WHAT IS WRONG", pointer: "/problem" },
    ];
    for row in &mut rows {
        let short = row.pointer("/last_hash").and_then(Value::as_str).map(str::to_owned);
        if let (Some(hash), Some(fields)) = (short, row.as_object_mut()) {
            fields.insert("last_hash".into(), hash.chars().take(SHORT_HASH).collect::<String>().into());
        }
    }
    screen.show(&print::table(&rows, &COLUMNS, "no recordings"));
}

pub(super) fn check(
    library: &Library,
    path: &Path,
    trust: &Trust,
    label: &str,
) -> Result<Report, RecorderError> {
    // Draws on standard error, and nowhere when that is no terminal.
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{prefix}{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(label.to_owned());
    let report = library.verify(path, &trust.keys, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    report
}

/// Fails closed: what is not known to be whole, and by whom, does not verify. A recording that lost its signature looks like one
/// that never had any.
pub(super) fn exit(report: &Report) -> Exit {
    match (&report.status, report.signed) {
        (Status::Intact(_), Some(Signed::By(_))) | (Status::Live, _) => Exit::Done,
        _ => Exit::Unverified,
    }
}

/// A word for programs.
fn signature(signed: Signed) -> &'static str {
    match signed {
        Signed::By(_) => "valid",
        Signed::ByUnknown(_) => "unknown key",
        Signed::Not => "missing",
        // Fails closed: also whatever else there may come to be.
        _ => "wrong",
    }
}

fn key(signed: Signed) -> Option<KeyId> {
    match signed {
        Signed::By(key) | Signed::ByUnknown(key) | Signed::Wrong(key) => Some(key),
        _ => None,
    }
}

fn word(status: &Status) -> &'static str {
    match status {
        Status::Intact(Ending::Sealed) => "intact",
        Status::Intact(Ending::Interrupted) => "intact, interrupted",
        Status::Live => "live",
        Status::Unsealed => "unsealed",
        Status::Damaged(_) => "damaged",
        Status::Unsupported(_) => "unsupported",
    }
}

/// What each status means, and what to do about it.
fn meaning(report: &Report) -> &'static str {
    match &report.status {
        Status::Intact(_) if exit(report) != Exit::Done => unproven(report.signed),
        Status::Intact(Ending::Sealed) => "every byte is as it was written, and the recording is complete",
        Status::Intact(Ending::Interrupted) => {
            "every byte is as it was written; the gateway stopped in the middle and sealed it at its next start"
        }
        Status::Live => {
            "the session is still running: every complete block so far is as it was written; verify again after its end"
        }
        Status::Unsealed => {
            "complete blocks are whole, but nobody sealed it, so its end may be missing: a gateway seals it at its start"
        }
        Status::Damaged(_) => {
            "blocks before that place are as they were written; keep the file, and compare it with a copy"
        }
        Status::Unsupported(_) => "this version cannot judge it: use a newer chaperone",
    }
}

/// What to do about a chain that is whole, and of nobody knows whom.
fn unproven(signed: Option<Signed>) -> &'static str {
    match signed {
        Some(Signed::ByUnknown(_)) => {
            "nothing in it contradicts itself, but anybody can write that: get the public key from whom you trust, and name it with \
             `--public-key FILE`; one that lies beside the recordings proves nothing"
        }
        Some(Signed::Not) => {
            "nothing in it contradicts itself, but anybody can write that: compare it with a copy"
        }
        _ => "keep the file, and compare it with a copy: this is not what the gateway wrote",
    }
}

fn problem(report: &Report) -> Option<String> {
    Some(match (&report.status, report.signed) {
        (Status::Damaged(damage), _) => damage.to_string(),
        (Status::Unsupported(what), _) => what.clone(),
        (Status::Unsealed, _) => "nobody sealed it".into(),
        (Status::Intact(_), Some(Signed::By(_))) | (Status::Live, _) => return None,
        (_, Some(Signed::ByUnknown(key))) => format!("it is signed by the key {key}, which was not given"),
        (_, Some(Signed::Wrong(key))) => {
            format!("it names the key {key}, and that key did not sign it: somebody else wrote it")
        }
        (_, _) => "it is not signed: an earlier version wrote it, or its signature was taken off".into(),
    })
}

pub(super) fn sentences(path: &Path, report: &Report, trust: &Trust) -> String {
    let status = &report.status;
    let session = report.session.map_or_else(|| named(path), |session| session.to_string());
    let mut lines =
        vec![("session", session), ("file", path.display().to_string()), ("status", word(status).to_owned())];
    lines.extend(problem(report).map(|problem| ("wrong", problem)));
    lines.push((
        "checked",
        format!("{} blocks, {} events, {} bytes", report.blocks, report.events, report.bytes),
    ));
    lines.push(("last hash", report.last_hash.to_string()));
    if let Some(key) = report.locked {
        lines.push(("note", format!("what it says was not read: it is encrypted, and takes the key {key}")));
    }
    if let Some(why) = &report.unpacked {
        lines.push((
            "note",
            format!("it was sealed where it was written, since it could not be packed: {why}"),
        ));
    }
    if let Some(Signed::By(key)) = report.signed {
        lines.push(("signed", format!("by {key}; trusted is {trust}")));
    }
    let mut out: String = lines.iter().map(|(name, text)| format!("{name:<10}{}\n", clean(text))).collect();
    out.push_str(&format!("\n{}\n", meaning(report)));
    out
}

pub(super) fn to_json(path: &Path, report: &Report) -> Value {
    let damage = match &report.status {
        Status::Damaged(damage) => {
            json!({ "at_block": damage.at_block, "at_byte": damage.at_byte, "what": damage.what.to_string() })
        }
        _ => Value::Null,
    };
    json!({
        "session": report.session.map_or_else(|| named(path), |session| session.to_string()),
        "path": path,
        "status": word(&report.status),
        "signature": report.signed.map(signature),
        "unpacked": report.unpacked,
        "locked_by": report.locked,
        "key_id": report.signed.and_then(key),
        "blocks": report.blocks,
        "events": report.events,
        "bytes": report.bytes,
        "last_hash": report.last_hash,
        "damage": damage,
        "problem": problem(report),
    })
}

pub(super) fn lost(path: &Path, error: &RecorderError) -> Value {
    json!({ "session": named(path), "path": path, "status": "unreadable", "problem": error.to_string() })
}

/// Which session a file says it is, when its head does not.
fn named(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.split('.').next().unwrap_or_default().to_owned()
}
