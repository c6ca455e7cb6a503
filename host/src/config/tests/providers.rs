//! Providers: mappings of claims, and that what is accepted here is what the gateway starts with.

use super::*;
use crate::identity::{ClaimPath, Identities, MappedKind, MappedType, Preset, ProviderConfig};

const CLAIMS: &str = "    claims: { preset: github-actions, require: { repository_owner_id: 65 } }\n";

const CI: &str = "  - name: ci
    kind: oidc
    issuers: https://token.actions.githubusercontent.com
    audiences: https://chaperone.example
    jwks_url: https://token.actions.githubusercontent.com/.well-known/jwks
";

/// [`GOOD`], with jobs of GitHub Actions as well.
fn with_ci() -> String {
    let source = GOOD.replace("groups:\n", &format!("{CI}{CLAIMS}groups:\n"));
    source.replace("to: group:agents", "to: [group:agents, principal:ci/-/74]")
}

/// What is said when the claims of [`with_ci`] are replaced, without the place.
fn said(claims: &str) -> Vec<String> {
    let source = with_ci();
    assert_eq!(source.matches(CLAIMS).count(), 1);
    let found = found(&source.replace(CLAIMS, &format!("    claims: {claims}\n")));
    let placeless = |text: &String| text.split_once(' ').unwrap().1.to_owned();
    found.iter().filter(|text| !text.contains("is defined but not used")).map(placeless).collect()
}

fn path(text: &str) -> ClaimPath {
    text.parse().unwrap()
}

#[test]
fn a_preset_is_a_mapping_like_any_other() {
    let providers = |source: &str| decode(source, Purpose::Serve).0.unwrap().providers;
    let mapping = providers(&with_ci())[1].claims.clone().unwrap();
    let require = [(path("repository_owner_id"), ["65".to_owned()].into())];
    assert_eq!(mapping, Preset::GithubActions.mapping(MappedKind::Workload, require.into()));
    let written = with_ci().replace(
        CLAIMS,
        "    claims: { type: jwt, subject: repository_id, actor: workflow_ref, require: { /repository_owner_id: ['65'] } }\n",
    );
    assert_eq!(providers(&written)[1].claims, Some(mapping));
    assert_eq!(
        said("{ preset: gitlab, kind: agent, require: { namespace_id: 72, runner_id: [1, 2] } }"),
        [""; 0]
    );
    assert_eq!(said("{ preset: kubernetes, require: { /kubernetes.io/namespace: [prod, ops] } }"), [""; 0]);
}

