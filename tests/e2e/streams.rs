//! Streams from a real gateway: what was done arrives, whoever is killed when; and nothing of a session waits for whoever takes it.

use crate::metrics::scrape;
use crate::recordings::{LOAD, logs_statements, script};
use chaperone::story::operations;
use chaperone_tests::raw::{Out, Wire};
use chaperone_tests::receiver::Receiver;
use chaperone_tests::scripts::python;
use chaperone_tests::stage::{Setting, Stage, first_id};
use chaperone_tests::tools;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Events by their ids. One that came twice has to say the same.
type Events = BTreeMap<String, Value>;

fn add(events: &mut Events, id: &Value, event: Value) {
    let id = id.as_str().unwrap().to_owned();
    if let Some(before) = events.insert(id.clone(), event.clone()) {
        assert_eq!(before, event, "{id} came twice, and not the same");
    }
}

/// The lines of a stream's file. What a killed gateway left of a line is no event.
fn lines(stage: &Stage, name: &str, id: &str) -> Events {
    let text = std::fs::read(stage.path(name)).unwrap_or_default();
    let text = String::from_utf8(text).unwrap();
    let mut events = Events::new();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        add(&mut events, event.pointer(id).unwrap(), event.clone());
    }
    events
}

fn of_file(stage: &Stage) -> Events {
    lines(stage, "events.jsonl", "/id")
}

/// The records of OTLP requests, by their `log.record.uid`.
fn records(bodies: &[String], events: &mut Events) {
    for body in bodies {
        let request: Value = serde_json::from_str(body).unwrap();
        let records = &request["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        for record in records.as_array().unwrap() {
            assert_eq!(record["attributes"][0]["key"], "log.record.uid");
            add(events, &record["attributes"][0]["value"]["stringValue"], record.clone());
        }
    }
}

/// The ids of everything that is recorded. Sessions that are not over have no end.
fn recorded(stage: &Stage) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for one in stage.recorded().unwrap() {
        let head: Value = serde_json::from_str(&one.head()).unwrap();
        let session = head["session"].as_str().unwrap().to_owned();
        let operations = operations(one.events.iter().cloned().map(Ok::<_, ()>));
        ids.extend(operations.map(|operation| format!("{session}:{}", operation.unwrap().number)));
        ids.insert(format!("{session}:begin"));
        if !one.end().is_empty() {
            ids.insert(format!("{session}:end"));
        }
    }
    ids
}

fn missing(stage: &Stage, events: &Events) -> Vec<String> {
    recorded(stage).into_iter().filter(|id| !events.contains_key(id)).collect()
}

fn with(stream: &str) -> Setting {
    Setting { more: format!("streams:\n  - {stream}\n"), ..logs_statements() }
}

