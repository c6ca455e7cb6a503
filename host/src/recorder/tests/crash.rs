//! After a crash: every complete block is kept, the torn one is cut off, and nothing else is ever touched.

use super::super::reader::Reader;
use super::super::{Ending, Flaw, Outcome, State, Status, summary, verify};
use super::*;
use std::fs;

pub(super) fn open_path(directory: &Path, number: u128) -> PathBuf {
    directory.join("2026-11-21").join(format!("{}.chrec.open", session(number)))
}

pub(super) fn sealed_path(directory: &Path, number: u128) -> PathBuf {
    directory.join("2026-11-21").join(format!("{}.chrec", session(number)))
}

pub(super) fn leave(directory: &Path, bytes: &[u8]) -> PathBuf {
    let path = open_path(directory, 1);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn after_a_cut_at_every_byte_all_complete_blocks_are_there() {
    let bytes = small();
    let borders = borders(&bytes);
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let sealed = sealed_path(folder.path(), 1);
    for length in 0..=bytes.len() {
        let open = leave(folder.path(), &bytes[..length]);
        let complete = *borders.iter().rfind(|border| **border <= length).unwrap();
        let recovered = recorder.recover(timestamp()).unwrap();
        assert_eq!(recovered.len(), 1);
        assert_eq!((recovered[0].session, &recovered[0].path), (session(1), &sealed));
        assert!(!open.exists());
        let after = fs::read(&sealed).unwrap();
        let status = verify(&sealed).unwrap().status;
        match &recovered[0].outcome {
            Outcome::WasSealed => {
                assert_eq!((length, &after), (bytes.len(), &bytes));
                assert_eq!(status, Status::Intact(Ending::Sealed));
            }
            // Not even the head: the session never began, and the bytes are evidence of nothing but that.
            Outcome::Damaged(_) => {
                assert!(length < borders[1]);
                assert_eq!(after, bytes[..length]);
                assert!(matches!(status, Status::Damaged(_)));
            }
            Outcome::Sealed { torn_bytes } => {
                assert_eq!(*torn_bytes, (length - complete) as u64);
                let committed = events(&bytes[..complete]);
                assert_eq!(events(&after)[..committed.len()], committed, "cut at {length}");
                assert_eq!(status, Status::Intact(Ending::Interrupted), "cut at {length}");
                let ends = Reader::new(&after[..])
                    .events()
                    .filter(|event| event.as_ref().unwrap().kind == EventKind::End);
                assert_eq!(ends.count(), 1);
                assert_eq!(summary(&sealed).unwrap().state, State::Sealed(Ending::Interrupted));
            }
            Outcome::Failed(error) => panic!("{error}"),
        }
        assert!(recorder.recover(timestamp()).unwrap().is_empty(), "once is enough");
        fs::remove_file(&sealed).unwrap();
    }
}

#[test]
fn what_the_interrupted_session_says() {
    let bytes = small();
    let folder = folder();
    leave(folder.path(), &bytes[..borders(&bytes)[2] + 5]);
    recorder(folder.path(), Caps::default()).recover(timestamp()).unwrap();
    let footer = summary(&sealed_path(folder.path(), 1)).unwrap().footer.unwrap();
    assert_eq!(footer.end.reason, EndReason::Interrupted);
    assert_eq!(
        footer.end.detail,
        "the gateway stopped while this session was live; 5 bytes of an incomplete last block were cut off"
    );
    assert_eq!((footer.count(EventKind::Operation), footer.dropped_bytes), (1, None));
}

#[test]
fn unwritten_space_at_the_end_is_cut_off() {
    let bytes = small();
    let folder = folder();
    let complete = &bytes[..borders(&bytes)[3]];
    leave(folder.path(), &[complete, &[0; 5000]].concat());
    let recovered = recorder(folder.path(), Caps::default()).recover(timestamp()).unwrap();
    assert!(matches!(recovered[0].outcome, Outcome::Sealed { torn_bytes: 5000 }));
    assert_eq!(verify(&recovered[0].path).unwrap().status, Status::Intact(Ending::Interrupted));
}

/// One flipped bit must not make the recovery throw away what follows it, nor seal what was changed.
#[test]
fn a_changed_recording_is_kept_to_the_last_byte_and_never_sealed() {
    let bytes = small();
    let borders = borders(&bytes);
    let unsealed = &bytes[..borders[4]];
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let sealed = sealed_path(folder.path(), 1);
    for at in 0..unsealed.len() {
        let mut changed = unsealed.to_vec();
        changed[at] ^= 0x10;
        leave(folder.path(), &changed);
        let recovered = recorder.recover(timestamp()).unwrap();
        assert!(matches!(recovered[0].outcome, Outcome::Damaged(_)), "byte {at}: {recovered:?}");
        assert_eq!(fs::read(&sealed).unwrap(), changed);
        assert!(matches!(verify(&sealed).unwrap().status, Status::Damaged(_)));
        fs::remove_file(&sealed).unwrap();
    }
}

#[test]
fn a_recording_under_another_sessions_name_is_not_sealed() {
    let bytes = small();
    let folder = folder();
    let open = leave(folder.path(), &bytes[..borders(&bytes)[3]]);
    fs::rename(open, open_path(folder.path(), 2)).unwrap();
    let recovered = recorder(folder.path(), Caps::default()).recover(timestamp()).unwrap();
    assert!(matches!(recovered[0].outcome, Outcome::Damaged(_)));
}

#[test]
fn a_sealed_recording_that_was_cut_is_never_recovered() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let mut recording = recorder.open(&head(1), timestamp()).unwrap();
    recording.raw(EventKind::Operation, 1, &[b"delete"]);
    let sealed = recording.seal(&end()).unwrap();
    let bytes = fs::read(&sealed.path).unwrap();
    fs::remove_file(&sealed.path).unwrap();
    fs::write(&sealed.path, &bytes[..borders(&bytes)[1]]).unwrap();
    assert!(recorder.recover(timestamp()).unwrap().is_empty());
    let Status::Damaged(damage) = verify(&sealed.path).unwrap().status else { panic!() };
    assert_eq!((damage.at_block, damage.what), (1, Flaw::NoFooter));
}

