//! The policy: a checked configuration that plans once for each row description and then masks value by value.
//!
//! It keeps nothing between calls: the treatment number that [`Policy::plan`] gives says all that
//! [`Policy::mask_value`] needs. Whatever does not fit is NULL or a refusal, never the value.

use crate::config::{self, Config};
use crate::detect::{Scan, Scanner, Search};
use crate::kind::{Kind, integer_text, numeric_text, uuid_bytes};
use crate::plan::{Action, Planner};
use crate::rules::{ColumnRule, Rules};
use crate::strategy::{HashKey, Strategy, apply, hashed_uuid, push_uuid};
use crate::usage;
use chaperone_sdk::{
    Answer, Change, ColumnOf, ConfigError, Context, Format, Masked, PlanRequest, Refusal, Treatment, Values,
};
use serde::de::IgnoredAny;

/// The version byte in front of a jsonb value in the binary format (`jsonb_send` in `jsonb.c`).
const JSONB_VERSION: u8 = 1;

/// A configuration, ready to run.
pub struct Policy {
    planner: Planner,
    scanner: Scanner,
    hash_key: Option<HashKey>,
}

impl Policy {
    /// Checks the configuration, builds and warms the patterns.
    pub fn new(config: Config) -> Result<Self, Vec<ConfigError>> {
        let computed = config.computed;
        let checked = config::check(config)?;
        let scanner = Scanner::new(checked.content);
        Ok(Policy {
            planner: Planner::new(Rules::new(checked.columns, checked.trusted, computed), &scanner),
            scanner,
            hash_key: checked.hash_key,
        })
    }

    /// What statements may do with hidden columns.
    pub fn check(&self, context: &Context) -> Answer {
        usage::check(self.planner.rules(), context)
    }

    /// One treatment for each column.
    pub fn plan(&self, request: &PlanRequest) -> Vec<Treatment> {
        self.planner.plan(request)
    }

    /// One value that is not NULL.
    pub fn mask_value(&self, column: ColumnOf, value: &[u8], out: &mut Vec<u8>) -> Result<Change, Refusal> {
        let kind = Kind::of(column.type_oid);
        match Action::of(column.treatment) {
            Action::Scan => Ok(self.scan(kind, column.format, value, out)),
            Action::Null => Ok(Change::Null),
            Action::Rule(index) => {
                let rule = self.planner.rules().get(index).ok_or_else(unknown_treatment)?;
                Ok(self.hide(rule, kind, column.format, value, out))
            }
        }
    }

    /// All values of a batch: most hold nothing that the content rules look for, and all of them together say so soonest.
    pub fn mask_column(&self, column: ColumnOf, values: Values<'_>) -> Result<Masked, Refusal> {
        let kind = Kind::of(column.type_oid);
        let as_they_are = matches!(
            (kind, column.format),
            (Kind::Text | Kind::Json | Kind::TextInside | Kind::Other, _) | (Kind::Jsonb, Format::Text)
        );
        if !as_they_are || Action::of(column.treatment) != Action::Scan {
            return values.each(|value, out| self.mask_value(column, value, out));
        }
        let search = self.scanner.search(values.bytes());
        if search.is_empty() {
            return Ok(values.unchanged());
        }
        values.each(|value, out| Ok(self.scan_text(&search, kind, column.format, value, out)))
    }

    /// Hides a whole value. A type that cannot hold what the strategy writes gets NULL: drivers would fail on text in
    /// a date, and a number that stands for another one would be believed.
    fn hide(&self, rule: &ColumnRule, kind: Kind, format: Format, value: &[u8], out: &mut Vec<u8>) -> Change {
        match (kind, rule.strategy, &self.hash_key) {
            (Kind::Text, strategy, key) => apply(strategy, key.as_ref(), value, out),
            (Kind::Uuid, Strategy::Hash, Some(key)) => {
                let Some(uuid) = uuid_bytes(format, value) else { return Change::Null };
                let hashed = hashed_uuid(key, &uuid);
                match format {
                    Format::Binary => out.extend_from_slice(&hashed),
                    Format::Text => push_uuid(&hashed, out),
                }
                Change::Replaced
            }
            _ => Change::Null,
        }
    }

