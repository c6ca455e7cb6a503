//! What was done is found: by words and by what became of it, by operators and auditors alone, also after the gateway was killed.

use crate::recordings::{LOAD, logs_statements, script};
use chaperone::recorder::EventKind;
use chaperone_core::identity::CallerKind;
use chaperone_tests::stage::{ASKERS, Setting, Stage};
use serde_json::Value;
use std::collections::BTreeSet;

/// An operator's search, as a program gets it.
fn search(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Value> {
    let ran = stage.chaperone(&stage.approver()?, &[&["search", "--json"], arguments].concat())?;
    Ok(serde_json::from_str(&ran.success()?)?)
}

fn found(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
    let answer = search(stage, arguments)?;
    Ok(answer["operations"].as_array().cloned().unwrap_or_default())
}

/// The texts that were found, marks left out.
fn texts(stage: &Stage, arguments: &[&str]) -> Vec<String> {
    let pieces = |one: &Value| one["snippet"].as_array().cloned().unwrap_or_default();
    let text = |piece: &Value| piece["text"].as_str().unwrap_or_default().to_owned();
    found(stage, arguments).unwrap().iter().map(|one| pieces(one).iter().map(text).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_found_by_operators_and_auditors_alone() {
    let more = "auditors: group:askers".into();
    let mut stage = Stage::start(Setting { more, ..Setting::default() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let psql = stage.psql(&token).unwrap();
    psql.run("select name from customers where id = 1").unwrap().success().unwrap();
    assert!(psql.run("drop table customers").unwrap().stderr.contains("ERROR"));
    psql.run("select item from orders where id = 2").unwrap().success().unwrap();
    stage.until("three operations", |stage| Ok(found(stage, &["item"])?.len() == 1)).await.unwrap();

    let (name, drop) = ("select name from customers where id = 1", "drop table customers");
    assert_eq!(texts(&stage, &["customers"]), [drop, name]);
    assert_eq!(texts(&stage, &["--table", "customers", "--decision", "allowed"]), [name]);
    assert_eq!(texts(&stage, &["--decision", "refused", "--since", "1h"]), [drop]);
    assert_eq!(texts(&stage, &["--finding", "ddl"]), [drop]);
    assert_eq!(texts(&stage, &["customers", "--until", "1h"]), [""; 0]);
    assert_eq!(texts(&stage, &["customers OR item"]), [""; 0], "a word like any other");
    let one = found(&stage, &["drop"]).unwrap().remove(0);
    assert_eq!(one["snippet"][0], serde_json::json!({ "text": "drop", "marked": true }));
    assert_eq!(one["operation"]["decision"]["plugin"], "guard", "{one}");
    assert_eq!(one["caller"]["kind"], "agent");

    // Page by page.
    let first = search(&stage, &["--limit", "2"]).unwrap();
    let next = first["next"].as_str().unwrap();
    assert_eq!(texts(&stage, &["--limit", "2", "--cursor", next]).len(), 1);
    let operator = stage.approver().unwrap();
    let shown = stage.chaperone(&operator, &["search", "name"]).unwrap().success().unwrap();
    assert!(shown.contains(": allowed") && shown.contains("select name from customers"), "{shown}");
    for wrong in [&["search", "*"][..], &["search", "x", "--since", "soon"]] {
        assert!(stage.chaperone(&operator, wrong).unwrap().success().is_err(), "{wrong:?}");
    }
    let auditor = stage.token(CallerKind::Human, ASKERS, 7).unwrap();
    let shown = stage.chaperone(&auditor, &["search", "name"]).unwrap().success().unwrap();
    assert!(shown.contains("select name from customers"), "{shown}");
    // Not even its own.
    let refused = stage.chaperone(&token, &["search", "customers"]).unwrap();
    assert!(!refused.stdout.contains("customers") && refused.success().is_err());
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_finds_everything_again_and_nothing_twice() {
    let mut stage = Stage::start(logs_statements()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let serving = stage.serve().await.unwrap();
    let mut environment = stage.driver_environment(&token);
    // A feed leaves the machine to sessions: what a flood of them did is found much later.
    environment.push(("PAUSE".into(), "0.02".into()));
    let load = tokio::spawn(script(environment, LOAD));
    // Killed while it reads what is being written.
    stage.until("an index", |stage| Ok(found(stage, &["insert"])?.len() > 40)).await.unwrap();
    serving.signal("KILL").unwrap();
    assert!(!serving.ended().unwrap().0.success());
    load.await.unwrap().unwrap();

    stage.restart().await.unwrap();
    let mut recorded = BTreeSet::new();
    for one in stage.recorded().unwrap() {
        let head: Value = serde_json::from_str(&one.head()).unwrap();
        let session = head["session"].as_str().unwrap().to_owned();
        let operations = one.events.iter().filter(|event| event.kind == EventKind::Operation);
        recorded.extend(operations.map(|event| (session.clone(), event.operation)));
    }
    assert!(recorded.len() > 100, "{}", recorded.len());
    let complete = |stage: &Stage| {
        let mut all = Vec::new();
        let mut cursor = i64::MAX.to_string();
        loop {
            let answer = search(stage, &["--limit", "500", "--cursor", &cursor])?;
            for one in answer["operations"].as_array().into_iter().flatten() {
                let session = one["session"].as_str().unwrap_or_default().to_owned();
                all.push((session, one["number"].as_u64().unwrap_or_default()));
            }
            match answer["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        let once: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!(once.len(), all.len(), "an operation is there twice");
        Ok(recorded.is_subset(&once))
    };
    stage.until("all that is recorded", complete).await.unwrap();
    stage.stop().await;
}
