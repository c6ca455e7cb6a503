//! What a monitoring system reads, over plain HTTP as it does: the numbers move by what happened, and by nothing else.

use anyhow::{Context, Result};
use chaperone_tests::guests::hostile_entry;
use chaperone_tests::raw::{Out, Wire};
use chaperone_tests::scripts::python;
use chaperone_tests::stage::{Setting, Stage, object_id};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One GET, by hand: the head and the body of the answer.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    Ok((head.to_owned(), body.to_owned()))
}

/// Every sample of a scrape: the name with its labels, and the value.
pub(crate) async fn scrape(stage: &Stage) -> Result<BTreeMap<String, f64>> {
    let (head, body) = get(stage.metrics.context("no metrics")?, "/metrics").await?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').context(line.to_owned())?;
            Ok((name.to_owned(), value.parse()?))
        })
        .collect()
}

/// How often each hook was called, as its histogram says.
const COUNTED_CALLS: &str = "chaperone_plugin_call_seconds_count";

/// What is another number than before. Left out: seconds, the room on a disk, and what the search index does in its own time.
fn moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let own_time = |name: &str| {
        name.contains("_seconds_") && !name.starts_with(COUNTED_CALLS)
            || name.ends_with("_bytes")
            || name.starts_with("chaperone_feed_")
    };
    let counted = after.iter().filter(|(name, _)| !own_time(name));
    let moved = counted.map(|(name, value)| (name.clone(), value - before.get(name).unwrap_or(&0.0)));
    moved.filter(|(_, by)| *by != 0.0).collect()
}

