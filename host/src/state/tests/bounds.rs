//! How much one principal may have.

use super::*;

#[tokio::test]
async fn pending_requests_and_holds_of_a_principal_are_bounded() {
    for Store { state, .. } in &stores().await {
        for seconds in 1..=3 {
            new(state, asked(seconds, 1), at(0)).await;
        }
        assert_eq!(state.request(asked(4, 1), at(1)).await.unwrap(), Requested::TooMany);
        // What expired does not count, even before anybody settled it.
        new(state, NewRequest { approval: ask_at(600), ..asked(4, 1) }, at(600)).await;
        assert!(state.hold(held(), at(0)).await.unwrap().is_some());
        assert!(state.hold(held(), at(0)).await.unwrap().is_some());
        assert!(state.hold(held(), at(0)).await.unwrap().is_none());
    }
}

fn ask_at(seconds: i64) -> Approval {
    let requester = person("agent", CallerKind::Agent, &[]).principal;
    Approval::ask(requester, terms(4), vec![needs("dba", 1)], at(seconds), Duration::from_secs(60)).unwrap()
}

#[tokio::test]
async fn windows_that_the_policy_opens_to_a_principal_are_bounded_by_the_day() {
    for Store { state, .. } in &stores().await {
        let opens = async |second: i64| state.request(by_policy(1, at(second)), at(second)).await.unwrap();
        for second in [0, 10, 20, 30] {
            let Requested::New(_, Some(opened)) = opens(second).await else { panic!("{second}") };
            // Ended or over, they were opened.
            let owner = opened.window.principal().clone();
            state.end_window(opened.window.id(), &owner, "done", at(second)).await.unwrap();
        }
        assert_eq!(opens(40).await, Requested::TooManyOpened);
        // Nothing was kept of it, and another one is not concerned.
        assert_eq!(state.requests(None).await.unwrap().len(), 4);
        let facts = person("other", CallerKind::Agent, &[]);
        let other = facts.principal.clone();
        let of = WindowOf {
            id: WindowId::new(id()),
            principal: other.clone(),
            target: target("db"),
            opened: Opened::Requested,
        };
        let second = Duration::from_secs(1);
        let theirs = NewRequest {
            caller: (&facts).into(),
            approval: Approval::by_policy(other, terms(1), at(40)),
            window: Some(Window::open(of, at(40), second, second).unwrap()),
            ..by_policy(1, at(40))
        };
        assert!(matches!(state.request(theirs, at(40)).await.unwrap(), Requested::New(..)));
        // What people have to approve is bounded otherwise.
        new(state, asked(1, 1), at(40)).await;
        assert_eq!(opens(86_399).await, Requested::TooManyOpened);
        assert!(matches!(opens(86_400).await, Requested::New(..)));
        assert_eq!(opens(86_401).await, Requested::TooManyOpened);
    }
}

/// On a full disk neither of them could grow: what is written then has its place already.
#[tokio::test]
async fn a_sqlite_file_and_its_log_have_room_in_reserve() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = State::sqlite(&path, "here").await.unwrap();
    let length = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
    let before = (length("state.db"), length("state.db-wal"));
    assert!(before.0 > 2 << 20 && before.1 > 2 << 20, "{before:?}");
    for second in 0..50 {
        let (event, actor, detail) = ("window.ended", "chaperone", serde_json::json!({ "why": "a test" }));
        let audit = Audit { event, actor, subject: "win_1", target: "db", detail };
        state.audit(audit, at(second)).await.unwrap();
    }
    assert_eq!((length("state.db"), length("state.db-wal")), before);
}
