//! The format: what is written comes back, in exactly the documented bytes, and nothing makes a reader panic.

use super::super::format::{BlockKind, Encoding, Frame, Frames, Hash, Header, MAX_FRAGMENT_BYTES, Part};
use super::super::reader::{Event, ReadError, Reader, to_json};
use super::super::replay::{Pace, schedule};
use super::super::verify::Scan;
use super::*;
use proptest::prelude::*;
use std::process::Stdio;
use std::time::Duration;

/// Computed once with another implementation (Python's hashlib over the fields of recording.md): whoever changes the
/// format has to change the version, and this.
#[test]
fn the_bytes_are_the_documented_ones() {
    let frame = Frame {
        kind: EventKind::Operation,
        encoding: Encoding::Raw,
        part: Part::Last,
        operation: 7,
        at_us: 258,
    };
    let mut payload = frame.encode(8).to_vec();
    payload.extend_from_slice(b"select 1");
    assert_eq!(payload[..24], [8, 0, 0, 0, 2, 1, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
    let header = Header::seal(BlockKind::Events, 5, 1, Hash::NONE, &payload).encode();
    assert_eq!(header[..8], *b"CHRB\x01\x01\0\0");
    assert_eq!(header[8..16], 5_u64.to_le_bytes());
    assert_eq!(header[16..32], [32, 0, 0, 0, 223, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(header[32..64], [0; 32]);
    let hash = Header::parse(&header).unwrap().hash.to_string();
    assert_eq!(hash, "0155a187c99dcbc93a8482527010eba668d811230fb583c8fcfa38edbf1089dc");
}

#[test]
fn codes_and_words_of_events_never_change() {
    let known: Vec<_> = EventKind::ALL.iter().map(|kind| format!("{}={}", kind.code(), kind)).collect();
    assert_eq!(
        known.join(" "),
        "1=head 2=operation 3=parameters 4=decision 5=execute 6=columns 7=rows 8=result 9=error 10=notice 11=hold \
         12=hold-resolved 13=fault 14=mask 15=copy-in 16=copy-out 17=warning 18=truncated 19=refusal 20=end"
    );
    // The totals are kept in an array by code.
    assert!(EventKind::ALL.iter().enumerate().all(|(index, kind)| usize::from(kind.code()) == index + 1));
    assert!(EventKind::ALL.iter().all(|kind| EventKind::from_code(kind.code()) == Some(*kind)));
}

#[derive(Debug, Clone)]
enum Step {
    Json(EventKind, u64, String),
    Raw(EventKind, u64, Vec<Vec<u8>>),
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Any kind but those with rules of their own: head, end, and what the caps write.
    let kind = || prop::sample::select(&EventKind::ALL[1..17]);
    let json = (kind(), any::<u64>(), ".{0,40}").prop_map(|(kind, op, text)| Step::Json(kind, op, text));
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    let raw = (kind(), any::<u64>(), prop::collection::vec(bytes, 0..4))
        .prop_map(|(kind, op, parts)| Step::Raw(kind, op, parts));
    prop::collection::vec(prop_oneof![2 => json, 3 => raw, 1 => Just(Step::Commit)], 0..40)
}

fn read(bytes: &[u8]) -> Vec<Event> {
    Reader::new(bytes).events().collect::<Result<_, ReadError>>().unwrap()
}

proptest! {
    #[test]
    fn whatever_is_recorded_comes_back(steps in steps()) {
        let memory = Memory::default();
        let mut recording = memory.record(&Caps::default());
        let mut expected = Vec::new();
        for step in &steps {
            match step {
                Step::Json(kind, op, text) => {
                    recording.json(*kind, *op, text);
                    expected.push((*kind, *op, Encoding::Json, serde_json::to_vec(text).unwrap()));
                }
                Step::Raw(kind, op, parts) => {
                    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                    recording.raw(*kind, *op, &parts);
                    expected.push((*kind, *op, Encoding::Raw, parts.concat()));
                }
                Step::Commit => recording.commit().unwrap(),
            }
        }
        let sealed = recording.seal(&end()).unwrap();
        let bytes = memory.bytes();
        let events = read(&bytes);
        prop_assert!(events.is_sorted_by_key(|event| event.at_us));
        prop_assert_eq!(events[0].kind, EventKind::Head);
        prop_assert_eq!(events.last().unwrap().kind, EventKind::End);
        let found: Vec<_> = events[1..events.len() - 1]
            .iter()
            .map(|event| (event.kind, event.operation, event.encoding, event.body.clone()))
            .collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(sealed.bytes, bytes.len() as u64);
        let mut scan = Scan::new();
        let footer = scan.run(&bytes[..], &mut |_| {}).unwrap();
        prop_assert_eq!(footer.events, events.len() as u64);
        prop_assert_eq!((scan.totals.blocks, scan.totals.last_hash), (sealed.blocks, sealed.last_hash));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Reader::new(&bytes[..]).events().count();
        let _ = Frames::new(&bytes).count();
        let file = folder();
        let path = file.path().join("x.chrec");
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(crate::recorder::summary(&path).is_err());
        let report = crate::recorder::verify(&path).unwrap();
        prop_assert!(matches!(report.status, crate::recorder::Status::Damaged(_)));
    }

    /// Frames behind a right hash: what a forger, or a newer version, may write.
    #[test]
    fn no_frames_make_a_reader_panic(payload in prop::collection::vec(any::<u8>(), 0..200), footer in any::<bool>()) {
        let kind = if footer { BlockKind::Footer } else { BlockKind::Events };
        let mut bytes = Header::seal(kind, 0, 1, Hash::NONE, &payload).encode().to_vec();
        bytes.extend_from_slice(&payload);
        let _ = Reader::new(&bytes[..]).events().count();
        let scanned = Scan::new().run(&bytes[..], &mut |_| {});
        prop_assert!(scanned.is_err());
    }
}

#[test]
fn a_length_field_is_not_believed() {
    let mut header = Header::seal(BlockKind::Events, 0, 1, Hash::NONE, b"");
    for (length, what) in
        [(16 * 1024 * 1024, "missing"), (16 * 1024 * 1024 + 1, "length field"), (u32::MAX, "length field")]
    {
        (header.length, header.length_check) = (length, !length);
        let bytes = header.encode();
        let error = Reader::new(&bytes[..]).events().next().unwrap().unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[test]
fn what_only_a_newer_version_knows_is_refused_by_name() {
    let payload = [0_u8; 24];
    type Change = fn(&mut Header);
    let cases: [(Change, &str); 3] = [
        (
            |header| header.flags = 9,
            "block 0 uses block flags 0x8, which this version does not know: read it with a newer chaperone",
        ),
        (
            |header| header.kind = 9,
            "block 0 uses block kind 0x9, which this version does not know: read it with a newer chaperone",
        ),
        (
            |header| header.reserved = 1,
            "block 0 uses reserved block field 0x1, which this version does not know: read it with a newer chaperone",
        ),
    ];
    for (change, message) in cases {
        let mut header = Header::seal(BlockKind::Events, 0, 1, Hash::NONE, &payload);
        change(&mut header);
        header.hash = header.digest(&payload);
        let bytes = [&header.encode()[..], &payload].concat();
        let error = Reader::new(&bytes[..]).events().next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let mut version = Header::seal(BlockKind::Events, 0, 1, Hash::NONE, &payload);
    version.version = 2;
    let error = Reader::new(&version.encode()[..]).events().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("has version 2, and this reader knows only 1"), "{error}");
}

#[test]
fn a_long_body_is_cut_into_frames_and_comes_back() {
    let memory = Memory::default();
    let mut recording = memory.record(&Caps::default());
    let body: Vec<u8> = (0..MAX_FRAGMENT_BYTES * 3 + 17).map(|n| (n % 251) as u8).collect();
    let (first, second) = body.split_at(1000);
    recording.raw(EventKind::Operation, 1, &[first, b"", second]);
    assert!(recording.pending_bytes() < MAX_FRAGMENT_BYTES, "full blocks leave the buffer at once");
    recording.seal(&end()).unwrap();
    let events = read(&memory.bytes());
    let parts: Vec<_> = events.iter().filter(|event| event.kind == EventKind::Operation).collect();
    let more: Vec<_> = parts.iter().map(|event| event.part).collect();
    assert_eq!(more, [Part::More, Part::More, Part::More, Part::Last]);
    assert_eq!(parts.iter().flat_map(|event| event.body.clone()).collect::<Vec<_>>(), body);
    let mut scan = Scan::new();
    let footer = scan.run(&memory.bytes()[..], &mut |_| {}).unwrap();
    assert_eq!(footer.count(EventKind::Operation), 1, "one event, however many frames");
}

#[test]
fn an_event_for_programs() {
    let event = |kind, encoding, part, body: &[u8]| Event {
        kind,
        operation: 3,
        at_us: 9,
        encoding,
        part,
        body: body.to_vec(),
    };
    let json = event(EventKind::Decision, Encoding::Json, Part::Last, br#"{"a":1}"#);
    let raw = event(EventKind::Rows, Encoding::Raw, Part::More, b"\xff\0");
    assert_eq!(to_json(&json).to_string(), r#"{"at_us":9,"body":{"a":1},"kind":"decision","operation":3}"#);
    assert_eq!(
        to_json(&raw).to_string(),
        r#"{"at_us":9,"kind":"rows","more":true,"operation":3,"raw":"/wA="}"#
    );
}

#[test]
fn a_replay_keeps_the_pace() {
    let at = |at_us| {
        Ok::<_, ()>(Event {
            kind: EventKind::Notice,
            operation: 1,
            at_us,
            encoding: Encoding::Raw,
            part: Part::Last,
            body: vec![],
        })
    };
    let delays = |pace: Pace| -> Vec<u128> {
        let events = [at(0), at(500_000), at(10_500_000), at(10_000_000), at(10_600_000)];
        schedule(events.into_iter(), pace).map(|shown| shown.unwrap().0.as_millis()).collect()
    };
    assert_eq!(delays(Pace::REAL_TIME), [0, 500, 10_000, 0, 100]);
    assert_eq!(delays(Pace::new(10.0).unwrap()), [0, 50, 1000, 0, 10]);
    assert_eq!(delays(Pace::new(2.0).unwrap().with_idle_cap(Duration::from_secs(2))), [0, 250, 1000, 0, 50]);
    for bad in [0.0, -1.0, 0.001, 1e9, f64::NAN, f64::INFINITY] {
        assert!(Pace::new(bad).is_err(), "{bad}");
    }
    let last = schedule([at(u64::MAX)].into_iter(), Pace::new(0.01).unwrap()).next().unwrap().unwrap();
    assert!(last.0 > Duration::from_secs(1_000_000));
    assert!(schedule([Err::<Event, _>("torn")].into_iter(), Pace::REAL_TIME).next().unwrap().is_err());
}

/// The reader printed in recording.md, run as it is printed: a format is documented when somebody else can read it.
#[test]
fn the_reader_in_the_documentation_reads() {
    let page = include_str!("../../../docs/recording.md");
    let script = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = directory();
    let path = folder.path().join("small.chrec");
    let read = |bytes: &[u8], keys: &[&Path]| {
        std::fs::write(&path, bytes).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&path).args(keys).stdout(Stdio::piped()).stderr(Stdio::piped());
        start(&mut command)?.wait_with_output()
    };
    let run = |bytes: &[u8]| read(bytes, &[]);
    let bytes = small();
    let Ok(output) = run(&bytes) else {
        eprintln!("not run: there is no python3 here");
        return;
    };
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 10, "{printed}");
    assert!(lines[1].ends_with(" operation 1 select 1"), "{printed}");
    let hash = Header::parse(&bytes[borders(&bytes)[5]..]).unwrap().hash;
    assert_eq!(lines[9], format!("sealed, 5 blocks, 9 events, {hash}"));
    let mut changed = bytes.clone();
    changed[borders(&bytes)[2] + 130] ^= 1;
    for bad in [&changed[..], &bytes[..borders(&bytes)[3]], &bytes[..bytes.len() - 1]] {
        assert!(!run(bad).unwrap().status.success());
    }
    // Packed, where there is the program `zstd`.
    let journal = super::packing::journal();
    let mut packed = Vec::new();
    super::packing::packed(&journal, &mut packed).unwrap();
    let output = run(&packed).unwrap();
    if Command::new("zstd").arg("--version").stdout(Stdio::null()).status().is_ok() {
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(printed.lines().count(), events(&journal).len() + 1);
        assert!(printed.lines().last().unwrap().starts_with("sealed, 2 blocks, 602 events, "), "{printed}");
    } else {
        eprintln!("packed recordings are not read: there is no zstd here");
    }
    // With a public key, where Python can check a signature.
    let ours = crate::recorder::sign::publish(folder.path(), signer().public()).unwrap();
    let signed = read(&bytes, &[&ours]).unwrap();
    if String::from_utf8_lossy(&signed.stderr).contains("No module named") {
        eprintln!("signatures are not checked: python3 has no package `cryptography` here");
        return;
    }
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    // Encrypted, with the key in a file.
    let key = folder.path().join("key");
    std::fs::write(&key, "01".repeat(31) + "ff\n").unwrap();
    let encrypted = super::encrypted::in_place();
    let output = read(&encrypted, &[&ours, &key]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("select the secret").count(), 40);
    assert!(!run(&encrypted).unwrap().status.success());
    let theirs =
        crate::recorder::sign::publish(folder.path(), Signer::generate().unwrap().0.public()).unwrap();
    assert!(!read(&bytes, &[&theirs]).unwrap().status.success());
}
