//! Streams: one mistake each, and what is said of it.

use super::*;
use crate::stream::{Content, Destination, Format};

/// [`GOOD`] with a stream, from its line 29 on.
fn with(stream: &str) -> String {
    format!("{GOOD}streams:\n  - {stream}\n")
}

const FILE: &str = "{ name: siem, to: \"file:events.jsonl\", format: jsonl }";
const OTLP: &str =
    "{ name: otel, to: \"https://otel.example:4318/v1/logs\", format: otlp, token: env:SIEM_TOKEN }";

#[test]
fn a_stream_tells_facts_of_everything_unless_it_says_otherwise() {
    let place = |text: &str| Destination::Url(text.to_owned());
    for (good, to, format) in [
        (FILE, Destination::File("/etc/chaperone/events.jsonl".into()), Format::JsonLines),
        (
            "{ name: x, to: \"file:/var/log/x\", format: ocsf }",
            Destination::File("/var/log/x".into()),
            Format::Ocsf,
        ),
        ("{ name: x, to: stdout, format: ocsf }", Destination::Stdout, Format::Ocsf),
        (OTLP, place("https://otel.example:4318/v1/logs"), Format::Otlp),
        (
            "{ name: x, to: \"http://127.0.0.1:1/in\", format: jsonl, allow_http_loopback: yes }",
            place("http://127.0.0.1:1/in"),
            Format::JsonLines,
        ),
    ] {
        let (config, report) = decode(&with(good), Purpose::Serve);
        assert_eq!(report.problems, [], "{good}");
        let stream = config.unwrap().streams.remove(0);
        assert_eq!((stream.to, stream.format, stream.content), (to, format, Content::Facts));
        assert!(stream.of.is_empty());
    }
}

#[test]
fn one_mistake_in_a_stream_is_the_only_thing_said() {
    let places = "`file:PATH`, `stdout`, or an https URL; http on 127.0.0.1 for a test, with `allow_http_loopback: yes`";
    let no_place = |why: &str| format!("29:23 error this is no place for a stream: {why} | {places}");
    for (good, from, to, said) in [
        (OTLP, "https://", "http://", no_place("it is not https")),
        (OTLP, "https://", "https://user:hunter2@", no_place("it has a user name, a password or a fragment in it")),
        (FILE, "\"file:events.jsonl\"", "\"file:\"", no_place("it is not https")),
        (FILE, "\"file:events.jsonl\"", "events.jsonl", no_place("it is not a URL")),
        (
            FILE,
            "format: jsonl",
            "format: otlp",
            "29:52 error OTLP is sent to a receiver | give `to` its https URL, or write `jsonl` or `ocsf`".into(),
        ),
        (
            FILE,
            "format: jsonl",
            "format: jsonl, token: env:SIEM_TOKEN",
            "29:59 error `token` does nothing: the stream stays on this machine | delete it".into(),
        ),
        (
            FILE,
            "format: jsonl",
            "format: jsonl, events: []",
            "29:59 error nothing is told: `events` is empty | name what is told of, or delete it".into(),
        ),
        (
            OTLP,
            "env:SIEM_TOKEN",
            "env:SECRET",
            "29:81 error what `env:SECRET` holds is no token: it goes into a header | \
             letters, digits and signs, without spaces and line ends"
                .into(),
        ),
        (
            OTLP,
            "env:SIEM_TOKEN",
            "t0ken",
            "29:81 error `token` is a secret, and secrets do not stand in this file | write a reference: \
             `env:VARIABLE` for an environment variable, `file:/path` for a file"
                .into(),
        ),
        (FILE, "name: siem, ", "", "29:7 error `name` is missing in `streams[0]` | a short name, by which the gateway remembers how far the stream has come".into()),
        (FILE, "format: jsonl", "format: json", "29:52 error `json` is not accepted here | did you mean `jsonl`?".into()),
    ] {
        let source = with(&good.replacen(from, to, 1));
        assert_eq!(found(&source), [said], "{to}");
        let (_, report) = decode(&source, Purpose::Serve);
        assert!(!plain(&report).contains("hunter2") || to.contains("hunter2"), "{}", plain(&report));
    }
}

#[test]
fn a_name_and_a_file_have_one_stream() {
    let twice = |second: &str| found(&with(&format!("{FILE}\n  - {second}")));
    let other_name = FILE.replace("siem", "other");
    assert_eq!(
        twice(&OTLP.replace("otel", "siem")),
        ["30:5 error there are two streams named `siem` | rename one"]
    );
    assert_eq!(twice(&other_name), ["30:5 error two streams lead to the same place | give each its own"]);
    let out = "{ name: x, to: stdout, format: jsonl }\n  - { name: y, to: stdout, format: ocsf }";
    assert_eq!(twice(out).len(), 1);
    assert_eq!(
        twice(&OTLP.replace("https://otel.example:4318/v1/logs", "https://a.example/").replace("otel", "b")),
        [""; 0]
    );
}
