//! Properties: no text makes the check panic, and names mean what PostgreSQL takes them to mean.

use crate::{facts, guard, relations, verdict};
use proptest::prelude::*;

const SEEDS: &[&str] = &[
    "select a, t.*, (select max(b) from u where u.i = t.i) from s.t x left join v using (i) where a = 1 for update",
    "with recursive x (a) as (select 1 union all select a + 1 from x) select * from x, lateral f(x.a) g",
    "insert into t as y (a, b[1]) values (1, default) on conflict (a) do update set b = excluded.b returning *",
    "update t set (a, b) = (select 1, 2), c = c || '{}' from u where t.i = u.i returning old.a",
    "merge into t using s on t.a = s.a when matched and t.b then update set b = 1 when not matched then do nothing",
    "copy t (a, b) to stdout with (format csv, header)",
    "explain (analyze, format json) delete from t where a = any (array[1, 2])",
    "prepare p (int) as select $1::int, E'a\\'b', $$x$$, u&'\\0061', b'01', 1.5e3, interval '1' day",
    "create table t (a int primary key default nextval('s'), b text check (b <> '')) partition by range (a)",
    "set local search_path = \"A\", b; reset all; grant select on t to public",
    "select set_config('x', 'y', true), (a).b, a[1].c, case when a then b else c end, cast(a as text)",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_texts_never_panic(text in "\\PC{0,200}") {
        guard("{}").check_text(&text);
    }

    #[test]
    fn arbitrary_tokens_never_panic(words in proptest::collection::vec(
        prop::sample::select(vec![
            "select", "from", "where", "(", ")", ",", ";", ".", "*", "t", "a", "'x'", "1", "with", "as", "delete",
            "update", "set", "=", "insert", "into", "values", "merge", "using", "on", "when", "matched", "then",
            "copy", "to", "stdout", "explain", "analyze", "create", "table", "view", "[", "]", "::", "not", "case",
            "end", "join", "natural", "exists", "union", "||", "-", "$1", "\"Q\"", "order", "by", "returning", "do",
            "prepare", "grant", "role", "reset", "for", "lateral", "only", "row", "array", "interval", "between",
        ]), 0..60)) {
        guard("{}").check_text(&words.join(" "));
    }

    #[test]
    fn mutated_statements_never_panic(
        seed in prop::sample::select(SEEDS.to_vec()),
        cut in any::<prop::sample::Index>(),
        length in 0usize..12,
        insert in "[ -~]{0,6}",
    ) {
        let mut text = seed.to_owned();
        let start = cut.index(text.len());
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &insert);
        guard("{}").check_text(&text);
    }

    /// Whatever surrounds it, a statement that is refused stays refused.
    #[test]
    fn company_does_not_help(
        seed in prop::sample::select(SEEDS.to_vec()),
        bad in prop::sample::select(vec!["drop table t", "delete from t", "truncate t", "do $$ $$"]),
        first in any::<bool>(),
    ) {
        let text = if first { format!("{bad}; {seed}") } else { format!("{seed}; {bad}") };
        prop_assert_ne!(verdict(&guard("{}").check_text(&text)).to_owned(), "allow");
    }

    #[test]
    fn unquoted_names_fold(name in "[a-zA-Z_][a-zA-Z0-9_$]{0,80}") {
        // A reserved word is no name; it may then not parse at all.
        let text = format!("select 1 from x{name}");
        let folded = format!("x{name}").to_ascii_lowercase();
        prop_assert_eq!(relations(&facts(&text)), format!("r:{}", folded.get(..63).unwrap_or(&folded)));
    }

    #[test]
    fn quoted_names_are_verbatim(name in "[a-zA-Z0-9_$ .;'äß-]{1,20}") {
        let text = format!("select 1 from \"{name}\"");
        prop_assert_eq!(relations(&facts(&text)), format!("r:{name}"));
    }

    #[test]
    fn a_string_is_only_a_string(value in "[ -&(-\\[\\]-~]{0,40}") {
        let response = guard("{}").check_text(&format!("select '{value}'"));
        prop_assert_eq!(verdict(&response), "allow");
        prop_assert_eq!(response.statements.len(), 1);
    }
}
