//! What has to be hidden is hidden however it is asked for, and the recording holds only what the client saw.

mod reached;
mod redefined;

use chaperone_tests::cases::{Case, failed};
use chaperone_tests::raw::{self, Message, Out, Wire, rows, shape};
use chaperone_tests::scripts::python;
use chaperone_tests::stage::{Setting, Stage, files, first_id};

#[tokio::test(flavor = "multi_thread")]
async fn who_chooses_by_a_column_that_needs_approval_waits_or_is_refused() {
    let mask = r#"{ columns: [{ match: "public.customers.card", strategy: partial, predicate: hold }] }"#;
    let sql = "select id from customers where card like '4012%'";
    // Nothing holds it: refused, although nobody has said no.
    let setting = Setting { mask: mask.into(), trigger: TRIGGER.into(), ..Setting::default() };
    let mut stage = Stage::start(setting).await.unwrap();
    let mut wire = Wire::connect(&stage, &stage.agent_with_window().unwrap()).await.unwrap();
    let answer = wire.query(sql).await.unwrap();
    assert!(refused(&answer) && raw::errors(&answer).contains("mask.predicate"), "{}", raw::errors(&answer));
    drop(wire);
    stage.stop().await;
    // A trigger holds it: it waits, and runs when a person approves.
    let setting = Setting { mask: mask.into(), ..Setting::default() };
    let mut stage = Stage::start(setting).await.unwrap();
    let mut wire = Wire::connect(&stage, &stage.agent_with_window().unwrap()).await.unwrap();
    wire.send(Out::new().run(sql, &[]).sync()).await.unwrap();
    let notice = wire.until(b'N').await.unwrap();
    let id = first_id(&notice.field(b'M').unwrap(), "hold_").unwrap();
    let hint = notice.field(b'D').unwrap_or_default();
    assert!(hint.contains("mask.predicate"), "{hint}");
    stage.chaperone(&stage.approver().unwrap(), &["approve", &id]).unwrap().success().unwrap();
    assert_eq!(rows(&wire.answer().await.unwrap()), ["1"]);
    drop(wire);
    stage.stop().await;
}

/// Nothing is held here.
const TRIGGER: &str = "{ threshold: 100, approvers: dba }";

/// A gateway whose checks allow everything, in front of these relations, and a session.
async fn with_relations(mask: &str, defined: &str) -> (Stage, Wire) {
    let guard = "{ preset: none }".into();
    let setting = Setting { guard, mask: mask.into(), trigger: TRIGGER.into(), ..Setting::default() };
    let stage = Stage::start(setting).await.unwrap();
    stage.real(defined).unwrap();
    let wire = Wire::connect(&stage, &stage.agent_with_window().unwrap()).await.unwrap();
    (stage, wire)
}

/// Functions of unknown effect may be called: what they return is the masks' business.
const GUARD: &str = r#"{ functions: ["*"] }"#;

/// The first customer, as everybody may see it.
const ADA: &str = "[redacted]|************1881";

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_never_leaves_however_it_is_asked_for() {
    let setting = Setting { guard: GUARD.into(), trigger: TRIGGER.into(), ..Setting::default() };
    let stage = Stage::start(setting).await.unwrap();
    let (stage, failed) = failed(
        stage,
        chaperone_tests::cases![
            columns_are_masked_under_any_name_and_through_any_query,
            computed_values_are_refused_and_the_session_goes_on,
            returning_is_masked_or_refused_before_it_writes,
            cursors_and_prepared_statements_are_masked,
            execution_without_a_description_is_masked,
            a_result_in_the_binary_format_is_masked,
            a_result_in_parts_is_masked_in_each,
            several_results_of_one_text_are_each_masked,
            a_large_result_is_masked_row_by_row,
            what_another_session_redefines_is_masked_as_what_it_is,
            errors_and_notices_do_not_quote_values,
            a_plan_shows_no_hidden_value,
            drivers_see_masked_values,
        ],
    )
    .await
    .unwrap();
    assert!(failed.is_empty(), "{failed:?}");

    // Nor is it in any byte of any recording, nor in the state.
    let secrets = secrets(&stage);
    let files = files(stage.folder.path()).unwrap();
    for (path, bytes) in &files {
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {path}");
        }
    }
    assert!(files.len() > 14, "only {} files were searched", files.len());
}

