//! The configuration: what is accepted, and how each mistake is told.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use chaperone_plugin_column_mask::ColumnMasker;
use chaperone_sdk::{Plugin, configure};
use serde_json::{Value, json};

fn mistakes(config: &Value) -> Vec<(String, String)> {
    let Err(errors) = configure::<ColumnMasker>(&config.to_string()) else { panic!("accepted: {config}") };
    errors.into_iter().map(|error| (error.pointer, error.message)).collect()
}

#[test]
fn each_mistake_has_its_pointer_and_says_what_would_be_right() {
    let rule = json!({"match": "a.b.c", "strategy": "null"});
    for (config, pointer, message) in [
        (json!({}), "", "nothing would be masked"),
        (json!({"column": []}), "/column", "unknown field `column`, expected one of `columns`"),
        (json!({"columns": [{"match": "a.b.c"}]}), "/columns/0", "missing field `strategy`"),
        (
            json!({"columns": [{"match": "a.b.c", "strategy": "hide"}]}),
            "/columns/0/strategy",
            "expected one of `partial`",
        ),
        (
            json!({"columns": [{"match": "ssn", "strategy": "null"}]}),
            "/columns/0/match",
            "must be schema.table.column",
        ),
        (
            json!({"columns": [{"match": "a.b.", "strategy": "null"}]}),
            "/columns/0/match",
            "must be schema.table.column",
        ),
        (
            json!({"columns": [{"match": "a.b c.d", "strategy": "null"}]}),
            "/columns/0/match",
            "must be schema.table",
        ),
        (
            json!({"columns": [{"match": "a.\"B\".c", "strategy": "null"}]}),
            "/columns/0/match",
            "without quotes",
        ),
        (json!({"columns": [rule, rule]}), "/columns/1/match", "is never reached: /columns/0 has the same"),
        (json!({"columns": [rule], "computed": "scan"}), "/computed", "it would show everything"),
        (json!({"columns": [rule], "computed": "pass"}), "/computed", "unknown variant `pass`"),
        (
            json!({"columns": [rule], "unmaskable": "pass"}),
            "/unmaskable",
            "unknown variant `pass`, expected `refuse`",
        ),
        (json!({"columns": [rule], "hash_key": common::KEY}), "/hash_key", "is not used"),
        (
            json!({"columns": [{"match": "a.b.c", "strategy": "hash"}]}),
            "/hash_key",
            "/columns/0/strategy is `hash`",
        ),
        (
            json!({"content": [{"kind": "card", "strategy": "hash"}]}),
            "/hash_key",
            "/content/0/strategy is `hash`",
        ),
        (
            json!({"columns": [{"match": "a.b.c", "strategy": "hash"}], "hash_key": "short"}),
            "/hash_key",
            "is too short: at least 16 bytes",
        ),
        (
            json!({"content": [{"kind": "iris", "strategy": "null"}]}),
            "/content/0/kind",
            "unknown variant `iris`",
        ),
        (json!({"content": [{"kind": "regex", "strategy": "null"}]}), "/content/0/pattern", "is missing"),
        (
            json!({"content": [{"kind": "regex", "pattern": "(", "strategy": "null"}]}),
            "/content/0/pattern",
            "is no regular expression",
        ),
        (
            json!({"content": [{"kind": "card", "pattern": "x", "strategy": "null"}]}),
            "/content/0/pattern",
            "belongs to kind `regex` only",
        ),
        (
            json!({"content": [{"kind": "regex", "pattern": "x", "confidence": "low", "strategy": "null"}]}),
            "/content/0/confidence",
            "does not belong to kind `regex`",
        ),
        (
            json!({"columns": vec![rule.clone(); 1001]}),
            "/columns",
            "has 1001 entries; at most 1000 are allowed",
        ),
        (
            json!({"columns": [{"match": "a.b.c", "strategy": "null", "secret": true, "predicate": "allow"}]}),
            "/columns/0/predicate",
            "`allow` contradicts `secret`",
        ),
        (
            json!({"columns": [{"match": "a.b.c", "strategy": "null", "predicate": "ask"}]}),
            "/columns/0/predicate",
            "unknown variant `ask`",
        ),
        (
            json!({"columns": [{"match": "a.b.c", "strategy": "null"}], "trusted": ["a.b", "tax"]}),
            "/trusted/1",
            "must be schema.name",
        ),
        (
            json!({"content": [{"kind": "card", "strategy": "null"}], "trusted": ["a.b"]}),
            "/trusted",
            "is not used",
        ),
    ] {
        let found = mistakes(&config);
        assert_eq!(found.len(), 1, "{config}: {found:?}");
        assert!(found[0].0 == pointer && found[0].1.contains(message), "{found:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = mistakes(&json!({
        "columns": [{"match": "x", "strategy": "hash"}, {"match": "a.b.c", "strategy": "null", "computed": "scan"}],
        "computed": "scan",
    }));
    let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    assert_eq!(pointers, ["/computed", "/hash_key", "/columns/0/match", "/columns/1/computed"]);
}

#[test]
fn no_message_contains_the_key() {
    let config = json!({"columns": [{"match": "x", "strategy": "hash"}], "hash_key": "s3cr3t"});
    assert!(mistakes(&config).iter().all(|(_, message)| !message.contains("s3cr3t")));
}

#[test]
fn the_schema_lists_the_keys_that_are_accepted() {
    let schema: Value = serde_json::from_str(ColumnMasker::CONFIG_SCHEMA).unwrap();
    let keys = |schema: &Value| -> Vec<String> {
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    // Serde lists the keys that it knows when it meets one that it does not.
    for (path, config, required) in [
        ("", json!({"?": 1}), vec![]),
        ("/properties/columns/items", json!({"columns": [{"?": 1}]}), vec!["match", "strategy"]),
        ("/properties/content/items", json!({"content": [{"?": 1}]}), vec!["kind", "strategy"]),
    ] {
        let part = schema.pointer(path).unwrap();
        let message = &mistakes(&config)[0].1;
        let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        let mut known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        known.sort();
        assert_eq!(keys(part), known, "{path}");
        assert_eq!(part["additionalProperties"], false);
        assert_eq!(part.get("required").cloned().unwrap_or(json!([])), json!(required));
    }
}

#[test]
fn the_example_of_the_readme_is_accepted() {
    let readme = include_str!("../README.md");
    let example = readme.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    configure::<ColumnMasker>(example).unwrap_or_else(|errors| panic!("{errors:?}"));
}