/// What is wrong, and what is said.
const WRONG: &[(&str, &[&str])] = &[
    (
        "{ preset: github-actions }",
        &[
            "error `require` is missing in `providers[1].claims` | require what only your own jobs have: whoever can get a token of this issuer would be let in otherwise",
        ],
    ),
    (
        "{ preset: github-actions, require: {} }",
        &[
            "error nothing is required, so whoever can get a token of this issuer would be let in, and on a public one that is anybody | require an id that tells yours from others', such as that of the repository's owner",
        ],
    ),
    (
        "{ preset: github-actions, require: { ref: refs/heads/main } }",
        &[
            "error with `preset: github-actions` the claim `repository_owner_id` has to be required: whose jobs these are | add it, with the values of your own",
        ],
    ),
    (
        "{ preset: gitlab, require: { project_id: 20 } }",
        &[
            "error with `preset: gitlab` the claim `namespace_id` has to be required: whose jobs these are | add it, with the values of your own",
        ],
    ),
    (
        "{ preset: kubernetes, require: { namespace: prod } }",
        &[
            "error with `preset: kubernetes` the claim `/kubernetes.io/namespace` has to be required: whose jobs these are | add it, with the values of your own",
        ],
    ),
    (
        "{ preset: github, require: { repository_owner_id: 65 } }",
        &["error `github` is not accepted here | did you mean `gitlab`?"],
    ),
    (
        "{ preset: gitlab, subject: sub, groups: groups_direct, require: { namespace_id: 72 } }",
        &[
            "error `subject` is set by the preset | delete it, or write the mapping without `preset`",
            "error `groups` is set by the preset | delete it, or write the mapping without `preset`",
        ],
    ),
    (
        "{ subject: id, actor: app, kind: human, require: { owner: 65 } }",
        &[
            "error a mapping makes no people: people approve, and no claim of an issuer's choice proves one | write `workload` or `agent`",
        ],
    ),
    (
        "{ subject: id, actor: app, kind: human-through-agent, require: { owner: 65 } }",
        &[
            "error a mapping makes no people: people approve, and no claim of an issuer's choice proves one | write `workload` or `agent`",
        ],
    ),
    (
        "{ preset: gitlab, kind: agent-user, require: { namespace_id: 65 } }",
        &[
            "error a mapping makes no people: people approve, and no claim of an issuer's choice proves one | write `workload` or `agent`",
        ],
    ),
    (
        "{ subject: id, actor: app, kind: unknown, require: { owner: 65 } }",
        &["error `unknown` is not accepted here | write one of workload, agent"],
    ),
    (
        "{ require: { owner: 65 } }",
        &[
            "error `subject` is missing in `providers[1].claims` | name the claim that says who it is, an id that is never given to another",
            "error `actor` is missing in `providers[1].claims` | name the claim that says what acts; approvers see it, and windows are bound to it",
        ],
    ),
    (
        "{ subject: id, actor: app, require: { iss: https://x, aud: y } }",
        &[
            "error all that is required is checked of every token anyway, so it keeps nobody out | require an id that tells yours from others', such as that of the repository's owner",
        ],
    ),
    (
        "{ subject: id, actor: app, require: { owner: [] } }",
        &["error no value of `owner` is accepted, so no token can match | list at least one"],
    ),
    (
        "{ subject: id, actor: app, require: { owner: 65, /owner: 66 } }",
        &["error `/owner` is required twice | write all its values in one place"],
    ),
    (
        "{ subject: id, actor: app, require: { owner: { id: 65 } } }",
        &["error expected the exact text of a claim, found a mapping | "],
    ),
    (
        "{ subject: id, actor: app, require: [owner] }",
        &["error expected a mapping (`name: value`), found a list | "],
    ),
    (
        "{ subject: /a//b, actor: app, require: { owner: 65 } }",
        &["error `/a//b` is not where a claim stands | a pointer has 1 to 8 steps, none of them empty"],
    ),
    (
        "{ subject: id, actor: /a~2, require: { /: 65 } }",
        &[
            "error `/a~2` is not where a claim stands | in a pointer `~` is written `~0` and `/` within a name `~1`",
            "error `/` is not where a claim stands | a pointer has 1 to 8 steps, none of them empty",
        ],
    ),
    (
        "{ subject: id, actor: app, type: jws, require: { owner: 65 } }",
        &["error `jws` is not accepted here | did you mean `jwt`?"],
    ),
    (
        "{ subject: id, actor: app, numbers: run, require: { owner: 65 } }",
        &["error `run` is listed as a number and is neither subject, actor nor required | delete it there"],
    ),
    (
        "{ subject: id, actor: app, numbers: owner, require: { owner: ['065'] } }",
        &[
            "error `owner` is written as a number, which is never `065` | write decimal digits, without zeros in front",
        ],
    ),
    (
        "{ subject: id, actor: app, requires: { owner: 65 } }",
        &["error unknown key `requires` | did you mean `require`?"],
    ),
];

#[test]
fn a_mapping_that_is_wrong_says_why() {
    for (claims, expected) in WRONG {
        let mut found = said(claims);
        let mut expected = expected.to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{claims}");
    }
}

