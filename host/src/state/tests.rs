//! The repository on SQLite and, when `CHAPERONE_TEST_POSTGRES` names a server, on PostgreSQL: the same tests on both.

use super::*;
use chaperone_core::approval::{
    Approval, ApprovalId, ApprovalProblem, Digest, Matter, OperationTerms, Persons, State as Standing,
    Verdict, WindowTerms,
};
use chaperone_core::grant::{Amounts, Conditions, Grant, Recorded, Requirement, Subject, Ticket, When};
use chaperone_core::identity::{CallerKind, Groups, IdentityFacts};
use chaperone_core::name::{
    GroupAlias, HoldId, Principal, ProviderName, RequestId, SessionId, TargetName, WindowId,
};
use chaperone_core::window::{Opened, Window, WindowOf, after};

mod bounds;
mod deliveries;
mod search;
mod uploads;

/// A store with what it lives in.
pub(crate) struct Store {
    pub(crate) state: State,
    _folder: Option<tempfile::TempDir>,
}

impl Store {
    /// The same store, as another gateway has it.
    pub(crate) fn another(&self, node: &str) -> State {
        State { node: node.to_owned(), ..self.state.clone() }
    }

    /// The same, of a gateway that tells these channels.
    pub(crate) fn telling(self, routes: &[Route]) -> Self {
        Store { state: self.state.telling(routes.to_vec()), ..self }
    }
}

/// An empty store on every database there is.
pub(crate) async fn stores() -> Vec<Store> {
    let folder = tempfile::tempdir().unwrap();
    let state = State::sqlite(&folder.path().join("state %?#.db"), "here").await.unwrap();
    let mut stores = vec![Store { state, _folder: Some(folder) }];
    match std::env::var("CHAPERONE_TEST_POSTGRES") {
        Ok(url) => stores.push(Store { state: fresh_schema(&url).await, _folder: None }),
        Err(_) => eprintln!("skipped on PostgreSQL: CHAPERONE_TEST_POSTGRES=postgres://… is not set"),
    }
    stores
}

/// Each test has a schema of its own, so that they can run at once.
async fn fresh_schema(url: &str) -> State {
    sqlx::any::install_default_drivers();
    let schema = format!("t_{}", uuid::Uuid::now_v7().simple());
    let pool = AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).execute(&pool).await.unwrap();
    pool.close().await;
    let joint = if url.contains('?') { '&' } else { '?' };
    let url = SecretString::from(format!("{url}{joint}options=-c%20search_path%3D{schema}"));
    State::postgres(&url, "here").await.unwrap()
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(crate) fn person(object: &str, kind: CallerKind, groups: &[&str]) -> IdentityFacts {
    let provider = ProviderName::new("corp").unwrap();
    IdentityFacts {
        principal: Principal::of(&provider, "t", object).unwrap(),
        provider,
        tenant: "t".into(),
        object_id: object.into(),
        kind,
        audience: Default::default(),
        groups: Groups::Known(groups.iter().map(ToString::to_string).collect()),
        roles: Default::default(),
        actor: "client".into(),
        blueprint: None,
        display_name: None,
        sponsors: Vec::new(),
        credential_id: "uti".into(),
        issued_at: at(0),
        expires_at: at(3600),
    }
}

pub(crate) fn group(alias: &str) -> Subject {
    Subject::Group {
        provider: ProviderName::new("corp").unwrap(),
        id: format!("id-of-{alias}"),
        alias: GroupAlias::new(alias).unwrap(),
    }
}

pub(crate) fn needs(alias: &str, needed: u8) -> Requirement {
    Requirement { approvers: GroupAlias::new(alias).unwrap(), members: vec![group(alias)], needed, stage: 0 }
}

pub(crate) fn target(name: &str) -> TargetName {
    TargetName::new(name).unwrap()
}

fn human(object: &str) -> IdentityFacts {
    person(object, CallerKind::Human, &["id-of-dba"])
}

fn id() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}

fn terms(seconds: u64) -> Matter {
    Matter::Window(WindowTerms { target: target("db"), seconds, reason: "ticket 7".into(), ticket: None })
}

