//! Answers, and the lack of them: every kind of fault in every hook.

use super::{breaks, tell};
use chaperone_core::sql::{Column, Format, FunctionRef, Lineage, StatementFacts, Surroundings, Use};
use chaperone_hooks::{Batch, FaultKind, Hook, OperationSummary, PlanOutcome, SessionHooks};
use chaperone_tests::guests::{engine, facts, hasty, hostile_chain, load_hostile, patient};

#[tokio::test]
async fn a_check_that_breaks_the_contract_is_a_fault() {
    let engine = engine(4).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    for (word, kind, detail) in [
        ("panic", FaultKind::Trapped, ""),
        ("recurse", FaultKind::Trapped, ""),
        ("exit", FaultKind::Trapped, "wasi:cli/exit"),
        ("print", FaultKind::Trapped, "wasi:cli/stdout"),
        ("print-error", FaultKind::Trapped, "wasi:cli/stderr"),
        ("sleep", FaultKind::Trapped, "wasi:"),
        ("eat", FaultKind::Memory, ""),
        ("risk-101", FaultKind::BadAnswer, "a risk is over 100"),
        ("finding-risk-255", FaultKind::BadAnswer, "a risk is over 100"),
        ("long-text", FaultKind::BadAnswer, "too long"),
        ("long-class", FaultKind::BadAnswer, "too long"),
        ("long-refusal", FaultKind::BadAnswer, "too long"),
        ("many-findings", FaultKind::BadAnswer, "a list of the answer is too long"),
        ("many-statements", FaultKind::BadAnswer, "a list of the answer is too long"),
        // These three are stopped while they are copied, before any other bound is looked at.
        ("huge-text", FaultKind::BadAnswer, "too much data"),
        ("many-texts", FaultKind::BadAnswer, "too much data"),
        ("amplified", FaultKind::BadAnswer, "too much data"),
        ("not-utf8", FaultKind::BadAnswer, "utf-8"),
    ] {
        let fault = breaks(&mut session, word, kind).await;
        assert!(fault.detail.contains(detail), "{word}: {fault}");
        assert!(fault.detail.chars().count() <= 200 && !fault.detail.contains(char::is_control), "{fault:?}");
    }
}

#[tokio::test]
async fn a_check_that_never_ends_is_cut() {
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, hasty()).await.unwrap().open(facts()).await.unwrap();
    breaks(&mut session, "loop", FaultKind::Deadline).await;
    // The clock runs as long as there is a plugin, whoever still holds the engine.
    drop(engine);
    breaks(&mut session, "loop", FaultKind::Deadline).await;
}

#[tokio::test]
async fn memory_has_a_ceiling_that_a_plugin_may_survive() {
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    assert_eq!(tell(&mut session, "nibble").await, "true", "it got more than it may have");
    // It took no for an answer; a panic later is no matter of memory.
    breaks(&mut session, "panic", FaultKind::Trapped).await;
}

#[tokio::test]
async fn a_text_over_the_bound_is_not_asked() {
    let engine = engine(2).unwrap();
    let plugin = load_hostile(&engine, "", patient()).await.unwrap();
    let chain = chaperone_hooks::Chain::new(vec![plugin.clone()]).unwrap();
    let mut session = chain.open(facts()).await.unwrap();
    let most = chaperone_hooks::limits::MAX_TEXT_BYTES;
    session.check_sql(&"x".repeat(most), 0).await.unwrap();
    let fault = session.check_sql(&"x".repeat(most + 1), 0).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::TooLarge);
    assert_eq!(
        fault.to_string(),
        "plugin hostile failed in sql-check: too-large (the statement is longer than 1048576 bytes)"
    );
}

async fn held(session: &mut SessionHooks, word: &str) -> Result<usize, FaultKind> {
    let operation = OperationSummary {
        protocol: "postgres",
        text: &format!("hostile:{word}"),
        classes: Vec::new(),
        risk: 0,
        findings: &[],
        now_ms: 0,
    };
    session.holds(&operation).await.map(|holds| holds.len()).map_err(|fault| {
        assert_eq!(fault.hook, "approval-trigger");
        fault.kind
    })
}

