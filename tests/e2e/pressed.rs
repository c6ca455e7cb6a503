//! Buttons in Slack, pressed by people for whom a directory vouches, or does not.

use crate::graph::asked_by;
use chaperone::demo::graph::{Account, AccountKind, GraphBehaviour};
use chaperone_tests::slack::{Press, Slack};
use chaperone_tests::stage::{ASKERS, DBAS, Setting, Stage, TENANT, object_id};
use serde_json::Value;

const SECRET: &str = "the signing secret of the app";

/// What an approval waits for, as an operator sees it: who has decided.
fn decided(stage: &Stage, operator: &str) -> Vec<Value> {
    let waiting = stage.chaperone(operator, &["approvals", "--json"]).unwrap().success().unwrap();
    let waiting: Value = serde_json::from_str(&waiting).unwrap();
    let [approval] = waiting["approvals"].as_array().unwrap().as_slice() else { panic!("{waiting}") };
    let decisions = approval["decisions"].as_array().unwrap();
    decisions.iter().map(|decision| decision["by"].clone()).collect()
}

/// What comes of a press, in small letters.
async fn told(slack: &mut Slack, stage: &Stage, press: &Press) -> String {
    assert_eq!(press.send(stage, "on-call").await.unwrap(), 200);
    slack.answer().await.unwrap().to_string().to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_statement_runs_when_people_whom_graph_vouches_for_press_and_nobody_else_counts() {
    let mut slack = Slack::start(SECRET).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("url"), slack.url()).unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let principal = |number| format!("test/{TENANT}/{}", object_id(number));
    let people: Vec<String> =
        (3..=9).map(|number| format!("U{number}: \"principal:{}\"", principal(number))).collect();
    let more = format!(
        "notify: [{{ name: on-call, kind: slack, url: \"file:{0}/url\", secret: \"file:{0}/secret\", \
         allow_http_loopback: yes, people: {{ {1} }} }}]",
        folder.path().display(),
        people.join(", ")
    );
    let trigger = "{ threshold: 50, approvers: dba, needed: 2, timeout: 5m }".into();
    let (mut stage, _) = Stage::prepare(Setting { more, trigger, ..Setting::default() }).await.unwrap();
    let graph = asked_by(&stage, "").await;
    let serving = stage.serve().await.unwrap();
    let member = || Account::new(AccountKind::Member, &[DBAS]);
    for (number, account) in [
        (9, member()),
        (8, member()),
        (7, Account::new(AccountKind::Member, &[ASKERS])),
        (6, Account { enabled: false, ..member() }),
        (5, Account::new(AccountKind::AgentUser, &[DBAS])),
        (3, member()),
    ] {
        graph.put(TENANT, &object_id(number), account);
    }
    let (agent, operator) = (stage.agent_with_window().unwrap(), stage.person(20).unwrap());
    let psql = stage.psql(&agent).unwrap();
    let waits =
        tokio::task::spawn_blocking(move || psql.run("delete from orders where id = 1;\nselect 7;\n"));
    let asked = slack.message().await.unwrap();

    // Out of the group, disabled, an agent's account, gone; and one of whom nobody can say so now.
    let nobody = "the directory knows no enabled member under this principal";
    for (user, said) in [
        ("U7", "there is nothing of this id that you may see"),
        ("U6", nobody),
        ("U5", nobody),
        ("U4", nobody),
        ("U1", "the gateway does not know who you are"),
    ] {
        let press = slack.press(&asked, "approve", user).unwrap();
        let answer = told(&mut slack, &stage, &press).await;
        assert!(answer.contains(said), "{user}: {answer}");
    }
    graph.behave(GraphBehaviour::Fails(500, None));
    let press = slack.press(&asked, "approve", "U3").unwrap();
    let answer = told(&mut slack, &stage, &press).await;
    assert!(answer.contains("the identity provider does not answer now"), "{answer}");
    graph.behave(GraphBehaviour::Works);
    assert_eq!(decided(&stage, &operator), Vec::<Value>::new());

    // The first of two; and the same bytes once more, as somebody who recorded them would send them.
    let first = slack.press(&asked, "approve", "U9").unwrap();
    let answer = told(&mut slack, &stage, &first).await;
    assert!(answer.contains("persons who still have to say yes: 1"), "{answer}");
    let answer = told(&mut slack, &stage, &first).await;
    assert!(answer.contains("one person counts once"), "{answer}");
    assert_eq!(decided(&stage, &operator), [principal(9)]);
    assert_eq!(stage.real("select count(*) from orders where id = 1").unwrap().trim(), "1");
    assert!(!waits.is_finished(), "it has run with one approval of two");

    let second = slack.press(&asked, "approve", "U8").unwrap();
    let answer = told(&mut slack, &stage, &second).await;
    assert!(answer.contains(r#""replace_original":true"#), "{answer}");
    let ran = waits.await.unwrap().unwrap();
    assert!(ran.stdout.ends_with("7\n") && ran.status.success(), "{} {}", ran.stdout, ran.stderr);
    assert_eq!(stage.real("select count(*) from orders where id = 1").unwrap().trim(), "0");
    for again in [&first, &second] {
        let answer = told(&mut slack, &stage, again).await;
        assert!(answer.contains("this cannot be decided"), "{answer}");
    }
    serving.signal("TERM").unwrap();
    assert!(serving.ended().unwrap().0.success());
}
