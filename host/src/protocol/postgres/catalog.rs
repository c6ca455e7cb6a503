//! Which schema, table and column an OID means, and what is behind it, asked of the target itself.
//!
//! Result columns name their origin by OID and attribute number (PostgreSQL manual, RowDescription); rules name columns
//! by name. Look-ups run on a connection of the gateway's own, as its own role and one for each target, so that a session's
//! transaction is neither used nor seen; answers are kept for [`FRESH`], and forgotten at once when a session changes what names mean.
//! A column that another session renames is therefore seen under its old name for at most that long. What cannot be
//! looked up may be anything, and masks treat that as the worst case.

mod callable;
mod lineage;
pub(super) mod lookup;

#[cfg(feature = "fuzzing")]
pub(super) use lookup::{origins, texts};

use crate::target::Target;
use chaperone_core::name::TargetName;
use chaperone_core::sql::{
    Access, Lineage, Origin, RelationColumn, RelationColumns, Source, StatementFacts, Surroundings,
};
use lookup::{Ask, Function, Operator, Question, Told, answer_all};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

pub(super) use callable::Callable;

/// How long an answer counts.
pub(super) const FRESH: Duration = Duration::from_secs(10);

/// One look-up, connecting included.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Relations, names and functions remembered for a target; over it, all are forgotten, which costs only look-ups.
const MAX_REMEMBERED: usize = 10_000;

/// Columns that masks are told of for one statement; over it they are told that it may be any.
const MAX_COLUMNS: usize = 20_000;

/// So many columns in the facts of one statement, and a check may have given the list up (sql-guard does after 1,024).
const LONG_LIST: usize = 1_000;

/// Look-ups that wait; over it a look-up fails, and what was asked for may be anything.
const QUEUE: usize = 256;

/// The catalogs of all targets.
pub(super) struct Catalogs {
    runtime: Handle,
    by_target: Mutex<HashMap<TargetName, Arc<Shared>>>,
}

/// The catalog of a session's target.
pub(super) struct Catalog {
    shared: Arc<Shared>,
    target: Arc<Target>,
}

struct Shared {
    known: Mutex<Known>,
    /// Counts how often all was forgotten: an answer to what was asked before that does not count.
    generation: AtomicU64,
    questions: mpsc::Sender<Question>,
}

/// A relation as a statement names it.
type Name = (Option<String>, String);

/// What was asked before, and when.
#[derive(Default)]
struct Known {
    relations: HashMap<u32, (Instant, Arc<Relation>)>,
    names: HashMap<Name, (Instant, Vec<Arc<Relation>>)>,
    functions: HashMap<String, (Instant, Arc<[Function]>)>,
    operators: Option<(Instant, Arc<[Operator]>)>,
    callables: HashMap<u32, (Instant, Arc<Callable>)>,
}

/// A relation, with what is behind its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Relation {
    oid: u32,
    schema: String,
    name: String,
    columns: Vec<KnownColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownColumn {
    /// Below 0: the system's own, such as `ctid`.
    number: i16,
    name: String,
    lineage: Lineage,
    /// Computed by the table from its other columns.
    generated: bool,
}

impl Relation {
    fn origin(&self, column: &str) -> Origin {
        Origin { schema: self.schema.clone(), relation: self.name.clone(), column: column.to_owned() }
    }

    fn column(&self, number: i16) -> Option<&KnownColumn> {
        self.columns.iter().find(|column| column.number == number)
    }

    /// What a whole row may hold.
    fn whole_row(&self) -> Lineage {
        let mut lineage = Lineage { reads: vec![self.origin("")], ..Lineage::default() };
        self.columns.iter().for_each(|column| lineage::add_ways(&mut lineage, &column.lineage));
        lineage
    }

    /// Its columns as a client sees them, in order.
    pub(super) fn visible(&self) -> impl Iterator<Item = (&str, &Lineage)> + '_ {
        let visible = self.columns.iter().filter(|column| column.number > 0);
        visible.map(|column| (column.name.as_str(), &column.lineage))
    }
}

impl Catalogs {
    pub(super) fn new(runtime: Handle) -> Self {
        Catalogs { runtime, by_target: Mutex::default() }
    }

    /// The catalog of a target.
    pub(super) fn of(&self, target: &Arc<Target>) -> Arc<Catalog> {
        let name = target.name.clone();
        let mut by_target = self.by_target.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = by_target.entry(name).or_insert_with(|| {
            let (questions, asked) = mpsc::channel(QUEUE);
            self.runtime.spawn(answer_all(asked));
            Arc::new(Shared { known: Mutex::default(), generation: AtomicU64::new(0), questions })
        });
        Arc::new(Catalog { shared: Arc::clone(shared), target: Arc::clone(target) })
    }
}

