//! The plan for a result: by lineage where the target names a column, by what the statement reads where one is computed.
//!
//! A result column that is a plain table column has an origin, whatever the statement calls it, so that aliases and
//! sub-selects change nothing. A computed column has none; then the question is whether the statement could have read a
//! hidden column at all, and doubt counts as yes. Names of result columns are chosen by the client: a name can add to
//! the doubt, never take it away.

use crate::detect::Scanner;
use crate::kind::{Kind, SHORT_INTEGER_DIGITS};
use crate::reading;
use crate::rules::{ColumnRule, Computed, Held, Rules};
use chaperone_sdk::{Column, Context, PlanRequest, Refusal, Treatment};
use std::cell::OnceCell;

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

/// All column rules, and what there is to scan for.
pub struct Planner {
    rules: Rules,
    scans_text: bool,
    scans_numbers: bool,
    scans_short_numbers: bool,
}

impl Planner {
    /// Takes the rules, and notes what there is to scan for.
    pub fn new(rules: Rules, scanner: &Scanner) -> Self {
        Planner {
            rules,
            scans_text: !scanner.is_empty(),
            scans_numbers: scanner.reads_numbers(usize::MAX),
            scans_short_numbers: scanner.reads_numbers(SHORT_INTEGER_DIGITS),
        }
    }

    /// The column rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// One treatment for each column, in order.
    pub fn plan(&self, request: &PlanRequest) -> Vec<Treatment> {
        // Worked out at the first computed column; most results have none.
        let read = OnceCell::new();
        let read = || read.get_or_init(|| reading::values(&self.rules, &request.context));
        request.columns.iter().map(|column| self.treat(column, &request.context, read)).collect()
    }

    fn treat<'a>(&self, column: &Column, context: &Context, read: impl FnOnce() -> &'a Held) -> Treatment {
        let lineage = &column.lineage;
        if let Some(index) = self.rules.first(&lineage.origins) {
            return Treatment::Mask(Action::Rule(index).number());
        }
        let mut held = Held::default();
        held.add_ways(&self.rules, lineage);
        if lineage.origins.is_empty() && !self.rules.is_empty() {
            held.merge(read());
            // A set operation over `*` computes columns that the statement does not name.
            held.merge(&reading::named(&self.rules, context, &column.name));
        }
        match held.iter(&self.rules).rev().max_by_key(|rule| rule.computed) {
            None => self.scan(column),
            Some(rule) => match rule.computed {
                Computed::Refuse => Treatment::Refuse(computed_refusal(&held, rule)),
                Computed::Mask => Treatment::Mask(Action::Null.number()),
                Computed::Scan => match self.scan(column) {
                    Treatment::Pass => Treatment::Refuse(unmaskable(&held, rule)), // fails closed
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
}

fn computed_refusal(held: &Held, rule: &ColumnRule) -> Refusal {
    Refusal {
        rule: "mask.computed".into(),
        reason: held.why(rule, "a computed column may hold values of"),
        hint: held
            .hint("Select the column itself, which is returned masked, or leave it out of the statement."),
    }
}

fn unmaskable(held: &Held, rule: &ColumnRule) -> Refusal {
    let why = held.why(rule, "a computed column may hold values of");
    Refusal {
        rule: "mask.unmaskable".into(),
        reason: format!("{why}, and its type cannot be searched"),
        hint: "Cast it to text, or leave the hidden column out of the statement.".into(),
    }
}
