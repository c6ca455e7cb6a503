//! Sessions among each other: nothing shared, nobody held up.

use super::{ask, breaks, fault, tell};
use chaperone_hooks::{Chain, FaultKind, Hook, PluginSource, SessionHooks};
use chaperone_tests::guests::{
    engine, engine_with_patience, facts, hasty, hostile_chain, load_hostile, patient,
};
use std::cell::RefCell;
use std::time::Duration;

#[tokio::test]
async fn state_stays_within_its_session() {
    let engine = engine(2).unwrap();
    let chain = hostile_chain(&engine, patient()).await.unwrap();
    let mut one = chain.open(facts()).await.unwrap();
    let mut other = chain.open(facts()).await.unwrap();
    for calls in ["1", "2", "3"] {
        assert_eq!(tell(&mut one, "count").await, calls);
    }
    assert_eq!(tell(&mut other, "count").await, "1");
    breaks(&mut one, "panic", FaultKind::Trapped).await;
    assert_eq!(tell(&mut other, "count").await, "2", "another session's fault replaced this instance");
}

/// The pool has one slot, so that the next session gets the memory of the one before.
#[tokio::test]
async fn memory_of_a_session_is_gone_with_it() {
    let engine = engine(1).unwrap();
    let chain = hostile_chain(&engine, patient()).await.unwrap();
    let count = |text: String| text.parse::<u32>().unwrap();

    // The first search shows how many copies the search itself leaves in memory.
    let mut empty = chain.open(facts()).await.unwrap();
    let own = count(tell(&mut empty, "search").await);
    assert!(own < 16, "{own} markers before there was any");
    drop(empty);

    let mut marked = chain.open(facts()).await.unwrap();
    tell(&mut marked, "mark").await;
    let found = count(tell(&mut marked, "search").await);
    assert!(found >= 1 << 20, "the search does not find what is there: {found}");
    drop(marked);
    let mut next = chain.open(facts()).await.unwrap();
    assert_eq!(count(tell(&mut next, "search").await), own, "a session reads what another left");
    drop(next);

    // The same within a session, after a fault.
    let mut broken = chain.open(facts()).await.unwrap();
    tell(&mut broken, "mark").await;
    fault(&mut broken, "panic").await;
    assert_eq!(
        count(tell(&mut broken, "search").await),
        own,
        "a new instance reads what the broken one left"
    );
}

#[tokio::test]
async fn as_many_sessions_as_instances_and_not_one_more() {
    const MOST: u32 = 40;
    let engine = engine(MOST).unwrap();
    let chain = hostile_chain(&engine, patient()).await.unwrap();
    let mut sessions = Vec::new();
    for _ in 0..MOST {
        let mut session = chain.open(facts()).await.unwrap();
        assert_eq!(tell(&mut session, "count").await, "1");
        sessions.push(session);
    }
    let Err(full) = chain.open(facts()).await else { panic!("one session too many") };
    assert_eq!((full.kind, full.hook), (FaultKind::NoInstance, "instantiate"), "{full}");
    // Those that are there do not notice, and one that breaks gets its own slot back.
    breaks(&mut sessions[0], "panic", FaultKind::Trapped).await;
    assert_eq!(tell(&mut sessions[1], "count").await, "2");
    sessions.pop();
    chain.open(facts()).await.unwrap();
}

#[tokio::test]
async fn a_session_that_rests_gives_back_what_keeps_nothing_between_calls() {
    let engine = engine(1).unwrap();
    let guard = chaperone::builtin::find("sql-guard").unwrap();
    let source = PluginSource::BuiltIn { wasm: guard, sha256: None };
    let guard = engine.load("guard", &source, &serde_json::json!({}), patient()).await.unwrap();
    let chain = Chain::new(vec![guard.clone()]).unwrap();
    let mut one = chain.open(facts()).await.unwrap();
    let before = one.check_sql("drop table t", 0).await.unwrap();
    assert!(chain.open(facts()).await.is_err(), "there is one slot");
    assert!(one.can_rest());
    one.rest();
    assert!(!one.can_rest());
    let mut other = chain.open(facts()).await.unwrap();
    // Fails closed: without an instance nothing is judged.
    assert_eq!(one.check_sql("drop table t", 0).await.unwrap_err().kind, FaultKind::NoInstance);
    assert_eq!(guard.metrics(Hook::SqlCheck).read().faults, 1, "what refuses an operation is counted");
    other.rest();
    assert_eq!(one.check_sql("drop table t", 0).await.unwrap(), before);
}

