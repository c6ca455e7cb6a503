//! One line for each kind of statement: its class and what the default preset says.

use crate::{guard, verdict};

/// Text, class, verdict of `dml-with-where`.
const STATEMENTS: &[(&str, &str, &str)] = &[
    ("", "empty", "allow"),
    (" ; ;; -- nothing\n", "empty", "allow"),
    ("select 1", "select", "allow"),
    ("SELECT * FROM customers WHERE id = $1", "select", "allow"),
    ("select a from t union all select b from u order by 1 limit 3", "select", "allow"),
    ("(select 1) intersect (select 2)", "select", "allow"),
    ("values (1), (2)", "select", "allow"),
    ("table customers", "select", "allow"),
    ("with x as (select 1) select * from x", "select", "allow"),
    ("select from t", "select", "allow"),
    ("select * from t for update", "select.for-update", "allow"),
    ("select * from t for share of t skip locked", "select.for-update", "allow"),
    ("select * into new_t from t", "select.into", "select.into"),
    ("insert into t values (1)", "insert", "allow"),
    ("insert into t default values returning *", "insert", "allow"),
    ("insert into t (a) select b from u", "insert", "allow"),
    ("insert into t values (1) on conflict (a) do nothing", "insert", "allow"),
    ("insert into t values (1) on conflict (a) do update set b = 1", "insert", "allow"),
    ("update t set a = 1 where id = 2", "update", "allow"),
    ("update t set a = 1 from u where t.id = u.id", "update", "allow"),
    ("update t set a = 1 where current of c", "update", "allow"),
    ("update t set a = 1", "update.no-where", "update.no-where"),
    ("delete from orders where id = 7", "delete", "allow"),
    ("delete from orders using t where orders.id = t.id", "delete", "allow"),
    ("delete from orders where lower(name) = 'x'", "delete", "allow"),
    ("delete from orders", "delete.no-where", "delete.no-where"),
    ("delete from orders where true", "delete.no-where", "delete.no-where"),
    ("delete from orders where $1", "delete.no-where", "delete.no-where"),
    ("delete from orders where now() > '2020-01-01'", "delete.no-where", "delete.no-where"),
    ("delete from orders where current_user = 'x'", "delete.no-where", "delete.no-where"),
    ("merge into t using s on t.id = s.id when not matched then insert (a) values (s.a)", "merge", "allow"),
    ("merge into t using s on t.id = s.id when matched then update set a = s.a", "merge", "allow"),
    ("merge into t using s on t.id = s.id when matched then delete", "merge", "allow"),
    ("truncate t", "truncate", "truncate"),
    ("truncate table only a, b restart identity cascade", "truncate", "truncate"),
    ("copy t from stdin", "copy.in", "allow"),
    ("copy t (a, b) from stdin with (format csv)", "copy.in", "allow"),
    ("copy t to stdout", "copy.out", "allow"),
    ("copy (select 1) to stdout", "copy.out", "allow"),
    ("copy t from '/etc/passwd'", "copy.file", "copy.file"),
    ("copy t to '/tmp/x'", "copy.file", "copy.file"),
    ("copy t to program 'sh'", "copy.program", "copy.program"),
    ("copy t from program 'sh'", "copy.program", "copy.program"),
    ("explain select 1", "explain", "allow"),
    ("explain (costs off, format json) select 1", "explain", "allow"),
    ("explain analyze select 1", "explain.analyze", "allow"),
    ("explain (analyze) select 1", "explain.analyze", "allow"),
    ("explain (analyze false) select 1", "explain.analyze", "allow"),
    ("explain delete from t where a = 1", "explain", "allow"),
    ("explain analyze delete from t where a = 1", "delete", "allow"),
    ("create table t (a int)", "ddl.create", "ddl.create"),
    ("create temp table t (a int)", "ddl.create", "ddl.create"),
    ("create table t as select 1", "ddl.create", "ddl.create"),
    ("create view v as select 1", "ddl.create", "ddl.create"),
    ("create materialized view v as select 1", "ddl.create", "ddl.create"),
    ("create index on t (a)", "ddl.create", "ddl.create"),
    ("create sequence s", "ddl.create", "ddl.create"),
    ("create schema s", "ddl.create", "ddl.create"),
    ("create type t as enum ('a')", "ddl.create", "ddl.create"),
    ("create domain d as int", "ddl.create", "ddl.create"),
    ("create foreign table t (a int) server s", "ddl.create", "ddl.create"),
    ("alter table t add column a int", "ddl.alter", "ddl.alter"),
    ("alter table t rename to u", "ddl.alter", "ddl.alter"),
    ("alter schema s rename to t", "ddl.alter", "ddl.alter"),
    ("alter type t add value 'b'", "ddl.alter", "ddl.alter"),
    ("alter sequence s restart", "ddl.alter", "ddl.alter"),
    ("drop table t", "ddl.drop", "ddl.drop"),
    ("drop schema s cascade", "ddl.drop", "ddl.drop"),
    ("drop view if exists v", "ddl.drop", "ddl.drop"),
    ("drop function f(int)", "ddl.drop", "ddl.drop"),
    ("drop trigger x on t", "ddl.drop", "ddl.drop"),
    ("comment on table t is 'x'", "ddl.comment", "ddl.comment"),
    ("create function f() returns int language sql as 'select 1'", "ddl.function", "ddl.function"),
    ("create or replace procedure p() language sql as 'select 1'", "ddl.function", "ddl.function"),
    ("create trigger x before insert on t execute function f()", "ddl.function", "ddl.function"),
    ("create rule r as on insert to t do nothing", "ddl.function", "ddl.function"),
    ("create event trigger x on ddl_command_start execute function f()", "ddl.function", "ddl.function"),
    ("alter function f() owner to x", "ddl.function", "ddl.function"),
    ("grant select on t to u", "privilege", "privilege"),
    ("revoke all on t from u", "privilege", "privilege"),
    ("grant admin to u", "privilege", "privilege"),
    ("alter default privileges grant select on tables to u", "privilege", "privilege"),
    ("reassign owned by a to b", "privilege", "privilege"),
    ("drop owned by a", "privilege", "privilege"),
    ("create policy p on t using (true)", "privilege", "privilege"),
    ("security label on table t is 'x'", "privilege", "privilege"),
    ("create role r", "role", "role"),
    ("create user u password 'x'", "role", "role"),
    ("alter role r superuser", "role", "role"),
    ("alter user u set search_path to x", "role", "role"),
    ("drop role r", "role", "role"),
    ("set role r", "role", "role"),
    ("set local role r", "role", "role"),
    ("reset role", "role", "role"),
    ("set session authorization u", "role", "role"),
    ("reset session authorization", "role", "role"),
    ("alter system set work_mem = '1GB'", "system", "system"),
    ("load 'x'", "system", "system"),
    ("checkpoint", "system", "system"),
    ("create extension dblink", "system", "system"),
    ("create tablespace t location '/x'", "system", "system"),
    ("create database d", "system", "system"),
    ("alter database d set x.y to z", "system", "system"),
    ("create server s foreign data wrapper w", "system", "system"),
    ("create user mapping for u server s", "system", "system"),
    ("import foreign schema a from server s into b", "system", "system"),
    ("create subscription s connection 'x' publication p", "system", "system"),
    ("create publication p for all tables", "system", "system"),
    ("create language l", "system", "system"),
    ("set search_path to a, b", "session.set", "allow"),
    ("set local statement_timeout = 100", "session.set", "allow"),
    ("set time zone 'UTC'", "session.set", "allow"),
    ("set constraints all deferred", "session.set", "allow"),
    ("set client_encoding to 'UTF8'", "session.set", "allow"),
    ("set standard_conforming_strings = on", "session.set", "allow"),
    ("show all", "session.show", "allow"),
    ("show server_version", "session.show", "allow"),
    ("reset all", "session.reset", "allow"),
    ("reset search_path", "session.reset", "allow"),
    ("discard all", "session.discard", "allow"),
    ("begin", "transaction", "allow"),
    ("start transaction isolation level serializable, read only", "transaction", "allow"),
    ("commit and chain", "transaction", "allow"),
    ("end", "transaction", "allow"),
    ("rollback", "transaction", "allow"),
    ("abort", "transaction", "allow"),
    ("savepoint a", "transaction", "allow"),
    ("rollback to savepoint a", "transaction", "allow"),
    ("release savepoint a", "transaction", "allow"),
    ("set transaction read only", "transaction", "allow"),
    ("set session characteristics as transaction read only", "transaction", "allow"),
    ("prepare transaction 'x'", "transaction.prepared", "transaction.prepared"),
    ("commit prepared 'x'", "transaction.prepared", "transaction.prepared"),
    ("declare c cursor for select 1", "cursor", "allow"),
    ("fetch all from c", "cursor", "allow"),
    ("move 5 in c", "cursor", "allow"),
    ("close c", "cursor", "allow"),
    ("prepare p as select 1", "prepare", "allow"),
    ("prepare p (int) as delete from t where a = $1", "delete", "allow"),
    ("execute p (1)", "execute", "allow"),
    ("deallocate all", "prepare", "allow"),
    ("do $$ begin end $$", "procedural", "procedural"),
    ("call p(1)", "procedural", "procedural"),
    ("vacuum", "maintenance", "allow"),
    ("analyze t", "maintenance", "allow"),
    ("reindex table t", "maintenance", "allow"),
    ("cluster t", "maintenance", "allow"),
    ("refresh materialized view v", "maintenance", "allow"),
    ("listen x", "listen", "allow"),
    ("unlisten *", "listen", "allow"),
    ("notify x, 'y'", "notify", "allow"),
    ("lock table t in exclusive mode", "lock", "allow"),
    ("select nextval('s')", "select", "allow"),
    ("select pg_sleep(1)", "select", "allow"),
    ("select my_function(1)", "select", "function.other"),
    ("select pg_terminate_backend(1)", "select", "function.admin"),
    ("select set_config('search_path', 'x', false)", "select", "function.admin"),
    ("select pg_read_file('/etc/passwd')", "select", "function.file"),
    ("select lo_import('/etc/passwd')", "select", "function.file"),
    ("select lo_get(1)", "select", "function.large-object"),
    ("select dblink('x', 'select 1')", "select", "function.remote"),
    ("select query_to_xml('delete from t', true, false, '')", "select", "function.dynamic"),
];

