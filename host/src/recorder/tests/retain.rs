//! Deleting by the rules: whatever happens in the middle, there is the recording or its tombstone.

use super::super::checkpoint::{Problem, Was};
use super::super::deed;
use super::super::retain::{Due, Keep, Look, Retention, Step};
use super::super::sign::Statement;
use super::super::{Tombstone, tombstone, verify};
use super::chain::{DAY, examine, file, make, on, problems, read, recording, replace, seal, three};
use super::*;
use std::fs;
use std::time::Duration;

const HOURS: Duration = Duration::from_secs(3600);

/// Everything is due three days after its end, which is on the 21st.
pub(super) fn rules() -> Retention {
    Retention { default: Keep::For(72 * HOURS), ..Retention::default() }
}

pub(super) fn due(recorder: &Recorder, rules: &Retention, now: Timestamp) -> Vec<Due> {
    match recorder.due(rules, now).unwrap() {
        Look::Due { due, unread: 0, .. } => due,
        Look::Due { unread, .. } => panic!("{unread} cannot be read"),
        Look::Leapt(from) => panic!("from {from}"),
    }
}

fn buried(folder: &Path, number: u128) -> PathBuf {
    tombstone::path(&folder.join(DAY), session(number))
}

#[test]
fn what_a_checkpoint_names_is_due_when_its_time_is_over() {
    let (folder, recorder) = three();
    seal(&recorder, 9);
    assert_eq!(due(&recorder, &rules(), on(24)), []);
    assert_eq!(due(&recorder, &Retention::default(), on(25)), []);
    let sessions: Vec<_> = due(&recorder, &rules(), on(25)).iter().map(|due| due.session).collect();
    assert_eq!(sessions, [session(1), session(2), session(3), session(4)], "no checkpoint names the fifth");
    let mut longer = rules();
    longer.targets.insert(TargetName::new("prod-logs").unwrap(), Keep::Forever);
    assert_eq!(due(&recorder, &longer, on(25)), []);
    longer.targets.insert(TargetName::new("prod-logs").unwrap(), Keep::For(80 * HOURS));
    longer.default = Keep::Forever;
    assert_eq!(due(&recorder, &longer, on(25))[0].rule, "3days 8h (of its target)");
    fs::remove_file(recording(folder.path(), 1)).unwrap();
    assert_eq!(due(&recorder, &rules(), on(25)).len(), 3);
}

#[test]
fn by_which_rule_an_encrypted_recording_goes_takes_its_key() {
    use super::encrypted::{by, recorder_by};
    let folder = folder();
    let recorder = recorder_by(folder.path(), by(Some(1), &[]));
    seal(&recorder, 1);
    for day in 22..=24 {
        make(&recorder, day);
    }
    let mut rules = Retention::default();
    rules.targets.insert(TargetName::new("prod-logs").unwrap(), Keep::For(72 * HOURS));
    assert_eq!(due(&recorder, &rules, on(24)), []);
    let without = recorder_by(folder.path(), by(Some(2), &[]));
    assert_eq!(without.due(&rules, on(25)).unwrap(), Look::Due { due: vec![], away: vec![], unread: 1 });
    let one = due(&recorder_by(folder.path(), by(Some(2), &[1])), &rules, on(25)).remove(0);
    assert!(without.examine(&one).is_err());
    assert_eq!(recorder.examine(&one).unwrap(), head(1).identity.principal);
    recorder.delete(&one, on(25)).unwrap();
    assert!(!fs::read_to_string(buried(folder.path(), 1)).unwrap().contains("prod-logs"));
    let findings = examine(folder.path());
    assert_eq!((findings.problems, findings.deleted), (vec![], 1));
}

