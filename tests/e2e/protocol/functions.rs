//! FunctionCall: judged, held, recorded and masked as a SELECT of the function that it names.

use super::libpq;
use chaperone::recorder::EventKind;
use chaperone_tests::cases::{Case, failed};
use chaperone_tests::raw::{Out, Wire, errors, rows, shape};
use chaperone_tests::stage::{Recorded, Setting, Stage, first_id};

/// Functions of the tests' own, made by somebody else than the gateway's role.
const SETUP: &str = r"
    create schema calls; grant usage on schema calls to public;
    create function calls.pick(int) returns text language sql as $$ select 'int ' || $1 $$;
    create function calls.pick(text) returns text language sql as $$ select 'text ' || $1 $$;
    create function calls.pick(int, int) returns text language sql as $$ select 'ints ' || $1 || $2 $$;
    create function calls.twice(int) returns int language sql as $$ select 1 $$;
    create function calls.twice(int, int default 7) returns int language sql as $$ select 2 $$;
    create function calls.plus(int, int) returns int language sql strict as $$ select $1 + $2 $$;
    create function calls.ssn(int) returns text language sql security definer
        as $$ select ssn from public.customers where id = $1 $$;
    create function calls.order(text) returns int language sql security definer as $$
        insert into public.orders (customer_id, item, total, status) values (1, $1, 1, 'open') returning 5 $$;
    create function calls.late(text) returns int language sql security definer as $$
        insert into public.orders (customer_id, item, total, status) values (1, $1, 1, 'open') returning 6 $$;
    create function calls.nothing() returns void language sql as $$ $$;
    create function calls.fails(text) returns int language plpgsql as $$ begin raise exception 'no: %', $1; end $$;
    create function calls.set(int) returns setof int language sql as $$ select 1 $$;
    create function calls.any(anyelement) returns int language sql as $$ select 1 $$;
    create function calls.variadic(variadic int[]) returns int language sql as $$ select 1 $$;
    create procedure calls.procedure() language sql as $$ $$;
    create aggregate calls.sum(int) (sfunc = int4pl, stype = int4);
    create function calls.harmless() returns text language sql as $$ select 'harmless' $$;
    create function public.harmful() returns text language sql as $$ select 'harmful' $$;";

