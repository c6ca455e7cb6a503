//! Questions about the shape of a statement that need a look ahead.

use super::{Fault, conditions, copy};
use crate::classes::Class;
use crate::names::fold;
use crate::settings;
use crate::tree::Node;
use squawk_parser::SyntaxKind as K;

/// Whether the statement is a query, in parentheses or not.
pub(super) fn is_query(statement: Node<'_>) -> bool {
    Class::of_statement(statement.kind()) == Some(Class::Select)
}

/// The target list in which a star hides nothing from the host: that of the outermost query, whose columns come
/// with their origin. Not that of a `UNION`, nor of a query whose rows go elsewhere.
pub(super) fn outermost_list(statement: Node<'_>) -> Option<usize> {
    match statement.kind() {
        K::TABLE => Some(statement.index()),
        K::INSERT | K::UPDATE | K::DELETE | K::MERGE => {
            Some(statement.child(K::RETURNING_CLAUSE)?.child(K::TARGET_LIST)?.index())
        }
        K::DECLARE | K::PREPARE | K::EXPLAIN => outermost_list(inner(statement)?),
        K::COPY => outermost_list(inner(statement.child(K::COPY_QUERY)?)?),
        _ => list_of_query(statement),
    }
}

/// The target list of a plain query in any number of parentheses; of the query below, for another node.
pub(super) fn list_of_query(node: Node<'_>) -> Option<usize> {
    let mut query = node;
    loop {
        match query.kind() {
            K::SELECT => return Some(query.child(K::SELECT_CLAUSE)?.child(K::TARGET_LIST)?.index()),
            K::PAREN_SELECT | K::EXISTS_FN => query = inner(query)?,
            _ => return None,
        }
    }
}

fn inner(statement: Node<'_>) -> Option<Node<'_>> {
    statement.children().find(|child| Class::of_statement(child.kind()).is_some())
}

/// The class of a statement, looked at closely.
pub(super) fn refine(node: Node<'_>, class: Class) -> Result<Class, Fault> {
    Ok(match node.kind() {
        K::UPDATE if !conditions::chooses_rows(node) => Class::UpdateNoWhere,
        K::DELETE if !conditions::chooses_rows(node) => Class::DeleteNoWhere,
        K::EXPLAIN if runs(node) => Class::ExplainAnalyze,
        K::COPY => copy::class(node)?,
        K::SET | K::RESET => settings::class_of(node, class)?,
        _ => class,
    })
}

/// Any mention of `ANALYZE` counts, also `ANALYZE false`: options may come twice, and the last one wins.
fn runs(explain: Node<'_>) -> bool {
    let option = |node: Node<'_>| match node.kind() {
        K::EXPLAIN_ANALYZE => true,
        K::EXPLAIN_OPTION_NAME => {
            let name = fold(node.text());
            name.eq_ignore_ascii_case("analyze") || name.eq_ignore_ascii_case("analyse")
        }
        _ => false,
    };
    let statement = inner(explain).map_or(explain.after(), Node::index);
    explain.subtree().take_while(|node| node.index() < statement).any(option)
}

/// Whether a statement that writes rows also reads them, `RETURNING` aside.
pub(super) fn reads_target(statement: Node<'_>) -> bool {
    match statement.kind() {
        K::INSERT => statement.child(K::ON_CONFLICT_CLAUSE).is_some(),
        K::DELETE => statement.child(K::WHERE_CLAUSE).is_some(),
        _ => true,
    }
}
