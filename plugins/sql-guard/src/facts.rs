//! What one statement is and touches: one walk over its tree, in reading order.
//!
//! Masks and recordings rely on these facts, so everything here errs on the side of naming too much, and says
//! `opaque` where a complete list of columns cannot be had. A statement may hold others (writable CTEs, `EXPLAIN`,
//! `PREPARE`, `COPY (…)`, actions of `MERGE`): each becomes a [`Part`] that all rules judge.

mod columns;
mod conditions;
mod copy;
mod decides;
mod relations;
mod shape;

use crate::classes::Class;
use crate::functions;
use crate::names::Path;
use crate::settings::{self, Forbidden};
use crate::tree::Node;
use chaperone_sdk::{Access, FunctionRef, Place, StatementFacts};
use relations::CommonTable;
use squawk_parser::SyntaxKind as K;
use std::borrow::Cow;

/// Columns named in one statement. Above it the list is given up: the statement counts as opaque.
const MAX_COLUMNS: usize = 1_024;
/// Relations named in one statement. Above it the statement is refused: a list that is not complete is no list.
const MAX_RELATIONS: usize = 256;
/// Functions called in one statement; see [`MAX_RELATIONS`].
const MAX_FUNCTIONS: usize = 256;
/// Statements and actions inside one statement; see [`MAX_RELATIONS`].
const MAX_PARTS: usize = 256;

/// Why a statement that could be parsed is refused without asking any rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A construct whose meaning is not known here.
    Unreadable,
    /// More relations, functions or inner statements than are followed.
    TooComplex,
    /// It changes how later texts are read, or what built-in names mean.
    Forbidden(Forbidden),
}

impl From<Forbidden> for Fault {
    fn from(forbidden: Forbidden) -> Self {
        Fault::Forbidden(forbidden)
    }
}

/// What a part is to its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A statement of its own; it can give the whole its class.
    Statement,
    /// A statement that is planned and not run (`EXPLAIN` without `ANALYZE`): judged, but without risk.
    Planned,
    /// What a statement also does: reads, or an action of `MERGE`.
    Action,
}

/// What the rules judge: a class and the relations that it applies to, as places in `facts.relations`.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) class: Class,
    pub(crate) role: Role,
    pub(crate) relations: Vec<usize>,
}

/// One statement, read.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) facts: StatementFacts,
    pub(crate) parts: Vec<Part>,
    /// The class of each of `facts.functions`.
    pub(crate) functions: Vec<Class>,
}

/// Reads a statement.
pub(crate) fn read(statement: Node<'_>) -> Result<Statement, Fault> {
    let mut walk = Walk::new(statement);
    for node in statement.subtree() {
        if node.is_token() || node.index() < walk.skip_until {
            continue;
        }
        while walk.frames.last().is_some_and(|frame| frame.end <= node.index()) {
            walk.frames.pop();
        }
        walk.enter(node)?;
    }
    Ok(walk.finish(statement))
}

/// What is known about the place in the tree where the walk is.
#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: K,
    index: usize,
    end: usize,
    /// Where columns that are named here count.
    place: Place,
    /// What is done with relations that are named here without a `FROM`.
    access: Access,
    /// The part that these relations belong to.
    owner: usize,
    /// Below an `EXPLAIN` that does not run what it explains.
    planned: bool,
    /// In a statement that also reads the relation that it writes.
    reads_target: bool,
    /// In a `MERGE` whose `ON` names a column.
    joined: bool,
}

struct Walk<'a> {
    frames: Vec<Frame>,
    facts: StatementFacts,
    parts: Vec<Part>,
    functions: Vec<Class>,
    /// The part that holds everything read; made when first needed.
    reads: Option<usize>,
    locks_rows: bool,
    common_tables: Vec<CommonTable<'a>>,
    /// Names that mean a whole row where they stand alone.
    ranges: Vec<Cow<'a, str>>,
    /// Nodes before this place are dealt with.
    skip_until: usize,
    /// The target lists (or `TABLE`s) in which a star hides nothing: the outermost, and that of the last `EXISTS`.
    open_lists: [Option<usize>; 2],
    columns_given_up: bool,
}

