//! Checkpoints: what they name, how they are written and read. What somebody may try is in `evade`.

use super::super::checkpoint::{Cause, Chain, Checkpoint, Findings, Found, MAX_ENTRIES, Made, Problem, Was};
use super::super::deed::{self, Deed};
use super::super::sign::{PublicKeys, Statement};
use super::super::{Hash, Status, checkpoint, session_of, verify};
use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(super) const DAY: &str = "2026-11-21";

pub(super) fn on(day: u8) -> Timestamp {
    format!("2026-11-{day:02}T00:00:30Z").parse().unwrap()
}

pub(super) fn seal(recorder: &Recorder, number: u128) {
    recorder.open(&head(number), timestamp()).unwrap().seal(&end()).unwrap();
}

pub(super) fn recording(folder: &Path, number: u128) -> PathBuf {
    folder.join(DAY).join(format!("{}.chrec", session(number)))
}

pub(super) fn file(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("checkpoints/{number:08}.json"))
}

pub(super) fn read(folder: &Path, number: u64) -> Checkpoint {
    Deed::read(&file(folder, number)).unwrap().0.body
}

pub(super) fn keys() -> PublicKeys {
    signer().public().into()
}

pub(super) fn make(recorder: &Recorder, day: u8) -> Vec<Made> {
    recorder.checkpoint(on(day), Cause::Daily).unwrap()
}

/// Compares as `chaperone verify` does.
pub(super) fn examine_by(folder: &Path, keys: &PublicKeys, expected: Option<Hash>) -> Findings {
    let chain = Chain::read(folder, keys).unwrap();
    let mut found = BTreeMap::new();
    for path in super::super::Library::new(folder).all().unwrap() {
        let report = verify(&path).unwrap();
        let whole = matches!(report.status, Status::Intact(_));
        let one = if whole { Found::Whole(report.last_hash) } else { Found::Other };
        found.insert(session_of(&path).unwrap(), one);
    }
    chain.compare(&found, expected).unwrap()
}

pub(super) fn examine(folder: &Path) -> Findings {
    examine_by(folder, &keys(), None)
}

pub(super) fn problems(folder: &Path) -> Vec<Problem> {
    examine(folder).problems
}

/// Three checkpoints: two recordings in the first, one in each of the others.
pub(super) fn three() -> (Folder, Recorder) {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    seal(&recorder, 1);
    seal(&recorder, 2);
    for number in 1..=3 {
        if number > 1 {
            seal(&recorder, 1 + u128::from(number));
        }
        assert_eq!(make(&recorder, 21 + number).len(), 1);
    }
    (folder, recorder)
}