/// Two plugins in a pool of three: a session that kept one place while it waits for another would wait for ever.
#[tokio::test]
async fn sessions_wait_for_their_turn_and_never_for_each_other() {
    const PATIENCE: Duration = Duration::from_secs(600);
    let engine = engine_with_patience(3, PATIENCE).unwrap();
    let load = async |name: &'static str| {
        let source =
            PluginSource::BuiltIn { wasm: chaperone::builtin::find("sql-guard").unwrap(), sha256: None };
        engine.load(name, &source, &serde_json::json!({}), patient()).await.unwrap()
    };
    let chain = Chain::new(vec![load("one").await, load("two").await]).unwrap();
    let turn = async |session: &mut SessionHooks| {
        for _ in 0..3 {
            session.check_sql("select 1", 0).await.unwrap();
            tokio::task::yield_now().await;
            // What a session does between two operations.
            if session.are_wanted() {
                session.rest();
            }
        }
        session.rest();
    };
    let one = async {
        let mut session = chain.open(facts()).await.unwrap();
        tokio::task::yield_now().await;
        assert!(session.are_wanted(), "the second session waits");
        turn(&mut session).await;
    };
    let others = async || turn(&mut chain.open(facts()).await.unwrap()).await;
    tokio::join!(biased; one, others(), others());
}

#[tokio::test]
async fn instances_are_wanted_when_few_are_left() {
    let engine = engine(8).unwrap();
    let chain = hostile_chain(&engine, patient()).await.unwrap();
    let mut sessions = Vec::new();
    for number in 1..=8 {
        sessions.push(chain.open(facts()).await.unwrap());
        assert_eq!(sessions[0].are_wanted(), number > 6, "{number} of 8");
    }
}

#[tokio::test]
async fn a_session_that_needs_more_instances_than_there_are_is_told_at_once() {
    let engine = engine_with_patience(1, Duration::from_secs(600)).unwrap();
    let one = load_hostile(&engine, "", patient()).await.unwrap();
    let chain = Chain::new(vec![one.clone(), one]).unwrap();
    let Err(fault) = chain.open(facts()).await else { panic!("there is one instance") };
    assert_eq!(fault.kind, FaultKind::NoInstance);
    assert_eq!(fault.detail, "2 instances are needed, and there are 1 in all");
}

#[tokio::test]
async fn a_session_that_rests_keeps_what_may_keep_something() {
    let engine = engine(1).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    assert_eq!(tell(&mut session, "count").await, "1");
    session.rest();
    assert!(!session.can_rest());
    assert_eq!(tell(&mut session, "count").await, "2");
}

/// One thread, and the plugin that never ends is asked first.
#[tokio::test]
async fn a_plugin_that_never_ends_does_not_hold_up_other_sessions() {
    let engine = engine(2).unwrap();
    let chain = hostile_chain(&engine, hasty()).await.unwrap();
    let mut bad = chain.open(facts()).await.unwrap();
    let mut good = chain.open(facts()).await.unwrap();
    let ended = RefCell::new(Vec::new());
    let looping = async {
        let fault = fault(&mut bad, "loop").await;
        ended.borrow_mut().push(fault.kind.as_str().to_owned());
    };
    let working = async {
        for _ in 0..100 {
            let calls = tell(&mut good, "count").await;
            ended.borrow_mut().push(calls);
        }
    };
    tokio::join!(biased; looping, working);
    let ended = ended.into_inner();
    assert_eq!(ended.len(), 101);
    assert_eq!(
        ended.last().map(String::as_str),
        Some("deadline"),
        "all others had to wait for it: {ended:?}"
    );
}

/// A session that is cut in the middle of a call, and goes on: the half-done instance is not called again.
#[tokio::test]
async fn a_call_that_is_given_up_costs_only_its_instance() {
    let engine = engine(1).unwrap();
    let chain = hostile_chain(&engine, patient()).await.unwrap();
    let mut session = chain.open(facts()).await.unwrap();
    assert_eq!(tell(&mut session, "count").await, "1");
    tokio::select! {
        biased;
        answer = ask(&mut session, "loop") => panic!("{answer:?}"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(tell(&mut session, "count").await, "1");
}
