//! Bundles of recordings that are not whole, not over, not readable, or not there: nothing is left out in silence.

use super::*;
use crate::recorder::{Encryption, EncryptionKey, retain};

#[test]
fn what_was_changed_is_evidence_and_is_named_with_its_place() {
    let folder = Folder::new();
    folder.write_unpacked(1, session::story);
    folder.write(2, |_| {});
    checkpoint(&folder);
    let (block, byte) = session::damage(&folder.path(1), b"delete from orders");
    let made = made(&folder, &ALL);
    assert_eq!((made.exit, &made.told["failed"]), (Exit::Unverified, &json!(1)));
    assert_eq!(made.told["unread"], json!(1));
    let copy = made.files().remove(&format!("recordings/{}.chrec", id(1))).unwrap();
    assert_eq!(copy, std::fs::read(folder.path(1)).unwrap(), "also what is wrong is copied as it is");
    let place = format!("block {block}, byte {byte}: the block's bytes were changed");
    for name in ["verification.txt", "verification.json", "sessions.csv"] {
        assert!(made.text(name).contains(&place), "{name}: {}", made.text(name));
    }
    let page = made.text("summary.html");
    assert!(
        page.contains("Not everything verifies: 1 of 2") && page.contains("The recording breaks here"),
        "{page}"
    );
    // What is whole is told, and what is behind that is not.
    assert!(page.contains("select id, email") && !page.contains("delete from orders"), "{page}");
    let rows = made.table("operations.csv");
    assert!(rows.iter().any(|row| row["number"] == "4") && !rows.iter().any(|row| row["number"] == "6"));
    let manifest: Value = serde_json::from_str(&made.text("manifest.json")).unwrap();
    assert_eq!(manifest["verified"], json!(false));
}

/// Whoever breaks a recording's beginning, or its end, does not get it out of the evidence of its day.
#[test]
fn a_recording_that_says_nothing_any_more_is_in_every_selection_that_it_may_belong_to() {
    let folder = Folder::new();
    for number in 1..=3 {
        folder.write(number, session::story);
    }
    checkpoint(&folder);
    let bytes = std::fs::read(folder.path(1)).unwrap();
    let mut headless = bytes.clone();
    headless[100] ^= 1;
    session::overwrite(&folder.path(1), &headless);
    session::overwrite(&folder.path(2), b"");
    let bytes = std::fs::read(folder.path(3)).unwrap();
    session::overwrite(&folder.path(3), &bytes[..bytes.len() - 10]);
    for (given, expected) in [
        (&["--from", "2026-11-21"][..], 3),
        (&["--to", "2026-11-21"], 3),
        (&["--from", "2026-11-21", "--to", "2026-11-21", "--target", "prod-logs"], 3),
        // Of two nobody can tell on what they were.
        (&["--from", "2026-11-21", "--to", "2026-11-21", "--target", "other"], 2),
        // Nor when two of them ended.
        (&["--from", "2026-11-30"], 2),
        (&["--session", &id(2).to_string()], 1),
    ] {
        let made = made(&folder, given);
        let copies = made.files().keys().filter(|name| name.starts_with("recordings/")).count();
        assert_eq!((made.exit, copies), (Exit::Unverified, expected), "{given:?} {}", made.told);
    }
}

