//! `chaperone checkpoints`, and what `chaperone verify` says of them: whether recordings are missing.

use super::{Screen, pretty, unreadable};
use crate::cli::failure::{Exit, Failure};
use crate::cli::print::{self, Audience, Column, clean};
use crate::recorder::checkpoint::{self, Findings, Newest};
use crate::recorder::{Hash, RecorderError};
use serde_json::{Value, json};
use std::path::Path;

/// Lists checkpoints, the newest first. It proves nothing: that is `verify`.
pub(super) fn list(
    directory: &Path,
    limit: usize,
    audience: Audience,
    screen: &mut dyn Screen,
) -> Result<Exit, Failure> {
    const COLUMNS: [Column; 8] = [
        Column { title: "NUMBER", pointer: "/number" },
        Column { title: "MADE", pointer: "/made" },
        Column { title: "SEALED", pointer: "/sealed" },
        Column { title: "OPEN", pointer: "/open" },
        Column { title: "DELETED", pointer: "/deleted" },
        Column { title: "DAMAGED", pointer: "/damaged" },
        Column { title: "KEY", pointer: "/key_id" },
        Column { title: "HASH", pointer: "/hash" },
    ];
    let listed = checkpoint::list(directory, limit).map_err(|error| unreadable(&error.into()))?;
    let (checkpoints, broken) = listed;
    for error in &broken {
        screen.aside(&format!("{}\n", clean(&error.to_string())));
    }
    match audience {
        Audience::People => {
            let rows: Vec<Value> = checkpoints.iter().map(|one| json!(one)).collect();
            let nothing = format!("no checkpoints in {}", clean(&directory.display().to_string()));
            screen.show(&print::table(&rows, &COLUMNS, &nothing));
        }
        Audience::Programs => {
            let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
            screen.data(&pretty(&json!({ "checkpoints": checkpoints, "unreadable": broken })));
        }
    }
    Ok(Exit::Done)
}

/// Whether nothing is missing. A folder without days and checkpoints is a copy of single files: nothing can be said of others.
pub(super) enum Verdict {
    /// What was found.
    Judged(Box<Findings>, Option<Hash>),
    /// There is nothing to judge by.
    Copy,
}

impl Verdict {
    /// Reads nothing anew. Fails closed: a gateway's folder without a checkpoint does not verify.
    pub(super) fn of(
        findings: Result<Findings, RecorderError>,
        expected: Option<Hash>,
        is_copy: bool,
    ) -> Result<Self, Failure> {
        if is_copy {
            return Ok(Verdict::Copy);
        }
        let findings = findings.map_err(|error| unreadable(&error))?;
        Ok(Verdict::Judged(Box::new(findings), expected))
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Verdict::Judged(findings, _) if !findings.is_sound() => Exit::Unverified,
            _ => Exit::Done,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let Verdict::Judged(findings, expected) = self else { return Value::Null };
        let problems: Vec<String> = findings.problems.iter().map(ToString::to_string).collect();
        json!({
            "read": findings.checkpoints,
            "newest": findings.newest.map(newest),
            "expected": expected,
            "named": findings.named,
            "deleted": findings.deleted,
            "away": findings.away.len(),
            "unnamed": findings.unnamed,
            "set_back": findings.set_back,
            "problems": problems,
            "more_problems": findings.more,
        })
    }

    pub(super) fn sentences(&self) -> String {
        let Verdict::Judged(findings, expected) = self else {
            return "this is a copy without checkpoints: whether others are missing is not told\n".to_owned();
        };
        let mut out: String = findings
            .problems
            .iter()
            .map(|problem| format!("wrong: {}\n", clean(&problem.to_string())))
            .collect();
        if findings.more > 0 {
            out.push_str(&format!("and {} more\n", findings.more));
        }
        for number in &findings.set_back {
            out.push_str(&format!(
                "checkpoint {number} is dated before the one in front of it: a clock was set back\n"
            ));
        }
        out.push_str(&format!(
            "{} checkpoints: {} recordings are named and there, {} were deleted by the rules, {} are not named yet\n",
            findings.checkpoints, findings.named, findings.deleted, findings.unnamed
        ));
        if !findings.away.is_empty() {
            out.push_str(&format!(
                "{} recordings are in the store outside alone: `chaperone verify --stored` compares what is there with their receipts\n",
                findings.away.len()
            ));
        }
        if let Some(Newest { number, hash, .. }) = findings.newest {
            out.push_str(&format!("the newest is {number}, {hash}\n"));
        }
        if findings.is_sound() {
            out.push_str(match expected {
                Some(_) => "nothing is missing that the checkpoint with the expected hash, or one before, names\n",
                None => {
                    "nothing is missing that these checkpoints name; that none of them is missing at the end is shown by a hash \
                     that was kept elsewhere: `--expect HASH`\n"
                }
            });
        }
        out
    }
}

fn newest(newest: Newest) -> Value {
    json!({ "number": newest.number, "hash": newest.hash, "made": newest.made })
}

/// The hash that somebody has kept elsewhere.
pub(crate) fn hash(text: &str) -> Result<Hash, String> {
    text.parse().map_err(|_| "64 lower-case hexadecimal digits, as `chaperone checkpoints` shows them".into())
}
