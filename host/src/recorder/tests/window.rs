//! Blocks that are copied into the file's memory: the same bytes as written ones, nothing lost, nothing believed too early.

use super::super::format::RESERVED_BYTES;
use super::super::window::BYTES;
use super::super::{Ending, Outcome, Status, summary, verify};
use super::*;
use std::fs::{self, OpenOptions};

fn open_path(directory: &Path, number: u128) -> PathBuf {
    directory.join("2026-11-21").join(format!("{}.chrec.open", session(number)))
}

/// A committed operation with a text of `length` bytes.
fn operation(recording: &mut Recording, number: u64, length: usize) {
    recording.raw(EventKind::Operation, number, &[&number.to_le_bytes(), &vec![b'x'; length]]);
    recording.commit().unwrap();
}

/// Short blocks, long ones, and such as lie across the end of a window.
fn lengths() -> impl Iterator<Item = usize> {
    (0..2_000).map(|number| match number % 97 {
        96 => 300_000,
        50 => 9_000,
        13 => 7_900,
        other => other * 11,
    })
}

#[test]
fn copied_blocks_are_the_bytes_that_written_ones_are() {
    let folder = folder();
    let memory = Memory::default();
    let mut written = memory.record(&Caps::default());
    let mut copied = recorder(folder.path(), Caps::default()).open(&head(1), timestamp()).unwrap();
    for (number, length) in (1..).zip(lengths()) {
        operation(&mut written, number, length);
        operation(&mut copied, number, length);
        if number % 7 == 0 {
            copied.make_room();
        }
    }
    // Only ends carry a time of their own here, so all before is compared.
    let bytes = memory.bytes();
    let open = fs::read(open_path(folder.path(), 1)).unwrap();
    assert_eq!(open[..bytes.len()], bytes);
    assert!(open[bytes.len()..].iter().all(|byte| *byte == 0));
    assert!((open.len() - bytes.len()) as u64 <= RESERVED_BYTES);
    let sealed = copied.seal(&end()).unwrap();
    assert_eq!(fs::metadata(&sealed.path).unwrap().len(), sealed.bytes, "no room is left behind the footer");
    assert_eq!(verify(&sealed.path).unwrap().status, Status::Intact(Ending::Sealed));
}

#[test]
fn what_is_copied_is_in_the_file_at_once_and_the_room_behind_it_is_none_of_it() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let mut recording = recorder.open(&head(1), timestamp()).unwrap();
    let open = open_path(folder.path(), 1);
    for number in 1..=400 {
        operation(&mut recording, number, 300);
        let report = verify(&open).unwrap();
        assert_eq!((report.status, report.events), (Status::Live, number + 1));
    }
    let length = || fs::metadata(&open).unwrap().len();
    assert_eq!(length() % BYTES as u64, 0, "no window was opened");
    // The next one is opened ahead, and not one more.
    while length() % (2 * BYTES as u64) != 0 {
        operation(&mut recording, 401, 300);
        recording.make_room();
    }
    let ahead = length();
    recording.make_room();
    assert_eq!(length(), ahead);
    let events = verify(&open).unwrap().events;
    drop(recording);
    let recovered = recorder.recover(timestamp()).unwrap();
    assert!(matches!(recovered[0].outcome, Outcome::Sealed { torn_bytes: 0 }), "{recovered:?}");
    assert_eq!(verify(&recovered[0].path).unwrap().events, events + 1);
}

/// The process may end between any two instructions: what was copied of the last block is then any part of it but its magic.
#[test]
fn a_block_that_was_being_copied_is_cut_off() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let bytes = small();
    let borders = borders(&bytes);
    let (from, to) = (borders[2], borders[3]);
    for copied in from + 4..=to {
        let mut left = bytes[..from].to_vec();
        left.resize(RESERVED_BYTES as usize, 0);
        left[from + 4..copied].copy_from_slice(&bytes[from + 4..copied]);
        let open = open_path(folder.path(), 1);
        fs::create_dir_all(open.parent().unwrap()).unwrap();
        fs::write(&open, &left).unwrap();
        assert_eq!(verify(&open).unwrap().status, Status::Unsealed, "{copied}");
        let recovered = recorder.recover(timestamp()).unwrap();
        let torn = RESERVED_BYTES - from as u64;
        assert!(
            matches!(recovered[0].outcome, Outcome::Sealed { torn_bytes } if torn_bytes == torn),
            "{recovered:?}"
        );
        let committed = events(&bytes[..from]);
        assert_eq!(events(&fs::read(&recovered[0].path).unwrap())[..committed.len()], committed);
        let footer = summary(&recovered[0].path).unwrap().footer.unwrap();
        assert_eq!((footer.ending, footer.count(EventKind::Operation)), (Ending::Interrupted, 1));
        fs::remove_file(&recovered[0].path).unwrap();
    }
}

