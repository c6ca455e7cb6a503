//! Columns: which are named, where they count, and where a whole row hides some.

use super::{Fault, Frame, MAX_COLUMNS, Walk};
use crate::functions;
use crate::names::{Path, fold};
use crate::tree::Node;
use chaperone_sdk::{ColumnRef, Place};
use squawk_parser::SyntaxKind as K;
use std::borrow::Cow;

/// Where columns count that are named below a clause; `None`: as around it.
pub(super) fn place_of(kind: K, parent: Option<K>) -> Option<Place> {
    match kind {
        // `percentile_disc(…) WITHIN GROUP (ORDER BY x)` returns a value of `x`: no mere order.
        K::ORDER_BY_CLAUSE if parent == Some(K::WITHIN_CLAUSE) => None,
        K::WHERE_CLAUSE
        | K::ON_CLAUSE
        | K::JOIN_USING_CLAUSE
        | K::GROUP_BY_CLAUSE
        | K::HAVING_CLAUSE
        | K::ORDER_BY_CLAUSE
        | K::DISTINCT_CLAUSE
        | K::WINDOW_CLAUSE
        | K::OVER_CLAUSE
        | K::FILTER_CLAUSE
        | K::LIMIT_CLAUSE
        | K::OFFSET_CLAUSE
        | K::FETCH_CLAUSE
        | K::MERGE_CONDITION
        | K::CONFLICT_ON_INDEX => Some(Place::Predicate),
        K::COLUMN_TARGET => Some(Place::Assigned),
        K::INDEX_ACCESSOR | K::SLICE_ACCESSOR => Some(Place::Other),
        _ => None,
    }
}

/// Whether a chain of dots consists of names alone (`a.b.c`, `a.b.*`).
pub(super) fn is_dotted_name(field: Node<'_>) -> bool {
    field.subtree().all(|node| node.is_token() || matches!(node.kind(), K::FIELD_EXPR | K::NAME_REF))
}

impl<'a> Walk<'a> {
    pub(super) fn is_open(&self, list: usize) -> bool {
        self.open_lists.contains(&Some(list))
    }

    /// `*` in a target list.
    pub(super) fn target(&mut self, node: Node<'a>, list: Option<Frame>) {
        if node.child(K::STAR).is_some() {
            self.facts.opaque |= !list.is_some_and(|list| self.is_open(list.index));
        }
    }

    /// A name that stands alone in an expression: a column, or a whole row (decided at the end), or a value function.
    pub(super) fn name_ref(
        &mut self,
        node: Node<'a>,
        parent: Option<Frame>,
        place: Place,
    ) -> Result<(), Fault> {
        // The name after a dot belongs to its field expression; the first child was entered before.
        if parent.is_some_and(|parent| parent.kind == K::FIELD_EXPR && parent.index + 1 != node.index()) {
            return Ok(());
        }
        let Some(token) = node.children().next() else { return Ok(()) };
        let name = fold(token.text());
        if is_value_function(token.kind()) {
            self.function(&Path { schema: None, name: name.clone() })?;
        }
        self.column(None, name, place);
        Ok(())
    }

