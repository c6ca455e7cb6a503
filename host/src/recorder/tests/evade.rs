//! Ways round the checkpoints that somebody may try who can write to the folder: each is found by them, or by a hash of the newest
//! that was kept elsewhere, and what is not found is in the documentation (`host/docs/recording.md`, *Ways round*).

use super::super::checkpoint::Problem;
use super::super::deed;
use super::super::sign::{Distrust, PublicKeys, Statement};
use super::super::{Ending, Hash, Signed, Status, tombstone, verify_by};
use super::chain::{
    DAY, examine, examine_by, file, keys, make, on, problems, read, recording, replace, seal, three,
};
use super::*;
use std::fs;

#[test]
fn a_deleted_recording_is_missed() {
    let (folder, _recorder) = three();
    fs::remove_file(recording(folder.path(), 3)).unwrap();
    let found = problems(folder.path());
    assert!(matches!(&found[..], [Problem::Gone { number: 2, session: gone, .. }] if *gone == session(3)));
    let words = format!(
        "the recording of {} is missing (of prod-logs, ended 2026-11-21T10:00:00Z): checkpoint 2 names it",
        session(3)
    );
    assert_eq!(found[0].to_string(), words);
    // Under the name of another it is not that one.
    fs::copy(recording(folder.path(), 1), recording(folder.path(), 3)).unwrap();
    assert!(matches!(&problems(folder.path())[..], [Problem::Differs { number: 2, .. }]));
}

#[test]
fn a_recording_that_was_open_and_never_appeared_is_missed() {
    let (folder, recorder) = three();
    let live = recorder.open(&head(9), timestamp()).unwrap();
    make(&recorder, 25);
    assert_eq!(problems(folder.path()), []);
    fs::remove_dir_all(folder.path().join(DAY)).unwrap();
    drop(live);
    make(&recorder, 26);
    let last = problems(folder.path()).pop();
    assert_eq!(last, Some(Problem::NeverSealed { session: session(9), number: 4 }));
}

#[test]
fn deleted_and_renumbered_checkpoints_are_missed() {
    for gone in 1..=2 {
        let (folder, _recorder) = three();
        fs::remove_file(file(folder.path(), gone)).unwrap();
        assert!(problems(folder.path()).contains(&Problem::Missing(gone)));
        for number in gone..3 {
            fs::rename(file(folder.path(), number + 1), file(folder.path(), number)).unwrap();
        }
        let found = problems(folder.path());
        assert!(found.contains(&Problem::Renamed { number: gone, says: gone + 1 }), "{found:?}");
        assert!(found.contains(&Problem::Apart(gone)), "{found:?}");
    }
}

#[test]
fn the_newest_checkpoints_are_missed_by_a_hash_that_was_kept_elsewhere() {
    let (folder, recorder) = three();
    let newest = recorder.newest_checkpoint().unwrap().unwrap();
    let second = Hash::of(&fs::read(file(folder.path(), 2)).unwrap());
    for kept in [second, newest.hash] {
        assert_eq!(examine_by(folder.path(), &keys(), Some(kept)).problems, []);
    }
    fs::remove_file(file(folder.path(), 3)).unwrap();
    fs::remove_file(recording(folder.path(), 4)).unwrap();
    // This is told in the documentation: without the hash nothing is missed.
    assert_eq!(problems(folder.path()), []);
    let kept = examine_by(folder.path(), &keys(), Some(newest.hash));
    assert_eq!(kept.problems, [Problem::Expected(newest.hash)]);
    assert_eq!(examine_by(folder.path(), &keys(), Some(second)).problems, []);
    fs::remove_dir_all(folder.path().join("checkpoints")).unwrap();
    assert_eq!(problems(folder.path()), [Problem::None]);
}

#[test]
fn a_checkpoint_that_was_replaced_is_found() {
    // By an older one.
    let (folder, _recorder) = three();
    let first = fs::read(file(folder.path(), 1)).unwrap();
    replace(&file(folder.path(), 2), &first);
    let found = problems(folder.path());
    assert!(found.contains(&Problem::Renamed { number: 2, says: 1 }), "{found:?}");
    assert!(found.contains(&Problem::Apart(3)), "{found:?}");
    // By one of another folder, of the same gateway.
    let (theirs, _other) = three_others();
    replace(&file(folder.path(), 2), &fs::read(file(theirs.path(), 2)).unwrap());
    let found = problems(folder.path());
    assert!(found.contains(&Problem::Apart(2)) && found.contains(&Problem::Apart(3)), "{found:?}");
    // All of them by those of another folder: what they name is not there.
    for number in 1..=3 {
        replace(&file(folder.path(), number), &fs::read(file(theirs.path(), number)).unwrap());
    }
    let findings = examine(folder.path());
    assert_eq!((findings.problems.len(), findings.unnamed), (4, 4));
    assert!(matches!(findings.problems[0], Problem::Gone { number: 1, .. }));
}

