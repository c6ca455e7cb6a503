//! What decides about rows, also where a statement does not say so in a condition.
//!
//! `SELECT 1 FROM (SELECT ssn AS x FROM t) s WHERE x LIKE '1%'` chooses by `ssn` and names only `x` in its condition. So
//! names are followed backwards: what a select list gives a name to decides as soon as that name does, and so does what is
//! made distinct, compared by a set operation, or ordered by its position. A whole row, or columns that were renamed in a
//! list, cannot be followed: then a column without a name stands for any.

use super::columns::{is_dotted_name, place_of};
use super::{MAX_COLUMNS, Walk};
use crate::names::fold;
use crate::tree::Node;
use chaperone_sdk::{ColumnRef, Place};
use squawk_parser::SyntaxKind as K;
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

/// Entries of all select lists of one statement. Above it nothing is followed, and any column may decide.
const MAX_TARGETS: usize = 512;

/// An entry of a select list.
struct Target<'a> {
    range: Range<usize>,
    /// What it may be called. Empty: what it shows keeps its own names (a star).
    names: Vec<Cow<'a, str>>,
    decides: bool,
}

/// What one pass over the tree gathers.
#[derive(Default)]
struct Flow<'a> {
    /// Names of columns, with their place in the tree.
    names: Vec<(usize, Cow<'a, str>)>,
    stars: Vec<usize>,
    targets: Vec<Target<'a>>,
    /// Queries whose lists belong together: the arms of a set operation.
    compounds: Vec<Range<usize>>,
    /// Parts of the tree in which every select list decides.
    lists: Vec<Range<usize>>,
    deciding: HashSet<Cow<'a, str>>,
    /// Names of queries: alone, such a name means all that the query shows.
    queries: HashSet<Cow<'a, str>>,
    /// Columns are renamed in a list.
    renames: bool,
    /// Any column may decide.
    any: bool,
}

impl<'a> Walk<'a> {
    /// Adds the columns that decide to the facts.
    pub(super) fn add_what_decides(&mut self, statement: Node<'a>) {
        let mut flow = Flow::default();
        flow.gather(statement);
        flow.follow();
        let whole_row = |name: &Cow<'_, str>| self.ranges.iter().any(|range| range == name);
        let any = flow.any || self.columns_given_up || flow.deciding.iter().any(whole_row);
        let mut names: Vec<Cow<'a, str>> = flow.deciding.into_iter().collect();
        names.sort();
        if any {
            names.insert(0, Cow::Borrowed(""));
        }
        for name in names {
            let known = |column: &ColumnRef| column.place == Place::Predicate && column.name == name;
            if self.facts.columns.iter().any(known) {
                continue;
            }
            // Over the bound the list is given up, and its last entry says so.
            let full = self.facts.columns.len() >= MAX_COLUMNS;
            let name = if full { String::new() } else { name.into_owned() };
            self.facts.columns.truncate(MAX_COLUMNS - 1);
            self.facts.columns.push(ColumnRef { qualifier: None, name, place: Place::Predicate });
            if full {
                return;
            }
        }
    }
}

impl<'a> Flow<'a> {
    fn gather(&mut self, statement: Node<'a>) {
        let mut open: Vec<Node<'a>> = Vec::with_capacity(16);
        let (mut decides_until, mut skip_until) = (0, 0);
        for node in statement.subtree() {
            if node.is_token() || node.index() < skip_until {
                continue;
            }
            while open.last().is_some_and(|outer| outer.after() <= node.index()) {
                open.pop();
            }
            let parent = open.last().copied();
            if decides(node, parent) {
                decides_until = decides_until.max(node.after());
            }
            if let K::NAME_REF | K::FIELD_EXPR | K::COLUMN_NAME_REF = node.kind() {
                skip_until = self.name(node, parent, node.index() < decides_until);
            }
            self.clause(node, &open, node.index() < decides_until);
            open.push(node);
        }
    }

    /// A column's name, or what could be one. Returns where to go on.
    fn name(&mut self, node: Node<'a>, parent: Option<Node<'a>>, decides: bool) -> usize {
        let dotted = node.kind() != K::FIELD_EXPR || is_dotted_name(node);
        let callee =
            parent.is_some_and(|call| call.kind() == K::CALL_EXPR && call.index() + 1 == node.index());
        // The base of `(…).f` is walked on its own.
        let go_on = if dotted { node.after() } else { node.index() };
        if callee {
            return go_on;
        }
        let last = node.children().last();
        if last.is_some_and(|last| last.kind() == K::STAR) {
            self.any |= decides;
            self.stars.push(node.index());
        } else {
            let text = if node.kind() == K::FIELD_EXPR { last.map_or("", Node::text) } else { node.text() };
            let name = fold(text);
            if decides {
                self.deciding.insert(name.clone());
            }
            self.names.push((node.index(), name));
        }
        go_on
    }

