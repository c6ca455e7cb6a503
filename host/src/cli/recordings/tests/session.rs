//! Sessions as the relay records them, and ways to break their files.

use crate::recorder::sign::Signer;
use crate::recorder::{
    Caps, Durable, Encryption, EndReason, EventKind, PluginStamp, Recorder, RecorderConfig, Recording,
    SessionEnd, SessionHead, Watermarks,
};
use chaperone_core::Timestamp;
use chaperone_core::identity::{CallerKind, Groups, IdentityFacts};
use chaperone_core::name::{Principal, ProviderName, SessionId, TargetName};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub(super) fn id(number: u128) -> SessionId {
    SessionId::new(uuid::Uuid::from_u128(number))
}

/// RFC 8032, section 7.1, test 2.
pub(super) fn signer() -> Signer {
    let pem = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7\n-----END PRIVATE KEY-----\n";
    Signer::from_pem(pem).unwrap()
}

/// A folder of recordings.
pub(super) struct Folder(pub(super) tempfile::TempDir, pub(super) Encryption);

impl Folder {
    pub(super) fn new() -> Self {
        Folder(tempfile::tempdir().unwrap(), Encryption::default())
    }

    pub(super) fn recorder(&self) -> Recorder {
        // A small cap, so that one of the results is cut by it.
        let caps = Caps { response_bytes_per_operation: 4096, ..Caps::default() };
        let config = RecorderConfig {
            directory: self.0.path().into(),
            caps,
            signer: signer(),
            encryption: self.1.clone(),
            durable: Durable::No,
            space: Watermarks::default(),
        };
        Recorder::new(config).unwrap()
    }

    /// Writes a recording's events and leaves it open.
    pub(super) fn open(&self, number: u128, events: impl FnOnce(&mut Recording)) -> Recording {
        let mut recording = self.recorder().open(&head(number), now()).unwrap();
        events(&mut recording);
        recording.commit().unwrap();
        recording
    }

    /// The same, in the blocks in which it was written: a folder stands where it would be packed.
    pub(super) fn write_unpacked(&self, number: u128, events: impl FnOnce(&mut Recording)) {
        let obstacle = self.path(number).with_extension("chrec.packing");
        std::fs::create_dir_all(obstacle.join("x")).unwrap();
        self.write(number, events);
        std::fs::remove_dir_all(obstacle).unwrap();
    }

    /// Writes a recording and seals it.
    pub(super) fn write(&self, number: u128, events: impl FnOnce(&mut Recording)) {
        let end =
            SessionEnd { ended: now(), reason: EndReason::ClientClosed, code: None, detail: String::new() };
        self.open(number, events).seal(&end).unwrap();
    }

    pub(super) fn path(&self, number: u128) -> PathBuf {
        self.0.path().join(format!("2026-11-21/{}.chrec", id(number)))
    }
}

pub(super) fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

pub(super) fn head(number: u128) -> SessionHead {
    let provider = ProviderName::new("corp").unwrap();
    let approver = Principal::of(&provider, "tenant", "ann").unwrap();
    let object_id = "0193452c-0f00-7000-8000-000000000001";
    let identity = IdentityFacts {
        principal: Principal::of(&provider, "tenant", object_id).unwrap(),
        provider,
        tenant: "tenant".into(),
        object_id: object_id.into(),
        kind: CallerKind::Agent,
        audience: Default::default(),
        groups: Groups::Unknown,
        roles: [].into(),
        actor: "app-1".into(),
        blueprint: None,
        display_name: Some("Triage bot".into()),
        sponsors: Vec::new(),
        credential_id: "u".into(),
        issued_at: now(),
        expires_at: now(),
    };
    SessionHead {
        session: id(number),
        protocol: "postgres".into(),
        target: TargetName::new("prod-logs").unwrap(),
        identity,
        grant: "prod-logs".into(),
        window: "win_1".into(),
        request: Some("req_1".into()),
        approved_by: vec![approver],
        requested_role: Some("reader".into()),
        target_role: Some("chp_bot_1".into()),
        client_address: "127.0.0.1:5".into(),
        plugins: vec![PluginStamp {
            name: "sql-guard".into(),
            version: "0.1.0".into(),
            digest: "ab".repeat(32),
            config_hash: "11".into(),
            hooks: vec!["sql-check".into()],
        }],
        gateway_version: "0.1.0".into(),
    }
}

pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

