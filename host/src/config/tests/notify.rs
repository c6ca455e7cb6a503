//! Channels: one mistake each, and what is said of it.

use super::*;
use crate::notify::Content;

/// [`GOOD`] with a channel, from its line 29 on.
fn with(channel: &str) -> String {
    format!("{GOOD}notify:\n  - {channel}\nlisten: {{ public_url: https://gateway.example }}\n")
}

#[test]
fn links_that_nobody_may_reach_get_a_warning() {
    let said = "29:3 warning messages link to the address that the gateway listens on: `listen.public_url` is not set | \
                set it to what people's browsers reach";
    let without = with(WEBHOOK).replace("public_url: https://gateway.example", "api: 127.0.0.1:8443");
    assert_eq!(found(&without), [said]);
    assert_eq!(found(&with(WEBHOOK)), [""; 0]);
    assert_eq!(found(&without.replace(&format!("\n  - {WEBHOOK}"), " []")), [""; 0]);
}

const WEBHOOK: &str = "{ name: siem, kind: webhook, url: env:SIEM_URL, secret: env:SECRET }";
const SLACK: &str = "{ name: on-call, kind: slack, url: env:SLACK_URL, secret: env:SECRET }";

#[test]
fn a_channel_is_a_link_to_all_targets_unless_it_says_otherwise() {
    for good in [WEBHOOK, SLACK, "{ name: dba, kind: teams, url: env:TEAMS_URL }"] {
        let (config, report) = decode(&with(good), Purpose::Serve);
        assert_eq!(report.problems, [], "{good}");
        let channel = config.unwrap().notify.remove(0);
        assert_eq!(channel.content, Content::Link);
        assert!(channel.targets.is_empty() && channel.events.is_empty() && channel.people.is_empty());
        assert!(!channel.allow_http_loopback);
    }
    // What cannot be read here is noted and not judged.
    let (_, report) = decode(&with(WEBHOOK).replace("SIEM_URL", "UNSET"), Purpose::Check);
    assert_eq!((report.outcome(), report.count(Severity::Note)), (Outcome::Clean, 1));
}

#[test]
fn one_mistake_in_a_channel_is_the_only_thing_said() {
    for (channel, part, mistake, said) in [
        (
            WEBHOOK,
            "kind: webhook",
            "kind: web-hook",
            "29:25 error `web-hook` is not accepted here | did you mean `webhook`?",
        ),
        (
            WEBHOOK,
            "url: env:SIEM_URL",
            "url: https://siem.example/in",
            "29:39 error `url` is a secret, and secrets do not stand in this file | write a reference: `env:VARIABLE` for an environment variable, `file:/path` for a file",
        ),
        (
            WEBHOOK,
            "env:SIEM_URL",
            "env:NOT_ONE",
            "29:39 error what `env:NOT_ONE` holds is no URL to send to: it is not a URL | an https URL; http on 127.0.0.1 for a test, with `allow_http_loopback: yes`",
        ),
        (
            WEBHOOK,
            ", secret: env:SECRET",
            "",
            "29:7 error `secret` is missing in `notify[0]` | a reference to what signs the messages: 16 bytes or more, made at random",
        ),
        (
            WEBHOOK,
            "env:SECRET",
            "env:SHORT",
            "29:61 error what `env:SHORT` holds is short enough to be guessed | 16 bytes or more, made at random: `openssl rand -hex 32`",
        ),
        (
            WEBHOOK,
            "kind: webhook",
            "kind: teams",
            "29:51 error `secret` does nothing: a workflow of Teams checks no signature | delete it",
        ),
        (
            WEBHOOK,
            "secret: env:SECRET",
            "secret: env:SECRET, targets: prd",
            "29:82 error there is no target named `prd` | did you mean `prod`?",
        ),
        (
            WEBHOOK,
            "secret: env:SECRET",
            "secret: env:SECRET, events: []",
            "29:73 error nothing is told: `events` is empty | name an event, or delete it",
        ),
        (
            WEBHOOK,
            "secret: env:SECRET",
            "secret: env:SECRET, content: all",
            "29:82 error `all` is not accepted here | write one of link, full",
        ),
        (
            WEBHOOK,
            "secret: env:SECRET",
            "secret: env:SECRET, people: {}",
            "29:73 error `people` does nothing: only Slack's users decide from their channel | delete it",
        ),
        (
            SLACK,
            "env:SLACK_URL",
            "env:OTHER_URL",
            "29:40 error what `env:OTHER_URL` holds is no URL to send to: Slack's are on hooks.slack.com | copy the URL of the app's incoming webhook",
        ),
        (
            SLACK,
            "url: env:SLACK_URL",
            "allow_http_loopback: yes, url: env:OTHER_URL",
            "29:66 error what `env:OTHER_URL` holds is no URL to send to: Slack's are on hooks.slack.com | copy the URL of the app's incoming webhook",
        ),
        (
            SLACK,
            "secret: env:SECRET",
            "secret: env:SECRET, people: { ann: \"principal:corp/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/5c1c0e6e-4444-4444-8444-444444444444\" }",
            "29:90 error `ann` is no member id of Slack | it looks like `U012AB3CD`: \"Copy member ID\" in the profile. Names can be given to others",
        ),
        (
            SLACK,
            "secret: env:SECRET",
            "secret: env:SECRET, people: { U012AB3CD: \"group:agents\" }",
            "29:96 error a user of Slack is one person | write `principal:PROVIDER/TENANT/OBJECT-ID`",
        ),
        (
            SLACK,
            ", secret: env:SECRET",
            "",
            "29:7 error `secret` is missing in `notify[0]` | a reference to the app's signing secret",
        ),
        (
            WEBHOOK,
            "}",
            "}\n  - { name: siem, kind: teams, url: env:TEAMS_URL }",
            "30:5 error there are two channels named `siem` | rename one",
        ),
    ] {
        assert!(channel.contains(part), "{part}");
        assert_eq!(found(&with(&channel.replacen(part, mistake, 1))), [said], "{mistake}");
    }
}

#[test]
fn messages_go_over_https_or_to_this_machine_where_that_is_allowed() {
    for (url, loopback, good) in [
        ("https://siem.example/in?sig=x", false, true),
        // An inner address is the operator's choice: it stands in their own secret.
        ("https://10.0.0.7:8443/in", false, true),
        ("http://127.0.0.1:9/in", true, true),
        ("http://[::1]:9/in", true, true),
        ("http://127.0.0.1:9/in", false, false),
        ("http://localhost:9/in", true, false),
        ("http://127.0.0.1.example/in", true, false),
        ("http://10.0.0.7/in", true, false),
        ("https://user:pass@siem.example/in", false, false),
        ("https://siem.example/in#part", false, false),
        ("file:///etc/passwd", true, false),
        ("siem.example/in", false, false),
    ] {
        assert_eq!(post_url(url, loopback).is_ok(), good, "{url}");
    }
}