#[tokio::test]
async fn a_hold_that_nobody_could_end_is_a_fault() {
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    for word in ["hold-by-nobody", "hold-without-time", "hold-by-no-alias", "hold-with-novel"] {
        assert_eq!(held(&mut session, word).await, Err(FaultKind::BadAnswer), "{word}");
        assert_eq!(held(&mut session, "hold").await, Ok(1), "after {word}");
    }
    assert_eq!(held(&mut session, "panic").await, Err(FaultKind::Trapped));
    assert_eq!(held(&mut session, "eat").await, Err(FaultKind::Memory));
    assert_eq!(held(&mut session, "nothing").await, Ok(0));
}

fn columns(word: &str) -> Vec<Column> {
    let column =
        |name: String| Column { name, lineage: Lineage::default(), type_oid: 25, format: Format::Text };
    vec![column(format!("hostile:{word}")), column("other".into())]
}

#[tokio::test]
async fn a_plan_that_does_not_fit_the_columns_is_a_fault() {
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    for (word, kind) in [
        ("plan-short", FaultKind::BadAnswer),
        ("plan-long", FaultKind::BadAnswer),
        ("plan-flood", FaultKind::BadAnswer),
        ("plan-novel", FaultKind::BadAnswer),
        ("panic", FaultKind::Trapped),
        ("eat", FaultKind::Memory),
    ] {
        let fault = session.plan(&[], &Surroundings::default(), &columns(word), 0).await.unwrap_err();
        assert_eq!((fault.kind, fault.hook), (kind, "column-mask"), "{word}: {fault}");
        let plan = session.plan(&[], &Surroundings::default(), &columns("nothing"), 0).await.unwrap();
        assert!(matches!(plan, PlanOutcome::Plan(plan) if plan.passes_all()), "after {word}");
    }
}

fn batch() -> Batch {
    let mut batch = Batch::new();
    for value in ["one", "two2", "three"] {
        batch.push(Some(value.as_bytes()));
    }
    batch
}

/// Masks three values in each of two columns; gives back the first column's, or the fault's kind.
async fn masked(session: &mut SessionHooks, word: &str) -> Result<Vec<String>, FaultKind> {
    let PlanOutcome::Plan(plan) =
        session.plan(&[], &Surroundings::default(), &columns(word), 0).await.unwrap()
    else {
        panic!("{word} is refused")
    };
    assert_eq!(plan.masked_columns().collect::<Vec<_>>(), [0, 1], "{word} is no word");
    let answer = session.mask(&plan, vec![batch(), batch()]).await.map_err(|fault| fault.kind)?;
    let Ok(masked) = answer else { return Ok(vec!["refused".into()]) };
    let text = |index| String::from_utf8(masked[0].value(index).unwrap().unwrap().to_vec()).unwrap();
    Ok((0..3).map(text).collect())
}

#[tokio::test]
async fn a_masked_batch_that_does_not_fit_the_batch_is_a_fault() {
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    for (word, kind) in [
        ("mask-short", FaultKind::BadAnswer),
        ("mask-long", FaultKind::BadAnswer),
        ("mask-unsorted", FaultKind::BadAnswer),
        ("mask-first-offset", FaultKind::BadAnswer),
        ("mask-last-offset", FaultKind::BadAnswer),
        ("mask-no-offsets", FaultKind::BadAnswer),
        ("mask-unchanged-bytes", FaultKind::BadAnswer),
        ("mask-unchanged-nulls", FaultKind::BadAnswer),
        ("mask-unchanged-number", FaultKind::BadAnswer),
        ("mask-nulls-short", FaultKind::BadAnswer),
        ("mask-null-with-bytes", FaultKind::BadAnswer),
        ("mask-changed", FaultKind::BadAnswer),
        ("mask-fewer-batches", FaultKind::BadAnswer),
        ("mask-more-batches", FaultKind::BadAnswer),
        ("mask-huge", FaultKind::BadAnswer),
        ("mask-gigantic", FaultKind::BadAnswer),
        ("mask-refuse-novel", FaultKind::BadAnswer),
        ("mask-panic", FaultKind::Trapped),
        ("mask-eat", FaultKind::Memory),
    ] {
        assert_eq!(masked(&mut session, word).await, Err(kind), "{word}");
        for same in ["mask-same", "mask-unchanged"] {
            let values = masked(&mut session, same).await;
            assert_eq!(
                values.as_deref(),
                Ok(["one", "two2", "three"].map(String::from).as_slice()),
                "{same} after {word}"
            );
        }
    }
    assert_eq!(masked(&mut session, "mask-refuse").await, Ok(vec!["refused".to_owned()]));
}