pub(super) fn columns(names: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(names.len()).unwrap().to_be_bytes().to_vec();
    for name in names {
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    message(b'T', &body)
}

pub(super) fn row<T: AsRef<[u8]>>(values: &[Option<T>]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        let bytes = value.as_ref().map(AsRef::as_ref);
        let length = bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap());
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(bytes.unwrap_or_default());
    }
    message(b'D', &body)
}

fn done(tag: &str) -> Vec<u8> {
    [message(b'C', format!("{tag}\0").as_bytes()), message(b'Z', b"I")].concat()
}

fn error(code: &str, text: &str) -> Vec<u8> {
    [message(b'E', format!("SERROR\0C{code}\0M{text}\0\0").as_bytes()), message(b'Z', b"I")].concat()
}

pub(super) fn query(recording: &mut Recording, operation: u64, text: &str) {
    statement(recording, operation, "query", text);
}

fn statement(recording: &mut Recording, operation: u64, form: &str, text: &str) {
    recording.raw(EventKind::Operation, operation, &[form.as_bytes(), b"\0", text.as_bytes()]);
}

pub(super) fn decided(recording: &mut Recording, operation: u64, decision: &str, class: &str, risk: u8) {
    let body = json!({
        "decision": decision, "risk": risk, "findings": [], "refusal": null, "statements": [{ "class": class }],
    });
    recording.json(EventKind::Decision, operation, &body);
    recording.commit().unwrap();
}

pub(super) fn result(recording: &mut Recording, operation: u64, tag: &str, rows: u64, masked: u64) {
    let body = json!({ "tag": tag, "rows": rows, "masked": masked, "micros": 1234 });
    recording.json(EventKind::Result, operation, &body);
}

/// One of everything.
pub(super) fn story(recording: &mut Recording) {
    masked_query(recording);
    prepared(recording);
    refused(recording);
    held(recording);
    odds(recording);
}

fn masked_query(recording: &mut Recording) {
    query(recording, 1, "select id, email\n\tfrom users\n where id < 3;\n");
    decided(recording, 1, "allow", "select", 0);
    recording.json(EventKind::Mask, 1, &json!({ "columns": ["email"] }));
    // In two pieces that meet inside a message.
    let mut bytes = columns(&["id", "email"]);
    bytes.extend(row(&[Some("1"), Some("a***@example.org")]));
    bytes.extend(row(&[Some("2"), None]));
    let (first, second) = bytes.split_at(60);
    recording.raw(EventKind::Rows, 1, &[first]);
    result(recording, 1, "SELECT 2", 2, 1);
    recording.raw(EventKind::Rows, 1, &[second, &done("SELECT 2")]);
    recording.commit().unwrap();
}

/// Prepared and described first, then run twice, once with a binary result.
fn prepared(recording: &mut Recording) {
    statement(recording, 2, "parse", "select name, photo from staff where id = $1 and note = $2");
    decided(recording, 2, "allow", "select", 10);
    let described = [message(b'1', b""), message(b't', b"\0\0"), columns(&["name", "photo"])].concat();
    recording.raw(EventKind::Rows, 1, &[&described, &message(b'Z', b"I")]);
    for (operation, formats) in [(3, &b"\0\0"[..]), (4, &b"\0\x02\0\0\0\x01"[..])] {
        let bind = [&b"\0\0\0\x02\0\x01\0\0\0\x02\0\0\0\x04\0\0\0\x07\0\0\0\x02it"[..], formats].concat();
        recording.raw(EventKind::Parameters, 2, &[&bind]);
        recording.json(EventKind::Execute, operation, &json!({ "of": 2 }));
        recording.commit().unwrap();
        result(recording, operation, "SELECT 1", 1, 0);
        let values = row(&[Some(&b"Zo\xc3\xab"[..]), Some(&b"\x00\xff\x10"[..])]);
        recording.raw(EventKind::Rows, operation, &[&message(b'2', b""), &values, &done("SELECT 1")]);
    }
}

fn refused(recording: &mut Recording) {
    query(recording, 5, "delete from orders");
    let refusal = json!({
        "code": "operation-refused", "message": "this DELETE has no WHERE", "detail": "The rule is delete.no-where.",
        "hint": "Say which rows.",
    });
    let findings = [json!({ "rule": "delete.no-where", "detail": "all rows would go", "risk": 90 })];
    let body = json!({
        "decision": "refuse", "risk": 90, "findings": findings, "refusal": refusal,
        "statements": [{ "class": "delete.no-where" }],
    });
    recording.json(EventKind::Decision, 5, &body);
    recording.json(EventKind::Refusal, 4, &refusal);
    recording.raw(EventKind::Rows, 4, &[&error("42501", "this DELETE has no WHERE")]);
    recording.commit().unwrap();
}

