//! What PostgreSQL's own parse tree says about a statement: the other side of the comparison.
//!
//! Written against the tree alone and not against `src`, so that a mistake there is not made here again. The tree is
//! the JSON of libpg_query: a node is an object with one key that begins with a capital; fields that are at their
//! default are left out.

use super::kinds;
use serde_json::Value;
use std::collections::BTreeSet;

/// What is done with a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    Reads,
    Writes,
    /// Defined, altered, locked, commented on …: it must be named, however.
    Names,
}

/// A relation or function: schema, if any, and name.
pub(super) type Name = (Option<String>, String);

/// One statement.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// For every statement in it: what it is, and the classes of which one must be found.
    pub(super) classes: Vec<(String, &'static [&'static str])>,
    pub(super) relations: BTreeSet<(Use, Name)>,
    pub(super) functions: BTreeSet<Name>,
    /// Names of `WITH` that are known at this place.
    known: Vec<String>,
}

impl Oracle {
    /// The statement that an entry of `stmts` is about.
    pub(super) fn of(entry: &Value) -> Self {
        let mut oracle = Oracle::default();
        oracle.value(&entry["stmt"], Use::Names, true);
        oracle
    }

    fn value(&mut self, value: &Value, relations: Use, outermost: bool) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.value(item, relations, outermost)),
            Value::Object(fields) => match fields.iter().next() {
                Some((tag, node))
                    if fields.len() == 1 && tag.starts_with(|c: char| c.is_ascii_uppercase()) =>
                {
                    self.node(tag, node, relations, outermost);
                }
                _ => self.node("", value, relations, outermost),
            },
            _ => (),
        }
    }

    fn node(&mut self, tag: &str, node: &Value, relations: Use, outermost: bool) {
        let known = self.known.len();
        if tag == "SelectStmt" || tag == "PLAssignStmt" {
            self.select(node, outermost);
        } else if tag.ends_with("Stmt") {
            self.statement(tag, node);
        } else if let Some(name) = node["relname"].as_str() {
            self.relation(node, name, relations);
        } else {
            if let (Some(name), Some(_)) = (node["funcname"].as_array(), node["funcformat"].as_str()) {
                self.function(name, node);
            }
            self.fields(node, relations);
        }
        self.known.truncate(known);
    }

    fn fields(&mut self, node: &Value, relations: Use) {
        for (key, value) in node.as_object().into_iter().flatten() {
            match key.as_str() {
                "withClause" => (),
                "larg" | "rarg" if value.get("op").is_some() => {
                    self.node("SelectStmt", value, relations, false)
                }
                _ => self.value(value, relations, false),
            }
        }
    }

    fn select(&mut self, node: &Value, outermost: bool) {
        self.with(node);
        if outermost {
            self.needs("SelectStmt", &["select"]);
        }
        if node.get("lockingClause").is_some() {
            self.needs("SelectStmt with locks", &["select.for-update"]);
        }
        for (key, value) in node.as_object().into_iter().flatten() {
            match key.as_str() {
                "withClause" => (),
                // Their relations are aliases of those in the `FROM`.
                "lockingClause" => (),
                "intoClause" => {
                    self.needs("SelectStmt with INTO", &["select.into"]);
                    self.value(value, Use::Names, false);
                }
                "larg" | "rarg" => self.node("SelectStmt", value, Use::Reads, false),
                _ => self.value(value, Use::Reads, false),
            }
        }
    }

    /// Every other statement: what it is, then what is in it.
    fn statement(&mut self, tag: &str, node: &Value) {
        self.with(node);
        for (what, classes) in kinds::of(tag, node) {
            self.needs(&what, classes);
        }
        let target = match tag {
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" | "TruncateStmt" => Use::Writes,
            "CopyStmt" if node["is_from"] == true => Use::Writes,
            "CopyStmt" => Use::Reads,
            _ => Use::Names,
        };
        let reads = matches!(tag, "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt");
        let other = if reads { Use::Reads } else { Use::Names };
        for (key, value) in node.as_object().into_iter().flatten() {
            match key.as_str() {
                "withClause" => (),
                "relation" if target != Use::Names => {
                    // What is written is never a name of `WITH`.
                    let known = std::mem::take(&mut self.known);
                    self.value(value, target, false);
                    self.known = known;
                }
                "relations" if tag == "TruncateStmt" => self.value(value, target, false),
                "objects" if tag == "DropStmt" => self.dropped(node, value),
                // Names of constraints; of tables on another server; of types, whose class judges without a relation.
                "constraints" if tag == "ConstraintsSetStmt" => (),
                "table_list" if tag == "ImportForeignSchemaStmt" => (),
                "typevar" if tag == "CompositeTypeStmt" => (),
                "relation" if is_of_type(node) => (),
                // What a definition sets for others, when they run it or log in, it does not set here.
                "setstmt" | "options" | "actions" if kinds::SETS_FOR_OTHERS.contains(&tag) => {
                    self.without_sets(value)
                }
                _ => self.value(value, other, false),
            }
        }
    }

    /// Options of a function, a role, a database or the server: everything but the `SET`s.
    fn without_sets(&mut self, value: &Value) {
        let before = self.classes.len();
        self.value(value, Use::Names, false);
        let mut index = 0;
        self.classes.retain(|(what, _)| {
            index += 1;
            index <= before || what != "VariableSetStmt"
        });
    }

    /// The queries of a `WITH`, and its names, known until the caller forgets them.
    fn with(&mut self, node: &Value) {
        let with = &node["withClause"];
        let tables = || with["ctes"].as_array().into_iter().flatten().map(|table| &table["CommonTableExpr"]);
        let name = |table: &Value| table["ctename"].as_str().unwrap_or_default().to_owned();
        let recursive = with["recursive"] == true;
        if recursive {
            self.known.extend(tables().map(name));
        }
        for table in tables() {
            self.fields(table, Use::Reads);
            if !recursive {
                self.known.push(name(table));
            }
        }
    }

    fn relation(&mut self, node: &Value, name: &str, relations: Use) {
        let schema = node["schemaname"].as_str().map(str::to_owned);
        if schema.is_none() && self.known.iter().any(|known| known == name) {
            return;
        }
        self.relations.insert((relations, (schema, name.to_owned())));
    }

    fn dropped(&mut self, node: &Value, objects: &Value) {
        let kind = node["removeType"].as_str().unwrap_or_default();
        let relation = ["TABLE", "VIEW", "MATVIEW", "INDEX", "SEQUENCE", "FOREIGN_TABLE"];
        if !relation.iter().any(|relation| kind.strip_prefix("OBJECT_") == Some(relation)) {
            return;
        }
        for object in objects.as_array().into_iter().flatten() {
            if let Some(name) = dotted(object["List"]["items"].as_array().map_or(&[], Vec::as_slice)) {
                self.relations.insert((Use::Names, name));
            }
        }
    }

    /// What the grammar itself calls for a construct (`EXTRACT`, `AT TIME ZONE`, `LIKE … ESCAPE`) is PostgreSQL's own
    /// and harmless.
    fn function(&mut self, name: &[Value], node: &Value) {
        let Some(name) = dotted(name) else { return };
        let by_grammar = node["funcformat"] == "COERCE_SQL_SYNTAX"
            || matches!(name.1.as_str(), "like_escape" | "similar_to_escape" | "json_object");
        if !(by_grammar && name.0.as_deref() == Some("pg_catalog")) {
            self.functions.insert(name);
        }
    }

    fn needs(&mut self, what: &str, classes: &'static [&'static str]) {
        self.classes.push((what.to_owned(), classes));
    }
}

/// Whether an `ALTER` is one of a type.
fn is_of_type(node: &Value) -> bool {
    ["objtype", "renameType", "relationType"].iter().any(|kind| node[*kind] == "OBJECT_TYPE")
}

/// The last two parts of a name.
fn dotted(parts: &[Value]) -> Option<Name> {
    let part = |value: &Value| value["String"]["sval"].as_str().unwrap_or_default().to_owned();
    let (name, before) = parts.split_last()?;
    Some((before.last().map(part), part(name)))
}
