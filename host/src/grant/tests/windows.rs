//! How windows and permits begin and end.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[tokio::test]
async fn a_permit_ends_with_its_window_or_its_token() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        assert_eq!((permit.ends_at(), permit.end()), (at(900), None));
        let mut facts = person("a2", CallerKind::Agent, &["id-of-team"]);
        facts.expires_at = at(300);
        let short = permit_on_db(gateway, &Identity::for_test(facts)).await;
        assert_eq!(short.ends_at(), at(300));
        gateway.clock.pass(Duration::from_secs(299));
        assert_eq!((permit.end(), short.end()), (None, None));
        gateway.clock.pass(Duration::from_secs(1));
        assert_eq!(soon(short.ended()).await, PermitEnd::TokenExpired);
        // The clock moves while somebody waits: seen at the next look, without being told.
        let waiting = tokio::spawn({
            let permit = permit.clone();
            async move { permit.ended().await }
        });
        tokio::task::yield_now().await;
        gateway.clock.pass(Duration::from_secs(600));
        assert_eq!(soon(waiting).await.unwrap(), PermitEnd::WindowClosed);
        assert_eq!(
            permit.end().unwrap().refusal().to_string(),
            "Your window on this target closed. Request a new window and connect again."
        );
    }
}

#[tokio::test]
async fn ending_a_window_cuts_its_permits_and_only_them() {
    for gateway in &gateways().await {
        let (permit, other) =
            (permit_on_db(gateway, &agent("a1")).await, permit_on_db(gateway, &agent("a2")).await);
        let grants = &gateway.grants;
        let id = permit.window().id();
        let end = async |who: &Identity| grants.end_window(who, id, "incident", at(5)).await;
        for stranger in [agent("a2"), human("ann", "dba")] {
            assert!(matches!(end(&stranger).await, Err(AskError::NotFound)));
        }
        assert_eq!(permit.end(), None);
        end(&human("oz", "ops")).await.unwrap();
        let cut = soon(permit.ended()).await;
        assert_eq!(cut, PermitEnd::Revoked { by: "corp/t/oz".into(), reason: "incident".into() });
        assert_eq!(
            cut.refusal().to_string(),
            "Your window on this target was ended. It was ended by corp/t/oz: incident. Ask an operator before you request \
             another."
        );
        assert_eq!(other.end(), None);
        assert!(matches!(end(&human("oz", "ops")).await, Err(AskError::AlreadyOver)));
        let again = grants.permit(&agent("a1"), &target("db"), at(5)).await.unwrap_err();
        assert_eq!(again.code, RefusalCode::NoWindow);
        // Its owner may end a window too.
        grants.end_window(&agent("a2"), other.window().id(), "done", at(6)).await.unwrap();
        assert!(matches!(soon(other.ended()).await, PermitEnd::Revoked { .. }));
    }
}

#[tokio::test]
async fn another_gateway_ends_a_window_and_it_is_cut_here() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        let elsewhere =
            Grants::start(policy(), gateway.store.state.clone(), gateway.clock.clone()).await.unwrap();
        elsewhere.end_window(&human("oz", "ops"), permit.window().id(), "incident", at(5)).await.unwrap();
        assert!(matches!(soon(permit.ended()).await, PermitEnd::Revoked { .. }));
    }
}

/// A session thread's runtime has no other tasks, no store and no clock of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_permit_is_asked_for_and_waited_for_on_any_runtime() {
    for gateway in gateways().await {
        let permit = permit_on_db(&gateway, &agent("a1")).await;
        let (grants, id) = (gateway.grants.clone(), permit.window().id());
        let waiting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let here = grants.permit(&agent("a1"), &target("db"), at(1)).await.unwrap();
                drop(permit);
                here.ended().await
            })
        });
        gateway.grants.end_window(&agent("a1"), id, "done", at(2)).await.unwrap();
        let end = tokio::task::spawn_blocking(move || waiting.join().unwrap());
        // Either the window was over before the second permit, which then does not exist, or it is cut.
        if let Ok(end) = soon(end).await {
            assert!(matches!(end, PermitEnd::Revoked { .. }));
        }
    }
}

#[tokio::test]
async fn live_permits_end_when_the_store_is_silent_for_too_long() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        gateway.grants.inner.live.silent(Duration::from_secs(3600));
        assert_eq!(permit.end(), None);
        gateway.grants.inner.live.silent(Duration::ZERO);
        assert!(matches!(permit.end(), Some(PermitEnd::Revoked { by, .. }) if by == "chaperone"));
    }
}

#[tokio::test]
async fn the_store_that_fails_gives_no_permit() {
    for gateway in &gateways().await {
        ask(gateway, &agent("a1"), "db").await;
        gateway.store.state.close().await;
        let refusal = gateway.grants.permit(&agent("a1"), &target("db"), at(1)).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Internal);
        assert_eq!(
            refusal.to_string(),
            "The gateway cannot read or write its state. Try again; tell the operator if it stays so."
        );
    }
}

