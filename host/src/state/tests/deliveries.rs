//! The outbox: what is written with what, who gets it, and how often.

use super::*;
use crate::state::deliveries::{KEPT, MAX_WAITING, TRIED};
use chaperone_core::approval::Told;
use chaperone_core::name::ChannelName;

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

/// To `all` everything, to `db-ends` what became of requests on `db`, to `other` nothing of `db`.
fn routes() -> Vec<Route> {
    let ends = vec![Told::Approved, Told::Rejected, Told::Expired, Told::Withdrawn];
    vec![
        Route { channel: channel("all"), targets: vec![], events: vec![] },
        Route { channel: channel("db-ends"), targets: vec![target("db")], events: ends },
        Route { channel: channel("other"), targets: vec![target("web")], events: vec![] },
    ]
}

async fn telling() -> Vec<Store> {
    stores().await.into_iter().map(|store| store.telling(&routes())).collect()
}

/// `channel event` of everything in the outbox, in the order of the alphabet.
async fn told(state: &State) -> Vec<String> {
    let rows = state.deliveries().await.unwrap();
    let mut told: Vec<_> = rows.iter().map(|row| format!("{} {}", row.channel, row.event)).collect();
    told.sort();
    told
}

#[tokio::test]
async fn whatever_is_asked_or_settled_is_told_to_who_wants_to_know() {
    for Store { state, .. } in &telling().await {
        // What the policy opens asks nobody.
        assert!(matches!(state.request(by_policy(1, at(0)), at(0)).await.unwrap(), Requested::New(..)));
        assert_eq!(told(state).await, [""; 0]);

        let request = new(state, asked(300, 2), at(0)).await;
        assert!(matches!(state.request(asked(300, 2), at(1)).await.unwrap(), Requested::Repeated(..)));
        assert_eq!(told(state).await, ["all asked"]);
        let rows = state.deliveries().await.unwrap();
        assert_eq!((rows[0].approval, rows[0].made, rows[0].due), (request.id, at(0), at(0)));
        assert_eq!((rows[0].state, rows[0].attempts), (DeliveryState::Waiting, 0));
        decide(state, request.id, &human("ann"), Verdict::Approve, at(2)).await.unwrap();
        assert_eq!(told(state).await, ["all asked"], "a vote is not told");
        decide(state, request.id, &human("bob"), Verdict::Approve, at(3)).await.unwrap();
        assert_eq!(told(state).await, ["all approved", "all asked", "db-ends approved"]);

        let hold = state.hold(held(), at(10)).await.unwrap().unwrap();
        decide(state, hold.id, &human("ann"), Verdict::Reject, at(11)).await.unwrap();
        let hold = state.hold(held(), at(20)).await.unwrap().unwrap();
        state.withdraw(hold.id, at(21)).await.unwrap();
        state.withdraw(hold.id, at(22)).await.unwrap();
        state.hold(held(), at(30)).await.unwrap().unwrap();
        assert_eq!(state.expire(at(60)).await.unwrap(), 1);
        let ends = ["approved", "expired", "rejected", "withdrawn"];
        let mut expected: Vec<_> = ends.iter().map(|end| format!("all {end}")).collect();
        expected.extend(["all asked"; 4].map(str::to_owned));
        expected.extend(ends.iter().map(|end| format!("db-ends {end}")));
        expected.sort();
        assert_eq!(told(state).await, expected);
    }
}

#[tokio::test]
async fn what_a_killed_gateway_has_left_is_told_as_withdrawn() {
    for Store { state, .. } in &telling().await {
        state.hold(held(), at(0)).await.unwrap().unwrap();
        state.settle_left_behind(at(1)).await.unwrap();
        assert_eq!(told(state).await, ["all asked", "all withdrawn", "db-ends withdrawn"]);
    }
}

#[tokio::test]
async fn nothing_is_told_of_what_did_not_happen() {
    for Store { state, .. } in &telling().await {
        for seconds in 1..=3 {
            new(state, asked(seconds, 1), at(0)).await;
        }
        assert_eq!(state.request(asked(4, 1), at(1)).await.unwrap(), Requested::TooMany);
        let request = new(state, NewRequest { limit: 9, ..asked(5, 1) }, at(2)).await;
        let outsider = person("eve", CallerKind::Human, &["id-of-others"]);
        decide(state, request.id, &outsider, Verdict::Reject, at(3)).await.unwrap_err();
        assert_eq!(told(state).await, ["all asked"; 4]);
    }
}