/// What is replaced in [`with_ci`], by what, and what is said of it.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "audiences: [api://chaperone]\n",
        "audiences: a\n    claims: { preset: gitlab, require: { namespace_id: 1 } }\n",
        "error `claims` means nothing for a provider of kind `entra` | delete it",
    ),
    (
        "audiences: [api://chaperone]\n",
        "audiences: a\n    jwks_ca: ca.pem\n",
        "error `jwks_ca` means nothing for a provider of kind `entra` | delete it",
    ),
    (CLAIMS, "    cloud: public\n", "error `cloud` means nothing for a provider of kind `oidc` | delete it"),
    (CLAIMS, "    tenants: [a]\n", "error `tenants` means nothing for a provider of kind `oidc` | delete it"),
    (
        CLAIMS,
        "    human_clients: [04b07795-8ddb-461a-bbee-02f9e1bf7b46]\n",
        "error `human_clients` means nothing for a provider of kind `oidc` | delete it",
    ),
    (
        "jwks_url: https://token.actions.githubusercontent.com/.well-known/jwks\n",
        "jwks_url: http://127.0.0.1:9/k\n    allow_http_loopback: yes\n    jwks_ca: ca.pem\n",
        "error `jwks_ca` is not read when keys are fetched over http | delete it, or use https",
    ),
    (
        CLAIMS,
        "    jwks_ca: file:ca.pem\n",
        "error `file:ca.pem` is a reference, and a plain path is wanted | write the path alone",
    ),
    (
        "audiences: [api://chaperone]\n",
        "audiences: a\n    human_clients: []\n",
        "error `human_clients` is empty, so nobody would be a person and nobody could approve | list the clients that people sign in with, or delete it",
    ),
    (
        "audiences: [api://chaperone]\n",
        "audiences: a\n    human_clients: [web]\n",
        "error `web` is not a client's GUID | the Entra portal shows it as \"Application (client) ID\"",
    ),
    (
        CLAIMS,
        "    claims: { preset: github-actions, require: { repository_owner_id: 65 } }\n    approvers: { audience: b, clients: [c] }\n",
        "error `approvers` means nothing beside `claims`: a mapping never makes a person, and people approve | delete one of them",
    ),
    // What the gateway would refuse at its start.
    (
        "issuers: https://token.actions.githubusercontent.com\n",
        "issuers: [https://a, https://b]\n",
        "error a provider of kind `oidc` has exactly one issuer | configure one provider for each: a subject is unique within its issuer only",
    ),
    (
        "principal:ci/-/74",
        "principal:ci/octo-org/74",
        "error nobody can match this: the provider `ci` has no tenants | write `principal:ci/-/SUBJECT`",
    ),
    (
        "[8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001]",
        "[9188040D-6c67-4c5b-b112-36a304b66dad]",
        "error `9188040D-6c67-4c5b-b112-36a304b66dad` means every tenant there is | list the GUIDs of the tenants that you trust",
    ),
    (
        "[8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001]",
        "[8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001, 8F4C1F0E-6f8e-4a3c-9a51-0c6d3ad0a001]",
        "error provider `corp`: the issuer `https://sts.windows.net/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/` is configured twice | mend `providers`",
    ),
    (
        "issuers: https://token.actions.githubusercontent.com\n",
        "issuers: https://sts.windows.net/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/\n",
        "error provider `ci`: the issuer `https://sts.windows.net/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/` is configured twice | mend `providers`",
    ),
    (
        "audiences: [api://chaperone]\n",
        "audiences: a\n    issuers: https://sts.windows.net/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a009/\n",
        "error `https://sts.windows.net/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a009…` is no issuer of these tenants in this cloud | leave `issuers` out to accept both versions of each tenant",
    ),
    (
        "audiences: https://chaperone.example",
        "audiences: https://graph.chinacloudapi.cn/",
        "error this is Microsoft Graph's audience, and every app can get a token for it | register an API of your own in Entra and list its application id",
    ),
    (
        "audiences: https://chaperone.example",
        "audiences: spn:https://graph.microsoft.com",
        "error this is Microsoft Graph's audience, and every app can get a token for it | register an API of your own in Entra and list its application id",
    ),
    (
        "jwks_url: https://token.actions.githubusercontent.com/.well-known/jwks\n",
        "jwks_url: http://localhost:9/k\n    allow_http_loopback: yes\n",
        "error `http://localhost:9/k` cannot be fetched: it must be https (http is for loopback IP addresses such as 127.0.0.1, and only when configured so) | ",
    ),
    (
        ".well-known/jwks\n",
        ".well-known/jwks#keys\n",
        "error `https://token.actions.githubusercontent.com/.well-known/jwks…` cannot be fetched: it must not carry a user name, a password or a fragment | ",
    ),
    (
        "audiences: [api://chaperone]\n",
        "audiences: a\n    max_token_age: 59s\n",
        "error `59s` is out of range | write a duration from 1m to 2days",
    ),
];