#[tokio::test]
async fn what_is_asked_for_has_to_make_sense() {
    for gateway in &gateways().await {
        let caller = agent("a1");
        let ask = async |reason: &str, seconds: Option<u64>, key: Option<&str>| {
            let duration = seconds.map(Duration::from_secs);
            let asked = gateway
                .grants
                .request(&caller, Wish { duration, key, ..Wish::new(&target("db"), reason) }, at(0))
                .await;
            asked.unwrap_err().to_string()
        };
        for reason in ["", "  ", "\u{1b}[2J", &"x".repeat(501)] {
            assert_eq!(
                ask(reason, None, None).await,
                "A reason is needed: 1 to 500 characters, without control characters."
            );
        }
        assert_eq!(
            ask("why", Some(901), None).await,
            "The longest window that is granted to you on this target is 15m."
        );
        assert_eq!(ask("why", Some(0), None).await, "A duration is at least 1 second, in whole seconds.");
        for key in ["", "a b", &"k".repeat(129)] {
            assert_eq!(
                ask("why", None, Some(key)).await,
                "An idempotency key is 1 to 128 printable ASCII characters without spaces."
            );
        }
        assert!(gateway.store.state.requests(None).await.unwrap().is_empty());
    }
}

/// What one caller does, and what time does meanwhile.
#[derive(Debug, Clone)]
enum Step {
    Ask(u64),
    Connect,
    End,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u64..=900).prop_map(Step::Ask),
        4 => Just(Step::Connect),
        1 => Just(Step::End),
        4 => (1u64..1200).prop_map(Step::Pass),
    ]
}

/// Windows against a plain model: when they were asked for, for how long, and whether they were ended.
#[test]
fn whatever_happens_a_permit_lies_within_what_was_asked_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for gateway in runtime.block_on(gateways()) {
        let mut runner =
            TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
        let steps = proptest::collection::vec(step(), 1..16);
        let result = runner.run(&steps, |steps| {
            // A caller of its own for each case, in one store.
            let caller = uuid::Uuid::now_v7().simple().to_string();
            runtime.block_on(history(&gateway, &caller, steps))
        });
        result.unwrap();
    }
}

async fn history(gateway: &Gateway, object: &str, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut facts = person(object, CallerKind::Agent, &["id-of-team"]);
    facts.expires_at = Timestamp::MAX;
    let (identity, db, grants) = (Identity::for_test(facts), target("db"), &gateway.grants);
    // [opens, closes, ended)
    let mut model: Vec<(Timestamp, Timestamp, bool)> = Vec::new();
    let mut permits: Vec<Permit> = Vec::new();
    for step in steps {
        let now = gateway.clock.now();
        let open = |model: &[(Timestamp, Timestamp, bool)]| {
            model.iter().filter(|one| !one.2 && one.0 <= now && now < one.1).map(|one| one.1).max()
        };
        match step {
            Step::Ask(seconds) => {
                let length = Duration::from_secs(seconds);
                let closes = chaperone_core::window::after(now, length).unwrap();
                match grants
                    .request(&identity, Wish { duration: Some(length), ..Wish::new(&db, "why") }, now)
                    .await
                    .unwrap()
                {
                    RequestOutcome::New(_, Some(window)) => {
                        prop_assert_eq!((window.window.opens(), window.window.closes()), (now, closes));
                        model.push((now, closes, false));
                    }
                    RequestOutcome::AlreadyOpen(window) => {
                        prop_assert!(model.contains(&(window.window.opens(), window.window.closes(), false)));
                        prop_assert!(window.is_open(now));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            Step::Connect => match (grants.permit(&identity, &db, now).await, open(&model)) {
                (Ok(permit), Some(closes)) => {
                    prop_assert_eq!(permit.ends_at(), closes);
                    permits.push(permit);
                }
                (Err(refusal), None) => prop_assert_eq!(refusal.code, RefusalCode::NoWindow),
                (permit, open) => prop_assert!(false, "{:?} but {:?}", permit, open),
            },
            Step::End => {
                for window in grants.windows(&identity).await.unwrap() {
                    let ended = grants.end_window(&identity, window.window.id(), "done", now).await;
                    prop_assert_eq!(ended.is_ok(), window.is_open(now));
                }
                for one in model.iter_mut().filter(|one| one.0 <= now && now < one.1) {
                    one.2 = true;
                }
            }
            Step::Pass(seconds) => gateway.clock.pass(Duration::from_secs(seconds)),
        }
        let now = gateway.clock.now();
        for permit in &permits {
            let window = permit.window();
            let known = (window.opens(), window.closes(), false);
            prop_assert_eq!(permit.end().is_none(), model.contains(&known) && now < permit.ends_at());
        }
    }
    Ok(())
}