/// Every number and card of the shop.
fn secrets(stage: &Stage) -> Vec<String> {
    let all = stage.real("select ssn from customers union all select card from customers").unwrap();
    let all: Vec<String> = all.lines().map(str::to_owned).collect();
    assert_eq!(all.len(), 120);
    all
}

fn hides(case: &Case, wire: &Wire) {
    let seen = String::from_utf8_lossy(&wire.seen);
    for secret in secrets(&case.stage) {
        assert!(!seen.contains(&secret), "{secret} was sent to the client");
    }
}

async fn enter(case: &Case) -> Wire {
    case.window().unwrap();
    Wire::connect(&case.stage, &case.token).await.unwrap()
}

/// No row, and an error of the gateway that leaves the session usable; Parse and Bind may have been answered before.
fn refused(answer: &[Message]) -> bool {
    rows(answer).is_empty() && shape(answer).ends_with("E:42501 ZI")
}

async fn columns_are_masked_under_any_name_and_through_any_query(case: Case) {
    let mut wire = enter(&case).await;
    for sql in [
        "select ssn, card from customers where id = 1",
        "select ssn as harmless, card as \"Also harmless\" from customers where id = 1",
        "select c.ssn, c.card from public.customers as c join orders o on o.customer_id = c.id where c.id = 1 limit 1",
        "with x as (select ssn, card, id from customers) select ssn, card from x where id = 1",
        "with x (a, b, i) as (select ssn, card, id from customers) select a, b from x where i = 1",
        "select s.a, s.b from (select ssn a, card b from customers where id = 1) s",
        "select ssn, card from customers where id = 1 union all select ssn, card from customers where false",
        "select x.ssn, x.card from customers x, lateral (select x.id) y where x.id = 1",
        "select (c).ssn, (c).card from customers c where id = 1",
    ] {
        let answer = wire.query(sql).await.unwrap();
        let extended = wire.ask(Out::new().run(sql, &[]).sync()).await.unwrap();
        for answer in [answer, extended] {
            assert!(
                refused(&answer) || rows(&answer) == [ADA],
                "{sql}: {} {:?}",
                shape(&answer),
                rows(&answer)
            );
        }
    }
    let all = wire.query("select * from customers where id = 1").await.unwrap();
    assert_eq!(rows(&all), ["1|Ada Abbott|ada.abbott@example.com|[redacted]|************1881|Leeds"]);
    let all = wire.query("table customers").await.unwrap();
    assert_eq!(rows(&all).len(), 60);
    // What is not asked to be hidden is not.
    assert_eq!(
        rows(&wire.query("select count(*), max(name) from customers").await.unwrap()),
        ["60|Zoltan Zamora"]
    );
    hides(&case, &wire);
}

async fn computed_values_are_refused_and_the_session_goes_on(case: Case) {
    let mut wire = enter(&case).await;
    for expression in [
        "row_to_json(c)",
        "to_jsonb(c) -> 'ssn'",
        "c::text",
        "c",
        "row(c.*)",
        "ssn || ''",
        "upper(ssn)",
        "substr(ssn, 1, 11)",
        "reverse(card)",
        "md5(ssn)",
        "array[ssn]",
        "coalesce(null, ssn)",
        "case when true then ssn end",
        "(select ssn from customers where id = c.id)::text",
        "format('%s', ssn)",
        "string_to_array(ssn, '-')",
        "hstore_to_json(c)",
        "xmlforest(ssn)",
        "length(ssn)",
        "ascii(substr(ssn, 1, 1))",
    ] {
        let sql = format!("select {expression} from customers c where id = 1");
        for answer in
            [wire.query(&sql).await.unwrap(), wire.ask(Out::new().run(&sql, &[]).sync()).await.unwrap()]
        {
            let said = shape(&answer);
            // Not every build of PostgreSQL knows all of them.
            let unknown = said.contains("E:42883") || said.contains("E:0A000");
            assert!(
                rows(&answer).is_empty() && (said.contains("E:42501") || unknown),
                "{sql}: {said} {:?}",
                rows(&answer)
            );
            assert!(said.ends_with("ZI"), "{sql}: {said}");
        }
    }
    for sql in [
        "select max(ssn) from customers",
        "select string_agg(card, ',') from customers",
        "select json_agg(c) from customers c",
        "select query_to_xml('select ssn from customers', true, true, '')",
        "select table_to_xml('customers', true, true, '')",
        "select * from (select row_to_json(c) as x from customers c) y",
        "select x from customers c, lateral (select ssn || '' as x) y",
        "values ((select ssn from customers where id = 1))",
        "select 1 where exists (select) union all select length(ssn) from customers",
    ] {
        let answer = wire.query(sql).await.unwrap();
        assert!(refused(&answer), "{sql}: {} {:?}", shape(&answer), rows(&answer));
    }
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    hides(&case, &wire);
}

