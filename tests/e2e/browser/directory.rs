//! People whose tokens list no groups, because they are in too many: Graph says which, at each page.

use super::*;
use crate::graph::asked_by;
use chaperone::demo::graph::{Account as Object, AccountKind, Graph, GraphBehaviour};
use chaperone_tests::stage::TENANT;

const SILENT: &str = "The identity provider does not answer now";

/// A gateway process that asks a Graph, and three people: the first two are in the approvers' group by Graph alone.
async fn scene() -> Option<(Stage, Serving, Graph, tools::BrowserTools)> {
    let tools = tools::browser()?;
    let (mut stage, _) =
        Stage::prepare(Setting { sign_in: SignIn::Here, ..Setting::default() }).await.unwrap();
    let graph = asked_by(&stage, "").await;
    let serving = stage.serve().await.unwrap();
    for (name, number, group) in [("Carol", 9, DBAS), ("Dan", 8, DBAS), ("Eve", 7, ASKERS)] {
        graph.put(TENANT, &object_id(number), Object::new(AccountKind::Member, &[group]));
        let (name, object_id, groups) = (name.into(), object_id(number), GroupsClaim::Overage);
        stage.issuer.admit(Account { name, object_id, groups, kind: CallerKind::Human });
    }
    Some((stage, serving, graph, tools))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_person_whom_graph_has_in_the_group_approves_and_while_it_is_down_nobody() {
    let Some((stage, serving, graph, tools)) = scene().await else { return };
    let (first, second) = (asked(&stage, 2), asked(&stage, 3));
    let link = format!("/approvals/{first}");
    let carol = signed_in(&stage, &tools, "Carol", &link).await;
    carol.until("Waits for 1 person").await.unwrap();
    carol.click("button.approve").await.unwrap();
    carol.until("Approved.").await.unwrap();
    let agent = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    assert_eq!(stage.psql(&agent).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");

    // Graph says the groups that there are, and not that everybody is in all.
    let link = format!("/approvals/{second}");
    let eve = signed_in(&stage, &tools, "Eve", "/approvals").await;
    assert!(eve.until("Nothing waits.").await.unwrap().contains("What waits for you"));
    eve.open(&page(&stage, &link)).await.unwrap();
    eve.until("There is nothing under this address that you may see").await.unwrap();

    graph.behave(GraphBehaviour::Fails(500, None));
    let dan = Browser::start(&tools).await.unwrap();
    dan.open(&page(&stage, "/approvals")).await.unwrap();
    dan.until("Sign in as").await.unwrap();
    dan.follow("Dan").await.unwrap();
    dan.until(SILENT).await.unwrap();
    for path in ["/approvals", link.as_str()] {
        dan.open(&page(&stage, path)).await.unwrap();
        let text = dan.until(SILENT).await.unwrap();
        assert!(!text.contains("Nothing.") && !dan.has("form.decide").await.unwrap(), "{path}: {text}");
    }
    assert_eq!(state(&stage, 3), "pending");
    graph.behave(GraphBehaviour::Works);
    // That it did not answer counts for a moment.
    while !dan.has("form.decide").await.unwrap() {
        dan.open(&page(&stage, &link)).await.unwrap();
    }
    dan.click("button.approve").await.unwrap();
    dan.until("Approved.").await.unwrap();
    assert_eq!(state(&stage, 3), "already-open");
    serving.signal("TERM").unwrap();
    assert!(serving.ended().unwrap().0.success());
}
