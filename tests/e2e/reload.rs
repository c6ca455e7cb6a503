//! The policy is read again while the gateway runs: what is taken out of it ends now, and a file with a mistake changes nothing.

use chaperone_core::identity::CallerKind;
use chaperone_tests::raw::{Out, Wire, errors, rows, shape};
use chaperone_tests::stage::{AGENTS, ASKERS, DBAS, Setting, Stage, TENANT, first_id, object_id};
use std::time::{Duration, Instant};

/// "Now", and room for a machine that does other things.
const LATE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_taken_back_cuts_its_sessions_and_nobody_elses() {
    let stage = Stage::start(Setting::default()).await.unwrap();
    let operator = stage.approver().unwrap();
    let agent = stage.agent_with_window().unwrap();
    let asker = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let asked = stage.chaperone(&asker, &["request", "shop", "--reason", "x", "--json"]).unwrap();
    let asked = first_id(&asked.success().unwrap(), "req_").unwrap();
    stage.chaperone(&operator, &["approve", &asked]).unwrap().success().unwrap();
    let mut cut = Wire::connect(&stage, &agent).await.unwrap();
    let mut other = Wire::connect(&stage, &asker).await.unwrap();

    // Nothing has changed; then something else than the policy, and then a mistake at the end of the file.
    let reload = || stage.chaperone(&operator, &["reload"]).unwrap();
    let same = reload().success().unwrap();
    assert_eq!(same, "The policy was read again; nothing in it has changed.\n");
    let good = std::fs::read_to_string(stage.path("chaperone.yaml")).unwrap();
    let removed =
        good.replace(r#"  - { grant: shop, to: "group:agents""#, r#"  - { grant: shop, to: "group:dba""#);
    assert_ne!(removed, good);
    let write = |text: &str| std::fs::write(stage.path("chaperone.yaml"), text).unwrap();
    for (text, said) in [
        (removed.replace("state: state.db", "state: other.db"), "state changed, which needs a restart"),
        (format!("{removed}recorded: yes\n"), "unknown key `recorded`"),
        (removed.replace("lifetime: 15m", "lifetime: 15"), "column"),
        (String::new(), "line 1"),
    ] {
        write(&text);
        let refused = reload();
        assert_eq!(refused.stdout, "");
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("The file was not taken; the policy before stays"),
            "{}",
            refused.stderr
        );
        assert_eq!(rows(&cut.query("select 7").await.unwrap()), ["7"]);
    }
    std::fs::remove_file(stage.path("chaperone.yaml")).unwrap();
    assert!(reload().stderr.contains("cannot read"), "{}", reload().stderr);
    let not_theirs = stage.chaperone(&agent, &["reload"]).unwrap();
    assert!(
        not_theirs.stderr.contains("There is nothing of this id that you may see"),
        "{}",
        not_theirs.stderr
    );

    write(&removed);
    cut.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    let started = Instant::now();
    let taken = reload().success().unwrap();
    assert_eq!(
        taken,
        "The policy was read again; changed: grants. Sessions that it would not let in again are cut.\n"
    );
    let last = cut.answer().await.unwrap();
    assert!(started.elapsed() < LATE, "cut after {:?}", started.elapsed());
    assert!(shape(&last).ends_with("E:57P01"), "{}", shape(&last));
    assert!(
        errors(&last).contains("the policy that let you onto this target was changed"),
        "{}",
        errors(&last)
    );
    assert_eq!(rows(&other.query("select 8").await.unwrap()), ["8"]);
    let again = stage.psql(&agent).unwrap().run("select 1").unwrap();
    assert!(again.stderr.contains("access to this target is not granted"), "{}", again.stderr);
    let recorded = stage.recorded_of(1).unwrap();
    assert!(recorded[0].end().contains("revoked"), "{}", recorded[0].end());

    // Given back, the window counts again: it was never ended. Who is one person may change as well, and counts at once.
    let twins = [8, 9].map(|number| format!("principal:test/{TENANT}/{}", object_id(number))).join(", ");
    write(&format!("{good}people: [{{ name: Ann, principals: [{twins}] }}]\n"));
    assert!(reload().success().unwrap().contains("changed: grants, people."));
    let own = stage.token(CallerKind::Human, ASKERS, 8).unwrap();
    let asked = stage.chaperone(&own, &["request", "shop", "--reason", "x", "--json"]).unwrap();
    let asked = first_id(&asked.success().unwrap(), "req_").unwrap();
    let refused = stage.chaperone(&operator, &["approve", &asked]).unwrap();
    assert!(refused.stderr.contains("nobody decides on their own request"), "{}", refused.stderr);
    assert_eq!(stage.psql(&agent).unwrap().run("select 9").unwrap().success().unwrap(), "9\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_policy_again_and_leaves_an_audit_event() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let agent = stage.agent_with_window().unwrap();
    let serving = stage.serve().await.unwrap();
    let mut wire = Wire::connect(&stage, &agent).await.unwrap();
    stage.edit("groups: { agents:", "groups: { agents: 7, agents_:").unwrap();
    serving.signal("HUP").unwrap();
    let has = |stage: &Stage, event: &str| {
        Ok(stage.audited()?.lines().any(|line| line.starts_with(event) && line.ends_with("SIGHUP")))
    };
    stage.until("the refusal's audit event", |stage| has(stage, "config.refused")).await.unwrap();
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);

    // The group of agents is another now: its alias means others, so its members are nobody here.
    stage.edit(&format!("agents: 7, agents_: test/{AGENTS}"), &format!("agents: test/{DBAS}")).unwrap();
    stage
        .edit(&format!(", dba: test/{DBAS} }}"), ", dba: test/7e570000-0000-4000-8000-0000000000b4 }")
        .unwrap();
    serving.signal("HUP").unwrap();
    let last = wire.answer().await.unwrap();
    assert!(
        errors(&last).contains("the policy that let you onto this target was changed"),
        "{}",
        errors(&last)
    );
    stage.until("the audit event", |stage| has(stage, "config.loaded")).await.unwrap();
    let events = stage.audited().unwrap();
    let digest = chaperone::config::without_secrets(&stage.path("chaperone.yaml")).unwrap().source.sha256;
    assert_eq!(events.matches("config.loaded").count(), 3, "{events}");
    assert!(events.contains(&digest), "{events}");
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{status} {log}");
    assert!(log.contains("the policy was not read again; the one before stays"), "{log}");
}

