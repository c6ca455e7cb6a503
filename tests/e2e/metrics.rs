//! What a monitoring system reads, over plain HTTP as it does: the numbers move by what happened, and by nothing else.

use anyhow::{Context, Result};
use chaperone_tests::guests::hostile_entry;
use chaperone_tests::raw::{Out, Wire};
use chaperone_tests::stage::{Setting, Stage, object_id};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One GET, by hand: the head and the body of the answer.
async fn get(address: SocketAddr, path: &str) -> Result<(String, String)> {
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

/// What is another number than before. Left out: seconds, the room on a disk, and what the search index does in its own time.
fn moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let own_time = |name: &str| {
        name.contains("_seconds_") || name.ends_with("_bytes") || name.starts_with("chaperone_feed_")
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
    let start = scrape(&stage).await.unwrap();
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
        (plugin("calls", "guard", "sql-check"), 3.0),
        (plugin("calls", "hostile", "sql-check"), 2.0),
        (plugin("calls", "trigger", "approval-trigger"), 1.0),
        (plugin("calls", "hostile", "approval-trigger"), 1.0),
        (plugin("calls", "mask", "column-mask"), 2.0),
        (plugin("calls", "hostile", "column-mask"), 2.0),
        (plugin("faults", "hostile", "sql-check"), 1.0),
    ];
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(moved(&before, &after), expected);
    let seconds = plugin("seconds", "guard", "sql-check");
    assert!(after[&seconds] > before[&seconds] && after[&seconds] < 60.0, "{after:?}");
    assert_eq!(after["chaperone_sessions_live"], 0.0);
    let (free, size) = (after["chaperone_recordings_free_bytes"], after["chaperone_recordings_size_bytes"]);
    assert!(0.0 < free && free <= size, "{free} of {size}");
    assert_eq!(after["chaperone_recorder_lag_seconds"], 0.0);

    // Nothing that is somebody's, and nothing else than what is offered.
    let address = stage.metrics.unwrap();
    let (_, body) = get(address, "/metrics").await.unwrap();
    for private in [object_id(1).as_str(), "test/", "shop", "customers", "hostile:panic"] {
        assert!(!body.contains(private), "{private} is in the metrics: {body}");
    }
    assert!(get(address, "/api/v1/sessions").await.unwrap().0.starts_with("HTTP/1.1 404"));
    stage.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "the metrics outlived the gateway");
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
    let watch = async move {
        loop {
            let (head, body) = get(address, "/healthz").await.unwrap();
            if !head.starts_with("HTTP/1.1 200") {
                // The session still runs; its end lets the gateway stop.
                drop(wire);
                return (head, body);
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let ((), (head, body)) = tokio::join!(stage.stop(), watch);
    assert!(head.starts_with("HTTP/1.1 503") && body == "draining\n", "{head} {body}");
}
