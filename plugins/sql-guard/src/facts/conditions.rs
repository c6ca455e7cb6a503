//! Whether a condition says which rows of a table are meant.
//!
//! A guard against mistakes: `WHERE true`, `WHERE id = id`, `WHERE id = 5 OR 1 = 1`, `USING` without a join, an `EXISTS`
//! that forgot the outer table. It goes by shape alone and proves nothing: `WHERE id > 0 OR id <= 0` passes. Where it
//! cannot tell whose column is meant, inside a sub-select, it takes the column for another table's: fails closed.

use super::columns::{is_dotted_name, is_value_function};
use crate::classes::Class;
use crate::names::{Path, fold};
use crate::settings;
use crate::tree::Node;
use squawk_parser::SyntaxKind as K;
use std::borrow::Cow;

/// Whether an `UPDATE` or `DELETE` has a condition that chooses rows.
pub(super) fn chooses_rows(statement: Node<'_>) -> bool {
    let chooses = |condition: Node<'_>| chooses(condition, target(statement).as_deref());
    statement.child(K::WHERE_CURRENT_OF).is_some() || statement.child(K::WHERE_CLAUSE).is_some_and(chooses)
}

/// Whether the `ON` of a `MERGE` chooses rows.
pub(super) fn merge_joins(merge: Node<'_>) -> bool {
    let on = merge.child(K::USING_ON_CLAUSE).and_then(|using| using.child(K::ON_CLAUSE));
    on.is_some_and(|on| chooses(on, target(merge).as_deref()))
}

/// Whether the condition of a `WHEN` of a `MERGE` chooses rows.
pub(super) fn merge_condition(condition: Node<'_>, merge: Node<'_>) -> bool {
    chooses(condition, target(merge).as_deref())
}

/// The name by which a statement's condition calls the table that it changes.
fn target(statement: Node<'_>) -> Option<Cow<'_, str>> {
    if let Some(alias) = statement.child(K::OPTIONAL_AS_ALIAS).and_then(|alias| alias.child(K::TABLE_ALIAS)) {
        return Some(fold(alias.text()));
    }
    let named = [K::RELATION_NAME, K::TABLE_RELATION_NAME, K::RELATION_NAME_REF, K::TABLE_NAME_REF];
    let relation = statement.children().find(|child| named.contains(&child.kind()))?;
    let name = relation.subtree().find(|node| node.kind() == K::PATH_REF);
    Path::of(name?).map(|path| path.name)
}

/// How two conditions are put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Join {
    /// One that chooses is enough.
    Either,
    Both,
}

fn chooses(condition: Node<'_>, target: Option<&str>) -> bool {
    let (Some(name), Some(expression)) = (target, condition.children().last()) else { return false };
    let target = Target { name, shadowed: visible_names(condition).any(|visible| visible == name) };
    target.is_chosen_by(expression, false)
}

/// The names of relations inside a condition, by which its columns may be qualified.
fn visible_names(condition: Node<'_>) -> impl Iterator<Item = Cow<'_, str>> {
    condition.subtree().filter_map(|node| match node.kind() {
        K::TABLE_ALIAS => Some(fold(node.text())),
        K::RELATION_NAME_REF => Path::of(node).map(|path| path.name),
        _ => None,
    })
}

/// The table that is changed.
#[derive(Clone, Copy)]
struct Target<'t> {
    name: &'t str,
    /// A sub-select has a relation of the same name.
    shadowed: bool,
}

