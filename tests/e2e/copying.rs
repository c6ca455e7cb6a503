//! COPY TO STDOUT of what is hidden: masked as a SELECT of the same columns is, in every format, and still to be loaded again.
//!
//! Ways to get around that are in `leaks/attempts.txt`.

use chaperone_tests::cases::{Case, failed};
use chaperone_tests::raw::{Message, Out, Wire, errors, rows, shape};
use chaperone_tests::scripts::python;
use chaperone_tests::stage::{Setting, Stage, files, first_id};

const GUARD: &str = "{ preset: none }";
const MASK: &str = r#"{
    columns: [
        { match: "public.customers.ssn", strategy: redact },
        { match: "public.customers.card", strategy: partial },
        { match: "public.tricky.ssn", strategy: redact },
        { match: "public.guessed.word", strategy: redact },
        { match: "public.words.word", strategy: redact },
        { match: "public.typed.day", strategy: "null" }],
    content: [{ kind: ssn, strategy: redact }] }"#;
const TRICKY: &str = include_str!("leaks/setup.sql");

fn setting() -> Setting {
    Setting {
        guard: GUARD.into(),
        mask: MASK.into(),
        trigger: "{ threshold: 100, approvers: dba }".into(),
        ..Setting::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_masked_as_selects_are() {
    let stage = Stage::start(setting()).await.unwrap();
    let start = TRICKY.find("create table tricky").unwrap();
    let end = start + TRICKY[start..].find("from customers;").unwrap() + "from customers;".len();
    stage.real(&format!("set role shop_owner; {}", &TRICKY[start..end])).unwrap();
    stage
        .real(
            "set role shop_owner;
             create table typed (id int, day date, price numeric, doc jsonb, key uuid, flags boolean[]);
             insert into typed select id, date '2001-02-03' + id, id / 3.0, jsonb_build_object('a', name, 'b', id),
                 md5(ssn)::uuid, array[true, null] from customers;
             create table guessed (word text);
             insert into guessed values ('guess'), (null);
             create table words (word text);
             insert into words values ('guess'), ('other'), ('a;b'), ('');
             create table guarded (id int, word text, made text generated always as (upper(word)) stored, ssn text);
             insert into guarded (id, word, ssn) select id, name, ssn from customers;
             create policy own on guarded using (true);
             alter table guarded enable row level security, force row level security;",
        )
        .unwrap();
    let (stage, failed) = failed(
        stage,
        chaperone_tests::cases![
            copy_out_is_masked_in_every_format,
            a_prepared_copy_is_masked_each_time,
            what_cannot_be_read_is_refused_and_the_session_goes_on,
            a_refused_copy_undoes_what_its_segment_did,
            errors_of_a_copy_are_the_databases_own,
            a_copy_of_other_columns_than_were_described_is_not_shown,
            a_value_that_is_the_mark_of_null_is_masked,
            the_quotes_of_a_copy_tell_nothing_of_what_was_there,
            a_large_copy_is_masked_row_by_row,
            copied_files_can_be_loaded_again,
            drivers_copy_masked_values,
            copy_in_works_as_before,
        ],
    )
    .await
    .unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    let secrets = stage.real("select ssn from customers union all select card from customers").unwrap();
    for (path, bytes) in files(stage.folder.path()).unwrap() {
        for secret in secrets.lines() {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {path}");
        }
    }
}

/// It was judged at Parse, and the table has another column since.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_read_is_judged_when_it_runs() {
    // Without content rules: with them, what is not read is refused whatever it is.
    let mask = r#"{ columns: [{ match: "public.*.word", strategy: redact }] }"#.into();
    let mut stage = Stage::start(Setting { mask, ..setting() }).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    stage
        .real(
            "set role shop_owner; create table staging (id int); insert into staging values (7);
             create table swapped (word text); insert into swapped values ('other');",
        )
        .unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let before = wire
        .ask(Out::new().parse("c", "copy swapped (word) to stdout (encoding 'latin1')").sync())
        .await
        .unwrap();
    assert_eq!(shape(&before), "E:42501 ZI", "it would have to be masked");
    let parsed =
        wire.ask(Out::new().parse("c", "copy staging to stdout (encoding 'latin1')").sync()).await.unwrap();
    assert_eq!(shape(&parsed), "1 ZI");
    let ran = || Out::new().bind("", "c", &[], &[]).execute("").sync();
    let answer = wire.ask(ran()).await.unwrap();
    assert!(shape(&answer).starts_with("2 H"), "{}", shape(&answer));
    let altered = wire
        .query("alter table staging rename to staged; alter table swapped rename to staging")
        .await
        .unwrap();
    assert!(shape(&altered).ends_with("ZI"), "{}", shape(&altered));
    let answer = wire.ask(ran()).await.unwrap();
    let shown =
        wire.query("alter table staging rename to swapped; alter table staged rename to staging").await;
    assert!(shape(&shown.unwrap()).ends_with("ZI"));
    assert!(copied(&answer).is_empty() && shape(&answer).ends_with("E:42501 ZI"), "{}", shape(&answer));

    // The same in one text, which is judged before any of it runs.
    let swap = "alter table staging rename to staged; alter table swapped rename to staging";
    let answer = wire.query(&format!("{swap}; copy staging to stdout")).await.unwrap();
    assert!(copied(&answer).is_empty() && shape(&answer).ends_with("E:42501 ZI"), "{}", shape(&answer));
    stage.stop().await;
}

async fn enter(case: &Case) -> Wire {
    case.window().unwrap();
    Wire::connect(&case.stage, &case.token).await.unwrap()
}

fn copied(answer: &[Message]) -> Vec<String> {
    let data = answer.iter().filter(|message| message.kind == b'd');
    data.map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

/// A statement by the simple and by the extended protocol.
async fn both(wire: &mut Wire, sql: &str) -> [Vec<Message>; 2] {
    [wire.query(sql).await.unwrap(), wire.ask(Out::new().run(sql, &[]).sync()).await.unwrap()]
}

async fn copy_out_is_masked_in_every_format(case: Case) {
    let mut wire = enter(&case).await;
    let of = "(select id, ssn as \"a,b\", card, city from customers where id = 1)";
    let ada = ["1\t[redacted]\t************1881\tLeeds\n"];
    let quoted = format!("1,*[redacted]*,*{}1881*,Leeds\n", "**".repeat(12));
    let escaped = format!("1*[redacted]*{}1881*Leeds\n", "\\*".repeat(12));
    for (sql, expected) in [
        (format!("copy {of} to stdout"), &ada[..]),
        (format!("copy {of} to stdout (header)"), &["id\ta,b\tcard\tcity\n", ada[0]]),
        (
            format!("copy {of} to stdout csv delimiter ';'"),
            &["1;\"[redacted]\";\"************1881\";Leeds\n"],
        ),
        (
            format!("copy {of} to stdout (format csv, header, force_quote (\"a,b\"), delimiter ',')"),
            &["id,\"a,b\",card,city\n", "1,\"[redacted]\",\"************1881\",Leeds\n"],
        ),
        (format!("copy {of} to stdout with csv quote '*'"), &[quoted.as_str()]),
        (format!("copy {of} to stdout with delimiter '*' null ''"), &[escaped.as_str()]),
        (
            format!("copy {of} to stdout (format binary)"),
            &[
                "PGCOPY\n\u{fffd}\r\n\0\0\0\0\0\0\0\0\0\0\u{4}\0\0\0\u{4}\0\0\0\u{1}\0\0\0\u{a}[redacted]\0\0\0\u{10}************1881\0\0\0\u{5}Leeds",
                "\u{fffd}\u{fffd}",
            ],
        ),
    ] {
        for answer in both(&mut wire, &sql).await {
            assert_eq!(copied(&answer), expected, "{sql}: {}", shape(&answer));
            assert!(shape(&answer).ends_with("H d c C ZI"), "{sql}: {}", shape(&answer));
        }
    }
    let answer = wire.query("copy customers to stdout").await.unwrap();
    assert_eq!(copied(&answer).len(), 60);
    assert_eq!(
        copied(&answer)[0],
        "1\tAda Abbott\tada.abbott@example.com\t[redacted]\t************1881\tLeeds\n"
    );
    let complete = answer.iter().find(|message| message.kind == b'C').unwrap();
    assert_eq!(complete.body, b"COPY 60\0");
    // Without rows there is still a header.
    let answer =
        wire.query("copy (select ssn from customers where false) to stdout csv header").await.unwrap();
    assert_eq!(copied(&answer), ["ssn\n"]);
    let answer = wire.query("copy (select ssn from customers where false) to stdout binary").await.unwrap();
    let data: Vec<usize> = answer.iter().filter(|one| one.kind == b'd').map(|one| one.body.len()).collect();
    assert_eq!(data, [19 + 2]);
}

async fn a_prepared_copy_is_masked_each_time(case: Case) {
    let mut wire = enter(&case).await;
    let sql = "copy (select ssn from customers where id < 3) to stdout";
    let prepared = wire.ask(Out::new().parse("c", sql).describe(b'S', "c").sync()).await.unwrap();
    assert_eq!(shape(&prepared), "1 t n ZI");
    for _ in 0..3 {
        let out =
            Out::new().bind("p", "c", &[], &[]).describe(b'P', "p").execute("p").close(b'P', "p").sync();
        let answer = wire.ask(out).await.unwrap();
        assert_eq!(shape(&answer), "2 n H d c C 3 ZI");
        assert_eq!(copied(&answer), ["[redacted]\n", "[redacted]\n"]);
    }
    // In a pipeline, between other statements, in a transaction.
    let out = Out::new().run("begin", &[]).run("select 1", &[]).bind("", "c", &[], &[]).execute("");
    let answer = wire.ask(out.run("select ssn from customers where id = 1", &[]).sync()).await.unwrap();
    assert_eq!(shape(&answer), "1 2 C 1 2 D C 2 H d c C 1 2 D C ZT");
    assert_eq!(copied(&answer), ["[redacted]\n", "[redacted]\n"]);
    // What it reads is renamed: it is described anew.
    let answer = wire.query("alter table customers rename column card to harmless").await.unwrap();
    assert_eq!(shape(&answer), "C ZT");
    for answer in both(&mut wire, "copy customers (harmless, ssn) to stdout").await {
        assert!(
            copied(&answer).first().is_none_or(|row| row == "************1881\t[redacted]\n"),
            "{:?}",
            copied(&answer).first()
        );
    }
    wire.query("rollback").await.unwrap();
    // No statement of the gateway's own is left over.
    let left = wire.query("select count(*) from pg_prepared_statements").await.unwrap();
    assert_eq!(rows(&left), ["1"]);
}

async fn what_cannot_be_read_is_refused_and_the_session_goes_on(case: Case) {
    let mut wire = enter(&case).await;
    for sql in [
        "copy (select row_to_json(c) from customers c) to stdout",
        "copy (select upper(ssn) from customers) to stdout (format binary)",
        "copy customers to stdout (encoding 'latin1')",
        "copy customers to stdout (null 'x')",
    ] {
        for answer in both(&mut wire, sql).await {
            assert!(
                shape(&answer).ends_with("E:42501 ZI") && copied(&answer).is_empty(),
                "{sql}: {}",
                shape(&answer)
            );
        }
    }
    let answer = wire.query("copy customers to stdout; select 1").await.unwrap();
    assert_eq!(shape(&answer), "E:42501 ZI");
    assert!(errors(&answer).contains("the only statement of its text"), "{}", errors(&answer));
    // In a transaction the refusal leaves it as it was.
    wire.query("begin").await.unwrap();
    let answer = wire.query("copy (select upper(ssn) from customers) to stdout").await.unwrap();
    assert_eq!(shape(&answer), "E:42501 ZT");
    assert_eq!(shape(&wire.query("commit").await.unwrap()), "C ZI");
}

async fn a_refused_copy_undoes_what_its_segment_did(case: Case) {
    let mut wire = enter(&case).await;
    let insert = "insert into orders (customer_id, item, total, status) values (1, 'undone', 1, 'open')";
    let out = Out::new().run(insert, &[]).run("copy (select upper(ssn) from customers) to stdout", &[]);
    let answer = wire.ask(out.run("select 1", &[]).sync()).await.unwrap();
    assert!(shape(&answer).ends_with("E:42501 ZI") && rows(&answer).is_empty(), "{}", shape(&answer));
    let count = wire.query("select count(*) from orders where item = 'undone'").await.unwrap();
    assert_eq!(rows(&count), ["0"]);
}

async fn errors_of_a_copy_are_the_databases_own(case: Case) {
    let mut wire = enter(&case).await;
    let sql = "copy (select\nnope from customers) to stdout";
    for answer in both(&mut wire, sql).await {
        assert!(shape(&answer).ends_with("E:42703 ZI"), "{}", shape(&answer));
        let error = answer.iter().find(|message| message.kind == b'E').unwrap();
        assert_eq!(error.field(b'P').unwrap(), "14", "the place in the whole text");
    }
    for answer in both(&mut wire, "copy nowhere to stdout").await {
        assert!(shape(&answer).ends_with("E:42P01 ZI"), "{}", shape(&answer));
    }
    // The client's own segment and transaction end as they would.
    wire.query("begin").await.unwrap();
    assert_eq!(shape(&wire.query(sql).await.unwrap()), "E:42703 ZE");
    assert_eq!(shape(&wire.query("copy customers to stdout").await.unwrap()), "E:25P02 ZE");
    wire.query("rollback").await.unwrap();
    let out = Out::new().run(sql, &[]).run("select 1", &[]).sync().query("select 2");
    let answer = wire.ask(out).await.unwrap();
    assert_eq!(shape(&answer), "1 2 E:42703 ZI");
    assert_eq!(rows(&wire.answer().await.unwrap()), ["2"]);
}

/// Where rows are filtered by policies, PostgreSQL 15 copies generated columns, too.
async fn a_copy_of_other_columns_than_were_described_is_not_shown(case: Case) {
    let mut wire = enter(&case).await;
    for answer in both(&mut wire, "copy guarded to stdout").await {
        let data = copied(&answer).concat();
        let masked = data.lines().count() == 60 && data.lines().all(|line| line.ends_with("\t[redacted]"));
        assert!(masked || shape(&answer).ends_with("E:42501 ZI") && data.is_empty(), "{}", shape(&answer));
    }
    let answer = wire.query("copy guarded (id, ssn) to stdout").await.unwrap();
    assert_eq!(copied(&answer).len(), 60);
    assert!(copied(&answer).iter().all(|row| row.ends_with("\t[redacted]\n")));
}

/// Whoever may choose what stands for NULL would see which rows have that value.
async fn a_value_that_is_the_mark_of_null_is_masked(case: Case) {
    let mut wire = enter(&case).await;
    for (options, expected) in [
        ("(format csv, null 'guess')", &["\"[redacted]\"\n", "guess\n"][..]),
        ("(format csv)", &["\"[redacted]\"\n", "\n"]),
        ("(format text)", &["[redacted]\n", "\\N\n"]),
        // Nothing looks like a text without characters, so it is masked as one.
        ("(null '')", &["[redacted]\n", "[redacted]\n"]),
        ("(null 'guess')", &[]),
    ] {
        for answer in both(&mut wire, &format!("copy guessed to stdout {options}")).await {
            assert_eq!(copied(&answer), expected, "{options}");
            assert_eq!(expected.is_empty(), shape(&answer).ends_with("E:42501 ZI"), "{options}");
        }
    }
}

/// PostgreSQL quotes what holds a delimiter, a quote or the mark of NULL: all of the client's choice.
async fn the_quotes_of_a_copy_tell_nothing_of_what_was_there(case: Case) {
    let mut wire = enter(&case).await;
    for option in [
        "null 'guess'",
        "null 'other'",
        "delimiter ';'",
        "quote 'g'",
        "escape 'e'",
        "force_quote *",
        "header",
    ] {
        for answer in both(&mut wire, &format!("copy words to stdout (format csv, {option})")).await {
            let lines = copied(&answer);
            let lines: Vec<&String> = lines.iter().filter(|line| *line != "word\n").collect();
            assert_eq!(lines.len(), 4, "{option}");
            assert!(lines.iter().all(|line| *line == lines[0]), "{option}: {lines:?}");
        }
    }
}

async fn a_large_copy_is_masked_row_by_row(case: Case) {
    let mut wire = enter(&case).await;
    let sql =
        "copy (select k.ssn, a.id from customers k, customers a, customers b where b.id < 35) to stdout";
    let answer = wire.query(sql).await.unwrap();
    let data = copied(&answer);
    assert_eq!(data.len(), 60 * 60 * 34);
    assert!(data.iter().all(|row| row.starts_with("[redacted]\t") && row.ends_with('\n')));
}

async fn copied_files_can_be_loaded_again(case: Case) {
    case.window().unwrap();
    let psql = case.stage.psql(&case.token).unwrap();
    for (number, options) in [
        "(format text)",
        "(format text, null '')",
        "(format csv)",
        "(format csv, header, quote '7', escape '\\', delimiter '-', null 'nothing')",
        "(format csv, force_quote *)",
        "(format binary)",
    ]
    .into_iter()
    .enumerate()
    {
        let from = options.replace(", force_quote *", "");
        let script: String = ["tricky", "typed"]
            .iter()
            .map(|table| {
                let file = case.stage.path(&format!("{table}.{number}"));
                let file = file.display();
                format!(
                    "create table {table}_{number} (like {table});\n\\copy {table} to '{file}' {options}\n\
                     \\copy {table}_{number} from '{file}' {from}\n"
                )
            })
            .collect();
        let ran = psql.run(&script).unwrap();
        assert_eq!(ran.stderr, "", "{options}");
        // With nothing for NULL, a NULL that is masked is masked as a text, and the other way round.
        let nothing = options.contains("''");
        let note = if nothing {
            "nullif(t.note, '') is not distinct from b.note"
        } else {
            "t.note is not distinct from b.note"
        };
        let hidden = if nothing { "true" } else { "b.ssn is null or t.ssn is not null" };
        let same = case.stage.real(&format!(
            "select count(*) from tricky t join tricky_{number} b using (id) where {note} and \
             (b.ssn = '[redacted]' or b.ssn is null and t.ssn is null) and ({hidden})"
        ));
        assert_eq!(same.unwrap().trim(), "60", "{options}");
        let same = case.stage.real(&format!(
            "select count(*) from typed t join typed_{number} b using (id, price, key) where t.doc = b.doc \
             and t.flags is not distinct from b.flags and b.day is null and t.day is not null"
        ));
        assert_eq!(same.unwrap().trim(), "60", "{options}");
    }
}

const DRIVERS: &str = r#"
import asyncio, csv, io, os, asyncpg, psycopg

query = "select id, ssn, card, city from customers order by id"

def hidden(rows):
    assert len(rows) == 60, len(rows)
    for row in rows:
        assert row[1] == "[redacted]" and set(row[2][:9]) <= set("*- "), row

with psycopg.connect("", autocommit=True) as connection:
    cursor = connection.cursor()
    for format in ("text", "binary"):
        with cursor.copy(f"copy ({query}) to stdout (format {format})") as copy:
            copy.set_types(["int4", "text", "text", "text"])
            hidden(list(copy.rows()))
        with cursor.copy("copy customers (id, ssn, card) to stdout (format %s)" % format) as copy:
            assert len(list(copy)) == (60 if format == "text" else 61)
    with cursor.copy(f"copy ({query}) to stdout csv header") as copy:
        text = b"".join(copy).decode()
        hidden(list(csv.reader(text.splitlines()[1:])))
    try:
        with cursor.copy("copy (select upper(ssn) from customers) to stdout") as copy:
            list(copy)
        raise AssertionError("COPY was not refused")
    except psycopg.errors.InsufficientPrivilege:
        pass
    assert cursor.execute("select 1").fetchone() == (1,)

async def main():
    connection = await asyncpg.connect(ssl="require", host=os.environ["PGHOST"])
    for options in ({}, {"format": "csv", "header": True}, {"format": "csv", "force_quote": True, "delimiter": ";"}):
        out = io.BytesIO()
        assert await connection.copy_from_query(query, output=out, **options) == "COPY 60"
        assert out.getvalue().count(b"[redacted]") == 60, out.getvalue()[:200]
        out = io.BytesIO()
        await connection.copy_from_table("customers", output=out, columns=["ssn", "id"], **options)
        assert out.getvalue().count(b"[redacted]") == 60, out.getvalue()[:200]
    out = io.BytesIO()
    await connection.copy_from_query("select ssn from customers where id = $1", 1, output=out, format="binary")
    assert out.getvalue()[19:] == b"\0\1\0\0\0\x0a[redacted]\xff\xff", out.getvalue()
    async with connection.transaction():
        await connection.copy_from_table("customers", output=io.BytesIO(), format="binary")
    await connection.close()
asyncio.run(main())
print("hidden")
"#;

async fn drivers_copy_masked_values(case: Case) {
    case.window().unwrap();
    let environment = case.stage.driver_environment(&case.token);
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(python(DRIVERS, &environment).unwrap().success().unwrap().trim(), "hidden");
}

async fn copy_in_works_as_before(case: Case) {
    let mut wire = enter(&case).await;
    let sql = "copy orders (customer_id, item, total, status) from stdin";
    let data = Out::new().message(b'd', b"1\tcopied in\t2\topen\n").message(b'c', b"");
    for (begin, rest) in [(Out::new().query(sql), data.clone()), (Out::new().run(sql, &[]), data.sync())] {
        wire.send(begin).await.unwrap();
        wire.until(b'G').await.unwrap();
        assert_eq!(shape(&wire.ask(rest).await.unwrap()), "C ZI");
    }
    let count = case.stage.real("select count(*) from orders where item = 'copied in'").unwrap();
    assert_eq!(count.trim(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_copy_is_masked_when_it_is_approved() {
    let setting = Setting { trigger: "{ threshold: 20, approvers: dba }".into(), ..setting() };
    let mut stage = Stage::start(setting).await.unwrap();
    let mut wire = Wire::connect(&stage, &stage.agent_with_window().unwrap()).await.unwrap();
    let sql = "copy (select ssn from customers where id = 1) to stdout";
    for out in [Out::new().query(sql), Out::new().run(sql, &[]).sync()] {
        wire.send(out).await.unwrap();
        let notice = wire.until(b'N').await.unwrap();
        let id = first_id(&notice.field(b'M').unwrap(), "hold_").unwrap();
        stage.chaperone(&stage.approver().unwrap(), &["approve", &id]).unwrap().success().unwrap();
        let answer = wire.answer().await.unwrap();
        assert_eq!(copied(&answer), ["[redacted]\n"], "{}", shape(&answer));
    }
    drop(wire);
    stage.stop().await;
}
