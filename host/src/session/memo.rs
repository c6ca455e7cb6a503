//! What plugins said that may be used again: in the same session, for a short time.
//!
//! Drivers send the same text over and over, and statements that differ in their literals alone; asking every plugin each
//! time would be most of what a statement costs. Only answers of plugins that call themselves deterministic come in here
//! (`lifecycle.description` in `wit/`), and never a fault. What may go wrong: an answer that has become another. So each
//! counts for [`FRESH`], and no session sees another's.

use super::operation::{Judged, Ruling};
use chaperone_core::decision::Finding;
use chaperone_core::sql::StatementFacts;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long an answer counts; the contract in `wit/` says so.
const FRESH: Duration = Duration::from_secs(10);

/// Texts that are remembered; over it all are forgotten, which costs only questions.
const MAX_TEXTS: usize = 64;

/// The longest text that is remembered, in bytes: longer ones are rarely sent twice.
const MAX_TEXT_BYTES: usize = 4 * 1024;

/// Hashes of texts that were sent a moment ago.
const SEEN: usize = 64;

/// Shapes that are remembered; over it all are forgotten.
const MAX_SHAPES: usize = 64;

/// The largest list of facts that is remembered: larger ones are rarely met twice.
const MAX_FACTS: usize = 16;

/// What statements that differ in their literals alone have in common.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    pub(super) risk: u8,
    pub(super) findings: Rc<[Finding]>,
    /// One list for all of them, so that what is kept about it is found by its address.
    pub(super) statements: Rc<[StatementFacts]>,
    /// The recorded words of an allowed operation of this shape.
    pub(super) allowed: Rc<OnceCell<Vec<u8>>>,
}

#[derive(Default)]
pub(super) struct Memo {
    judgements: HashMap<Rc<str>, (Instant, Judged)>,
    /// By the hash's own low bits. Most texts never come again: keeping one costs more than asking about it.
    seen: Seen,
    shapes: HashMap<Rc<[StatementFacts]>, (Shape, Option<Told>)>,
}

/// What triggers said, and when.
type Told = (Instant, Ruling);

struct Seen([u64; SEEN]);

impl Default for Seen {
    fn default() -> Self {
        Seen([0; SEEN])
    }
}

impl Seen {
    /// Whether a text of this hash came a moment ago.
    fn again(&mut self, hash: u64) -> bool {
        let index = usize::try_from(hash % SEEN as u64).unwrap_or(0);
        self.0.get_mut(index).is_some_and(|seen| std::mem::replace(seen, hash) == hash)
    }
}

impl Memo {
    /// Whether a text came a moment ago, so that it is worth to be kept and looked for.
    pub(super) fn came_before(&mut self, text: &str) -> bool {
        text.len() <= MAX_TEXT_BYTES && self.seen.again(self.judgements.hasher().hash_one(text))
    }

    /// The judgement of a text, for a new operation.
    pub(super) fn recall(&self, text: &str, operation: u64) -> Option<Judged> {
        let (when, judged) = self.judgements.get(text)?;
        (when.elapsed() < FRESH).then(|| Judged { operation, ..judged.clone() })
    }

    pub(super) fn remember(&mut self, judged: &Judged) {
        if self.judgements.len() >= MAX_TEXTS {
            self.judgements.clear();
        }
        self.judgements.insert(Rc::clone(&judged.text), (Instant::now(), judged.clone()));
    }

    /// The shape that these answers have, the same for equal ones, and what triggers that do not look at texts said to it.
    pub(super) fn shape(
        &mut self,
        risk: u8,
        findings: Vec<Finding>,
        statements: Vec<StatementFacts>,
    ) -> (Shape, Option<Ruling>) {
        if let Some((known, ruling)) = self.shapes.get(&*statements)
            && known.risk == risk
            && *known.findings == *findings
        {
            let fresh = ruling.as_ref().filter(|(when, _)| when.elapsed() < FRESH);
            return (known.clone(), fresh.map(|(_, ruling)| ruling.clone()));
        }
        let shape =
            Shape { risk, findings: findings.into(), statements: statements.into(), allowed: Rc::default() };
        if shape.statements.len() <= MAX_FACTS {
            if self.shapes.len() >= MAX_SHAPES {
                self.shapes.clear();
            }
            self.shapes.insert(Rc::clone(&shape.statements), (shape.clone(), None));
        }
        (shape, None)
    }

    /// What triggers that do not look at texts said to a judgement of this shape.
    pub(super) fn remember_ruling(&mut self, shape: &Judged) {
        if let Some((known, kept)) = self.shapes.get_mut(&shape.statements)
            && Rc::ptr_eq(&known.allowed, &shape.allowed)
        {
            *kept = Some((Instant::now(), shape.ruling.clone()));
        }
    }
}
#[cfg(test)]
mod tests {
    use super::super::operation::Ruling;
    use super::*;

    fn judged(text: &str) -> Judged {
        Judged { operation: 1, ..Judged::unseen(text.into(), Ruling::Allow) }
    }

    #[test]
    fn a_text_is_recalled_for_another_operation_and_only_that_text() {
        let mut memo = Memo::default();
        memo.remember(&judged("select 1"));
        assert_eq!(memo.recall("select 1", 7).map(|judged| judged.operation), Some(7));
        assert!(memo.recall("select 1 ", 8).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memo = Memo::default();
        for number in 0..1000 {
            memo.remember(&judged(&format!("select {number}")));
        }
        assert!(memo.judgements.len() <= MAX_TEXTS);
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        assert!(!memo.came_before(&long) && !memo.came_before(&long));
    }

    #[test]
    fn a_text_is_worth_keeping_when_it_comes_again() {
        let mut memo = Memo::default();
        assert!(!memo.came_before("select 1"));
        assert!(memo.came_before("select 1"));
        assert!(!memo.came_before("select 2"));
    }

    fn facts(class: &str) -> Vec<StatementFacts> {
        vec![StatementFacts { class: class.into(), ..StatementFacts::unknown() }]
    }

    fn ruled(shape: Shape, ruling: Ruling) -> Judged {
        let Shape { risk, findings, statements, allowed } = shape;
        Judged { risk, findings, statements, allowed, ..Judged::unseen("".into(), ruling) }
    }

    #[test]
    fn a_ruling_counts_for_its_facts_its_risk_and_its_findings_alone() {
        let mut memo = Memo::default();
        let finding = || vec![Finding { rule: "a.b".into(), detail: String::new(), risk: 7 }];
        let (shape, none) = memo.shape(7, finding(), facts("select"));
        assert_eq!(none, None);
        memo.remember_ruling(&ruled(shape.clone(), Ruling::Hold(Vec::new())));
        let (same, ruling) = memo.shape(7, finding(), facts("select"));
        assert!(Rc::ptr_eq(&same.statements, &shape.statements));
        assert_eq!(ruling, Some(Ruling::Hold(Vec::new())));
        assert_eq!(memo.shape(7, finding(), facts("insert")).1, None);
        assert_eq!(memo.shape(7, Vec::new(), facts("select")).1, None);
        memo.remember_ruling(&ruled(shape, Ruling::Allow));
        assert_eq!(memo.shape(8, finding(), facts("select")).1, None, "another shape has taken its place");
    }

    #[test]
    fn shapes_are_bounded() {
        let mut memo = Memo::default();
        for number in 0..1000 {
            memo.shape(0, Vec::new(), facts(&format!("ddl.{number}")));
        }
        assert!(memo.shapes.len() <= MAX_SHAPES);
    }
}
