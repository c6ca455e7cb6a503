//! Attempts to get something past the default preset. Each must be refused, whatever the reason; the second column
//! names the rule, so that none is refused by accident.

use crate::{guard, verdict};

const ATTEMPTS: &[(&str, &str)] = &[
    // Spelling.
    ("DROP/**/TABLE t", "ddl.drop"),
    ("/* /* nested */ select 1 */ drop table t", "ddl.drop"),
    ("-- select 1\ndrop table t", "ddl.drop"),
    ("-- select 1\rdrop table t", "ddl.drop"),
    ("DrOp TaBlE t", "ddl.drop"),
    ("drop\u{000b}table t", "ddl.drop"),
    ("\tdrop\n\ntable\r\n\"T\"", "ddl.drop"),
    ("truncate customers", "truncate"),
    ("drop table U&\"\\0063ustomers\"", "sql.ambiguous"),
    ("select * from u&\"!0063ustomers\" uescape '!'", "sql.ambiguous"),
    ("\u{feff}drop table t", "sql.ambiguous"),
    ("select 1\0; drop table t", "sql.ambiguous"),
    ("drop table t\0", "sql.ambiguous"),
    // More than one statement.
    ("select 1; delete from t", "delete.no-where"),
    ("select 1;; drop table t", "ddl.drop"),
    ("select ';'; drop table t; --'", "ddl.drop"),
    ("select $$;$$; drop table t", "ddl.drop"),
    ("select $a$ $$ $a$; drop table t", "ddl.drop"),
    ("select $a$$b$$a$; drop table t", "ddl.drop"),
    ("begin; truncate t; commit", "truncate"),
    // Where a string ends.
    ("select E'a\\''; drop table t; --'", "ddl.drop"),
    ("select 'a\\'; drop table t; --'", "ddl.drop"),
    ("select e'a'\n'\\''; drop table t; --'", "sql.ambiguous"),
    ("select E'a' --\n'b' '\\''; drop table t; --'", "sql.ambiguous"),
    ("select b'0''; drop table t; --'", "sql.unparsed"),
    ("select a$$b; drop table t; --$$", "ddl.drop"),
    ("select 'unterminated; drop table t", "sql.unparsed"),
    ("select $$unterminated; drop table t", "sql.unparsed"),
    ("select \"unterminated; drop table t", "sql.unparsed"),
    ("select 1 /* unterminated; drop table t", "sql.unparsed"),
    ("select $1a$; drop table t; $1a$", "sql.unparsed"),
    // How a text is read.
    ("set standard_conforming_strings = off", "session.reading"),
    ("set local \"Standard_Conforming_Strings\" to 'off'", "session.reading"),
    ("set standard_conforming_strings to on, off", "session.reading"),
    ("set client_encoding to 'SJIS'", "session.reading"),
    ("set client_encoding from current", "session.reading"),
    ("set names 'SJIS'", "sql.unparsed"),
    ("update pg_settings set setting = 'off' where name = 'standard_conforming_strings'", "session.reading"),
    ("update pg_catalog.pg_settings set setting = 'off' where name = 'x'", "session.reading"),
    ("select set_config('standard_conforming_strings', 'off', false)", "session.reading"),
    ("select set_config('standard_' || 'conforming_strings', 'off', false)", "session.reading"),
    ("select set_config(E'client\\x5fencoding', 'sjis', false)", "session.reading"),
    ("select set_config(name, 'off', false) from pg_settings", "session.reading"),
    // Who the session is.
    ("set role postgres", "role"),
    ("set \"ROLE\" to postgres", "role"),
    ("set session_authorization = 'postgres'", "role"),
    ("select set_config('role', 'postgres', false)", "role"),
    ("reset \"role\"", "role"),
    // Statements inside statements.
    ("with x as (delete from t returning *) select * from x", "delete.no-where"),
    ("with x as (select 1), y as (update t set a = 1) select 1", "update.no-where"),
    ("with x as (with y as (delete from t) select 1) select 1", "delete.no-where"),
    ("explain analyze delete from t", "delete.no-where"),
    ("explain (verbose, analyze) update t set a = 1", "update.no-where"),
    ("explain delete from t", "delete.no-where"),
    ("explain analyze create table t as select 1", "ddl.create"),
    ("prepare x as delete from t", "delete.no-where"),
    ("prepare x as with y as (delete from t) select 1", "delete.no-where"),
    ("copy (delete from t returning *) to stdout", "delete.no-where"),
    ("copy (with x as (delete from t) select 1) to stdout", "delete.no-where"),
    ("insert into a with x as (delete from t returning *) select * from x", "delete.no-where"),
    ("do $$ begin execute 'drop table t'; end $$", "procedural"),
    ("do language plpgsql 'begin end'", "procedural"),
    ("call drop_everything()", "procedural"),
    ("create schema s create table t (a int)", "ddl.create"),
    ("create rule r as on select to t do instead delete from t", "ddl.function"),
    // Everything at once, in other words.
    ("delete from t where true", "delete.no-where"),
    ("delete from t where 1 = 1", "delete.no-where"),
    ("delete from t where not false and 1 < 2", "delete.no-where"),
    ("delete from t where session_user = current_user", "delete.no-where"),
    ("update t set a = 1 where localtimestamp > '2020-01-01'", "update.no-where"),
    ("delete from only t", "delete.no-where"),
    ("delete from t *", "delete.no-where"),
    ("delete from t where random() >= 0", "delete.no-where"),
    ("delete from t using u", "delete.no-where"),
    ("update t set a = 1 from u", "update.no-where"),
    ("merge into t using (select 1) s on true when matched then delete", "delete.no-where"),
    ("merge into t using (select 1) s on true when matched then update set a = 1", "update.no-where"),
    ("merge into t using s on t.a = s.a when not matched by source then delete", "delete.no-where"),
    // Files, programs, servers.
    ("copy t from program $$ sh $$", "copy.program"),
    ("copy (select 1) to program 'sh'", "copy.program"),
    ("copy binary t to '/tmp/x'", "copy.file"),
    ("select pg_catalog.pg_read_file('x')", "function.file"),
    ("select \"pg_read_file\"('x')", "function.file"),
    ("select PG_READ_FILE('x')", "function.file"),
    ("select ('x'::text).pg_read_file", "function.file"),
    ("select (array['x'])[1].pg_read_file", "function.file"),
    ("select s.pg_read_file from (select 'x'::text) s", "function.file"),
    ("select * from pg_ls_dir('.')", "function.file"),
    ("select * from rows from (pg_ls_waldir(), pg_ls_logdir()) x", "function.file"),
    ("select 1 from t, lateral pg_read_binary_file(t.a)", "function.file"),
    ("select 1 where exists (select pg_stat_file('x'))", "function.file"),
    ("select count(*) filter (where pg_read_file(a) = '') from t", "function.file"),
    ("values (lo_export(1, '/tmp/x'))", "function.file"),
    ("update t set a = pg_read_file('x') where id = 1", "function.file"),
    ("insert into t values (1) returning pg_read_file('x')", "function.file"),
    ("select 1 order by pg_read_file('x')", "function.file"),
    ("select 1 limit length(pg_read_file('x'))", "function.file"),
    ("execute p (pg_read_file('x'))", "function.file"),
    ("select case when true then pg_read_file('x') end", "function.file"),
    ("select * from t tablesample system (pg_read_file('x')::int)", "function.file"),
    ("select * from dblink('x', 'drop table t') as d (a int)", "function.remote"),
    ("select public.dblink_exec('x')", "function.remote"),
    ("select query_to_xml('delete from t returning *', true, true, '')", "function.dynamic"),
    ("select database_to_xml(true, true, '')", "function.dynamic"),
    ("select ts_stat('select to_tsvector(ssn) from customers')", "function.dynamic"),
    ("select * from crosstab('select 1')", "function.dynamic"),
    ("select cron.schedule('* * * * *', 'drop table t')", "function.dynamic"),
    ("select pg_reload_conf()", "function.admin"),
    ("select pg_cancel_backend(pid) from pg_stat_activity", "function.admin"),
    ("select loread(1, 100)", "function.large-object"),
    // Tables of the system.
    ("update pg_authid set rolsuper = true where rolname = 'x'", "system"),
    ("delete from pg_catalog.pg_class where oid = 1", "system"),
    ("insert into pg_proc values (1)", "system"),
    // Queries that store.
    ("select * into t2 from t", "select.into"),
    ("select a into temp x from t", "select.into"),
    ("with x as (select 1) select * into y from x", "select.into"),
    ("create table x as execute p", "ddl.create"),
    // Not SQL, or not PostgreSQL's.
    ("\\! rm -rf /", "sql.unparsed"),
    ("\\copy t from program 'sh'", "sql.unparsed"),
    ("select 1 go drop table t go", "sql.unparsed"),
    ("drop tabel t", "sql.unparsed"),
    ("select `a` from t", "sql.unparsed"),
    ("delete from t limit 1", "sql.unparsed"),
    ("bananas", "sql.unparsed"),
    ("select * from graph_table (g match (a) columns (a.x))", "sql.unparsed"),
    ("copy t to stdout (format E'csv')", "sql.unparsed"),
];

