//! Questions about the shape of a statement that need a look ahead.

use super::{Fault, conditions};
use crate::classes::Class;
use crate::names::{Path, fold};
use crate::settings;
use crate::tree::Node;
use chaperone_sdk::{Access, CopyOut, Relation};
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
        K::COPY => copy_class(node)?,
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

/// `PROGRAM` and files of the server are told apart from the wire, whichever way round it is written.
fn copy_class(copy: Node<'_>) -> Result<Class, Fault> {
    let (direction, class) = match (copy.child(K::COPY_TO), copy.child(K::COPY_FROM)) {
        (Some(to), None) => (to, Class::CopyOut),
        (None, Some(from)) => (from, Class::CopyIn),
        _ => return Err(Fault::Unreadable),
    };
    if direction.contains(K::PROGRAM_KW) {
        return Ok(Class::CopyProgram);
    }
    let wire = direction.child(K::COPY_STDOUT).is_some() || direction.child(K::COPY_STDIN).is_some();
    Ok(if wire { class } else { Class::CopyFile })
}

/// What `COPY … TO STDOUT` sends.
pub(super) fn copy_out(copy: Node<'_>) -> Result<Option<CopyOut>, Fault> {
    if copy_class(copy)? != Class::CopyOut {
        return Ok(None);
    }
    let table = copy.child(K::COPY_TABLE);
    let relation =
        table.and_then(|table| table.child(K::TABLE_NAME_REF)).and_then(Path::of).map(|path| Relation {
            schema: path.schema.map(|schema| schema.into_owned()),
            name: path.name.into_owned(),
            access: Access::Read,
        });
    let list = table.and_then(|table| table.child(K::COLUMN_REF_LIST));
    let columns =
        list.into_iter().flat_map(Node::children).filter(|column| column.kind() == K::COLUMN_NAME_REF);
    let columns = columns.map(|column| fold(column.text()).into_owned()).collect();
    Ok(Some(CopyOut { relation, columns, format: copy_format(copy)? }))
}

fn copy_format(copy: Node<'_>) -> Result<String, Fault> {
    let mut format = "text".to_owned();
    if copy.child(K::COPY_TABLE).is_some_and(|table| table.child(K::BINARY_KW).is_some()) {
        format = "binary".to_owned();
    }
    for legacy in copy.children().filter(|option| option.kind() == K::COPY_LEGACY_OPTION) {
        match legacy.children().next().map(Node::kind) {
            Some(K::CSV_KW) => format = "csv".to_owned(),
            Some(K::BINARY_KW) => format = "binary".to_owned(),
            _ => (),
        }
    }
    let list = copy.child(K::COPY_OPTION_LIST);
    for option in list.into_iter().flat_map(Node::children).filter(|option| option.kind() == K::COPY_OPTION) {
        let key = option.child(K::COPY_OPTION_KEY).map_or("", Node::text);
        if fold(key) != "format" {
            continue;
        }
        let value = option.child(K::COPY_OPTION_VALUE).and_then(|value| value.children().next());
        let value = match value {
            Some(literal) if literal.kind() == K::LITERAL => {
                settings::plain_string(literal).map(str::to_owned)
            }
            Some(name) => Some(fold(name.text()).into_owned()),
            None => None,
        };
        // A format that cannot be read here cannot be masked: fails closed.
        format = value
            .filter(|value| matches!(value.as_str(), "text" | "csv" | "binary"))
            .ok_or(Fault::Unreadable)?;
    }
    Ok(format)
}

/// Whether a statement that writes rows also reads them, `RETURNING` aside.
pub(super) fn reads_target(statement: Node<'_>) -> bool {
    match statement.kind() {
        K::INSERT => statement.child(K::ON_CONFLICT_CLAUSE).is_some(),
        K::DELETE => statement.child(K::WHERE_CLAUSE).is_some(),
        _ => true,
    }
}
