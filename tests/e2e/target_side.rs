//! What the target says is cut, made up or kept to ourselves: a real target, and a proxy in front of it.

use chaperone_core::Timestamp;
use chaperone_tests::proxy::Proxy;
use chaperone_tests::raw::{Out, Wire, cancel, errors, messages, rows, shape};
use chaperone_tests::stage::{Recorded, Setting, Stage};
use std::time::Duration;

/// Nothing is held, and masks go by columns: where content is looked for, a COPY to the client is refused.
fn setting() -> Setting {
    Setting {
        mask: r#"{ columns: [{ match: "public.customers.ssn", strategy: redact }] }"#.into(),
        trigger: "{ threshold: 100, approvers: dba }".into(),
        ..Setting::default()
    }
}

async fn behind_a_proxy() -> (Stage, Proxy) {
    let proxy = Proxy::start().unwrap();
    let setting = Setting { target_address: Some(proxy.address.to_string()), ..setting() };
    let stage = Stage::start(setting).await.unwrap();
    proxy.to(stage.postgres.address());
    (stage, proxy)
}

/// Every kind of answer: rows, masked and not, errors, notices, COPY both ways, portals in parts, values in binary form.
fn conversation() -> Vec<Out> {
    let copy_in = "copy orders (customer_id, item, total, status) from stdin";
    vec![
        Out::new().query("select id, name, ssn, card from customers where id < 20 order by id"),
        Out::new().query("select 1; select repeat('x', 9000), null; select nothing"),
        // The second makes a warning.
        Out::new().query("begin; begin"),
        Out::new().query("rollback"),
        Out::new()
            .parse("s", "select ssn, name from customers where id > $1 order by id limit 3")
            .describe(b'S', "s")
            .bind("p", "s", &["7"], &[1])
            .describe(b'P', "p")
            .message(b'E', b"p\0\0\0\0\x01")
            .execute("p")
            .close(b'S', "s")
            .sync(),
        Out::new().run("select reverse(ssn) from customers", &[]).sync(),
        Out::new().run("insert into orders (customer_id, item) values (1, $1)", &["x"]).sync(),
        Out::new().query("copy orders (id, item) to stdout"),
        Out::new().query("set application_name = 'renamed'"),
        Out::new().query(copy_in).message(b'd', b"1\tcut\t1\topen\n").message(b'c', b""),
        Out::new().query(copy_in).message(b'f', b"no\0"),
        Out::new().query("select 1/0"),
        Out::new().query(""),
        Out::new()
            .query("begin; declare c cursor for select card from customers order by id; fetch 2 from c"),
        Out::new().query("rollback"),
    ]
}

