//! One mistake each, and what is said of it.

use super::{GOOD, found};

/// What is replaced in [`GOOD`], by what, and all that is then said.
const ONE_MISTAKE: &[(&str, &str, &str)] = &[
    ("lifetime: 15m", "lifetme: 15m", "24:5 error unknown key `lifetme` | did you mean `lifetime`?"),
    (
        "lifetime: 15m",
        "lifetime: 15",
        "24:15 error `15` is not a duration | add a unit: `15s`, `15m` or `15h`",
    ),
    ("lifetime: 15m", "lifetime: 0s", "24:15 error `0s` is out of range | write a duration from 1s to 7days"),
    (
        "lifetime: 15m",
        "lifetime: 1day",
        "24:15 warning a lifetime of 1day is not just in time | minutes or hours are usual: a new request is cheap",
    ),
    (
        "    lifetime: 15m\n",
        "",
        "21:5 error `lifetime` is missing in `grants[0]` | how long a window may be, such as `15m`",
    ),
    (
        "recorded: yes",
        "recorded: no",
        "25:15 warning recordings under this grant have no parameters, rows or copied data | write `recorded: yes`; `recording` bounds how much of the responses is kept",
    ),
    ("recorded: yes", "recorded: 1", "25:15 error `1` is neither yes nor no | write `yes` or `no`"),
    ("recorded: yes", "recorded: [yes]", "25:15 error expected yes or no, found a list | "),
    (
        "recorded: yes",
        "approvers: group:agents",
        "25:5 error `approvers` does nothing under `when: requested`: no human is asked | write `when: approved`, or delete it",
    ),
    ("recorded: yes", "kind: agnt", "25:11 error `agnt` is not accepted here | did you mean `agent`?"),
    (
        "recorded: yes",
        "kind: unknown",
        "25:11 error `unknown` is not accepted here | write one of human, human-through-agent, agent, agent-user, workload",
    ),
    (
        "recorded: yes",
        "kind: []",
        "25:5 error nobody can match this: `kind` is empty | name a kind of caller, or delete it",
    ),
    (
        "recorded: yes",
        "kind: [agent, agent]",
        "25:19 error this kind is listed twice | one is enough: delete this one",
    ),
    (
        "when: requested",
        "when: request",
        "23:11 error `request` is not accepted here | did you mean `requested`?",
    ),
    (
        "when: requested",
        "when: approved",
        "21:5 error `approvers` is missing in `grants[0]` | name the groups that decide, here or once for all at the top level",
    ),
    ("when: requested", "{when: approved, approvers: []}", "23:5 error this is not YAML"),
    ("grant: prod", "grant: prd", "21:12 error there is no target named `prd` | did you mean `prod`?"),
    (
        "to: group:agents",
        "to: []",
        "22:5 error nobody can match this grant: `to` is empty | name somebody, or delete the grant",
    ),
    (
        "to: group:agents",
        "to: [group:agents, agents]",
        "22:24 error `agents` is not a subject | write `group:ALIAS`, `role:PROVIDER/NAME`, `principal:PROVIDER/TENANT/OBJECT-ID` or `provider:NAME`",
    ),
    (
        "to: group:agents",
        "to: [group:agents, group:agents]",
        "22:24 error this subject is listed twice | one is enough: delete this one",
    ),
    (
        "to: group:agents",
        "to: [group:agents, principal:corp/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a009/x]",
        "22:24 error nobody can match this: `8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a009` is no tenant of the provider `corp` | add the tenant to the provider, or mend the principal",
    ),
    (
        "to: group:agents",
        "to: [group:agents, principal:corp/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/alice]",
        "22:24 error nobody can match this: `alice` is no object id | Entra's object ids are GUIDs; names and e-mail addresses never stand for anyone",
    ),
    (
        "to: group:agents",
        "to: [group:agents, role:crop/x]",
        "22:24 error there is no provider named `crop` | did you mean `corp`?",
    ),
    (
        "agents: corp/5c1c0e6e-1111-4111-8111-111111111111",
        "agents: corp/triage",
        "8:11 warning `triage` is a name, and Entra's tokens carry groups by GUID: nobody may match | write the group's object id; a name can also be given to another group",
    ),
    (
        "agents: corp/5c1c0e6e-1111-4111-8111-111111111111",
        "agents: triage",
        "8:11 error `triage` is not a group | write `provider/object-id`, the id as the provider's portal shows it",
    ),
    ("kind: entra", "kind: azure", "4:11 error `azure` is not accepted here | write one of entra, oidc"),
    (
        "[8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001]",
        "[common]",
        "5:15 error `common` means every tenant there is | list the GUIDs of the tenants that you trust",
    ),
    (
        "[8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001]",
        "[]",
        "5:14 error `tenants` is empty, so no token can match | list at least one",
    ),
    (
        "    tenants: [8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001]\n",
        "",
        "3:5 error `tenants` is missing in `providers[0]` | list the tenants' GUIDs; there is no provider for everyone",
    ),
    (
        "[api://chaperone]",
        "[00000003-0000-0000-C000-000000000000]",
        "6:17 error this is Microsoft Graph's audience, and every app can get a token for it | register an API of your own in Entra and list its application id",
    ),
    (
        "audiences: [api://chaperone]",
        "audiences: [a]\n    max_token_age: 3days",
        "7:20 error `3days` is out of range | write a duration from 1m to 2days",
    ),
    (
        "audiences: [api://chaperone]",
        "audiences: [a]\n    jwks_url: http://127.0.0.1/k",
        "7:15 error http is refused | for a test on this machine set `allow_http_loopback: yes`",
    ),
    (
        "audiences: [api://chaperone]",
        "audiences: [a]\n    jwks_url: http://keys.example/k",
        "7:15 error `http://keys.example/k` is not an https URL | use https",
    ),
    (
        "tls: { certificate: cert.pem, key: key.pem }",
        "tls: self-signed",
        "1:6 warning clients cannot tell a self-signed certificate from an impostor's | for more than a trial, give `certificate` and `key`",
    ),
    ("tls: { certificate: cert.pem, key: key.pem }", "{ tls: self-signed }", "2:1 error this is not YAML"),
    (
        "tls: { certificate: cert.pem, key: key.pem }",
        "tls: { certificate: cert.pem }",
        "1:8 error `key` is missing in `tls` | the path of a PEM file with the private key",
    ),
    (
        "tls: { certificate: cert.pem, key: key.pem }",
        "tls: { certificate: cert.pem, key: env:KEY }",
        "1:36 error `env:KEY` is a reference, and a plain path is wanted | write the path alone",
    ),
    (
        "password: env:PROD_PASSWORD",
        "password: hunter2",
        "15:15 error `password` is a secret, and secrets do not stand in this file | write a reference: `env:VARIABLE` for an environment variable, `file:/path` for a file",
    ),
    (
        "password: env:PROD_PASSWORD",
        "password: env:UNSET",
        "15:15 error `env:UNSET` cannot be read: the environment variable is not set, or empty | `chaperone serve` needs it, readable by the account it runs as",
    ),
    (
        "password: env:PROD_PASSWORD",
        "password: file:/no/such/file",
        "15:15 error `file:/no/such/file` cannot be read: entity not found | `chaperone serve` needs it, readable by the account it runs as",
    ),
    (
        "password: env:PROD_PASSWORD",
        "password: env:A-B",
        "15:15 error `env:A-B` refers to nothing | an environment variable's name is letters, digits and `_`",
    ),
    (
        "password: env:PROD_PASSWORD",
        "passwd: hunter2",
        "15:5 error unknown key `passwd` | did you mean `password`?",
    ),
    (
        "address: db.internal:5432",
        "address: db.internal",
        "12:14 error `db.internal` is not `host:port` | write `db.internal:5432`, `10.0.0.1:5432` or `[::1]:5432`",
    ),
    (
        "address: db.internal:5432",
        "address: localhost:5432\n    tls: { mode: disabled }",
        "13:18 warning the target is reached without TLS | fine for a trial on one machine",
    ),
    (
        "address: db.internal:5432",
        "address: db.internal:5432\n    tls: { mode: disabled }",
        "13:18 error TLS can be disabled for loopback addresses only: the target's password would cross the network | set `mode: verify-full`, with `ca` if the target has a private authority",
    ),
    (
        "address: db.internal:5432",
        "address: u:hunter2@db:5432",
        "12:14 error an address has no name or password in it | write `host:port`; `user` and `password` are keys",
    ),
    (
        "audiences: [api://chaperone]",
        "audiences: [a]\n    jwks_url: https://u:hunter2@keys/k",
        "7:15 error a URL here must not carry a name or a password | remove what stands before the `@`",
    ),
    ("    tenants: [", "    tenant: [", "5:5 error unknown key `tenant` | did you mean `tenants`?"),
    (
        "protocol: postgres",
        "protocol: mysql",
        "11:15 error `mysql` is not accepted here | write one of postgres",
    ),
    (
        "builtin:sql-guard",
        "builtin:sql-guard\n  - { name: a b, source: \"builtin:column-mask\" }",
        "20:13 error `a b` is not a plugin's name | use 1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or a digit",
    ),
    (
        "plugins: [guard]",
        "plugins: []",
        "16:14 error no plugin of this target checks operations, so everything would be allowed | add a plugin that checks, such as one with `source: builtin:sql-guard`",
    ),
    (
        "builtin:sql-guard",
        "builtin:column-mask",
        "16:14 error no plugin of this target checks operations, so everything would be allowed | add a plugin that checks, such as one with `source: builtin:sql-guard`",
    ),
    (
        "plugins: [guard]",
        "plugins: [guard, mask]",
        "16:22 error there is no plugin named `mask` | define it under `plugins`",
    ),
    (
        "plugins: [guard]",
        "plugins: [guard, guard]",
        "16:22 error `guard` is listed twice | one is enough: delete this one",
    ),
    (
        "builtin:sql-guard",
        "builtin:sqlguard",
        "19:13 error there is no built-in plugin `sqlguard` | did you mean `builtin:sql-guard`?",
    ),
    (
        "builtin:sql-guard",
        "own.wasm",
        "18:5 error `sha256` is missing in `plugins[0]` | a plugin's file is pinned: run `sha256sum /etc/chaperone/own.wasm`",
    ),
    (
        "builtin:sql-guard",
        "own.wasm\n    sha256: abc",
        "20:13 error `abc` is not a SHA-256 | 64 hexadecimal digits, quoted if they are all decimal",
    ),
    (
        "builtin:sql-guard",
        "builtin:sql-guard\n    config: { api_key: hunter2 }",
        "20:24 error `api_key` is a secret, and secrets do not stand in this file | write a reference: `env:VARIABLE` for an environment variable, `file:/path` for a file",
    ),
    (
        "builtin:sql-guard",
        "builtin:sql-guard\n    config: { note: \"env:HOME\" }",
        "20:21 warning `env:HOME` is handed to the plugin as it stands, not resolved | secrets are resolved only under keys that end in `_key` or `_secret`",
    ),
    (
        "builtin:sql-guard",
        "builtin:sql-guard\n    config: [a]",
        "20:13 error expected a mapping (`key: value`), found a list | ",
    ),
    (
        "builtin:sql-guard",
        "builtin:sql-guard\n  - { name: extra, source: \"builtin:column-mask\" }",
        "20:13 warning the plugin `extra` is defined but not used | no target lists it, so it judges nothing: use it or delete it",
    ),
    (
        "builtin:sql-guard",
        "builtin:sql-guard\n    limits: { memory: 64MB }",
        "20:23 error `64MB` is not a size | write a number of bytes, or a number with KiB, MiB or GiB, such as `64KiB`",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, response_bytes_per_operation: 1GiB }",
        "26:28 error an operation may not keep more than its whole session | lower this, or raise `response_bytes_per_session`",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, signing_key: env:SHORT }",
        "26:41 error what `env:SHORT` holds cannot sign: it is no Ed25519 private key (PKCS#8 in PEM: `-----BEGIN PRIVATE KEY-----`) | make a key with `chaperone recording-key --new FILE`",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, encryption_key: env:SHORT }",
        "26:44 error what `env:SHORT` holds cannot encrypt: a key is 32 random bytes, in base64 or as 64 hexadecimal digits (`openssl rand -base64 32`) | make a key with `openssl rand -base64 32`",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, space: { warn: 2%, refuse: 2% } }",
        "26:37 error nobody is warned before sessions are refused | write a larger share than `refuse` has",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, space: { warn: 1GiB, refuse: 2GiB } }",
        "26:37 error nobody is warned before sessions are refused | write a larger size than `refuse` has",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, space: { warn: 10%, refuse: 2GiB } }",
        "26:37 error nobody is warned before sessions are refused | write two shares, or two sizes: which comes first depends on the disk otherwise",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, space: { warn: 10%, refuse: 0% } }",
        "26:56 error `0%` is no share of a disk | write a whole number from `1%` to `90%`",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, space: { refuse: 2% } }",
        "26:37 error `warn` is missing in `recording.space` | below how much room operators are warned, such as `10%` or `20GiB`",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, retention: { default: 1h } }",
        "26:50 error `1h` is out of range | write a duration from 1day to 99years 11months 5days 9h 50m 24s",
    ),
    (
        "{ directory: recordings }",
        "{ directory: r, retention: { targets: { prod-log: 30d } } }",
        "26:62 warning there is no target `prod-log`, so this is for recordings of one that there was | correct the name if it is meant to be one of `targets`: what is not named here goes by `default`",
    ),
    (
        "state: state.db",
        "state: postgres://u:hunter2@db/s",
        "27:8 error a database URL holds a password, and secrets do not stand in this file | write a reference to the URL: `state: env:CHAPERONE_STATE_URL` or `state: file:/path`",
    ),
    (
        "state: state.db",
        "state: env:STATE",
        "27:8 error what `env:STATE` holds is no PostgreSQL URL | it must start with `postgres://`; for SQLite write the path itself",
    ),
    (
        "state: state.db",
        "state:",
        "1:1 error `state` is missing | the path of a SQLite file, or a reference to a PostgreSQL URL",
    ),
    (
        "state: state.db",
        "state: s\napprovers: group:agents",
        "28:1 error no grant uses these approvers | a grant with `when: approved` and no `approvers` of its own would; delete it otherwise",
    ),
    (
        "state: state.db",
        "state: s\nlimits: { connections: 0 }",
        "28:24 error `0` is not a whole number from 1 to 1000000 | ",
    ),
    (
        "state: state.db",
        "state: s\nlisten: { api: \"127.0.0.1:6432\" }",
        "28:16 error two listeners have the same address | give one of them another port",
    ),
    (
        "state: state.db",
        "state: s\nlisten: { public_url: \"http://127.0.0.1:8443\" }",
        "28:23 error `http://127.0.0.1:8443` is not where clients reach the API | write `https://` and the host, with a port if it is not 443, and no path",
    ),
    (
        "state: state.db",
        "state: s\nlisten: { public_url: https://gateway.example/chaperone }",
        "28:23 error `https://gateway.example/chaperone` is not where clients reach the API | write `https://` and the host, with a port if it is not 443, and no path",
    ),
    (
        "state: state.db",
        "state: s\nlisten: { metrics: \"127.0.0.1:8443\" }",
        "28:20 error two listeners have the same address | give one of them another port",
    ),
    (
        "state: state.db",
        "state: s\nlisten: { metrics: localhost }",
        "28:20 error `localhost` is not an address and a port, such as `127.0.0.1:6432` or `[::]:6432` | ",
    ),
    (
        "state: state.db",
        "state: s\nlisten: { metrics: \"0.0.0.0:9464\" }",
        "28:20 warning the metrics have no authentication and no encryption: whoever reaches this address reads them | \
         listen on 127.0.0.1, or let a firewall allow the monitoring system alone",
    ),
    (
        "state: state.db",
        "state: s\nstate: s",
        "28:1 error the key `state` is here twice | the first is on line 27; keep one",
    ),
    (
        "state: state.db",
        "state: s\noperators: group:ops",
        "28:12 error there is no group named `ops` | define it under `groups`",
    ),
    (
        "audiences: [api://chaperone]",
        "audiences: [a]\n    approvers: { audience: [a, b], clients: 3d1f0e2c-0000-4000-8000-00000000000c }",
        "7:29 error `a` is one of the provider's `audiences`, too | register another application for approvers: what agents are given must not approve",
    ),
    (
        "audiences: [api://chaperone]",
        "audiences: [a]\n    approvers: { audience: b, clients: web }",
        "7:40 error `web` is not a client's id | Entra's are GUIDs: the portal shows it as \"Application (client) ID\"",
    ),
    (
        "audiences: [api://chaperone]",
        "audiences: [a]\n    approvers: { audience: b, clients: [] }",
        "7:31 error nobody could approve: `clients` is empty | list at least one",
    ),
    (
        "audiences: [api://chaperone]",
        "audiences: [a]\n    approvers: { audience: b }",
        "7:18 error `clients` is missing in `providers[0].approvers` | the ids of the applications that people sign in with",
    ),
    (
        "state: state.db",
        "state: s\npeople: [{ name: Ann, principals: [principal:corp/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/5c1c0e6e-1111-4111-8111-111111111111] }]",
        "28:23 error a person with one principal needs no entry | list the others, or delete the entry",
    ),
    (
        "state: state.db",
        "state: s\npeople: [{ name: Ann, principals: [group:agents, principal:corp/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/5c1c0e6e-1111-4111-8111-111111111111] }]",
        "28:36 error only principals are persons | write `principal:PROVIDER/TENANT/OBJECT-ID`",
    ),
];

