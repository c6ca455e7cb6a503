//! What is risky waits for people: exactly that operation, for the right people, and for as long as its client waits.

use chaperone::recorder::EventKind;
use chaperone_core::identity::CallerKind;
use chaperone_tests::cases::{Case, failed};
use chaperone_tests::process::Ran;
use chaperone_tests::raw::{self, Out, Wire, errors, rows, shape};
use chaperone_tests::scripts::python;
use chaperone_tests::stage::{AGENTS, DBAS, Setting, Stage, first_id, object_id};
use std::sync::Arc;

/// DELETE waits for one person, UPDATE for two, and FOR UPDATE for a second only.
const TRIGGER: &str = r#"{ threshold: 50, approvers: dba, timeout: 1m, rules: [
    { when: { class: update }, needed: 2, reason: "Two of you." },
    { when: { class: select.for-update }, timeout: 1s } ] }"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_risky_waits_for_people() {
    let trigger = TRIGGER.replace('\n', " ");
    let stage = Stage::start(Setting { trigger, ..Setting::default() }).await.unwrap();
    let (_stage, failed) = failed(
        stage,
        chaperone_tests::cases![
            an_approved_statement_runs_and_the_recording_names_the_approver,
            a_rejected_statement_does_not_run_and_the_client_reads_why,
            a_statement_that_nobody_answers_for_is_refused,
            a_cancel_request_withdraws_a_held_statement,
            psql_is_interrupted_while_its_statement_is_held,
            a_driver_that_gives_up_withdraws_its_statement,
            a_client_that_leaves_takes_its_statement_along,
            other_sessions_go_on_while_one_is_held,
            nobody_approves_twice_and_two_means_two_persons,
            only_people_of_the_group_approve,
            what_was_approved_is_what_runs_parameters_included,
            an_approval_of_one_execution_is_not_one_of_the_next,
            a_held_statement_inside_a_transaction_can_be_rolled_back,
            a_driver_prepares_and_is_held_in_a_transaction_and_in_a_pipeline,
            prepare_and_execute_in_sql_are_no_way_around_a_hold,
        ],
    )
    .await
    .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Sends what will be held, and reads up to the notice: the hold's id.
async fn held(wire: &mut Wire, out: Out) -> String {
    wire.send(out).await.unwrap();
    let notice = wire.until(b'N').await.unwrap().field(b'M').unwrap();
    first_id(&notice, "hold_").unwrap_or_else(|| panic!("no hold in {notice}"))
}

/// Waits until an operation with this in its text asks for approval.
async fn asked(stage: &Stage, text: &str) -> String {
    let approver = stage.approver().unwrap();
    let mut id = None;
    let found = |stage: &Stage| {
        let waiting = stage.chaperone(&approver, &["approvals", "--json"])?.success()?;
        let waiting: serde_json::Value = serde_json::from_str(&waiting)?;
        for one in waiting["approvals"].as_array().into_iter().flatten() {
            if one["matter"]["summary"].as_str().is_some_and(|summary| summary.contains(text)) {
                id = one["id"].as_str().map(str::to_owned);
            }
        }
        Ok(id.is_some())
    };
    stage.until(&format!("a question about {text}"), found).await.unwrap();
    id.unwrap()
}

fn approve(stage: &Stage, id: &str) -> Ran {
    stage.chaperone(&stage.approver().unwrap(), &["approve", id]).unwrap()
}

fn order(stage: &Stage, id: u32) -> bool {
    stage.real(&format!("select count(*) from orders where id = {id}")).unwrap().trim() == "1"
}

/// Nobody can answer any more.
async fn gone(stage: &Stage, id: &str) {
    stage
        .until("the hold's end", |stage| {
            let waiting = stage.chaperone(&stage.approver()?, &["approvals", "--json"])?.success()?;
            Ok(!waiting.contains(id))
        })
        .await
        .unwrap();
    let late = approve(stage, id);
    assert!(!late.status.success(), "approved what nobody waits for: {}", late.stdout);
    assert!(late.stderr.contains("This cannot be decided: it is already"), "{}", late.stderr);
}