impl<'a> Walk<'a> {
    fn new(statement: Node<'a>) -> Self {
        Walk {
            frames: Vec::with_capacity(16),
            facts: StatementFacts {
                class: String::new(),
                classes: Vec::new(),
                relations: Vec::new(),
                columns: Vec::new(),
                functions: Vec::new(),
                opaque: false,
                changes_session: false,
                copy_out: None,
            },
            parts: Vec::with_capacity(1),
            functions: Vec::new(),
            reads: None,
            locks_rows: false,
            common_tables: Vec::new(),
            ranges: Vec::new(),
            skip_until: 0,
            open_lists: [shape::outermost_list(statement), None],
            columns_given_up: false,
        }
    }

    fn enter(&mut self, node: Node<'a>) -> Result<(), Fault> {
        let kind = node.kind();
        let parent = self.frames.last().copied();
        let mut frame = match parent {
            Some(parent) => Frame { kind, index: node.index(), end: node.after(), ..parent },
            None => Frame {
                kind,
                index: node.index(),
                end: node.after(),
                place: Place::Output,
                access: Access::Define,
                owner: 0,
                planned: false,
                reads_target: false,
                joined: false,
            },
        };
        if let Some(class) = Class::of_statement(kind) {
            self.enter_statement(node, class, parent.is_none(), &mut frame)?;
        } else if parent.is_none() {
            self.push_part(Class::Unknown, Role::Statement)?;
        }
        self.enter_clause(node, parent, &mut frame)?;
        self.frames.push(frame);
        Ok(())
    }

    /// A statement, at the top or inside another. Inner queries are no parts: all that they do is read. The query that a
    /// cursor or a prepared statement stands for is one, also where it reads no relation: FETCH and EXECUTE return its rows.
    fn enter_statement(
        &mut self,
        node: Node<'a>,
        class: Class,
        outermost: bool,
        frame: &mut Frame,
    ) -> Result<(), Fault> {
        let class = shape::refine(node, class)?;
        if outermost || class != Class::Select {
            let role = if frame.planned { Role::Planned } else { Role::Statement };
            frame.owner = self.push_part(class, role)?;
            if class == Class::Select {
                self.reads = Some(frame.owner);
            }
        } else if self.frames.last().is_some_and(|parent| matches!(parent.kind, K::DECLARE | K::PREPARE)) {
            self.reads = Some(self.push_part(Class::Select, Role::Action)?);
        }
        frame.access = match node.kind() {
            K::INSERT | K::UPDATE | K::DELETE | K::MERGE | K::TRUNCATE => Access::Write,
            K::TABLE | K::LOCK => Access::Read,
            K::COPY if class == Class::CopyIn || node.contains(K::COPY_FROM) => Access::Write,
            K::COPY => Access::Read,
            _ => Access::Define,
        };
        match node.kind() {
            K::INSERT | K::UPDATE | K::DELETE | K::MERGE => {
                let returns = node.child(K::RETURNING_CLAUSE).is_some();
                if !returns && frame.place == Place::Output {
                    frame.place = Place::Other;
                }
                frame.reads_target = returns || shape::reads_target(node);
                frame.joined = conditions::merge_joins(node);
            }
            K::EXPLAIN => frame.planned = class == Class::Explain,
            K::COPY => self.facts.copy_out = copy::copy_out(node)?,
            K::TABLE if !self.is_open(node.index()) => self.facts.opaque = true,
            // What they return was described by another statement.
            K::FETCH | K::MOVE | K::EXECUTE => {
                self.facts.opaque = true;
                self.facts.changes_session = true;
            }
            K::ROLLBACK_TRANSACTION | K::ROLLBACK_TO_SAVEPOINT => self.facts.changes_session = true,
            _ if class.is_within("ddl") && outermost => frame.place = Place::Other,
            _ => (),
        }
        Ok(())
    }