#[test]
fn a_live_recording_is_left_alone_and_a_dropped_one_is_sealed() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let mut recording = recorder.open(&head(1), timestamp()).unwrap();
    recording.raw(EventKind::Operation, 1, &[b"select 1"]);
    recording.commit().unwrap();
    let open = open_path(folder.path(), 1);
    assert!(
        recorder.recover(timestamp()).unwrap().is_empty(),
        "another process's recovery: the lock is per open file"
    );
    assert_eq!(verify(&open).unwrap().status, Status::Live);
    assert_eq!(summary(&open).unwrap().state, State::Live);
    // What follows the last commit was never forwarded, so it is not in the file.
    recording.raw(EventKind::Operation, 2, &[b"select 2"]);
    drop(recording);
    assert_eq!(verify(&open).unwrap().status, Status::Unsealed);
    assert_eq!(summary(&open).unwrap().state, State::Unsealed);
    let recovered = recorder.recover(timestamp()).unwrap();
    assert!(matches!(recovered[0].outcome, Outcome::Sealed { torn_bytes: 0 }));
    let footer = summary(&recovered[0].path).unwrap().footer.unwrap();
    assert_eq!(footer.count(EventKind::Operation), 1);
}

/// A lock says that a recording is still written, and anybody who may read a file may lock it. So it counts for an open
/// recording alone: a sealed one that was cut is damaged, whoever holds it.
#[test]
fn a_lock_does_not_make_a_live_recording_of_a_sealed_one_that_was_cut() {
    let bytes = small();
    let borders = borders(&bytes);
    let folder = folder();
    let sealed = sealed_path(folder.path(), 1);
    for length in [0, borders[1] - 1, borders[1], borders[3] + 5, bytes.len() - 1] {
        let open = leave(folder.path(), &bytes[..length]);
        let holder = fs::File::open(&open).unwrap();
        holder.lock().unwrap();
        assert_eq!(verify(&open).unwrap().status, Status::Live, "cut at {length}");
        fs::rename(&open, &sealed).unwrap();
        let status = verify(&sealed).unwrap().status;
        assert!(matches!(status, Status::Damaged(_)), "cut at {length}: {status:?}");
        let listed = summary(&sealed).map(|summary| summary.state);
        assert!(!matches!(listed, Ok(State::Live)), "cut at {length}: {listed:?}");
    }
}

/// The folder that [`recorded_until_killed`] writes to.
const CHILD_FOLDER: &str = "CHAPERONE_TEST_RECORDING_FOLDER";

/// Not a test: the process that the next test kills.
#[test]
#[ignore = "a process for the next test"]
fn recorded_until_killed() {
    let Some(directory) = std::env::var_os(CHILD_FOLDER) else { return };
    let mut recording = recorder(Path::new(&directory), Caps::default()).open(&head(1), timestamp()).unwrap();
    for operation in 1_u64.. {
        recording.raw(EventKind::Operation, operation, &[&operation.to_le_bytes(), &[b'x'; 300]]);
        recording.commit().unwrap();
        // Now the operation would be forwarded: a line stands for it.
        println!("\nforwarded {operation}");
    }
}

#[test]
fn kill_9_loses_nothing_that_was_forwarded() {
    use std::io::{BufRead, BufReader};
    let folder = directory();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "recorder::tests::crash::recorded_until_killed", "--ignored", "--nocapture"])
        .env(CHILD_FOLDER, folder.path())
        .stdout(std::process::Stdio::piped());
    let mut child = start(&mut command).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let number = |line: String| line.strip_prefix("forwarded ").and_then(|number| number.parse::<u64>().ok());
    lines.by_ref().filter_map(number).find(|operation| *operation == 200).unwrap();
    child.kill().unwrap();
    let forwarded = lines.filter_map(number).last().unwrap_or(200);
    child.wait().unwrap();
    let recovered = recorder(folder.path(), Caps::default()).recover(timestamp()).unwrap();
    assert!(matches!(recovered[0].outcome, Outcome::Sealed { .. }), "{recovered:?}");
    assert_eq!(verify(&recovered[0].path).unwrap().status, Status::Intact(Ending::Interrupted));
    let footer = summary(&recovered[0].path).unwrap().footer.unwrap();
    let recorded = footer.count(EventKind::Operation);
    assert!(recorded >= forwarded, "{recorded} recorded, {forwarded} forwarded");
}
