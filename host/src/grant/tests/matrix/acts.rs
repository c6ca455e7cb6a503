//! What each case comes to: for who connects, who asks, and who brings a newer token to a session.
//!
//! Who connects has an open window and a token that outlasts it, who asks has asked nothing before, and who renews came in
//! as `plain`. That it is enough to look at these is shown on the way: [`follows`] for windows and tokens, and `asked.rs`
//! for what was asked before.

use super::cases::{Case, cases, entries, named, on_db};
use super::*;
use chaperone_core::denial::Denial;
use chaperone_core::name::DenialId;

/// What is done. `ask-people` asks where the grant has `when: approved`.
pub(super) const ACTS: [&str; 4] = ["connect", "ask", "ask-people", "renew"];

/// The policy, with people who are asked about `db`, or without.
pub(super) fn base(people: bool) -> Policy {
    let mut policy = policy();
    if people {
        let requirements = vec![needs("dba", 1)];
        on_db(&mut policy).when = When::Approved { requirements, patience: Duration::from_secs(600) };
    }
    policy
}

/// A gateway over each store, with the deny list.
pub(super) async fn denying_gateways() -> Vec<Gateway> {
    let gateways = gateways().await;
    for gateway in &gateways {
        for (denied, length) in entries() {
            // As if made ten seconds ago.
            let made = at(-10);
            let until = length.map(|length| after(made, length).unwrap());
            let id = DenialId::new(uuid::Uuid::now_v7());
            let by = human("oz", "ops").facts().principal.clone();
            let denial = Denial { id, denied, reason: "x".into(), by, made, until };
            assert!(gateway.store.state.deny(&denial).await.unwrap());
        }
        // All of them are looked at here, as on a gateway that has not looked since.
        gateway.grants.inner.renew_denials(at(-10)).await.unwrap();
    }
    gateways
}

/// Whose windows are stored once: no case changes whose they are.
fn holder(window: &str, kind: CallerKind) -> String {
    format!("{window}-{kind}")
}

async fn store_windows(gateway: &Gateway) {
    for (name, window) in WINDOWS {
        let Some(window) = window else { continue };
        for kind in CallerKind::ALL {
            let identity = named("plain").identity(&holder(name, kind), kind, 600);
            store(gateway, &identity, "db", window).await;
            let principal = &identity.facts().principal;
            let id = gateway.store.state.windows(Some(principal)).await.unwrap()[0].window.id();
            assert!(gateway.store.state.take_place(id, 1, at(0)).await.unwrap().is_some());
            if name == "ended" {
                end(gateway, &identity).await;
            }
        }
    }
}

async fn connect(gateway: &Gateway, case: &Case, window: &str, token: i64, kind: CallerKind) -> String {
    let identity = case.identity(&holder(window, kind), kind, token);
    gateway.grants.replace(case.policy(base(false), &identity.facts().principal)).unwrap();
    outcome(gateway.grants.permit(&identity, &DB, case.occasion()).await)
}

/// What comes of a request for a second of `db`. As for every call of the API, the deny list is asked first.
pub(super) async fn ask(gateway: &Gateway, case: &Case, people: bool, identity: &Identity) -> String {
    ask_for(gateway, case, people, identity, None, 1).await
}

pub(super) async fn ask_for(
    gateway: &Gateway,
    case: &Case,
    people: bool,
    identity: &Identity,
    ticket: Option<&str>,
    seconds: u64,
) -> String {
    let (grants, occasion) = (&gateway.grants, case.occasion());
    grants.replace(case.policy(base(people), &identity.facts().principal)).unwrap();
    if let Err(refusal) = grants.admit(identity, occasion.at) {
        return refusal.code.to_string();
    }
    let duration = Some(Duration::from_secs(seconds));
    let wish = Wish { ticket, duration, ..Wish::new(&DB, "x") };
    match grants.request(identity, wish, occasion).await {
        Ok(RequestOutcome::New(stored, window)) => {
            let standing = stored.approval.state(at(0));
            assert_eq!(window.is_some(), standing == Standing::Approved);
            if window.is_some() { "opened".to_owned() } else { standing.to_string() }
        }
        Ok(RequestOutcome::Repeated(stored, None)) => {
            assert_eq!(stored.approval.state(at(0)), Standing::Pending);
            "asked-already".to_owned()
        }
        Ok(RequestOutcome::AlreadyOpen(_)) => "open-already".to_owned(),
        Ok(other) => panic!("{other:?}"),
        Err(error) => error.refusal().code.to_string(),
    }
}

