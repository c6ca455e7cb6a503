//! What leaves, in which words, and that nothing counts as handed on before it was taken.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::notify::tests::receiver::{Answer, Fixed, Receiver as Server};
use crate::recorder::{EndReason, Opening, PluginStamp, SessionEnd, SessionHead};
use crate::state::Moved;
use crate::state::tests::{Store, at, person, stores, target};
use crate::story::{Decided, Operation, Parameters, Refused, Verdict};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::SessionId;
use serde_json::{Value as Json, json};

const FORMATS: [Format; 3] = [Format::JsonLines, Format::Ocsf, Format::Otlp];

/// What would end a line, steer a terminal, hide, or turn text round.
const HOSTILE: &str =
    "a\n{\"id\":\"forged\"}\r\u{1b}[2J\u{9b}1m\u{7f}\u{2028}\u{202e}\u{2066}\u{feff}\"\\\0é\u{fffd}";

fn opening() -> Opening {
    let mut identity = person("agent", CallerKind::Agent, &[]);
    identity.display_name = Some(HOSTILE.into());
    let plugin = PluginStamp {
        name: "guard".into(),
        version: "1".into(),
        digest: "d".into(),
        config_hash: "c".into(),
        hooks: vec!["sql-check".into()],
    };
    let head = SessionHead {
        session: SessionId::new(uuid::Uuid::from_u128(7)),
        protocol: "postgres".into(),
        target: target("db"),
        approved_by: vec![identity.principal.clone()],
        identity,
        grant: "db".into(),
        window: "win_1".into(),
        request: Some("req_1".into()),
        requested_role: Some("reader".into()),
        target_role: Some("gateway".into()),
        client_address: "[::1]:5".into(),
        plugins: vec![plugin],
        gateway_version: "0.1.0".into(),
    };
    Opening { started: at(0), head }
}

fn operation(number: u64, text: &str) -> Operation {
    Operation {
        number,
        at_us: 1_500_000,
        form: "query".into(),
        text: text.into(),
        text_bytes: text.len() as u64,
        parameters: Some(Parameters { values: vec![json!("hunter2")], count: 1 }),
        decision: Some(Decided { verdict: Verdict::Allow, plugin: None, risk: 5, findings: vec![] }),
        classes: vec!["select".into()],
        tables: vec!["public.users".into()],
        rows: 3,
        took_us: Some(2_000),
        settled: true,
        ..Operation::default()
    }
}

fn end() -> SessionEnd {
    SessionEnd { ended: at(9), reason: EndReason::ClientClosed, code: None, detail: String::new() }
}

fn config(to: Destination, format: Format, content: Content) -> StreamConfig {
    let (of, token, ca) = (vec![], None, None);
    StreamConfig {
        name: "siem".into(),
        to,
        format,
        content,
        of,
        token,
        ca,
        loopback_http: LoopbackHttp::Refused,
    }
}

fn stream(state: &State, config: StreamConfig) -> Stream {
    Stream::new(config, state.clone(), Arc::default()).unwrap()
}

fn step(consumer: &str, from: u64, to: u64, standing: Standing) -> Advance<'_> {
    let session = opening().head.session;
    Advance { consumer, session, from, to, standing, until: at(600) }
}

/// A whole session's bodies as one text each.
fn told(stream: &Stream, operations: &[Operation]) -> Vec<String> {
    let (opening, end) = (opening(), end());
    let batch = Batch { opening: &opening, operations, end: Some(&end) };
    let bodies = stream.bodies(&batch, &step("stream:siem", 0, 9, Standing::Done));
    bodies.into_iter().map(|body| String::from_utf8(body).unwrap()).collect()
}