#[test]
fn nothing_gets_past() {
    let guard = guard("{}");
    let wrong: Vec<String> = ATTEMPTS
        .iter()
        .map(|(text, rule)| (text, *rule, guard.check_text(text)))
        .filter(|(_, rule, response)| verdict(response) != *rule || response.assessment.risk < 20)
        .map(|(text, rule, response)| format!("{text:?}: {} (expected {rule})", verdict(&response)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_rule_allows_what_is_not_understood() {
    let guard = guard(r#"{"preset": "none", "rules": [{"class": "*", "action": "allow"}]}"#);
    for (text, rule) in ATTEMPTS {
        if rule.starts_with("sql.") || *rule == "session.reading" {
            assert_eq!(verdict(&guard.check_text(text)), *rule, "{text}");
        }
    }
}

#[test]
fn deep_and_long_texts_are_refused_cleanly() {
    let guard = guard("{}");
    for (text, rule) in [
        (format!("select {}1{}", "(".repeat(50_000), ")".repeat(50_000)), "sql.too-complex"),
        (format!("select {}1", "not ".repeat(50_000)), "sql.too-complex"),
        (format!("select {}1", "case when ".repeat(20_000)), "sql.too-complex"),
        (format!("{}1{}", "select (".repeat(5_000), ")".repeat(5_000)), "sql.too-complex"),
        (format!("select '{}'", "a".repeat(300_000)), "sql.too-large"),
        ("select 1;".repeat(2_000), "sql.too-complex"),
        (format!("select {}", vec!["f(1)"; 60_000].join(",")), "sql.too-large"),
        (
            format!("select 1 from {}", (0..300).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",")),
            "sql.too-complex",
        ),
        (
            format!("select {}", (0..300).map(|n| format!("f{n}()")).collect::<Vec<_>>().join(",")),
            "sql.too-complex",
        ),
    ] {
        let response = guard.check_text(&text);
        assert_eq!(verdict(&response), rule, "{}", text.get(..40).unwrap_or_default());
    }
}

/// Texts as deep as the bound lets through, each a different way for the parser to recurse.
#[test]
fn what_is_let_through_does_not_exhaust_the_stack() {
    const PIECES: &[(&str, &str, &str)] = &[
        ("select ", "(", ")"),
        ("select ", "not ", ""),
        ("select ", "- ", ""),
        ("select ", "@ ", ""),
        ("select ", "array[", "]"),
        ("select ", "f(", ")"),
        ("select ", "(select ", ")"),
        ("select ", "exists (select ", ")"),
        ("select ", "case when ", " then 1 end"),
        ("select ", "case when 1 then 1 else ", " end"),
        ("select ", "1 = ", ""),
        ("select ", "1 || ", ""),
        ("select ", "a -> ", ""),
        ("select ", "1 in (1) in ", ""),
        ("select ", "1 between 1 and ", ""),
        ("select ", "operator(+) ", ""),
        ("select ", "a is distinct from ", ""),
        ("select * from ", "(select * from ", ") x"),
        ("select * from ", "(a join ", " on true)"),
        ("select * from ", "a join ", " on true"),
        ("select * from ", "a cross join ", ""),
        ("", "with x as (", ") select 1"),
        ("", "explain ", ""),
        ("", "prepare x as ", ""),
        ("", "create function f() begin atomic ", "; end"),
        ("select ", "x::int[", "]"),
        ("select ", "row(", ")"),
        ("select ", "cast(", " as int)"),
    ];
    let run = || {
        let guard = guard("{}");
        for (head, open, close) in PIECES {
            let mut deepest = 0;
            for depth in (1..220).rev() {
                let text = format!("{head}{}1{}", open.repeat(depth), close.repeat(depth));
                if verdict(&guard.check_text(&text)) != "sql.too-complex" {
                    deepest = deepest.max(depth);
                }
            }
            assert!(deepest > 10, "{open}: not even {deepest}");
        }
    };
    // Half of what a thread of a test has; a plugin has at least as much, and its frames are smaller.
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("no overflow");
}
