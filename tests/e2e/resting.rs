//! A session in which nothing happens gives its plugins back, and is judged and masked afterwards as before.

use crate::metrics::scrape;
use chaperone_tests::raw::{Out, Wire, cancel, rows, shape};
use chaperone_tests::stage::{Setting, Stage};
use std::time::{Duration, Instant};

/// The gateway waits for 6 s at most before it takes a session for idle.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many instances of its three plugins the only session holds.
async fn instances(stage: &Stage) -> [f64; 3] {
    let numbers = scrape(stage).await.unwrap();
    ["guard", "mask", "trigger"]
        .map(|plugin| numbers[&format!("chaperone_plugin_instances{{plugin=\"{plugin}\"}}")])
}

/// Everything that a plugin decides, with a statement that was prepared once.
async fn is_judged(stage: &Stage, wire: &mut Wire) {
    let out = Out::new().bind("", "s", &["1"], &[]).execute("").sync();
    assert_eq!(rows(&wire.ask(out).await.unwrap()), ["[redacted]|************1881"]);
    let answer = wire.query("select id, ssn from customers where id = 2").await.unwrap();
    assert_eq!(rows(&answer), ["2|[redacted]"]);
    assert_eq!(shape(&wire.query("select upper(ssn) from customers").await.unwrap()), "E:42501 ZI");
    assert_eq!(shape(&wire.query("drop table customers").await.unwrap()), "E:42501 ZI");
    wire.send(Out::new().query("delete from orders where id = 1")).await.unwrap();
    assert!(wire.until(b'N').await.unwrap().field(b'M').unwrap().contains("waits for 1 approval"));
    cancel(stage.address, wire.key).await.unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "E:57014 ZI");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_session_gives_its_plugins_back_and_is_judged_as_before() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    assert_eq!(instances(&stage).await, [0.0; 3]);
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let prepared = Out::new().parse("s", "select ssn, card from customers where id = $1").sync();
    assert_eq!(shape(&wire.ask(prepared).await.unwrap()), "1 ZI");
    // The second time what was said before is used again.
    for _ in 0..2 {
        is_judged(&stage, &mut wire).await;
        assert_eq!(instances(&stage).await, [1.0; 3]);
    }
    for _ in 0..2 {
        let idle = Instant::now();
        while instances(&stage).await != [0.0; 3] {
            assert!(idle.elapsed() < PATIENCE, "the instances are kept: {:?}", instances(&stage).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        is_judged(&stage, &mut wire).await;
        assert_eq!(instances(&stage).await, [1.0; 3]);
    }
    drop(wire);
    let ended = Instant::now();
    while instances(&stage).await != [0.0; 3] {
        assert!(ended.elapsed() < PATIENCE, "an ended session holds {:?}", instances(&stage).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage.stop().await;
}
