//! Requests that people answer, and held operations, through the whole module.

use super::*;

fn operation(terms: Vec<HoldTerms>) -> HeldOperation {
    HeldOperation {
        summary: "DELETE FROM customers\nWHERE id = $1 -- 7".into(),
        digest: [3; 32],
        risk: 80,
        findings: vec![],
        terms,
    }
}

fn terms(alias: &str, needed: u8) -> HoldTerms {
    HoldTerms {
        approvers: GroupAlias::new(alias).unwrap(),
        needed,
        timeout_seconds: 60,
        reason: "it deletes".into(),
    }
}

pub(super) async fn decide(
    gateway: &Gateway,
    who: &Identity,
    id: ApprovalId,
    verdict: Verdict,
) -> Result<Standing, String> {
    let now = gateway.clock.now();
    let decided = gateway.grants.decide(who, id, verdict, "seen", now).await;
    decided.map(|stored| stored.approval.state(now)).map_err(|error| error.to_string())
}

#[tokio::test]
async fn two_people_open_the_window_and_its_time_begins_then() {
    for gateway in &gateways().await {
        let caller = agent("a1");
        let id = ask(gateway, &caller, "vault").await;
        let ApprovalId::Request(request) = id else { panic!() };
        let waiting = tokio::spawn({
            let (grants, caller) = (gateway.grants.clone(), caller.clone());
            async move { grants.wait_for_request(&caller, request, Duration::from_secs(60)).await.unwrap() }
        });
        gateway.clock.pass(Duration::from_secs(100));
        let approve = async |who: &Identity| decide(gateway, who, id, Verdict::Approve).await;
        assert_eq!(approve(&human("ann", "dba")).await, Ok(Standing::Pending));
        assert_eq!(approve(&human("bob", "dba")).await, Ok(Standing::Approved));
        let stored = soon(waiting).await.unwrap();
        assert_eq!(stored.approval.state(at(100)), Standing::Approved);
        let permit = gateway.grants.permit(&caller, &target("vault"), at(100)).await.unwrap();
        assert_eq!((permit.window().opens(), permit.ends_at()), (at(100), at(3600)));
        assert_eq!(permit.window().closes(), at(3700));
    }
}

#[tokio::test]
async fn who_may_not_decide_learns_why_or_nothing() {
    for gateway in &gateways().await {
        // A person asks, so that they could try to approve.
        let asker = Identity::for_test(person("ann", CallerKind::Human, &["id-of-team", "id-of-dba"]));
        let id = ask(gateway, &asker, "vault").await;
        let approve = async |who: &Identity| decide(gateway, who, id, Verdict::Approve).await.unwrap_err();
        assert_eq!(approve(&asker).await, "This cannot be decided: nobody decides on their own request.");
        for kind in
            [CallerKind::Agent, CallerKind::AgentUser, CallerKind::Workload, CallerKind::HumanThroughAgent]
        {
            let caller = Identity::for_test(person("bot", kind, &["id-of-dba"]));
            assert_eq!(
                approve(&caller).await,
                format!(
                    "This cannot be decided: only a person may decide, signed in with a plain client; this credential \
                     is of kind {kind}."
                )
            );
        }
        // An outsider, an operator among them, cannot tell what they may not decide from what does not exist.
        let nothing = ApprovalId::Hold(HoldId::new(uuid::Uuid::now_v7()));
        for outsider in [human("eve", "team"), human("oz", "ops")] {
            let missing = decide(gateway, &outsider, nothing, Verdict::Approve).await.unwrap_err();
            assert_eq!(approve(&outsider).await, missing);
            assert_eq!(missing, "There is nothing of this id that you may see.");
        }
        assert_eq!(decide(gateway, &human("bob", "dba"), id, Verdict::Approve).await, Ok(Standing::Pending));
        assert_eq!(
            approve(&human("bob", "dba")).await,
            "This cannot be decided: you have already decided; one person counts once."
        );
        gateway.clock.pass(Duration::from_secs(600));
        assert!(
            approve(&human("cat", "dba"))
                .await
                .starts_with("This cannot be decided: its deadline has passed")
        );
        let refusal = gateway.grants.permit(&asker, &target("vault"), at(600)).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::NoWindow);
    }
}

