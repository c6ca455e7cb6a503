//! Relations: which are named, what is done with them, and which names are only those of a `WITH`.

use super::{Fault, Frame, MAX_RELATIONS, Role, Walk};
use crate::classes::Class;
use crate::names::{Path, fold};
use crate::settings::Forbidden;
use crate::tree::Node;
use chaperone_sdk::{Access, Relation};
use squawk_parser::SyntaxKind as K;
use std::borrow::Cow;

/// A name that `WITH` defines, and the part of the text, in reading order, in which it means that.
#[derive(Debug)]
pub(super) struct CommonTable<'a> {
    name: Cow<'a, str>,
    from: usize,
    until: usize,
}

impl<'a> Walk<'a> {
    /// Each name of a plain `WITH` is known after its own query, so that `WITH t AS (SELECT * FROM t)` reads the
    /// table; with `RECURSIVE` all are known everywhere.
    pub(super) fn with_clause(&mut self, node: Node<'a>) {
        let until = self.end_of_with();
        let recursive = node.child(K::RECURSIVE_KW).is_some();
        for table in node.children().filter(|table| table.kind() == K::WITH_TABLE) {
            if let Some(name) = table.child(K::CTE_NAME) {
                let from = if recursive { node.index() } else { table.after() };
                self.common_tables.push(CommonTable { name: fold(name.text()), from, until });
            }
        }
    }

    /// The end of the statement that a `WITH` belongs to. In front of a `UNION` the parser hangs it on the first
    /// query, while in the language it belongs to the whole.
    fn end_of_with(&self) -> usize {
        let mut frames = self.frames.iter().rev();
        let Some(mut owner) = frames.next() else { return 0 };
        for outer in frames {
            if outer.kind != K::COMPOUND_SELECT || owner.index != outer.index + 1 {
                break;
            }
            owner = outer;
        }
        owner.end
    }

    fn is_common_table(&self, name: &str, index: usize) -> bool {
        let visible =
            |table: &CommonTable<'_>| table.from <= index && index < table.until && table.name == name;
        self.common_tables.iter().any(visible)
    }

    /// A relation in a `FROM`.
    pub(super) fn relation_item(&mut self, node: Node<'a>) -> Result<(), Fault> {
        let path = node.child(K::RELATION_NAME_REF).and_then(Path::of).ok_or(Fault::Unreadable)?;
        if path.schema.is_none() && self.is_common_table(&path.name, node.index()) {
            return Ok(());
        }
        self.read(&path)?;
        match node.child(K::FROM_ALIAS) {
            Some(alias) => self.named_range(alias),
            None => self.ranges.push(path.name),
        }
        Ok(())
    }

    /// `(a JOIN b …) AS j (x, y)`, `ONLY (t) AS x`; around a query the alias hides nothing.
    pub(super) fn paren_from_item(&mut self, node: Node<'a>) {
        if let (Some(_), Some(alias)) = (node.child(K::PAREN_EXPR), node.child(K::FROM_ALIAS)) {
            self.named_range(alias);
        }
    }

    /// An alias of relations. Renamed columns cannot be told apart any more.
    fn named_range(&mut self, alias: Node<'a>) {
        self.alias(alias);
        self.facts.opaque |= alias.child(K::COLUMN_LIST).is_some();
    }

    pub(super) fn alias(&mut self, node: Node<'a>) {
        if let Some(name) = node.child(K::TABLE_ALIAS) {
            self.ranges.push(fold(name.text()));
        }
    }

    /// A relation that a statement names outside of any `FROM`: its target, or what it defines.
    pub(super) fn named_relation(&mut self, node: Node<'a>, frame: &Frame) -> Result<(), Fault> {
        self.skip_until = node.after();
        let Some(path) = Path::of(node) else { return Ok(()) };
        let statement = self.frames.iter().rev().find(|outer| Class::of_statement(outer.kind).is_some());
        let kind = statement.map_or(K::EOF, |statement| statement.kind);
        if kind == K::TABLE {
            if path.schema.is_none() && self.is_common_table(&path.name, node.index()) {
                return Ok(());
            }
            return self.read(&path);
        }
        let target = matches!(kind, K::INSERT | K::UPDATE | K::DELETE | K::MERGE);
        if target {
            self.ranges.push(path.name.clone());
        }
        if (target && frame.reads_target) || frame.access == Access::Read {
            self.read(&path)?;
        }
        let index = self.relation(&path, frame.access)?;
        self.belongs(frame.owner, index);
        if frame.access == Access::Write {
            self.guard_catalog(&path, index)?;
        }
        Ok(())
    }

    /// Writing to the catalog is administration; writing to `pg_settings` is `set_config` by another name.
    fn guard_catalog(&mut self, path: &Path<'_>, index: usize) -> Result<(), Fault> {
        if path.name == "pg_settings" {
            return Err(Fault::Forbidden(Forbidden::Reading));
        }
        let catalog = match path.schema.as_deref() {
            Some(schema) => matches!(schema, "pg_catalog" | "information_schema" | "pg_toast"),
            None => path.name.starts_with("pg_"),
        };
        if catalog {
            let part = self.push_part(Class::System, Role::Action)?;
            self.belongs(part, index);
        }
        Ok(())
    }

    fn read(&mut self, path: &Path<'_>) -> Result<(), Fault> {
        let index = self.relation(path, Access::Read)?;
        let reads = match self.reads {
            Some(reads) => reads,
            None => {
                let reads = self.push_part(Class::Select, Role::Action)?;
                self.reads = Some(reads);
                reads
            }
        };
        self.belongs(reads, index);
        Ok(())
    }

    fn belongs(&mut self, part: usize, relation: usize) {
        if let Some(part) = self.parts.get_mut(part)
            && !part.relations.contains(&relation)
        {
            part.relations.push(relation);
        }
    }

    fn relation(&mut self, path: &Path<'_>, access: Access) -> Result<usize, Fault> {
        let known = |known: &Relation| {
            known.access == access
                && known.name == path.name
                && known.schema.as_deref() == path.schema.as_deref()
        };
        if let Some(index) = self.facts.relations.iter().position(known) {
            return Ok(index);
        }
        if self.facts.relations.len() >= MAX_RELATIONS {
            return Err(Fault::TooComplex);
        }
        let schema = path.schema.as_deref().map(str::to_owned);
        self.facts.relations.push(Relation { schema, name: path.name.clone().into_owned(), access });
        Ok(self.facts.relations.len() - 1)
    }
}