    fn enter_clause(
        &mut self,
        node: Node<'a>,
        parent: Option<Frame>,
        frame: &mut Frame,
    ) -> Result<(), Fault> {
        if let Some(place) = columns::place_of(node.kind(), parent.map(|parent| parent.kind)) {
            frame.place = place;
        }
        match node.kind() {
            K::NAME_REF => self.name_ref(node, parent, frame.place)?,
            K::FIELD_EXPR => self.field(node, parent, frame.place)?,
            K::COLUMN_NAME_REF => self.column_name(node, frame.place),
            K::TARGET => self.target(node, parent),
            K::CALL_EXPR => self.call(node)?,
            K::PROCEDURE_NAME_REF => {
                if let Some(path) = Path::of(node) {
                    self.function(&path)?;
                }
                self.skip_until = node.after();
            }
            K::EXISTS_FN => self.open_lists[1] = shape::list_of_query(node),
            K::WITH_CLAUSE => self.with_clause(node),
            K::RELATION_FROM_ITEM => self.relation_item(node)?,
            K::RELATION_NAME_REF if parent.is_some_and(|parent| parent.kind == K::RELATION_FROM_ITEM) => (),
            K::RELATION_NAME_REF
            | K::TABLE_NAME
            | K::TABLE_NAME_REF
            | K::VIEW
            | K::VIEW_REF
            | K::INDEX
            | K::INDEX_REF
            | K::SEQUENCE
            | K::SEQUENCE_REF => self.named_relation(node, frame)?,
            K::LIKE_CLAUSE => frame.access = Access::Read,
            K::INTO_CLAUSE => frame.access = Access::Define,
            K::PAREN_FROM_ITEM => self.paren_from_item(node),
            // It joins on columns that are not named.
            K::JOIN => self.facts.opaque |= node.child(K::NATURAL_KW).is_some(),
            K::OPTIONAL_AS_ALIAS | K::REQUIRED_AS_ALIAS | K::RETURNING_OLD | K::RETURNING_NEW => {
                self.alias(node)
            }
            K::RETURNING_CLAUSE => self.ranges.extend(["old".into(), "new".into()]),
            K::ON_CONFLICT_CLAUSE => self.on_conflict(node, frame.owner)?,
            K::MERGE_WHEN_MATCHED | K::MERGE_WHEN_NOT_MATCHED_SOURCE => self.merge_when(node, frame)?,
            K::LOCKING_CLAUSE => {
                self.locks_rows = true;
                self.skip_until = node.after();
            }
            K::GRAPH_TABLE_FN | K::GRAPH_TABLE_FROM_ITEM => return Err(Fault::Unreadable),
            _ => (),
        }
        Ok(())
    }

    fn push_part(&mut self, class: Class, role: Role) -> Result<usize, Fault> {
        if self.parts.len() >= MAX_PARTS {
            return Err(Fault::TooComplex);
        }
        self.parts.push(Part { class, role, relations: Vec::new() });
        Ok(self.parts.len() - 1)
    }

    /// An action of the part `owner`, on the relations that it writes.
    fn push_action(&mut self, class: Class, owner: usize) -> Result<(), Fault> {
        let action = self.push_part(class, Role::Action)?;
        let relations = self.parts.get(owner).map(|part| part.relations.clone()).unwrap_or_default();
        if let Some(part) = self.parts.get_mut(action) {
            part.relations = relations;
        }
        Ok(())
    }

    fn on_conflict(&mut self, node: Node<'a>, owner: usize) -> Result<(), Fault> {
        self.ranges.push("excluded".into());
        if node.child(K::CONFLICT_DO_UPDATE_SET).is_some() {
            self.push_action(Class::Update, owner)?;
        }
        Ok(())
    }

    fn merge_when(&mut self, node: Node<'a>, frame: &Frame) -> Result<(), Fault> {
        // Rows that match nothing in the source are not chosen by the `ON`.
        let joined = frame.joined && node.kind() == K::MERGE_WHEN_MATCHED;
        let merge =
            self.frames.iter().rev().find(|outer| outer.kind == K::MERGE).map(|merge| node.at(merge.index));
        let chooses = |condition| merge.is_some_and(|merge| conditions::merge_condition(condition, merge));
        let conditional = joined || node.child(K::MERGE_CONDITION).is_some_and(chooses);
        let class = match (node.child(K::MERGE_DELETE), node.child(K::MERGE_UPDATE), conditional) {
            (Some(_), _, true) => Class::Delete,
            (Some(_), _, false) => Class::DeleteNoWhere,
            (_, Some(_), true) => Class::Update,
            (_, Some(_), false) => Class::UpdateNoWhere,
            _ => return Ok(()),
        };
        self.push_action(class, frame.owner)
    }