/// Comes in as `plain`; then the policy is that of the case, and so is the next token.
async fn renew(gateway: &Gateway, case: &Case, kind: CallerKind) -> String {
    let (grants, object) = (&gateway.grants, holder("open", kind));
    let before = named("plain").identity(&object, kind, 600);
    grants.replace(base(false)).unwrap();
    let permit = grants.permit(&before, &DB, case.occasion()).await.unwrap();
    grants.replace(case.policy(base(false), &before.facts().principal)).unwrap();
    if permit.end().is_some() {
        return "cut".to_owned();
    }
    let word = match permit.renew(&case.identity(&object, kind, 700)) {
        Ok(Renewal { token: NewToken::Taken, .. }) => "renewed",
        Ok(Renewal { token: NewToken::Same, .. }) => "same",
        Err(RenewError::NotLive | RenewError::Ended(_)) => "ended",
        Err(RenewError::OtherCaller) => "other-caller",
        Err(RenewError::Older) => "older",
        Err(RenewError::Expired) => "expired",
        Err(RenewError::Refused(_)) => "refused",
        Err(RenewError::FewerGroups) => "fewer-groups",
        Err(RenewError::TooMany) => "too-many",
    };
    word.to_owned()
}

async fn act(gateway: &Gateway, case: &Case, act: &str, kind: CallerKind) -> String {
    let asker = || case.identity(&format!("{}-{act}-{kind}", case.name), kind, 600);
    match act {
        "connect" => connect(gateway, case, "open", 600, kind).await,
        "ask" => ask(gateway, case, false, &asker()).await,
        "ask-people" => ask(gateway, case, true, &asker()).await,
        "renew" => renew(gateway, case, kind).await,
        other => panic!("{other}"),
    }
}

/// What a case comes to with another window and token: `open` is what it comes to with an open window and a token that
/// outlasts it, and `plain` what anybody with a grant comes to with these.
fn follows<'a>(open: &'a str, plain: &'a str, window: &str) -> &'a str {
    match open {
        _ if plain == "credential-expired" => plain,
        // Said before windows are looked at; or no window of these is short enough.
        "denied" | "not-granted" | "provider-unavailable" | "no-window" => open,
        _ if plain == "no-window" => plain,
        // Said after that, whatever the window is.
        "limit-reached" => open,
        // In thirty seconds, unless something ends before.
        "hours" if plain == "window" && window != "last-moment" => open,
        _ => plain,
    }
}

#[tokio::test]
async fn other_windows_and_tokens_change_a_case_as_they_change_every_other() {
    let all = include_str!("../snapshots/chaperone__grant__tests__matrix__matrix.snap");
    for gateway in &denying_gateways().await {
        store_windows(gateway).await;
        let mut plain = Vec::new();
        for (window, _) in WINDOWS {
            for (token, seconds) in TOKENS {
                let mut row = format!("group | {window} | {token}");
                for kind in CallerKind::ALL {
                    let found = connect(gateway, &named("plain"), window, seconds, kind).await;
                    write!(row, " | {found}").unwrap();
                    plain.push((window, seconds, kind, found));
                }
                assert!(all.lines().any(|line| line == row), "the great table has no row {row}");
            }
        }
        for case in cases() {
            let mut open = Vec::new();
            for kind in CallerKind::ALL {
                open.push((kind, connect(gateway, &case, "open", 600, kind).await));
            }
            for (window, seconds, kind, plain) in &plain {
                // A grant that is longer takes a longer window.
                if case.name == "longer" && *window == "longer-than-grant" {
                    continue;
                }
                let (_, open) = open.iter().find(|(one, _)| one == kind).unwrap();
                let found = connect(gateway, &case, window, *seconds, *kind).await;
                let told = format!("{} | {window} | {seconds} | {kind}", case.name);
                assert_eq!(found, follows(open, plain, window), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn every_case_and_act_is_as_written() {
    for gateway in &denying_gateways().await {
        store_windows(gateway).await;
        let mut table = String::from("case | act");
        for kind in CallerKind::ALL {
            write!(table, " | {kind}").unwrap();
        }
        table.push('\n');
        for case in cases() {
            for word in ACTS {
                write!(table, "{} | {word}", case.name).unwrap();
                for kind in CallerKind::ALL {
                    write!(table, " | {}", act(gateway, &case, word, kind).await).unwrap();
                }
                table.push('\n');
            }
        }
        insta::assert_snapshot!("acts", table);
    }
}