#[tokio::test]
async fn lists_show_what_the_caller_may_see() {
    for gateway in &gateways().await {
        let grants = &gateway.grants;
        let ApprovalId::Request(id) = ask(gateway, &agent("a1"), "vault").await else { panic!() };
        ask(gateway, &agent("a2"), "db").await;
        for (who, approvals, requests, windows, one) in [
            (agent("a1"), 0, 1, 0, true),
            (agent("a2"), 0, 1, 1, false),
            (human("ann", "dba"), 1, 0, 0, true),
            (human("oz", "ops"), 1, 2, 1, true),
            (human("au", "audit"), 1, 2, 1, true),
            (human("eve", "team"), 0, 0, 0, false),
            (Identity::for_test(person("bot", CallerKind::Workload, &["id-of-dba"])), 0, 0, 0, false),
        ] {
            let name = &who.facts().principal;
            assert_eq!(grants.approvals(&who).await.unwrap().len(), approvals, "{name}");
            assert_eq!(grants.requests(&who).await.unwrap().len(), requests, "{name}");
            assert_eq!(grants.windows(&who).await.unwrap().len(), windows, "{name}");
            assert_eq!(grants.request_of(&who, id).await.is_ok(), one, "{name}");
        }
    }
}

#[tokio::test]
async fn an_auditor_sees_everything_and_changes_nothing() {
    for gateway in &gateways().await {
        let (grants, au) = (&gateway.grants, human("au", "audit"));
        let id = ask(gateway, &agent("a1"), "vault").await;
        ask(gateway, &agent("a1"), "db").await;
        let [open] = &*grants.open_windows(&au).await.unwrap() else { panic!() };
        let open = open.window.id();
        assert!(grants.open_windows(&human("ann", "dba")).await.is_err());
        assert!(grants.look(&au, id).await.is_ok() && grants.denials(&au, at(0)).await.is_ok());
        assert_eq!(grants.rules(&au).unwrap().grants.len(), 4);
        assert!(grants.rules(&human("ann", "dba")).is_err());
        let nothing = AskError::NotFound.to_string();
        assert_eq!(grants.end_window(&au, open, "no", at(1)).await.unwrap_err().to_string(), nothing);
        let decided = grants.decide(&au, id, Verdict::Reject, "", at(1)).await;
        assert_eq!(decided.unwrap_err().to_string(), nothing);
        let denied =
            chaperone_core::denial::Denied::new(chaperone_core::denial::DeniedKind::Object, "t", "a1");
        let denied = grants.deny(&au, denied.unwrap(), "no", None, at(1)).await;
        assert_eq!(denied.unwrap_err().to_string(), nothing);
        assert_eq!(grants.open_windows(&au).await.unwrap().len(), 1);
        // What was settled by people is shown to who may see it, and the caller's own requests do not count as that.
        for name in ["ann", "bob"] {
            grants.decide(&human(name, "dba"), id, Verdict::Approve, "", at(2)).await.unwrap();
        }
        gateway.clock.pass(Duration::from_secs(4000));
        let next = ask(gateway, &agent("a1"), "vault").await;
        let look = grants.look(&au, next).await.unwrap();
        let before = grants.decided_before(&au, &look).await.unwrap();
        assert_eq!(before.iter().map(|stored| stored.id).collect::<Vec<_>>(), [id]);
        let look = grants.look(&human("cat", "dba"), next).await.unwrap();
        assert!(grants.decided_before(&human("eve", "team"), &look).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_held_operation_waits_for_its_answer() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        let hold =
            async || gateway.grants.hold(&permit, operation(vec![terms("dba", 1)]), at(0)).await.unwrap();
        let mut approved = hold().await;
        let id = ApprovalId::Hold(approved.id());
        let ann = human("ann", "dba");
        let decision = decide(gateway, &ann, id, Verdict::Approve);
        let (outcome, decided) = tokio::join!(soon(approved.outcome()), decision);
        assert_eq!(decided, Ok(Standing::Approved));
        assert_eq!(
            outcome,
            HoldOutcome::Approved { by: vec![human("ann", "dba").facts().principal.clone()] }
        );
        assert_eq!((outcome.refusal(), approved.digest()), (None, [3; 32]));
        let mut rejected = hold().await;
        let id = ApprovalId::Hold(rejected.id());
        decide(gateway, &human("ann", "dba"), id, Verdict::Reject).await.unwrap();
        let refusal = soon(rejected.outcome()).await.refusal().unwrap();
        assert_eq!(refusal.code, RefusalCode::HoldRejected);
        assert_eq!(
            refusal.to_string(),
            "An approver rejected this operation. The approver said: seen. Ask the approver before you send it again."
        );
        let mut late = hold().await;
        let id = ApprovalId::Hold(late.id());
        gateway.clock.pass(Duration::from_secs(60));
        let refusal = soon(late.outcome()).await.refusal().unwrap();
        assert_eq!(refusal.code, RefusalCode::HoldTimedOut);
        let too_late = decide(gateway, &human("ann", "dba"), id, Verdict::Approve).await;
        assert_eq!(too_late.unwrap_err(), "This cannot be decided: its deadline has passed.");
        let ended = |word| gateway.grants.holds_ended()[word];
        assert_eq!(
            ["approved", "rejected", "timed-out", "withdrawn"].map(ended),
            [0; 4],
            "they are still here"
        );
        drop((approved, rejected, late, hold().await));
        assert_eq!(["approved", "rejected", "timed-out", "withdrawn"].map(ended), [1; 4]);
    }
}

#[tokio::test]
async fn another_gateway_answers_a_hold() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        let elsewhere =
            Grants::start(policy(), gateway.store.state.clone(), gateway.clock.clone()).await.unwrap();
        let mut hold = gateway.grants.hold(&permit, operation(vec![terms("dba", 1)]), at(0)).await.unwrap();
        let id = ApprovalId::Hold(hold.id());
        elsewhere.decide(&human("ann", "dba"), id, Verdict::Approve, "", at(1)).await.unwrap();
        assert!(matches!(soon(hold.outcome()).await, HoldOutcome::Approved { .. }));
    }
}

