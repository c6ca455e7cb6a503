//! The plan for a result: by origin where the target names one, by the statement's facts where a column is computed.
//!
//! A result column that is a plain table column has an origin, whatever the statement calls it, so that aliases and
//! sub-selects change nothing. A computed column has none; then the question is whether the statement could have read a
//! hidden column at all, and doubt counts as yes. Names of result columns are chosen by the client: a name can add to
//! the doubt, never take it away.

use crate::detect::Scanner;
use crate::kind::{Kind, SHORT_INTEGER_DIGITS};
use crate::strategy::Strategy;
use chaperone_sdk::{Column, Glob, PlanRequest, Refusal, StatementFacts, Treatment};
use serde::Deserialize;
use std::cell::OnceCell;

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
        if text.contains('"') {
            return Err("write names without quotes; upper and lower case are the same here".to_owned());
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [schema, relation, column] = parts.as_slice() else { return Err(RIGHT.to_owned()) };
        let part = |text: &str| Glob::new(text).map_err(|_| RIGHT.to_owned());
        Ok(Pattern { schema: part(schema)?, relation: part(relation)?, column: part(column)? })
    }

    fn text(&self) -> String {
        [&self.schema, &self.relation, &self.column].map(Glob::as_str).join(".")
    }

    /// Could the relation be one of ours? An unqualified name may be in any schema.
    fn may_be(&self, schema: Option<&str>, relation: &str) -> bool {
        self.relation.matches(relation) && schema.is_none_or(|schema| self.schema.matches(schema))
    }
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
}

/// What a treatment number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Content rules look through the value.
    Scan,
    /// The value is NULL.
    Null,
    /// The column rule of this index hides the whole value.
    Rule(usize),
}

impl Action {
    /// Reads a number; whether a rule of that index exists is for the caller to check.
    pub fn of(number: u32) -> Action {
        match number {
            0 => Action::Scan,
            1 => Action::Null,
            rule => Action::Rule(usize::try_from(rule - 2).unwrap_or(usize::MAX)),
        }
    }

    /// The number that stands for it.
    pub fn number(self) -> u32 {
        match self {
            Action::Scan => 0,
            Action::Null => 1,
            // There are at most a thousand rules; a number that fits none is refused with the value.
            Action::Rule(index) => u32::try_from(index).map_or(u32::MAX, |index| index.saturating_add(2)),
        }
    }
}

/// PostgreSQL keeps samples of every column's values here. They are hidden as soon as any column is.
const SAMPLES: [&str; 4] = [
    "pg_catalog.pg_stats*.most_common_*",
    "pg_catalog.pg_stats*.*histogram*",
    "pg_catalog.pg_statistic.stavalues*",
    "pg_catalog.pg_statistic_ext_data.stxd*",
];

/// Functions that run SQL given to them as text, or read a table given by name: what they read is in no facts.
const RUN_SQL: [&str; 10] = [
    "query_to_xml*",
    "table_to_xml*",
    "schema_to_xml*",
    "database_to_xml*",
    "cursor_to_xml*",
    "ts_stat",
    "ts_rewrite",
    "dblink*",
    "crosstab*",
    "connectby",
];

/// Statements that may name nothing and still be understood. Any other that names nothing (`FETCH`, `EXECUTE`) returns
/// what an earlier statement has said.
const SELF_CONTAINED: [&str; 4] = ["select", "session", "transaction", "listen"];

/// All column rules.
pub struct Planner {
    rules: Vec<ColumnRule>,
    scans_text: bool,
    scans_numbers: bool,
    scans_short_numbers: bool,
}

/// How far a statement reaches into a rule's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It cannot have read them.
    Not,
    /// It reads a relation that may be theirs, and names none of them.
    Relation,
    /// It may have read them.
    Column,
}

impl Planner {
    /// Takes the operator's rules, adds those for the samples, and notes what there is to scan for.
    pub fn new(mut rules: Vec<ColumnRule>, computed: Computed, scanner: &Scanner) -> Self {
        if !rules.is_empty() {
            let samples = SAMPLES.iter().filter_map(|text| Pattern::new(text).ok());
            rules.extend(samples.map(|pattern| ColumnRule { pattern, strategy: Strategy::Null, computed }));
        }
        Planner {
            rules,
            scans_text: !scanner.is_empty(),
            scans_numbers: scanner.reads_numbers(usize::MAX),
            scans_short_numbers: scanner.reads_numbers(SHORT_INTEGER_DIGITS),
        }
    }

    /// The rule of an index.
    pub fn rule(&self, index: usize) -> Option<&ColumnRule> {
        self.rules.get(index)
    }

    /// One treatment for each column, in order.
    pub fn plan(&self, request: &PlanRequest) -> Vec<Treatment> {
        // Worked out at the first computed column; most results have none.
        let reaches = OnceCell::new();
        request
            .columns
            .iter()
            .map(|column| self.treat(column, || reaches.get_or_init(|| self.reaches(&request.statements))))
            .collect()
    }

