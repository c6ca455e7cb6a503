//! A provider that does not answer: what a token proves is enough where it is, and else the answer is no, with another word.

use super::*;
use crate::identity::Completeness;
use chaperone_core::identity::Groups;
use std::collections::BTreeSet;

/// Somebody whose groups are not known, with or without the app role for `web`.
fn unknown(object: &str, roles: &[&str], completeness: Completeness) -> Identity {
    let mut facts = person(object, CallerKind::Agent, &[]);
    facts.groups = Groups::Unknown;
    facts.roles = roles.iter().map(ToString::to_string).collect();
    match completeness {
        Completeness::Complete => Identity::for_test(facts),
        Completeness::Open => Identity::open_for_test(facts),
    }
}

#[tokio::test]
async fn what_needs_no_group_goes_on_while_the_provider_is_silent() {
    for gateway in &gateways().await {
        let caller = unknown("a1", &["Web.Run"], Completeness::Open);
        ask(gateway, &caller, "web").await;
        assert!(gateway.grants.permit(&caller, &target("web"), at(1)).await.is_ok());
        let refusal = gateway.grants.permit(&caller, &target("db"), at(1)).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::ProviderUnavailable);
    }
}

#[tokio::test]
async fn who_may_match_later_is_refused_alike_for_every_target_and_told_to_come_back() {
    let expected = "The identity provider does not answer now. Your token alone does not give you this, and which \
                    groups you are in cannot be looked up. Try again in a few seconds; tell the operator if it stays so.";
    for gateway in &gateways().await {
        let waiting = ask(gateway, &agent("a1"), "vault").await;
        let open = unknown("stranger", &[], Completeness::Open);
        for name in ["db", "vault", "nowhere"] {
            let refusal = gateway.grants.permit(&open, &target(name), at(0)).await.unwrap_err();
            assert_eq!(refusal.code, RefusalCode::ProviderUnavailable, "{name}");
            assert_eq!(refusal.to_string(), expected, "{name}");
            let asked = gateway.grants.request(&open, Wish::new(&target(name), "why"), at(0)).await;
            assert_eq!(Refusal::from(asked.unwrap_err()), refusal, "{name}");
        }
        let ApprovalId::Request(request) = waiting else { panic!("{waiting}") };
        let mut facts = open.facts().clone();
        facts.kind = CallerKind::Human;
        let people = [Identity::open_for_test(facts.clone()), Identity::for_test(facts)];
        for (person, code) in people.iter().zip([RefusalCode::ProviderUnavailable, RefusalCode::NotGranted]) {
            let grants = &gateway.grants;
            let window = WindowId::new(uuid::Uuid::now_v7());
            for answer in [
                grants.decide(person, waiting, Verdict::Approve, "", at(0)).await.map(drop),
                grants.request_of(person, request).await.map(drop),
                grants.end_window(person, window, "why", at(0)).await,
                grants.denials(person, at(0)).await.map(drop),
                grants.is_a_person_who_operates(person),
            ] {
                assert_eq!(Refusal::from(answer.unwrap_err()).code, code);
            }
        }
    }
}

#[tokio::test]
async fn a_provider_is_asked_for_all_groups_of_the_policy_and_for_no_others() {
    for gateway in &gateways().await {
        let provider = |name: &str| ProviderName::new(name).unwrap();
        let expected: BTreeSet<String> =
            ["team", "dba", "security", "ops", "audit"].map(|alias| format!("id-of-{alias}")).into();
        assert_eq!(gateway.grants.groups_of(&provider("corp")), expected);
        assert_eq!(gateway.grants.groups_of(&provider("other")), BTreeSet::new());
    }
}