#[tokio::test]
async fn a_hold_that_nobody_waits_for_is_withdrawn() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        let hold = gateway.grants.hold(&permit, operation(vec![terms("dba", 1)]), at(0)).await.unwrap();
        let id = ApprovalId::Hold(hold.id());
        let mut changed = gateway.grants.inner.approvals_changed.subscribe();
        drop(hold);
        soon(changed.changed()).await.unwrap();
        assert_eq!(
            decide(gateway, &human("ann", "dba"), id, Verdict::Approve).await.unwrap_err(),
            "This cannot be decided: it is already withdrawn."
        );
    }
}

#[tokio::test]
async fn what_cannot_be_approved_is_refused_and_not_held() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        let hold =
            async |operation| gateway.grants.hold(&permit, operation, at(0)).await.unwrap_err().to_string();
        let nobody = hold(operation(vec![])).await;
        assert!(nobody.starts_with("This operation needs approval, but it cannot be asked for."), "{nobody}");
        let unknown = hold(operation(vec![terms("dba", 1), terms("board", 1)])).await;
        assert!(unknown.contains("The approver group `board` is not defined"), "{unknown}");
        let uncountable = hold(operation(vec![terms("dba", 0)])).await;
        assert!(uncountable.contains("it needs 1 to 8 approver groups"), "{uncountable}");
        for summary in ["x".repeat(MAX_SUMMARY_BYTES + 1), "SELECT '\u{202e}'".into(), "a\u{1b}[2K".into()] {
            let hidden = hold(HeldOperation { summary, ..operation(vec![terms("dba", 1)]) }).await;
            assert!(hidden.contains("it cannot be shown to an approver"), "{hidden}");
        }
        assert!(gateway.store.state.pending_approvals(at(0), |_| true).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_hold_never_outlives_its_permit() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        gateway.clock.pass(Duration::from_secs(890));
        let hold = gateway.grants.hold(&permit, operation(vec![terms("dba", 1)]), at(890)).await.unwrap();
        assert_eq!(hold.deadline(), at(900));
        drop(hold);
        let over = gateway.grants.hold(&permit, operation(vec![terms("dba", 1)]), at(900)).await.unwrap_err();
        assert_eq!(over.code, RefusalCode::OperationRefused);
    }
}

#[tokio::test]
async fn one_person_in_two_groups_does_not_answer_for_both() {
    for gateway in &gateways().await {
        let permit = permit_on_db(gateway, &agent("a1")).await;
        let both = operation(vec![terms("dba", 1), terms("security", 1)]);
        let hold = gateway.grants.hold(&permit, both, at(0)).await.unwrap();
        let id = ApprovalId::Hold(hold.id());
        let ann = Identity::for_test(person("ann", CallerKind::Human, &["id-of-dba", "id-of-security"]));
        assert_eq!(decide(gateway, &ann, id, Verdict::Approve).await, Ok(Standing::Pending));
        assert_eq!(
            decide(gateway, &ann, id, Verdict::Approve).await.unwrap_err(),
            format!("This cannot be decided: {}.", ApprovalProblem::Twice)
        );
        assert_eq!(
            decide(gateway, &human("bob", "security"), id, Verdict::Approve).await,
            Ok(Standing::Approved)
        );
    }
}

