//! Conditions, amounts, stages, labels and rules that deny: one mistake each, and what is said of it.

use super::{GOOD, found};

/// What stands in place of `recorded: yes` in the grant of [`GOOD`] (line 25), and all that is then said.
const IN_A_GRANT: &[(&str, &str)] = &[
    ("hours: { from: 08:00, to: 18:00, zone: Europe/Berlin }", ""),
    ("hours: { days: sat-mon, from: 22:00, to: 06:00, zone: UTC }", ""),
    (
        "hours: { from: 08:00, to: 18:00 }",
        "25:14 error `zone` is missing in `grants[0].hours` | whose clocks count, such as `Europe/Berlin` or `UTC`",
    ),
    (
        "hours: { from: 08:00, to: 18:00, zone: Europe/Berln }",
        "25:44 error `Europe/Berln` is not a time zone | write a name of the IANA database, such as `Europe/Berlin`, `America/New_York` or `UTC`",
    ),
    (
        "hours: { from: 8:00, to: 18:00, zone: UTC }",
        "25:20 error `8:00` is not a time of the day | write `08:00`; a day ends at `24:00`",
    ),
    (
        "hours: { from: 08:00, to: 24:01, zone: UTC }",
        "25:31 error `24:01` is not a time of the day | write `08:00`; a day ends at `24:00`",
    ),
    (
        "hours: { from: 24:00, to: 18:00, zone: UTC }",
        "25:12 error hours are from 00:00 to 24:00 | write `from: 08:00` and `to: 18:00`; a day ends at `24:00`",
    ),
    (
        "hours: { days: mo-fri, from: 08:00, to: 18:00, zone: UTC }",
        "25:20 error `mo-fri` are no days | write `mon`, `mon-fri`, or a list of these",
    ),
    (
        "hours: { days: [], from: 08:00, to: 18:00, zone: UTC }",
        "25:12 error hours need at least one day | write `from: 08:00` and `to: 18:00`; a day ends at `24:00`",
    ),
    ("networks: 10.0.0.0/8", ""),
    (
        "networks: 10.1.2.3/8",
        "25:15 error `10.1.2.3/8` is an address in a network | write `10.0.0.0/8` for the network, or `10.1.2.3/32` for the address",
    ),
    (
        "networks: 10.1.2.3",
        "25:15 error `10.1.2.3` is not a network | write `10.0.0.0/8`, `192.0.2.7/32` or `2001:db8::/32`",
    ),
    ("networks: []", "25:5 error nobody can match this: `networks` is empty | name a network, or delete it"),
    ("ticket: required", ""),
    ("kind: agent", ""),
    ("ticket: yes", "25:13 error `yes` is not accepted here | write one of required, optional"),
    ("windows_per_day: 0", "25:22 error `0` is not a whole number from 1 to 1000 | "),
    ("max_sessions: 1001", "25:19 error `1001` is not a whole number from 1 to 1000 | "),
    ("cool_down: 0s", "25:16 error `0s` is out of range | write a duration from 1s to 7days"),
    ("hour: x", "25:5 error unknown key `hour` | did you mean `hours`?"),
];

/// What stands in place of the grant's `when: requested` (line 23), and all that is then said.
const APPROVERS: &[(&str, &str)] = &[
    ("when: approved\n    approvers: [{ group: agents, needed: 2 }]", ""),
    (
        "when: approved\n    approvers: [{ group: agents, stage: 2 }]",
        "25:16 error there is a gap between the stages | number them 1, 2, 3, without leaving one out",
    ),
    (
        "when: approved\n    approvers: [{ group: agents, needed: 2 }]\n    needed: 3",
        "26:5 error `needed` does nothing: each group has its own | delete one of them",
    ),
    (
        "when: approved\n    approvers: [agents, { group: agents }]",
        "25:25 error this group is listed twice | one is enough: delete this one",
    ),
    (
        "when: approved\n    approvers: [{ needed: 2 }]",
        "25:19 error `group` is missing in `grants[0].approvers[0]` | whose members approve",
    ),
    (
        "when: approved\n    approvers: [{ group: agents, needed: 17 }]",
        "25:42 error `17` is not a whole number from 1 to 16 | ",
    ),
];

/// What stands in place of the grant's target, with a label on the target, and all that is then said.
const LABELS: &[(&str, &str)] = &[
    ("{ labels: { env: prod } }", ""),
    (
        "{ labels: { env: Prod } }",
        "22:14 error no target has these labels | compare them with `labels` of the targets; their case counts",
    ),
    (
        "{ labels: {} }",
        "22:14 error this would mean every target: `labels` is empty | name at least one label, or a target",
    ),
    ("{ label: { env: prod } }", "22:14 error unknown key `label` | did you mean `labels`?"),
    (
        "{ labels: { \"e v\": prod } }",
        "22:31 error `e v` is not a label's name | use 1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or a digit",
    ),
];

/// A rule that denies at the end of the file (from line 28), and all that is then said.
const DENIES: &[(&str, &str)] = &[
    ("{ deny: prod, reason: freeze }", ""),
    ("{ deny: prod, to: \"provider:corp\", kind: agent, networks: 10.0.0.0/8, reason: moved }", ""),
    ("{ deny: prod }", "29:7 error `reason` is missing in `denies[0]` | why: those whom it hits read it"),
    ("{ deny: prd, reason: freeze }", "29:13 error there is no target named `prd` | did you mean `prod`?"),
    (
        "{ deny: prod, to: [], reason: freeze }",
        "29:19 error nobody can match this grant: `to` is empty | name somebody, or delete the grant",
    ),
    (
        "{ deny: prod, when: requested, reason: freeze }",
        "29:19 error unknown key `when` | known here: deny, to, kind, hours, networks, reason",
    ),
];

#[test]
fn everybody_of_a_tenant_gets_a_warning_unless_it_is_narrowed_down() {
    let everybody = GOOD.replace("to: group:agents", "to: [group:agents, provider:corp]");
    assert_eq!(found(&everybody.replace("recorded: yes", "kind: agent")), Vec::<String>::new());
    assert_eq!(
        found(&everybody),
        [
            "21:5 warning this grant is for everybody with a token of an Entra tenant, and any application there can get \
          one | name groups, app roles or principals; or narrow it with `kind`"
        ]
    );
}

#[test]
fn one_mistake_in_a_rule_is_the_only_thing_said() {
    let labelled = GOOD.replace("plugins: [guard]\n", "plugins: [guard]\n    labels: { env: prod }\n");
    let mut wrong = Vec::new();
    let mut check = |source: String, text: &str, expected: &str| {
        let found = found(&source);
        let expected: Vec<&str> = expected.lines().collect();
        if found != expected {
            wrong.push(format!("{text}\n  expected {expected:?}\n  found    {found:?}"));
        }
    };
    for (text, expected) in IN_A_GRANT {
        check(GOOD.replace("recorded: yes", text), text, expected);
    }
    // Approvers have a registration of their own, so that nothing else is said.
    let approvers = "audiences: [api://chaperone]\n    approvers: { audience: a, clients: 5c1c0e6e-9999-4111-8111-111111111111 }\n";
    for (text, expected) in APPROVERS {
        let source =
            GOOD.replace("audiences: [api://chaperone]\n", approvers).replace("when: requested", text);
        check(source, text, expected);
    }
    for (text, expected) in LABELS {
        check(labelled.replace("- grant: prod\n", &format!("- grant: {text}\n")), text, expected);
    }
    for (text, expected) in DENIES {
        check(format!("{GOOD}denies:\n  - {text}\n"), text, expected);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
