//! The commands on recordings that are written here through the recorder itself, with the events of `session.rs` and
//! the relay: what people and programs are shown, and how it ends when a recording is not whole.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod bundle;
mod missing;
mod session;

use super::*;
use crate::recorder::{Event, EventKind, ReadError, Reader, Recording};
use serde_json::{Value, json};
use session::{Folder, id};
use std::time::Duration;

/// What a command printed.
#[derive(Default)]
struct Paper {
    shown: String,
    data: String,
    aside: String,
    paused: Vec<Duration>,
}

impl Screen for Paper {
    fn show(&mut self, text: &str) {
        self.shown.push_str(&anstream::adapter::strip_str(text).to_string());
    }

    fn data(&mut self, text: &str) {
        self.data.push_str(text);
    }

    fn aside(&mut self, text: &str) {
        self.aside.push_str(text);
    }

    fn pause(&mut self, time: Duration) {
        self.paused.push(time);
    }
}

const FAST: Pace = Pace { speed: 1000.0 };

/// A second between events, so that what is shown is the same at every run.
fn even(path: &std::path::Path) -> impl Iterator<Item = Result<Event, ReadError>> + use<> {
    let file = std::fs::File::open(path).unwrap();
    Reader::new(file)
        .events()
        .enumerate()
        .map(|(index, event)| event.map(|event| Event { at_us: index as u64 * 1_000_000, ..event }))
}

fn told(folder: &Folder, audience: Audience) -> Paper {
    let mut paper = Paper::default();
    let stopped = replay::play(even(&folder.path(1)), FAST, audience, &mut paper).unwrap();
    assert!(stopped.is_none(), "{stopped:?}");
    paper
}

/// The key that these recordings are signed by.
fn trust() -> Trust {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, session::signer().public().to_pem()).unwrap();
    Trust::given(&[path]).unwrap()
}