impl Target<'_> {
    /// `AND` and `OR` in a row lean to the left and are walked in a loop, since there may be thousands of them. Right sides
    /// are entered by a call: `crate::lexical` bounds how deep they nest.
    fn is_chosen_by(self, expression: Node<'_>, mut negated: bool) -> bool {
        let mut node = expression;
        let mut waiting = Vec::new();
        loop {
            let mut children = node.children();
            let (first, second, third) = (children.next(), children.next(), children.next());
            node = match (node.kind(), first, second, third) {
                (K::BIN_EXPR, Some(left), Some(word), Some(right)) if is_connective(word.kind()) => {
                    // Under a `NOT` they change places (De Morgan).
                    let join = if (word.kind() == K::AND_KW) == negated { Join::Both } else { Join::Either };
                    waiting.push((join, right, negated));
                    left
                }
                (K::PREFIX_EXPR, Some(not), Some(operand), _) if not.kind() == K::NOT_KW => {
                    negated = !negated;
                    operand
                }
                (K::PAREN_EXPR, _, Some(inner), _) if !is_statement(inner.kind()) => inner,
                _ => break,
            };
        }
        let first = self.is_chosen_by_leaf(node);
        waiting.into_iter().rev().fold(first, |left, (join, right, negated)| match join {
            Join::Either => left || self.is_chosen_by(right, negated),
            Join::Both => left && self.is_chosen_by(right, negated),
        })
    }

    /// A condition without `AND`, `OR` and `NOT`.
    fn is_chosen_by_leaf(self, leaf: Node<'_>) -> bool {
        let operands: Vec<Node<'_>> = leaf.children().filter(|child| !child.is_token()).collect();
        let trivial = match (leaf.kind(), operands.as_slice()) {
            (K::BETWEEN_EXPR, [value, low, high]) => same(*value, *low) && same(*value, *high),
            (K::BIN_EXPR, [left, .., right]) => {
                same(*left, *right) || lists(*right, *left) || (likes(leaf) && is_any_text(*right))
            }
            _ => false,
        };
        !trivial && self.is_named_in(leaf)
    }

    /// Whether a column of the table is named.
    fn is_named_in(self, expression: Node<'_>) -> bool {
        let (mut skip_until, mut query_until) = (0, 0);
        // No columns, though the parser takes them for names: what follows `IS` (`IS DOCUMENT`), and `f` in `(…).f`.
        let mut words = Vec::new();
        for node in expression.subtree() {
            if is_statement(node.kind()) {
                query_until = query_until.max(node.after());
            }
            if node.index() < skip_until || words.contains(&node.index()) {
                skip_until = skip_until.max(node.after());
                continue;
            }
            match node.kind() {
                K::IS_KW | K::IS_NOT => words.push(node.after()),
                K::CALL_EXPR => {
                    let callee = node.children().next();
                    let named = |callee: &Node<'_>| matches!(callee.kind(), K::NAME_REF | K::FIELD_EXPR);
                    skip_until = callee.filter(named).map_or(skip_until, Node::after);
                }
                K::NAME_REF | K::FIELD_EXPR => {
                    if self.is_owner_of(node, node.index() < query_until) {
                        return true;
                    }
                    match node.children().last() {
                        _ if is_dotted_name(node) => skip_until = node.after(),
                        // The field of something else; that is walked on its own.
                        Some(field) => words.push(field.index()),
                        None => (),
                    }
                }
                _ => (),
            }
        }
        false
    }

    fn is_owner_of(self, column: Node<'_>, in_query: bool) -> bool {
        let Some((qualifier, _)) = column_name(column) else { return false };
        match qualifier {
            Some(qualifier) => qualifier == self.name && !(in_query && self.shadowed),
            None => !in_query,
        }
    }
}

fn is_connective(kind: K) -> bool {
    matches!(kind, K::AND_KW | K::OR_KW)
}

fn is_statement(kind: K) -> bool {
    Class::of_statement(kind).is_some()
}

/// A column: its table, if it is named, and its name. `None` for `CURRENT_USER` and the like, and for every other
/// expression.
fn column_name(node: Node<'_>) -> Option<(Option<Cow<'_, str>>, Cow<'_, str>)> {
    if !matches!(node.kind(), K::NAME_REF | K::FIELD_EXPR) || !is_dotted_name(node) {
        return None;
    }
    let mut names = node.subtree().filter(|token| token.is_token() && token.kind() != K::DOT);
    let first =
        names.next().filter(|token| node.kind() != K::NAME_REF || !is_value_function(token.kind()))?;
    let (mut qualifier, mut name) = (None, fold(first.text()));
    for token in names {
        qualifier = Some(std::mem::replace(&mut name, fold(token.text())));
    }
    Some((qualifier, name))
}

/// Whether two expressions are one and the same: `id = t.id` compares nothing.
fn same(left: Node<'_>, right: Node<'_>) -> bool {
    let (left, right) = (without_parentheses(left), without_parentheses(right));
    if let (Some((left_table, left)), Some((right_table, right))) = (column_name(left), column_name(right)) {
        let tables = left_table.is_none() || right_table.is_none() || left_table == right_table;
        return tables && left == right;
    }
    let mut words = right.subtree().filter(|token| token.is_token());
    let mut left = left.subtree().filter(|token| token.is_token());
    let equal = |word: Node<'_>, other: Node<'_>| word.text().eq_ignore_ascii_case(other.text());
    left.all(|word| words.next().is_some_and(|other| equal(word, other))) && words.next().is_none()
}

fn without_parentheses(mut node: Node<'_>) -> Node<'_> {
    while let (K::PAREN_EXPR, Some(inner)) = (node.kind(), node.children().nth(1)) {
        node = inner;
    }
    node
}

/// Whether a list (`IN (…)`, `ANY (ARRAY[…])`) holds the value that is looked for in it.
fn lists(list: Node<'_>, value: Node<'_>) -> bool {
    let list = match list.child(K::ANY_FN) {
        Some(any) => any.child(K::ARRAY_EXPR),
        None => matches!(list.kind(), K::PAREN_EXPR | K::TUPLE_EXPR).then_some(list),
    };
    list.is_some_and(|list| list.children().any(|item| !item.is_token() && same(item, value)))
}

fn likes(comparison: Node<'_>) -> bool {
    let like = |kind| matches!(kind, K::LIKE_KW | K::ILIKE_KW | K::SIMILAR_TO);
    comparison.children().any(|operator| like(operator.kind()))
}

/// A pattern that fits every text.
fn is_any_text(pattern: Node<'_>) -> bool {
    let text = (pattern.kind() == K::LITERAL).then(|| settings::plain_string(pattern)).flatten();
    text.is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte == b'%'))
}