/// The records of a body, and the id of each.
fn records(format: Format, body: &str) -> Vec<(String, Json)> {
    if format == Format::Otlp {
        let request: Json = serde_json::from_str(body).unwrap();
        let records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap().clone();
        let id = |record: &Json| record["attributes"][0]["value"]["stringValue"].as_str().unwrap().to_owned();
        return records.into_iter().map(|record| (id(&record), record)).collect();
    }
    let lines = body.strip_suffix('\n').unwrap().split('\n').map(|line| serde_json::from_str(line).unwrap());
    let id = |record: &Json| match format {
        Format::Ocsf => record["metadata"]["uid"].clone(),
        _ => record["id"].clone(),
    };
    lines.map(|record: Json| (id(&record).as_str().unwrap().to_owned(), record)).collect()
}

#[tokio::test]
async fn every_format_tells_the_same_events_by_the_same_ids_and_no_text_unasked() {
    let Store { state, .. } = &stores().await[0];
    let session = opening().head.session;
    let ids = ["begin", "1", "2", "end"].map(|part| format!("{session}:{part}"));
    for format in FORMATS {
        for (content, there) in [(Content::Facts, false), (Content::Text, true)] {
            let stream = stream(state, config(Destination::Stdout, format, content));
            let bodies = told(&stream, &[operation(1, "select hidden"), operation(2, "select hidden")]);
            let [body] = bodies.as_slice() else { panic!("{bodies:?}") };
            for hidden in ["hidden", "hunter2"] {
                assert_eq!(body.contains(hidden), there, "{format:?} {content:?} {hidden}: {body}");
            }
            let found: Vec<_> = records(format, body).into_iter().map(|(id, _)| id).collect();
            assert_eq!(found, ids, "{format:?}");
        }
    }
}

#[tokio::test]
async fn whatever_anybody_wrote_is_text_within_one_line() {
    let Store { state, .. } = &stores().await[0];
    for format in FORMATS {
        let stream = stream(state, config(Destination::Stdout, format, Content::Text));
        let body = told(&stream, &[operation(1, HOSTILE)]).remove(0);
        let harmless = |char: char| {
            char == '\n' || !char.is_control() && !"\u{2028}\u{202e}\u{2066}\u{feff}".contains(char)
        };
        assert!(body.chars().all(harmless), "{format:?} {body:?}");
        let records = records(format, &body);
        assert_eq!(records.len(), 3, "{format:?} {body}");
        let record = &records[1].1;
        let text = match format {
            Format::JsonLines => &record["operation"]["text"],
            Format::Ocsf => &record["query_info"]["query_string"],
            Format::Otlp => {
                let attributes = record["attributes"].as_array().unwrap();
                let text = attributes.iter().find(|one| one["key"] == "db.query.text");
                &text.unwrap()["value"]["stringValue"]
            }
        };
        // Character for character.
        assert_eq!(text, HOSTILE, "{format:?}");
    }
}

#[tokio::test]
async fn what_is_too_long_is_told_without_texts_and_at_last_by_its_id() {
    let Store { state, .. } = &stores().await[0];
    let long = operation(1, &"\u{1}".repeat(MAX_EVENT_BYTES / 5));
    let wide = Operation { tables: vec!["x".repeat(MAX_EVENT_BYTES)], ..operation(2, "select hidden") };
    for format in FORMATS {
        let stream = stream(state, config(Destination::Stdout, format, Content::Text));
        let operations: Vec<Operation> = [long.clone(), wide.clone()]
            .into_iter()
            .chain((3..2000).map(|n| operation(n, "select")))
            .collect();
        let bodies = told(&stream, &operations);
        let largest = bodies.iter().map(String::len).max().unwrap();
        assert!(bodies.len() > 1 && largest < MAX_BATCH_BYTES + MAX_EVENT_BYTES, "{format:?} {largest}");
        let all: Vec<_> = bodies.iter().flat_map(|body| records(format, body)).collect();
        assert_eq!(all.len(), operations.len() + 2);
        let (first, second) = (all[1].1.to_string(), all[2].1.to_string());
        assert!(!first.contains("\\u0001") && first.contains("public.users"), "{format:?} {first}");
        assert!(!second.contains("xxx") && second.contains("left_out"), "{format:?} {second}");
    }
}