impl Catalog {
    /// Where the values of a result column come from. What cannot be looked up may come from anything: fails closed.
    pub(super) async fn lineage(&self, relation: u32, attribute: i16) -> Lineage {
        if relation == 0 {
            return Lineage::default();
        }
        let Some(relation) = self.relation(relation).await else { return Lineage::unknown() };
        match attribute {
            0 => relation.whole_row(),
            _ => relation.column(attribute).map_or_else(Lineage::unknown, |column| column.lineage.clone()),
        }
    }

    /// Whether a column is generated, as far as is known: COPY leaves it out.
    pub(super) async fn is_generated(&self, relation: u32, attribute: i16) -> bool {
        let relation = if relation == 0 { None } else { self.relation(relation).await };
        relation
            .and_then(|relation| relation.column(attribute).map(|column| column.generated))
            .unwrap_or(false)
    }

    async fn relation(&self, oid: u32) -> Option<Arc<Relation>> {
        if let Some((_, relation)) = self.lock().relations.get(&oid).filter(|(when, _)| is_fresh(*when)) {
            return Some(Arc::clone(relation));
        }
        if let Some(Told::Relations(found)) = self.ask(Ask::Oid(oid)).await
            && let [relation] = found.as_slice()
        {
            return Some(Arc::clone(relation));
        }
        // A slow catalog delays a result once, not once for each column.
        self.lock().relations.insert(oid, (Instant::now(), Arc::default()));
        None
    }

    /// All relations of a name; without a schema every one that it could mean. Empty also when the look-up failed.
    pub(super) async fn named(&self, schema: Option<&str>, name: &str) -> Vec<Arc<Relation>> {
        let name: Name = (schema.map(str::to_owned), name.to_owned());
        if let Some((_, found)) = self.lock().names.get(&name).filter(|(when, _)| is_fresh(*when)) {
            return found.clone();
        }
        match self.ask(Ask::Name(name)).await {
            Some(Told::Relations(found)) => found,
            _ => Vec::new(),
        }
    }

    /// What the catalog has of the names in the statements of a text: the relations that they read, and what they may call
    /// unseen.
    pub(super) async fn surroundings(&self, statements: &[StatementFacts], text: &str) -> Surroundings {
        let asked = tokio::time::timeout(LOOKUP_TIMEOUT, self.ask_surroundings(statements, text)).await;
        asked.unwrap_or_else(|_| {
            // Fails closed: nothing was found out in time.
            let any = |(schema, name): (Option<&str>, &str)| RelationColumns {
                schema: schema.map(str::to_owned),
                name: name.to_owned(),
                columns: vec![any_column()],
            };
            Surroundings {
                relations: relations_of(statements).into_iter().map(any).collect(),
                unseen: vec![Source::default()],
            }
        })
    }

    async fn ask_surroundings(&self, statements: &[StatementFacts], text: &str) -> Surroundings {
        let mut surroundings = Surroundings::default();
        let mut left = MAX_COLUMNS;
        for (schema, name) in relations_of(statements) {
            let found = self.named(schema, name).await;
            let count: usize = found.iter().map(|relation| relation.columns.len()).sum();
            let columns = match left.checked_sub(count) {
                Some(rest) if count > 0 => {
                    left = rest;
                    found.iter().flat_map(|relation| &relation.columns).map(KnownColumn::told).collect()
                }
                // Fails closed: also a relation that only this session's transaction has.
                _ => vec![any_column()],
            };
            let (schema, name) = (schema.map(str::to_owned), name.to_owned());
            surroundings.relations.push(RelationColumns { schema, name, columns });
        }
        surroundings.unseen = self.unseen(statements, text).await;
        surroundings
    }

    /// What statements may call of which nobody knows what it reads.
    async fn unseen(&self, statements: &[StatementFacts], text: &str) -> Vec<Source> {
        let calls = || statements.iter().flat_map(|facts| &facts.functions);
        // PostgreSQL reads `x.f` as `f(x)` where `x` has no column `f` (manual, 4.2.6).
        let dotted = || statements.iter().flat_map(|facts| &facts.columns).map(|column| column.name.as_str());
        let names: BTreeSet<&str> = calls().map(|call| call.name.as_str()).chain(dotted()).collect();
        let (Some(functions), Some(operators)) = (self.functions(&names).await, self.operators().await)
        else {
            return vec![Source::default()]; // fails closed
        };
        // An operator is in the text where it is used; a cast need not be.
        let used = |operator: &&Operator| match operator.symbol.as_str() {
            "" => statements.iter().any(StatementFacts::computes),
            symbol => text.contains(symbol),
        };
        let mut unseen: Vec<Source> =
            operators.iter().filter(used).map(|operator| operator.source.clone()).collect();
        if statements.iter().any(|facts| facts.opaque && facts.columns.len() >= LONG_LIST) {
            // Fails closed: a list that was given up may lack one that calls a function.
            unseen.push(Source::default());
        }
        for function in functions {
            let Source { schema, name } = &function.source;
            let called = calls().any(|call| {
                call.name == *name && call.schema.as_ref().is_none_or(|written| written == schema)
            });
            if called || function.takes_one && dotted().any(|column| column == name) {
                unseen.push(function.source);
            }
        }
        unseen
    }