#[test]
fn a_checkpoint_that_this_gateway_has_not_signed_lets_nothing_be_deleted() {
    let (folder, recorder) = three();
    seal(&recorder, 9);
    let mut forged = read(folder.path(), 3);
    forged.number = 4;
    for entry in &mut forged.recordings {
        let Was::Sealed(_) = &entry.was else { panic!() };
        entry.session = session(9);
    }
    let mallory = Signer::generate().unwrap().0;
    deed::make(&file(folder.path(), 4), Statement::Checkpoint, &forged, &mallory).unwrap();
    let found = due(&recorder, &rules(), on(25));
    assert!(found.iter().all(|due| due.session != session(9)), "{found:?}");
}

#[test]
fn a_leap_of_the_clock_deletes_nothing() {
    let (_folder, recorder) = three();
    make(&recorder, 28);
    assert_eq!(recorder.due(&rules(), on(28)).unwrap(), Look::Leapt(on(24)));
    make(&recorder, 29);
    assert_eq!(due(&recorder, &rules(), on(29)).len(), 4);
}

#[test]
fn a_deleted_recording_leaves_a_tombstone_that_later_checkpoints_name() {
    let (folder, recorder) = three();
    let report = verify(&recording(folder.path(), 1)).unwrap();
    let one = due(&recorder, &rules(), on(25)).remove(0);
    assert_eq!(recorder.examine(&one).unwrap(), head(1).identity.principal);
    recorder.delete(&one, on(25)).unwrap();
    assert!(!recording(folder.path(), 1).exists());
    let (left, hash) = tombstone::read(&buried(folder.path(), 1), &signer().public().into()).unwrap();
    let expected = Tombstone {
        session: session(1),
        target: Some(head(1).target),
        started: Some(timestamp()),
        ended: timestamp(),
        footer: report.last_hash,
        bytes: report.bytes,
        deleted: on(25),
        rule: "3days (default)".into(),
        after: 3,
    };
    assert_eq!(left, expected);
    assert!(
        !fs::read_to_string(buried(folder.path(), 1)).unwrap().contains("corp/"),
        "it names no principal"
    );
    let findings = examine(folder.path());
    assert_eq!((findings.problems, findings.deleted, findings.named), (vec![], 1, 3));
    make(&recorder, 26);
    assert_eq!(read(folder.path(), 4).recordings[0].was, Was::Deleted { tombstone: hash });
    make(&recorder, 27);
    assert_eq!((problems(folder.path()), read(folder.path(), 5).recordings), (vec![], vec![]));
    // Named, it cannot go either, nor be written anew.
    let text = fs::read(buried(folder.path(), 1)).unwrap();
    fs::remove_file(buried(folder.path(), 1)).unwrap();
    let found = problems(folder.path());
    assert!(found.iter().any(|one| matches!(one, Problem::Gone { .. })), "{found:?}");
    assert!(found.iter().any(|one| matches!(one, Problem::Tombstone { .. })), "{found:?}");
    let again = Tombstone { deleted: on(26), ..expected };
    deed::make(&buried(folder.path(), 1), Statement::Tombstone, &again, &signer()).unwrap();
    assert!(matches!(&problems(folder.path())[..], [Problem::Tombstone { .. }, Problem::Gone { .. }]));
    replace(&buried(folder.path(), 1), &text);
    assert_eq!(problems(folder.path()), []);
}

#[test]
fn killed_at_any_step_there_is_the_recording_or_its_tombstone() {
    for last in [Step::Begun, Step::Buried, Step::Removed] {
        let (folder, recorder) = three();
        let one = due(&recorder, &rules(), on(25)).remove(0);
        let stopped = one.delete(&signer(), on(25), &mut |step| {
            let (there, tomb) = (recording(folder.path(), 1).exists(), buried(folder.path(), 1).exists());
            assert_eq!((there, tomb), (step != Step::Removed, step != Step::Begun));
            if step == last { Err(super::super::RecorderError::Stopped) } else { Ok(()) }
        });
        assert!(stopped.is_err());
        // What is left of a temporary file is nobody's.
        fs::write(folder.path().join(DAY).join(".tmpAbC"), "half of a tombstone").unwrap();
        assert_eq!(problems(folder.path()), [], "{last:?}");
        make(&recorder, 25);
        make(&recorder, 26);
        let again = due(&recorder, &rules(), on(26));
        assert_eq!(again.len(), if last == Step::Removed { 3 } else { 4 });
        for one in &again {
            recorder.examine(one).unwrap();
            recorder.delete(one, on(26)).unwrap();
        }
        let findings = examine(folder.path());
        assert_eq!((findings.problems, findings.deleted, findings.named), (vec![], 4, 0), "{last:?}");
    }
}