fn asked(seconds: u64, needed: u8) -> NewRequest {
    let facts = person("agent", CallerKind::Agent, &[]);
    let requester = facts.principal.clone();
    let patience = Duration::from_secs(600);
    NewRequest {
        id: RequestId::new(id()),
        caller: (&facts).into(),
        approval: Approval::ask(requester, terms(seconds), vec![needs("dba", needed)], at(0), patience)
            .unwrap(),
        window: None,
        key: None,
        grants: vec![grant()],
        limit: 3,
        opened_limit: 4,
        amounts: Amounts::default(),
    }
}

fn grant() -> Grant {
    Grant {
        target: target("db"),
        to: vec![group("team")],
        kinds: None,
        only: Conditions::default(),
        ticket: Ticket::Optional,
        when: When::Requested,
        lifetime: Duration::from_secs(900),
        amounts: Amounts::default(),
        recorded: Recorded::Yes,
        roles: vec![],
        line: 1,
    }
}

fn by_policy(seconds: u64, now: Timestamp) -> NewRequest {
    let requester = person("agent", CallerKind::Agent, &[]).principal;
    let length = Duration::from_secs(seconds);
    let of = WindowOf {
        id: WindowId::new(id()),
        principal: requester.clone(),
        target: target("db"),
        opened: Opened::Requested,
    };
    NewRequest {
        approval: Approval::by_policy(requester, terms(seconds), now),
        window: Some(Window::open(of, now, length, length).unwrap()),
        ..asked(seconds, 1)
    }
}

fn held() -> NewHold {
    let facts = person("agent", CallerKind::Agent, &[]);
    let requester = facts.principal.clone();
    let matter = Matter::Operation(OperationTerms {
        target: target("db"),
        window: WindowId::new(id()),
        summary: "DELETE FROM t WHERE id = 1 -- é\n".into(),
        digest: Digest([9; 32]),
        risk: 70,
        findings: vec![],
        reason: "deletes".into(),
    });
    let approval =
        Approval::ask(requester, matter, vec![needs("dba", 1)], at(0), Duration::from_secs(60)).unwrap();
    NewHold { id: HoldId::new(id()), caller: (&facts).into(), approval, limit: 2 }
}

async fn new(state: &State, request: NewRequest, now: Timestamp) -> StoredApproval {
    match state.request(request, now).await.unwrap() {
        Requested::New(stored, _) => stored,
        other => panic!("{other:?}"),
    }
}

async fn decide(
    state: &State,
    id: ApprovalId,
    who: &IdentityFacts,
    verdict: Verdict,
    now: Timestamp,
) -> Result<Standing, DecideProblem> {
    let window = WindowId::new(uuid::Uuid::now_v7());
    let (persons, opening) = (&Persons::default(), &Opening::default());
    let vote = Vote { approver: who, persons, verdict, comment: "because", window, opening };
    let decided = state.decide(id, |alias| vec![group(alias.as_str())], vote, now).await.unwrap();
    decided.map(|stored| stored.approval.state(now))
}

async fn events(state: &State) -> Vec<String> {
    let mut events: Vec<_> =
        state.audit_events().await.unwrap().into_iter().map(|event| event.event).collect();
    events.sort();
    events
}

#[tokio::test]
async fn a_request_opens_its_window_when_the_last_approval_arrives() {
    for Store { state, .. } in &stores().await {
        let stored = new(state, asked(300, 2), at(0)).await;
        assert_eq!(state.approval(stored.id).await.unwrap(), Some(stored.clone()));
        assert_eq!(state.pending_approvals(at(1), |_| true).await.unwrap(), vec![stored.clone()]);
        assert_eq!(
            decide(state, stored.id, &human("ann"), Verdict::Approve, at(100)).await,
            Ok(Standing::Pending)
        );
        let twice = decide(state, stored.id, &human("ann"), Verdict::Approve, at(101)).await;
        assert_eq!(twice, Err(DecideProblem::Rule(ApprovalProblem::Twice)));
        assert_eq!(
            decide(state, stored.id, &human("bob"), Verdict::Approve, at(200)).await,
            Ok(Standing::Approved)
        );
        let after = state.approval(stored.id).await.unwrap().unwrap();
        let window = state.window(after.window.unwrap()).await.unwrap().unwrap();
        assert_eq!((window.window.opens(), window.window.closes()), (at(200), at(500)));
        assert_eq!(window.window.opened(), Opened::Approved);
        let agent = stored.approval.requester();
        let caller = stored.caller.clone().unwrap();
        let open = |seconds| state.open_windows(&caller, window.window.target(), at(seconds));
        assert_eq!(open(200).await.unwrap(), vec![window.clone()]);
        assert_eq!(open(199).await.unwrap(), vec![]);
        assert_eq!(open(500).await.unwrap(), vec![]);
        assert_eq!(state.pending_approvals(at(201), |_| true).await.unwrap(), vec![]);
        assert_eq!(state.requests(Some(agent)).await.unwrap(), vec![after.clone()]);
        assert_eq!(state.requests(None).await.unwrap(), vec![after]);
        assert_eq!(
            events(state).await,
            ["request.approved", "request.asked", "request.decided", "request.decided", "window.opened"]
        );
    }
}