fn held(recording: &mut Recording) {
    query(recording, 6, "update orders set state = 'paid' where id = 7");
    decided(recording, 6, "hold", "update", 60);
    let terms = json!([{ "approvers": "dba", "needed": 1, "timeout_seconds": 600, "reason": "it writes" }]);
    recording.json(EventKind::Hold, 6, &json!({ "hold": "hold_1", "terms": terms }));
    let by = ["corp/tenant/bob"];
    recording.json(EventKind::HoldResolved, 6, &json!({ "hold": "hold_1", "outcome": "approved", "by": by }));
    recording.commit().unwrap();
    result(recording, 6, "UPDATE 1", 0, 0);
    recording.raw(EventKind::Rows, 6, &[&done("UPDATE 1")]);
    query(recording, 7, "drop table orders");
    decided(recording, 7, "hold", "drop", 95);
    recording.json(EventKind::Hold, 7, &json!({ "hold": "hold_2", "terms": terms }));
    let body = json!({ "hold": "hold_2", "outcome": "hold-rejected", "detail": "not during the sale" });
    recording.json(EventKind::HoldResolved, 7, &body);
}

/// An error of the target, a notice, a copy out, a fault, a result that a cap cut.
fn odds(recording: &mut Recording) {
    query(recording, 8, "select 1/0");
    decided(recording, 8, "allow", "select", 0);
    recording.json(EventKind::Error, 8, &json!({ "side": "target", "sqlstate": "22012" }));
    let notice = message(b'N', b"SNOTICE\0C00000\0Mwatch out\0\0");
    recording.raw(EventKind::Rows, 8, &[&notice, &error("22012", "division by zero")]);
    query(recording, 9, "copy regions to stdout");
    decided(recording, 9, "allow", "copy.out", 0);
    result(recording, 9, "COPY 2", 0, 0);
    let copied = [message(b'd', b"1\tnorth\n"), message(b'd', b"2\tsouth\n"), message(b'c', b"")].concat();
    recording.raw(EventKind::Rows, 9, &[&copied, &done("COPY 2")]);
    query(recording, 10, "select 2");
    let fault = json!({ "plugin": "sql-guard", "hook": "sql-check", "kind": "deadline", "detail": "50 ms" });
    recording.json(EventKind::Fault, 10, &fault);
    query(recording, 11, "select big from blobs");
    decided(recording, 11, "allow", "select", 0);
    let value = "x".repeat(900);
    let bytes = [columns(&["big"]), row(&[Some(&value)]).repeat(3)].concat();
    recording.raw(EventKind::Rows, 11, &[&bytes]);
    recording.raw(EventKind::Rows, 11, &[&row(&[Some(&value)]).repeat(9)]);
    result(recording, 11, "SELECT 12", 12, 0);
    recording.raw(EventKind::Rows, 11, &[&done("SELECT 12")]);
    query(recording, 12, "select 3");
    decided(recording, 12, "allow", "select", 0);
    result(recording, 12, "SELECT 1", 1, 0);
    recording.raw(EventKind::Rows, 12, &[&columns(&["?column?"]), &row(&[Some("3")]), &done("SELECT 1")]);
}

pub(super) fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Changes one bit where `text` is first; tells in which block, and where that begins.
pub(super) fn damage(path: &Path, text: &[u8]) -> (u64, usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at] ^= 1;
    overwrite(path, &bytes);
    let (mut block, mut start) = (0, 0);
    loop {
        let length = u32::from_le_bytes(bytes[start + 16..start + 20].try_into().unwrap()) as usize;
        if at < start + 96 + length {
            return (block, start);
        }
        (block, start) = (block + 1, start + 96 + length);
    }
}

/// Byte counts move with the digits of recorded times.
pub(super) fn sized(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let count = |index: usize| {
        let next = words.get(index + 1).copied().unwrap_or_default();
        let before = index.checked_sub(1).and_then(|index| words.get(index)).copied().unwrap_or_default();
        next.starts_with("bytes\n") || before.ends_with("byte")
    };
    let word = |(index, word): (usize, &&str)| if count(index) { "N".to_owned() } else { (*word).to_owned() };
    words.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
}