async fn held_with(stage: &Stage, token: &str) -> Vec<String> {
    let mut wire = Wire::connect(stage, token).await.unwrap();
    let mut answers = Vec::new();
    for out in conversation() {
        let answer = wire.ask(out).await.unwrap_or_else(|error| panic!("{error} after {answers:#?}"));
        assert!(!answer.is_empty(), "closed after {answers:#?}");
        answers.push(format!("{} {}", shape(&answer), rows(&answer).join("\n")));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_cut_into_bytes_gives_the_same_answers() {
    let mut whole = Stage::start(setting()).await.unwrap();
    let expected = held_with(&whole, &whole.agent_with_window().unwrap()).await;
    whole.stop().await;
    assert!(expected[0].contains("Ada Abbott|[redacted]"), "{}", expected[0]);
    assert!(expected[7].starts_with("H d c C ZI"), "{}", expected[6]);

    let (mut stage, proxy) = behind_a_proxy().await;
    let cut = held_with(&stage, &stage.agent_with_window().unwrap()).await;
    for (cut, expected) in cut.iter().zip(&expected) {
        assert_eq!(cut, expected);
    }
    assert_eq!(cut.len(), expected.len());
    assert!(proxy.said().iter().any(|said| said.len() > 9000), "the proxy was passed by");
    stage.stop().await;
}

/// What the gateway has to know, a client has no use for but to cancel without being asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_never_gets_the_targets_cancel_key() {
    let (mut stage, proxy) = behind_a_proxy().await;
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let login = &proxy.said()[0];
    let key = messages(login).into_iter().find(|message| message.kind == b'K').unwrap().body;
    assert!(!wire.seen.windows(key.len()).any(|bytes| bytes == key), "the client has the key");
    // The process is the target's own, as pg_backend_pid() tells it; the secret is what counts.
    assert_ne!(wire.key[4..], key[4..]);
    let version: u32 = stage.real("show server_version_num").unwrap().trim().parse().unwrap();
    assert_eq!(
        key.len(),
        if version >= 180_000 { 4 + 32 } else { 4 + 4 },
        "the target was not asked for 3.2"
    );
    // At the target, the client's key is nobody's; at the gateway, the target's is nobody's.
    wire.send(Out::new().query("select pg_sleep(600)")).await.unwrap();
    let sleeps = |stage: &Stage| {
        let sql =
            "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'";
        Ok(stage.real(sql)?.trim() == "1")
    };
    stage.until("a sleeper", sleeps).await.unwrap();
    let connections = proxy.said().len();
    cancel(stage.postgres.address(), wire.key).await.unwrap();
    cancel(stage.address, &key).await.unwrap();
    assert!(stage.postgres.log().contains("wrong key in cancel request"), "{}", stage.postgres.log());
    cancel(stage.address, wire.key).await.unwrap();
    assert!(shape(&wire.answer().await.unwrap()).ends_with("E:57014 ZI"));
    assert_eq!(
        proxy.said().len(),
        connections + 1,
        "only the client's own key is passed on, as the target's"
    );
    stage.stop().await;
}

/// A message of the target that answers nothing ends the session, or it would be taken for the answer to something else.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_asked_for_ends_the_session() {
    let frame = |kind: u8, body: &[u8]| chaperone_tests::wire::message(kind, body);
    let row = frame(b'D', b"\0\x01\0\0\0\x0b743-61-4657");
    let (mut stage, proxy) = behind_a_proxy().await;
    let token = stage.agent_with_window().unwrap();
    let lies = [
        ("a row", row.clone()),
        (
            "a result",
            [frame(b'T', b"\0\x01ssn\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"), row].concat(),
        ),
        ("the end of a statement", frame(b'C', b"SELECT 1\0")),
        ("ready once more", frame(b'Z', b"I")),
        ("a function's value", frame(b'V', b"\0\0\0\x0b743-61-4657")),
        ("a COPY", frame(b'H', b"\0\0\x01\0\0")),
        ("data of a COPY", frame(b'd', b"743-61-4657\n")),
        ("another login", frame(b'R', &[0, 0, 0, 0])),
        ("an unknown message", frame(b'~', b"743-61-4657")),
        ("an impossible length", b"D\0\0\0\x03743-61-4657".to_vec()),
    ];
    // The connection for look-ups is made now, so that the newest is a session's from here on.
    let mut first = Wire::connect(&stage, &token).await.unwrap();
    first.query("select 7").await.unwrap();
    drop(first);
    for (what, lie) in &lies {
        let mut wire = Wire::connect(&stage, &token).await.unwrap();
        assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"], "{what}");
        proxy.say(lie).unwrap();
        let last = wire.answer().await.unwrap();
        assert!(shape(&last).starts_with("E:"), "{what}: {}", shape(&last));
        assert!(wire.next().await.unwrap().is_none(), "{what}: the session goes on");
        let seen = String::from_utf8_lossy(&wire.seen).into_owned();
        assert!(!seen.contains("743-61-4657"), "{what}: {seen}");
    }
    stage.stop().await;
    let ends: Vec<String> = stage.recorded().unwrap().iter().map(Recorded::end).collect();
    let said = |end: &&String| end.contains("he target answered out of order");
    assert_eq!(ends.iter().filter(said).count(), lies.len(), "{ends:?}");
}