async fn returning_is_masked_or_refused_before_it_writes(case: Case) {
    let mut wire = enter(&case).await;
    let answer =
        wire.query("update customers set city = 'Oslo' where id = 1 returning ssn, card").await.unwrap();
    assert!(refused(&answer) || rows(&answer) == [ADA], "{} {:?}", shape(&answer), rows(&answer));
    let sql = "update customers set city = 'Bern' where id = 2 returning upper(ssn)";
    for answer in [wire.query(sql).await.unwrap(), wire.ask(Out::new().run(sql, &[]).sync()).await.unwrap()] {
        assert!(refused(&answer), "{}", shape(&answer));
    }
    assert_eq!(
        case.stage.real("select city from customers where id = 2").unwrap().trim(),
        "Austin",
        "it was run"
    );
    hides(&case, &wire);
}

async fn cursors_and_prepared_statements_are_masked(case: Case) {
    let mut wire = enter(&case).await;
    assert_eq!(shape(&wire.query("begin").await.unwrap()), "C ZT");
    let sql = "declare c cursor for select ssn, card from customers order by id";
    let declared = wire.query(sql).await.unwrap();
    assert_eq!(shape(&declared), "C ZT");
    for sql in ["fetch 1 from c", "fetch next c", "fetch all from c"] {
        let fetched = wire.query(sql).await.unwrap();
        assert!(rows(&fetched).iter().all(|row| row.starts_with("[redacted]|*")), "{:?}", rows(&fetched));
    }
    // The cursor is a portal of the protocol as well.
    assert_eq!(shape(&wire.query("move absolute 0 in c").await.unwrap()), "C ZT");
    let fetched = wire.ask(Out::new().execute("c").sync()).await.unwrap();
    // Not vacuously: the rows came, and they came masked.
    assert_eq!(rows(&fetched).len(), 60, "{}", shape(&fetched));
    assert!(rows(&fetched).iter().all(|row| row.starts_with("[redacted]|*")), "{:?}", rows(&fetched));
    let _ = wire.query("rollback").await.unwrap();
    assert_eq!(
        shape(&wire.query("prepare p as select ssn, card from customers where id = 1").await.unwrap()),
        "C ZI"
    );
    let executed = wire.query("execute p").await.unwrap();
    assert!(refused(&executed) || rows(&executed) == [ADA], "{} {:?}", shape(&executed), rows(&executed));
    let _ = wire.query("execute p; select 1").await.unwrap();
    hides(&case, &wire);
}

async fn execution_without_a_description_is_masked(case: Case) {
    let mut wire = enter(&case).await;
    let prepared = Out::new().parse("s", "select ssn, card from customers where id = $1").sync();
    assert_eq!(shape(&wire.ask(prepared).await.unwrap()), "1 ZI");
    for _ in 0..2 {
        // Nobody asks for a Describe; the gateway does, and keeps the answer to itself.
        let answer = wire.ask(Out::new().bind("", "s", &["1"], &[]).execute("").sync()).await.unwrap();
        assert_eq!((shape(&answer).as_str(), rows(&answer)), ("2 D C ZI", vec![ADA.to_owned()]));
    }
    // Several of one statement in one segment.
    let out =
        Out::new().bind("a", "s", &["1"], &[]).bind("b", "s", &["1"], &[]).execute("b").execute("a").sync();
    assert_eq!(rows(&wire.ask(out).await.unwrap()), [ADA, ADA]);
    // A computed value: the error stands where the rows would, and nothing behind it in the segment has run.
    let out = Out::new().run("select upper(ssn) from customers", &[]).run("select 1", &[]).sync();
    wire.send(out).await.unwrap();
    let answer = wire.answer().await.unwrap();
    assert!(rows(&answer).is_empty() && shape(&answer).contains("E:42501"), "{}", shape(&answer));
    hides(&case, &wire);
}