/// Large objects and the functions above are allowed; `calls.late` waits for people.
fn setting() -> Setting {
    Setting {
        guard: r#"{ functions: ["calls.*"], rules: [
            { class: function.large-object, action: allow, risk: 10 }, { class: ddl.function, action: allow, risk: 10 },
            { function: calls.late, action: allow, risk: 80 } ] }"#
            .replace('\n', " "),
        mask: r#"{ columns: [{ match: "public.customers.ssn", strategy: redact }],
            trusted: ["calls.pick", "calls.plus", "calls.order", "calls.late", "calls.nothing", "calls.fails", "calls.harmless"] }"#
            .replace('\n', " "),
        trigger: "{ threshold: 50, approvers: dba, timeout: 1m }".into(),
        ..Setting::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_call_is_judged_by_the_function_it_names() {
    let stage = Stage::start(setting()).await.unwrap();
    stage.real(SETUP).unwrap();
    let (_stage, failed) = failed(
        stage,
        chaperone_tests::cases![
            libpq_reads_and_writes_large_objects,
            psql_imports_and_exports_large_objects,
            among_overloads_the_one_of_the_oid_is_called,
            values_are_text_binary_or_null_as_they_were_asked_for,
            a_called_function_shows_nothing_that_is_masked,
            a_called_function_waits_for_people_with_its_parameters,
            only_functions_of_one_value_are_called,
            a_call_has_its_place_in_a_pipeline,
            a_refused_call_undoes_the_segment_before_it,
            a_call_in_a_failed_transaction_fails,
            a_call_that_is_not_well_formed_is_refused,
            a_call_ends_the_unnamed_statement,
        ],
    )
    .await
    .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

async fn enter(case: &Case) -> Wire {
    case.window().unwrap();
    Wire::connect(&case.stage, &case.token).await.unwrap()
}

fn oid(case: &Case, function: &str) -> u32 {
    oid_at(&case.stage, function)
}

fn oid_at(stage: &Stage, function: &str) -> u32 {
    let oid = stage.real(&format!("select '{function}'::regprocedure::oid")).unwrap();
    oid.trim().parse().unwrap()
}

fn count(case: &Case, item: &str) -> String {
    let sql = format!("select count(*) from orders where item = '{item}'");
    case.stage.real(&sql).unwrap().trim().to_owned()
}

/// The body of a FunctionCall.
fn body(oid: u32, formats: &[u16], arguments: &[Option<&[u8]>], result: u16) -> Vec<u8> {
    let count = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let mut body = oid.to_be_bytes().to_vec();
    body.extend(count(formats.len()));
    formats.iter().for_each(|format| body.extend(format.to_be_bytes()));
    body.extend(count(arguments.len()));
    for argument in arguments {
        match argument {
            None => body.extend((-1i32).to_be_bytes()),
            Some(value) => {
                body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend(*value);
            }
        }
    }
    body.extend(result.to_be_bytes());
    body
}

/// A call with texts for arguments and result.
fn call(oid: u32, arguments: &[&str]) -> Vec<u8> {
    let arguments: Vec<Option<&[u8]>> = arguments.iter().map(|text| Some(text.as_bytes())).collect();
    body(oid, &[], &arguments, 0)
}

/// The value of the one FunctionCallResponse of an answer; `~` for NULL.
fn value(answer: &[chaperone_tests::raw::Message]) -> String {
    let mut values = answer.iter().filter(|message| message.kind == b'V');
    let (Some(one), None) = (values.next(), values.next()) else {
        panic!("not one value: {}", shape(answer))
    };
    let (length, value) = one.body.split_first_chunk::<4>().unwrap();
    match i32::from_be_bytes(*length) {
        -1 => "~".into(),
        length => {
            assert_eq!(usize::try_from(length).unwrap(), value.len());
            String::from_utf8(value.to_vec()).unwrap()
        }
    }
}

async fn libpq_reads_and_writes_large_objects(case: Case) {
    case.window().unwrap();
    let script = r#"
c = connect()
ask(c, "begin")
oid = pq.lo_creat(c, 0x60000)
assert oid > 0, error(c)
lo = pq.lo_open(c, oid, 0x60000)
assert lo >= 0, error(c)
data = bytes(range(256)) * 300
for at in range(0, len(data), 7000):
    part = data[at : at + 7000]
    assert pq.lo_write(c, lo, part, len(part)) == len(part), error(c)
pq.lo_lseek64.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int]
pq.lo_lseek64.restype = pq.lo_tell64.restype = ctypes.c_int64
assert pq.lo_lseek64(c, lo, 1000, 0) == 1000, error(c)
assert pq.lo_tell64(c, lo) == 1000, error(c)
buffer = ctypes.create_string_buffer(100_000)
count = pq.lo_read(c, lo, buffer, 100_000)
assert buffer.raw[:count] == data[1000:], (count, error(c))
assert pq.lo_close(c, lo) == 0, error(c)
ask(c, "commit")
assert pq.lo_unlink(c, oid) == 1, error(c)
assert pq.lo_unlink(c, oid) == -1 and "does not exist" in error(c), error(c)
assert ask(c, "select 7") == "7"
print("ok")
"#;
    let said = libpq(&case.stage, &case.token, &[], script).success().unwrap();
    assert_eq!(said, "ok\n");
    let stage = &case.stage;
    // By its name: its last event is written a moment sooner.
    let is_sealed = |one: &Recorded| one.path.extension().is_some_and(|extension| extension == "chrec");
    let sealed = |_: &Stage| Ok(stage.recorded_of(case.number)?.iter().any(is_sealed));
    stage.until("the recording is sealed", sealed).await.unwrap();
    let recorded = stage.recorded_of(case.number).unwrap().remove(0);
    let operations = recorded.of(EventKind::Operation).join("\n");
    for text in [r#""lo_open"($1, $2)"#, r#""lowrite"($1, $2)"#, r#""lo_unlink"($1)"#] {
        let whole = format!("function-call\0SELECT \"pg_catalog\".{text}");
        assert!(operations.contains(&whole), "{text}: {operations}");
    }
    // What is recorded is what the client got, and can be read.
    let id = recorded.path.file_stem().unwrap().to_string_lossy().into_owned();
    let told = stage.chaperone(&case.token, &["replay", &id]).unwrap().success().unwrap();
    assert!(told.contains(r#"function-call SELECT "pg_catalog"."lo_tell64"($1)"#), "{told}");
}

async fn psql_imports_and_exports_large_objects(case: Case) {
    case.window().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let data: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&from, &data).unwrap();
    let script = format!(
        "\\lo_import {}\n\\lo_export :LASTOID {}\n\\lo_unlink :LASTOID\nselect count(*) from pg_largeobject_metadata where oid = :LASTOID",
        from.display(),
        to.display()
    );
    let said = case.stage.psql(&case.token).unwrap().run(&script).unwrap();
    assert_eq!(
        (said.success().unwrap().trim().ends_with('0'), std::fs::read(&to).unwrap() == data),
        (true, true)
    );
}

async fn among_overloads_the_one_of_the_oid_is_called(case: Case) {
    let mut wire = enter(&case).await;
    for (function, arguments, expected) in [
        ("calls.pick(int)", &["4"][..], "int 4"),
        ("calls.pick(text)", &["4"], "text 4"),
        ("calls.pick(int, int)", &["4", "2"], "ints 42"),
    ] {
        let out = Out::new().message(b'F', &call(oid(&case, function), arguments));
        let said = wire.ask(out).await.unwrap();
        assert_eq!(
            (shape(&said).as_str(), value(&said).as_str()),
            ("V ZI", expected),
            "{function}: {}",
            errors(&said)
        );
    }
    // In SQL, these two cannot be told apart.
    let said =
        wire.ask(Out::new().message(b'F', &call(oid(&case, "calls.twice(int)"), &["4"]))).await.unwrap();
    assert_eq!(shape(&said), "E:42725 ZI");
    // As a driver sends it, in libpq's own words.
    let script = format!(
        "c = connect()\nassert call(c, {}, 40, 2) == (42).to_bytes(4), error(c)\nprint('ok')",
        oid(&case, "calls.plus(int, int)")
    );
    assert_eq!(libpq(&case.stage, &case.token, &[], &script).success().unwrap(), "ok\n");
}

async fn values_are_text_binary_or_null_as_they_were_asked_for(case: Case) {
    let mut wire = enter(&case).await;
    let plus = oid(&case, "calls.plus(int, int)");
    let (forty, two) = (40u32.to_be_bytes(), 2u32.to_be_bytes());
    for (formats, arguments, result, expected) in [
        (&[][..], [Some(&b"40"[..]), Some(&b"2"[..])], 0, "42"),
        (&[1], [Some(&forty[..]), Some(&two[..])], 0, "42"),
        (&[1, 0], [Some(&forty[..]), Some(&b"2"[..])], 1, "\0\0\0*"),
        (&[0, 1], [Some(&b"40"[..]), Some(&two[..])], 1, "\0\0\0*"),
        (&[0], [Some(&b"40"[..]), None], 0, "~"),
    ] {
        let said =
            wire.ask(Out::new().message(b'F', &body(plus, formats, &arguments, result))).await.unwrap();
        assert_eq!((shape(&said).as_str(), value(&said).as_str()), ("V ZI", expected), "{formats:?}");
    }
    let said = wire.ask(Out::new().message(b'F', &call(oid(&case, "calls.nothing()"), &[]))).await.unwrap();
    assert_eq!((shape(&said).as_str(), value(&said).as_str()), ("V ZI", "~"));
    let said =
        wire.ask(Out::new().message(b'F', &call(oid(&case, "calls.fails(text)"), &["why"]))).await.unwrap();
    assert_eq!(shape(&said), "E:P0001 ZI");
}

async fn a_called_function_shows_nothing_that_is_masked(case: Case) {
    let mut wire = enter(&case).await;
    let ssn = case.stage.real("select ssn from customers where id = 1").unwrap();
    let said = wire.ask(Out::new().message(b'F', &call(oid(&case, "calls.ssn(int)"), &["1"]))).await.unwrap();
    assert_eq!(shape(&said), "E:42501 ZI", "{}", errors(&said));
    // Inside a transaction, which goes on.
    wire.query("begin").await.unwrap();
    let said = wire.ask(Out::new().message(b'F', &call(oid(&case, "calls.ssn(int)"), &["1"]))).await.unwrap();
    assert!(shape(&said).starts_with("E:42501 Z"), "{}", shape(&said));
    wire.query("rollback").await.unwrap();
    let seen = String::from_utf8_lossy(&wire.seen).into_owned();
    assert!(ssn.trim().len() > 8 && !seen.contains(ssn.trim()), "the masked value was shown");
}

async fn a_called_function_waits_for_people_with_its_parameters(case: Case) {
    let mut wire = enter(&case).await;
    let late = oid(&case, "calls.late(text)");
    for (item, answer) in [("called and approved", "approve"), ("called and rejected", "reject")] {
        wire.send(Out::new().message(b'F', &call(late, &[item]))).await.unwrap();
        let notice = wire.until(b'N').await.unwrap().field(b'M').unwrap();
        let id = first_id(&notice, "hold_").unwrap();
        let approver = case.stage.approver().unwrap();
        let shown = case.stage.chaperone(&approver, &["approvals", "--json"]).unwrap().success().unwrap();
        let whole =
            format!(r#"SELECT \"calls\".\"late\"($1)\n$1 = \"{item}\""#).replace("\"calls", "\"calls");
        let whole = whole.replace(&format!("\"{item}\""), &format!("\\\"{item}\\\""));
        assert!(shown.contains(&whole), "{whole} is not in {shown}");
        assert_eq!(count(&case, item), "0");
        case.stage.chaperone(&approver, &[answer, &id]).unwrap().success().unwrap();
        let said = wire.answer().await.unwrap();
        match answer {
            "approve" => assert_eq!((shape(&said).as_str(), value(&said).as_str()), ("V ZI", "6")),
            _ => assert_eq!(shape(&said), "E:42501 ZI"),
        }
        assert_eq!(count(&case, item), if answer == "approve" { "1" } else { "0" });
    }
}

async fn only_functions_of_one_value_are_called(case: Case) {
    let mut wire = enter(&case).await;
    let procedures = ["calls.set(int)", "calls.any(anyelement)", "calls.variadic(int[])", "calls.sum(int)"];
    for function in procedures {
        let said = wire.ask(Out::new().message(b'F', &call(oid(&case, function), &["1"]))).await.unwrap();
        assert_eq!(shape(&said), "E:42501 ZI", "{function}");
        assert!(errors(&said).contains("cannot be called by its OID"), "{function}: {}", errors(&said));
    }
    let said = wire.ask(Out::new().message(b'F', &call(oid(&case, "calls.procedure()"), &[]))).await.unwrap();
    assert_eq!(shape(&said), "E:42501 ZI");
}

async fn a_call_has_its_place_in_a_pipeline(case: Case) {
    let mut wire = enter(&case).await;
    let order = oid(&case, "calls.order(text)");
    let place = |item: &str| call(order, &[item]);
    // Sent at once, answered in turn.
    let out = Out::new()
        .query("select 1")
        .message(b'F', &place("in a row"))
        .query("select 2")
        .message(b'F', &place("x"));
    wire.send(out).await.unwrap();
    let mut shapes = Vec::new();
    for _ in 0..4 {
        shapes.push(shape(&wire.answer().await.unwrap()));
    }
    assert_eq!(shapes, ["T D C ZI", "V ZI", "T D C ZI", "V ZI"]);
    // Within a segment that is still open it runs in its transaction and ends it, as at a server.
    let insert = "insert into orders (customer_id, item, total, status) values (1, 'segment', 1, 'open')";
    let out = Out::new().run(insert, &[]).message(b'F', &place("segment"));
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "1 2 n C V ZI".replace(" n", ""));
    assert_eq!(count(&case, "segment"), "2");
    // After an error it is skipped up to the Sync.
    let out = Out::new().run("select nothing", &[]).message(b'F', &place("skipped")).sync();
    assert_eq!(shape(&wire.ask(out).await.unwrap()), "E:42703 ZI");
    assert_eq!(count(&case, "skipped"), "0");
    // In a transaction that is rolled back.
    wire.query("begin").await.unwrap();
    assert_eq!(shape(&wire.ask(Out::new().message(b'F', &place("rolled back"))).await.unwrap()), "V ZT");
    wire.query("rollback").await.unwrap();
    assert_eq!(count(&case, "rolled back"), "0");
}

async fn a_refused_call_undoes_the_segment_before_it(case: Case) {
    let mut wire = enter(&case).await;
    let insert = "insert into orders (customer_id, item, total, status) values (1, 'undone', 1, 'open')";
    let harmful = oid(&case, "pg_terminate_backend(int, bigint)");
    for refused in [call(harmful, &["1", "1"]), call(1, &[])] {
        let out = Out::new().run(insert, &[]).message(b'F', &refused);
        let said = shape(&wire.ask(out).await.unwrap());
        assert!(said.ends_with("E:42501 ZI"), "{said}");
        assert_eq!(count(&case, "undone"), "0");
    }
}

async fn a_call_in_a_failed_transaction_fails(case: Case) {
    let mut wire = enter(&case).await;
    wire.query("begin; select nothing").await.unwrap();
    let out = || Out::new().message(b'F', &call(oid(&case, "calls.plus(int, int)"), &["1", "2"]));
    assert_eq!(shape(&wire.ask(out()).await.unwrap()), "E:25P02 ZE");
    wire.query("rollback").await.unwrap();
    assert_eq!(shape(&wire.ask(out()).await.unwrap()), "V ZI");
}

async fn a_call_that_is_not_well_formed_is_refused(case: Case) {
    let mut wire = enter(&case).await;
    let plus = oid(&case, "calls.plus(int, int)");
    let whole = body(plus, &[0, 0], &[Some(b"1"), None], 0);
    for length in 0..whole.len() {
        let said = wire.ask(Out::new().message(b'F', &whole[..length])).await.unwrap();
        assert_eq!(shape(&said), "E:42601 ZI", "{length} bytes");
    }
    for (what, wrong) in [
        ("a byte more", [&whole[..], b"x"].concat()),
        ("three formats", body(plus, &[0, 0, 0], &[Some(b"1"), Some(b"2")], 0)),
        ("one argument", body(plus, &[0, 0], &[Some(b"1")], 0)),
        ("one argument, no formats", body(plus, &[], &[Some(b"1")], 0)),
        ("three arguments", body(plus, &[], &[Some(b"1"), None, None], 0)),
    ] {
        let said = wire.ask(Out::new().message(b'F', &wrong)).await.unwrap();
        assert_eq!(shape(&said), "E:42601 ZI", "{what}");
    }
    // Formats that do not exist are the target's to refuse.
    let said =
        wire.ask(Out::new().message(b'F', &body(plus, &[7], &[Some(b"1"), Some(b"2")], 0))).await.unwrap();
    assert_eq!(shape(&said), "E:22023 ZI");
    assert_eq!(shape(&wire.ask(Out::new().message(b'F', &whole)).await.unwrap()), "V ZI");
}

/// As a Query does (PostgreSQL manual, "Extended Query"): a later Bind does not find the call in its place.
async fn a_call_ends_the_unnamed_statement(case: Case) {
    let mut wire = enter(&case).await;
    let call = call(oid(&case, "calls.plus(int, int)"), &["1", "2"]);
    wire.ask(Out::new().parse("", "select 'mine'").sync()).await.unwrap();
    assert_eq!(shape(&wire.ask(Out::new().message(b'F', &call)).await.unwrap()), "V ZI");
    let said = wire.ask(Out::new().bind("", "", &[], &[]).execute("").sync()).await.unwrap();
    assert_eq!(shape(&said), "E:26000 ZI");
}

/// Without masks, which would show nothing while definitions are in doubt.
async fn alone() -> (Stage, Wire) {
    let stage = Stage::start(Setting { plugins: "guard".into(), ..setting() }).await.unwrap();
    stage.real(SETUP).unwrap();
    let token = stage.agent_with_window().unwrap();
    let wire = Wire::connect(&stage, &token).await.unwrap();
    (stage, wire)
}

/// What runs is the text that was judged. The target never gets an OID, which may mean another function by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_runs_by_the_name_that_was_judged() {
    let (mut stage, mut wire) = alone().await;
    let (one, other) = (oid_at(&stage, "calls.harmless()"), oid_at(&stage, "public.harmful()"));
    let said = wire.ask(Out::new().message(b'F', &call(one, &[]))).await.unwrap();
    assert_eq!(value(&said), "harmless");
    let process = u32::from_be_bytes(wire.key[..4].try_into().unwrap());
    let ran = stage.real(&format!("select query from pg_stat_activity where pid = {process}")).unwrap();
    assert_eq!(ran.trim(), r#"SELECT "calls"."harmless"()"#);
    // What another session could bring about with patience, by dropping and creating functions.
    let swap = format!(
        "begin; update pg_proc set oid = 4000000000 where oid = {one}; \
         update pg_proc set oid = {one} where oid = {other}; \
         update pg_proc set oid = {other} where oid = 4000000000; commit"
    );
    stage.real(&swap).unwrap();
    assert_eq!(oid_at(&stage, "public.harmful()"), one, "the OIDs were not swapped");
    let said = wire.ask(Out::new().message(b'F', &call(one, &[]))).await.unwrap();
    assert_eq!(shape(&said), "E:42501 ZI");
    assert!(errors(&said).contains("harmful"), "{}", errors(&said));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_of_the_open_transaction_is_not_known() {
    let (mut stage, mut wire) = alone().await;
    stage.real("grant create on schema calls to public").unwrap();
    wire.query("begin").await.unwrap();
    let made =
        wire.query("create function calls.mine() returns int language sql as 'select 1'").await.unwrap();
    assert_eq!(shape(&made), "C ZT", "{}", errors(&made));
    let mine = rows(&wire.query("select 'calls.mine()'::regprocedure::oid").await.unwrap()).remove(0);
    let out = || Out::new().message(b'F', &call(mine.parse().unwrap(), &[]));
    let said = wire.ask(out()).await.unwrap();
    assert_eq!(shape(&said), "E:42501 ZT");
    assert!(errors(&said).contains("is not known"), "{}", errors(&said));
    assert_eq!(shape(&wire.query("commit").await.unwrap()), "C ZI");
    assert_eq!(value(&wire.ask(out()).await.unwrap()), "1");
    stage.stop().await;
}

/// Where computed values are NULL instead of refused, so is a function's.
#[tokio::test(flavor = "multi_thread")]
async fn a_called_functions_value_is_masked_as_a_computed_column() {
    let mask = setting().mask.replace("trusted:", "computed: mask, trusted:");
    let mut stage = Stage::start(Setting { mask, ..setting() }).await.unwrap();
    stage.real(SETUP).unwrap();
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let ssn: u32 = stage.real("select 'calls.ssn(int)'::regprocedure::oid").unwrap().trim().parse().unwrap();
    for result in [0, 1] {
        let said = wire.ask(Out::new().message(b'F', &body(ssn, &[], &[Some(b"1")], result))).await.unwrap();
        assert_eq!((shape(&said).as_str(), value(&said).as_str()), ("V ZI", "~"), "{}", errors(&said));
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_are_refused_unless_a_rule_allows_them() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    let script = r#"
c = connect()
assert pq.lo_creat(c, 0x60000) == 0
print(error(c))
assert ask(c, "select 7") == "7"
"#;
    let said = libpq(&stage, &token, &[], script).success().unwrap();
    assert!(said.contains("lo_creat") && said.contains("function.large-object"), "{said}");
    assert_eq!(stage.real("select count(*) from pg_largeobject_metadata").unwrap().trim(), "0");
    stage.stop().await;
}