/// More than can be reserved is not cut off, whatever stands in the place of a magic: that was never a block being copied.
#[test]
fn a_magic_that_is_gone_far_from_the_end_is_damage() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let memory = Memory::default();
    let mut recording = memory.record(&Caps::default());
    (1..=400).for_each(|number| operation(&mut recording, number, 300));
    let bytes = memory.bytes();
    let open = open_path(folder.path(), 1);
    fs::create_dir_all(open.parent().unwrap()).unwrap();
    let beyond = bytes.len() - RESERVED_BYTES as usize;
    for (border, damaged) in borders(&bytes)[1..400].iter().map(|border| (*border, *border < beyond)) {
        let mut changed = bytes.clone();
        changed[border..border + 4].fill(0);
        fs::write(&open, &changed).unwrap();
        let outcome = recorder.recover(timestamp()).unwrap().remove(0);
        assert_eq!(matches!(outcome.outcome, Outcome::Damaged(_)), damaged, "{border}: {outcome:?}");
        if damaged {
            assert_eq!(fs::read(&outcome.path).unwrap(), changed);
        }
        // Under the name of a sealed recording it is damage wherever it is.
        fs::set_permissions(&outcome.path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&outcome.path, &changed).unwrap();
        assert!(matches!(verify(&outcome.path).unwrap().status, Status::Damaged(_)));
        fs::remove_file(&outcome.path).unwrap();
    }
}

/// A page that fails raises SIGBUS, which ends a process: here it ends one recording, and the others go on.
#[test]
fn a_file_that_is_cut_under_its_mapping_ends_its_own_session_alone() {
    let folder = folder();
    let recorder = recorder(folder.path(), Caps::default());
    let mut lost = recorder.open(&head(1), timestamp()).unwrap();
    let mut other = recorder.open(&head(2), timestamp()).unwrap();
    for number in 1..=20 {
        operation(&mut lost, number, 300);
        operation(&mut other, number, 300);
    }
    let path = open_path(folder.path(), 1);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    for _ in 0..2 {
        lost.raw(EventKind::Operation, 21, &[b"delete"]);
        let error = lost.commit().unwrap_err().to_string();
        assert_eq!(
            error,
            "the recording of ses_00000000000000000000000000000001 cannot be written: its file was cut, or the disk failed, while it was written"
        );
    }
    assert!(lost.seal(&end()).is_err());
    assert_eq!(fs::metadata(&path).unwrap().len(), 100, "what is left of it is not touched");
    (21..=400).for_each(|number| operation(&mut other, number, 300));
    let sealed = other.seal(&end()).unwrap();
    assert_eq!(verify(&sealed.path).unwrap().status, Status::Intact(Ending::Sealed));
    // Twice, for the handler has to be there still.
    let mut again = recorder.open(&head(3), timestamp()).unwrap();
    (1..=20).for_each(|number| operation(&mut again, number, 300));
    OpenOptions::new().write(true).open(open_path(folder.path(), 3)).unwrap().set_len(0).unwrap();
    again.raw(EventKind::Operation, 21, &[b"delete"]);
    assert!(again.commit().is_err());
}

/// The folder that [`a_bus_error_of_another_cause`] writes to.
const CHILD_FOLDER: &str = "CHAPERONE_TEST_WINDOW_FOLDER";

/// Not a test: the process that the next test waits for.
#[test]
#[ignore = "a process for the next test"]
fn a_bus_error_of_another_cause() {
    let Some(directory) = std::env::var_os(CHILD_FOLDER) else { return };
    let mut recording = recorder(Path::new(&directory), Caps::default()).open(&head(1), timestamp()).unwrap();
    (1..=20).for_each(|number| operation(&mut recording, number, 300));
    // Rust's own handler, which was there before, lets the first pass and stands back.
    for _ in 0..2 {
        Command::new("kill").args(["-BUS", &std::process::id().to_string()]).status().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_bus_error_that_is_no_window_of_ours_ends_the_process_as_ever() {
    use std::os::unix::process::ExitStatusExt;
    let folder = directory();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "recorder::tests::window::a_bus_error_of_another_cause", "--ignored"])
        .env(CHILD_FOLDER, folder.path())
        .stdout(std::process::Stdio::null());
    let status = start(&mut command).unwrap().wait().unwrap();
    // SIGBUS is 7 on Linux.
    assert_eq!(status.signal(), Some(7), "{status}");
}
