//! What a file is compared by when it is read again.

use super::*;

fn source(text: &str) -> Source {
    decode(text, Purpose::Serve).0.unwrap().source
}

fn differences(before: &str, after: &str) -> Vec<String> {
    source(before).differences(&source(after)).into_iter().collect()
}

#[test]
fn sections_differ_by_what_they_say_and_not_by_how() {
    let same = FULL.replace("\ngrants:", "\n\n# a remark\ngrants:");
    assert_ne!(source(FULL).sha256, source(&same).sha256);
    assert_eq!(differences(FULL, &same), Vec::<String>::new());
    assert_eq!(source(FULL).sha256.len(), 64);
    assert_eq!(source(FULL).path, Path::new("/etc/chaperone/chaperone.yaml"));
}

/// Each top-level key of the file with everything: changed by a value, it is the one that differs.
#[test]
fn every_change_of_a_value_is_seen_and_in_its_section() {
    for (from, to, section) in [
        ("lifetime: 15m", "lifetime: 16m", "grants"),
        ("operators: group:ops", "operators: group:dba", "operators"),
        ("auditors: group:audit", "auditors: group:dba", "auditors"),
        ("/5c1c0e6e-2222", "/5c1c0e6e-2223", "groups"),
        ("db.internal:5432", "db.internal:5434", "targets"),
        ("limit: 10", "limit: 11", "plugins"),
        ("max_token_age: 25h", "max_token_age: 24h", "providers"),
        ("gateway: gw-1", "gateway: gw-2", "gateway"),
    ] {
        let changed = FULL.replacen(from, to, 1);
        assert_ne!(changed, FULL, "{from}");
        assert_eq!(differences(FULL, &changed), [section], "{from}");
    }
}

/// Values that are not one must not look alike, however their texts are cut or nested.
#[test]
fn values_are_told_apart_however_they_are_cut() {
    let digest = |text: &str| {
        let sink = Sink::default();
        crate::config::source::sections(&node::parse(text, &sink).unwrap())
    };
    let values = [
        "[a, b]", "[ab]", "[a, [b]]", "[[a], b]", "[[a, b]]", "{a: b}", "{ab: ''}", "{a: [b]}", "ab",
        "'a, b'", "~", "'~'", "''", "[]", "{}", "[~]", "['']",
    ];
    for (one, left) in values.iter().enumerate() {
        for (other, right) in values.iter().enumerate() {
            let same = digest(&format!("key: {left}")) == digest(&format!("key: {right}"));
            assert_eq!(same, one == other, "{left} and {right}");
        }
    }
}