/// What an attacker does who has the folder and a key of their own, or a text of ours.
pub(super) fn replace(path: &Path, bytes: &[u8]) {
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_checkpoint_names_what_was_sealed_since_the_last_and_what_is_open() {
    let (folder, recorder) = three();
    let live = recorder.open(&head(9), timestamp()).unwrap();
    make(&recorder, 25);
    let names = |number| {
        let entries = read(folder.path(), number).recordings.into_iter();
        entries.map(|entry| (entry.session, matches!(entry.was, Was::Sealed(_)))).collect::<Vec<_>>()
    };
    assert_eq!(names(1), [(session(1), true), (session(2), true)]);
    assert_eq!((names(2), names(3)), (vec![(session(3), true)], vec![(session(4), true)]));
    assert_eq!(names(4), [(session(9), false)]);
    live.seal(&end()).unwrap();
    assert_eq!(recorder.checkpoint(on(25), Cause::Stop).unwrap().len(), 1);
    assert_eq!(names(5), [(session(9), true)]);
    assert!(recorder.checkpoint(on(25), Cause::Stop).unwrap().is_empty(), "nothing was sealed since");

    let first = read(folder.path(), 1);
    assert_eq!((first.previous, first.cause, first.made), (None, Cause::Daily, on(22)));
    let Was::Sealed(sealing) = &first.recordings[0].was else { panic!() };
    let report = verify(&recording(folder.path(), 1)).unwrap();
    assert_eq!((sealing.footer, sealing.bytes), (report.last_hash, report.bytes));
    assert_eq!((sealing.target.clone().unwrap().as_str(), sealing.started), ("prod-logs", Some(timestamp())));
    let mode = fs::metadata(file(folder.path(), 1)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o400);

    let findings = examine(folder.path());
    assert_eq!(findings.problems, []);
    assert_eq!((findings.checkpoints, findings.named, findings.unnamed, findings.deleted), (5, 5, 0, 0));
    seal(&recorder, 10);
    assert_eq!((problems(folder.path()), examine(folder.path()).unnamed), (vec![], 1));
}

/// The documented bytes: the first line is signed, and the hash of both lines is in the next file.
#[test]
fn a_checkpoint_is_two_lines_and_the_next_has_their_hash() {
    let (folder, recorder) = three();
    let text = fs::read_to_string(file(folder.path(), 2)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), text.ends_with('\n')), (2, true));
    let seal: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(seal["key"], "deb2ded39dc26fce");
    let engine = base64::engine::general_purpose::STANDARD;
    let bytes = base64::Engine::decode(&engine, seal["signature"].as_str().unwrap()).unwrap();
    let signature = super::super::sign::Signature { key: signer().id(), bytes: bytes.try_into().unwrap() };
    assert_eq!(keys().verify(Statement::Checkpoint, lines[0].as_bytes(), &signature), Ok(()));
    let hash = Hash::of(text.as_bytes());
    assert_eq!(read(folder.path(), 3).previous, Some(hash));
    let value: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!((&value["number"], &value["cause"]), (&2.into(), &"daily".into()));
    assert_eq!(value["recordings"][0]["was"], "sealed");
    let newest = recorder.newest_checkpoint().unwrap().unwrap();
    assert_eq!((newest.number, newest.made), (3, Some(on(24))));
    let (listed, unreadable) = checkpoint::list(folder.path(), 2).unwrap();
    assert!(unreadable.is_empty());
    assert_eq!(listed.iter().map(|one| one.number).collect::<Vec<_>>(), [3, 2]);
    assert_eq!((listed[1].hash, listed[0].hash, listed[1].counts.sealed), (hash, newest.hash, 1));
}

#[test]
fn what_is_no_checkpoint_is_said() {
    let (folder, _recorder) = three();
    let text = fs::read(file(folder.path(), 2)).unwrap();
    let huge = vec![b' '; 8 * 1024 * 1024 + 1];
    for bytes in [&b""[..], b"{}", b"{}\n{}\n", &text[..text.len() - 1], &[&text[..], b"\n"].concat(), &huge]
    {
        replace(&file(folder.path(), 2), bytes);
        let found = problems(folder.path());
        assert!(matches!(found[0], Problem::Unreadable { number: 2, .. }), "{found:?}");
        assert!(found.contains(&Problem::Apart(3)), "{found:?}");
    }
    // Names that are not of its form are none of ours, and a number may be anything.
    replace(&file(folder.path(), 2), &text);
    for name in ["2.json", "00000000002.json", "x.json", ".tmpAbc", "00000004.json.bak"] {
        fs::write(folder.path().join("checkpoints").join(name), "rubbish").unwrap();
    }
    assert_eq!(problems(folder.path()), []);
    fs::write(file(folder.path(), 99_999_999), "rubbish").unwrap();
    let findings = examine(folder.path());
    assert_eq!((findings.problems.len(), findings.more), (checkpoint::MAX_PROBLEMS, 1));
}

#[test]
fn a_clock_that_is_set_back_leaves_nothing_out_and_is_told() {
    let (folder, recorder) = three();
    seal(&recorder, 5);
    make(&recorder, 3);
    seal(&recorder, 6);
    make(&recorder, 4);
    let findings = examine(folder.path());
    assert_eq!((findings.problems, findings.named, findings.set_back), (vec![], 6, vec![4]));
}

#[test]
fn gateways_that_share_a_folder_write_one_chain() {
    let folder = folder();
    let config = config(folder.path(), Caps::default());
    for number in 1..=40 {
        seal(&recorder(folder.path(), Caps::default()), number);
    }
    let made: usize = std::thread::scope(|scope| {
        let gateways: Vec<_> = (0..4_u128)
            .map(|gateway| {
                let recorder = Recorder::new(config.clone()).unwrap();
                scope.spawn(move || {
                    let mut made = 0;
                    for round in 0..8 {
                        seal(&recorder, 1_000 + gateway * 100 + round);
                        made += match recorder.checkpoint(on(22), Cause::Stop) {
                            Ok(made) => made.len(),
                            // Others were quicker five times.
                            Err(super::super::RecorderError::Deed(deed::DeedError::Exists(_))) => 0,
                            Err(error) => panic!("{error}"),
                        };
                    }
                    made
                })
            })
            .collect();
        gateways.into_iter().map(|gateway| gateway.join().unwrap()).sum()
    });
    make(&recorder(folder.path(), Caps::default()), 23);
    let findings = examine(folder.path());
    assert_eq!((findings.problems, findings.named, findings.unnamed), (vec![], 72, 0));
    assert_eq!(findings.checkpoints, made + 1);
}