#[test]
fn a_session_that_runs_is_there_as_far_as_it_is_written_and_said_to_be_open() {
    let folder = Folder::new();
    folder.write(1, |_| {});
    checkpoint(&folder);
    let live = folder.open(2, session::story);
    let made = made(&folder, &ALL);
    assert_eq!((made.exit, &made.told["open"]), (Exit::Done, &json!(1)), "{}", made.told);
    let name = format!("recordings/{}.chrec.open", id(2));
    let original = std::fs::read(folder.path(2).with_extension("chrec.open")).unwrap();
    let copy = &made.files()[&name];
    assert!(original.starts_with(copy), "it is a beginning of what is there");
    let report: Value = serde_json::from_str(&made.text("verification.json")).unwrap();
    let row = report["recordings"].as_array().unwrap().iter().find(|row| row["path"] == json!(name)).unwrap();
    assert_eq!((&row["status"], &row["bytes"]), (&json!("live"), &json!(copy.len())));
    let state = |row: &BTreeMap<String, String>| (row["state"].clone(), row["ended"].is_empty());
    let sessions: Vec<_> = made.table("sessions.csv").iter().map(state).collect();
    assert_eq!(sessions, [("sealed".to_owned(), false), ("open".to_owned(), true)]);
    assert!(made.text("summary.html").contains("The session still ran when this was made"));
    assert!(made.table("operations.csv").iter().any(|row| row["statement"] == "delete from orders"));
    // The manifest is of the copy as it is there.
    let manifest: Value = serde_json::from_str(&made.text("manifest.json")).unwrap();
    let listed = manifest["files"].as_array().unwrap().iter().find(|one| one["path"] == json!(name)).unwrap();
    assert_eq!(listed["sha256"], sha256(copy));
    drop(live);
    // Nobody holds it any more: it was left by a crash.
    let made = super::made(&folder, &ALL);
    assert_eq!(made.exit, Exit::Unverified);
    assert!(made.text("sessions.csv").contains("nobody sealed it"));
}

#[test]
fn what_is_encrypted_stays_so_and_is_summarised_by_those_who_have_the_key() {
    let key = || EncryptionKey::parse(&("07".repeat(31) + "ff")).unwrap();
    let mut folder = Folder::new();
    folder.1 = Encryption::new(Some(key()), []);
    folder.write(1, session::story);
    checkpoint(&folder);
    let words = b"delete from orders";
    let holds = |bytes: &[u8]| bytes.windows(words.len()).any(|window| window == words);
    let locked = made(&folder, &ALL);
    assert_eq!((locked.exit, &locked.told["unread"]), (Exit::Done, &json!(1)), "{}", locked.told);
    for (name, bytes) in locked.files() {
        assert!(!holds(&bytes), "{name} says what is encrypted");
    }
    assert!(locked.text("summary.html").contains("takes the key"), "{}", locked.text("summary.html"));
    assert!(locked.table("operations.csv").is_empty());
    // Whether it is on that target cannot be told without the key: it is asked for.
    let library: Library = folder.0.path().into();
    let given = ["--from", "2026-11-21", "--target", "other"];
    assert_eq!(ran(&library, &given, &free(&folder)).err().unwrap().code, "needs-key");

    let library = Library::with_keys(folder.0.path(), [key()].into_iter().collect());
    let open = ran(&library, &ALL, &free(&folder)).unwrap();
    assert_eq!((open.exit, &open.told["unread"]), (Exit::Done, &json!(0)));
    assert!(open.text("summary.html").contains("delete from orders"));
    let name = format!("recordings/{}.chrec", id(1));
    assert_eq!(open.files()[&name], std::fs::read(folder.path(1)).unwrap());
    assert!(!holds(&open.files()[&name]));
}