fn plugin(what: &str, plugin: &str, hook: &str) -> String {
    format!("chaperone_plugin_{what}_total{{plugin=\"{plugin}\",hook=\"{hook}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_move_by_exactly_what_happened() {
    let setting = Setting { more_plugins: vec![hostile_entry().unwrap()], ..Setting::default() };
    let mut stage = Stage::start(setting).await.unwrap();
    let token = stage.agent().unwrap();
    let mut start = scrape(&stage).await.unwrap();
    // The first checkpoint is made a moment after the start.
    while !start.contains_key("chaperone_checkpoint_timestamp_seconds") {
        start = scrape(&stage).await.unwrap();
    }
    let version = format!("chaperone_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!((start[&version], start["chaperone_state_up"]), (1.0, 1.0));

    assert!(stage.psql(&token).unwrap().run("select 1").unwrap().stderr.contains("no open window"));
    let refused = scrape(&stage).await.unwrap();
    let reason = "chaperone_connections_refused_total{reason=\"no-window\"}";
    assert_eq!(moved(&start, &refused), [(reason.to_owned(), 1.0)]);

    stage.open_window(&token, None).unwrap();
    let before = scrape(&stage).await.unwrap();
    assert_eq!(moved(&refused, &before), [("chaperone_windows_open".to_owned(), 1.0)]);

    // A statement that passes and has a result; one that the guard refuses; one that breaks the plugin behind it.
    let script = "select 1;\ndrop table customers;\nselect 'hostile:panic';\n";
    let ran = stage.psql(&token).unwrap().run(script).unwrap();
    assert_eq!((ran.stdout.trim(), ran.stderr.matches("ERROR").count()), ("1", 2), "{}", ran.stderr);
    let sealed = "chaperone_recordings_sealed_total";
    let mut after = scrape(&stage).await.unwrap();
    while after[sealed] == before[sealed] {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        after = scrape(&stage).await.unwrap();
    }
    let mut expected = vec![
        ("chaperone_sessions_started_total".to_owned(), 1.0),
        ("chaperone_sessions_ended_total{reason=\"client-closed\"}".to_owned(), 1.0),
        (sealed.to_owned(), 1.0),
        ("chaperone_decisions_total{target=\"shop\",outcome=\"allowed\"}".to_owned(), 1.0),
        ("chaperone_decisions_total{target=\"shop\",outcome=\"refused\"}".to_owned(), 2.0),
        (plugin("calls", "guard", "sql-check"), 3.0),
        (plugin("calls", "hostile", "sql-check"), 2.0),
        (plugin("calls", "trigger", "approval-trigger"), 1.0),
        (plugin("calls", "hostile", "approval-trigger"), 1.0),
        (plugin("calls", "mask", "column-mask"), 2.0),
        (plugin("calls", "hostile", "column-mask"), 2.0),
        (plugin("faults", "hostile", "sql-check"), 1.0),
    ];
    let calls = expected
        .iter()
        .filter_map(|(name, by)| Some((name.strip_prefix("chaperone_plugin_calls_total")?, *by)));
    let counted: Vec<_> = calls.map(|(labels, by)| (format!("{COUNTED_CALLS}{labels}"), by)).collect();
    expected.extend(counted);
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(moved(&before, &after), expected);
    let seconds = plugin("seconds", "guard", "sql-check");
    // The histogram says the same: every call took less than some time, and none less than none.
    let bucket = |le| {
        format!("chaperone_plugin_call_seconds_bucket{{plugin=\"guard\",hook=\"sql-check\",le=\"{le}\"}}")
    };
    let sum = after["chaperone_plugin_call_seconds_sum{plugin=\"guard\",hook=\"sql-check\"}"];
    assert_eq!((after[&bucket("0.000001024")], after[&bucket("+Inf")], sum), (0.0, 3.0, after[&seconds]));
    assert!(after[&seconds] > before[&seconds] && after[&seconds] < 60.0, "{after:?}");
    assert_eq!(after["chaperone_sessions_live"], 0.0);
    let (free, size) = (after["chaperone_recordings_free_bytes"], after["chaperone_recordings_size_bytes"]);
    assert!(0.0 < free && free <= size, "{free} of {size}");
    assert_eq!(after["chaperone_recorder_lag_seconds"], 0.0);

    // Nothing that is somebody's, and nothing else than what is offered.
    let address = stage.metrics.unwrap();
    let (_, body) = get(address, "/metrics").await.unwrap();
    for private in [object_id(1).as_str(), "test/", "customers", "hostile:panic"] {
        assert!(!body.contains(private), "{private} is in the metrics: {body}");
    }
    assert!(get(address, "/api/v1/sessions").await.unwrap().0.starts_with("HTTP/1.1 404"));
    stage.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "the metrics outlived the gateway");
}

/// Makes every write of the gateway's clock fail, or no more.
const STATE: &str = r#"
import os, sqlite3
state = sqlite3.connect(os.environ["STATE"], isolation_level=None)
if os.environ["FAIL"] == "yes":
    state.execute("CREATE TRIGGER fail BEFORE INSERT ON clock BEGIN SELECT RAISE(ABORT, 'secret'); END")
else:
    state.execute("DROP TRIGGER fail")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_could_let_nobody_in_is_not_ready_and_says_why() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let address = stage.metrics.unwrap();
    let answer = async |path| {
        let (head, body) = get(address, path).await.unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body)
    };
    // It is tried once a second.
    let until = async |status: &str, body: &str| {
        let expected = (status.to_owned(), body.to_owned());
        let mut last = answer("/readyz").await;
        for _ in 0..200 {
            if last == expected {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            last = answer("/readyz").await;
        }
        panic!("{last:?}, not {expected:?}");
    };
    until("200", "ready\n").await;
    assert_eq!(answer("/livez").await, ("200".to_owned(), "alive\n".to_owned()));

    let (folder, aside) = (stage.recordings(), stage.path("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    until("503", "recordings: the folder cannot be written\n").await;
    let refused = stage.psql(&token).unwrap().run("select 1").unwrap();
    assert!(refused.stderr.contains("the session cannot be recorded"), "{}", refused.stderr);

    let state = stage.path("state.db");
    let state =
        |fail| python(STATE, &[("STATE", state.to_str().unwrap()), ("FAIL", fail)]).unwrap().success();
    state("yes").unwrap();
    until("503", "state: the store cannot be written\nrecordings: the folder cannot be written\n").await;
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    until("503", "state: the store cannot be written\n").await;
    // A restart would mend nothing.
    assert_eq!(answer("/livez").await.0, "200");
    state("no").unwrap();
    until("200", "ready\n").await;
    assert_eq!(stage.psql(&token).unwrap().run("select 1").unwrap().success().unwrap(), "1\n");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_drains_says_so_until_its_last_session_is_gone() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    let running =
        "select count(*) from pg_stat_activity where state = 'active' and query like 'select pg_sleep%'";
    stage.until("the statement runs", |stage| Ok(stage.real(running)?.trim() == "1")).await.unwrap();
    let address = stage.metrics.unwrap();
    assert_eq!(scrape(&stage).await.unwrap()["chaperone_sessions_live"], 1.0);
    let (head, body) = get(address, "/healthz").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && body == "serving\n", "{head} {body}");
    let (head, body) = get(address, "/readyz").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && body == "ready\n", "{head} {body}");
    let watch = async move {
        loop {
            let (head, body) = get(address, "/healthz").await.unwrap();
            if !head.starts_with("HTTP/1.1 200") {
                let ready = get(address, "/readyz").await.unwrap();
                // The session still runs; its end lets the gateway stop.
                drop(wire);
                return (head, body, ready);
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let ((), (head, body, ready)) = tokio::join!(stage.stop(), watch);
    assert!(ready.0.starts_with("HTTP/1.1 503") && ready.1.starts_with("draining: "), "{ready:?}");
    assert!(head.starts_with("HTTP/1.1 503") && body == "draining\n", "{head} {body}");
}
