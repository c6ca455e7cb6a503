//! Explanations: they say what happens, and to nobody more than they may know.

use super::*;
use chaperone_core::grant::{Deny, Occasion};
use chaperone_core::identity::Groups;
use chaperone_core::name::Principal;

fn about(object: &str, kind: CallerKind, groups: Option<&[&str]>) -> About {
    let alias = |alias: &&str| GroupAlias::new(*alias).unwrap();
    About {
        principal: Principal::new(format!("corp/t/{object}")).unwrap(),
        kind,
        groups: groups.map(|groups| groups.iter().map(alias).collect()),
        roles: vec![],
    }
}

/// The policy with a rule of each kind on `db`, on lines of their own.
fn rules() -> Policy {
    let mut rules = policy();
    rules.groups.insert(GroupAlias::new("team").unwrap(), group("team"));
    let networks = vec!["10.0.0.0/8".parse().unwrap()];
    let from_inside = Conditions { networks, ..Conditions::default() };
    let people = When::Approved { requirements: vec![needs("dba", 2)], patience: Duration::from_secs(60) };
    let amounts =
        Amounts { cool_down: Some(Duration::from_secs(60)), windows_per_day: Some(4), max_sessions: Some(2) };
    let base = rules.grants.remove(0);
    rules.grants.push(Grant { kinds: Some([CallerKind::Human].into()), line: 20, ..base.clone() });
    rules.grants.push(Grant { only: from_inside, line: 30, ticket: Ticket::Required, ..base.clone() });
    rules.grants.push(Grant { to: vec![group("security")], when: people, amounts, line: 40, ..base });
    rules.denies.push(Deny {
        target: target("db"),
        to: vec![],
        kinds: Some([CallerKind::Workload].into()),
        only: Conditions::default(),
        reason: "moved to the new cluster".into(),
        line: 50,
    });
    rules
}

#[tokio::test]
async fn every_rule_on_the_target_is_told_with_its_answer() {
    let rules = rules();
    let facts = rules.facts_of(&about("a1", CallerKind::Agent, Some(&["team"]))).unwrap();
    assert_eq!(facts.groups, Groups::Known(["id-of-team".to_owned()].into()));
    let from = Some("192.0.2.1".parse().unwrap());
    let explanation = rules.explain(&facts, &DB, &Occasion { at: at(0), from });
    insta::assert_json_snapshot!("explanation", explanation);
}

/// Whatever is asked, what is explained is what happens.
#[tokio::test]
async fn the_outcome_is_what_happens() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        grants.replace(rules()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for (number, kind) in CallerKind::ALL.into_iter().enumerate() {
            for groups in [None, Some(&["team"] as &[&str]), Some(&["security"]), Some(&[])] {
                for from in [None, Some("10.0.0.1".parse().unwrap())] {
                    let object = format!(
                        "a{number}{}{}",
                        groups.map_or("x".into(), |list| list.concat()),
                        from.is_some()
                    );
                    let occasion = Occasion { at: at(0), from };
                    let facts = rules().facts_of(&about(&object, kind, groups)).unwrap();
                    let explained = rules().explain(&facts, &DB, &occasion).outcome;
                    let wish = Wish { ticket: Some("7"), ..Wish::new(&DB, "x") };
                    let happens = match grants.request(&Identity::for_test(facts), wish, occasion).await {
                        Ok(RequestOutcome::New(_, Some(_))) => Outcome::Requested,
                        Ok(RequestOutcome::New(_, None)) => Outcome::Approved,
                        Err(AskError::NotGranted) => Outcome::NotGranted,
                        Err(AskError::Barred(refusal)) if refusal.code == RefusalCode::Denied => {
                            Outcome::Denied
                        }
                        Err(AskError::Barred(_)) => Outcome::NotNow,
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(explained, happens, "{object} {occasion:?}");
                    seen.insert(format!("{explained:?}"));
                }
            }
        }
        assert_eq!(seen.len(), 5, "a case of each outcome: {seen:?}");
    }
}

#[tokio::test]
async fn others_than_operators_are_told_of_what_means_them_and_of_nobody_else() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        grants.replace(rules()).unwrap();
        let now = Occasion::from(at(0));
        let explain = |who: &Identity, about: Option<&About>, name: &str| {
            grants.explain(who, about, &target(name), &now).map_err(|error| error.to_string())
        };
        let member = agent("a1");
        let own = explain(&member, None, "db").unwrap();
        assert_eq!(own.rules.iter().map(|rule| rule.line).collect::<Vec<_>>(), [30]);
        assert_eq!(own.outcome, Outcome::NotNow);
        // Where no grant means them, a target is as one that does not exist.
        let nothing = AskError::NotGranted.to_string();
        assert_eq!(explain(&member, None, "web").unwrap_err(), nothing);
        assert_eq!(explain(&member, None, "nowhere").unwrap_err(), nothing);
        let somebody = about("a2", CallerKind::Agent, None);
        assert_eq!(explain(&member, Some(&somebody), "db").unwrap_err(), AskError::NotFound.to_string());
        let operator = human("oz", "ops");
        let all = explain(&operator, Some(&somebody), "db").unwrap();
        assert_eq!(all.rules.iter().map(|rule| rule.line).collect::<Vec<_>>(), [50, 20, 30, 40]);
        assert!(all.rules[1].why.contains("their groups are not known"), "{}", all.rules[1].why);
        assert_eq!(explain(&operator, Some(&somebody), "nowhere").unwrap().rules, []);
        for (wrong, said) in [
            (
                about("a/b", CallerKind::Agent, None),
                "It cannot be explained: a principal is `provider/tenant/object-id`.",
            ),
            (
                about("a", CallerKind::Agent, Some(&["strangers"])),
                "It cannot be explained: no group is called `strangers` in the configuration.",
            ),
            (
                About {
                    principal: Principal::new("other/t/a").unwrap(),
                    ..about("a", CallerKind::Agent, Some(&["dba"]))
                },
                "It cannot be explained: the group `dba` is of another provider than the principal.",
            ),
        ] {
            assert_eq!(explain(&operator, Some(&wrong), "db").unwrap_err(), said);
        }
    }
}