    async fn functions(&self, names: &BTreeSet<&str>) -> Option<Vec<Function>> {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        {
            let known = self.lock();
            for name in names {
                match known.functions.get(*name).filter(|(when, _)| is_fresh(*when)) {
                    Some((_, functions)) => found.extend(functions.iter().cloned()),
                    None => missing.push((*name).to_owned()),
                }
            }
        }
        if !missing.is_empty() {
            let Told::Functions(told) = self.ask(Ask::Functions(missing)).await? else { return None };
            found.extend(told);
        }
        Some(found)
    }

    async fn operators(&self) -> Option<Vec<Operator>> {
        if let Some((_, known)) = self.lock().operators.as_ref().filter(|(when, _)| is_fresh(*when)) {
            return Some(known.to_vec());
        }
        let Told::Operators(told) = self.ask(Ask::Operators).await? else { return None };
        Some(told)
    }

    /// Whether it is known that no operator and no cast may read anything.
    pub(super) fn has_no_operators(&self) -> bool {
        self.lock().operators.as_ref().is_some_and(|(_, operators)| operators.is_empty())
    }

    /// Names may mean something else now.
    pub(super) fn forget(&self) {
        let mut known = self.lock();
        *known = Known::default();
        self.shared.generation.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever names may mean something else: what was looked up in another generation does not count.
    pub(super) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, what: Ask) -> Option<Told> {
        let generation = self.generation();
        let (answer, answered) = oneshot::channel();
        let question = Question { what: what.clone(), target: Arc::clone(&self.target), answer };
        self.shared.questions.try_send(question).ok()?;
        let told = tokio::time::timeout(LOOKUP_TIMEOUT, answered).await.ok()?.ok()??;
        let mut known = self.lock();
        if self.generation() == generation {
            known.remember(what, &told);
        }
        Some(told)
    }
}

impl Known {
    fn remember(&mut self, what: Ask, told: &Told) {
        let now = Instant::now();
        let remembered =
            self.relations.len() + self.names.len() + self.functions.len() + self.callables.len();
        if remembered > MAX_REMEMBERED {
            *self = Known::default();
        }
        match (what, told) {
            (Ask::Oid(_), Told::Relations(found)) => self.remember_relations(now, found),
            // A name that means nothing may mean something in a moment.
            (Ask::Name(name), Told::Relations(found)) if !found.is_empty() => {
                self.remember_relations(now, found);
                self.names.insert(name, (now, found.clone()));
            }
            (Ask::Functions(names), Told::Functions(found)) => {
                for name in names {
                    let of_name = found.iter().filter(|function| function.source.name == name);
                    let functions: Arc<[Function]> = of_name.cloned().collect();
                    self.functions.insert(name, (now, functions));
                }
            }
            (Ask::Operators, Told::Operators(found)) => {
                self.operators = Some((now, found.as_slice().into()));
            }
            // An OID that means nothing may mean something in a moment.
            (Ask::Callable(oid), Told::Callable(Some(found))) => {
                self.callables.insert(oid, (now, Arc::clone(found)));
            }
            _ => {}
        }
    }

    fn remember_relations(&mut self, now: Instant, found: &[Arc<Relation>]) {
        for relation in found {
            self.relations.insert(relation.oid, (now, Arc::clone(relation)));
        }
    }
}

impl KnownColumn {
    fn told(&self) -> RelationColumn {
        RelationColumn { name: self.name.clone(), lineage: self.lineage.clone() }
    }
}

/// A column that may be any.
fn any_column() -> RelationColumn {
    RelationColumn { name: String::new(), lineage: Lineage::unknown() }
}

/// The relations that statements read, each once.
fn relations_of(statements: &[StatementFacts]) -> BTreeSet<(Option<&str>, &str)> {
    let read = statements.iter().flat_map(|facts| &facts.relations).filter(|one| one.access == Access::Read);
    let copied = statements.iter().filter_map(|facts| facts.copy_out.as_ref()?.relation.as_ref());
    read.chain(copied).map(|one| (one.schema.as_deref(), one.name.as_str())).collect()
}

fn is_fresh(when: Instant) -> bool {
    when.elapsed() < FRESH
}