    /// `a.b`, `a.b.c`, `a.*`, `(…).b`, `a[1].b`.
    pub(super) fn field(&mut self, node: Node<'a>, parent: Option<Frame>, place: Place) -> Result<(), Fault> {
        let Some(last) = node.children().last() else { return Err(Fault::Unreadable) };
        let star = last.kind() == K::STAR;
        if !is_dotted_name(node) {
            // The base is walked on its own; what the field belongs to is not known.
            if star {
                self.facts.opaque = true;
                return Ok(());
            }
            let path = Path { schema: None, name: fold(last.text()) };
            self.call_by_dot(&path)?;
            self.column(None, path.name, place);
            return Ok(());
        }
        self.skip_until = node.after();
        let tokens = node.subtree().filter(|token| token.is_token() && token.kind() != K::DOT);
        let mut names: Vec<Cow<'a, str>> = tokens.map(|token| fold(token.text())).collect();
        if star {
            let list =
                parent.filter(|parent| parent.kind == K::TARGET).and_then(|_| self.frames.iter().nth_back(1));
            self.facts.opaque |= !list.is_some_and(|list| self.is_open(list.index));
            return Ok(());
        }
        let Some(name) = names.pop() else { return Err(Fault::Unreadable) };
        // A database in front says nothing, and a dot inside a name would make the qualifier ambiguous.
        let start = names.len().saturating_sub(2);
        self.facts.opaque |= names.iter().any(|name| name.contains('.'));
        let qualifier = match names.get(start..) {
            Some([table]) => Some(table.clone()),
            Some(parts) => Some(Cow::Owned(parts.join("."))),
            None => None,
        };
        let path = Path { schema: None, name };
        self.call_by_dot(&path)?;
        self.column(qualifier, path.name, place);
        Ok(())
    }

    /// PostgreSQL reads `x.f` as `f(x)` when `x` has no column `f` (manual, 4.2.6): `('f'::text).pg_read_file` reads
    /// a file, `t.to_json` a whole row.
    fn call_by_dot(&mut self, path: &Path<'_>) -> Result<(), Fault> {
        let whole_row = functions::takes_whole_row(&path.name);
        self.facts.opaque |= whole_row;
        if whole_row || functions::dangerous(None, &path.name).is_some() {
            self.function(path)?;
        }
        Ok(())
    }

    /// A column where only a column can stand.
    pub(super) fn column_name(&mut self, node: Node<'a>, place: Place) {
        let place = match (self.frames.iter().any(|frame| frame.kind == K::COPY_TABLE), &self.facts.copy_out)
        {
            (true, Some(_)) => Place::Output,
            (true, None) => Place::Assigned,
            _ => place,
        };
        // What a star returns for a column of `USING` may be computed: of two types, or of both sides.
        if self.frames.iter().any(|frame| frame.kind == K::JOIN_USING_CLAUSE) {
            self.column(None, fold(node.text()), Place::Output);
        }
        self.column(None, fold(node.text()), place);
    }

    fn column(&mut self, qualifier: Option<Cow<'_, str>>, name: Cow<'_, str>, place: Place) {
        if self.columns_given_up {
            return;
        }
        let known = |known: &ColumnRef| {
            known.name == name && known.place == place && known.qualifier.as_deref() == qualifier.as_deref()
        };
        if self.facts.columns.iter().any(known) {
            return;
        }
        if self.facts.columns.len() >= MAX_COLUMNS {
            self.facts.opaque = true;
            self.columns_given_up = true;
            return;
        }
        let qualifier = qualifier.map(Cow::into_owned);
        self.facts.columns.push(ColumnRef { qualifier, name: name.into_owned(), place });
    }

    /// A name that stands alone and is the name of a relation in the statement may be its whole row. PostgreSQL
    /// would take a column of that name first; without the catalog the worse reading counts.
    pub(super) fn mark_whole_rows(&mut self) {
        let alone = |column: &&ColumnRef| column.qualifier.is_none() && column.place != Place::Assigned;
        let mut alone = self.facts.columns.iter().filter(alone);
        if alone.any(|column| self.ranges.iter().any(|range| *range == column.name)) {
            self.facts.opaque = true;
        }
    }
}

/// `CURRENT_USER` and the like: called without parentheses, and no column.
pub(super) fn is_value_function(kind: K) -> bool {
    matches!(
        kind,
        K::CURRENT_CATALOG_KW
            | K::CURRENT_DATE_KW
            | K::CURRENT_ROLE_KW
            | K::CURRENT_SCHEMA_KW
            | K::CURRENT_TIME_KW
            | K::CURRENT_TIMESTAMP_KW
            | K::CURRENT_USER_KW
            | K::LOCALTIME_KW
            | K::LOCALTIMESTAMP_KW
            | K::SESSION_USER_KW
            | K::SYSTEM_USER_KW
            | K::USER_KW
    )
}