#[test]
fn every_statement_has_its_class_and_verdict() {
    let guard = guard("{}");
    let mut wrong = Vec::new();
    for (text, class, expected) in STATEMENTS {
        let response = guard.check_text(text);
        let found = response.statements.first().map_or("", |facts| facts.class.as_str());
        if found != *class || verdict(&response) != *expected || response.statements.len() != 1 {
            wrong.push(format!("{text}: {found}, {} (expected {class}, {expected})", verdict(&response)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn white_space_comments_and_case_change_nothing() {
    let guard = guard("{}");
    for (text, class, expected) in STATEMENTS {
        // Strings of this table have no spaces that matter to the class.
        let spaced = format!("/* a /* b */ c */\n{} -- end", text.replace(' ', " /**/\t"));
        let response = guard.check_text(&spaced);
        let found = response.statements.first().map_or("", |facts| facts.class.as_str());
        assert_eq!((found, verdict(&response)), (*class, *expected), "{spaced}");
    }
}

#[test]
fn the_demo_holds_what_it_must_hold() {
    let guard = guard("{}");
    let risk = |text: &str| guard.check_text(text).assessment.risk;
    assert!(risk("select * from customers") < 20);
    assert!(risk("insert into orders values (1)") < 50);
    assert!(risk("update orders set a = 1 where id = 1") < 50);
    assert!(risk("delete from orders where id = 1") >= 50);
    assert!(risk("explain analyze delete from orders where id = 1") >= 50);
    assert!(risk("explain delete from orders where id = 1") < 50);
    let response = guard.check_text("delete from orders where id = 1");
    let finding = response.assessment.findings.first();
    assert_eq!(
        finding.map(|finding| (finding.rule.as_str(), finding.detail.as_str(), finding.risk)),
        Some(("delete", "it deletes rows: orders", 60))
    );
}

#[test]
fn read_only_reads_only() {
    let guard = guard(r#"{"preset": "read-only"}"#);
    for text in [
        "select * from t",
        "explain analyze select 1",
        "copy t to stdout",
        "begin",
        "set search_path to x",
        "declare c cursor for select 1",
        "show all",
        "select lower(a), count(*) from t group by 1",
    ] {
        assert_eq!(verdict(&guard.check_text(text)), "allow", "{text}");
    }
    for text in [
        "insert into t values (1)",
        "with x as (insert into t values (1) returning *) select * from x",
        "explain insert into t values (1)",
        "select * from t for update",
        "select nextval('s')",
        "select my_function()",
        "select evil.lower(a) from t",
        "select pg_notify('a', 'b')",
        "lock t",
        "notify x",
        "copy t from stdin",
        "refresh materialized view v",
        "select pg_advisory_lock(1)",
    ] {
        assert_ne!(verdict(&guard.check_text(text)), "allow", "{text}");
    }
}