#[test]
fn what_was_deleted_by_the_rules_is_told_and_what_was_deleted_by_hand_is_missed() {
    let folder = Folder::new();
    for number in 1..=3 {
        folder.write(number, |_| {});
    }
    checkpoint(&folder);
    let later = "2027-03-01T00:00:00Z".parse().unwrap();
    let recorder = folder.recorder();
    recorder.checkpoint(later, Cause::Daily).unwrap();
    let days = std::time::Duration::from_secs(90 * 24 * 3600);
    let rules = retain::Retention { default: retain::Keep::For(days), targets: BTreeMap::new() };
    // The run after a leap deletes nothing; the next day's does.
    recorder.checkpoint("2027-03-02T00:00:00Z".parse().unwrap(), Cause::Daily).unwrap();
    let retain::Look::Due { due, .. } = recorder.due(&rules, later).unwrap() else { panic!() };
    let due = due.iter().find(|due| due.session == id(1)).unwrap();
    recorder.delete(due, later).unwrap();
    let made = made(&folder, &ALL);
    assert_eq!((made.exit, &made.told["deleted"]), (Exit::Done, &json!(1)), "{}", made.told);
    let deleted =
        made.table("sessions.csv").into_iter().find(|row| row["session"] == id(1).to_string()).unwrap();
    for (column, value) in [
        ("state", "deleted"),
        ("rule", "2months 29days 2h 52m 48s (default)"),
        ("deleted", "2027-03-01T00:00:00.000000Z"),
        ("target", "prod-logs"),
        ("started", "2026-11-21T10:00:00.000000Z"),
        ("principal", ""),
    ] {
        assert!(deleted[column].starts_with(value), "{column}: {}", deleted[column]);
    }
    assert!(made.text("summary.html").contains("Deleted by the rules"));
    assert!(made.files().contains_key(&format!("tombstones/2026-11-21/{}.chtomb", id(1))));
    // Asked for by its id it is there, too.
    assert_eq!(super::made(&folder, &["--session", &id(1).to_string()]).told["deleted"], json!(1));

    std::fs::remove_file(folder.path(2)).unwrap();
    let made = super::made(&folder, &ALL);
    assert_eq!((made.exit, &made.told["missing"]), (Exit::Unverified, &json!(1)));
    let missing = made.table("sessions.csv").into_iter().find(|row| row["state"] == "missing").unwrap();
    assert!(missing["session"] == id(2).to_string() && missing["problem"].contains("checkpoint 1 names it"));
    assert!(made.text("summary.html").contains("is missing"));
    // Who asks for another session is not told of it, and who asks for this one is.
    assert_eq!(super::made(&folder, &["--session", &id(3).to_string()]).exit, Exit::Done);
    let library: Library = folder.0.path().into();
    let failure = ran(&library, &["--session", &id(2).to_string()], &free(&folder)).err().unwrap();
    assert!(failure.what.contains("is missing"), "{}", failure.what);
    // A tombstone that somebody made for it does not count.
    let other = folder.0.path().join(format!("2026-11-21/{}.chtomb", id(1)));
    std::fs::copy(&other, folder.0.path().join(format!("2026-11-21/{}.chtomb", id(2)))).unwrap();
    let made = super::made(&folder, &ALL);
    assert_eq!(made.exit, Exit::Unverified);
    assert!(made.text("sessions.csv").contains("tombstone that does not count"));
}

#[test]
fn a_selection_is_of_what_was_going_on_then() {
    let folder = Folder::new();
    folder.write(1, |_| {});
    checkpoint(&folder);
    let library: Library = folder.0.path().into();
    let started = "2026-11-21T10:00:00Z";
    for (given, taken) in [
        (&["--from", started][..], true),
        (&["--from", "2026-11-21T10:00:00.000001Z"], false),
        (&["--to", started], false),
        (&["--to", "2026-11-21T10:00:00.000001Z"], true),
        (&["--from", "2026-11-21", "--to", "2026-11-21"], true),
        (&["--to", "2026-11-20"], false),
        (&["--from", "2026-11-22"], false),
        (&["--from", "2026-11-21T12:00:00+02:00"], true),
        (&["--from", "2026-11-21T12:00:01+02:00"], false),
        (&["--from", "2026-11-01", "--principal", "corp/tenant/0193452c-0f00-7000-8000-000000000001"], true),
        (&["--from", "2026-11-01", "--target", "prod-logs"], true),
    ] {
        let made = ran(&library, given, &free(&folder));
        assert_eq!(made.is_ok(), taken, "{given:?} {:?}", made.err());
    }
    for wrong in [
        &["--out", "x"][..],
        &["--from", "yesterday", "--out", "x"],
        &["--from", "2026-11-21T10:00:00", "--out", "x"],
        &["--from", "2026-11-21"],
        &["--target", "prod-logs", "--out", "x"],
        &["--session", "ses_00000000000000000000000000000001", "--from", "2026-11-21", "--out", "x"],
        &["--session", "x", "--out", "x"],
    ] {
        let given = ["chaperone", "export"].into_iter().chain(wrong.iter().copied());
        assert!(Cli::try_parse_from(given).is_err(), "{wrong:?}");
    }
}
