//! The search index and the cursors of those who read recordings.

use super::*;
use crate::state::feed::Standing;
use crate::state::search::{Entry, Facet, Found, Search, SearchProblem};

fn session(number: u128) -> SessionId {
    SessionId::new(uuid::Uuid::from_u128(number))
}

fn entry(operation: u64, at: Timestamp, text: &str, facets: &[(Facet, &str)]) -> Entry {
    Entry {
        operation,
        at,
        principal: person("agent", CallerKind::Agent, &[]).principal,
        target: target("db"),
        facets: facets.iter().map(|(facet, value)| (*facet, (*value).to_owned())).collect(),
        texts: vec![text.to_owned()],
        story: serde_json::json!({ "text": text }).to_string(),
    }
}

fn step(number: u128, from: u64, to: u64) -> Advance<'static> {
    let standing = Standing::Open;
    Advance { consumer: "search", session: session(number), from, to, standing, until: at(60) }
}

/// Puts entries of one session in, from the start of its recording.
async fn put(state: &State, number: u128, entries: &[Entry]) {
    let claim = state.claim_recording("search", session(number), at(0), at(60)).await.unwrap().unwrap();
    let moved = state.index(entries, step(number, claim.events, claim.events + 1)).await.unwrap();
    assert_eq!(moved, Moved::Yes);
}

async fn find(state: &State, search: Search) -> Vec<Found> {
    let limit = if search.limit == 0 { 100 } else { search.limit };
    state.search(&Search { limit, ..search }).await.unwrap()
}

async fn numbers(state: &State, words: &str, facets: &[(Facet, &str)]) -> Vec<u64> {
    let facets = facets.iter().map(|(facet, value)| (*facet, (*value).to_owned())).collect();
    let found = find(state, Search { words: words.into(), facets, ..Search::default() }).await;
    found.iter().map(|one| one.operation).collect()
}

#[tokio::test]
async fn what_was_done_is_found_by_words_and_facets_newest_first() {
    for Store { state, .. } in &stores().await {
        let (users, orders) = ((Facet::Table, "public.users"), (Facet::Table, "orders"));
        let (refused, pii) = ((Facet::Decision, "refused"), (Facet::Finding, "pii"));
        put(
            state,
            7,
            &[
                entry(1, at(1), "SELECT email FROM public.users", &[users, pii]),
                entry(2, at(2), "delete from public.orders where id = 7", &[orders, refused]),
                entry(3, at(3), "select 'Zoë' from user_accounts", &[(Facet::Approver, "corp/t/ann")]),
            ],
        )
        .await;
        put(state, 8, &[entry(9, at(2), "select 1", &[])]).await;
        for (words, wanted) in [
            ("select", &[3, 9, 1][..]),
            ("USERS email", &[1]),
            ("public.users", &[1]),
            ("\"from public\"", &[2, 1]),
            ("\"public from\"", &[]),
            ("zoë", &[3]),
            ("accounts", &[3]),
            ("selec", &[]),
            ("", &[3, 9, 2, 1]),
        ] {
            assert_eq!(numbers(state, words, &[]).await, wanted, "{words}");
        }
        assert_eq!(numbers(state, "", &[(Facet::Table, "PUBLIC.users")]).await, [1]);
        assert_eq!(numbers(state, "from", &[orders, refused]).await, [2]);
        assert_eq!(numbers(state, "", &[users, refused]).await, [0; 0]);
        assert_eq!(numbers(state, "", &[(Facet::Approver, "corp/t/ann")]).await, [3]);
        assert_eq!(numbers(state, "", &[(Facet::Target, "corp/t/ann")]).await, [0; 0]);
        let found = find(state, Search { words: "delete".into(), ..Search::default() }).await;
        assert_eq!((found[0].session, found[0].at, found[0].target.as_str()), (session(7), at(2), "db"));
        assert_eq!(found[0].story["text"], "delete from public.orders where id = 7");
    }
}

