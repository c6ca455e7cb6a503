//! Microsoft Graph in a file.

use super::*;

const GRAPH: &str = "    audiences: [api://chaperone]\n    allow_http_loopback: yes\n    \
                     graph: { client_id: 5f1b6c1e-0000-4000-8000-00000000000b, secret: env:GRAPH }\n";

fn good() -> String {
    GOOD.replace("    audiences: [api://chaperone]\n", GRAPH)
}

#[test]
fn graph_has_a_client_a_secret_and_answers_that_count_for_a_minute() {
    assert_eq!(found(&good()), Vec::<String>::new());
    let (config, _) = decode(&good(), Purpose::Serve);
    let graph = config.unwrap().providers[0].graph.clone().unwrap();
    assert_eq!(graph.secret.expose(), "value of GRAPH");
    assert_eq!((graph.cache, graph.recheck), (Duration::from_secs(60), Duration::from_secs(300)));
    assert_eq!(graph.url, None);
    assert!(!format!("{graph:?}").contains("GRAPH"), "{graph:?}");
}

#[test]
fn a_mistake_in_graph_is_said() {
    for (part, mistake, said) in [
        (
            "client_id: 5f1b6c1e-0000-4000-8000-00000000000b",
            "client_id: chaperone",
            "8:25 error `chaperone` is not an application's client id | it is a GUID; the Entra portal shows it as \"Application (client) ID\"",
        ),
        (
            ", secret: env:GRAPH",
            "",
            "8:14 error `secret` is missing in `providers[0].graph` | a reference to that application's client secret",
        ),
        (
            "secret: env:GRAPH",
            "secret: hunter2",
            "8:71 error `secret` is a secret, and secrets do not stand in this file | write a reference: `env:VARIABLE` for an environment variable, `file:/path` for a file",
        ),
        (
            "env:GRAPH",
            "env:GRAPH, cache: 59s",
            "8:89 error `59s` is out of range | write a duration from 1m to 5m",
        ),
        (
            "env:GRAPH",
            "env:GRAPH, cache: 301s",
            "8:89 error `301s` is out of range | write a duration from 1m to 5m",
        ),
        (
            "env:GRAPH",
            "env:GRAPH, recheck: 4s",
            "8:91 error `4s` is out of range | write a duration from 5s to 1h",
        ),
        (
            "env:GRAPH",
            "env:GRAPH, url: \"https://graph.example\"",
            "8:87 error only a loopback address takes the place of the cloud's | delete it: the cloud decides",
        ),
    ] {
        assert!(good().contains(part), "{part}");
        assert_eq!(found(&good().replacen(part, mistake, 1)), [said], "{mistake}");
    }
    let url = good().replace("env:GRAPH", "env:GRAPH, url: \"http://127.0.0.1:9\"");
    assert_eq!(found(&url), Vec::<String>::new());
    let said = found(&url.replace("    allow_http_loopback: yes\n", ""));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("http is refused"), "{said:?}");
    let oidc = good()
        .replace(
            "kind: entra",
            "kind: oidc\n    issuers: https://ci.example\n    jwks_url: https://ci.example/keys",
        )
        .replace("    tenants: [8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001]\n", "");
    let said = found(&oidc);
    assert_eq!(said, ["9:5 error only Microsoft Entra has Microsoft Graph | delete it"]);
}

#[test]
fn more_groups_than_graph_is_asked_for_are_refused() {
    let with = |many: usize| {
        let more: String =
            (1..many).map(|n| format!("  g{n}: corp/{n:08x}-1111-4111-8111-111111111111\n")).collect();
        good().replace("targets:\n", &format!("{more}targets:\n"))
    };
    let errors = |source: &str| {
        let (_, report) = decode(source, Purpose::Serve);
        let errors = report.problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors.map(|problem| problem.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(errors(&with(crate::identity::MAX_ASKED)), [""; 0]);
    assert_eq!(
        errors(&with(crate::identity::MAX_ASKED + 1)),
        ["401 groups are too many to ask Microsoft Graph for"]
    );
    // Without Graph nothing is asked.
    assert_eq!(errors(&with(401).replace(GRAPH, "    audiences: [api://chaperone]\n")), [""; 0]);
}