async fn a_result_in_the_binary_format_is_masked(case: Case) {
    let mut wire = enter(&case).await;
    let sql = "select id, ssn, card from customers where id = 1";
    let out = Out::new().parse("", sql).bind("", "", &[], &[1]).describe(b'P', "").execute("").sync();
    let answer = wire.ask(out).await.unwrap();
    let values = answer.iter().find(|message| message.kind == b'D').unwrap().values();
    assert_eq!(values[0].as_deref().unwrap(), 1i32.to_be_bytes());
    assert_eq!(values[1].as_deref().unwrap(), b"[redacted]");
    // A real driver that speaks nothing else, and prepares.
    let client = raw::tokio_postgres(&case.stage, &case.token).await.unwrap();
    let statement =
        client.prepare("select id, ssn, card from customers where id < $1 order by id").await.unwrap();
    for _ in 0..3 {
        let rows = client.query(&statement, &[&4i32]).await.unwrap();
        assert_eq!(rows.len(), 3);
        for row in &rows {
            assert_eq!(row.get::<_, &str>(1), "[redacted]");
            assert!(row.get::<_, &str>(2).contains("****"));
        }
    }
    hides(&case, &wire);
}

async fn a_result_in_parts_is_masked_in_each(case: Case) {
    let mut wire = enter(&case).await;
    // Execute with a row limit, three times: PortalSuspended in between.
    let execute = |out: Out| out.message(b'E', b"p\0\0\0\0\x19");
    let out = Out::new().parse("", "select ssn, card from customers order by id").bind("p", "", &[], &[]);
    let answer = wire.ask(execute(execute(execute(out))).sync()).await.unwrap();
    assert_eq!(shape(&answer), "1 2 D s D s D C ZI");
    assert_eq!(rows(&answer).len(), 60);
    hides(&case, &wire);
}

async fn several_results_of_one_text_are_each_masked(case: Case) {
    let mut wire = enter(&case).await;
    let sql = "select name from customers where id = 1; select ssn from customers where id = 1; \
               select card, id from customers where id = 1";
    let answer = wire.query(sql).await.unwrap();
    assert_eq!(rows(&answer), ["Ada Abbott", "[redacted]", "************1881|1"]);
    // The second may not be shown: it ends there, as it would with an error of the target.
    let answer = wire.query("select 1; select upper(ssn) from customers; select 3").await.unwrap();
    assert!(!rows(&answer).iter().any(|row| row.contains('-')), "{:?}", rows(&answer));
    assert!(shape(&answer).contains("E:42501") && shape(&answer).ends_with("ZI"), "{}", shape(&answer));
    hides(&case, &wire);
}

async fn a_large_result_is_masked_row_by_row(case: Case) {
    let mut wire = enter(&case).await;
    let sql = "select c.id, o.id, c.ssn, o.item, c.card from customers c, orders o, orders p \
               where p.id between 21 and 25 and o.id between 21 and 120 order by p.id, o.id, c.id";
    let answer = wire.query(sql).await.unwrap();
    let rows = rows(&answer);
    assert_eq!(rows.len(), 60 * 100 * 5, "{}", shape(&answer));
    for (at, row) in rows.iter().enumerate() {
        let (customer, order) = (at % 60 + 1, at / 60 % 100 + 21);
        assert!(row.starts_with(&format!("{customer}|{order}|[redacted]|")), "{row}");
    }
    hides(&case, &wire);
}

async fn what_another_session_redefines_is_masked_as_what_it_is(case: Case) {
    let mut wire = enter(&case).await;
    case.stage
        .real(
            "set role shop_owner; create table notes (id int, note text); insert into notes values (1, 'n')",
        )
        .unwrap();
    let prepare = Out::new().parse("s", "select * from notes").describe(b'S', "s").sync();
    assert_eq!(shape(&wire.ask(prepare).await.unwrap()), "1 t T ZI");
    let run = Out::new().bind("", "s", &[], &[]).execute("").sync();
    assert_eq!(rows(&wire.ask(run.clone()).await.unwrap()), ["1|n"]);
    // The prepared text now reads the customers; the target plans it anew.
    case.stage
        .real("set role shop_owner; drop table notes; create view notes as select id, ssn as note from customers where id = 1")
        .unwrap();
    let answer = wire.ask(run).await.unwrap();
    // A content rule finds it even where no column's name is known.
    assert!(!rows(&answer).join("").contains("743-61-4657"), "{:?}", rows(&answer));
    hides(&case, &wire);
}

