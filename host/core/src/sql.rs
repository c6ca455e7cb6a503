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
    /// The name, folded.
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

/// `COPY … TO STDOUT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopyOut {
    /// None for `COPY (query) TO`.
    pub relation: Option<Relation>,
    /// Empty: all columns.
    pub columns: Vec<String>,
    /// `text`, `csv` or `binary`.
    pub format: String,
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

impl StatementFacts {
    /// Whether the statement, or one that it holds, is of a class: `prepare` also means `prepare.…`.
    pub fn is(&self, class: &str) -> bool {
        let of =
            |own: &str| own.strip_prefix(class).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.classes.iter().any(|own| of(own)) || of(&self.class)
    }
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

/// The table column that a result column was read from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Schema of the relation.
    pub schema: String,
    /// The relation.
    pub relation: String,
    /// The column.
    pub column: String,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Its name in the result: chosen by the client, so never a reason to trust or hide it.
    pub name: String,
    /// Where it was read from; none for computed columns.
    pub origin: Option<Origin>,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// How values are encoded.
    pub format: Format,
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
