//! The facts that masks and recordings rely on.

use crate::{columns, facts, guard, relations};

#[test]
fn relations_are_read_written_and_defined() {
    for (text, expected) in [
        ("select * from a, public.B, \"C\" x", "r:C r:a r:public.b"),
        ("select * from only a join b using (i)", "r:a r:b"),
        ("select * from only (a)", "r:a"),
        ("select (select 1 from a) from b where exists (select 1 from c)", "r:a r:b r:c"),
        ("select * from (select * from a) x, lateral (select * from b) y", "r:a r:b"),
        ("select 1 from a union select 1 from b except table c", "r:a r:b r:c"),
        ("table a", "r:a"),
        ("select * from db.s.t", "r:s.t"),
        ("select * from generate_series(1, 2) g, json_each('{}') j, (values (1)) v", ""),
        ("insert into a select * from b", "r:b w:a"),
        ("insert into a values (1) returning *", "r:a w:a"),
        ("insert into a values (1) on conflict do nothing", "r:a w:a"),
        ("update a set x = (select 1 from c) from b where a.i = b.i", "r:a r:b r:c w:a"),
        ("delete from s.a using b where a.i = b.i", "r:b r:s.a w:s.a"),
        ("delete from a", "w:a"),
        ("merge into a using b on a.i = b.i when matched then delete", "r:a r:b w:a"),
        ("truncate a, only b", "w:a w:b"),
        ("copy a to stdout", "r:a"),
        ("copy a from stdin", "w:a"),
        ("copy (select * from a) to stdout", "r:a"),
        ("select * into n from a", "d:n r:a"),
        ("create table n as select * from a", "d:n r:a"),
        ("create view s.v as select * from a", "d:s.v r:a"),
        ("create table n (like a, b int references c)", "d:c d:n r:a"),
        ("drop table a, s.b", "d:a d:s.b"),
        ("alter table a rename to b", "d:a d:b"),
        ("create index i on a (x)", "d:a d:i"),
        ("grant select on a to u", "d:a"),
        ("lock a", "r:a"),
        ("vacuum a", "d:a"),
        ("explain analyze delete from a where i = 1", "r:a w:a"),
        ("prepare p as insert into a values (1)", "w:a"),
        ("declare c cursor for select * from a", "r:a"),
        ("comment on table a is 'x'", "d:a"),
        ("refresh materialized view v", "d:v"),
    ] {
        assert_eq!(relations(&facts(text)), expected, "{text}");
    }
}