/// The same number of checkpoints over other recordings. Not a [`Folder`]: there is one for each test.
fn three_others() -> (tempfile::TempDir, Recorder) {
    let theirs = directory();
    let recorder = recorder(theirs.path(), Caps::default());
    for number in 1..=4 {
        seal(&recorder, 100 + number);
        if number > 1 {
            make(&recorder, 20 + u8::try_from(number).unwrap());
        }
    }
    (theirs, recorder)
}

#[test]
fn a_checkpoint_that_was_written_by_somebody_else_does_not_count() {
    let (folder, recorder) = three();
    let mallory = Signer::generate().unwrap().0;
    let mut forged = read(folder.path(), 3);
    forged.recordings.clear();
    fs::remove_file(file(folder.path(), 3)).unwrap();
    deed::make(&file(folder.path(), 3), Statement::Checkpoint, &forged, &mallory).unwrap();
    fs::remove_file(recording(folder.path(), 4)).unwrap();
    let unknown = Problem::Distrusted { number: 3, why: Distrust::UnknownKey(mallory.id()) };
    assert_eq!(problems(folder.path()), [unknown]);

    // With the gateway's key named, and with an entry taken out of a text that it signed.
    let text = String::from_utf8(fs::read(file(folder.path(), 2)).unwrap()).unwrap();
    let (json, seal) = text.split_once('\n').unwrap();
    let without = json.replace(&json[json.find("[{").unwrap()..], "[]}");
    replace(&file(folder.path(), 2), format!("{without}\n{seal}").as_bytes());
    let found = problems(folder.path());
    assert!(
        found.contains(&Problem::Distrusted { number: 2, why: Distrust::Wrong(signer().id()) }),
        "{found:?}"
    );
    // As another kind of signature, too.
    let mut first = read(folder.path(), 1);
    first.recordings.pop();
    fs::remove_file(file(folder.path(), 1)).unwrap();
    deed::make(&file(folder.path(), 1), Statement::Tombstone, &first, &signer()).unwrap();
    let found = problems(folder.path());
    assert!(
        found.contains(&Problem::Distrusted { number: 1, why: Distrust::Wrong(signer().id()) }),
        "{found:?}"
    );
    // Without any key that is trusted nothing counts.
    let found = examine_by(folder.path(), &PublicKeys::default(), None).problems;
    assert_eq!(found.iter().filter(|one| matches!(one, Problem::Distrusted { .. })).count(), 3, "{found:?}");

    // The gateway itself believes none of them either, and names everything anew.
    make(&recorder, 26);
    let named: Vec<_> = read(folder.path(), 4).recordings.iter().map(|entry| entry.session).collect();
    assert_eq!(named, [session(1), session(2), session(3)]);
}

/// A tombstone of our own, from beside it, under the name of one that was deleted by hand.
#[test]
fn the_tombstone_of_another_recording_buries_nothing() {
    let (folder, recorder) = three();
    let second = super::retain::due(&recorder, &super::retain::rules(), on(25)).remove(1);
    recorder.delete(&second, on(25)).unwrap();
    let tombstone = |number| tombstone::path(&folder.path().join(DAY), session(number));
    fs::remove_file(recording(folder.path(), 1)).unwrap();
    fs::copy(tombstone(2), tombstone(1)).unwrap();
    let is_found = |found: &[Problem]| matches!(found, [Problem::Tombstone { session: of, .. }, Problem::Gone { session: gone, .. }] if (of, gone) == (&session(1), &session(1)));
    assert!(is_found(&problems(folder.path())));
    // The gateway does not make it its own by naming it.
    make(&recorder, 26);
    let named = read(folder.path(), 4).recordings;
    assert!(named.iter().all(|entry| entry.session == session(2)), "{named:?}");
    assert!(is_found(&problems(folder.path())));
}

