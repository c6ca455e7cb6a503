//! What a SQL statement is and touches, as a check plugin understood it; and the columns of a result.
//!
//! The same shape as `sql-facts` and `column-mask` in `wit/`, as plain values: wire types stop in `chaperone-hooks`.

use crate::decision::RuleRefusal;
use serde::{Deserialize, Serialize};

/// What a statement does with a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Rows are read.
    Read,
    /// Rows are written.
    Write,
    /// The relation itself is made, changed or dropped.
    Define,
}

/// A relation named in a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Relation {
    /// None when the statement did not qualify the name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub schema: Option<String>,
    /// The name, folded as PostgreSQL folds it.
    pub name: String,
    /// What is done with it.
    pub access: Access,
}

/// Where a column is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In what the statement returns.
    Output,
    /// It decides which rows come back, or in which order.
    Predicate,
    /// It is written to.
    Assigned,
    /// Elsewhere.
    Other,
}

/// A column named in a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnRef {
    /// Table, alias or schema.table in front of the name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub qualifier: Option<String>,
    /// The name, folded. Empty: which columns are meant cannot be told, and it may be any.
    pub name: String,
    /// Where it is named.
    pub place: Place,
}

/// A function named in a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionRef {
    /// None when it was not qualified.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub schema: Option<String>,
    /// The name, folded.
    pub name: String,
}

/// What one must know to read the rows of a `COPY … TO STDOUT`. Where a format has no such character, its default.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopyForm {
    /// Between two fields.
    pub delimiter: u8,
    /// Around a field of CSV.
    pub quote: u8,
    /// Before a quote, or another of itself, inside a quoted field of CSV.
    pub escape: u8,
    /// What stands for NULL.
    pub null: String,
    /// The first line is the names of the columns.
    pub header: bool,
    /// `COPY (query) TO`: where the query is in the text, in bytes; all that is between the parentheses.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub query: Option<(u32, u32)>,
}

/// `COPY … TO STDOUT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopyOut {
    /// None for `COPY (query) TO`.
    pub relation: Option<Relation>,
    /// Empty: all columns.
    pub columns: Vec<String>,
    /// `text`, `csv` or `binary`.
    pub format: String,
    /// None: not understood, so that its rows cannot be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub form: Option<CopyForm>,
}

/// What one statement is and touches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StatementFacts {
    /// Dotted class, e.g. `delete.no-where`; that of the strictest, where a statement holds others.
    pub class: String,
    /// Classes of the statement itself, first, and of all that it holds.
    pub classes: Vec<String>,
    /// All relations named.
    pub relations: Vec<Relation>,
    /// All columns named.
    pub columns: Vec<ColumnRef>,
    /// All functions called.
    pub functions: Vec<FunctionRef>,
    /// Whole rows or inner stars occur: `columns` cannot be complete.
    pub opaque: bool,
    /// Names may mean something else afterwards: forget what was derived from the catalog.
    pub changes_session: bool,
    /// Set for `COPY … TO STDOUT`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub copy_out: Option<CopyOut>,
}

/// The classes there are; a longer one (`delete.no-where`) is one of these, too. `wit/README.md` has their meaning. `copy` and `session` are
/// not in it: what they lack decides how they are handled.
pub const CLASSES: [&str; 30] = [
    "copy.file",
    "copy.in",
    "copy.out",
    "copy.program",
    "cursor",
    "ddl",
    "delete",
    "empty",
    "execute",
    "explain",
    "function",
    "insert",
    "listen",
    "lock",
    "maintenance",
    "merge",
    "notify",
    "prepare",
    "privilege",
    "procedural",
    "role",
    "select",
    "session.discard",
    "session.reset",
    "session.set",
    "session.show",
    "system",
    "transaction",
    "truncate",
    "update",
];

/// The class of what may be anything. Every class that is not one of [`CLASSES`] is read as this one.
pub const UNKNOWN: &str = "unknown";