/// Look-ups of names have a connection of their own. One that hangs does not keep a session beyond its window.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_hangs_is_cut_at_the_windows_end() {
    let (mut stage, proxy) = behind_a_proxy().await;
    let token = stage.agent().unwrap();
    stage.open_window(&token, Some("3s")).unwrap();
    let listed = stage.chaperone(&token, &["windows", "--json"]).unwrap().success().unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let closes: Timestamp = listed["windows"][0]["closes"].as_str().unwrap().parse().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    proxy.stall();
    let last = wire.query("select ssn from customers").await.unwrap();
    let late = Timestamp::now().duration_since(closes);
    assert!(proxy.waiting() > 0, "no look-up was waited for");
    assert_eq!(shape(&last), "E:57P01");
    assert!(!late.is_negative(), "cut before the window's end");
    // A look-up is given up after five seconds: waiting for that would be later.
    assert!(late.unsigned_abs() < Duration::from_millis(1900), "cut {late} after the window's end");
    stage.stop().await;
}

/// CopyOutResponse of one column, and of two.
const ONE_COLUMN: &[u8] = b"H\0\0\0\x09\0\0\x01\0\0";
const TWO_COLUMNS: &[u8] = b"H\0\0\0\x0b\0\0\x02\0\0\0\0";

/// A COPY whose columns are not those that were described is hidden from its beginning. What was sent behind it is skipped,
/// as after any error, or the client is told that the session is over: nothing may run that it takes for skipped.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_unseen_behind_a_copy_that_is_hidden() {
    let (mut stage, proxy) = behind_a_proxy().await;
    let token = stage.agent_with_window().unwrap();
    let copy = "copy (select ssn from customers where id < 3) to stdout";
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let shown = wire.ask(Out::new().run(copy, &[]).sync()).await.unwrap();
    assert_eq!(shape(&shown), "1 2 H d c C ZI");
    proxy.replace(ONE_COLUMN, TWO_COLUMNS);

    let answer = wire.query(copy).await.unwrap();
    assert_eq!(shape(&answer), "E:42501 ZI");
    assert!(errors(&answer).contains("other columns than its description"), "{}", errors(&answer));
    // What writes waits for what comes before it, and is skipped with the rest of the segment.
    let insert = "insert into orders (customer_id, item, total, status) values (1, 'behind', 1, 'open')";
    let answer = wire.ask(Out::new().run(copy, &[]).run(insert, &[]).sync()).await.unwrap();
    assert!(shape(&answer).ends_with("E:42501 ZI") && !shape(&answer).contains('C'), "{}", shape(&answer));
    assert_eq!(rows(&wire.query("select count(*) from orders where item = 'behind'").await.unwrap()), ["0"]);
    // What only reads was handed on together with the COPY, and runs.
    wire.send(Out::new().run(copy, &[]).run("select 1", &[]).sync()).await.unwrap();
    let answer = wire.answer().await.unwrap();
    assert!(shape(&answer).ends_with("E:42501"), "the session goes on: {}", shape(&answer));
    assert_eq!(answer.last().unwrap().field(b'S').as_deref(), Some("FATAL"));
    assert!(wire.next().await.unwrap().is_none());
    assert_eq!(proxy.replaced(), 3);
    assert!(!String::from_utf8_lossy(&wire.seen).contains("743-61-4657"), "a number was shown");
    stage.stop().await;
}

/// The timers of this machine's established connections with a port at their own or their other end, as Linux numbers them
/// (its manual, proc(5), `/proc/net/tcp`).
fn timers(own: Option<u16>, other: Option<u16>) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).unwrap();
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields[3] == "01")
        .filter(|fields| own.is_none_or(|own| port(fields[1]) == own))
        .filter(|fields| other.is_none_or(|other| port(fields[2]) == other))
        .map(|fields| fields[5].split(':').next().unwrap().to_owned())
        .collect()
}

/// The timer by which the other side is asked whether it is there.
const KEEPALIVE: &str = "02";

/// A host that lost its power says nothing: who waits for it has to ask.
#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_session_are_asked_whether_they_are_there() {
    let mut stage = Stage::start(setting()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    let asked = |stage: &Stage| {
        let clients = timers(Some(stage.address.port()), None);
        let targets = timers(None, Some(stage.postgres.address().port()));
        let all = |timers: &[String]| !timers.is_empty() && timers.iter().all(|timer| timer == KEEPALIVE);
        Ok(all(&clients) && all(&targets))
    };
    stage.until("timers on both sides", asked).await.unwrap();
    drop(wire);
    stage.stop().await;
}