#[tokio::test]
async fn a_stream_tells_what_it_is_limited_to() {
    let Store { state, .. } = &stores().await[0];
    for (of, expected) in [(Of::Sessions, vec!["begin", "end"]), (Of::Operations, vec!["1"])] {
        let limited =
            StreamConfig { of: vec![of], ..config(Destination::Stdout, Format::JsonLines, Content::Facts) };
        let body = told(&stream(state, limited), &[operation(1, "x")]).remove(0);
        let ids: Vec<_> = records(Format::JsonLines, &body)
            .into_iter()
            .map(|(id, _)| id.rsplit_once(':').unwrap().1.to_owned())
            .collect();
        assert_eq!(ids, expected);
    }
    // In the middle of a session nothing begins or ends.
    let stream = stream(state, config(Destination::Stdout, Format::JsonLines, Content::Facts));
    let (opening, end) = (opening(), end());
    let batch = Batch { opening: &opening, operations: &[], end: Some(&end) };
    assert!(stream.bodies(&batch, &step("stream:siem", 3, 9, Standing::Open)).is_empty());
}

#[tokio::test]
async fn what_was_refused_or_broke_stands_out() {
    let Store { state, .. } = &stores().await[0];
    let refusal = Refused { code: "operation-refused".into(), message: "no".into(), detail: String::new() };
    let refused = Operation { refusal: Some(refusal), ..operation(1, "x") };
    let body = told(
        &stream(state, config(Destination::Stdout, Format::Ocsf, Content::Facts)),
        std::slice::from_ref(&refused),
    );
    let event = &records(Format::Ocsf, &body[0])[1].1;
    let told_as = ["class_uid", "type_uid", "severity_id", "status_id", "action_id", "disposition_id"];
    assert_eq!(told_as.map(|key| event[key].as_u64().unwrap()), [6005, 600_504, 3, 2, 2, 2]);
    assert_eq!((&event["status_code"], &event["status_detail"]), (&json!("operation-refused"), &json!("no")));
    assert!(event.get("query_info").is_none(), "{event}");
    let body = told(&stream(state, config(Destination::Stdout, Format::Otlp, Content::Facts)), &[refused]);
    let severities: Vec<_> =
        records(Format::Otlp, &body[0]).iter().map(|one| one.1["severityNumber"].clone()).collect();
    assert_eq!(severities, [9, 13, 9]);
}

/// Everything of one session to a receiver, in one step.
async fn hand_on(stream: &Stream, operations: &[Operation]) -> Result<Moved, NotTaken> {
    let (opening, end) = (opening(), end());
    let batch = Batch { opening: &opening, operations, end: Some(&end) };
    stream.take(batch, step(stream.name(), 0, 9, Standing::Done)).await
}