    fn clause(&mut self, node: Node<'a>, open: &[Node<'a>], decides: bool) {
        let parent = open.last().copied();
        match node.kind() {
            K::TARGET => self.target(node, open, decides),
            K::JOIN => self.any |= node.child(K::NATURAL_KW).is_some(),
            K::COMPOUND_SELECT => {
                self.compounds.push(node.index()..node.after());
                let compares = |child: Node<'_>| match child.kind() {
                    K::UNION => child.child(K::ALL).is_none(),
                    K::INTERSECT | K::EXCEPT => true,
                    _ => false,
                };
                if node.children().any(compares) {
                    self.lists.push(node.index()..node.after());
                }
            }
            K::DISTINCT_CLAUSE if node.child(K::DISTINCT_ON).is_none() => {
                if let Some(clause) = parent {
                    self.lists.extend(clause.child(K::TARGET_LIST).map(|list| list.index()..list.after()));
                }
            }
            K::ORDER_BY_CLAUSE | K::GROUP_BY_CLAUSE if node.contains(K::LITERAL) => {
                self.positions(node, open)
            }
            K::VALUES => self.rows(node, parent),
            K::FROM_ALIAS => {
                self.renames |= node.child(K::COLUMN_LIST).is_some();
                self.queries.extend(node.child(K::TABLE_ALIAS).map(|alias| fold(alias.text())));
            }
            K::WITH_TABLE => {
                self.renames |= node.child(K::COLUMN_LIST).is_some();
                self.queries.extend(node.child(K::CTE_NAME).map(|name| fold(name.text())));
            }
            _ => {}
        }
    }

    fn target(&mut self, node: Node<'a>, open: &[Node<'a>], decides: bool) {
        // `EXISTS (SELECT * …)` looks at no value.
        let query = open.iter().rev().skip(3).find(|outer| outer.kind() != K::PAREN_SELECT);
        let star = node.child(K::STAR).is_some();
        if star && query.is_some_and(|outer| outer.kind() == K::EXISTS_FN) {
            return;
        }
        if star {
            self.any |= decides;
            self.stars.push(node.index());
        }
        let names = match node.child(K::AS_NAME) {
            Some(alias) => vec![fold(alias.children().last().map_or("", Node::text))],
            None if star => Vec::new(),
            None => own_names(node),
        };
        self.targets.push(Target { range: node.index()..node.after(), names, decides: false });
    }

    /// Numbers in ORDER BY and GROUP BY are positions in the select list (manual, 7.5); elsewhere they are constants.
    fn positions(&mut self, clause: Node<'a>, open: &[Node<'a>]) {
        let Some(query) = open.last() else { return };
        let whole = open.iter().rev().find(|outer| outer.kind() == K::COMPOUND_SELECT);
        match (query.kind(), whole) {
            (K::SELECT | K::PAREN_SELECT | K::COMPOUND_SELECT, Some(whole)) => {
                self.lists.push(whole.index()..whole.after());
            }
            (K::SELECT, None) => {
                let list = query.child(K::SELECT_CLAUSE).and_then(|clause| clause.child(K::TARGET_LIST));
                let Some(list) = list else { return };
                let targets: Vec<Node<'_>> =
                    list.children().filter(|target| target.kind() == K::TARGET).collect();
                // What stands behind a star has no place that is known here.
                if targets.iter().any(|target| self.stars_in(*target)) {
                    return self.lists.push(list.index()..list.after());
                }
                for literal in clause.subtree().filter(|node| node.kind() == K::LITERAL) {
                    let place = literal.text().parse::<usize>().ok().and_then(|place| place.checked_sub(1));
                    let target = place.and_then(|place| targets.get(place));
                    self.lists.extend(target.map(|target| target.index()..target.after()));
                }
            }
            (K::PAREN_SELECT | K::VALUES | K::TABLE, _) => {
                self.lists.push(query.index()..query.after());
                self.any |= query.contains(K::TABLE);
            }
            _ => {}
        }
    }

    fn stars_in(&self, target: Node<'_>) -> bool {
        self.stars.iter().any(|star| (target.index()..target.after()).contains(star))
    }

    /// The columns of a VALUES list are called `column1` and so on.
    fn rows(&mut self, node: Node<'a>, parent: Option<Node<'a>>) {
        if parent.is_some_and(|parent| parent.kind() != K::INSERT) {
            let names = (1..=9).map(|number| Cow::Owned(format!("column{number}"))).collect();
            self.targets.push(Target { range: node.index()..node.after(), names, decides: false });
        }
    }

    /// From names to the lists that gave them, until nothing new decides.
    fn follow(&mut self) {
        if self.targets.len() > MAX_TARGETS {
            self.any |= !self.deciding.is_empty() || !self.lists.is_empty();
            return;
        }
        loop {
            let decided = |range: &Range<usize>, lists: &[Range<usize>]| {
                lists.iter().any(|list| list.start <= range.start && range.end <= list.end)
            };
            let all = !self.deciding.is_empty() && self.renames
                || self.deciding.iter().any(|name| self.queries.contains(name));
            let mut grown = false;
            for target in self.targets.iter_mut().filter(|target| !target.decides) {
                let named = target.names.iter().any(|name| self.deciding.contains(name));
                if all || named || decided(&target.range, &self.lists) {
                    target.decides = true;
                    grown = true;
                    let inside = |index: &usize| target.range.contains(index);
                    let names = self.names.iter().filter(|(index, _)| inside(index));
                    self.deciding.extend(names.map(|(_, name)| name.clone()));
                    self.any |= self.stars.iter().any(inside);
                    let arms = self.compounds.iter().filter(|arms| arms.contains(&target.range.start));
                    self.lists.extend(arms.cloned());
                }
            }
            if !grown {
                return;
            }
        }
    }
}

