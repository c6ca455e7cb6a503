//! The search index as a consumer: operations as entries of [`crate::state`].
//!
//! Executions of one prepared statement beyond [`MAX_EXECUTIONS`] are counted at the statement and get no entry of their own,
//! unless somebody refused them, was asked about them, or they failed: a loop over a statement must not bury everything else.

use super::{Batch, Consumer, Taking, Wants};
use crate::recorder::Opening;
use crate::state::{Advance, Entry, Facet, Indexing, State};
use crate::story::Operation;
use chaperone_core::name::Principal;
use serde_json::{Value as Json, json};
use std::time::Duration;

/// Executions of one prepared statement in one session that get an entry each.
const MAX_EXECUTIONS: u64 = 256;

/// The consumer with texts, and the one without: a gateway that changes from one to the other reads everything anew.
const WITH_TEXT: &str = "search";
const FACTS_ALONE: &str = "search-facts";

/// Puts operations into the index.
#[derive(Debug, Clone)]
pub struct Index {
    state: State,
    texts: Texts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Texts {
    Kept,
    LeftOut,
}

impl Index {
    /// The index as `recording.search` says; None: nothing is indexed.
    pub fn new(state: State) -> Option<Self> {
        let texts = match state.indexing() {
            Indexing::Text => Texts::Kept,
            Indexing::Facts => Texts::LeftOut,
            Indexing::No => return None,
        };
        Some(Index { state, texts })
    }

    /// The consumer's cursors that another configuration has left: with them it would not read anew.
    pub fn other(&self) -> &'static str {
        match self.texts {
            Texts::Kept => FACTS_ALONE,
            Texts::LeftOut => WITH_TEXT,
        }
    }
}

impl Consumer for Index {
    fn name(&self) -> &str {
        match self.texts {
            Texts::Kept => WITH_TEXT,
            Texts::LeftOut => FACTS_ALONE,
        }
    }

    fn wants(&self) -> Wants {
        Wants::Changes
    }

    fn take<'a>(&'a self, batch: Batch<'a>, step: Advance<'a>) -> Taking<'a> {
        let worth = batch.operations.iter().filter(|operation| is_worth_an_entry(operation));
        let entries: Vec<Entry> =
            worth.map(|operation| entry(batch.opening, operation, self.texts)).collect();
        Box::pin(async move { Ok(self.state.index(&entries, step).await?) })
    }
}

fn is_worth_an_entry(operation: &Operation) -> bool {
    operation.nth <= MAX_EXECUTIONS
        || operation.was_refused()
        || operation.was_held()
        || operation.error.is_some()
        || !operation.faults.is_empty()
}

fn entry(opening: &Opening, operation: &Operation, texts: Texts) -> Entry {
    let head = &opening.head;
    let mut shown = operation.clone();
    let mut words = Vec::new();
    match texts {
        Texts::Kept => {
            words.push(operation.text.clone());
            let values = operation.parameters.iter().flat_map(|bound| &bound.values);
            words.extend(values.filter_map(Json::as_str).map(str::to_owned));
        }
        Texts::LeftOut => shown.leave_out_texts(),
    }
    words.extend(operation.classes.iter().cloned());
    words.extend(operation.error.iter().map(|error| error.sqlstate.clone()));
    words.extend(operation.refusal.iter().map(|refusal| refusal.message.clone()));
    let identity = &head.identity;
    let story = json!({
        "operation": shown,
        "decisions": operation.decisions().collect::<Vec<_>>(),
        "caller": { "kind": identity.kind, "actor": identity.actor, "display_name": identity.display_name },
        "window": head.window,
        "grant": head.grant,
        "request": head.request,
        "approved_by": head.approved_by,
    });
    Entry {
        operation: operation.number,
        at: opening.started.saturating_add(Duration::from_micros(operation.at_us)).unwrap_or(opening.started),
        principal: identity.principal.clone(),
        target: head.target.clone(),
        facets: facets(opening, operation),
        texts: words,
        story: story.to_string(),
    }
}

/// What an operation is found by besides its words.
fn facets(opening: &Opening, operation: &Operation) -> Vec<(Facet, String)> {
    let head = &opening.head;
    let mut facets = vec![
        (Facet::Session, head.session.to_string()),
        (Facet::Target, head.target.to_string()),
        (Facet::Principal, head.identity.principal.to_string()),
        (Facet::Principal, head.identity.object_id.clone()),
    ];
    facets.extend(operation.decisions().map(|word| (Facet::Decision, word.to_owned())));
    for finding in operation.decision.iter().flat_map(|decided| &decided.findings) {
        let rule = finding.rule.as_str();
        let dots = rule.match_indices('.').map(|(at, _)| at);
        let beginnings = dots.filter_map(|at| rule.get(..at)).chain([rule]);
        facets.extend(beginnings.map(|beginning| (Facet::Finding, beginning.to_owned())));
    }
    let held = operation.hold.iter().flat_map(|hold| hold.approved_by.iter().map(String::as_str));
    for approver in held.chain(head.approved_by.iter().map(Principal::as_str)) {
        let person = approver.rsplit('/').next().unwrap_or_default();
        facets.extend([approver, person].map(|name| (Facet::Approver, name.to_owned())));
    }
    for table in &operation.tables {
        let name = table.rsplit('.').next().unwrap_or_default();
        facets.extend([table.as_str(), name].map(|name| (Facet::Table, name.to_owned())));
    }
    facets.sort_unstable();
    facets.dedup();
    facets
}