/// The one event of an operation whose text begins so.
fn operation<'a>(events: &'a Events, text: &str) -> &'a Value {
    let is =
        |event: &&Value| event["operation"]["text"].as_str().is_some_and(|found| found.starts_with(text));
    let found: Vec<_> = events.values().filter(is).collect();
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    found[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_operations_arrive_in_a_file_as_they_were_done_and_rows_never() {
    let stream = "{ name: file, to: \"file:events.jsonl\", format: jsonl, content: text }";
    let mut stage = Stage::start(with(stream)).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let hostile =
        "select 'line\n{\"id\":\"forged\",\"kind\":\"operation\"}\n\u{1b}[2J \u{9b}1m \u{202e} \" \\ é'";
    let script =
        format!("select ssn, card from customers where id = 1;\ndrop table customers;\n{hostile};\n");
    stage.psql(&token).unwrap().run(&script).unwrap();
    // No text at all: it is refused, and what is told of it is text.
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    wire.send(Out::new().message(b'Q', b"select '\xff\xfe'\0")).await.unwrap();
    drop(wire);
    stage
        .until("all of it", |stage| {
            let ended = |stage: &Stage| stage.recorded().unwrap().iter().all(|one| !one.end().is_empty());
            Ok(ended(stage) && missing(stage, &of_file(stage)).is_empty())
        })
        .await
        .unwrap();

    let events = of_file(&stage);
    assert_eq!(events.len(), recorded(&stage).len(), "{:?}", events.keys());
    let text = std::fs::read_to_string(stage.path("events.jsonl")).unwrap();
    assert_eq!(text.lines().count(), events.len(), "a line that is no event, or one twice");
    assert!(text.chars().all(|char| char == '\n' || !char.is_control() && char != '\u{202e}'), "{text}");

    let select = operation(&events, "select ssn");
    assert_eq!(select["decisions"], serde_json::json!(["allowed"]));
    assert_eq!((&select["operation"]["rows"], &select["operation"]["masked_values"]), (&1.into(), &2.into()));
    assert_eq!(select["operation"]["tables"][0], "customers");
    let drop = operation(&events, "drop");
    assert_eq!(
        (&drop["decisions"][0], &drop["operation"]["decision"]["plugin"]),
        (&"refused".into(), &"guard".into())
    );
    assert_eq!(operation(&events, "select 'line")["operation"]["text"], format!("{hostile};"));
    for event in events.values() {
        assert_eq!(
            (&event["caller"]["kind"], &event["session"]["target"]),
            (&"agent".into(), &"shop".into())
        );
    }
    let secrets = stage.real("select ssn || ',' || card from customers where id = 1").unwrap();
    for secret in secrets.trim().split(',').chain([stage.login.password.as_str(), token.as_str()]) {
        assert!(!text.contains(secret), "{secret} left by the stream");
    }
    let numbers = scrape(&stage).await.unwrap();
    assert!(numbers["chaperone_feed_operations_total{consumer=\"stream:file\"}"] >= 3.0);
    assert!(numbers.contains_key("chaperone_feed_lag_seconds{consumer=\"stream:file\"}"));
    stage.stop().await;
}

/// Reads requests as a collector does: by OpenTelemetry's own types, which know no other field and no other form of a value.
const COLLECT: &str = r#"
import os
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

uids, records = set(), 0
for body in open(os.environ["BODIES"]):
    request = json_format.Parse(body, ExportLogsServiceRequest())
    for resource in request.resource_logs:
        names = {one.key: one.value.string_value for one in resource.resource.attributes}
        assert names["service.name"] == "chaperone", names
        for record in resource.scope_logs[0].log_records:
            attributes = {one.key: one.value for one in record.attributes}
            body = {one.key: one.value for one in record.body.kvlist_value.values}
            assert body["schema"].string_value == "chaperone.event.v1"
            assert body["id"].string_value == attributes["log.record.uid"].string_value
            assert record.time_unix_nano > 10**18 and record.severity_number in (9, 10, 13, 17)
            assert record.event_name == "chaperone." + body["kind"].string_value
            records += 1
            uids.add(body["id"].string_value)
print(records, len(uids))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_receiver_dies_and_the_gateway_is_killed() {
    let receiver = Receiver::start(None, 3).await.unwrap();
    let address = receiver.address();
    let streams = format!(
        "{{ name: file, to: \"file:events.jsonl\", format: jsonl }}\n  \
         - {{ name: otlp, to: \"http://{address}/v1/logs\", format: otlp, allow_http_loopback: yes }}"
    );
    let mut stage = Stage::start(with(&streams)).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let serving = stage.serve().await.unwrap();
    let mut environment = stage.driver_environment(&token);
    // A feed leaves the machine to sessions: what a flood of them does is told much later.
    environment.push(("PAUSE".into(), "0.02".into()));
    let load = tokio::spawn(script(environment, LOAD));
    // The receiver takes a batch, and is gone before it says so. Sessions do not notice.
    stage.until("a dead receiver", |_| Ok(receiver.is_dead())).await.unwrap();
    let failed = "chaperone_feed_failures_total{consumer=\"stream:otlp\"}";
    while scrape(&stage).await.unwrap()[failed] < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(stage.psql(&token).unwrap().run("select 6").unwrap().success().unwrap(), "6\n");
    // The gateway is killed while it writes the file.
    stage.until("a stream", |stage| Ok(of_file(stage).len() > 40)).await.unwrap();
    serving.signal("KILL").unwrap();
    assert!(!serving.ended().unwrap().0.success());
    load.await.unwrap().unwrap();
    let mut otlp = Events::new();
    records(&receiver.got(), &mut otlp);
    let before = otlp.len();

    // The gateway comes back first, then the receiver: at the same place. A process, since what a test reads keeps its own
    // process busy, to which a feed in it gives way.
    let _serving = stage.serve().await.unwrap();
    let everything = |stage: &Stage| Ok(missing(stage, &of_file(stage)).is_empty());
    stage.until("all that is recorded, in the file", everything).await.unwrap();
    let again = Receiver::start(Some(address), usize::MAX).await.unwrap();
    let everything = |stage: &Stage| {
        let mut all = otlp.clone();
        records(&again.got(), &mut all);
        Ok(missing(stage, &all).is_empty())
    };
    stage.until("all that is recorded, at the receiver", everything).await.unwrap();
    records(&again.got(), &mut otlp);
    let bodies = [receiver.got(), again.got()].concat();
    let path = stage.path("bodies");
    std::fs::write(&path, bodies.join("\n")).unwrap();
    let read = python(COLLECT, &[("BODIES", path.to_str().unwrap())]).unwrap().success().unwrap();
    let (came, once) = read.trim().split_once(' ').unwrap();
    let all = recorded(&stage);
    assert_eq!(once, all.len().to_string());
    assert!(came.parse::<usize>().unwrap() > all.len(), "the last batch before the receiver died came again");
    assert!(all.len() > 100 && before > 0, "{} recorded, {before} before", all.len());
    // Nothing that was not done, either.
    let known: BTreeSet<String> = otlp.into_keys().collect();
    assert_eq!(known, all);
    assert_eq!(of_file(&stage).into_keys().collect::<BTreeSet<_>>(), all);
}

/// Holds every line against the schema of its class.
const VALIDATE: &str = r#"
import json, os
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))
validators, classes = {}, {}
for line in open(os.environ["EVENTS"]):
    event = json.loads(line)
    uid = event["class_uid"]
    if uid not in validators:
        name = schemas.lookup_class_name_from_uid(uid)
        validators[uid] = Draft202012Validator(schemas.get_class_schema(name, event["metadata"]["profiles"]))
    for error in validators[uid].iter_errors(event):
        print(f"{uid}: {error.json_path}: {error.message[:300]}")
    assert event["metadata"]["version"] == "1.8.0"
    assert event["type_uid"] == uid * 100 + event["activity_id"] and event["category_uid"] == uid // 1000
    classes.setdefault(uid, set()).add(event["activity_id"])