async fn an_approved_statement_runs_and_the_recording_names_the_approver(case: Case) {
    case.window().unwrap();
    let psql = case.stage.psql(&case.token).unwrap();
    let ran = tokio::task::spawn_blocking(move || psql.run("delete from orders where id = 1 returning id"));
    let id = asked(&case.stage, "where id = 1 ").await;
    assert!(order(&case.stage, 1), "it ran before it was approved");
    approve(&case.stage, &id).success().unwrap();
    let ran = ran.await.unwrap().unwrap();
    assert_eq!(ran.stdout.trim(), "1");
    assert!(ran.stderr.contains("NOTICE:  this statement waits for 1 approval of dba"), "{}", ran.stderr);
    assert!(!order(&case.stage, 1));
    let recorded = &case.stage.recorded_of(case.number).unwrap()[0];
    let resolved = recorded.of(EventKind::HoldResolved).join("");
    assert!(resolved.contains("approved") && resolved.contains(&object_id(9)), "{resolved}");
    // Held before it was approved, and approved before there was a result.
    let place = |kind| recorded.events.iter().position(|event| event.kind == kind).unwrap();
    assert!(place(EventKind::Hold) < place(EventKind::HoldResolved));
    assert!(place(EventKind::HoldResolved) < place(EventKind::Result));
}

async fn a_rejected_statement_does_not_run_and_the_client_reads_why(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    let id = held(&mut wire, Out::new().query("delete from orders where id = 2")).await;
    let approver = case.stage.approver().unwrap();
    let rejected = case.stage.chaperone(&approver, &["reject", &id, "--comment", "ask Eve first"]).unwrap();
    rejected.success().unwrap();
    let answer = wire.answer().await.unwrap();
    assert_eq!(shape(&answer), "E:42501 ZI");
    assert!(errors(&answer).contains("The approver said: ask Eve first"), "{}", errors(&answer));
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    assert!(order(&case.stage, 2));
    gone(&case.stage, &id).await;
}

async fn a_statement_that_nobody_answers_for_is_refused(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    let id = held(&mut wire, Out::new().query("select id from orders where id = 3 for update")).await;
    let answer = wire.answer().await.unwrap();
    assert_eq!(shape(&answer), "E:42501 ZI");
    assert!(errors(&answer).contains("nobody approved this operation in time"), "{}", errors(&answer));
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    let late = approve(&case.stage, &id);
    assert!(!late.status.success(), "{}", late.stdout);
}

async fn a_cancel_request_withdraws_a_held_statement(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    let id = held(&mut wire, Out::new().query("delete from orders where id = 4")).await;
    // Somebody who does not know the secret cancels nothing.
    let mut wrong = wire.key;
    wrong[7] ^= 1;
    raw::cancel(case.stage.address, wrong).await.unwrap();
    assert!(
        case.stage.chaperone(&case.stage.approver().unwrap(), &["approvals"]).unwrap().stdout.contains(&id)
    );
    raw::cancel(case.stage.address, wire.key).await.unwrap();
    let answer = wire.answer().await.unwrap();
    assert_eq!(shape(&answer), "E:57014 ZI");
    gone(&case.stage, &id).await;
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    // The next one is asked about anew: an old cancel request does not reach it.
    let next = held(&mut wire, Out::new().query("delete from orders where id = 4")).await;
    approve(&case.stage, &next).success().unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "C ZI");
    assert!(!order(&case.stage, 4));
}

async fn psql_is_interrupted_while_its_statement_is_held(case: Case) {
    case.window().unwrap();
    let psql = case.stage.psql(&case.token).unwrap();
    let ran = tokio::task::spawn_blocking(move || {
        psql.interrupted_when("hold_", "delete from orders where id = 5;\nselect 'goes on';\n")
    });
    let ran = ran.await.unwrap().unwrap();
    let id = first_id(&ran.stderr, "hold_").unwrap();
    assert!(ran.stderr.contains("withdrawn by a cancel request"), "{}", ran.stderr);
    assert!(order(&case.stage, 5));
    gone(&case.stage, &id).await;
}

const GIVES_UP: &str = r#"
import asyncio, os, threading, asyncpg, psycopg

