//! Column rules, and which of them a column's values may fall under.
//!
//! A rule names columns of tables. What a statement reads may be a view, a partition or a computed value: the host says
//! where a column's values come from (its lineage), and a rule applies to a column when it applies to anything in that.
//! Doubt counts as yes: an empty name may be any, and what nobody has seen may hold everything.

use crate::strategy::Strategy;
use chaperone_sdk::{Glob, Lineage, Origin, Source};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};

/// What becomes of a computed column that may hold a hidden one. The later in this list, the stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Computed {
    /// Content rules look through it.
    Scan,
    /// Every value is NULL. Nothing else would do: a fixed text tells whether an expression was NULL, a hash lets
    /// a client compare, and the last four characters of a reversed text are its first.
    Mask,
    /// The client gets an error that says which rule stands in the way.
    #[default]
    Refuse,
}

/// What becomes of a statement in which a hidden column decides about rows. The later in this list, the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Predicate {
    /// It runs.
    Allow,
    /// It runs when people approve; where no approval trigger holds it, it is refused.
    Hold,
    /// The client gets an error before it runs.
    Refuse,
}

/// `schema.table.column`, each a [`Glob`].
#[derive(Debug, Clone)]
pub struct Pattern {
    schema: Glob,
    relation: Glob,
    column: Glob,
}

impl Pattern {
    /// Parses three parts with dots between them; the error says what would be right.
    pub fn new(text: &str) -> Result<Self, String> {
        const RIGHT: &str =
            "must be schema.table.column, where `*` stands for any text, e.g. `public.customers.ssn`";
        let [schema, relation, column] = parts(text, RIGHT)?;
        Ok(Pattern { schema, relation, column })
    }

    /// As it was written.
    pub fn text(&self) -> String {
        [&self.schema, &self.relation, &self.column].map(Glob::as_str).join(".")
    }

    fn may_be(&self, origin: &Origin) -> bool {
        let part = |glob: &Glob, name: &str| name.is_empty() || glob.matches(name);
        part(&self.schema, &origin.schema)
            && part(&self.relation, &origin.relation)
            && part(&self.column, &origin.column)
    }
}

/// `schema.name` of a function or a foreign table, each a [`Glob`].
#[derive(Debug, Clone)]
pub struct Trusted {
    schema: Glob,
    name: Glob,
}

impl Trusted {
    /// Parses two parts with a dot between them; the error says what would be right.
    pub fn new(text: &str) -> Result<Self, String> {
        let [schema, name] =
            parts(text, "must be schema.name of a function or a foreign table, e.g. `public.tax`")?;
        Ok(Trusted { schema, name })
    }

    fn is(&self, source: &Source) -> bool {
        self.schema.matches(&source.schema) && self.name.matches(&source.name)
    }
}

fn parts<const COUNT: usize>(text: &str, right: &str) -> Result<[Glob; COUNT], String> {
    if text.contains('"') {
        return Err("write names without quotes; upper and lower case are the same here".to_owned());
    }
    let globs: Vec<Glob> =
        text.split('.').map(Glob::new).collect::<Result<_, _>>().map_err(|_| right.to_owned())?;
    globs.try_into().map_err(|_| right.to_owned())
}

/// A column rule, ready to run.
#[derive(Debug, Clone)]
pub struct ColumnRule {
    /// Which columns.
    pub pattern: Pattern,
    /// How their values look.
    pub strategy: Strategy,
    /// What becomes of columns computed from them.
    pub computed: Computed,
    /// What becomes of statements that decide by them.
    pub predicate: Predicate,
}

/// PostgreSQL keeps samples of every column's values here. They are hidden as soon as any column is.
const SAMPLES: [&str; 4] = [
    "pg_catalog.pg_stats*.most_common_*",
    "pg_catalog.pg_stats*.*histogram*",
    "pg_catalog.pg_statistic.stavalues*",
    "pg_catalog.pg_statistic_ext_data.stxd*",
];

/// All column rules.
pub struct Rules {
    all: Vec<ColumnRule>,
    /// Rules whose column is a plain name, by it in lower case: there may be a thousand.
    by_column: HashMap<String, Vec<usize>>,
    /// The others.
    with_star: Vec<usize>,
    trusted: Vec<Trusted>,
}

