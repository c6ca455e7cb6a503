//! What is held and on which terms, and how mistakes in the configuration are told.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use chaperone_plugin_approval_trigger::Trigger;
use chaperone_sdk::{
    ApprovalTrigger, Finding, Hold, OperationRequest, Plugin, Session, SessionFacts, configure,
};
use serde_json::{Value, json};

fn operation(risk: u8, classes: &[&str], findings: &[(&str, u8)]) -> OperationRequest {
    OperationRequest {
        protocol: "postgres".into(),
        summary: "DELETE FROM orders".into(),
        classes: classes.iter().map(|class| (*class).into()).collect(),
        risk,
        findings: findings
            .iter()
            .map(|(rule, risk)| Finding {
                rule: (*rule).into(),
                detail: format!("about {rule}"),
                risk: *risk,
            })
            .collect(),
        now: 0,
    }
}

fn decide(config: &Value, operation: &OperationRequest) -> Option<Hold> {
    let trigger = configure::<Trigger>(&config.to_string()).unwrap_or_else(|errors| panic!("{errors:?}"));
    let session = SessionFacts::default();
    trigger.decide(&Session::from(&session), operation)
}

/// `group needed timeout`, or nothing.
fn terms(config: &Value, operation: &OperationRequest) -> String {
    decide(config, operation)
        .map(|hold| format!("{} {} {}", hold.approvers, hold.needed, hold.timeout_seconds))
        .unwrap_or_default()
}

