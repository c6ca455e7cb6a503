//! What grants count: windows of a day, pauses between them, and sessions in one.

use super::approvals::decide;
use super::*;
use chaperone_core::identity::IdentityFacts;

/// The policy, with `amounts` on the grant of `name`.
fn counting(name: &str, amounts: Amounts) -> Policy {
    let mut policy = policy();
    policy.grants.iter_mut().find(|grant| grant.target == target(name)).unwrap().amounts = amounts;
    policy
}

fn a_day(windows: u16) -> Amounts {
    Amounts { windows_per_day: Some(windows), ..Amounts::default() }
}

fn lasting(object: &str) -> IdentityFacts {
    let mut facts = person(object, CallerKind::Agent, &["id-of-team"]);
    facts.expires_at = Timestamp::MAX;
    facts
}

/// Asks for a minute of `db`; the window's id, or why not.
async fn minute(gateway: &Gateway, caller: &Identity) -> Result<WindowId, String> {
    let wish = Wish { duration: Some(Duration::from_secs(60)), ..Wish::new(&DB, "x") };
    match gateway.grants.request(caller, wish, gateway.clock.now()).await {
        Ok(RequestOutcome::New(_, Some(stored))) => Ok(stored.window.id()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn windows_of_24_hours_are_counted_whatever_became_of_them() {
    for gateway in &gateways().await {
        gateway.grants.replace(counting("db", a_day(2))).unwrap();
        let caller = Identity::for_test(lasting("a1"));
        let first = minute(gateway, &caller).await.unwrap();
        gateway.grants.end_window(&caller, first, "done", at(0)).await.unwrap();
        gateway.clock.pass(Duration::from_secs(3600));
        minute(gateway, &caller).await.unwrap();
        gateway.clock.pass(Duration::from_secs(3600));
        let until = at(24 * 3600);
        let spent = format!(
            "as many windows as the grant allows in 24 hours were opened. The next may open at {until}."
        );
        assert_eq!(minute(gateway, &caller).await, Err(spent.clone()));
        // The same object through another provider's name is the same person; another one is not.
        let mut twin = lasting("A1");
        twin.provider = ProviderName::new("corp").unwrap();
        twin.principal = chaperone_core::name::Principal::new("twin/t/A1").unwrap();
        assert_eq!(minute(gateway, &Identity::for_test(twin)).await, Err(spent));
        minute(gateway, &Identity::for_test(lasting("a2"))).await.unwrap();
        gateway.clock.pass(Duration::from_secs(22 * 3600 - 1));
        assert!(minute(gateway, &caller).await.is_err());
        gateway.clock.pass(Duration::from_secs(1));
        minute(gateway, &caller).await.unwrap();
    }
}

#[tokio::test]
async fn a_pause_begins_when_the_last_window_ended_and_open_ones_count() {
    for gateway in &gateways().await {
        let pause = Amounts { cool_down: Some(Duration::from_secs(1800)), ..Amounts::default() };
        gateway.grants.replace(counting("db", pause)).unwrap();
        let caller = Identity::for_test(lasting("a1"));
        let window = minute(gateway, &caller).await.unwrap();
        gateway.clock.pass(Duration::from_secs(30));
        gateway.grants.end_window(&caller, window, "done", at(30)).await.unwrap();
        let until = |seconds| {
            Err(format!("the grant wants a pause after each window, which ends at {}.", at(seconds)))
        };
        assert_eq!(minute(gateway, &caller).await, until(1830));
        gateway.clock.pass(Duration::from_secs(1799));
        assert_eq!(minute(gateway, &caller).await, until(1830));
        gateway.clock.pass(Duration::from_secs(1));
        minute(gateway, &caller).await.unwrap();
        // A longer one beside the one that is open would be no pause at all.
        let longer = Wish { duration: Some(Duration::from_secs(61)), ..Wish::new(&DB, "x") };
        let refused = gateway.grants.request(&caller, longer, at(1831)).await.unwrap_err();
        assert!(matches!(refused, AskError::Spent(_)), "{refused}");
        // The same again is the window that is open.
        let same = Wish { duration: Some(Duration::from_secs(60)), ..Wish::new(&DB, "x") };
        assert!(matches!(
            gateway.grants.request(&caller, same, at(1831)).await.unwrap(),
            RequestOutcome::AlreadyOpen(_)
        ));
    }
}

/// Two requests that wait are two windows only if the grant has two.
#[tokio::test]
async fn an_approval_opens_no_window_that_is_not_there() {
    for gateway in &gateways().await {
        gateway.grants.replace(counting("vault", a_day(1))).unwrap();
        let caller = Identity::for_test(lasting("a1"));
        let mut asked = Vec::new();
        for seconds in [60, 61] {
            let vault = target("vault");
            let wish = Wish { duration: Some(Duration::from_secs(seconds)), ..Wish::new(&vault, "x") };
            match gateway.grants.request(&caller, wish, at(0)).await.unwrap() {
                RequestOutcome::New(stored, None) => asked.push(stored.id),
                other => panic!("{other:?}"),
            }
        }
        let (ann, bob) = (human("ann", "dba"), human("bob", "dba"));
        for (who, standing) in [(&ann, Standing::Pending), (&bob, Standing::Approved)] {
            assert_eq!(decide(gateway, who, asked[0], Verdict::Approve).await, Ok(standing));
        }
        assert_eq!(decide(gateway, &ann, asked[1], Verdict::Approve).await, Ok(Standing::Pending));
        let refused = decide(gateway, &bob, asked[1], Verdict::Approve).await.unwrap_err();
        assert!(refused.starts_with("No window can open for the requester yet: as many"), "{refused}");
        // That vote was not kept, and the request goes on waiting.
        let stored = gateway.store.state.approval(asked[1]).await.unwrap().unwrap();
        assert_eq!((stored.approval.decisions().len(), stored.window), (1, None));
        assert_eq!(stored.approval.state(at(0)), Standing::Pending);
        assert_eq!(decide(gateway, &bob, asked[1], Verdict::Reject).await, Ok(Standing::Rejected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_come_at_once_as_many_get_in_as_there_are_places() {
    for gateway in &gateways().await {
        let amounts = Amounts { max_sessions: Some(3), ..Amounts::default() };
        gateway.grants.replace(counting("db", amounts)).unwrap();
        let caller = Identity::for_test(lasting("a1"));
        minute(gateway, &caller).await.unwrap();
        let coming: Vec<_> = (0..20)
            .map(|_| {
                let (grants, caller) = (gateway.grants.clone(), caller.clone());
                tokio::spawn(async move { grants.permit(&caller, &DB, at(0)).await })
            })
            .collect();
        let (mut permits, mut refused) = (Vec::new(), Vec::new());
        for one in coming {
            match one.await.unwrap() {
                Ok(permit) => permits.push(permit),
                Err(refusal) => refused.push(refusal),
            }
        }
        assert_eq!((permits.len(), refused.len()), (3, 17));
        assert_eq!(refused[0].code, RefusalCode::LimitReached);
        assert_eq!(
            refused[0].to_string(),
            "Your window on this target has as many sessions as it may have. The grant allows 3 sessions at one time. \
             Close one and connect again."
        );
        // A clone is the same session; the place is free when the last one is gone.
        let clone = permits.pop().unwrap();
        let last = clone.clone();
        drop(clone);
        assert!(gateway.grants.permit(&caller, &DB, at(0)).await.is_err());
        drop(last);
        let again = async {
            while gateway.grants.permit(&caller, &DB, at(0)).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        soon(again).await;
        // Of two grants behind the window, the one with fewer places counts.
        let mut both = counting("db", Amounts { max_sessions: Some(1), ..Amounts::default() });
        both.grants.insert(0, policy().grants.remove(0));
        gateway.grants.replace(both).unwrap();
        assert!(gateway.grants.permit(&caller, &DB, at(0)).await.is_err());
    }
}

/// A gateway that was killed leaves places behind; only its own are freed when it starts again.
#[tokio::test]
async fn places_of_a_killed_gateway_are_freed_when_it_starts_again() {
    for gateway in &gateways().await {
        let amounts = Amounts { max_sessions: Some(1), ..Amounts::default() };
        gateway.grants.replace(counting("db", amounts)).unwrap();
        let caller = Identity::for_test(lasting("a1"));
        let window = minute(gateway, &caller).await.unwrap();
        let state = &gateway.store.state;
        // Taken and never given back.
        state.take_place(window, 1, at(0)).await.unwrap().unwrap();
        assert!(gateway.grants.permit(&caller, &DB, at(0)).await.is_err());
        let elsewhere = gateway.store.another("other");
        elsewhere.settle_left_behind(at(0)).await.unwrap();
        assert!(gateway.grants.permit(&caller, &DB, at(0)).await.is_err(), "it is not the other gateway's");
        state.settle_left_behind(at(0)).await.unwrap();
        assert!(gateway.grants.permit(&caller, &DB, at(0)).await.is_ok());
    }
}
