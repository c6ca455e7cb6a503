//! Agents whose tokens list no groups, and a Microsoft Graph that knows which ones they are in.

use chaperone::demo::graph::{Account, AccountKind, Graph, GraphBehaviour};
use chaperone::demo::issuer::TokenSpec;
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::raw::{Out, Wire, errors, rows, shape};
use chaperone_tests::stage::{AGENTS, ASKERS, AUDIENCE, Setting, Stage, TENANT, object_id};

/// The gateway's own application at the directory.
const CLIENT: &str = "7e570000-0000-4000-8000-0000000000d0";

/// Has a gateway that is to be started ask a Graph; `more` keys of `graph` in its file.
pub(crate) async fn asked_by(stage: &Stage, more: &str) -> Graph {
    let graph = Graph::start(CLIENT, "s3cret").await.unwrap();
    std::fs::write(stage.path("graph.secret"), "s3cret\n").unwrap();
    let asking = format!(
        "kind: entra\n    graph: {{ client_id: {CLIENT}, secret: file:graph.secret, url: \"{}\"{more} }}",
        graph.url()
    );
    stage.edit("kind: entra", &asking).unwrap();
    graph
}

/// A gateway that asks a Graph.
async fn stage(more: &str) -> (Stage, Graph) {
    let (mut stage, _) = Stage::prepare(Setting::default()).await.unwrap();
    let graph = asked_by(&stage, more).await;
    stage.restart().await.unwrap();
    (stage, graph)
}

/// A token without groups, of an agent that the directory has in these groups.
fn agent(stage: &Stage, graph: &Graph, number: u8, groups: &[&str]) -> String {
    // No sponsors, but the right to ask for them.
    let account = Account { sponsors: Some(Vec::new()), ..Account::new(AccountKind::Agent, groups) };
    graph.put(TENANT, &object_id(number), account);
    let spec = TokenSpec::new(CallerKind::Agent, &object_id(number), AUDIENCE, Timestamp::now());
    stage.issuer.token(&spec).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_groups_in_its_token_gets_in_by_a_grant_to_its_group() {
    let (stage, graph) = stage("").await;
    let member = agent(&stage, &graph, 1, &[AGENTS]);
    stage.open_window(&member, None).unwrap();
    let mut wire = Wire::connect(&stage, &member).await.unwrap();
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    assert_eq!(stage.psql(&member).unwrap().run("select 8").unwrap().success().unwrap(), "8\n");
    assert_eq!(graph.calls("checkMemberGroups"), 1, "the API's look-up counts for the connections, too");
    let head = stage.recorded_of(1).unwrap()[0].head();
    assert!(
        head.contains(&format!(r#""groups":{{"state":"asked","ids":{{"held":["{AGENTS}"],"asked":["#)),
        "{head}"
    );

    // Of another group, and of none.
    let other = agent(&stage, &graph, 2, &[ASKERS]);
    let ann = ("7e570000-0000-4000-8000-0000000000e0".to_owned(), "Annabel".to_owned());
    graph.change(TENANT, &object_id(2), |agent| agent.sponsors = Some(vec![ann]));
    let asked = stage.chaperone(&other, &["request", "shop", "--reason", "x", "--json"]).unwrap();
    assert!(asked.success().unwrap().contains("pending"));
    let approver = stage.approver().unwrap();
    let list = stage.chaperone(&approver, &["approvals"]).unwrap().success().unwrap();
    assert!(list.contains("SPONSORS") && list.contains("Annabel"), "{list}");
    let list = stage.chaperone(&approver, &["approvals", "--json"]).unwrap().success().unwrap();
    assert!(list.contains(r#""display_name": "Annabel""#) && list.contains(r#""seen": ""#), "{list}");
    let stranger = agent(&stage, &graph, 3, &[]);
    let refused = stage.psql(&stranger).unwrap().run("select 1").unwrap();
    assert!(refused.stderr.contains("access to this target is not granted to you"), "{}", refused.stderr);

    // Graph is down: who is in goes on, and nobody new is let in by a group.
    graph.behave(GraphBehaviour::Fails(500, None));
    let late = agent(&stage, &graph, 4, &[AGENTS]);
    let refused = stage.psql(&late).unwrap().run("select 1").unwrap();
    assert!(refused.stderr.contains("the identity provider does not answer now"), "{}", refused.stderr);
    let asked = stage.chaperone(&late, &["request", "shop", "--reason", "x"]).unwrap();
    assert!(asked.stderr.contains("The identity provider does not answer now"), "{}", asked.stderr);
    assert_eq!(rows(&wire.query("select 9").await.unwrap()), ["9"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_cut_when_its_group_is_taken_away_and_goes_on_while_graph_is_down() {
    let (stage, graph) = stage(", recheck: 5s").await;
    let (cut, stays) = (agent(&stage, &graph, 1, &[AGENTS]), agent(&stage, &graph, 2, &[AGENTS]));
    stage.open_window(&cut, None).unwrap();
    stage.open_window(&stays, None).unwrap();
    let mut cut_wire = Wire::connect(&stage, &cut).await.unwrap();
    let mut stays_wire = Wire::connect(&stage, &stays).await.unwrap();

    // A round that is not answered takes nothing from anybody.
    graph.behave(GraphBehaviour::Fails(500, None));
    let asked = graph.asked().len();
    stage.until("a round", |_| Ok(graph.asked().len() >= asked + 2)).await.unwrap();
    assert_eq!(rows(&cut_wire.query("select 7").await.unwrap()), ["7"]);
    graph.behave(GraphBehaviour::Works);

    cut_wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    graph.change(TENANT, &object_id(1), |agent| agent.groups.clear());
    let last = cut_wire.answer().await.unwrap();
    assert!(shape(&last).ends_with("E:57P01"), "{}", shape(&last));
    assert!(errors(&last).contains("your identity provider no longer vouches for you"), "{}", errors(&last));
    assert!(errors(&last).contains("You are no longer in a group"), "{}", errors(&last));
    assert_eq!(rows(&stays_wire.query("select 8").await.unwrap()), ["8"]);
    let sealed = |stage: &Stage| Ok(stage.recorded_of(1)?[0].end().contains(r#""reason":"revoked""#));
    stage.until("the recording's end", sealed).await.unwrap();

    // The look that cut it counts at the door, too.
    let again = stage.psql(&cut).unwrap().run("select 1").unwrap();
    assert!(again.stderr.contains("access to this target is not granted to you"), "{}", again.stderr);
}