#[tokio::test]
async fn the_same_request_is_asked_once() {
    for Store { state, .. } in &stores().await {
        let keyed = |seconds, key: &str| NewRequest { key: Some(key.into()), ..asked(seconds, 1) };
        let first = new(state, keyed(300, "k1"), at(0)).await;
        let again = state.request(keyed(300, "k1"), at(1)).await.unwrap();
        assert_eq!(again, Requested::Repeated(first.clone(), None));
        assert_eq!(state.request(keyed(301, "k1"), at(1)).await.unwrap(), Requested::KeyReused);
        // Without a key, the same target and duration are the same request while it is pending.
        assert_eq!(
            state.request(asked(300, 1), at(1)).await.unwrap(),
            Requested::Repeated(first.clone(), None)
        );
        // The key of another principal is another key.
        let other = person("other", CallerKind::Agent, &[]);
        let patience = Duration::from_secs(600);
        let (caller, other) = ((&other).into(), other.principal);
        let approval = Approval::ask(other, terms(300), vec![needs("dba", 1)], at(0), patience).unwrap();
        new(state, NewRequest { caller, approval, ..keyed(300, "k1") }, at(1)).await;
        // Answered: the key still gives the same request, with its window.
        decide(state, first.id, &human("ann"), Verdict::Approve, at(2)).await.unwrap();
        match state.request(keyed(300, "k1"), at(3)).await.unwrap() {
            Requested::Repeated(stored, Some(window)) => {
                assert_eq!((stored.id, stored.window), (first.id, Some(window.window.id())));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_open_window_is_the_answer_and_is_not_extended() {
    for Store { state, .. } in &stores().await {
        let Requested::New(_, Some(window)) = state.request(by_policy(300, at(0)), at(0)).await.unwrap()
        else {
            panic!()
        };
        let again = state.request(by_policy(300, at(100)), at(100)).await.unwrap();
        assert_eq!(again, Requested::AlreadyOpen(window.clone()));
        // A window that the policy no longer backs is no answer.
        let shorter = Grant { lifetime: Duration::from_secs(299), ..grant() };
        let request = NewRequest { grants: vec![shorter], ..by_policy(299, at(101)) };
        assert!(matches!(state.request(request, at(101)).await.unwrap(), Requested::New(_, Some(_))));
        let closed = state.request(by_policy(300, at(400)), at(400)).await.unwrap();
        assert!(matches!(closed, Requested::New(_, Some(other)) if other.window.opens() == at(400)));
    }
}

#[tokio::test]
async fn a_window_is_ended_once_and_never_comes_back() {
    for Store { state, .. } in &stores().await {
        let Requested::New(_, Some(window)) = state.request(by_policy(300, at(0)), at(0)).await.unwrap()
        else {
            panic!()
        };
        let (id, by) = (window.window.id(), human("ann").principal);
        let EndWindow::Ended(ended) = state.end_window(id, &by, "done", at(10)).await.unwrap() else {
            panic!()
        };
        assert_eq!(ended, EndedWindow { id, at: at(10), by: by.clone(), reason: "done".into() });
        assert_eq!(state.end_window(id, &by, "again", at(5)).await.unwrap(), EndWindow::AlreadyOver);
        assert_eq!(state.open_windows(&asked(1, 1).caller, &target("db"), at(5)).await.unwrap(), vec![]);
        assert_eq!(state.ended_early(at(11), 10).await.unwrap(), vec![ended]);
        assert_eq!(state.ended_early(at(300), 10).await.unwrap(), vec![]);
        let nothing = WindowId::new(uuid::Uuid::now_v7());
        assert_eq!(state.end_window(nothing, &by, "x", at(5)).await.unwrap(), EndWindow::Unknown);
        let Requested::New(_, Some(window)) = state.request(by_policy(300, at(20)), at(20)).await.unwrap()
        else {
            panic!()
        };
        assert_eq!(
            state.end_window(window.window.id(), &by, "late", at(320)).await.unwrap(),
            EndWindow::AlreadyOver
        );
        assert_eq!(state.windows(None).await.unwrap().len(), 2);
        assert_eq!(state.windows(Some(&by)).await.unwrap(), vec![]);
    }
}

#[tokio::test]
async fn what_is_settled_stays_settled() {
    for Store { state, .. } in &stores().await {
        for (settle, expected) in [
            ("approve", Standing::Approved),
            ("reject", Standing::Rejected),
            ("withdraw", Standing::Withdrawn),
            ("expire", Standing::Expired),
        ] {
            let hold = state.hold(held(), at(0)).await.unwrap().unwrap();
            match settle {
                "approve" => {
                    decide(state, hold.id, &human("ann"), Verdict::Approve, at(1)).await.unwrap();
                }
                "reject" => {
                    decide(state, hold.id, &human("ann"), Verdict::Reject, at(1)).await.unwrap();
                }
                "withdraw" => state.withdraw(hold.id, at(1)).await.unwrap(),
                _ => assert_eq!(state.expire(at(60)).await.unwrap(), 1),
            }
            for verdict in [Verdict::Approve, Verdict::Reject] {
                let late = decide(state, hold.id, &human("bob"), verdict, at(2)).await;
                let problem = match expected {
                    Standing::Expired => ApprovalProblem::TooLate,
                    _ => ApprovalProblem::Final(expected),
                };
                assert_eq!(late, Err(DecideProblem::Rule(problem)), "{settle}");
            }
            state.withdraw(hold.id, at(2)).await.unwrap();
            state.expire(at(1000)).await.unwrap();
            let stored = state.approval(hold.id).await.unwrap().unwrap();
            assert_eq!(stored.approval.state(at(2)), expected, "{settle}");
        }
        let nothing = ApprovalId::Hold(HoldId::new(id()));
        assert_eq!(
            decide(state, nothing, &human("ann"), Verdict::Approve, at(1)).await,
            Err(DecideProblem::Unknown)
        );
    }
}

/// Every pair of changes that can meet, many times over, from tasks that run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_that_meet_have_one_winner() {
    for Store { state, .. } in &stores().await {
        for round in 0..24 {
            let hold = state.hold(held(), at(0)).await.unwrap().unwrap();
            let (ann, bob) = (human("ann"), human("bob"));
            let other = match round % 4 {
                0 => Verdict::Approve,
                _ => Verdict::Reject,
            };
            let (id, here, there) = (hold.id, state.clone(), state.clone());
            let first = tokio::spawn(async move { decide(&here, id, &ann, Verdict::Approve, at(59)).await });
            let second = tokio::spawn(async move {
                match round % 4 {
                    0 | 1 => decide(&there, id, &bob, other, at(59)).await.ok(),
                    2 => {
                        let expired = there.expire(at(60)).await.unwrap();
                        (expired == 1).then_some(Standing::Expired)
                    }
                    _ => {
                        there.withdraw(id, at(59)).await.unwrap();
                        None
                    }
                }
            });
            let (first, second) = (first.await.unwrap(), second.await.unwrap());
            let end = state.approval(hold.id).await.unwrap().unwrap().approval;
            let winners: Vec<Standing> = [first.ok(), second].into_iter().flatten().collect();
            match winners.as_slice() {
                [one] => assert_eq!(end.state(at(59)), *one, "round {round}"),
                [] => assert_eq!((end.state(at(59)), round % 4), (Standing::Withdrawn, 3)),
                both => panic!("round {round}: {both:?}"),
            }
            assert!(end.decisions().len() <= 1, "round {round}");
        }
        let ends = events(state).await;
        let count = |name: &str| ends.iter().filter(|event| *event == name).count();
        let settled: usize = ["hold.approved", "hold.rejected", "hold.expired", "hold.withdrawn"]
            .iter()
            .map(|name| count(name))
            .sum();
        assert_eq!(settled, 24);
    }
}

/// Without the row's lock each of the two would see only its own approval, and nobody would open the window.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_approvals_at_once_are_both_counted() {
    for Store { state, .. } in &stores().await {
        for round in 1..=8 {
            let stored = new(state, asked(round, 2), at(0)).await;
            let tasks = ["ann", "bob"].map(|name| {
                let (state, id) = (state.clone(), stored.id);
                tokio::spawn(async move {
                    decide(&state, id, &human(name), Verdict::Approve, at(1)).await.unwrap()
                })
            });
            let [one, other] = tasks;
            let mut ends = [one.await.unwrap(), other.await.unwrap()];
            ends.sort_by_key(|end| *end == Standing::Approved);
            assert_eq!(ends, [Standing::Pending, Standing::Approved], "round {round}");
        }
        assert_eq!(state.windows(None).await.unwrap().len(), 8);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_window_opens_however_many_ask_at_once() {
    for Store { state, .. } in &stores().await {
        let asks: Vec<_> = (0..8)
            .map(|_| {
                let state = state.clone();
                tokio::spawn(async move { state.request(by_policy(300, at(0)), at(0)).await.unwrap() })
            })
            .collect();
        let mut opened = 0;
        for ask in asks {
            match ask.await.unwrap() {
                Requested::New(..) => opened += 1,
                other => assert!(matches!(other, Requested::AlreadyOpen(_)), "{other:?}"),
            }
        }
        assert_eq!((opened, state.windows(None).await.unwrap().len()), (1, 1));
    }
}

#[tokio::test]
async fn sessions_are_kept_and_a_restart_settles_what_was_left() {
    for Store { state, .. } in &stores().await {
        let principal = human("ann").principal;
        let start = |target_name: &str| SessionStart {
            id: SessionId::new(id()),
            caller: (&human("ann")).into(),
            target: target(target_name),
            window: WindowId::new(id()),
        };
        let (one, two) = (start("db"), start("web"));
        state.session_started(&one, at(0)).await.unwrap();
        state.session_started(&two, at(1)).await.unwrap();
        state.session_ended(one.id, "closed by the client", at(5)).await.unwrap();
        state.session_ended(one.id, "again", at(6)).await.unwrap();
        let hold = state.hold(held(), at(0)).await.unwrap().unwrap();
        state.settle_left_behind(at(9)).await.unwrap();
        let rows = state.sessions(Some(&principal)).await.unwrap();
        let ends: Vec<_> = rows.iter().map(|row| (row.id, row.ended, row.end_reason.as_deref())).collect();
        let stopped = Some("the gateway stopped");
        assert_eq!(
            ends,
            [(two.id, Some(at(9)), stopped), (one.id, Some(at(5)), Some("closed by the client"))]
        );
        let stored = state.approval(hold.id).await.unwrap().unwrap();
        assert_eq!(stored.approval.state(at(9)), Standing::Withdrawn);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_open_is_counted_and_what_is_over_is_not() {
    for Store { state, .. } in &stores().await {
        let open = |seconds| state.open_counts(at(seconds));
        assert_eq!(open(0).await.unwrap(), OpenCounts { windows: 0, requests: 0, holds: 0, deliveries: 0 });
        // Until 300 and 600; the request waits until 600, the hold until 60.
        new(state, by_policy(300, at(0)), at(0)).await;
        let second = new(state, by_policy(600, at(100)), at(100)).await;
        new(state, asked(500, 1), at(0)).await;
        state.hold(held(), at(0)).await.unwrap();
        assert_eq!(open(59).await.unwrap(), OpenCounts { windows: 1, requests: 1, holds: 1, deliveries: 0 });
        assert_eq!(open(100).await.unwrap(), OpenCounts { windows: 2, requests: 1, holds: 0, deliveries: 0 });
        let by = human("oz").principal;
        state.end_window(second.window.unwrap(), &by, "over", at(200)).await.unwrap();
        assert_eq!(open(200).await.unwrap(), OpenCounts { windows: 1, requests: 1, holds: 0, deliveries: 0 });
        assert_eq!(open(600).await.unwrap(), OpenCounts { windows: 0, requests: 0, holds: 0, deliveries: 0 });
    }
}

#[tokio::test]
async fn a_sqlite_file_survives_a_restart_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = State::sqlite(&path, "here").await.unwrap();
    let stored = new(&state, asked(300, 1), at(0)).await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
    }
    state.close().await;
    let state = State::sqlite(&path, "here").await.unwrap();
    assert_eq!(state.approval(stored.id).await.unwrap(), Some(stored));
    let nowhere = State::sqlite(&folder.path().join("no/such/folder/state.db"), "here").await.unwrap_err();
    assert!(nowhere.to_string().starts_with("the state cannot be kept in "), "{nowhere}");
}

#[tokio::test]
async fn moments_are_kept_to_the_microsecond_and_never_rounded_up() {
    for Store { state, .. } in &stores().await {
        let now = after(at(0), Duration::from_nanos(1_999)).unwrap();
        let Requested::New(_, Some(window)) = state.request(by_policy(300, now), now).await.unwrap() else {
            panic!()
        };
        let stored = state.window(window.window.id()).await.unwrap().unwrap();
        assert_eq!(stored, window);
        assert!(stored.window.closes() <= after(now, Duration::from_secs(300)).unwrap());
    }
}

#[tokio::test]
async fn the_clock_of_a_gateway_only_goes_forwards() {
    let at = |second| Timestamp::from_second(second).unwrap();
    for Store { state, .. } in stores().await {
        assert_eq!(state.furthest().await.unwrap(), None);
        for (now, furthest) in [(100, 100), (90, 100), (110, 110)] {
            state.clock_has_come_to(at(now)).await.unwrap();
            assert_eq!(state.furthest().await.unwrap(), Some(at(furthest)));
        }
        let other = State { node: "there".into(), ..state.clone() };
        assert_eq!(other.furthest().await.unwrap(), None, "a wrong clock elsewhere is not ours");
    }
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let state = State::sqlite(&path, "here").await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT version + 1000, description, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1";
    sqlx::query(newer).execute(&state.write).await.unwrap();
    state.close().await;
    let error = State::sqlite(&path, "here").await.unwrap_err();
    let says = "the state store was written by a newer version of Chaperone: start that one, or a later one";
    assert_eq!(error.to_string(), says);
}

#[tokio::test]
async fn what_others_ask_hides_nothing_from_those_who_may_decide() {
    let facts = |number: usize| person(&format!("agent-{number}"), CallerKind::Agent, &[]);
    let requester = |number: usize| facts(number).principal;
    let request = |number: usize| {
        let matter = terms(300);
        let patience = Duration::from_secs(600);
        let approval =
            Approval::ask(requester(number), matter, vec![needs("dba", 1)], at(0), patience).unwrap();
        NewRequest { caller: (&facts(number)).into(), approval, ..asked(300, 1) }
    };
    let most = usize::try_from(LIST_LIMIT).unwrap();
    for Store { state, .. } in &stores().await {
        for number in 0..=most {
            new(state, request(number), at(0)).await;
        }
        let last = requester(most);
        let decided = decide(
            state,
            state.requests(Some(&last)).await.unwrap()[0].id,
            &human("ann"),
            Verdict::Reject,
            at(1),
        )
        .await;
        assert_eq!(decided, Ok(Standing::Rejected));
        new(state, request(most), at(2)).await;
        let of = |who: Principal| async move {
            state
                .pending_approvals(at(3), move |stored| *stored.approval.requester() == who)
                .await
                .unwrap()
                .len()
        };
        assert_eq!((of(requester(0)).await, of(last).await), (1, 1));
        assert_eq!(state.pending_approvals(at(3), |_| true).await.unwrap().len(), most);
    }
}