with psycopg.connect("", autocommit=True) as connection:
    told = []
    def notice(diagnostic):
        told.append(diagnostic.message_primary)
        # From another thread, as an agent's timeout would.
        threading.Thread(target=connection.cancel_safe).start()
    connection.add_notice_handler(notice)
    try:
        connection.execute("delete from orders where id = %s", [6])
        raise AssertionError("it ran")
    except psycopg.errors.QueryCanceled as cancelled:
        assert "withdrawn" in str(cancelled), cancelled
    assert told and "hold_" in told[0], told
    assert connection.execute("select 7").fetchone() == (7,)

async def main():
    connection = await asyncpg.connect(ssl="require", host=os.environ["PGHOST"])
    try:
        await connection.execute("delete from orders where id = $1", 6, timeout=0.5)
        raise AssertionError("it ran")
    except asyncio.TimeoutError:
        pass
    assert await connection.fetchval("select 8") == 8
    await connection.close()
asyncio.run(main())
print("gave up")
"#;

async fn run_python(case: &Case, script: &'static str) -> tokio::task::JoinHandle<anyhow::Result<Ran>> {
    let environment = case.stage.driver_environment(&case.token);
    tokio::task::spawn_blocking(move || {
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        python(script, &environment)
    })
}

async fn a_driver_that_gives_up_withdraws_its_statement(case: Case) {
    case.window().unwrap();
    let said = run_python(&case, GIVES_UP).await.await.unwrap().unwrap().success().unwrap();
    assert_eq!(said.trim(), "gave up");
    assert!(order(&case.stage, 6));
    let waiting = case.stage.chaperone(&case.stage.approver().unwrap(), &["approvals", "--json"]).unwrap();
    assert!(
        !waiting.stdout.contains(&object_id(case.number)),
        "somebody could still approve: {}",
        waiting.stdout
    );
}

async fn a_client_that_leaves_takes_its_statement_along(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    let id = held(&mut wire, Out::new().query("delete from orders where id = 7")).await;
    drop(wire);
    gone(&case.stage, &id).await;
    assert!(order(&case.stage, 7));
}

async fn other_sessions_go_on_while_one_is_held(case: Case) {
    case.window().unwrap();
    let mut held_one = Wire::connect(&case.stage, &case.token).await.unwrap();
    let id = held(&mut held_one, Out::new().query("delete from orders where id = 8")).await;
    for _ in 0..4 {
        // More of them than there are session threads.
        let mut other = Wire::connect(&case.stage, &case.token).await.unwrap();
        assert_eq!(rows(&other.query("select 7").await.unwrap()), ["7"]);
    }
    approve(&case.stage, &id).success().unwrap();
    assert_eq!(shape(&held_one.answer().await.unwrap()), "C ZI");
}

async fn nobody_approves_twice_and_two_means_two_persons(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    let id = held(&mut wire, Out::new().query("update orders set status = 'paid' where id = 9")).await;
    let first = approve(&case.stage, &id).success().unwrap();
    assert!(first.contains("1 more person"), "{first}");
    let again = approve(&case.stage, &id);
    assert!(!again.status.success(), "one person counted twice: {}", again.stdout);
    let second = case.stage.person(10).unwrap();
    case.stage.chaperone(&second, &["approve", &id]).unwrap().success().unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "C ZI");
    let resolved = case.stage.recorded_of(case.number).unwrap()[0].of(EventKind::HoldResolved).join("");
    assert!(resolved.contains(&object_id(9)) && resolved.contains(&object_id(10)), "{resolved}");
    let over = approve(&case.stage, &id);
    assert!(!over.status.success(), "{}", over.stdout);
}