#[test]
fn where_command_lines_sign_in_has_to_be_known() {
    let login = "client_id: c, scope: openid";
    let with = |login: &str| found(&format!("{GOOD}listen: {{ login: {{ {login} }} }}\n"));
    assert_eq!(with(&format!("provider: corp, {login}")), [""; 0]);
    for (login, expected) in [
        (format!("provider: crop, {login}"), "there is no provider named `crop`"),
        (login.to_owned(), "`provider` is missing in `listen.login`"),
        ("provider: corp, client_id: c".to_owned(), "`scope` is missing in `listen.login`"),
        (format!("provider: corp, {login}, discovery_url: http://idp.example/d"), "is not an https URL"),
    ] {
        let found = with(&login);
        assert!(matches!(found.as_slice(), [one] if one.contains(expected)), "{login}: {found:#?}");
    }
}

/// A provider with approvers who sign in with a browser, and where to.
fn signing_in(sign_in: &str, listen: &str) -> Vec<String> {
    let client = "3d1f0e2c-0000-4000-8000-00000000000c";
    let own = format!(
        "audiences: [a]\n    approvers: {{ audience: b, clients: {client}, sign_in: {{ {sign_in} }} }}"
    );
    found(&format!("{}{listen}\n", GOOD.replace("audiences: [api://chaperone]", &own)))
}