/// The folder's name is another at every run; hashes change with the recorded times.
fn steady(text: &str, folder: &Folder) -> String {
    let text = text.replace(&folder.0.path().display().to_string(), "DIR");
    let is_hash = |word: &str| word.len() >= 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = |word: &str| match word.trim_matches(['"', ',']) {
        bare if is_hash(bare) => word.replace(bare, &"#".repeat(bare.len())),
        _ => word.to_owned(),
    };
    text.split(' ')
        .map(|part| part.split('\n').map(word).collect::<Vec<_>>().join("\n"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_session_is_told_to_people() {
    let folder = Folder::new();
    folder.write(1, session::story);
    insta::assert_snapshot!("story", told(&folder, Audience::People).shown);
}

#[test]
fn a_session_is_told_to_programs_an_event_a_line() {
    let folder = Folder::new();
    folder.write(1, session::story);
    let paper = told(&folder, Audience::Programs);
    assert!(paper.shown.is_empty() && paper.paused.is_empty());
    let lines: Vec<Value> = paper.data.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["kind"], &lines[lines.len() - 1]["kind"]), (&json!("head"), &json!("end")));
    insta::assert_snapshot!("story_lines", paper.data);
}

#[test]
fn what_an_agent_wrote_cannot_steer_the_terminal() {
    let folder = Folder::new();
    folder.write(1, |recording| {
        let evil = "\u{1b}]0;x\u{7}\u{202e}\u{9b}2J\r";
        session::query(recording, 1, &format!("select '{evil}'\n  -- {evil}"));
        recording.json(
            EventKind::Decision,
            1,
            &json!({
                "decision": "refuse", "risk": 1, "statements": [{ "class": evil }],
                "findings": [{ "rule": evil, "detail": evil, "risk": 1 }],
                "refusal": { "code": evil, "message": evil, "detail": evil, "hint": evil },
            }),
        );
        recording.json(EventKind::Mask, 1, &json!({ "columns": [evil] }));
        recording.json(
            EventKind::Fault,
            1,
            &json!({ "plugin": evil, "hook": evil, "kind": evil, "detail": evil }),
        );
        recording.json(
            EventKind::Hold,
            1,
            &json!({ "hold": evil, "terms": [{ "approvers": evil, "reason": evil }] }),
        );
        recording.json(EventKind::HoldResolved, 1, &json!({ "hold": evil, "outcome": evil, "detail": evil }));
        recording.json(EventKind::Warning, 0, &json!({ "what": evil }));
        let mut bytes = session::columns(&[evil]);
        bytes.extend(session::row(&[Some(evil)]));
        bytes.extend(session::message(b'N', format!("S{evil}\0M{evil}\0H{evil}\0\0").as_bytes()));
        bytes.extend(session::message(b'A', format!("\0\0\0\0{evil}\0{evil}\0").as_bytes()));
        bytes.extend(session::message(b'C', format!("{evil}\0").as_bytes()));
        recording.raw(EventKind::Rows, 1, &[&bytes]);
        recording.raw(EventKind::CopyIn, 1, &[evil.as_bytes()]);
    });
    let text = told(&folder, Audience::People).shown;
    let bad = |c: &char| (c.is_control() && *c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
    assert_eq!(text.chars().find(bad), None, "{text:?}");
    assert!(text.contains("-- "), "{text}");
}

#[test]
fn real_time_keeps_pauses_and_haste_shortens_them() {
    let folder = Folder::new();
    folder.write(1, |_| {});
    let paused = |speed: f64| {
        let events =
            even(&folder.path(1)).map(|event| event.map(|event| Event { at_us: event.at_us * 600, ..event }));
        let mut paper = Paper::default();
        replay::play(events, Pace { speed }, Audience::People, &mut paper).unwrap();
        paper.paused
    };
    assert_eq!(paused(1.0), [Duration::from_secs(600)]);
    assert_eq!(paused(0.5), [Duration::from_secs(1200)]);
    assert_eq!(paused(10.0), [Duration::from_secs(2)], "never longer than 2 s");
    assert_eq!(paused(600.0), [Duration::from_secs(1)]);
}

#[test]
fn a_damaged_recording_is_shown_up_to_the_damage() {
    let folder = Folder::new();
    folder.write_unpacked(1, session::story);
    let at = session::damage(&folder.path(1), b"delete from orders");
    let mut paper = Paper::default();
    let failure = replay::run(folder.0.path(), id(1), FAST, Audience::People, &mut paper).unwrap_err();
    assert!(
        paper.shown.contains("select id, email") && !paper.shown.contains("delete from"),
        "{}",
        paper.shown
    );
    assert_eq!(failure.exit, Exit::Unverified);
    let (block, byte) = at;
    assert_eq!(
        failure.what,
        format!(
            "the recording of {} breaks here: block {block}, byte {byte}: the block's bytes were changed: its hash does not match",
            id(1)
        )
    );
    let mut paper = Paper::default();
    let exit = replay::run(folder.0.path(), id(1), FAST, Audience::Programs, &mut paper).unwrap();
    let last: Value = serde_json::from_str(paper.data.lines().last().unwrap()).unwrap();
    assert_eq!((exit, &last["error"]["code"]), (Exit::Unverified, &json!("damaged")));

    let mut paper = Paper::default();
    let exit =
        proof::run(folder.0.path(), &What::One(id(1)), &trust(), Audience::People, &mut paper).unwrap();
    assert_eq!(exit, Exit::Unverified);
    assert!(paper.shown.contains(&format!("wrong     block {block}, byte {byte}: ")), "{}", paper.shown);
}

#[test]
fn a_recording_whose_end_was_cut_fails() {
    let folder = Folder::new();
    folder.write(1, session::story);
    let bytes = std::fs::read(folder.path(1)).unwrap();
    session::overwrite(&folder.path(1), &bytes[..bytes.len() - 10]);
    let mut paper = Paper::default();
    let failure = replay::run(folder.0.path(), id(1), FAST, Audience::People, &mut paper).unwrap_err();
    assert_eq!(failure.exit, Exit::Unverified);
    assert!(paper.shown.contains("end: client-closed"), "what is whole is shown: {}", paper.shown);
}

#[test]
fn a_live_recording_is_said_to_be_live() {
    let folder = Folder::new();
    let recording = folder.open(1, session::story);
    let mut paper = Paper::default();
    let exit = replay::run(folder.0.path(), id(1), FAST, Audience::People, &mut paper).unwrap();
    assert_eq!(exit, Exit::Done);
    assert!(paper.shown.ends_with("still running: this is what was recorded so far\n"), "{}", paper.shown);
    let mut paper = Paper::default();
    let exit =
        proof::run(folder.0.path(), &What::One(id(1)), &trust(), Audience::People, &mut paper).unwrap();
    assert_eq!(exit, Exit::Done);
    assert!(paper.shown.contains("status    live\n"), "{}", paper.shown);
    // Nobody writes it any more, and nobody sealed it: not proved to be complete.
    drop(recording);
    let exit =
        proof::run(folder.0.path(), &What::One(id(1)), &trust(), Audience::People, &mut paper).unwrap();
    assert_eq!(exit, Exit::Unverified);
    assert!(replay::run(folder.0.path(), id(1), FAST, Audience::People, &mut paper).is_err());
}

/// Three recordings: intact, damaged, and one whose head is gone.
fn mixed() -> Folder {
    let folder = Folder::new();
    for number in 1..=3 {
        folder.write(number, if number == 1 { session::story } else { |_: &mut Recording| {} });
    }
    session::damage(&folder.path(2), b"client-closed");
    session::overwrite(&folder.path(3), b"nothing");
    folder
}

#[test]
fn verify_says_what_was_checked() {
    let folder = mixed();
    let mut paper = Paper::default();
    let exit =
        proof::run(folder.0.path(), &What::One(id(1)), &trust(), Audience::People, &mut paper).unwrap();
    assert_eq!(exit, Exit::Done);
    insta::assert_snapshot!("verify_one", steady(&session::sized(&paper.shown), &folder));
}

#[test]
fn verify_all_ends_with_the_worst() {
    let folder = mixed();
    let mut paper = Paper::default();
    let exit = proof::run(folder.0.path(), &What::All(None), &trust(), Audience::People, &mut paper).unwrap();
    assert_eq!(exit, Exit::Unverified);
    // Not the table itself: it is as wide as the terminal that the tests run in.
    for text in
        ["STATUS", "damaged", "intact", "1 of 3 recordings verify, by deb2ded39dc26fce of --public-key\n"]
    {
        assert!(paper.shown.contains(text), "{text} is not in\n{}", paper.shown);
    }
    let mut paper = Paper::default();
    proof::run(folder.0.path(), &What::All(None), &trust(), Audience::Programs, &mut paper).unwrap();
    let mut out: Value = serde_json::from_str(&paper.data).unwrap();
    // The footer has a time in it, in digits.
    out["recordings"][2]["bytes"] = json!("some");
    insta::assert_snapshot!("verify_all", steady(&pretty(&out), &folder));
    assert_eq!(out["failed"], 2);
    assert_eq!(out["recordings"][1]["damage"]["at_block"], 1);
    assert_eq!(out["recordings"][2]["last_hash"].as_str().unwrap().len(), 64);
}

/// Whole, but nobody knows whose: by another key, without a signature, or by a key that somebody says to be ours.
#[test]
fn what_no_given_key_has_signed_does_not_verify() {
    let folder = Folder::new();
    folder.write(1, |_| {});
    let verify = |trust: &Trust| {
        let mut paper = Paper::default();
        let what = What::File(folder.path(1));
        let exit = proof::run(Path::new(""), &what, trust, Audience::People, &mut paper).unwrap();
        let mut json = Paper::default();
        proof::run(Path::new(""), &what, trust, Audience::Programs, &mut json).unwrap();
        let json: Value = serde_json::from_str(&json.data).unwrap();
        (exit, paper.shown, json)
    };
    let (exit, shown, json) = verify(&trust());
    assert_eq!((exit, &json["signature"], &json["problem"]), (Exit::Done, &json!("valid"), &Value::Null));
    assert!(
        shown.contains("signed    by deb2ded39dc26fce; trusted is deb2ded39dc26fce of --public-key\n"),
        "{shown}"
    );
    let other = tempfile::tempdir().unwrap();
    let other = crate::recorder::sign::keep(&other.path().join("key.pem")).map(|kept| (kept, other)).unwrap();
    let theirs = Trust::given(std::slice::from_ref(&other.0.public)).unwrap();
    for trust in [&theirs, &Trust::default()] {
        let (exit, shown, json) = verify(trust);
        assert_eq!((exit, &json["signature"]), (Exit::Unverified, &json!("unknown key")));
        assert_eq!((&json["status"], &json["key_id"]), (&json!("intact"), &json!("deb2ded39dc26fce")));
        assert!(shown.contains("it is signed by the key deb2ded39dc26fce, which was not given\n"), "{shown}");
        assert!(shown.contains("`--public-key FILE`"), "{shown}");
    }
    // A folder, as an auditor may have it, and what is in it without a signature that counts.
    let mut paper = Paper::default();
    let day = folder.path(1).parent().unwrap().to_owned();
    let exit = proof::run(day.as_path(), &What::All(None), &theirs, Audience::People, &mut paper).unwrap();
    assert_eq!(exit, Exit::Unverified);
    let last = format!(
        "0 of 1 recordings verify, by {} of --public-key\n\
         this is a copy without checkpoints: whether others are missing is not told\n",
        other.0.signer.id()
    );
    assert!(paper.shown.ends_with(&last), "{}", paper.shown);
}

#[test]
fn the_key_of_the_configuration_counts_where_none_is_given() {
    assert_eq!(Trust::of_configuration(Path::new("no-such-file")).to_string(), "no key: none was given");
    assert!(Trust::given(&["no-such-file".into()]).unwrap_err().what.starts_with("no-such-file: "));
}

#[test]
fn sessions_are_listed_and_what_cannot_be_read_is_said() {
    let folder = mixed();
    let mut paper = Paper::default();
    assert_eq!(list::run(folder.0.path(), 50, Audience::People, &mut paper).unwrap(), Exit::Done);
    for text in ["OPERATIONS", "agent", "client-closed"] {
        assert!(paper.shown.contains(text), "{text} is not in\n{}", paper.shown);
    }
    let mut row = list::row(&crate::recorder::summary(&folder.path(1)).unwrap());
    assert!(row["took"].as_str().unwrap().ends_with('s'), "{row}");
    row["took"] = "some time".into();
    insta::assert_snapshot!("sessions", pretty(&row));
    assert!(paper.aside.contains("the head of the recording") && paper.aside.contains(&id(3).to_string()));
    let mut paper = Paper::default();
    list::run(folder.0.path(), 50, Audience::Programs, &mut paper).unwrap();
    let out: Value = serde_json::from_str(&paper.data).unwrap();
    assert_eq!(out["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(out["sessions"][1]["head"]["identity"]["display_name"], "Triage bot");
    assert_eq!(out["sessions"][1]["footer"]["end"]["reason"], "client-closed");
    assert_eq!(out["unreadable"].as_array().unwrap().len(), 1);
}

#[test]
fn mistakes_say_what_to_do() {
    let folder = Folder::new();
    folder.write(1, |_| {});
    let empty = tempfile::tempdir().unwrap();
    let missing = folder.0.path().join("nowhere");
    let mut failures = String::new();
    for directory in [folder.0.path(), empty.path(), missing.as_path()] {
        let paper = &mut Paper::default();
        for failure in [
            replay::run(directory, id(9), FAST, Audience::People, paper).unwrap_err(),
            proof::run(directory, &What::One(id(9)), &trust(), Audience::People, paper).unwrap_err(),
        ] {
            assert_eq!(failure.exit, Exit::Usage);
            failures.push_str(&anstream::adapter::strip_str(&failure.to_string()).to_string());
        }
    }
    let all = proof::run(empty.path(), &What::All(None), &trust(), Audience::People, &mut Paper::default())
        .unwrap_err();
    failures.push_str(&anstream::adapter::strip_str(&all.to_string()).to_string());
    let list = list::run(missing.as_path(), 5, Audience::People, &mut Paper::default()).unwrap_err();
    failures.push_str(&anstream::adapter::strip_str(&list.to_string()).to_string());
    let failures = failures.replace(&empty.path().display().to_string(), "EMPTY");
    insta::assert_snapshot!("mistakes", steady(&failures, &folder));
}