async fn only_people_of_the_group_approve(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    let id = held(&mut wire, Out::new().query("delete from orders where id = 10")).await;
    let stage: &Arc<Stage> = &case.stage;
    for (who, kind, group, number) in [
        ("the agent itself", CallerKind::Agent, AGENTS, case.number),
        ("the agent, were it in the group", CallerKind::Agent, DBAS, case.number),
        ("another agent of the group", CallerKind::Agent, DBAS, 0xe1),
        ("a person of the group through an agent", CallerKind::HumanThroughAgent, DBAS, 0xe2),
        ("an agent's user of the group", CallerKind::AgentUser, DBAS, 0xe3),
        ("a workload of the group", CallerKind::Workload, DBAS, 0xe4),
        ("a person of another group", CallerKind::Human, AGENTS, 0xe5),
        ("a person with the agent's own object id", CallerKind::Human, DBAS, case.number),
    ] {
        let token = stage.token(kind, group, number).unwrap();
        let said = stage.chaperone(&token, &["approve", &id]).unwrap();
        assert!(!said.status.success(), "{who} approved: {}", said.stdout);
        let said = stage.chaperone(&token, &["reject", &id]).unwrap();
        assert!(!said.status.success(), "{who} rejected: {}", said.stdout);
    }
    assert!(order(stage, 10));
    approve(stage, &id).success().unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "C ZI");
}

async fn what_was_approved_is_what_runs_parameters_included(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    let prepare = Out::new().parse("d", "delete from orders where id = $1").sync();
    assert_eq!(shape(&wire.ask(prepare).await.unwrap()), "1 ZI");
    // Behind what is held the client binds another row under the same names: it must not slip in.
    let out = Out::new().bind("p", "d", &["11"], &[]).execute("p").sync();
    let out = out.bind("p", "d", &["12"], &[]).close(b'P', "p").sync();
    let id = held(&mut wire, out).await;
    assert!(order(&case.stage, 11) && order(&case.stage, 12));
    approve(&case.stage, &id).success().unwrap();
    let first = wire.answer().await.unwrap();
    assert_eq!(shape(&first).replace(" N", ""), "2 C ZI");
    // The approver sees the parameters.
    let second = asked(&case.stage, "$1 = \"12\"").await;
    let approver = case.stage.approver().unwrap();
    case.stage.chaperone(&approver, &["reject", &second]).unwrap().success().unwrap();
    let refused = wire.answer().await.unwrap();
    assert!(shape(&refused).ends_with("E:42501 ZI"), "{}", shape(&refused));
    assert!(!order(&case.stage, 11) && order(&case.stage, 12));
    // The parameters are in the recording as well.
    let parameters = case.stage.recorded_of(case.number).unwrap()[0].of(EventKind::Parameters).join(" ");
    assert!(parameters.contains("11") && parameters.contains("12"), "{parameters}");
}

async fn an_approval_of_one_execution_is_not_one_of_the_next(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    let prepare = Out::new().parse("d", "delete from orders where id = $1").sync();
    assert_eq!(shape(&wire.ask(prepare).await.unwrap()), "1 ZI");
    for row in ["13", "14"] {
        let id = held(&mut wire, Out::new().bind("", "d", &[row], &[]).execute("").sync()).await;
        approve(&case.stage, &id).success().unwrap();
        assert_eq!(shape(&wire.answer().await.unwrap()), "2 C ZI");
    }
    assert!(!order(&case.stage, 13) && !order(&case.stage, 14));
    // The same text as a simple query, too.
    for _ in 0..2 {
        let id = held(&mut wire, Out::new().query("delete from orders where id = 13")).await;
        approve(&case.stage, &id).success().unwrap();
        assert_eq!(shape(&wire.answer().await.unwrap()), "C ZI");
    }
}

async fn a_held_statement_inside_a_transaction_can_be_rolled_back(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    assert_eq!(shape(&wire.query("begin").await.unwrap()), "C ZT");
    let id = held(&mut wire, Out::new().run("delete from orders where id = $1", &["15"]).sync()).await;
    approve(&case.stage, &id).success().unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "1 2 C ZT");
    assert_eq!(rows(&wire.query("select count(*) from orders where id = 15").await.unwrap()), ["0"]);
    // A rejected one leaves the transaction as it was.
    let id = held(&mut wire, Out::new().query("delete from orders where id = 16")).await;
    case.stage.chaperone(&case.stage.approver().unwrap(), &["reject", &id]).unwrap().success().unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "E:42501 ZT");
    assert_eq!(shape(&wire.query("rollback").await.unwrap()), "C ZI");
    assert!(order(&case.stage, 15));
}