#[test]
fn after_the_key_was_replaced_everything_is_named_by_the_new_one() {
    let (folder, _recorder) = three();
    let newer = Signer::generate().unwrap().0;
    let config = RecorderConfig { signer: newer.clone(), ..config(folder.path(), Caps::default()) };
    let recorder = Recorder::new(config).unwrap();
    make(&recorder, 25);
    assert_eq!(read(folder.path(), 4).counts().sealed, 4);
    let mut both = keys();
    both.add(newer.public());
    assert_eq!(examine_by(folder.path(), &both, None).problems, []);
    make(&recorder, 26);
    assert_eq!(read(folder.path(), 5).recordings, []);
}

#[test]
fn an_encrypted_recording_is_missed_and_what_its_key_keeps_is_not_told() {
    let folder = folder();
    let recorder = super::encrypted::recorder_by(folder.path(), super::encrypted::by(Some(1), &[]));
    seal(&recorder, 1);
    // Whether this gateway has the key makes no difference.
    let other = super::encrypted::recorder_by(folder.path(), super::encrypted::by(None, &[]));
    make(&other, 22);
    let Was::Sealed(sealing) = read(folder.path(), 1).recordings.remove(0).was else { panic!() };
    assert_eq!((sealing.target, sealing.started, sealing.ended), (None, None, timestamp()));
    assert!(!fs::read_to_string(file(folder.path(), 1)).unwrap().contains("prod-logs"));
    make(&recorder, 23);
    let findings = examine(folder.path());
    assert_eq!((findings.problems, findings.named), (vec![], 1));
    fs::remove_file(recording(folder.path(), 1)).unwrap();
    let gone = Problem::Gone { session: session(1), number: 1, sealed: Some((None, timestamp())) };
    assert_eq!(problems(folder.path()), [gone]);
}

#[test]
fn a_recording_without_a_footer_is_named_too_and_missed() {
    let (folder, recorder) = three();
    let path = recording(folder.path(), 7);
    fs::write(&path, "no recording").unwrap();
    make(&recorder, 25);
    assert_eq!(read(folder.path(), 4).recordings[0].was, Was::Damaged { bytes: 12 });
    assert_eq!(problems(folder.path()), []);
    fs::remove_file(path).unwrap();
    assert!(matches!(&problems(folder.path())[..], [Problem::Gone { number: 4, sealed: None, .. }]));
}

#[test]
fn what_does_not_fit_one_checkpoint_is_in_several() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let day = folder.path().join(DAY);
    fs::create_dir(&day).unwrap();
    for number in 0..=MAX_ENTRIES as u128 {
        fs::write(day.join(format!("{}.chrec", session(number))), "").unwrap();
    }
    let made = make(&recorder, 22);
    let counts: Vec<usize> = made.iter().map(|one| one.counts.damaged).collect();
    assert_eq!(counts, [MAX_ENTRIES, 1]);
    assert!(fs::metadata(file(folder.path(), 1)).unwrap().len() < deed::MAX_BYTES / 2);
    assert_eq!(read(folder.path(), 2).previous, Some(made[0].hash));
    assert!(recorder.checkpoint(on(22), Cause::Stop).unwrap().is_empty());
}

#[test]
fn on_a_full_disk_there_is_no_checkpoint_and_the_next_names_the_same() {
    let (folder, recorder) = three();
    seal(&recorder, 5);
    let checkpoints = folder.path().join("checkpoints");
    fs::remove_dir_all(&checkpoints).unwrap();
    fs::write(&checkpoints, "in the way").unwrap();
    assert!(recorder.checkpoint(on(25), Cause::Daily).is_err());
    fs::remove_file(&checkpoints).unwrap();
    assert_eq!(make(&recorder, 25)[0].counts.sealed, 5);
}