/// The checkpoints as they were yesterday, from a backup, without what has been recorded since.
#[test]
fn checkpoints_that_were_rolled_back_are_missed_by_a_hash_that_was_kept_elsewhere() {
    let (folder, recorder) = three();
    let newest = recorder.newest_checkpoint().unwrap().unwrap().hash;
    for gone in [
        file(folder.path(), 2),
        file(folder.path(), 3),
        recording(folder.path(), 3),
        recording(folder.path(), 4),
    ] {
        fs::remove_file(gone).unwrap();
    }
    // This is told in the documentation.
    assert_eq!(problems(folder.path()), []);
    let expected = || examine_by(folder.path(), &keys(), Some(newest)).problems;
    assert_eq!(expected(), [Problem::Expected(newest)]);
    // Also when the gateway has gone on from there.
    seal(&recorder, 9);
    for day in 24..27 {
        make(&recorder, day);
    }
    assert_eq!((problems(folder.path()), expected()), (vec![], vec![Problem::Expected(newest)]));
}

#[test]
fn an_old_checkpoint_that_is_played_again_is_no_new_one() {
    let (folder, recorder) = three();
    fs::copy(file(folder.path(), 1), file(folder.path(), 4)).unwrap();
    assert_eq!(problems(folder.path()), [Problem::Renamed { number: 4, says: 1 }, Problem::Apart(4)]);
    // Nor does the gateway take it for one: what was sealed since is named, and what it names is not deleted by it.
    seal(&recorder, 9);
    make(&recorder, 25);
    assert_eq!(read(folder.path(), 5).recordings[0].session, session(9));
    assert_eq!(problems(folder.path()), [Problem::Renamed { number: 4, says: 1 }, Problem::Apart(4)]);
}

/// What the same key has signed for the same session, in another folder, with other events: it verifies by itself.
#[test]
fn a_recording_that_was_replaced_by_another_of_the_same_key_is_found() {
    let (folder, _recorder) = three();
    let theirs = directory();
    let mut other = recorder(theirs.path(), Caps::default()).open(&head(1), timestamp()).unwrap();
    other.raw(EventKind::Operation, 1, &[b"select 'harmless'"]);
    let other = other.seal(&end()).unwrap();
    let trusted = verify_by(&other.path, &keys(), &mut |_, _| {}).unwrap();
    assert_eq!(
        (trusted.status, trusted.signed),
        (Status::Intact(Ending::Sealed), Some(Signed::By(signer().id())))
    );
    replace(&recording(folder.path(), 1), &fs::read(&other.path).unwrap());
    assert_eq!(problems(folder.path()), [Problem::Differs { session: session(1), number: 1 }]);
}

#[test]
fn a_recording_that_was_renamed_is_missed() {
    let (folder, recorder) = three();
    let (first, day) = (recording(folder.path(), 1), folder.path().join(DAY));
    let gone = |found: &[Problem]| matches!(found, [Problem::Gone { session: of, .. }] if *of == session(1));
    for name in ["1.bak".to_owned(), format!("{}.chrec.packing", session(1)), format!("{}.chrec", session(9))]
    {
        fs::rename(&first, day.join(&name)).unwrap();
        assert!(gone(&problems(folder.path())), "{name}");
        // Naming what it has become does not make good for what it was.
        make(&recorder, 25);
        assert!(gone(&problems(folder.path())), "{name}");
        fs::remove_file(file(folder.path(), recorder.newest_checkpoint().unwrap().unwrap().number)).unwrap();
        fs::rename(day.join(&name), &first).unwrap();
    }
    // As one that lacks its final name alone it is still itself, and the recovery gives it that.
    fs::rename(&first, first.with_extension("chrec.open")).unwrap();
    assert_eq!(problems(folder.path()), []);
    fs::rename(first.with_extension("chrec.open"), &first).unwrap();
    // By a link to where it can be changed.
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&first, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &first).unwrap();
    assert!(gone(&problems(folder.path())));
    // In the folder of another day it is still itself: nothing is lost.
    fs::remove_file(&first).unwrap();
    fs::create_dir(folder.path().join("2026-11-20")).unwrap();
    fs::rename(&elsewhere, folder.path().join("2026-11-20").join(first.file_name().unwrap())).unwrap();
    assert_eq!(problems(folder.path()), []);
}
