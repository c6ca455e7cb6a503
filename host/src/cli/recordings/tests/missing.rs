//! What `verify` and `checkpoints` say of recordings that are missing.

use super::*;
use crate::recorder::checkpoint::Cause;

/// Two checkpoints: over the recordings 1 and 2, and over 3.
fn named() -> Folder {
    let folder = Folder::new();
    for number in 1..=3 {
        folder.write(number, |_| {});
        if number > 1 {
            assert_eq!(folder.recorder().checkpoint(session::now(), Cause::Daily).unwrap().len(), 1);
        }
    }
    folder
}

fn all(directory: &Path, expected: Option<Hash>) -> (Exit, String, Value) {
    let what = What::All(expected);
    let (mut people, mut programs) = (Paper::default(), Paper::default());
    let exit = proof::run(directory, &what, &trust(), Audience::People, &mut people).unwrap();
    assert_eq!(proof::run(directory, &what, &trust(), Audience::Programs, &mut programs).unwrap(), exit);
    (exit, people.shown, serde_json::from_str(&programs.data).unwrap())
}

#[test]
fn a_missing_recording_fails_the_folder_and_is_named() {
    let folder = named();
    let (exit, shown, json) = all(folder.0.path(), None);
    assert_eq!((exit, &json["checkpoints"]["problems"]), (Exit::Done, &json!([])));
    assert!(
        shown.contains("3 of 3 recordings verify") && shown.contains("2 checkpoints: 3 recordings are named")
    );
    assert!(shown.contains("`--expect HASH`\n"), "{shown}");

    std::fs::remove_file(folder.path(2)).unwrap();
    let (exit, shown, json) = all(folder.0.path(), None);
    assert_eq!((exit, &json["failed"]), (Exit::Unverified, &json!(0)));
    let wrong = format!(
        "the recording of {} is missing (of prod-logs, ended 2026-11-21T10:00:00Z): checkpoint 1 names it",
        id(2)
    );
    assert_eq!(json["checkpoints"]["problems"], json!([wrong]));
    assert!(shown.contains(&format!("wrong: {wrong}\n")) && !shown.contains("nothing is missing"), "{shown}");

    // All of them, with their folder.
    std::fs::remove_dir_all(folder.path(1).parent().unwrap()).unwrap();
    let (exit, _, json) = all(folder.0.path(), None);
    assert_eq!((exit, json["checkpoints"]["problems"].as_array().unwrap().len()), (Exit::Unverified, 3));
}

#[test]
fn a_gateways_folder_without_checkpoints_does_not_verify_and_a_copy_of_files_does() {
    let folder = Folder::new();
    folder.write(1, |_| {});
    let (exit, shown, _) = all(folder.0.path(), None);
    assert_eq!(exit, Exit::Unverified);
    assert!(shown.contains("wrong: there are no checkpoints"), "{shown}");
    let copy = folder.path(1).parent().unwrap().to_owned();
    let (exit, _, json) = all(&copy, None);
    assert_eq!((exit, &json["checkpoints"]), (Exit::Done, &Value::Null));
    assert_eq!(all(&copy, Some(Hash::NONE)).0, Exit::Unverified, "a hash was expected");
}

#[test]
fn a_hash_that_was_kept_elsewhere_has_to_be_there() {
    let folder = named();
    let mut paper = Paper::default();
    chain::list(folder.0.path(), 10, Audience::Programs, &mut paper).unwrap();
    let listed: Value = serde_json::from_str(&paper.data).unwrap();
    let numbers: Vec<_> =
        listed["checkpoints"].as_array().unwrap().iter().map(|one| &one["number"]).collect();
    assert_eq!(numbers, [2, 1]);
    let hash = super::super::hash(listed["checkpoints"][0]["hash"].as_str().unwrap()).unwrap();
    let (exit, shown, json) = all(folder.0.path(), Some(hash));
    assert_eq!((exit, &json["checkpoints"]["newest"]["hash"]), (Exit::Done, &json!(hash)));
    assert!(shown.contains("the expected hash"), "{shown}");

    std::fs::remove_file(folder.0.path().join("checkpoints/00000002.json")).unwrap();
    std::fs::remove_file(folder.path(3)).unwrap();
    assert_eq!(all(folder.0.path(), None).0, Exit::Done, "told in the documentation");
    let (exit, _, json) = all(folder.0.path(), Some(hash));
    assert_eq!(exit, Exit::Unverified);
    assert!(json["checkpoints"]["problems"][0].as_str().unwrap().contains(&hash.to_string()), "{json}");
    for text in ["", "0", &hash.to_string().to_uppercase(), &hash.to_string()[1..]] {
        assert!(super::super::hash(text).is_err(), "{text}");
    }

    let mut paper = Paper::default();
    chain::list(folder.0.path(), 10, Audience::People, &mut paper).unwrap();
    assert!(paper.shown.contains("HASH") && paper.shown.contains("deb2ded39dc26fce"), "{}", paper.shown);
    std::fs::write(folder.0.path().join("checkpoints/00000003.json"), "x").unwrap();
    let mut paper = Paper::default();
    chain::list(folder.0.path(), 10, Audience::People, &mut paper).unwrap();
    assert!(
        paper.aside.contains("00000003.json: it cannot be read as what its name says"),
        "{}",
        paper.aside
    );
}

#[test]
fn what_is_preserved_is_shown_beside_its_session() {
    let folder = named();
    let shown = || {
        let mut paper = Paper::default();
        list::run(folder.0.path(), 50, Audience::People, &mut paper).unwrap();
        paper.shown
    };
    assert!(!shown().contains("PRESERVED"));
    let entry = |preserved: Value, id: &str| {
        let id = format!("keep_{}", id.repeat(32));
        json!({ "id": id, "preserved": preserved, "reason": "case 7", "by": "corp/t/oz", "made": "2026-11-21T10:00:00Z" })
    };
    let (one, other) = (
        entry(json!({ "kind": "session", "id": id(2) }), "1"),
        entry(json!({ "kind": "target", "id": "other" }), "2"),
    );
    folder.recorder().note_preserved(&serde_json::to_vec(&json!([one, other])).unwrap()).unwrap();
    assert!(shown().contains("PRESERVED"), "{}", shown());
    let mut paper = Paper::default();
    list::run(folder.0.path(), 50, Audience::Programs, &mut paper).unwrap();
    let out: Value = serde_json::from_str(&paper.data).unwrap();
    let preserved: Vec<_> = out["sessions"].as_array().unwrap().iter().map(|row| &row["preserved"]).collect();
    assert_eq!(preserved, [&Value::Null, &one, &Value::Null]);
}
