//! The plugin engine against a plugin that breaks every rule, one at a time.
//!
//! Each broken rule is a fault of the right kind, the instance is replaced, and whoever comes next does not notice. The
//! words are those of `tests/guests/hostile`.

mod answers;
mod classes;
mod gateway;
mod isolation;
mod loading;
mod outside;

use chaperone_hooks::{Fault, FaultKind, SessionHooks, SqlJudgement};

/// Asks for a rule to be broken.
async fn ask(session: &mut SessionHooks, word: &str) -> Result<SqlJudgement, Fault> {
    session.check_sql(&format!("hostile:{word}"), 1_700_000_000_000).await
}

/// What a well-behaved word tells.
async fn tell(session: &mut SessionHooks, word: &str) -> String {
    let judgement = ask(session, word).await.unwrap_or_else(|fault| panic!("{word}: {fault}"));
    judgement.findings[0].detail.clone()
}

/// The fault that a word must be.
async fn fault(session: &mut SessionHooks, word: &str) -> Fault {
    match ask(session, word).await {
        Err(fault) => fault,
        Ok(judgement) => panic!("{word} was no fault: {judgement:?}"),
    }
}

/// A word must be a fault of a kind, in an instance that is replaced.
async fn breaks(session: &mut SessionHooks, word: &str, kind: FaultKind) -> Fault {
    tell(session, "count").await;
    let fault = fault(session, word).await;
    assert_eq!((fault.kind, fault.hook), (kind, "sql-check"), "{word}: {fault}");
    assert_eq!(fault.plugin, "hostile");
    assert_eq!(tell(session, "count").await, "1", "{word}: the instance was not replaced");
    fault
}