#[tokio::test]
async fn times_and_pages_are_ranges_of_one_order() {
    for Store { state, .. } in &stores().await {
        // All at one moment, as a pipeline's are, and in two sessions at that.
        let burst =
            |from: u64| (from..from + 300).map(|n| entry(n, at(5), "select", &[])).collect::<Vec<_>>();
        put(state, 7, &burst(1)).await;
        put(state, 8, &burst(1001)).await;
        put(state, 9, &[entry(5000, at(4), "select", &[]), entry(5001, at(6), "select", &[])]).await;
        let page = |before| Search { words: "select".into(), before, limit: 100, ..Search::default() };
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let found = find(state, page(before)).await;
            before = found.last().map(|last| last.id).or(before);
            all.extend(found.iter().map(|one| one.operation));
            if found.len() < 100 {
                break;
            }
        }
        assert_eq!((all.len(), all[0], all[601]), (602, 5001, 5000));
        let once: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(once.len(), 602);
        let between = |since, until| Search { since, until, limit: 500, ..Search::default() };
        assert_eq!(find(state, between(Some(at(6)), None)).await[0].operation, 5001);
        assert_eq!(find(state, between(None, Some(at(5)))).await.len(), 1);
        assert_eq!(find(state, between(Some(at(6)), Some(at(6)))).await, []);
        assert_eq!(find(state, Search { limit: u16::MAX, ..page(None) }).await.len(), 500);
    }
}

#[tokio::test]
async fn nothing_that_is_typed_is_syntax() {
    for Store { state, .. } in &stores().await {
        put(
            state,
            7,
            &[
                entry(1, at(1), "alpha", &[(Facet::Table, "secret")]),
                entry(2, at(2), "alpha or beta", &[]),
                entry(3, at(3), "near facets not x", &[]),
            ],
        )
        .await;
        for (words, wanted) in [
            ("alpha OR beta", &[2][..]),
            ("alpha NOT beta", &[]),
            ("alph*", &[]),
            ("alpha | beta", &[2]),
            ("alpha & !beta", &[2]),
            ("alpha <-> beta", &[2]),
            ("alpha:* ", &[2, 1]),
            ("NEAR(facets, 5)", &[]),
            ("facets:x", &[]),
            ("^alpha", &[2, 1]),
            ("alpha\" OR \"beta", &[2]),
            ("'alpha'", &[2, 1]),
            ("alpha'; DROP TABLE operations; --", &[]),
            ("{words facets} : alpha", &[]),
            ("alpha\u{0}", &[2, 1]),
            ("\\alpha", &[2, 1]),
        ] {
            assert_eq!(numbers(state, words, &[]).await, wanted, "{words}");
        }
        for words in ["*", "\"", "\"\"", "'", "( ) : & | ! ^ - + \\", "\u{0}", "🙂"] {
            let asked = state.search(&Search { words: words.into(), limit: 5, ..Search::default() }).await;
            assert!(matches!(asked, Err(SearchProblem::NoWords)), "{words}");
        }
        let long = "alpha ".repeat(50_000);
        assert_eq!(numbers(state, &long, &[]).await, [2, 1]);
        // What is kept as a facet can be written in a statement, and is no facet there.
        let facet = Facet::Table.word("secret");
        let forged = format!("={facet} {facet} '{facet}' facets : {facet}");
        put(state, 8, &[entry(4, at(4), &forged, &[])]).await;
        assert_eq!(numbers(state, "", &[(Facet::Table, "secret")]).await, [1]);
        assert_eq!(numbers(state, &facet, &[]).await, [4]);
        let value = "x\" OR facets : \"y' | ' \u{0}";
        assert_eq!(numbers(state, "", &[(Facet::Table, value)]).await, [0; 0]);
    }
}

#[tokio::test]
async fn an_operation_that_comes_again_replaces_itself() {
    for Store { state, .. } in &stores().await {
        put(state, 7, &[entry(1, at(1), "first", &[(Facet::Decision, "held")])]).await;
        put(
            state,
            7,
            &[entry(1, at(1), "second", &[(Facet::Decision, "refused")]), entry(2, at(1), "x", &[])],
        )
        .await;
        assert_eq!(numbers(state, "first", &[]).await, [0; 0]);
        assert_eq!(numbers(state, "second", &[(Facet::Decision, "refused")]).await, [1]);
        assert_eq!(numbers(state, "", &[(Facet::Decision, "held")]).await, [0; 0]);
        assert_eq!(numbers(state, "", &[]).await, [2, 1]);
    }
}