#[tokio::test]
async fn of_gateways_that_claim_at_once_each_gets_its_own() {
    for Store { state, .. } in &telling().await {
        for seconds in 1..=40 {
            new(state, NewRequest { limit: 100, ..asked(seconds, 1) }, at(0)).await;
        }
        let mut gateways = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let state = state.clone();
            gateways.spawn(async move {
                let mut ids = Vec::new();
                for _ in 0..20 {
                    let claimed = state.claim_deliveries(&channel("all"), 3, at(1), at(61)).await.unwrap();
                    assert!(claimed.iter().all(|one| one.attempts == 1 && one.due == at(61)));
                    ids.extend(claimed.into_iter().map(|one| one.id));
                }
                ids
            });
        }
        let mut ids: Vec<_> = gateways.join_all().await.into_iter().flatten().collect();
        assert_eq!(ids.len(), 40, "each is claimed once");
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 40);
    }
}

#[tokio::test]
async fn a_claim_that_is_not_answered_ends_and_who_lost_it_says_nothing() {
    for Store { state, .. } in &telling().await {
        new(state, asked(1, 1), at(0)).await;
        let claim =
            async |now: i64| state.claim_deliveries(&channel("all"), 9, at(now), at(now + 60)).await.unwrap();
        let lost = claim(0).await.remove(0);
        assert_eq!(claim(59).await, []);
        let second = claim(60).await.remove(0);
        assert_eq!((second.id, second.attempts), (lost.id, 2));
        // The first comes back and says that it failed for good: the attempt of the second goes on.
        state.not_delivered(&lost, "too late", None, at(61)).await.unwrap();
        assert_eq!(state.deliveries().await.unwrap(), std::slice::from_ref(&second));
        state.not_delivered(&second, "status 500", Some(at(70)), at(62)).await.unwrap();
        assert_eq!(claim(69).await, []);
        let third = claim(70).await.remove(0);
        assert_eq!((third.attempts, third.error.as_deref()), (3, Some("status 500")));
        state.delivered(third.id, at(71)).await.unwrap();
        let row = state.deliveries().await.unwrap().remove(0);
        assert_eq!((row.state, row.settled, row.error), (DeliveryState::Delivered, Some(at(71)), None));
        assert_eq!(claim(9_999).await, []);
    }
}

#[tokio::test]
async fn a_channel_has_so_many_waiting_and_what_is_old_is_removed() {
    for Store { state, .. } in &telling().await {
        let mut transaction = state.begin().await.unwrap();
        for _ in 0..MAX_WAITING {
            let hold = ApprovalId::Hold(HoldId::new(id()));
            let sql = "INSERT INTO deliveries (id, channel, approval, event, target, attempts, made, due, state) \
                       VALUES ($1, 'all', $2, 'asked', 'db', 0, $3, $3, 'waiting')";
            let sql = sqlx::query(sql).bind(format!("dlv_{}", id().simple())).bind(hold.to_string());
            sql.bind(micros(at(0))).execute(&mut *transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
        new(state, asked(1, 1), at(1)).await;
        let row = state.deliveries().await.unwrap().remove(0);
        assert_eq!((row.made, row.state, row.settled), (at(1), DeliveryState::Failed, Some(at(1))));
        assert_eq!(row.error.as_deref(), Some("10000 messages wait for this channel already"));

        // Nobody has sent any of them for a day; of one, somebody is at it.
        let day = i64::try_from(TRIED.as_secs()).unwrap();
        let claimed = state.claim_deliveries(&channel("all"), 1, at(day - 1), at(day + 60)).await.unwrap();
        assert_eq!(state.prune_deliveries(at(day)).await.unwrap(), 9_999);
        assert_eq!(state.open_counts(at(day)).await.unwrap().deliveries, 1);
        state.delivered(claimed[0].id, at(day)).await.unwrap();
        let week = i64::try_from(KEPT.as_secs()).unwrap();
        assert_eq!(state.prune_deliveries(at(week)).await.unwrap(), 0);
        assert_eq!(state.deliveries().await.unwrap().len(), 500);
        state.prune_deliveries(at(week + 1)).await.unwrap();
        assert_eq!(state.deliveries().await.unwrap().len(), 1, "what was made a second later");
    }
}