#[test]
fn who_signs_in_with_a_browser_needs_a_client_a_scope_and_an_address_to_come_back_to() {
    let good = "client_id: 3d1f0e2c-0000-4000-8000-00000000000c, scope: api://b/approve";
    let listen = "listen: { public_url: https://gateway.example }";
    assert_eq!(signing_in(good, listen), [""; 0]);
    assert_eq!(signing_in(&format!("{good}, secret: env:SECRET"), listen), [""; 0]);
    for (sign_in, listen, expected) in [
        (
            good.to_owned(),
            "",
            "3:11 error people sign in here, and `listen.public_url` is not set | set it: browsers come back to `/console/callback` there, as it is registered",
        ),
        (
            good.replace("00c,", "00d,"),
            listen,
            "is none of the approvers' `clients`, so its tokens would be refused | add it there, or write one of them",
        ),
        (format!("{good}, secret: hunter2"), listen, "secrets do not stand in this file"),
        // Never a public client instead.
        (format!("{good}, secret: env:UNSET"), listen, "`env:UNSET` cannot be read"),
        (good.replace("scope: api://b/approve", "scope: \"a  b\""), listen, "is no list of scopes"),
        (format!("{good}, discovery_url: http://127.0.0.1/d"), listen, "http is refused"),
        ("scope: x".into(), listen, "`client_id` is missing"),
    ] {
        let found = signing_in(&sign_in, listen);
        assert!(matches!(found.as_slice(), [one] if one.contains(expected)), "{sign_in}: {found:#?}");
    }
    let tenants = "[8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001, 8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a002]";
    let own = format!(
        "audiences: [a]\n    approvers: {{ audience: b, clients: 3d1f0e2c-0000-4000-8000-00000000000c, sign_in: {{ {good} }} }}"
    );
    let source = GOOD.replace("audiences: [api://chaperone]", &own);
    let source = source.replace("[8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001]", tenants);
    let found = found(&format!("{source}{listen}\n"));
    assert!(matches!(found.as_slice(), [one] if one.contains("`discovery_url` is missing")), "{found:#?}");
}