#[tokio::test]
async fn a_cursor_moves_with_what_is_kept_or_not_at_all() {
    for store in &stores().await {
        let (state, other) = (&store.state, store.another("there"));
        let claim = |state: &State, now| {
            let state = state.clone();
            async move {
                state.claim_recording("search", session(7), now, after(now, MINUTE).unwrap()).await.unwrap()
            }
        };
        const MINUTE: Duration = Duration::from_secs(60);
        assert_eq!(claim(state, at(0)).await.map(|claim| claim.events), Some(0));
        assert_eq!(claim(&other, at(59)).await, None, "another gateway reads it");
        assert_eq!(claim(state, at(30)).await.map(|claim| claim.events), Some(0), "its own, after a restart");
        let moved = |state: &State, from, to, text: &'static str| {
            let state = state.clone();
            async move { state.index(&[entry(from, at(1), text, &[])], step(7, from, to)).await.unwrap() }
        };
        assert_eq!(moved(state, 0, 3, "here").await, Moved::Yes);
        assert_eq!(moved(state, 0, 3, "again").await, Moved::No, "it stands elsewhere");
        // The claim is over, and the other goes on from where the cursor is. The first does not know.
        assert_eq!(claim(&other, at(61)).await.map(|claim| claim.events), Some(3));
        assert_eq!(moved(state, 3, 5, "late").await, Moved::No);
        assert_eq!(moved(&other, 3, 5, "there").await, Moved::Yes);
        assert_eq!(numbers(state, "", &[]).await.len(), 2);
        for nothing in ["again", "late"] {
            assert_eq!(numbers(state, nothing, &[]).await, [0; 0]);
        }
        let over = Advance { standing: Standing::Done, ..step(7, 5, 6) };
        assert_eq!(other.advance(over).await.unwrap(), Moved::Yes);
        assert_eq!(claim(state, at(999)).await, None, "it is read to its end");
        let done = state.recordings_done("search", session(0), session(9)).await.unwrap();
        assert_eq!(done.into_iter().collect::<Vec<_>>(), [session(7)]);
        assert!(state.recordings_done("stream", session(0), session(9)).await.unwrap().is_empty());
        assert!(state.recordings_done("search", session(8), session(9)).await.unwrap().is_empty());
        other.forget_consumer("search").await.unwrap();
        assert_eq!(claim(state, at(999)).await.map(|claim| claim.events), Some(0));
    }
}

#[tokio::test]
async fn claims_are_renewed_for_one_gateway_alone() {
    for store in &stores().await {
        let (state, other) = (&store.state, store.another("there"));
        for (state, number) in [(state, 1), (&other, 2)] {
            state.claim_recording("search", session(number), at(0), at(60)).await.unwrap().unwrap();
        }
        state.renew_claims("search", at(600)).await.unwrap();
        let third = store.another("third");
        let claim = |number| third.claim_recording("search", session(number), at(90), at(150));
        assert_eq!(claim(1).await.unwrap(), None);
        assert!(claim(2).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_forgotten_recording_leaves_nothing_and_nobody_goes_on_with_it() {
    for Store { state, .. } in &stores().await {
        put(state, 7, &[entry(1, at(1), "gone", &[(Facet::Table, "t")])]).await;
        put(state, 8, &[entry(1, at(1), "stays", &[(Facet::Table, "t")])]).await;
        state.forget_recording(session(7)).await.unwrap();
        assert_eq!(numbers(state, "gone", &[]).await, [0; 0]);
        let found =
            find(state, Search { facets: vec![(Facet::Table, "t".into())], ..Search::default() }).await;
        assert_eq!(found.iter().map(|one| one.session).collect::<Vec<_>>(), [session(8)]);
        // Whoever was reading it has an old cursor.
        let late = state.index(&[entry(2, at(2), "late", &[])], step(7, 1, 2)).await.unwrap();
        assert_eq!((late, numbers(state, "late", &[]).await), (Moved::No, vec![]));
    }
}