#[tokio::test]
async fn a_mask_that_never_ends_is_cut() {
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, hasty()).await.unwrap().open(facts()).await.unwrap();
    assert_eq!(masked(&mut session, "mask-loop").await, Err(FaultKind::Deadline));
    assert!(masked(&mut session, "mask-same").await.is_ok());
}

#[tokio::test]
async fn calls_and_faults_are_counted() {
    let engine = engine(2).unwrap();
    let plugin = load_hostile(&engine, "", patient()).await.unwrap();
    let chain = chaperone_hooks::Chain::new(vec![plugin.clone()]).unwrap();
    let mut session = chain.open(facts()).await.unwrap();
    tell(&mut session, "count").await;
    super::fault(&mut session, "panic").await;
    super::fault(&mut session, "risk-101").await;
    let too_long = "x".repeat(chaperone_hooks::limits::MAX_TEXT_BYTES + 1);
    session.check_sql(&too_long, 0).await.unwrap_err();
    held(&mut session, "hold-by-nobody").await.unwrap_err();
    let counted = |hook| (plugin.metrics(hook).read().calls, plugin.metrics(hook).read().faults);
    // The text that was too long never reached the plugin.
    assert_eq!(counted(Hook::SqlCheck), (3, 3));
    assert_eq!(counted(Hook::ApprovalTrigger), (1, 1));
    assert_eq!(counted(Hook::ColumnMask), (0, 0));
    assert!(!plugin.metrics(Hook::SqlCheck).read().time.is_zero());
}

fn facts_of(word: &str) -> Vec<StatementFacts> {
    vec![StatementFacts {
        class: "select".into(),
        classes: vec!["select".into()],
        relations: Vec::new(),
        columns: Vec::new(),
        functions: vec![FunctionRef { schema: None, name: format!("hostile:{word}") }],
        opaque: false,
        changes_session: false,
        copy_out: None,
    }]
}

#[tokio::test]
async fn a_mask_that_answers_wrongly_before_a_statement_runs_is_a_fault() {
    let engine = engine(2).unwrap();
    let mut session = hostile_chain(&engine, patient()).await.unwrap().open(facts()).await.unwrap();
    let nothing = Surroundings::default();
    for (word, kind) in [
        ("use-risk", FaultKind::BadAnswer),
        ("use-novel", FaultKind::BadAnswer),
        ("panic", FaultKind::Trapped),
        ("eat", FaultKind::Memory),
    ] {
        let fault = session.check_use(&facts_of(word), &nothing, 0).await.unwrap_err();
        assert_eq!((fault.kind, fault.hook), (kind, "column-mask"), "{word}: {fault}");
        let answer = session.check_use(&facts_of("nothing"), &nothing, 0).await.unwrap();
        assert_eq!(answer.permission, Use::Allow, "after {word}");
    }
    let answer = session.check_use(&facts_of("use-refuse"), &nothing, 0).await.unwrap();
    assert!(matches!(answer.permission, Use::Refuse(why) if why.reason == "not so"));
    let answer = session.check_use(&facts_of("use-approve"), &nothing, 0).await.unwrap();
    assert!(matches!(answer.permission, Use::Approve(why) if why.reason == "ask first"));
}
