//! The folder: who may read, what it is called, what a listing shows.

use super::super::{Ending, Flaw, Mark, RecorderError, State, Status, verify};
use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_gateways_user_reads_recordings() {
    let folder = folder();
    let directory = folder.path().join("a/b");
    let recorder = recorder(&directory, Caps::default());
    let recording = recorder.open(&head(1), timestamp()).unwrap();
    let open = recorder.find(session(1)).unwrap().unwrap();
    assert_eq!(open, directory.join("2026-11-21/ses_00000000000000000000000000000001.chrec.open"));
    assert_eq!((mode(&directory), mode(open.parent().unwrap()), mode(&open)), (0o700, 0o700, 0o600));
    let sealed = recording.seal(&end()).unwrap();
    assert_eq!(sealed.path, directory.join("2026-11-21/ses_00000000000000000000000000000001.chrec"));
    assert_eq!(mode(&sealed.path), 0o400);
    assert!(!open.exists());
    assert_eq!(recorder.find(session(1)).unwrap(), Some(sealed.path));
    assert_eq!(recorder.find(session(2)).unwrap(), None);
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o770)).unwrap();
    let error = Recorder::new(config(folder.path(), Caps::default())).unwrap_err();
    let message = format!(
        "others may write to the folder of the recordings: run `chmod go-w {}`",
        folder.path().display()
    );
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_folder_that_cannot_be_is_refused() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Recorder::new(config(&file.join("under"), Caps::default())).unwrap_err().to_string();
    assert!(error.starts_with("the folder of the recordings, "), "{error}");
    assert!(error.ends_with("give it to the gateway's user and free some space, or set another"), "{error}");
}

#[test]
fn a_session_is_never_recorded_twice() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let first = recorder.open(&head(1), timestamp()).unwrap();
    assert!(matches!(recorder.open(&head(1), timestamp()), Err(RecorderError::Exists { .. })));
    let sealed = first.seal(&end()).unwrap();
    let before = fs::read(&sealed.path).unwrap();
    assert!(matches!(recorder.open(&head(1), timestamp()), Err(RecorderError::Exists { .. })));
    assert_eq!(fs::read(&sealed.path).unwrap(), before);
}

#[test]
fn a_listing_is_newest_first_and_hides_nothing() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let tomorrow: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    recorder.open(&head(3), timestamp()).unwrap().seal(&end()).unwrap();
    recorder.open(&head(1), tomorrow).unwrap().seal(&end()).unwrap();
    let _live = recorder.open(&head(2), timestamp()).unwrap();
    fs::write(folder.path().join("2026-11-21").join(format!("{}.chrec", session(9))), "rubbish").unwrap();
    fs::write(folder.path().join("2026-11-21/README"), "not ours").unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join("lost+found").join(format!("{}.chrec", session(8))), "not ours").unwrap();
    let listing = recorder.list(10).unwrap();
    let seen: Vec<_> = listing.sessions.iter().map(|s| (s.opening.head.session, s.state)).collect();
    let sealed = State::Sealed(Ending::Sealed);
    assert_eq!(seen, [(session(1), sealed), (session(3), sealed), (session(2), State::Live)]);
    assert_eq!(listing.sessions[0].opening.started, tomorrow);
    assert_eq!(listing.sessions[0].opening.head, head(1));
    assert_eq!(listing.sessions[0].footer.as_ref().unwrap().end, end());
    assert_eq!(listing.unreadable.len(), 1);
    assert_eq!(recorder.list(1).unwrap().sessions.len(), 1);
}

#[test]
fn a_renamed_recording_is_found() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let sealed = recorder.open(&head(1), timestamp()).unwrap().seal(&end()).unwrap();
    let report = verify(&sealed.path).unwrap();
    assert_eq!(report.status, Status::Intact(Ending::Sealed));
    assert_eq!(
        (report.session, report.blocks, report.events),
        (Some(session(1)), sealed.blocks, sealed.events)
    );
    assert_eq!((report.bytes, report.last_hash), (sealed.bytes, sealed.last_hash));
    let other = sealed.path.with_file_name(format!("{}.chrec", session(2)));
    fs::copy(&sealed.path, &other).unwrap();
    let Status::Damaged(damage) = verify(&other).unwrap().status else { panic!() };
    assert_eq!(damage.what, Flaw::OtherSession(session(1)));
    // An export may have any name.
    let export = folder.path().join("evidence.bin");
    fs::copy(&sealed.path, &export).unwrap();
    assert_eq!(verify(&export).unwrap().status, Status::Intact(Ending::Sealed));
}

#[test]
fn below_the_mark_no_recording_begins_and_above_it_they_do() {
    let folder = folder();
    let with = |refuse| {
        let space = Watermarks { warn: refuse, refuse };
        Recorder::new(RecorderConfig { space, ..config(folder.path(), Caps::default()) }).unwrap()
    };
    let error = with(Mark::Bytes(u64::MAX)).open(&head(1), timestamp()).unwrap_err();
    assert!(matches!(error, RecorderError::NoRoom { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("less than 18446744073709551615 bytes (`recording.space.refuse`): make room"),
        "{error}"
    );
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "a file was made");
    let recording = with(Mark::Bytes(1)).open(&head(1), timestamp()).unwrap();
    recording.seal(&end()).unwrap();
}
