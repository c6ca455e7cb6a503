//! What was done is in a recording that verifies: also when the gateway is killed, told to stop, or cannot write.

mod faults;
mod full;
pub(crate) mod keeping;
mod power;

use chaperone::recorder::{Ending, EventKind, Library, Status, verify};
use chaperone_tests::raw::{Out, Wire, rows, shape};
use chaperone_tests::scripts::python;
use chaperone_tests::stage::{Recorded, Setting, Stage, object_id};
use std::collections::BTreeSet;

pub(crate) fn logs_statements() -> Setting {
    let server = vec![("log_statement".to_owned(), "all".to_owned())];
    Setting { server, trigger: "{ threshold: 100, approvers: dba }".into(), ..Setting::default() }
}

pub(crate) async fn script(
    environment: Vec<(String, String)>,
    script: &'static str,
) -> anyhow::Result<String> {
    tokio::task::spawn_blocking(move || {
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (&**name, &**value)).collect();
        python(script, &environment)?.success()
    })
    .await?
}

/// Every mark of a statement in a text: `mark-3-17`.
fn marks(text: &str) -> BTreeSet<String> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let whole = text.match_indices("mark-").map(|(at, _)| text[at..].split(ends).next().unwrap_or_default());
    whole.filter(|mark| mark.ends_with(|c: char| c.is_ascii_digit())).map(str::to_owned).collect()
}

fn recorded_marks(stage: &Stage) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for recorded in stage.recorded().unwrap() {
        for kind in [EventKind::Operation, EventKind::Parameters] {
            for body in recorded.of(kind) {
                all.extend(marks(&body.replace('\0', " ")));
            }
        }
    }
    all
}