/// Whether what is named below decides which rows come back, how many, or in which order.
fn decides(node: Node<'_>, parent: Option<Node<'_>>) -> bool {
    let below = parent.map(Node::kind);
    match node.kind() {
        K::FUNCTION_FROM_ITEM
        | K::ROWS_FROM_ITEM
        | K::XML_TABLE_FROM_ITEM
        | K::JSON_TABLE_FROM_ITEM
        | K::EXPR_FROM_ITEM
        | K::SEARCH_CLAUSE
        | K::CYCLE_CLAUSE => true,
        K::CALL_EXPR => node.children().next().is_some_and(|callee| {
            let name = fold(callee.text());
            SET_RETURNING.iter().any(|known| name.as_ref() == *known || name.ends_with(&format!(".{known}")))
        }),
        kind if below == Some(K::CASE_EXPR) => !matches!(kind, K::WHEN_CLAUSE_LIST | K::ELSE_CLAUSE),
        _ if below == Some(K::WHEN_CLAUSE) => parent.is_some_and(|when| when.index() + 2 == node.index()),
        kind => place_of(kind, below) == Some(Place::Predicate),
    }
}

/// Functions that return as many rows as their arguments say.
const SET_RETURNING: &[&str] = &[
    "generate_series",
    "generate_subscripts",
    "json_array_elements",
    "json_array_elements_text",
    "json_each",
    "json_each_text",
    "json_object_keys",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_object_keys",
    "jsonb_path_query",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "ts_parse",
    "unnest",
];

/// What PostgreSQL may call an expression without an alias (source, `FigureColname`).
fn own_names(target: Node<'_>) -> Vec<Cow<'_, str>> {
    let Some(expression) = target.children().next() else { return Vec::new() };
    match expression.kind() {
        K::NAME_REF | K::FIELD_EXPR => vec![fold(expression.subtree().last().map_or("", Node::text))],
        K::CALL_EXPR => {
            let callee = expression.children().next();
            let words = callee.into_iter().flat_map(Node::subtree).filter(|node| node.is_token());
            words.map(|word| fold(word.text())).collect()
        }
        K::BIN_EXPR | K::PREFIX_EXPR | K::LITERAL => vec![Cow::Borrowed("?column?")],
        // The name of a column, a function or a type in it, or a word of PostgreSQL's own.
        _ => {
            let others =
                ["?column?", "int2", "int4", "int8", "float4", "float8", "bool", "bpchar", "varchar"];
            let more = ["numeric", "varbit", "timetz", "timestamp", "timestamptz"];
            let known = others.iter().chain(&more).map(|name| Cow::Borrowed(*name));
            words_shown(expression).chain(known).collect()
        }
    }
}

/// All words of an expression but those of conditions in it.
fn words_shown(expression: Node<'_>) -> impl Iterator<Item = Cow<'_, str>> {
    let mut open: Vec<Node<'_>> = Vec::new();
    let mut skip_until = 0;
    expression.subtree().filter_map(move |node| {
        while open.last().is_some_and(|outer| outer.after() <= node.index()) {
            open.pop();
        }
        if node.index() < skip_until {
            return None;
        }
        if node.is_token() {
            return Some(fold(node.text()));
        }
        if decides(node, open.last().copied()) {
            skip_until = node.after();
        }
        open.push(node);
        None
    })
}