#[test]
fn a_recording_that_was_changed_is_not_deleted() {
    let (folder, recorder) = three();
    let one = due(&recorder, &rules(), on(25)).remove(0);
    let path = recording(folder.path(), 1);
    let whole = fs::read(&path).unwrap();
    let mut changed = whole.clone();
    changed[200] ^= 1;
    for bytes in
        [&changed, &fs::read(recording(folder.path(), 2)).unwrap(), &whole[..whole.len() - 1].to_vec()]
    {
        replace(&path, bytes);
        assert!(
            recorder.examine(&one).unwrap_err().to_string().contains("is not deleted: it is not as it was")
        );
    }
    replace(&path, &whole);
    let other = path.with_extension("chrec.open");
    fs::write(&other, "what the recovery has kept").unwrap();
    assert!(recorder.examine(&one).unwrap_err().to_string().contains("there is another file"));
    fs::remove_file(other).unwrap();
    recorder.examine(&one).unwrap();
}

#[test]
fn a_tombstone_that_the_gateway_has_not_left_there_counts_for_nothing() {
    let (folder, recorder) = three();
    let of = |number| due(&recorder, &rules(), on(25)).remove(number);
    let (first, second) = (of(0), of(1));
    recorder.delete(&second, on(25)).unwrap();
    let other = fs::read(buried(folder.path(), 2)).unwrap();
    // That of another recording.
    replace(&buried(folder.path(), 1), &other);
    assert!(
        recorder.delete(&first, on(25)).unwrap_err().to_string().contains("does not count: it is that of")
    );
    let is_one =
        |found: &[Problem]| matches!(found, [Problem::Tombstone { session: of, .. }] if *of == session(1));
    assert!(is_one(&problems(folder.path())));
    // One that somebody else has signed, and one of our own for another footer.
    let (left, _) = tombstone::read(&buried(folder.path(), 2), &signer().public().into()).unwrap();
    let mine = Tombstone { session: session(1), ..left };
    let right = verify(&recording(folder.path(), 1)).unwrap().last_hash;
    for (key, footer) in [(Signer::generate().unwrap().0, right), (signer(), mine.footer)] {
        fs::remove_file(buried(folder.path(), 1)).unwrap();
        let false_one = Tombstone { footer, ..mine.clone() };
        deed::make(&buried(folder.path(), 1), Statement::Tombstone, &false_one, &key).unwrap();
        assert!(recorder.delete(&first, on(25)).is_err());
        assert!(is_one(&problems(folder.path())));
        let kept = fs::read(recording(folder.path(), 1)).unwrap();
        fs::remove_file(recording(folder.path(), 1)).unwrap();
        assert!(problems(folder.path()).iter().any(|one| matches!(one, Problem::Gone { .. })));
        replace(&recording(folder.path(), 1), &kept);
    }
    // One that is made up later, by whoever has got the key, was not there when later checkpoints were made.
    let good = verify(&recording(folder.path(), 1)).unwrap();
    fs::remove_file(buried(folder.path(), 1)).unwrap();
    make(&recorder, 26);
    make(&recorder, 27);
    fs::remove_file(recording(folder.path(), 1)).unwrap();
    let late = Tombstone { footer: good.last_hash, bytes: good.bytes, after: 3, ..mine };
    deed::make(&buried(folder.path(), 1), Statement::Tombstone, &late, &signer()).unwrap();
    let found = problems(folder.path());
    assert!(found.iter().any(|one| matches!(one, Problem::Gone { .. })), "{found:?}");
    assert!(found.iter().any(|one| one.to_string().contains("no later one names it")), "{found:?}");
}