fn statuses(stage: &Stage) -> Vec<Status> {
    let paths = Library::new(stage.recordings()).paths(usize::MAX).unwrap();
    paths.iter().map(|path| verify(path).unwrap().status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_says_who_did_what_and_what_was_decided() {
    let mut stage = Stage::start(logs_statements()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(rows(&wire.query("select name from customers where id = 1").await.unwrap()), ["Ada Abbott"]);
    assert_eq!(shape(&wire.query("drop table customers").await.unwrap()), "E:42501 ZI");
    let out = Out::new().run("select ssn, id from customers where id = $1 and name <> $2", &["2", "nobody"]);
    assert_eq!(rows(&wire.ask(out.sync()).await.unwrap()), ["[redacted]|2"]);
    assert_eq!(shape(&wire.query("select 1/0").await.unwrap()), "E:22012 ZI");
    wire.send(Out::new().message(b'X', b"")).await.unwrap();
    assert!(wire.next().await.unwrap().is_none());
    let sealed = |one: &Recorded| one.path.extension().is_some_and(|extension| extension == "chrec");
    stage
        .until("a sealed recording", |stage| Ok(stage.recorded()?.first().is_some_and(sealed)))
        .await
        .unwrap();

    assert_eq!(statuses(&stage), [Status::Intact(Ending::Sealed)]);
    // Signed by the key that the gateway made at its start, which is the configuration's, and by no other.
    let (own, other) = (stage.path("recording-key.pub.pem"), stage.path("other.pem"));
    let configuration = stage.path("chaperone.yaml");
    let [configuration, own, other] = [&configuration, &own, &other].map(|path| path.to_str().unwrap());
    stage.chaperone(&token, &["verify", "--all", "--config", configuration]).unwrap().success().unwrap();
    stage
        .chaperone(&token, &["verify", "--all", "--config", configuration, "--public-key", own])
        .unwrap()
        .success()
        .unwrap();
    let made = stage.chaperone(&token, &["recording-key", "--new", stage.path("new.pem").to_str().unwrap()]);
    std::fs::write(other, made.unwrap().success().unwrap()).unwrap();
    let shown = stage
        .chaperone(&token, &["verify", "--all", "--config", configuration, "--public-key", other])
        .unwrap();
    assert_eq!(shown.status.code(), Some(4), "{}", shown.stdout);
    let recorded = stage.recorded().unwrap().remove(0);
    let head = recorded.head();
    for part in
        ["test/", &object_id(1), "\"shop\"", "win_", "req_", "\"guard\"", "\"mask\"", "digest", "config_hash"]
    {
        assert!(head.contains(part), "the head lacks {part}: {head}");
    }
    let operations = recorded.of(EventKind::Operation).join("\n");
    for text in ["select name from customers", "drop table customers", "where id = $1 and name <> $2"] {
        assert!(operations.contains(text), "{operations}");
    }
    assert!(recorded.of(EventKind::Parameters).join("").contains("nobody"));
    let decisions = recorded.of(EventKind::Decision);
    assert_eq!(decisions.len(), 4, "{decisions:?}");
    assert!(decisions[1].contains("\"refuse\"") && decisions[1].contains("ddl.drop"), "{}", decisions[1]);
    assert!(recorded.of(EventKind::Refusal).join("").contains("ddl.drop"));
    assert!(recorded.of(EventKind::Rows).join("").contains("Ada Abbott"), "what the client saw is not there");
    assert!(recorded.of(EventKind::Mask).join("").contains("ssn"));
    assert!(recorded.of(EventKind::Result).join("").contains("\"rows\":1"));
    assert!(recorded.of(EventKind::Error).join("").contains("22012"));
    assert!(recorded.end().contains("client-closed"), "{}", recorded.end());
    // An operation and its decision come before anything of its result.
    for event in recorded.events.iter().filter(|event| event.kind == EventKind::Result) {
        let of = |kind| {
            recorded.events.iter().position(|one| one.kind == kind && one.operation == event.operation)
        };
        let begun = of(EventKind::Operation).or(of(EventKind::Execute));
        assert!(begun < of(EventKind::Result), "operation {}", event.operation);
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_recording_takes_its_key_to_be_read_and_none_to_be_verified() {
    let (mut stage, file) = Stage::prepare(Setting::default()).await.unwrap();
    let plain = "{ directory: recordings }";
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(plain));
    std::fs::write(stage.path("disk.key"), "01".repeat(31) + "ff\n").unwrap();
    let encrypted = "{ directory: recordings, encryption_key: \"file:disk.key\" }";
    std::fs::write(&file, text.replace(plain, encrypted)).unwrap();
    stage.restart().await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(rows(&wire.query("select name from customers where id = 1").await.unwrap()), ["Ada Abbott"]);
    wire.send(Out::new().message(b'X', b"")).await.unwrap();
    let sealed = |one: &Recorded| one.path.extension().is_some_and(|extension| extension == "chrec");
    let ended = |stage: &Stage| Ok(stage.recorded()?.first().is_some_and(sealed));
    stage.until("a sealed recording", ended).await.unwrap();
    stage.stop().await;
    let recorded = stage.recorded().unwrap().remove(0);
    assert!(recorded.of(EventKind::Rows).join("").contains("Ada Abbott"));
    let bytes = std::fs::read(&recorded.path).unwrap();
    for words in ["customers", "Ada", "shop", &object_id(1)] {
        assert!(
            !bytes.windows(words.len()).any(|window| window == words.as_bytes()),
            "{words} is in the clear"
        );
    }
    let session = recorded.path.file_stem().unwrap().to_str().unwrap();
    let [config, folder, key, public] =
        ["chaperone.yaml", "recordings", "disk.key", "recording-key.pub.pem"].map(|name| stage.path(name));
    let [config, folder, key, public] = [&config, &folder, &key, &public].map(|path| path.to_str().unwrap());
    let replay = ["replay", session, "--speed", "1000", "--recordings", folder];
    for with in [["--config", config], ["--key-file", key]] {
        let shown = stage.chaperone(&token, &[&replay[..], &with].concat()).unwrap().success().unwrap();
        assert!(shown.contains("Ada Abbott"), "{shown}");
    }
    let refused = stage.chaperone(&token, &[&replay[..], &["--config", "none"]].concat()).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stdout);
    assert!(refused.stderr.contains("takes the key"), "{}", refused.stderr);
    let verify = ["verify", folder, "--public-key", public, "--config", "none"];
    let verified = stage.chaperone(&token, &verify).unwrap().success().unwrap();
    assert!(verified.contains("1 of 1 recordings verify"), "{verified}");
}

/// Statements with a mark each, as text and as parameters, until the gateway is gone.
pub(crate) const LOAD: &str = r#"
import os, psycopg, sys, threading, time

pause = float(os.environ.get("PAUSE", "0"))

def load(number):
    try:
        with psycopg.connect("", autocommit=True) as connection:
            insert = "insert into orders (customer_id, item, total, status) values (1, %s, 1, 'open')"
            for n in range(1000000):
                time.sleep(pause)
                if n % 2:
                    connection.execute(insert, [f"mark-{number}-{n}"])
                else:
                    psycopg.ClientCursor(connection).execute(insert, [f"mark-{number}-{n}"])
    except psycopg.Error:
        pass

threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("gone")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_leaves_every_forwarded_operation_in_recordings_that_verify() {
    let mut stage = Stage::start(logs_statements()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let serving = stage.serve().await.unwrap();
    let load = tokio::spawn(script(stage.driver_environment(&token), LOAD));
    let busy = |stage: &Stage| {
        let count = stage.real("select count(*) from orders where item like 'mark-%'")?;
        Ok(count.trim().parse::<u32>()? > 300)
    };
    stage.until("a load", busy).await.unwrap();
    serving.signal("KILL").unwrap();
    assert!(!serving.ended().unwrap().0.success());
    assert_eq!(load.await.unwrap().unwrap().trim(), "gone");
    assert!(statuses(&stage).contains(&Status::Unsealed), "nothing was open when it was killed");

    stage.restart().await.unwrap();
    let recovered = statuses(&stage);
    assert_eq!(recovered.len(), 4);
    for status in recovered {
        assert_eq!(status, Status::Intact(Ending::Interrupted));
    }
    // The server knows of nothing that is not recorded; what is recorded and was not forwarded any more may be there.
    let (server, recorded) = (marks(&stage.postgres.log()), recorded_marks(&stage));
    assert!(server.len() > 300, "only {} statements reached the server", server.len());
    let lost: Vec<&String> = server.difference(&recorded).collect();
    assert!(lost.is_empty(), "{lost:?} reached the server unrecorded");
    // And the window is still open.
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    stage.stop().await;
}

const STOPPED: &str = r#"
import psycopg, threading
idle = psycopg.connect("", autocommit=True)
idle.execute("select 1")
result = []
def busy():
    with psycopg.connect("", autocommit=True) as connection:
        result.append(connection.execute("select pg_sleep(1.5), 'finished'").fetchone()[1])
thread = threading.Thread(target=busy)
thread.start()
thread.join()
try:
    idle.execute("select 2")
    result.append("still there")
except psycopg.errors.AdminShutdown as told:
    result.append(str(told).splitlines()[0])
print(result)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_told_to_reload_says_what_it_reloads_and_cuts_nobody() {
    let mut stage = Stage::start(logs_statements()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let serving = stage.serve().await.unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    for _ in 0..2 {
        serving.signal("HUP").unwrap();
        assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    }
    drop(wire);
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{status} {log}");
    assert!(log.contains("the policy was read again by=\"SIGHUP\""), "{log}");
    assert_eq!(statuses(&stage), [Status::Intact(Ending::Sealed)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_told_to_stop_finishes_what_runs_and_seals_everything() {
    let more = "limits: { shutdown_deadline: 4s }".into();
    let mut stage = Stage::start(Setting { more, ..logs_statements() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let serving = stage.serve().await.unwrap();
    let clients = tokio::spawn(script(stage.driver_environment(&token), STOPPED));
    // One that sleeps far beyond the deadline.
    let psql = stage.psql(&token).unwrap();
    let endless = tokio::task::spawn_blocking(move || psql.run("select pg_sleep(600)"));
    let sleeping = |stage: &Stage| {
        let count = stage.real(
            "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'",
        )?;
        Ok(count.trim() == "2")
    };
    stage.until("two sleepers", sleeping).await.unwrap();
    serving.signal("TERM").unwrap();
    // Nobody new gets in while the others may finish.
    let address = stage.address;
    let refused = |_: &Stage| Ok(std::net::TcpStream::connect(address).is_err());
    stage.until("a listener that is closed", refused).await.unwrap();
    let running =
        "select count(*) from pg_stat_activity where query like 'select pg_sleep(600)%' and state = 'active'";
    assert_eq!(stage.real(running).unwrap().trim(), "1", "what runs was cut at once");
    let said = clients.await.unwrap().unwrap();
    assert!(said.contains("'finished', 'the gateway is shutting down'"), "{said}");
    let endless = endless.await.unwrap().unwrap();
    assert!(endless.stderr.contains("FATAL:  the gateway is shutting down"), "{}", endless.stderr);
    let (status, log) = serving.ended().unwrap();
    assert!(status.success(), "{status} {log}");
    assert_eq!(statuses(&stage), vec![Status::Intact(Ending::Sealed); 3]);
    let ends: Vec<String> = stage.recorded().unwrap().iter().map(|recorded| recorded.end()).collect();
    assert_eq!(ends.iter().filter(|end| end.contains("shutting-down")).count(), 3, "{ends:?}");
    let alive = "select count(*) from pg_stat_activity where usename = 'shop_owner'";
    stage.until("no backend", |stage| Ok(stage.real(alive)?.trim() == "0")).await.unwrap();
    // Nothing that a client sent or saw, and no credential, is in the log.
    for secret in [token.as_str(), &stage.login.password, "pg_sleep", "finished"] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_takes_as_long_as_the_target_takes_for_it() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    wire.query("select pg_sleep(0.2)").await.unwrap();
    wire.ask(Out::new().run("select pg_sleep(0.2)", &[]).sync()).await.unwrap();
    wire.query("select 1; select pg_sleep(0.2)").await.unwrap();
    let took = |stage: &Stage| -> Vec<u64> {
        let results = stage.recorded().unwrap().remove(0).of(EventKind::Result);
        let micros =
            |body: &String| serde_json::from_str::<serde_json::Value>(body).unwrap()["micros"].as_u64();
        results.iter().filter_map(micros).collect()
    };
    stage.until("four results", |stage| Ok(took(stage).len() == 4)).await.unwrap();
    let took = took(&stage);
    // PostgreSQL sends the results of one text together, so that only both of them together took that long.
    assert!([took[0], took[1], took[2] + took[3]].iter().all(|micros| *micros >= 200_000), "{took:?}");
    stage.stop().await;
}

/// A short answer waits in memory for the next request; when none comes, it must not wait for the session's end.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_in_the_file_while_its_session_sits_idle() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(rows(&wire.query("select name from customers where id = 1").await.unwrap()), ["Ada Abbott"]);
    let written = |stage: &Stage| {
        let answered = |one: &Recorded| one.of(EventKind::Rows).join("").contains("Ada Abbott");
        Ok(stage.recorded()?.iter().any(|one| answered(one) && one.end().is_empty()))
    };
    stage.until("an answer in the file of an open session", written).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_recording_there_is_no_session() {
    let server = vec![("log_connections".to_owned(), "on".to_owned())];
    let mut stage = Stage::start(Setting { server, ..Setting::default() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    // Who may write everywhere cannot be kept out by permissions: a file stands where the folder has to be.
    std::fs::remove_dir_all(stage.recordings()).unwrap();
    std::fs::write(stage.recordings(), "in the way").unwrap();
    let connections = |stage: &Stage| stage.postgres.log().matches("connection received").count();
    let before = connections(&stage);
    let refused = stage.psql(&token).unwrap().run("select 1").unwrap();
    assert!(
        refused.stderr.contains("FATAL:  the session cannot be recorded, so it does not start"),
        "{}",
        refused.stderr
    );
    assert_eq!(connections(&stage), before, "the target was dialled");
    // It is mended without a restart.
    std::fs::remove_file(stage.recordings()).unwrap();
    std::fs::create_dir(stage.recordings()).unwrap();
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    stage.stop().await;
}