#[test]
fn each_trigger_of_the_short_form_holds_by_itself() {
    let threshold = json!({"threshold": 70, "approvers": "dba"});
    let findings = json!({"findings": ["delete.no-where", "privilege.*"], "approvers": "dba"});
    let classes = json!({"classes": ["ddl.*"], "approvers": "dba"});
    for (config, operation, held) in [
        (&threshold, operation(69, &["ddl.drop"], &[("x", 69)]), false),
        (&threshold, operation(70, &[], &[]), true),
        (&threshold, operation(100, &[], &[]), true),
        (&json!({"threshold": 0, "approvers": "dba"}), operation(0, &[], &[]), true),
        (&findings, operation(100, &["delete.no-where"], &[]), false),
        (&findings, operation(0, &[], &[("delete.no-where", 0)]), true),
        (&findings, operation(0, &[], &[("a", 9), ("PRIVILEGE.grant", 0)]), true),
        (&findings, operation(0, &[], &[("privilege", 0)]), false),
        (&findings, operation(0, &[], &[("delete.no-where.x", 0)]), false),
        (&classes, operation(0, &["select", "ddl.drop"], &[]), true),
        (&classes, operation(100, &["select"], &[("ddl.drop", 100)]), false),
        (&classes, operation(100, &[], &[]), false),
    ] {
        let expected = if held { "dba 1 600" } else { "" };
        assert_eq!(terms(config, &operation), expected, "{config} on {operation:?}");
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold() {
    let config = json!({"approvers": "dba", "rules": [
        {"when": {"risk_at_least": 50, "finding": "big.*", "class": "delete*"}},
    ]});
    let all = operation(50, &["delete"], &[("big.table", 50)]);
    assert_eq!(terms(&config, &all), "dba 1 600");
    for lacking in [
        operation(49, &["delete"], &[("big.table", 49)]),
        operation(50, &["update"], &[("big.table", 50)]),
        operation(50, &["delete"], &[("small.table", 50)]),
    ] {
        assert_eq!(terms(&config, &lacking), "", "{lacking:?}");
    }
}

#[test]
fn the_strictest_of_the_matching_rules_wins() {
    let config = json!({
        "threshold": 60, "approvers": "dba", "needed": 1, "timeout": "20m",
        "rules": [
            {"when": {"class": "privilege"}, "approvers": "security", "needed": 2, "timeout": "1h"},
            {"when": {"finding": "mass.*"}, "needed": 3, "timeout": 30},
        ],
    });
    for (operation, expected) in [
        (operation(60, &[], &[]), "dba 1 1200"),
        (operation(0, &["privilege"], &[]), "security 2 3600"),
        (operation(0, &[], &[("mass.delete", 0)]), "dba 3 30"),
        // Rules come before the short form, and the first gives the group.
        (operation(60, &["privilege"], &[]), "security 2 1200"),
        (operation(60, &["privilege"], &[("mass.grant", 0)]), "security 3 30"),
        (operation(59, &["select"], &[("x", 1)]), ""),
    ] {
        assert_eq!(terms(&config, &operation), expected, "{operation:?}");
    }
}

#[test]
fn the_reason_names_the_rules_words_the_risk_and_the_worst_findings() {
    let config = json!({"threshold": 10, "approvers": "dba", "rules": [
        {"when": {"class": "delete"}, "reason": "Deletes are watched this week."},
        {"when": {"risk_at_least": 20}, "reason": "Deletes are watched this week."},
    ]});
    let reason = |operation| decide(&config, &operation).unwrap().reason;
    assert_eq!(
        reason(operation(80, &["delete"], &[("a.b", 10), ("delete.no-where", 80)])),
        "Deletes are watched this week.; risk 80 of 100; delete.no-where: about delete.no-where; a.b: about a.b"
    );
    assert_eq!(reason(operation(12, &["select", "ddl.drop"], &[])), "risk 12 of 100; select, ddl.drop");
    let many: Vec<(&str, u8)> = vec![("f", 1); 7];
    assert!(reason(operation(12, &[], &many)).ends_with("; f: about f; 2 more"));
}

#[test]
fn the_reason_is_one_bounded_line() {
    let config = json!({"threshold": 0, "approvers": "dba"});
    let mut nasty = operation(1, &[], &[("x", 1)]);
    nasty.findings[0].detail = format!("a\u{1b}[2Jb\r\n{}", "é".repeat(5000));
    let reason = decide(&config, &nasty).unwrap().reason;
    assert!(reason.starts_with("risk 1 of 100; x: a [2Jb  éé") && reason.ends_with("é…"), "{reason}");
    assert_eq!(reason.chars().count(), 600);
}

#[test]
fn timeouts_are_seconds_or_words() {
    for (timeout, seconds) in [
        (json!(90), 90),
        (json!("90s"), 90),
        (json!("10m"), 600),
        (json!("1h 30m"), 5400),
        (json!("24h"), 86400),
        (json!("1d"), 86400),
        (json!(1), 1),
    ] {
        let config = json!({"threshold": 0, "approvers": "dba", "timeout": timeout});
        assert_eq!(decide(&config, &operation(0, &[], &[])).unwrap().timeout_seconds, seconds);
    }
}

fn mistakes(config: &Value) -> Vec<(String, String)> {
    let Err(errors) = configure::<Trigger>(&config.to_string()) else { panic!("accepted: {config}") };
    errors.into_iter().map(|error| (error.pointer, error.message)).collect()
}

#[test]
fn each_mistake_has_its_pointer_and_says_what_would_be_right() {
    let with = |key: &str, value: Value| {
        let mut config = json!({"threshold": 70, "approvers": "dba"});
        config[key] = value;
        config
    };
    let rule = |key: &str, value: Value| {
        let mut rule = json!({"when": {"class": "x"}, "approvers": "dba"});
        rule[key] = value;
        json!({"rules": [rule]})
    };
    for (config, pointer, message) in [
        (json!({}), "", "nothing would be held"),
        (json!({"approvers": "dba"}), "", "nothing would be held"),
        (json!({"threshold": 70}), "/approvers", "is missing: the alias of a group"),
        (
            json!({"rules": [{"when": {"class": "x"}}]}),
            "/rules/0/approvers",
            "is missing, here and at the top",
        ),
        (with("treshold", json!(1)), "/treshold", "unknown field `treshold`, expected one of `threshold`"),
        (with("threshold", json!(101)), "/threshold", "must be 0 to 100"),
        (with("threshold", json!(-1)), "/threshold", "invalid value: integer `-1`, expected u8"),
        (with("approvers", json!("")), "/approvers", "must be the alias of a group"),
        (with("approvers", json!("two words")), "/approvers", "must be the alias of a group"),
        (with("needed", json!(0)), "/needed", "must be 1 to 10"),
        (with("needed", json!(11)), "/needed", "must be 1 to 10"),
        (with("timeout", json!(0)), "/timeout", "must be from 1s to 24h"),
        (with("timeout", json!(86401)), "/timeout", "must be from 1s to 24h"),
        (with("timeout", json!("25h")), "/timeout", "must be from 1s to 24h"),
        (with("timeout", json!("900y")), "/timeout", "must be from 1s to 24h"),
        (with("timeout", json!("500ms")), "/timeout", "must be whole seconds"),
        (with("timeout", json!("soon")), "/timeout", "is no duration such as `10m`"),
        (with("timeout", json!(true)), "/timeout", "expected seconds or a duration such as"),
        (with("findings", json!([""])), "/findings/0", "a pattern has 1 to 200 bytes"),
        (with("classes", json!(["ok", "a b"])), "/classes/1", "a pattern has 1 to 200 bytes"),
        (with("classes", json!(vec!["x"; 201])), "/classes", "has 201 entries; at most 200 are allowed"),
        (rule("when", json!({})), "/rules/0/when", "is empty: give `risk_at_least`"),
        (rule("when", json!({"risk": 1})), "/rules/0/when/risk", "unknown field `risk`"),
        (rule("when", json!({"risk_at_least": 101})), "/rules/0/when/risk_at_least", "must be 0 to 100"),
        (rule("when", json!({"finding": ""})), "/rules/0/when/finding", "a pattern has 1 to 200 bytes"),
        (rule("needed", json!(11)), "/rules/0/needed", "must be 1 to 10"),
        (rule("timeout", json!("2d")), "/rules/0/timeout", "must be from 1s to 24h"),
        (rule("reason", json!(" ")), "/rules/0/reason", "must be one line of 1 to 200 bytes"),
        (rule("reason", json!("a\nb")), "/rules/0/reason", "must be one line of 1 to 200 bytes"),
    ] {
        let found = mistakes(&config);
        assert_eq!(found.len(), 1, "{config}: {found:?}");
        assert!(found[0].0 == pointer && found[0].1.contains(message), "{config}: {found:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = mistakes(&json!({
        "threshold": 101, "approvers": "", "needed": 0,
        "rules": [{"when": {}, "timeout": "soon"}, {"when": {"class": ""}, "reason": ""}],
    }));
    let mut pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/approvers",
            "/needed",
            "/rules/0/timeout",
            "/rules/0/when",
            "/rules/1/reason",
            "/rules/1/when/class",
            "/threshold"
        ]
    );
}

#[test]
fn the_schema_lists_the_keys_that_are_accepted() {
    let schema: Value = serde_json::from_str(Trigger::CONFIG_SCHEMA).unwrap();
    for (path, config) in [
        ("", json!({"?": 1})),
        ("/properties/rules/items", json!({"rules": [{"?": 1}]})),
        ("/properties/rules/items/properties/when", json!({"rules": [{"when": {"?": 1}}]})),
    ] {
        let part = schema.pointer(path).unwrap();
        // Serde lists the keys that it knows when it meets one that it does not.
        let message = &mistakes(&config)[0].1;
        let mut known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
        known.sort_unstable();
        let keys: Vec<&String> = part["properties"].as_object().unwrap().keys().collect();
        assert_eq!(keys, known, "{path}");
        assert_eq!(part["additionalProperties"], false);
    }
}

#[test]
fn the_example_of_the_readme_is_accepted() {
    let readme = include_str!("../README.md");
    let example = readme.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    configure::<Trigger>(example).unwrap_or_else(|errors| panic!("{errors:?}"));
}