#[tokio::test]
async fn the_cursor_moves_when_the_receiver_has_taken_it_and_not_before() {
    for Store { state, .. } in &stores().await {
        let session = opening().head.session;
        let server = Server::start().await;
        let url = Destination::Url(server.url.clone());
        let token: Box<dyn SecretSource> = Box::new(Fixed("t0ken".into()));
        let stream = stream(
            state,
            StreamConfig {
                ca: Some(server.ca.path().to_owned()),
                token: Some(token),
                ..config(url, Format::Otlp, Content::Facts)
            },
        );
        state.claim_recording(stream.name(), session, at(0), at(600)).await.unwrap().unwrap();
        server.status(503);
        let (operations, name) = ([operation(1, "x")], stream.name());
        let handing = hand_on(&stream, &operations);
        tokio::pin!(handing);
        // Until it has failed; then it is not taken for as long as the receiver says so.
        while server.got().is_empty() {
            tokio::select! {
                moved = &mut handing => panic!("{moved:?}"),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
        assert!(state.recordings_done(name, session, session).await.unwrap().is_empty());
        server.status(200);
        assert_eq!(handing.await.unwrap(), Moved::Yes);
        assert!(state.recordings_done(name, session, session).await.unwrap().contains(&session));
        let got = server.got();
        assert!(got.len() > 1 && got.iter().all(|one| one.body == got[0].body), "{}", got.len());
        assert_eq!(
            (got[0].headers["authorization"].as_str(), stream.lag.failures.read()),
            ("Bearer t0ken", 1)
        );
        assert_eq!(got[0].headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn no_error_shows_a_token_or_an_address_and_nothing_hostile_is_followed_or_read() {
    let Store { state, .. } = &stores().await[0];
    let server = Server::start().await;
    let inner = server.beside().await;
    let receiver = |token: &str| {
        let token: Box<dyn SecretSource> = Box::new(Fixed(token.into()));
        Receiver::new(
            server.url.clone(),
            Format::Otlp,
            Some(token),
            Some(server.ca.path()),
            LoopbackHttp::Refused,
        )
        .unwrap()
    };
    let failing = async |token: &str, answer| {
        server.answers(answer);
        receiver(token).take(b"{}").await.unwrap_err()
    };
    let redirect = Answer::Head(307, format!("location: {}\r\n", inner.url));
    for (token, answer, words) in [
        ("t0ken", redirect, "is a redirect"),
        ("t0ken", Answer::Head(401, String::new()), "status 401"),
        ("t0ken\nx: y", Answer::Head(200, String::new()), "no header may"),
    ] {
        let Failure { why, .. } = failing(token, answer).await;
        assert!(why.contains(words), "{why}");
        for secret in ["t0ken", "hunter2", "127.0.0.1"] {
            assert!(!why.contains(secret), "{why}");
        }
    }
    assert!(inner.got().is_empty());
    let asked = failing("t0ken", Answer::Head(429, "retry-after: 7\r\n".into())).await;
    assert_eq!(asked.wait, Duration::from_secs(7));
    // A gigabyte is a success of which the beginning is read.
    server.answers(Answer::Flood);
    receiver("t0ken").take(b"{}").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.flooded.load(Ordering::Relaxed) < 64 << 20);
    let http = Destination::Url("http://127.0.0.1:1/".into());
    let clear = stream(state, config(http, Format::Otlp, Content::Facts));
    assert_eq!(clear.sink.take(b"{}").await.unwrap_err().why, "its URL cannot be used: it is not https");
}

#[tokio::test]
async fn every_field_is_documented() {
    fn names(value: &Json, path: &str, all: &mut Vec<String>) {
        if let Json::Object(members) = value {
            for (key, value) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                names(value, &path, all);
                all.push(path);
            }
        }
        if let Json::Array(values) = value {
            values.iter().for_each(|value| names(value, &format!("{path}[]"), all));
        }
    }
    let Store { state, .. } = &stores().await[0];
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/streams.md")).unwrap();
    let whole: Operation = serde_json::from_value(json!({
        "number": 1, "of": 1, "nth": 1, "executions": 1, "at_us": 1, "form": "x", "text": "x", "text_bytes": 1,
        "parameters": { "values": [], "count": 0 },
        "decision": { "decision": "allow", "plugin": "p", "risk": 1, "findings": [{ "rule": "r", "detail": "d", "risk": 1 }] },
        "hold": { "terms": [{ "approvers": "a", "needed": 1, "reason": "r" }], "outcome": "approved", "until_us": 1 },
        "faults": [{}], "refusal": {}, "error": {}, "took_us": 1,
    }))
    .unwrap();
    let stream = stream(state, config(Destination::Stdout, Format::JsonLines, Content::Text));
    let mut all = Vec::new();
    let long = Operation { tables: vec!["x".repeat(MAX_EVENT_BYTES)], ..operation(2, "x") };
    for body in told(&stream, &[whole, long]) {
        records(Format::JsonLines, &body).iter().for_each(|(_, record)| names(record, "", &mut all));
    }
    assert!(all.len() > 60, "{all:?}");
    for name in all {
        assert!(document.contains(&format!("| `{name}` |")), "`{name}` is not in streams.md");
    }
}