#[tokio::test]
async fn who_one_person_is_may_be_told_while_the_gateway_runs() {
    for gateway in &gateways().await {
        let ann = human("ann", "dba");
        let twin = {
            let mut facts = person("ann-as-guest", CallerKind::Human, &["id-of-dba"]);
            facts.tenant = "t2".into();
            facts.principal = chaperone_core::name::Principal::new("corp/t2/ann-as-guest").unwrap();
            Identity::for_test(facts)
        };
        let principals = [ann.facts().principal.clone(), twin.facts().principal.clone()];
        let told = Policy { persons: Persons::new([&principals[..]], Default::default()), ..policy() };
        let id = ask(gateway, &agent("a1"), "vault").await;
        assert_eq!(decide(gateway, &ann, id, Verdict::Approve).await, Ok(Standing::Pending));
        gateway.grants.replace(told).unwrap();
        let refused = decide(gateway, &twin, id, Verdict::Approve).await.unwrap_err();
        assert_eq!(refused, format!("This cannot be decided: {}.", ApprovalProblem::Twice));
        let asked = Identity::for_test({
            let mut facts = ann.facts().clone();
            facts.groups = chaperone_core::identity::Groups::Known(["id-of-team".to_owned()].into());
            facts
        });
        let own = ask(gateway, &asked, "vault").await;
        let refused = decide(gateway, &twin, own, Verdict::Approve).await.unwrap_err();
        assert_eq!(refused, format!("This cannot be decided: {}.", ApprovalProblem::OwnRequest));
        assert!(gateway.grants.approvals(&twin).await.unwrap().iter().all(|stored| stored.id != own));
        // Until it is told, they are two persons.
        gateway.grants.replace(policy()).unwrap();
        assert_eq!(decide(gateway, &twin, id, Verdict::Approve).await, Ok(Standing::Approved));
    }
}

#[tokio::test]
async fn a_token_for_approving_opens_nothing_and_one_for_asking_approves_nothing() {
    let own = Persons::new([], [ProviderName::new("corp").unwrap()].into());
    for gateway in &gateways().await {
        gateway.grants.replace(Policy { persons: own.clone(), ..policy() }).unwrap();
        let approving = |identity: &Identity| {
            let audience = chaperone_core::identity::Audience::Approvers;
            Identity::for_test(IdentityFacts { audience, ..identity.facts().clone() })
        };
        // Everything is granted to this agent, and its window is open.
        let caller = agent("a1");
        permit_on_db(gateway, &caller).await;
        let refused = gateway.grants.permit(&approving(&caller), &target("db"), at(0)).await.unwrap_err();
        assert_eq!(refused.code, RefusalCode::NotGranted);
        assert!(
            refused.to_string().starts_with("This token is for approving, and opens nothing."),
            "{refused}"
        );
        for name in ["db", "vault", "nothing"] {
            let refused =
                gateway.grants.request(&approving(&caller), Wish::new(&target(name), "why"), at(0)).await;
            let refused = refused.unwrap_err().to_string();
            assert!(refused.starts_with("This token is for approving"), "{name}: {refused}");
        }
        let id = ask(gateway, &agent("a2"), "vault").await;
        let ann = human("ann", "dba");
        let nothing = ApprovalId::Hold(HoldId::new(uuid::Uuid::now_v7()));
        for id in [id, nothing] {
            let refused = decide(gateway, &ann, id, Verdict::Approve).await.unwrap_err();
            assert_eq!(refused, format!("This cannot be decided: {}.", ApprovalProblem::NotForApproving));
        }
        assert_eq!(gateway.grants.approvals(&ann).await.unwrap(), []);
        assert_eq!(gateway.grants.approvals(&approving(&ann)).await.unwrap().len(), 1);
        assert_eq!(decide(gateway, &approving(&ann), id, Verdict::Approve).await, Ok(Standing::Pending));
        let refused = decide(gateway, &approving(&caller), id, Verdict::Approve).await.unwrap_err();
        assert!(refused.contains("of kind agent"), "{refused}");
    }
}