const PREPARES: &str = r#"
import psycopg

with psycopg.connect("") as connection:
    connection.prepare_threshold = 0
    with connection.transaction(force_rollback=True):
        assert connection.execute("delete from orders where id = %s", [17]).rowcount == 1
    assert connection.execute("select count(*) from orders where id = 17").fetchone() == (1,)
    connection.commit()
    with connection.pipeline():
        insert = "insert into orders (customer_id, item, total, status) values (1, %s, 1, 'open')"
        first = connection.execute(insert, ["before"])
        held = connection.execute("delete from orders where id = %s", [18])
        last = connection.execute("select count(*) from orders where id = %s", [18])
    assert first.rowcount == 1 and held.rowcount == 1 and last.fetchone() == (0,)
    connection.commit()
print("prepared")
"#;

async fn a_driver_prepares_and_is_held_in_a_transaction_and_in_a_pipeline(case: Case) {
    case.window().unwrap();
    let ran = run_python(&case, PREPARES).await;
    let approver = case.stage.approver().unwrap();
    for _ in 0..2 {
        // Only this agent's: others are held at the same time.
        let mut id = None;
        case.stage
            .until("a hold of the driver", |stage| {
                let waiting = stage.chaperone(&approver, &["approvals", "--json"])?.success()?;
                let waiting: serde_json::Value = serde_json::from_str(&waiting)?;
                for one in waiting["approvals"].as_array().into_iter().flatten() {
                    if one["requester"].to_string().contains(&object_id(case.number)) {
                        id = one["id"].as_str().map(str::to_owned);
                    }
                }
                Ok(id.is_some())
            })
            .await
            .unwrap();
        approve(&case.stage, &id.unwrap()).success().unwrap();
    }
    assert_eq!(ran.await.unwrap().unwrap().success().unwrap().trim(), "prepared");
    assert!(order(&case.stage, 17) && !order(&case.stage, 18));
}

/// An approver has to see a statement and its parameters together, so what needs approval does not go through SQL's own
/// PREPARE and EXECUTE, and a name that they may have changed is not believed any more.
async fn prepare_and_execute_in_sql_are_no_way_around_a_hold(case: Case) {
    case.window().unwrap();
    let mut wire = Wire::connect(&case.stage, &case.token).await.unwrap();
    let prepare = Out::new().parse("d", "delete from orders where id = $1").sync();
    assert_eq!(shape(&wire.ask(prepare).await.unwrap()), "1 ZI");
    for sql in [
        "execute d(19)",
        "explain analyze execute d(19)",
        "prepare e (int) as delete from orders where id = $1",
    ] {
        assert_eq!(shape(&wire.query(sql).await.unwrap()), "E:42501 ZI", "{sql}");
        let extended = wire.ask(Out::new().run(sql, &[]).sync()).await.unwrap();
        assert_eq!(shape(&extended), "E:42501 ZI", "{sql}");
    }
    // The statement itself can still be run.
    let id = held(&mut wire, Out::new().bind("", "d", &["19"], &[]).execute("").sync()).await;
    approve(&case.stage, &id).success().unwrap();
    assert_eq!(shape(&wire.answer().await.unwrap()), "2 C ZI");
    // After a PREPARE in SQL its name is in doubt.
    assert_eq!(shape(&wire.query("prepare other as select 1").await.unwrap()), "C ZI");
    wire.send(Out::new().bind("", "d", &["20"], &[]).execute("").sync()).await.unwrap();
    not_free(&case, &mut wire, 20).await;
    wire.send(Out::new().query("execute d(20)")).await.unwrap();
    not_free(&case, &mut wire, 20).await;
}

/// What was sent is held or refused, and the row is still there. A held one is withdrawn.
async fn not_free(case: &Case, wire: &mut Wire, row: u32) {
    while let Some(message) = wire.next().await.unwrap() {
        match message.kind {
            b'N' => raw::cancel(case.stage.address, wire.key).await.unwrap(),
            b'C' if message.body.starts_with(b"DELETE") => panic!("it ran"),
            b'Z' => break,
            _ => {}
        }
    }
    assert!(order(&case.stage, row), "row {row} is gone");
}