#[test]
fn what_means_nothing_and_what_a_start_would_refuse_is_refused() {
    for (part, replacement, expected) in OTHERS {
        let source = with_ci();
        assert_eq!(source.matches(part).count(), 1, "{part} must be in the file once");
        let found = found(&source.replace(part, replacement));
        let errors: Vec<&str> = found
            .iter()
            .filter(|text| text.contains(" error "))
            .map(|text| text.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(errors, [*expected], "{replacement}");
    }
}

#[test]
fn there_are_at_most_as_many_tenants_as_a_gateway_starts_with() {
    let tenants = |count: usize| {
        let tenants = (0..count).map(|n| format!("8f4c1f0e-6f8e-4a3c-9a51-{n:012}")).collect::<Vec<_>>();
        found(&GOOD.replace("8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001", &tenants.join(", ")))
    };
    assert_eq!(tenants(64), [""; 0]);
    assert_eq!(tenants(65), ["5:14 error 65 entries are too many: at most 64 | "]);
}

#[test]
fn what_is_accepted_is_what_a_gateway_starts_with() {
    for source in [GOOD, FULL, &with_ci()] {
        let mut providers: Vec<ProviderConfig> =
            decode(source, Purpose::Serve).0.unwrap().providers.iter().map(ProviderConfig::from).collect();
        // A file, which a check does not read.
        providers.iter_mut().for_each(|provider| provider.jwks_ca = None);
        assert!(Identities::new(providers).is_ok());
    }
}

#[test]
fn every_key_of_a_provider_reaches_what_checks_tokens() {
    let config = decode(FULL, Purpose::Serve).0.unwrap();
    let provider = |at: usize| ProviderConfig::from(&config.providers[at]);
    assert_eq!(
        provider(0).unmarked_users,
        crate::identity::UnmarkedUsers::AreHumanThrough(vec![
            "04b07795-8ddb-461a-bbee-02f9e1bf7b46".to_owned()
        ])
    );
    assert_eq!(
        (provider(0).max_token_age, provider(1).max_token_age),
        (Duration::from_secs(25 * 3600), Duration::from_secs(48 * 3600))
    );
    assert_eq!(provider(1).kind, crate::identity::ProviderKind::Oidc);
    assert_eq!(provider(2).jwks_ca.as_deref(), Some(Path::new("/etc/chaperone/cluster-ca.pem")));
    let crate::identity::ProviderKind::Mapped(mapping) = provider(2).kind else { panic!("no mapping") };
    assert_eq!((mapping.form, mapping.kind), (MappedType::Plain, MappedKind::Agent));
    assert_eq!((mapping.subject, mapping.actor), (path("/job/repository/id"), path("sub")));
    assert_eq!((mapping.groups, mapping.roles), (Some(path("teams")), Some(path("/job/roles"))));
    assert_eq!(mapping.numbers, [path("/job/repository/id")].into());
    let values = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(
        mapping.require.into_iter().collect::<Vec<_>>(),
        [(path("branch"), values(&["main"])), (path("/job/owner"), values(&["65", "66"]))]
    );
}

/// Each whole configuration of a page: the blocks that say where recordings go.
#[test]
fn the_examples_for_jobs_are_accepted() {
    let page = include_str!("../../../docs/identity.md");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole: Vec<&str> = blocks.filter(|block| block.contains("\nrecording:")).collect();
    for preset in Preset::ALL {
        let word = format!("preset: {}", preset.as_str());
        assert_eq!(whole.iter().filter(|block| block.contains(&word)).count(), 1, "{word}");
    }
    for block in whole {
        let (config, report) = decode(block, Purpose::Serve);
        assert!(config.is_some() && report.problems.is_empty(), "{}", plain(&report));
    }
}