print(sorted((uid, sorted(activities)) for uid, activities in classes.items()))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn events_of_ocsf_are_what_its_published_schema_says() {
    let streams = "{ name: ocsf, to: \"file:ocsf.jsonl\", format: ocsf, content: text }\n  \
                   - { name: facts, to: \"file:facts.jsonl\", format: ocsf }";
    let more = format!("streams:\n  - {streams}\n");
    let mut stage = Stage::start(Setting { more, ..Setting::default() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let script = "select ssn from customers where id = 1;\nselect 1/0;\ndrop table customers;\n\
                  update orders set status = 'open' where id = 1;\ninsert into orders (customer_id, item, total, status) \
                  values (1, 'x', 1, 'open');\nselect $1::int \\bind 7 \\g\nbegin;\ncopy orders to stdout;\ncommit;\n";
    let psql = stage.psql(&token).unwrap();
    let ran = psql.run(script).unwrap();
    assert_eq!(ran.stderr.matches("ERROR").count(), 2, "{}", ran.stderr);
    // One that people are asked about.
    let asking = tokio::task::spawn_blocking(move || psql.run("delete from orders where id = 1"));
    let approver = stage.approver().unwrap();
    let mut hold = None;
    stage
        .until("a hold", |stage| {
            let listed = stage.chaperone(&approver, &["approvals"])?.success()?;
            hold = first_id(&listed, "hold_");
            Ok(hold.is_some())
        })
        .await
        .unwrap();
    stage.chaperone(&approver, &["approve", &hold.unwrap()]).unwrap().success().unwrap();
    asking.await.unwrap().unwrap().success().unwrap();
    for name in ["ocsf.jsonl", "facts.jsonl"] {
        let complete = |stage: &Stage| {
            let ended = stage.recorded()?.iter().all(|one| !one.end().is_empty());
            Ok(ended && missing(stage, &lines(stage, name, "/metadata/uid")).is_empty())
        };
        stage.until("all of it", complete).await.unwrap();
        let path = stage.path(name);
        let found = python(VALIDATE, &[("EVENTS", path.to_str().unwrap())]).unwrap().success().unwrap();
        assert_eq!(found, "[(3002, [1, 2]), (6005, [2, 4, 5, 7, 99])]\n");
    }
    let events = lines(&stage, "ocsf.jsonl", "/metadata/uid");
    let of = |text: &str| {
        let is = |event: &&Value| {
            event["query_info"]["query_string"].as_str().is_some_and(|one| one.starts_with(text))
        };
        let event = events.values().find(is).unwrap();
        ["activity_id", "status_id", "action_id", "disposition_id", "severity_id"]
            .map(|key| event[key].as_u64().unwrap())
    };
    assert_eq!(of("select ssn"), [4, 1, 1, 1, 1]);
    assert_eq!(of("select 1/0"), [4, 2, 1, 1, 1]);
    assert_eq!(of("drop table"), [7, 2, 2, 2, 3]);
    assert_eq!(of("delete"), [7, 1, 1, 8, 2]);
    assert!(!std::fs::read_to_string(stage.path("facts.jsonl")).unwrap().contains("select ssn"));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_keeps_no_session_and_no_stop() {
    let streams = "{ name: out, to: stdout, format: jsonl, content: text }\n  \
                   - { name: fifo, to: \"file:fifo\", format: jsonl }\n  \
                   - { name: link, to: \"file:link\", format: jsonl }\n  \
                   - { name: folder, to: \"file:recordings\", format: jsonl }\n  \
                   - { name: nobody, to: \"https://127.0.0.1:9/in\", format: otlp, token: \"file:token\" }";
    let (mut stage, _) = Stage::prepare(with(streams)).await.unwrap();
    let fifo = |name: &str| Command::new("mkfifo").arg(stage.path(name)).status().unwrap().success();
    assert!(fifo("fifo") && fifo("out"));
    std::fs::write(stage.path("elsewhere"), "").unwrap();
    std::os::unix::fs::symlink(stage.path("elsewhere"), stage.path("link")).unwrap();
    std::fs::write(stage.path("token"), "t0ken-of-the-receiver").unwrap();
    // Open for reading, too, by the gateway itself: a pipe that has a reader, who never reads.
    let mut command = Command::new("sh");
    command.args(["-c", "out=$1; shift; exec \"$@\" 1<>\"$out\"", "sh"]).arg(stage.path("out"));
    command.arg(tools::chaperone().unwrap());
    let serving = stage.serve_by(command).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    // More than a pipe holds.
    let long = format!("select 1 -- {}\n;\n", "x".repeat(16_000)).repeat(12);
    for _ in 0..2 {
        assert_eq!(stage.psql(&token).unwrap().run(&long).unwrap().success().unwrap(), "1\n".repeat(12));
    }
    let failing = ["out", "fifo", "link", "folder", "nobody"];
    let failed = |name| format!("chaperone_feed_failures_total{{consumer=\"stream:{name}\"}}");
    loop {
        let numbers = scrape(&stage).await.unwrap();
        if failing.iter().all(|name| numbers[&failed(name)] >= 1.0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // And still.
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{log}");
    assert_eq!(std::fs::read_to_string(stage.path("elsewhere")).unwrap(), "");
    for words in [
        "nobody reads standard output",
        "fifo cannot be written: it is no plain file",
        "link is a symbolic link, which is not followed",
        "recordings cannot be written: Is a directory",
        "stream=\"stream:nobody\"",
    ] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(!log.contains("t0ken-of-the-receiver") && !log.contains("select 1 --"), "{log}");
}
