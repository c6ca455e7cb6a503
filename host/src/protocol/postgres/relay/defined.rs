//! What the catalog cannot know yet, and what masks said to statements that look alike.
//!
//! The catalog is read on another connection, which does not see what this session's open transaction has defined. A view
//! that was replaced there still has its old definition here, so what a transaction defines is in doubt until it ends.

use super::super::catalog::FRESH;
use crate::session::{Judged, UseJudgement};
use chaperone_core::sql::{Access, Lineage, Source, StatementFacts, Surroundings};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Instant;

/// Names that are kept; past them, anything may have been defined.
const MAX_NAMES: usize = 1_024;

/// Answers of masks that are kept.
const MAX_USES: usize = 256;

/// What may have been defined in the transaction that is open.
#[derive(Debug, Default)]
pub(super) struct Defined {
    /// Relations of these names.
    names: HashSet<String>,
    /// Also functions, schemas, and what code that nobody has seen defines: since this operation.
    anything: Option<u64>,
}

/// No operation: what was defined counts for all.
const NONE: u64 = u64::MAX;

/// What was found out about a text before it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defines {
    /// What its facts say.
    AsItSays,
    /// Nothing, although it calls a function: it is PostgreSQL's own `set_config`.
    Nothing,
}

/// Whether a text may do no more than change settings: `SELECT set_config(…)`, perhaps of rows of `pg_settings`.
pub(super) fn may_only_set(judged: &Judged) -> bool {
    let pg_catalog = |schema: &Option<String>| schema.as_deref().is_none_or(|schema| schema == "pg_catalog");
    judged.statements.iter().all(|facts| {
        facts.understood()
            && facts.classes.iter().all(|class| class == "select")
            && facts.functions.iter().all(|call| call.name == "set_config" && pg_catalog(&call.schema))
            && facts.relations.iter().all(|read| read.name == "pg_settings" && pg_catalog(&read.schema))
    })
}

/// Whether nothing else of these names is there: no function that runs code, and no other relation.
pub(super) fn are_the_servers_own(surroundings: &Surroundings) -> bool {
    let mut columns = surroundings.relations.iter().flat_map(|relation| &relation.columns);
    let own = |lineage: &Lineage| {
        !lineage.origins.is_empty() && lineage.origins.iter().all(|origin| origin.schema == "pg_catalog")
    };
    surroundings.unseen.is_empty() && columns.all(|column| own(&column.lineage))
}

impl Defined {
    pub(super) fn note(&mut self, judged: &Judged) {
        if judged.statements.is_empty() {
            self.anything = Some(NONE);
        }
        for facts in judged.statements.iter().filter(|facts| facts.may_change_session()) {
            let defines = facts.relations.iter().filter(|relation| relation.access == Access::Define);
            let names: Vec<String> = defines.map(|relation| relation.name.clone()).collect();
            let relations_alone = ["ddl.create", "ddl.alter", "ddl.drop", "select.into", "maintenance"];
            let known = facts.understood();
            if known && !names.is_empty() && relations_alone.iter().any(|class| facts.is(class)) {
                self.names.extend(names);
                if self.names.len() > MAX_NAMES {
                    self.anything = Some(NONE);
                }
            } else if known && (!facts.computes() || facts.is("cursor")) && facts.functions.is_empty() {
                // A setting, or a cursor that moves on: neither defines anything.
            } else {
                // A statement that stands alone was analysed before it could define anything.
                let alone = judged.statements.len() == 1 && self.anything.is_none();
                self.anything = Some(if alone { judged.operation } else { NONE });
            }
        }
    }

    /// The transaction is over, and the catalog shows what became of it.
    pub(super) fn clear(&mut self) {
        *self = Defined::default();
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.names.is_empty() && self.anything.is_none()
    }

    /// Whether anything may have been defined before an operation.
    pub(super) fn is_anything(&self, operation: u64) -> bool {
        self.anything.is_some_and(|by| by != operation)
    }

    /// A lineage that leads through what was defined may lead anywhere. Fails closed.
    pub(super) fn doubt(&self, operation: u64, lineage: &mut Lineage) {
        let columns = lineage.origins.iter().chain(&lineage.reads).map(|origin| &origin.relation);
        let mut names = columns.chain(lineage.unseen.iter().map(|source| &source.name));
        let through = names.any(|name| self.names.contains(name));
        if through || self.is_anything(operation) && !lineage.is_computed() {
            lineage.unseen.push(Source::default());
        }
    }
}

/// What masks said to statements, by the address of their facts: the session has one list for equal ones, and one that is
/// kept here cannot give its address to another.
#[derive(Default)]
pub(super) struct Uses {
    state: (u64, u64),
    known: HashMap<*const StatementFacts, Answer>,
}

struct Answer {
    facts: Rc<[StatementFacts]>,
    at: Instant,
    judgement: UseJudgement,
}

impl Uses {
    /// The answer, if it was given in this state of the catalog and the session, and not too long ago.
    pub(super) fn get(&self, facts: &Rc<[StatementFacts]>, state: (u64, u64)) -> Option<&UseJudgement> {
        let answer = self.known.get(&facts.as_ptr()).filter(|_| self.state == state)?;
        (Rc::ptr_eq(&answer.facts, facts) && answer.at.elapsed() < FRESH).then_some(&answer.judgement)
    }

    pub(super) fn put(&mut self, facts: &Rc<[StatementFacts]>, state: (u64, u64), judgement: &UseJudgement) {
        if self.state != state || self.known.len() >= MAX_USES {
            self.known.clear();
            self.state = state;
        }
        let answer = Answer { facts: Rc::clone(facts), at: Instant::now(), judgement: judgement.clone() };
        self.known.insert(facts.as_ptr(), answer);
    }
}