    fn treat<'a>(&self, column: &Column, reaches: impl FnOnce() -> &'a Vec<Reach>) -> Treatment {
        // A whole row has a table for its origin and no column: as good as computed.
        if let Some(origin) = column.origin.as_ref().filter(|origin| !origin.column.is_empty()) {
            let hides = |rule: &ColumnRule| {
                rule.pattern.may_be(Some(&origin.schema), &origin.relation)
                    && rule.pattern.column.matches(&origin.column)
            };
            return match self.rules.iter().position(hides) {
                Some(index) => Treatment::Mask(Action::Rule(index).number()),
                None => self.scan(column),
            };
        }
        let tainted = self.rules.iter().zip(reaches()).filter(|(rule, reach)| match reach {
            Reach::Not => false,
            Reach::Relation => {
                !rule.pattern.column.is_anything() && rule.pattern.column.matches(&column.name)
            }
            Reach::Column => true,
        });
        match tainted.map(|(rule, _)| rule).max_by_key(|rule| rule.computed) {
            None => self.scan(column),
            Some(rule) => match rule.computed {
                Computed::Refuse => Treatment::Refuse(computed_refusal(rule)),
                Computed::Mask => Treatment::Mask(Action::Null.number()),
                Computed::Scan => match self.scan(column) {
                    Treatment::Pass => Treatment::Refuse(unmaskable(rule)), // fails closed
                    scanned => scanned,
                },
            },
        }
    }

    fn scan(&self, column: &Column) -> Treatment {
        let looks = match Kind::of(column.type_oid) {
            Kind::Scalar | Kind::Uuid => false,
            Kind::ShortInteger => self.scans_short_numbers,
            Kind::Integer | Kind::Numeric => self.scans_numbers,
            Kind::Text | Kind::Json | Kind::Jsonb | Kind::TextInside | Kind::Other => self.scans_text,
        };
        if looks { Treatment::Mask(Action::Scan.number()) } else { Treatment::Pass }
    }

    fn reaches(&self, statements: &[StatementFacts]) -> Vec<Reach> {
        // Fails closed: what nobody understood may have read everything.
        let unknown = statements.is_empty() || statements.iter().any(hides_its_source);
        let reach =
            |rule: &ColumnRule| if unknown { Reach::Column } else { reach(&rule.pattern, statements) };
        self.rules.iter().map(reach).collect()
    }
}

/// True when a statement returns what its own facts cannot say.
fn hides_its_source(facts: &StatementFacts) -> bool {
    let mut segments = facts.class.split(['.', '-']);
    let names_nothing = facts.relations.is_empty() && facts.columns.is_empty() && facts.functions.is_empty();
    let runs_sql =
        |name: &str| RUN_SQL.iter().any(|text| Glob::new(text).is_ok_and(|glob| glob.matches(name)));
    (names_nothing && !segments.next().is_some_and(|first| SELF_CONTAINED.contains(&first)))
        || facts.class.split(['.', '-']).any(|part| matches!(part, "fetch" | "cursor" | "execute"))
        || facts.functions.iter().any(|function| runs_sql(&function.name))
}

/// All statements of a text count together: which of them a result belongs to is not known.
fn reach(pattern: &Pattern, statements: &[StatementFacts]) -> Reach {
    let copied = statements.iter().filter_map(|facts| facts.copy_out.as_ref()?.relation.as_ref());
    let mut relations = statements.iter().flat_map(|facts| &facts.relations).chain(copied).peekable();
    let mut columns = statements.iter().flat_map(|facts| &facts.columns);
    // Without any relation rows come out of a function, which may have read anything; names are all there is to go by.
    let from_function = relations.peek().is_none() && !pattern.column.is_anything();
    if !from_function && !relations.any(|one| pattern.may_be(one.schema.as_deref(), &one.name)) {
        return Reach::Not;
    }
    let opaque = !from_function && statements.iter().any(|facts| facts.opaque || facts.copy_out.is_some());
    if opaque || columns.any(|column| pattern.column.matches(&column.name)) {
        Reach::Column
    } else {
        Reach::Relation
    }
}

fn computed_refusal(rule: &ColumnRule) -> Refusal {
    Refusal {
        rule: "mask.computed".into(),
        reason: format!("a computed column may hold values of {}, which are hidden", rule.pattern.text()),
        hint: "Select the column itself, which is returned masked, or leave it out of the statement.".into(),
    }
}

fn unmaskable(rule: &ColumnRule) -> Refusal {
    Refusal {
        rule: "mask.unmaskable".into(),
        reason: format!(
            "a computed column may hold values of {}, and its type cannot be searched",
            rule.pattern.text()
        ),
        hint: "Cast it to text, or leave the hidden column out of the statement.".into(),
    }
}