    fn scan(&self, kind: Kind, format: Format, value: &[u8], out: &mut Vec<u8>) -> Change {
        match (kind, format) {
            (Kind::Scalar | Kind::Uuid, _) => Change::Kept,
            (Kind::Jsonb, Format::Binary) => match value.split_first() {
                Some((&JSONB_VERSION, json)) => {
                    out.push(JSONB_VERSION);
                    self.rewrite_json(&self.scanner.search(json), json, out)
                }
                _ => Change::Null, // fails closed: an encoding that is not known
            },
            (Kind::ShortInteger | Kind::Integer | Kind::Numeric, Format::Text) => {
                null_if_found(self.scanner.scan_number(value))
            }
            (Kind::ShortInteger | Kind::Integer, Format::Binary) => self.scan_binary_integer(value),
            (Kind::Numeric, Format::Binary) => match numeric_text(value) {
                Some(text) => null_if_found(self.scanner.scan_number(text.as_bytes())),
                None => Change::Null, // fails closed
            },
            (Kind::Text | Kind::Json | Kind::Jsonb | Kind::TextInside | Kind::Other, _) => {
                self.scan_text(&self.scanner.search(value), kind, format, value, out)
            }
        }
    }

    /// Looks through a value whose texts lie in it as they are.
    fn scan_text(
        &self,
        search: &Search<'_>,
        kind: Kind,
        format: Format,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Change {
        match (kind, format) {
            (Kind::Text, _) | (Kind::TextInside, Format::Text) => self.rewrite(search, value, out),
            (Kind::Json, _) | (Kind::Jsonb, Format::Text) => self.rewrite_json(search, value, out),
            // Arrays and composites in the binary format, and all else: texts can be found there, but not rewritten.
            _ => null_if_found(search.scan(value)),
        }
    }

    fn scan_binary_integer(&self, value: &[u8]) -> Change {
        let Some(number) = integer_text(value) else { return Change::Null }; // fails closed
        null_if_found(self.scanner.scan_number(number.as_bytes()))
    }

    /// Hides the parts of a text that were found.
    fn rewrite(&self, search: &Search<'_>, value: &[u8], out: &mut Vec<u8>) -> Change {
        let Scan::Parts(parts) = search.scan(value) else { return Change::Null };
        if parts.is_empty() {
            return Change::Kept;
        }
        let mut done = 0;
        for part in parts {
            let (Some(before), Some(found)) =
                (value.get(done..part.range.start), value.get(part.range.clone()))
            else {
                return Change::Null; // fails closed
            };
            out.extend_from_slice(before);
            if apply(part.strategy, self.hash_key.as_ref(), found, out) == Change::Null {
                return Change::Null;
            }
            done = part.range.end;
        }
        out.extend_from_slice(value.get(done..).unwrap_or_default());
        Change::Replaced
    }

    /// As [`Policy::rewrite`], for what a client will parse: a number that was found cannot have stars.
    fn rewrite_json(&self, search: &Search<'_>, json: &[u8], out: &mut Vec<u8>) -> Change {
        let start = out.len();
        let change = self.rewrite(search, json, out);
        let written = out.get(start..).unwrap_or_default();
        if change == Change::Replaced && serde_json::from_slice::<IgnoredAny>(written).is_err() {
            return Change::Null;
        }
        change
    }
}

fn null_if_found(scan: Scan) -> Change {
    match scan {
        Scan::Parts(parts) if parts.is_empty() => Change::Kept,
        Scan::Parts(_) | Scan::TooMany => Change::Null,
    }
}

fn unknown_treatment() -> Refusal {
    Refusal {
        rule: "mask.unknown-treatment".into(),
        reason: "values came with a treatment that was never planned".into(),
        hint: "This is a fault of the gateway; report it.".into(),
    }
}