#[test]
fn names_of_with_are_no_relations_where_they_are_known() {
    for (text, expected) in [
        ("with a as (select 1) select * from a", ""),
        ("with a as (select * from b) select * from a, c", "r:b r:c"),
        ("with a as (select * from a) select * from a", "r:a"),
        ("with recursive a as (select 1 union all select * from a) select * from a", ""),
        ("with recursive a as (select * from b), b as (select 1) select * from a", ""),
        ("with a as (select * from b), b as (select 1) select * from a", "r:b"),
        ("with a as (select 1) select * from s.a", "r:s.a"),
        ("with a as (select 1) select 1 union select * from a", ""),
        ("with a as (select 1) select 1 union select 2 union select * from a", ""),
        ("with a as (select 1) values (1) union table a", ""),
        ("select * from (with a as (select 1) select * from a) x, a", "r:a"),
        ("select 1 union (with a as (select 1) select * from a) union select * from a", "r:a"),
        ("with a as (select 1) insert into b select * from a", "w:b"),
        ("with a as (select 1) delete from a where i = 1", "r:a w:a"),
        ("with a as (select 1) select (select 1 from a), (with a as (select * from a) select 1 from a)", ""),
        ("with a as (select 1) table a", ""),
        ("with A as (select 1) select * from \"a\"", ""),
        ("with \"A\" as (select 1) select * from a", "r:a"),
        ("with a as (select 1) select * from a; select * from a", "r:a"),
    ] {
        let response = guard(r#"{"preset": "none"}"#).check_text(text);
        let last = response.statements.last().map(relations).unwrap_or_default();
        assert_eq!(last, expected, "{text}");
    }
}

#[test]
fn columns_count_where_they_are_named() {
    for (text, expected) in [
        ("select a, t.b, s.t.c, db.s.t.d from t", "o:a o:s.t.c o:s.t.d o:t.b"),
        ("select \"A\" as x, B from t", "o:A o:b"),
        ("select 1 from t where a = 1 and b in (select c from u where d = 1)", "p:a p:b p:c p:d"),
        ("select 1 from t join u on t.i = u.i join v using (k)", "o:k p:k p:t.i p:u.i"),
        ("select count(*) filter (where a) from t group by b having c > 1 order by d", "p:a p:b p:c p:d"),
        ("select distinct on (a) b from t limit c offset d", "o:b p:a p:c p:d"),
        ("select sum(a) over (partition by b order by c) from t", "o:a p:b p:c"),
        ("select percentile_disc(0.5) within group (order by a) from t", "o:a"),
        ("select string_agg(a, ',' order by b) from t", "o:a p:b"),
        ("select case when a then b end from t", "o:a o:b p:a"),
        ("select (select a from u where b = c) from t", "o:a p:b p:c"),
        ("select x from (select a as x from t where b) s", "o:a o:x p:b"),
        ("with x as (select a from t) select 1 from x", "o:a"),
        ("select a[b] from t", "o:a o:b"),
        ("select (r).f, (g(1)).h from t", "o:f o:h o:r"),
        ("select lower(a) || b::text from t", "o:a o:b"),
        ("values ((select a from t))", "o:a"),
        ("insert into t (a, b) select c, d from u where e", "a:a a:b p:e x:c x:d"),
        ("insert into t (a) select c from u returning d", "a:a o:c o:d"),
        (
            "insert into t values (1) on conflict (a) do update set b = excluded.c where t.d",
            "a:b p:a p:t.d x:excluded.c",
        ),
        ("update t set a = b, (c, d) = (select e, f) where g", "a:a a:c a:d p:g x:b x:e x:f"),
        ("update t set a = b where c returning d", "a:a o:b o:d p:c"),
        ("delete from t where a = 1 returning b", "o:b p:a"),
        (
            "merge into t using s on t.a = s.a when matched and t.b then update set c = s.d",
            "a:c p:s.a p:t.a p:t.b x:s.d",
        ),
        ("copy t (a, b) to stdout", "o:a o:b"),
        ("copy t (a, b) from stdin", "a:a a:b"),
        ("select a from t for update of t", "o:a"),
        ("execute p ((select a from t))", "o:a"),
    ] {
        assert_eq!(columns(&facts(text)), expected, "{text}");
    }
}

#[test]
fn hidden_columns_make_a_statement_opaque() {
    for text in [
        "select t from t",
        "select x from t x",
        "select x from t as X",
        "select row_to_json(t) from t",
        "select count(c) from customers c",
        "select t::text from t",
        "select t.*::text from t",
        "select (t.*)::text from t",
        "select (t).* from t",
        "select (t.r).* from t",
        "select f(t.*) from t",
        "select row(t.*) from t",
        "select array_agg(t) from t",
        "select t.row_to_json from t",
        "select t.to_jsonb from t",
        "select t.concat from t",
        "select (t).to_json from t",
        "select 1 from t where t is not null",
        "select 1 from t where t::text like 'a%'",
        "select 1 from t order by t",
        "select 1 from t a join t b on a = b",
        "select * from (select * from t) s",
        "with s as (select * from t) select * from s",
        "with s as (table t) select * from s",
        "select x || '' from (table t) s (x)",
        "select (select * from t)",
        "select array(select t.* from t)",
        "select 1 where 'x' in (select * from t)",
        "select * from t union select * from u",
        "table t union table u",
        "(select * from t) except select * from u",
        "select b from t as x (a, b)",
        "select k from (t join u using (i)) as j (k)",
        "select j from (t join u using (i)) as j",
        "select x from only (t) as x (a)",
        "select * from t natural join u",
        "select 1 from t natural left join u",
        "insert into u select * from t",
        "insert into u table t",
        "insert into t values (1) on conflict (a) do update set b = excluded::text",
        "update t set a = t::text where b = 1",
        "update t set a = 1 where b = 1 returning t",
        "update t as x set a = 1 where b = 1 returning x::text",
        "update t set a = 1 where b = 1 returning old",
        "delete from t where a = 1 returning row_to_json(t)",
        "update t set a = 1 where b = 1 returning with (old as o) o",
        "copy (select t from t) to stdout",
        "copy (select a from t union select * from u) to stdout",
        "create table n as select * from t",
        "select * into n from t",
        "fetch all from c",
        "execute p",
        "select \"a.b\".c from \"a.b\"",
        "select exists (select * from t union select * from u)",
        "select exists (select 1 from (select * from t) s)",
    ] {
        assert!(facts(text).opaque, "{text}");
    }
}

#[test]
fn plain_statements_are_not_opaque() {
    for text in [
        "select * from t",
        "select t.* from t",
        "select a.*, b.x from t a join u b using (i)",
        "(select * from t)",
        "select *, lower(a) from t where b = 1",
        "table t",
        "with s as (select a, b from t) select * from s",
        "select * from (select a from t) s",
        "select s from (select a from t) s",
        "select count(*) from t",
        "select 1 from t where exists (select * from u where u.i = t.i)",
        "select 1 where not exists ((select u.* from u))",
        "select g from generate_series(1, 3) g",
        "insert into t (a) values (1) returning *",
        "update t set a = 1 where b = 1 returning *",
        "update status set status = 1 where id = 1",
        "delete from t where a = 1 returning t.*",
        "declare c cursor for select * from t",
        "prepare p as select * from t",
        "explain select * from t",
        "copy t to stdout",
        "copy (select *, lower(a) from t) to stdout",
        "copy (table t) to stdout",
        "select a from t union select b from u",
        "begin",
    ] {
        assert!(!facts(text).opaque, "{text}");
    }
}

/// What FETCH and EXECUTE return is judged by what was declared and prepared.
#[test]
fn a_declare_and_a_prepare_say_what_they_hold() {
    for (text, classes) in [
        ("declare c cursor for select 1", "cursor select"),
        ("declare c cursor for (select 1)", "cursor select"),
        ("declare c cursor for values (1)", "cursor select"),
        ("declare c cursor for table t", "cursor select"),
        ("declare c cursor for select a from t union select b from u", "cursor select"),
        ("declare c cursor for with x as (select 1) select * from x", "cursor select"),
        ("prepare p as select 1", "prepare select"),
        ("prepare p (int) as select a from t where b = $1", "prepare select"),
        ("prepare p as delete from t", "prepare delete.no-where"),
        ("fetch all from c", "cursor"),
        ("close c", "cursor"),
        ("move 2 in c", "cursor"),
        ("deallocate p", "prepare"),
        ("execute p", "execute"),
    ] {
        assert_eq!(facts(text).classes.join(" "), classes, "{text}");
    }
}

#[test]
fn only_harmless_statements_leave_names_as_they_are() {
    for text in [
        "select * from t",
        "select lower(a), pg_catalog.count(*) from t",
        "insert into t values (1)",
        "update t set a = 1 where b = 1",
        "delete from t where b = 1",
        "merge into t using s on t.a = s.a when matched then delete",
        "values (1)",
        "begin",
        "commit",
        "show all",
        "explain analyze select 1",
        "copy t to stdout",
        "declare c cursor for select 1",
        "select nextval('s')",
    ] {
        assert!(!facts(text).changes_session, "{text}");
    }
    for text in [
        "set search_path to x",
        "reset all",
        "discard all",
        "create table t (a int)",
        "drop table t",
        "do $$ begin end $$",
        "call p()",
        "select my_function()",
        "select evil.lower(a) from t",
        "select set_config('search_path', 'x', false)",
        "insert into t values (my_function())",
        "explain analyze select my_function()",
        "with x as (select my_function()) select 1",
        "execute p",
        "fetch all from c",
        "rollback",
        "rollback to savepoint a",
        "select * into n from t",
        "grant select on t to u",
        "set role x",
        "vacuum t",
    ] {
        assert!(facts(text).changes_session, "{text}");
    }
}

#[test]
fn functions_are_named() {
    let found = facts(
        "select s.F(1), lower(a), (select max(b)), extract(year from c), current_user from g(1) where exists (select 1)",
    );
    let names: Vec<String> = found
        .functions
        .iter()
        .map(|function| {
            format!(
                "{}{}",
                function.schema.as_ref().map(|s| format!("{s}.")).unwrap_or_default(),
                function.name
            )
        })
        .collect();
    assert_eq!(names, ["s.f", "lower", "max", "extract", "current_user", "g"]);
}

#[test]
fn copy_out_says_what_is_sent() {
    for (text, relation, columns, format) in [
        ("copy s.t to stdout", Some("t"), "", "text"),
        ("copy t (a, \"B\") to stdout csv header", Some("t"), "a B", "csv"),
        ("copy t to stdout with (header, FORMAT 'csv')", Some("t"), "", "csv"),
        ("copy t to stdout (format binary)", Some("t"), "", "binary"),
        ("copy t to stdout binary", Some("t"), "", "binary"),
        ("copy binary t to stdout", Some("t"), "", "binary"),
        ("copy (select a from t) to stdout (format csv)", None, "", "csv"),
    ] {
        let copy = facts(text).copy_out.unwrap_or_else(|| panic!("{text}"));
        assert_eq!(copy.relation.as_ref().map(|relation| relation.name.as_str()), relation, "{text}");
        assert_eq!((copy.columns.join(" ").as_str(), copy.format.as_str()), (columns, format), "{text}");
    }
    for text in ["copy t from stdin", "copy t from stdout", "copy t to '/tmp/x'", "select 1"] {
        assert!(facts(text).copy_out.is_none(), "{text}");
    }
}

/// Delimiter, quote, escape, NULL, `h` for a header, and the query, as the host is told.
fn form(text: &str) -> Option<String> {
    let form = facts(text).copy_out.unwrap_or_else(|| panic!("{text}")).form?;
    let query = form.query.map(|(start, end)| &text[start as usize..end as usize]);
    let marks = [form.delimiter, form.quote, form.escape].map(char::from);
    let header = if form.header { "h" } else { "" };
    Some(format!("{} {} {header} {}", String::from_iter(marks), form.null, query.unwrap_or("-")))
}

#[test]
fn copy_out_says_how_its_rows_are_written() {
    for (text, expected) in [
        ("copy t to stdout", "\t\"\" \\N  -"),
        ("copy s.t (a, \"Ä\") to stdout (format text)", "\t\"\" \\N  -"),
        ("copy t to stdout (format csv)", ",\"\"   -"),
        ("copy t to stdout csv header", ",\"\"  h -"),
        ("copy t to stdout (format csv, header, force_quote *)", ",\"\"  h -"),
        ("copy t to stdout (format csv, header off, force_quote (a, b))", ",\"\"   -"),
        ("copy t to stdout (format csv, header 'TRUE')", ",\"\"  h -"),
        ("copy t to stdout (format csv, header 1)", ",\"\"  h -"),
        ("copy t to stdout (format csv, header false)", ",\"\"   -"),
        ("copy t to stdout (FORMAT 'csv', delimiter E'\\t', quote '''', escape '\\')", "\t'\\   -"),
        ("copy t to stdout (format csv, quote 'x')", ",xx   -"),
        ("copy t to stdout (format csv, null 'it''s', encoding 'UTF-8')", ",\"\" it's  -"),
        ("copy t to stdout with delimiter as '|' null as '' encoding 'utf8'", "|\"\"   -"),
        (
            "copy t to stdout with csv delimiter ';' quote as E'\\'' escape E'\\\\' force quote a, b",
            ";'\\   -",
        ),
        ("copy binary t to stdout", "\t\"\" \\N  -"),
        ("copy (select a from t) to stdout", "\t\"\" \\N  select a from t"),
        ("COPY /* x */ ( /* y */ select (1) -- )\n) to stdout csv", ",\"\"    /* y */ select (1) -- )\n"),
        ("copy ((select 1)) to stdout;", "\t\"\" \\N  (select 1)"),
        ("copy (select ')', $$)$$, \")\" from t) to stdout", "\t\"\" \\N  select ')', $$)$$, \")\" from t"),
    ] {
        assert_eq!(form(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_bears_on_copied_rows_and_is_not_understood_leaves_their_form_out() {
    for text in [
        "copy t to stdout (encoding 'latin1')",
        "copy t to stdout (encoding 'sjis')",
        "copy t to stdout (encoding utf8, encoding 'latin1')",
        "copy t to stdout with encoding 'latin1'",
        "copy t to stdout (format csv, delimiter ',', delimiter ';')",
        "copy t to stdout (format csv, header match)",
        "copy t to stdout (format csv, header 2)",
        "copy t to stdout (delimiter 'ab')",
        "copy t to stdout (delimiter '')",
        "copy t to stdout (delimiter 'é')",
        "copy t to stdout (delimiter U&'\\0009')",
        "copy t to stdout (delimiter E'\\x09')",
        "copy t to stdout (delimiter $$,$$)",
        "copy t to stdout (delimiter x)",
        "copy t to stdout (null 'a'\n'b')",
        "copy t to stdout (quote '\"')",
        "copy t to stdout (force_quote *)",
        "copy t to stdout (format binary, null 'x')",
        "copy t to stdout (format binary, header)",
        "copy t to stdout (freeze)",
        "copy t to stdout (oids)",
        "copy t to stdout (\"Header\")",
        "copy t to stdout csv csv",
        "copy t to stdout csv force not null a",
        "copy binary t to stdout binary",
        "copy t to stdout where a = 1",
        "copy Ä to stdout",
        "copy t (a, Ä) to stdout",
    ] {
        assert_eq!(form(text), None, "{text}");
    }
}

#[test]
fn statements_are_counted_as_the_server_counts_them() {
    let classes = |text: &str| -> Vec<String> {
        let response = guard("{}").check_text(text);
        response.statements.into_iter().map(|facts| facts.class).collect()
    };
    assert_eq!(classes("select 1;; ; insert into t values (1);"), ["select", "insert"]);
    assert_eq!(classes(";;"), ["empty"]);
    assert_eq!(classes("nonsense"), ["unknown"]);
}

#[test]
fn a_list_that_cannot_be_complete_is_opaque() {
    let many: Vec<String> = (0..1_100).map(|n| format!("c{n}")).collect();
    let found = facts(&format!("select {} from t", many.join(", ")));
    assert!(found.opaque);
    assert!(found.columns.len() <= 1_024);
}

/// Columns that decide about rows; `*` for any.
fn deciding(text: &str) -> String {
    let found = facts(text);
    let mut names: Vec<&str> = found
        .columns
        .iter()
        .filter(|column| column.place == chaperone_sdk::Place::Predicate)
        .map(|column| if column.name.is_empty() { "*" } else { column.name.as_str() })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}

#[test]
fn what_decides_is_followed_to_where_its_name_comes_from() {
    for (text, expected) in [
        ("select 1 from (select ssn as x from t) s where x like '1%'", "ssn x"),
        ("select 1 from (select a as b from (select ssn as a from t) r) s where b like '1%'", "a b ssn"),
        ("with s as (select upper(ssn) as x from t) select 1 from s order by x", "ssn x"),
        ("with s (x) as (select ssn from t) select 1 from s where x = '1'", "ssn x"),
        ("select 1 from (select id, ssn from t) s (a, b) where b = '1'", "b id ssn"),
        ("select 1 from (select substr(ssn, 1, 1) from t) s where substr = '1'", "ssn substr"),
        ("select 1 from (select ssn::int from t) s where ssn = 1", "ssn"),
        ("select 1 from (select (ssn || '')::int from t) s where int4 = 1", "int4 ssn"),
        ("select 1 from (select ssn || '' from t) s where \"?column?\" = '1'", "?column? ssn"),
        ("select 1 from (select case when true then ssn end from t) s where \"case\" = '1'", "case ssn"),
        ("select 1 from (values ((select ssn from t))) v where column1 = '1'", "column1 ssn"),
        ("select 1 from (select a as x from t union all select ssn from t) s where x = '1'", "a ssn x"),
        ("select ssn as x from t order by x", "ssn x"),
        ("select id, ssn from t order by 2", "ssn"),
        ("select t.*, ssn from t order by 2", "* ssn"),
        ("select name from t union all select ssn from t order by 1", "name ssn"),
        ("select ssn, count(*) from t group by 1", "ssn"),
        ("select distinct ssn from t", "ssn"),
        ("select ssn from t union select 'x'", "ssn"),
        ("select ssn from t intersect all select 'x'", "ssn"),
        ("select ssn from t except select name from u", "name ssn"),
        ("select case when ssn like '1%' then a else b end from t", "ssn"),
        ("select case ssn when '1' then a end from t", "ssn"),
        ("select 1 from t, generate_series(1, length(ssn)) g", "ssn"),
        ("select generate_series(1, length(ssn)) from t", "ssn"),
        ("select 1 from t, lateral upper(t.ssn) u where u = 'X'", "ssn u"),
        ("select 1 from t join u using (ssn)", "ssn"),
        ("select rank() over (order by ssn) from t", "ssn"),
        ("select count(*) filter (where ssn = '1') from t", "ssn"),
        ("update t set a = 1 where ssn = '1'", "ssn"),
        (
            "with recursive r as (select id from t union all select id from r) search depth first by id set o select 1",
            "id o",
        ),
        ("declare c cursor for select 1 from (select ssn as x from t) s where x = '1'", "ssn x"),
    ] {
        assert_eq!(deciding(text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_followed_may_be_any() {
    for text in [
        "select 1 from t where t::text like '%1%'",
        "select 1 from t c where c is not null and row_to_json(c)::text like 'x'",
        "select 1 from t where row(t.*) = row(1)",
        "select 1 from t where (t.*)::text = 'x'",
        "select 1 from t natural join u",
        "select 1 from (select c as x from t c) s where x::text = '1'",
        "select 1 from (select row(c.*) as x from t c) s where x::text = '1'",
        "select 1 from (select * from t) s where s::text = '1'",
        "with s as (select * from t) select 1 from s where s::text = '1'",
        "select 1 from (select * from t) s (a, b) where b = '1'",
        "with s (a, b) as (select * from t) select 1 from s where b = '1'",
        "select * from t order by 2",
        "table t order by 2",
        "select distinct * from t",
        "select * from t union select * from u",
        "select 1 where 'x' in (select * from t)",
    ] {
        assert!(deciding(text).contains('*'), "{text}: {}", deciding(text));
    }
}

#[test]
fn what_is_only_shown_does_not_decide() {
    for (text, expected) in [
        ("select ssn from t where id = 1", "id"),
        ("select ssn from (select ssn, id from t) s where id = 1 order by id", "id"),
        ("with s as (select * from t) select ssn from s where id = 1", "id"),
        ("select * from t where id = 1", "id"),
        ("select upper(ssn) from t limit 5", ""),
        ("select ssn from t union all select ssn from u", ""),
        ("select c.ssn from t c join o on o.id = c.id where exists (select * from o)", "id"),
        ("insert into t (a, ssn) values (1, 'x')", ""),
        ("update t set ssn = 'x' where id = 1", "id"),
        ("select ssn from t where lower(name) = 'x'", "name"),
        ("select count(*) from t having count(*) > 1", ""),
    ] {
        assert_eq!(deciding(text), expected, "{text}");
    }
}