impl StatementFacts {
    /// What is known of a statement about which no check said anything.
    pub fn unknown() -> Self {
        StatementFacts {
            class: UNKNOWN.to_owned(),
            classes: vec![UNKNOWN.to_owned()],
            relations: Vec::new(),
            columns: Vec::new(),
            functions: Vec::new(),
            opaque: true,
            changes_session: true,
            copy_out: None,
        }
    }

    /// Whether the statement, or one that it holds, is of a class or may be: `prepare` also means `prepare.…`. Fails
    /// closed: what is not understood may be of every class.
    pub fn is(&self, class: &str) -> bool {
        !self.understood() || self.all_classes().any(|own| within(own, class))
    }

    /// Whether all of its classes are ones that the host knows the meaning of.
    pub fn understood(&self) -> bool {
        let known = |own: &str| CLASSES.iter().any(|class| within(own, class));
        !self.classes.is_empty() && self.all_classes().all(known)
    }

    /// Whether it reads and nothing else, by these very words: a longer one says that there is more to it.
    pub fn only_reads(&self) -> bool {
        self.understood()
            && !self.changes_session
            && self.all_classes().all(|own| own == "select" || own == "session.show")
    }

    /// Whether names may mean something else afterwards.
    pub fn may_change_session(&self) -> bool {
        self.changes_session || !self.understood()
    }

    /// What a DECLARE or a PREPARE holds, as a statement of its own. None where there is none: a FETCH, a DEALLOCATE.
    pub fn held(&self) -> Option<StatementFacts> {
        let holds = |class: &str| within(class, "cursor") || within(class, "prepare");
        let classes: Vec<String> = self.classes.iter().filter(|class| !holds(class)).cloned().collect();
        let strictest = if holds(&self.class) { classes.first()? } else { &self.class };
        Some(StatementFacts { class: strictest.clone(), classes: classes.clone(), ..self.clone() })
            .filter(|held| held.understood())
    }

    /// Whether it may compute anything. Beginning and ending a transaction does not, nor does a setting.
    pub fn computes(&self) -> bool {
        let plain = ["transaction", "session.discard", "session.reset", "session.set", "session.show"];
        !self.understood() || !self.all_classes().all(|own| plain.iter().any(|class| within(own, class)))
    }

    fn all_classes(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(String::as_str).chain([self.class.as_str()])
    }
}

/// Whether a class is another one or below it.
fn within(own: &str, class: &str) -> bool {
    own.strip_prefix(class).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// How a value is encoded on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The type's text form.
    Text,
    /// The type's binary form.
    Binary,
}

/// A column of a relation of the target. An empty part could not be found out: it may be any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Schema of the relation.
    pub schema: String,
    /// The relation.
    pub relation: String,
    /// The column.
    pub column: String,
}

/// A function or a foreign table of the target, of which nobody knows what it reads. Empty names: it may be any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// Where the values of a column come from, as far as the target's catalog tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lineage {
    /// The value is that of each of these, unchanged: the column itself, then what is behind it. None: computed.
    pub origins: Vec<Origin>,
    /// It may have been computed from these.
    pub reads: Vec<Origin>,
    /// It may come from these.
    pub unseen: Vec<Source>,
}

impl Lineage {
    /// That of a column of which nothing could be found out: the worst case.
    pub fn unknown() -> Self {
        Lineage { unseen: vec![Source::default()], ..Lineage::default() }
    }

    /// Whether the statement itself computes the value.
    pub fn is_computed(&self) -> bool {
        self.origins.is_empty()
    }
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Its name in the result: chosen by the client, so never a reason to trust or hide it.
    pub name: String,
    /// Where its values come from.
    pub lineage: Lineage,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// How values are encoded.
    pub format: Format,
}

/// A column of a relation that a statement names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelationColumn {
    /// Empty: it may be any.
    pub name: String,
    /// Where its values come from.
    pub lineage: Lineage,
}

