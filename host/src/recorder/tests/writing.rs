//! A live recording: few writes, sticky failures, bounded bulk data.

use super::super::reader::Reader;
use super::super::verify::Scan;
use super::super::{Ending, RecorderError};
use super::*;

fn events(memory: &Memory, kind: EventKind) -> Vec<super::super::Event> {
    let bytes = memory.bytes();
    let events = Reader::new(&bytes[..]).events().filter_map(Result::ok);
    events.filter(|event| event.kind == kind).collect()
}

#[test]
fn a_commit_is_one_write_and_an_empty_one_is_none() {
    let memory = Memory::default();
    let mut recording = memory.record(&Caps::default());
    assert_eq!(memory.writes(), 1, "the head is written at once");
    recording.commit().unwrap();
    assert_eq!(memory.writes(), 1);
    recording.raw(EventKind::Operation, 1, &[b"select 1"]);
    recording.json(EventKind::Decision, 1, &"allow");
    assert_eq!(memory.writes(), 1);
    assert_eq!(recording.pending_bytes(), 24 + 8 + 24 + 7);
    recording.commit().unwrap();
    assert_eq!((memory.writes(), recording.pending_bytes()), (2, 0));
    recording.seal(&end()).unwrap();
    assert_eq!(memory.0.lock().unwrap().syncs, 1);
}

#[test]
fn short_and_interrupted_writes_are_finished() {
    let memory = Memory::with(|disk| disk.short = Some(7));
    let mut recording = memory.record(&Caps::default());
    memory.set(|disk| disk.interrupts = 3);
    recording.raw(EventKind::Operation, 1, &[b"select 1"]);
    recording.commit().unwrap();
    recording.seal(&end()).unwrap();
    assert_eq!(Scan::new().run(&memory.bytes()[..], &mut |_| {}).unwrap().ending, Ending::Sealed);
}

#[test]
fn a_full_disk_is_said_once_and_for_ever() {
    let memory = Memory::default();
    let mut recording = memory.record(&Caps::default());
    recording.raw(EventKind::Operation, 1, &[b"select 1"]);
    recording.commit().unwrap();
    let whole = memory.bytes();
    memory.set(|disk| disk.room = Some(disk.bytes.len() + 50));
    recording.raw(EventKind::Operation, 2, &[b"select 2"]);
    let first = recording.commit().unwrap_err();
    assert!(
        first
            .to_string()
            .starts_with("the recording of ses_00000000000000000000000000000001 cannot be written: ")
    );
    // Room again: nothing may follow a block that is torn.
    memory.set(|disk| disk.room = None);
    recording.raw(EventKind::Operation, 3, &[b"select 3"]);
    recording.json(EventKind::Decision, 3, &"allow");
    assert_eq!(recording.commit().unwrap_err().to_string(), first.to_string());
    assert!(matches!(recording.seal(&end()), Err(RecorderError::Write { .. })));
    assert_eq!(memory.bytes()[..whole.len()], whole, "what was recorded is untouched");
    assert_eq!(memory.bytes().len(), whole.len() + 50);
}

#[test]
fn nothing_begins_on_a_full_disk_and_nothing_is_sealed_on_a_broken_one() {
    let full = Memory::with(|disk| disk.room = Some(10));
    assert!(full.begin(&Caps::default(), signer()).is_err());
    let broken = Memory::with(|disk| disk.sync_fails = true);
    let recording = broken.record(&Caps::default());
    assert!(matches!(recording.seal(&end()), Err(RecorderError::Write { .. })));
}