/// What agents are given would approve: said once for each provider, where somebody of it is asked.
#[test]
fn approvers_without_a_registration_of_their_own_are_questioned() {
    let approved = GOOD.replace("when: requested", "when: approved\n    approvers: group:agents");
    assert_eq!(
        found(&approved),
        [
            "3:11 warning `agents` approves with the tokens that agents use, too: the provider has no `approvers` | \
             register an application of its own for approvers: see `providers[].approvers`"
        ]
    );
    let own = "audiences: [a]\n    approvers: { audience: b, clients: 3d1f0e2c-0000-4000-8000-00000000000c }";
    assert_eq!(found(&approved.replace("audiences: [api://chaperone]", own)), [""; 0]);
}

#[test]
fn a_principal_is_one_persons() {
    let principal = |n: u8| {
        format!("principal:corp/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/5c1c0e6e-000{n}-4111-8111-111111111111")
    };
    let people = format!(
        "people:\n  - {{ name: Ann, principals: [{}, {}] }}\n  - {{ name: Bob, principals: [{}, {}] }}\n",
        principal(1),
        principal(2),
        principal(3),
        principal(2)
    );
    let found = found(&format!("{GOOD}{people}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("is listed for `Ann`, too"), "{found:?}");
}

#[test]
fn one_mistake_each_is_the_only_thing_said() {
    let mut wrong = Vec::new();
    for (part, replacement, expected) in ONE_MISTAKE {
        assert_eq!(GOOD.matches(part).count(), 1, "{part} must be in the file once");
        let mut found = found(&GOOD.replace(part, replacement));
        if expected.contains(" error ") {
            // What an error leaves unused is warned about as well, and tried on its own below.
            found.retain(|text| !text.contains(" is defined but not used"));
        }
        // What the parser says about broken YAML is its own affair; where it breaks is not.
        let fits = |text: &String| {
            text == expected || (expected.ends_with("not YAML") && text.starts_with(expected))
        };
        if !matches!(found.as_slice(), [text] if fits(text)) {
            wrong.push(format!("{replacement}\n  expected {expected}\n  found {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_approval_trigger_must_name_groups_that_exist() {
    let trigger = "builtin:sql-guard\n  - { name: hold, source: \"builtin:approval-trigger\", config: { rules: [{ approvers: dbas }] } }";
    let source = GOOD.replace("builtin:sql-guard", trigger).replace("[guard]", "[guard, hold]");
    assert_eq!(found(&source), ["20:86 error there is no group named `dbas` | define it under `groups`"]);
    let found = found(&source.replace("approvers: dbas", "approvers: \"group:agents\""));
    assert_eq!(found, ["20:86 error a plugin names a group by its alias alone | leave out the `group:`"]);
}

#[test]
fn there_are_instances_for_one_session_at_least() {
    let source = GOOD
        .replace(
            "builtin:sql-guard",
            "builtin:sql-guard\n  - { name: mask, source: \"builtin:column-mask\" }",
        )
        .replace("[guard]", "[guard, mask]");
    let limited = |number: u32| found(&format!("{source}limits: {{ plugin_instances: {number} }}\n"));
    assert_eq!(
        limited(1),
        [
            "29:29 error 1 is less than the 2 plugins of target `prod` | no session on it could run; the default is 6000"
        ]
    );
    assert_eq!(limited(2), [""; 0]);
}

#[test]
fn what_nothing_uses_is_questioned() {
    let source = GOOD
        .replace("groups:", "  - { name: ci, kind: oidc, issuers: \"https://ci\", audiences: a, jwks_url: \"https://ci/k\" }\ngroups:")
        .replace("  agents:", "  spare: corp/5c1c0e6e-9999-4111-8111-111111111111\n  agents:")
        .replace("to: group:agents", "to: principal:corp/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/5c1c0e6e-4444-4444-8444-444444444444");
    let found = found(&source);
    let names: Vec<&str> =
        found.iter().filter_map(|text| text.split(" is defined but not used").next()).collect();
    let expected = [
        "7:13 warning the provider `ci`",
        "9:10 warning the group `spare`",
        "10:11 warning the group `agents`",
    ];
    assert_eq!(names, expected);
}

#[test]
fn two_grants_for_one_subject_are_questioned() {
    let again = "recorded: yes\n  - { grant: prod, to: \"group:agents\", when: requested, lifetime: 1h }";
    let found = found(&GOOD.replace("recorded: yes", again));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("an earlier grant opens `prod` to the same subject"), "{found:?}");
}