    /// A call; the callee is dealt with here, the arguments are walked.
    fn call(&mut self, node: Node<'a>) -> Result<(), Fault> {
        let Some(callee) = node.children().next() else { return Err(Fault::Unreadable) };
        match callee.kind() {
            K::NAME_REF | K::FIELD_EXPR => {
                if callee.kind() == K::FIELD_EXPR && !columns::is_dotted_name(callee) {
                    return Err(Fault::Unreadable);
                }
                let Some(path) = Path::of(callee) else { return Err(Fault::Unreadable) };
                let whole = self.frames.first().map(|outermost| node.at(outermost.index));
                let mut class = functions::classify(path.schema.as_deref(), &path.name);
                if path.name == "set_config" && !whole.is_some_and(settings::is_of_pg_dump) {
                    match settings::class_of_set_config(node)? {
                        Class::Role => _ = self.push_part(Class::Role, Role::Action)?,
                        // In another schema it is another function.
                        own if path.schema.as_deref().is_none_or(|schema| schema == "pg_catalog") => {
                            class = own
                        }
                        _ => (),
                    }
                }
                self.skip_until = callee.after();
                self.function_of(&path, class)
            }
            K::EXISTS_FN | K::ANY_FN | K::SOME_FN | K::ALL_FN => Ok(()),
            // A construct of the grammar, such as `extract(… from …)`: named by its first word.
            _ => {
                let word = callee.subtree().find(|token| token.is_token()).map_or("", Node::text);
                self.function(&Path { schema: None, name: crate::names::fold(word) })
            }
        }
    }

    fn function(&mut self, path: &Path<'_>) -> Result<(), Fault> {
        self.function_of(path, functions::classify(path.schema.as_deref(), &path.name))
    }

    fn function_of(&mut self, path: &Path<'_>, class: Class) -> Result<(), Fault> {
        let schema = path.schema.as_deref();
        let known = |known: &FunctionRef| known.name == path.name && known.schema.as_deref() == schema;
        if let Some(place) = self.facts.functions.iter().position(known) {
            // One name is judged once, as the worst of its calls.
            if let Some(known) =
                self.functions.get_mut(place).filter(|known| known.base_risk() < class.base_risk())
            {
                *known = class;
            }
            return Ok(());
        }
        if self.facts.functions.len() >= MAX_FUNCTIONS {
            return Err(Fault::TooComplex);
        }
        self.functions.push(class);
        let schema = schema.map(str::to_owned);
        self.facts.functions.push(FunctionRef { schema, name: path.name.clone().into_owned() });
        Ok(())
    }

    fn finish(mut self, statement: Node<'a>) -> Statement {
        if self.locks_rows {
            let relations =
                self.reads.and_then(|reads| self.parts.get(reads)).map(|part| part.relations.clone());
            let role = if shape::is_query(statement) { Role::Statement } else { Role::Action };
            self.parts.push(Part {
                class: Class::SelectForUpdate,
                role,
                relations: relations.unwrap_or_default(),
            });
        }
        self.add_what_decides(statement);
        self.mark_whole_rows();
        let mut class = self.parts.first().map_or(Class::Unknown, |part| part.class);
        for part in self.parts.iter().filter(|part| part.role == Role::Statement) {
            if part.class.base_risk() > class.base_risk() {
                class = part.class;
            }
        }
        self.facts.class = class.name().to_owned();
        self.facts.classes = self.parts.iter().map(|part| part.class.name().to_owned()).collect();
        self.facts.changes_session |= self.parts.iter().any(|part| part.class.changes_session());
        self.facts.changes_session |= self.functions.iter().any(|class| class.changes_session());
        Statement { facts: self.facts, parts: self.parts, functions: self.functions }
    }
}
