//! Judgements that may be used again: for the same text, in the same session, for a short time.
//!
//! Drivers send the same text over and over; asking every plugin each time would be most of what a statement costs. Only
//! judgements of plugins that call themselves deterministic come in here (`lifecycle.description` in `wit/`), and never a
//! fault. What may go wrong: an answer that has become another. So each counts for [`FRESH`], and no session sees another's.

use super::operation::Judged;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long an answer counts; the contract in `wit/` says so.
const FRESH: Duration = Duration::from_secs(10);

/// Texts that are remembered; over it all are forgotten, which costs only questions.
const MAX_TEXTS: usize = 64;

/// The longest text that is remembered, in bytes: longer ones are rarely sent twice.
const MAX_TEXT_BYTES: usize = 4 * 1024;

#[derive(Default)]
pub(super) struct Memo {
    judgements: HashMap<Rc<str>, (Instant, Judged)>,
}

impl Memo {
    /// The judgement of a text, for a new operation.
    pub(super) fn recall(&self, text: &str, operation: u64) -> Option<Judged> {
        let (when, judged) = self.judgements.get(text)?;
        (when.elapsed() < FRESH).then(|| Judged { operation, ..judged.clone() })
    }

    pub(super) fn remember(&mut self, judged: &Judged) {
        if judged.text.len() > MAX_TEXT_BYTES {
            return;
        }
        if self.judgements.len() >= MAX_TEXTS {
            self.judgements.clear();
        }
        self.judgements.insert(Rc::clone(&judged.text), (Instant::now(), judged.clone()));
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
        memo.remember(&judged(&"x".repeat(MAX_TEXT_BYTES + 1)));
        assert!(memo.recall(&"x".repeat(MAX_TEXT_BYTES + 1), 1).is_none());
    }
}
