//! What a request comes to where one was made before, with and without a ticket, and for how long.

use super::acts::{ask, ask_for, base, denying_gateways};
use super::cases::{Case, cases, named};
use super::*;

/// What became of a request that was made before, and of its window.
pub(super) const BEFORE: [(&str, Option<Standing>); 7] = [
    ("none", None),
    ("pending", Some(Standing::Pending)),
    ("approved", Some(Standing::Approved)),
    ("approved-and-ended", Some(Standing::Approved)),
    ("rejected", Some(Standing::Rejected)),
    ("expired", Some(Standing::Expired)),
    ("withdrawn", Some(Standing::Withdrawn)),
];

/// A wish: under which case, with which ticket, for how many seconds.
const WISHES: [(&str, &str, Option<&str>, u64); 7] = [
    ("plain", "plain", None, 1),
    ("plain-with-ticket", "plain", Some("7"), 1),
    ("ticket-without", "ticket", None, 1),
    ("ticket", "ticket", Some("7"), 1),
    ("too-long", "plain", None, 901),
    ("once-a-day", "once-a-day", None, 1),
    ("paused", "paused", None, 1),
];

/// Makes the request that was before, for a second and of `plain`, and lets it come to where it should stand now.
async fn bring(gateway: &Gateway, object: &str, kind: CallerKind, before: &str, standing: Option<Standing>) {
    let Some(standing) = standing else { return };
    let caller = named("plain").identity(object, kind, 600);
    let grants = &gateway.grants;
    grants.replace(base(true)).unwrap();
    let duration = Some(Duration::from_secs(1));
    let when = at(if standing == Standing::Expired { -600 } else { -1 });
    let asked = grants.request(&caller, Wish { duration, ..Wish::new(&DB, "before") }, when).await.unwrap();
    let id = match asked {
        RequestOutcome::New(stored, None) => stored.id,
        other => panic!("{other:?}"),
    };
    let decide = async |verdict| {
        grants.decide(&human("ann", "dba"), id, verdict, "", at(0)).await.unwrap();
    };
    match standing {
        Standing::Approved => decide(Verdict::Approve).await,
        Standing::Rejected => decide(Verdict::Reject).await,
        Standing::Withdrawn => gateway.store.state.withdraw(id, at(0)).await.unwrap(),
        Standing::Pending | Standing::Expired => {}
    }
    if before == "approved-and-ended" {
        let window = grants.windows(&caller).await.unwrap()[0].window.id();
        grants.end_window(&caller, window, "done", at(0)).await.unwrap();
    }
    let stored = gateway.store.state.approval(id).await.unwrap().unwrap();
    assert_eq!(stored.approval.state(at(0)), standing, "{before}");
}

#[tokio::test]
async fn every_wish_after_every_request_is_as_written() {
    for gateway in &denying_gateways().await {
        let mut table = String::from("wish | when | before");
        for kind in CallerKind::ALL {
            write!(table, " | {kind}").unwrap();
        }
        table.push('\n');
        for (wish, name, ticket, seconds) in WISHES {
            for people in [false, true] {
                let when = base(people).grants[0].when.as_str();
                for (before, standing) in BEFORE {
                    write!(table, "{wish} | {when} | {before}").unwrap();
                    for kind in CallerKind::ALL {
                        let object = format!("{wish}-{when}-{before}-{kind}");
                        bring(gateway, &object, kind, before, standing).await;
                        let case = named(name);
                        let identity = case.identity(&object, kind, 600);
                        let found = ask_for(gateway, &case, people, &identity, ticket, seconds).await;
                        write!(table, " | {found}").unwrap();
                    }
                    table.push('\n');
                }
            }
        }
        insta::assert_snapshot!("asked", table);
    }
}

/// Asks for a second where a request was made before.
async fn ask_after(
    gateway: &Gateway,
    case: &Case,
    people: bool,
    (before, standing): (&str, Option<Standing>),
) -> String {
    let (kind, object) = (CallerKind::Agent, format!("{}-{people}-{before}", case.name));
    bring(gateway, &object, kind, before, standing).await;
    ask(gateway, case, people, &case.identity(&object, kind, 600)).await
}

/// So it is enough to have one row of each case for who has asked nothing before.
#[tokio::test]
async fn a_request_made_before_changes_an_answer_for_all_cases_alike_or_not_at_all() {
    // They have rows of their own.
    let counting = ["once-a-day", "paused"];
    for gateway in &denying_gateways().await {
        for people in [false, true] {
            let mut plain = Vec::new();
            for before in BEFORE {
                plain.push(ask_after(gateway, &named("plain"), people, before).await);
            }
            assert_eq!(plain[2], "open-already", "{plain:?}");
            let others = cases().into_iter().filter(|case| case.name != "plain");
            for case in others.filter(|case| !counting.contains(&case.name)) {
                let first = ask_after(gateway, &case, people, BEFORE[0]).await;
                for (before, plain) in BEFORE.into_iter().zip(&plain).skip(1) {
                    let refused = first != plain_first(people);
                    let expected = if refused { &first } else { plain };
                    let found = ask_after(gateway, &case, people, before).await;
                    assert_eq!(found, *expected, "{} {before:?} {people}", case.name);
                }
            }
        }
    }
}

/// What who may ask comes to at first.
fn plain_first(people: bool) -> &'static str {
    if people { "pending" } else { "opened" }
}
