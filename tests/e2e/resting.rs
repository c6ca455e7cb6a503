//! A session in which nothing happens gives its plugins back, and is judged and masked afterwards as before.

use crate::metrics::scrape;
use chaperone_tests::raw::{Out, Wire, cancel, rows, shape};
use chaperone_tests::stage::{Setting, Stage, first_id};
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

/// What a gateway gives that has instances for one session at a time.
async fn one_at_a_time() -> Stage {
    let more = "limits: { plugin_instances: 3 }".into();
    Stage::start(Setting { more, ..Setting::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_transactions_or_waiting_for_people_do_not_keep_others_out() {
    let mut stage = one_at_a_time().await;
    let token = stage.agent_with_window().unwrap();
    let mut first = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(shape(&first.query("begin").await.unwrap()), "C ZT");
    first.send(Out::new().query("delete from orders where id = 11")).await.unwrap();
    let notice = first.until(b'N').await.unwrap().field(b'M').unwrap();
    let id = first_id(&notice, "hold_").unwrap();
    assert_eq!(instances(&stage).await, [1.0; 3]);

    // Each of these has to wait until another that works, or does not, gives its instances back.
    let mut second = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(shape(&second.query("begin").await.unwrap()), "C ZT");
    assert_eq!(rows(&second.query("select ssn from customers where id = 1").await.unwrap()), ["[redacted]"]);
    let mut third = Wire::connect(&stage, &token).await.unwrap();
    third.send(Out::new().query("select pg_sleep(600) from customers")).await.unwrap();
    let runs = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active' and pid <> pg_backend_pid()";
    stage.until("the sleep at the target", |stage| Ok(stage.real(runs)?.trim() == "1")).await.unwrap();
    assert_eq!(
        rows(&second.query("select card from customers where id = 1").await.unwrap()),
        ["************1881"]
    );
    assert_eq!(shape(&second.query("drop table customers").await.unwrap()), "E:42501 ZT");
    assert_eq!(instances(&stage).await, [1.0; 3], "no more than there are");

    let approver = stage.approver().unwrap();
    stage.chaperone(&approver, &["approve", &id]).unwrap().success().unwrap();
    assert_eq!(shape(&first.answer().await.unwrap()), "C ZT");
    assert_eq!(shape(&first.query("drop table customers").await.unwrap()), "E:42501 ZT");
    cancel(stage.address, third.key).await.unwrap();
    assert_eq!(shape(&third.answer().await.unwrap()), "T E:57014 ZI");
    assert_eq!(shape(&third.query("drop table customers").await.unwrap()), "E:42501 ZI");
    drop((first, second, third));
    stage.stop().await;
}