/// Rules by label, a rule that denies, and what `explain` says of them, by the file and by the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_denies_cuts_what_runs_and_explain_says_which() {
    let stage = Stage::start(Setting::default()).await.unwrap();
    let operator = stage.approver().unwrap();
    let agent = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &agent).await.unwrap();
    assert_eq!(rows(&wire.query("select 1").await.unwrap()), ["1"]);
    let explain = |token: &str, more: &[&str]| {
        let args = [&["explain", "--target", "shop"], more].concat();
        stage.chaperone(token, &args).unwrap()
    };
    let live = explain(&agent, &["--live"]).success().unwrap();
    assert!(live.contains("on shop: requested"), "{live}");
    assert!(live.contains("it means them") && !live.contains("dba"), "{live}");

    let path = stage.path("chaperone.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let rule = "denies:\n  - { deny: shop, kind: agent, reason: the shop is being moved }\n";
    std::fs::write(&path, format!("{text}{rule}")).unwrap();
    let taken = stage.chaperone(&operator, &["reload"]).unwrap().success().unwrap();
    assert!(taken.contains("changed: denies."), "{taken}");
    let last = wire.answer().await.unwrap();
    assert!(
        errors(&last).contains("the policy that let you onto this target was changed"),
        "{}",
        errors(&last)
    );
    let again = stage.psql(&agent).unwrap().run("select 1").unwrap();
    assert!(again.stderr.contains("a rule of the policy denies you this target"), "{}", again.stderr);
    assert!(again.stderr.contains("The shop is being moved."), "{}", again.stderr);
    let asked = stage.chaperone(&agent, &["request", "shop", "--reason", "x"]).unwrap();
    assert!(asked.stderr.contains("A rule of the policy denies you this target."), "{}", asked.stderr);

    let denied = explain(&agent, &["--live"]);
    assert!(denied.stdout.contains("on shop: denied"), "{}", denied.stdout);
    let tenant = chaperone::config::without_secrets(&path).unwrap().providers[0].tenants[0].clone();
    let who = format!("test/{tenant}/7e570000-0000-4000-8000-00000000abcd");
    let config = path.to_str().unwrap();
    let about = ["--config", config, "--who", &who, "--group", "agents"];
    let by_file = explain(&operator, &about);
    assert_eq!(by_file.status.code(), Some(1), "{}", by_file.stderr);
    let by_gateway = explain(&operator, &[&about[2..], &["--live"]].concat());
    assert_eq!(by_file.stdout, by_gateway.stdout);
    let human = explain(&operator, &[&about, &["--kind", "human"] as &[&str]].concat()).success().unwrap();
    assert!(human.contains("on shop: requested"), "{human}");
    let not_theirs = explain(&agent, &[&about[2..], &["--live"]].concat());
    assert!(
        not_theirs.stderr.contains("There is nothing of this id that you may see"),
        "{}",
        not_theirs.stderr
    );
}