#[test]
fn rows_beyond_the_cap_are_left_out_and_said_once_an_operation() {
    let caps = Caps { response_bytes_per_operation: 10, response_bytes_per_session: 25, ..Caps::default() };
    let memory = Memory::default();
    let mut recording = memory.record(&caps);
    for operation in 1..=4 {
        recording.raw(EventKind::Operation, operation, &[&[b's'; 1000]]);
        for _ in 0..5 {
            recording.raw(EventKind::Rows, operation, &[b"1234", b"56"]);
            // Would still fit: but what is kept is a beginning, without holes.
            recording.raw(EventKind::Rows, operation, &[b"1"]);
        }
    }
    recording.seal(&end()).unwrap();
    let kept: Vec<_> =
        events(&memory, EventKind::Rows).iter().map(|event| (event.operation, event.body.len())).collect();
    // 6 + 1, then 6 more would be 13. After three operations 21 of 25 are used: the fourth keeps nothing.
    assert_eq!(kept, [(1, 6), (1, 1), (2, 6), (2, 1), (3, 6), (3, 1)]);
    let said: Vec<_> = events(&memory, EventKind::Truncated)
        .iter()
        .map(|event| (event.operation, event.json().unwrap()))
        .collect();
    assert_eq!(said.len(), 4);
    let body = |limit: &str, limit_bytes: u64, kept_bytes: u64| serde_json::json!({ "kind": "rows", "limit": limit, "limit_bytes": limit_bytes, "kept_bytes": kept_bytes });
    assert_eq!(said[0], (1, body("response_bytes_per_operation", 10, 7)));
    assert_eq!(said[3], (4, body("response_bytes_per_session", 25, 0)));
    assert_eq!(events(&memory, EventKind::Operation).len(), 4, "statements are always kept");
    let footer = Scan::new().run(&memory.bytes()[..], &mut |_| {}).unwrap();
    assert_eq!(footer.dropped_bytes, Some(3 * 28 + 35));
}

#[test]
fn uploads_have_caps_of_their_own() {
    let caps = Caps { upload_bytes_per_operation: 3, response_bytes_per_operation: 0, ..Caps::default() };
    let memory = Memory::default();
    let mut recording = memory.record(&caps);
    recording.raw(EventKind::CopyIn, 1, &[b"abc"]);
    recording.raw(EventKind::CopyIn, 1, &[b"d"]);
    recording.raw(EventKind::CopyOut, 2, &[b"e"]);
    recording.seal(&end()).unwrap();
    assert_eq!(events(&memory, EventKind::CopyIn).len(), 1);
    assert_eq!(events(&memory, EventKind::CopyOut).len(), 0);
    assert_eq!(events(&memory, EventKind::Truncated).len(), 2);
}

#[test]
fn a_recording_that_is_full_ends_the_session_and_can_be_sealed() {
    let caps = Caps { recording_bytes: 4000, ..Caps::default() };
    let memory = Memory::default();
    let mut recording = memory.record(&caps);
    let mut committed = 0;
    let error = loop {
        assert!(!recording.has_to_commit(0));
        recording.raw(EventKind::Operation, committed + 1, &[&[b's'; 300]]);
        let is_left_out = recording.pending_bytes() == 0;
        assert!(recording.has_to_commit(0));
        assert_eq!(recording.has_to_commit(1000), is_left_out, "what was left out is not waited with");
        match recording.commit() {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
    };
    assert!(committed > 2);
    assert_eq!(
        error.to_string(),
        "the recording of ses_00000000000000000000000000000001 reached its limit of 4000 bytes (recording_bytes)"
    );
    assert!(recording.commit().is_err(), "sticky");
    recording.seal(&end()).unwrap();
    assert!(Scan::new().run(&memory.bytes()[..], &mut |_| {}).is_ok());
    assert_eq!(events(&memory, EventKind::Operation).len() as u64, committed);
    let warning = events(&memory, EventKind::Warning)[0].json().unwrap();
    assert_eq!(warning["what"], "events were left out");
}

#[test]
fn a_body_that_is_no_json_or_too_long_is_sticky_too() {
    use std::collections::BTreeMap;
    let no_json: BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
    let long = "x".repeat(5 * 1024 * 1024);
    let attempt = |append: &dyn Fn(&mut Recording), message: &str| {
        let memory = Memory::default();
        let mut recording = memory.record(&Caps::default());
        append(&mut recording);
        assert_eq!(recording.pending_bytes(), 0, "no half event");
        assert!(recording.commit().unwrap_err().to_string().contains(message));
        recording.seal(&end()).unwrap();
        assert!(Scan::new().run(&memory.bytes()[..], &mut |_| {}).is_ok());
    };
    attempt(&|recording| recording.json(EventKind::Decision, 1, &no_json), "key must be a string");
    attempt(&|recording| recording.json(EventKind::Decision, 1, &long), "a decision event of ses_");
}

#[test]
fn no_payload_is_printed() {
    let memory = Memory::default();
    let mut recording = memory.record(&Caps::default());
    recording.raw(EventKind::Operation, 1, &[b"s3cret"]);
    let printed = format!("{recording:?}");
    assert!(printed.contains("ses_") && !printed.contains("115, 51"), "{printed}");
}