impl Rules {
    /// Takes the operator's rules and adds those for the samples.
    pub fn new(mut all: Vec<ColumnRule>, trusted: Vec<Trusted>, computed: Computed) -> Self {
        if let Some(predicate) = all.iter().map(|rule| rule.predicate).max() {
            let samples = SAMPLES.iter().filter_map(|text| Pattern::new(text).ok());
            let rule = |pattern| ColumnRule { pattern, strategy: Strategy::Null, computed, predicate };
            all.extend(samples.map(rule));
        }
        let mut by_column: HashMap<String, Vec<usize>> = HashMap::new();
        let mut with_star = Vec::new();
        for (index, rule) in all.iter().enumerate() {
            let column = rule.pattern.column.as_str();
            if column.contains('*') {
                with_star.push(index);
            } else {
                by_column.entry(column.to_ascii_lowercase()).or_default().push(index);
            }
        }
        Rules { all, by_column, with_star, trusted }
    }

    /// The rule of an index.
    pub fn get(&self, index: usize) -> Option<&ColumnRule> {
        self.all.get(index)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &ColumnRule> {
        self.all.iter()
    }

    /// Whether there is none, and so nothing that could be told.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The first rule, in the operator's order, that hides a value of any of these columns.
    pub fn first(&self, origins: &[Origin]) -> Option<usize> {
        origins.iter().flat_map(|origin| self.of(origin)).min()
    }

    fn of(&self, origin: &Origin) -> impl Iterator<Item = usize> {
        let named = self.by_column.get(&origin.column.to_ascii_lowercase()).map_or(&[][..], Vec::as_slice);
        // Any column: every rule may be about it.
        let all = if origin.column.is_empty() { 0..self.all.len() } else { 0..0 };
        let candidates = named.iter().chain(&self.with_star).copied().chain(all);
        candidates.filter(|index| self.get(*index).is_some_and(|rule| rule.pattern.may_be(origin)))
    }

    /// The first of the sources that the operator has not called harmless.
    pub fn untrusted<'s>(&self, sources: &'s [Source]) -> Option<&'s Source> {
        sources.iter().find(|source| !self.trusted.iter().any(|trusted| trusted.is(source)))
    }
}

/// The rules whose values something may hold.
#[derive(Debug, Clone, Default)]
pub struct Held {
    rules: BTreeSet<usize>,
    /// All of them, because of this; empty names where nothing was found out.
    everything: Option<Source>,
}

impl Held {
    /// All: fails closed, what nobody understood may have read everything.
    pub fn everything() -> Self {
        Held { everything: Some(Source { schema: String::new(), name: String::new() }), ..Held::default() }
    }

    /// What a column with this lineage may hold besides the values that it is.
    pub fn add_ways(&mut self, rules: &Rules, lineage: &Lineage) {
        self.rules.extend(lineage.reads.iter().flat_map(|origin| rules.of(origin)));
        self.add_sources(rules, &lineage.unseen);
    }

    /// All that a column with this lineage may hold.
    pub fn add(&mut self, rules: &Rules, lineage: &Lineage) {
        self.rules.extend(lineage.origins.iter().flat_map(|origin| rules.of(origin)));
        self.add_ways(rules, lineage);
    }

    /// What nobody has seen may hold everything.
    pub fn add_sources(&mut self, rules: &Rules, sources: &[Source]) {
        if self.everything.is_none() && !rules.is_empty() {
            self.everything = rules.untrusted(sources).cloned();
        }
    }

    /// Both.
    pub fn merge(&mut self, other: &Held) {
        self.rules.extend(&other.rules);
        if self.everything.is_none() {
            self.everything.clone_from(&other.everything);
        }
    }

    /// The rules, in the operator's order.
    pub fn iter<'r>(&self, rules: &'r Rules) -> impl DoubleEndedIterator<Item = &'r ColumnRule> + use<'r> {
        let everything = self.everything.is_some();
        let held = |(index, _): &(usize, &ColumnRule)| everything || self.rules.contains(index);
        rules.iter().enumerate().filter(held).map(|(_, rule)| rule).collect::<Vec<_>>().into_iter()
    }

    /// Why it may hold values of a rule, as the beginning of a sentence.
    pub fn why(&self, rule: &ColumnRule, else_: &str) -> String {
        let hidden = rule.pattern.text();
        match &self.everything {
            Some(source) if !source.name.is_empty() => {
                format!("{}.{} may read anything, also {hidden}, which is hidden", source.schema, source.name)
            }
            _ => format!("{else_} {hidden}, which is hidden"),
        }
    }

    /// What to do about it.
    pub fn hint(&self, else_: &str) -> String {
        match &self.everything {
            Some(source) if !source.name.is_empty() => format!(
                "If {}.{} returns nothing hidden, an operator may list it under `trusted`.",
                source.schema, source.name
            ),
            _ => else_.to_owned(),
        }
    }
}
