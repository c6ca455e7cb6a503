//! The authorization matrix: kind of caller x grant x window x token -> outcome, every cell of it; and, in the modules of
//! this one, what else decides: rules, times, places, the deny list, tickets and what was asked before.
//!
//! The golden tables are beside these files; a change of any cell is a change of the product and has to be looked at. What is
//! left out of a table is shown not to matter by an assertion beside it, and `complete.rs` says what has to be in them.

mod acts;
mod asked;
mod cases;
mod complete;

use super::*;
use chaperone_core::approval::{Approval, Matter, WindowTerms};
use chaperone_core::identity::Groups;
use chaperone_core::name::RequestId;
use chaperone_core::window::{Opened, Window, WindowOf, after};
use std::fmt::Write;

/// How the caller stands to a grant: target, and what is done to its facts.
const GRANTS: [(&str, &str); 8] = [
    ("group", "db"),
    ("group-unknown", "db"),
    ("other-provider", "db"),
    ("no-group", "db"),
    ("group-approved", "vault"),
    ("role", "web"),
    ("for-agents", "bots"),
    ("no-target", "nowhere"),
];

/// Who opened a window, when (seconds from now), for how many seconds.
type Stored = (Opened, i64, u64);

/// What window there is.
const WINDOWS: [(&str, Option<Stored>); 8] = [
    ("none", None),
    ("ahead", Some((Opened::Approved, 1, 60))),
    ("open", Some((Opened::Approved, 0, 60))),
    ("open-by-policy", Some((Opened::Requested, 0, 60))),
    ("last-moment", Some((Opened::Approved, -59, 60))),
    ("closed", Some((Opened::Approved, -60, 60))),
    ("longer-than-grant", Some((Opened::Approved, 0, 3601))),
    ("ended", Some((Opened::Approved, -1, 60))),
];

/// When the token ends, in seconds from now.
const TOKENS: [(&str, i64); 3] = [("valid", 600), ("ends-first", 1), ("expired", 0)];

#[tokio::test]
async fn every_cell_of_the_matrix_is_as_written() {
    for gateway in &gateways().await {
        let mut table = String::from("grant | window | token");
        for kind in CallerKind::ALL {
            write!(table, " | {kind}").unwrap();
        }
        table.push('\n');
        for (grant, on) in GRANTS {
            for (window_name, window) in WINDOWS {
                for (token, seconds) in TOKENS {
                    write!(table, "{grant} | {window_name} | {token}").unwrap();
                    for kind in CallerKind::ALL {
                        let name = format!("{grant}-{window_name}-{token}-{kind}");
                        let identity = caller(&name, kind, grant, seconds);
                        if let Some(window) = window {
                            store(gateway, &identity, on, window).await;
                        }
                        if window_name == "ended" {
                            end(gateway, &identity).await;
                        }
                        let permit = gateway.grants.permit(&identity, &target(on), at(0)).await;
                        write!(table, " | {}", outcome(permit)).unwrap();
                    }
                    table.push('\n');
                }
            }
        }
        assert_eq!(table.lines().count(), 1 + GRANTS.len() * WINDOWS.len() * TOKENS.len());
        insta::assert_snapshot!("matrix", table);
    }
}

/// What ends the permit, or why there is none.
fn outcome(permit: Result<Permit, Refusal>) -> String {
    match permit {
        Ok(permit) if permit.ends_at() == permit.window().closes() => "window".to_owned(),
        Ok(permit) if permit.ends_at() == permit.identity().facts().expires_at => "token".to_owned(),
        Ok(_) => "hours".to_owned(),
        Err(refusal) => refusal.code.to_string(),
    }
}