async fn errors_and_notices_do_not_quote_values(case: Case) {
    let mut wire = enter(&case).await;
    for sql in [
        "select ssn::int from customers where id = 1",
        "select * from customers where id = ('x' || ssn)::int",
        "select 1 from customers where card::date is null",
        "insert into orders (customer_id, item, total, status) select id, 'leak', 1, ssn from customers where id = 1",
        "insert into customers (name, email, ssn, card, city) select name, email, ssn, card, city from customers where id = 1",
        "update customers set city = null where id = 1",
    ] {
        let answer = wire.query(sql).await.unwrap();
        assert!(shape(&answer).contains("E:"), "{sql}: {}", shape(&answer));
        let _ = wire.ask(Out::new().run(sql, &[]).sync()).await.unwrap();
    }
    let errors = wire.query("select 1/0").await.unwrap();
    assert!(raw::errors(&errors).contains("division by zero"), "{}", raw::errors(&errors));
    hides(&case, &wire);
}

const DRIVERS: &str = r#"
import asyncio, os, asyncpg, psycopg

def hidden(ssn, card):
    assert ssn == "[redacted]" and set(card[:9]) <= set("*- "), (ssn, card)

with psycopg.connect("", autocommit=True) as connection:
    for binary in (False, True):
        for _ in range(7):
            for row in connection.execute("select ssn, card from customers where id > %s", [0], binary=binary):
                hidden(*row)
    with connection.transaction():
        with connection.cursor(name="server", scrollable=True) as cursor:
            cursor.execute("select ssn, card from customers order by id")
            for row in cursor:
                hidden(*row)
    with connection.pipeline():
        cursors = [connection.execute("select ssn, card from customers where id = %s", [n]) for n in range(1, 30)]
    for cursor in cursors:
        hidden(*cursor.fetchone())

async def main():
    connection = await asyncpg.connect(ssl="require", host=os.environ["PGHOST"])
    for _ in range(3):
        for row in await connection.fetch("select ssn, card from customers"):
            hidden(*row)
    async with connection.transaction():
        async for row in connection.cursor("select ssn, card from customers", prefetch=7):
            hidden(*row)
    await connection.close()
asyncio.run(main())
print("hidden")
"#;

async fn drivers_see_masked_values(case: Case) {
    case.window().unwrap();
    let environment = case.stage.driver_environment(&case.token);
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(python(DRIVERS, &environment).unwrap().success().unwrap().trim(), "hidden");
}

/// EXPLAIN shows conditions and, with ANALYZE, runs the statement; what it prints is made of more than the statement.
async fn a_plan_shows_no_hidden_value(case: Case) {
    case.stage
        .real(
            "create index on customers (ssn); create index on customers (card); analyze customers;
             create function a_number() returns text immutable language sql as $$ select ssn from customers where id = 1 $$;
             create view cards as select card from customers",
        )
        .unwrap();
    let mut wire = enter(&case).await;
    let statements = [
        "select * from customers where ssn = '000-00-0000'",
        "select name from customers where ssn > '5' order by card",
        "select id from customers where ssn = (select ssn from customers where id = 1)",
        "select id from customers where ssn = any (array(select ssn from customers))",
        // The planner computes these and shows the result in place of the call.
        "select id from orders where item = a_number()",
        "select id from customers where ssn = a_number()",
        "select * from (values (a_number())) v (x) where x <> ''",
        "select * from cards where card > '4'",
        "with m as materialized (select min(ssn) s from customers) select id from customers, m where ssn = s",
        "insert into orders (customer_id, item, total, status) select id, 'planned', 1, 'open' from customers where ssn = ''",
    ];
    let options = [
        "",
        "analyze",
        "verbose",
        "(format json)",
        "(analyze, verbose, format json)",
        "(analyze, format xml, buffers)",
        "(verbose, format yaml, settings)",
    ];
    for statement in statements {
        for options in options {
            let sql = format!("explain {options} {statement}");
            let answer = wire.query(&sql).await.unwrap();
            assert!(refused(&answer), "{sql}: {}", shape(&answer));
            let extended = wire.ask(Out::new().run(&sql, &[]).sync()).await.unwrap();
            assert!(shape(&extended).ends_with("ZI"), "{sql}: {}", shape(&extended));
        }
    }
    // Planned with a parameter, and run by EXECUTE.
    for sql in [
        "prepare p (text) as select id from customers where ssn = $1",
        "explain execute p ('000-00-0000')",
        "explain analyze execute p (a_number())",
    ] {
        let _ = wire.query(sql).await.unwrap();
    }
    // What reads nothing hidden can be planned.
    let plan = wire.query("explain select id from orders where total > 5").await.unwrap();
    assert!(rows(&plan).join("").contains("Scan"), "{:?}", rows(&plan));
    hides(&case, &wire);
}