/// A relation that a statement names, with the columns of all that the name may mean.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelationColumns {
    /// As the statement names it.
    pub schema: Option<String>,
    /// As the statement names it.
    pub name: String,
    /// At least one: where nothing was found, one of which nothing is known.
    pub columns: Vec<RelationColumn>,
}

/// What the target's catalog has of the names in some statements.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Surroundings {
    /// Their relations.
    pub relations: Vec<RelationColumns>,
    /// What they may call, by name, operator or cast, and of which nobody knows what it reads.
    pub unseen: Vec<Source>,
}

/// What a mask plugin wants done with a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// The client sees it.
    Pass,
    /// Values go through the plugin, with this number of its own.
    Mask(u32),
    /// The result must not be shown.
    Refuse(RuleRefusal),
}

/// What a mask plugin says to a statement before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// It uses nothing that it may not.
    Allow,
    /// It must not run.
    Refuse(RuleRefusal),
    /// Only if people approve: where nothing holds it, it is refused with this.
    Approve(RuleRefusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(classes: &[&str]) -> StatementFacts {
        StatementFacts {
            class: classes.first().copied().unwrap_or_default().to_owned(),
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            opaque: false,
            changes_session: false,
            ..StatementFacts::unknown()
        }
    }

    #[test]
    fn a_known_class_is_what_it_says_and_no_more() {
        for class in CLASSES {
            let (plain, longer) = (of(&[class]), of(&[&format!("{class}.of-mine")]));
            for facts in [&plain, &longer] {
                assert!(facts.understood() && facts.is(class) && !facts.may_change_session(), "{class}");
                let others = CLASSES.iter().filter(|other| **other != class && facts.is(other));
                assert_eq!(others.count(), 0, "{class}");
                assert!(!facts.is(UNKNOWN), "{class}");
            }
            assert_eq!(plain.only_reads(), ["select", "session.show"].contains(&class), "{class}");
            assert!(!longer.only_reads(), "{class}");
        }
    }

    #[test]
    fn a_class_that_is_not_known_may_be_all_of_them() {
        for classes in [
            &["reads"] as &[&str],
            &["SELECT"],
            &["selects"],
            &["select "],
            &["copy"],
            &["copy.stdin"],
            &["session"],
            &["session.forget"],
            &["x-custom.select"],
            &["unknown"],
            &[""],
            &[],
            &["select", "reads"],
            &["reads", "select"],
        ] {
            let facts = of(classes);
            assert!(!facts.understood() && !facts.only_reads() && facts.may_change_session(), "{classes:?}");
            assert!(CLASSES.iter().chain([&UNKNOWN]).all(|class| facts.is(class)), "{classes:?}");
        }
    }

    #[test]
    fn what_a_declare_or_a_prepare_holds_is_a_statement_of_its_own() {
        let held = |classes: &[&str]| of(classes).held().map(|held| (held.class, held.classes.join(" ")));
        let is = |class: &str, classes: &str| Some((class.to_owned(), classes.to_owned()));
        assert_eq!(held(&["cursor", "select"]), is("select", "select"));
        assert_eq!(
            held(&["prepare", "delete.no-where", "select"]),
            is("delete.no-where", "delete.no-where select")
        );
        assert_eq!(held(&["select", "prepare"]), is("select", "select"));
        // A FETCH, a DEALLOCATE, and what nobody understands.
        for nothing in
            [&["cursor"] as &[&str], &["prepare"], &["prepare", "cursor"], &[], &["prepare", "reads"]]
        {
            assert_eq!(held(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn the_class_counts_where_the_classes_leave_it_out() {
        let facts = StatementFacts { class: "delete".into(), ..of(&["select"]) };
        assert!(facts.is("delete") && !facts.only_reads());
        assert!(!StatementFacts { class: "deletes".into(), ..of(&["select"]) }.understood());
    }
}