fn caller(name: &str, kind: CallerKind, grant: &str, token_seconds: i64) -> Identity {
    let mut facts = person(name, kind, &["id-of-team"]);
    match grant {
        "group-unknown" => facts.groups = Groups::Unknown,
        "no-group" => facts.groups = Groups::Known(Default::default()),
        "other-provider" => facts.provider = ProviderName::new("partner").unwrap(),
        "role" => {
            facts.groups = Groups::Unknown;
            facts.roles.insert("Web.Run".into());
        }
        _ => {}
    }
    facts.expires_at = at(token_seconds);
    Identity::for_test(facts)
}

/// Puts a window into the store past all rules, as an older policy may have left it.
async fn store(gateway: &Gateway, identity: &Identity, on: &str, (opened, begins, seconds): Stored) {
    let principal = identity.facts().principal.clone();
    let terms = WindowTerms { target: target(on), seconds, reason: "test".into(), ticket: None };
    let of = WindowOf {
        id: WindowId::new(uuid::Uuid::now_v7()),
        principal: principal.clone(),
        target: target(on),
        opened,
    };
    let opens = at(begins);
    let window = Window::restore(of, opens, after(opens, Duration::from_secs(seconds)).unwrap()).unwrap();
    let new = crate::state::NewRequest {
        id: RequestId::new(uuid::Uuid::now_v7()),
        caller: identity.facts().into(),
        approval: Approval::by_policy(principal, Matter::Window(terms), at(0)),
        window: Some(window),
        key: None,
        grants: vec![],
        limit: 1,
        opened_limit: 1_000,
        amounts: Amounts::default(),
    };
    gateway.store.state.request(new, at(0)).await.unwrap();
}

async fn end(gateway: &Gateway, identity: &Identity) {
    let principal = &identity.facts().principal;
    let windows = gateway.store.state.windows(Some(principal)).await.unwrap();
    let id = windows[0].window.id();
    gateway.store.state.end_window(id, principal, "test", at(-1)).await.unwrap();
}

#[tokio::test]
async fn an_unknown_target_and_one_that_is_not_yours_are_refused_alike() {
    for gateway in &gateways().await {
        let stranger = Identity::for_test(person("stranger", CallerKind::Agent, &[]));
        let refuse = async |name: &str| {
            let refusal = gateway.grants.permit(&stranger, &target(name), at(0)).await.unwrap_err();
            let asked =
                gateway.grants.request(&stranger, Wish::new(&target(name), "why"), at(0)).await.unwrap_err();
            (refusal, asked.to_string())
        };
        assert_eq!(refuse("db").await, refuse("nowhere").await);
        assert_eq!(
            refuse("db").await.0.to_string(),
            "Access to this target is not granted to you. Either there is no such target, or no grant names you, one \
             of your groups or your app roles. Check the target's name, or ask an operator for a grant."
        );
    }
}

#[tokio::test]
async fn a_refusal_says_exactly_what_to_do() {
    for gateway in &gateways().await {
        let caller = agent("a1");
        let refuse =
            async |name: &str| gateway.grants.permit(&caller, &target(name), at(0)).await.unwrap_err();
        let refusal = refuse("db").await;
        assert_eq!(refusal.code, RefusalCode::NoWindow);
        assert_eq!(
            refusal.to_string(),
            "You have no open window on this target. To request one: POST \
             https://gateway.example:8443/api/v1/requests with your token as bearer and the body \
             {\"reason\":\"why you need it\",\"target\":\"db\"}, or run: chaperone request db --reason 'why you need it'"
        );
        let id = ask(gateway, &caller, "vault").await;
        assert_eq!(
            refuse("vault").await.to_string(),
            format!(
                "You have no open window on this target yet. Your request {id} for vault waits for approval. To wait \
                 for it: GET https://gateway.example:8443/api/v1/requests/{id}?wait=30s with your token as bearer."
            )
        );
        let mut expired = person("a1", CallerKind::Agent, &["id-of-team"]);
        expired.expires_at = at(0);
        let refusal =
            gateway.grants.permit(&Identity::for_test(expired), &target("db"), at(0)).await.unwrap_err();
        assert_eq!(refusal.to_string(), "The token has expired. Get a new token and connect again.");
    }
}
