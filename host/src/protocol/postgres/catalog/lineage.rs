//! What is behind a column: followed through views, generated columns, partitions and inheritance.
//!
//! PostgreSQL itself is asked. The text of a view is described, and for each column that it hands through unchanged the
//! target names the table column, as it does for any query. What a view computes may have read all that its rule depends
//! on (`pg_depend`). Where that is not the whole truth, the worst is assumed: a whole row is in no dependency, and
//! neither is what belongs to the server itself.

use super::super::stream::TargetStream;
use super::lookup::{MAY_READ, describe, query};
use super::{KnownColumn, Relation};
use chaperone_core::sql::{Lineage, Origin, Source};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

/// Views upon views. Deeper down it may be anything.
const MAX_DEPTH: usize = 32;

/// Relations that one look-up follows. Past them it may be anything.
const MAX_FOLLOWED: usize = 512;

/// Parents and children of one relation that are named. Past them its columns may be of any relation.
const MAX_KIN: usize = 64;

/// Entries in each list of a lineage. Past them it may be anything.
const MAX_LINEAGE: usize = 2048;

/// Follows the relations of one look-up.
pub(super) struct Follower<'s> {
    stream: &'s mut TargetStream,
    done: HashMap<u32, Arc<Relation>>,
    /// Those that are being followed, the innermost last.
    open: Vec<u32>,
}

/// A relation as `pg_class` has it.
struct Raw {
    kind: String,
    relation: Relation,
    /// It has a generated column.
    generates: bool,
}

/// What the values that a rule or an expression computes may come from.
#[derive(Default)]
struct Ways {
    /// OIDs and attribute numbers; 0 is the whole relation.
    columns: Vec<(u32, i16)>,
    unseen: Vec<Source>,
    /// Whole rows are among them.
    whole_rows: bool,
}

impl<'s> Follower<'s> {
    pub(super) fn new(stream: &'s mut TargetStream) -> Self {
        Follower { stream, done: HashMap::new(), open: Vec::new() }
    }

    /// All relations that a condition on `pg_class c` and `pg_namespace n` chooses.
    pub(super) async fn find(&mut self, condition: &str) -> Option<Vec<Arc<Relation>>> {
        let sql = format!(
            "SELECT c.oid, n.nspname, c.relname, c.relkind, a.attnum, a.attname, a.attgenerated <> '' \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
             WHERE {condition} AND a.attnum <> 0 AND NOT a.attisdropped ORDER BY c.oid, a.attnum"
        );
        let mut found: Vec<Raw> = Vec::new();
        for row in query(self.stream, &sql).await? {
            let [oid, schema, name, kind, number, column, generated] = row.try_into().ok()?;
            let oid = oid.parse().ok()?;
            if found.last().is_none_or(|last| last.relation.oid != oid) {
                let relation = Relation { oid, schema, name, columns: Vec::new() };
                found.push(Raw { kind, relation, generates: false });
            }
            let last = found.last_mut()?;
            let generated = generated == "t";
            last.generates |= generated;
            let lineage = Lineage { origins: vec![last.relation.origin(&column)], ..Lineage::default() };
            let number = number.parse().ok()?;
            last.relation.columns.push(KnownColumn { number, name: column, lineage, generated });
        }
        let mut relations = Vec::with_capacity(found.len());
        for raw in found {
            relations.push(self.follow(raw).await?);
        }
        Some(relations)
    }

    /// Boxed, because views lie upon views.
    fn follow(&mut self, mut raw: Raw) -> Pin<Box<dyn Future<Output = Option<Arc<Relation>>> + Send + '_>> {
        Box::pin(async move {
            let oid = raw.relation.oid;
            if let Some(done) = self.done.get(&oid) {
                return Some(Arc::clone(done));
            }
            let too_far = self.open.len() >= MAX_DEPTH || self.done.len() >= MAX_FOLLOWED;
            if too_far || self.open.contains(&oid) {
                // Fails closed: a view upon itself, or one too many.
                raw.add_to_all(|lineage| lineage.unseen.push(Source::default()));
                return Some(Arc::new(raw.relation));
            }
            self.open.push(oid);
            // The server's own views are taken for what they are called; rules may name them.
            if oid >= FIRST_OWN_OID {
                match raw.kind.as_str() {
                    "v" | "m" => self.view(&mut raw.relation).await?,
                    "t" => self.toast(&mut raw).await?,
                    "r" | "p" | "f" => self.table(&mut raw).await?,
                    _ => {}
                }
            }
            self.open.pop();
            raw.relation.columns.iter_mut().for_each(|column| bound(&mut column.lineage));
            let relation = Arc::new(raw.relation);
            self.done.insert(oid, Arc::clone(&relation));
            Some(relation)
        })
    }

    async fn by_oid(&mut self, oid: u32) -> Option<Option<Arc<Relation>>> {
        match self.done.get(&oid) {
            Some(done) => Some(Some(Arc::clone(done))),
            None => Some(self.find(&format!("c.oid = {oid}")).await?.pop()),
        }
    }

    /// A view's columns are those of the tables that it shows, or computed from what its rule depends on.
    async fn view(&mut self, view: &mut Relation) -> Option<()> {
        let sql = format!("SELECT pg_catalog.pg_get_viewdef({}::pg_catalog.oid)", view.oid);
        let text = query(self.stream, &sql).await?.pop()?.pop()?;
        // The gateway's account may not see into the schemas that a view reads. Then all counts as computed.
        let shown = describe(self.stream, &text).await?.unwrap_or_default();
        let visible = view.columns.iter().filter(|column| column.number > 0).count();
        let shown = if shown.len() == visible { shown } else { vec![(0, 0); visible] };
        let mut ways = None;
        for ((oid, attribute), number) in shown.into_iter().zip(1i16..) {
            let behind = match (oid, attribute) {
                (0, _) | (_, 0) => {
                    if ways.is_none() {
                        let found = self.rule_ways(view.oid).await?;
                        ways = Some(self.lineage_of(&found).await?);
                    }
                    ways.clone().unwrap_or_else(Lineage::unknown)
                }
                _ => match self.by_oid(oid).await? {
                    Some(relation) => relation
                        .column(attribute)
                        .map_or_else(Lineage::unknown, |column| column.lineage.clone()),
                    None => Lineage::unknown(),
                },
            };
            let column = view.columns.iter_mut().find(|column| column.number == number)?;
            column.lineage.origins.extend(behind.origins);
            column.lineage.reads.extend(behind.reads);
            column.lineage.unseen.extend(behind.unseen);
        }
        Some(())
    }

    /// What a view's rule depends on. Its tree is searched for what `pg_depend` leaves out: whole rows (PostgreSQL source,
    /// `find_expr_references_walker`), and of the server's own the samples of values and the functions that run SQL.
    async fn rule_ways(&mut self, oid: u32) -> Option<Ways> {
        let sql = format!(
            "WITH rule AS (SELECT r.oid, r.ev_action::pg_catalog.text AS tree FROM pg_catalog.pg_rewrite r \
             WHERE r.ev_class = {oid}), \
             uses AS (SELECT d.refclassid, d.refobjid, d.refobjsubid FROM rule JOIN pg_catalog.pg_depend d \
             ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = rule.oid \
             WHERE NOT (d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = {oid})) \
             SELECT 'column', refobjid::pg_catalog.text, refobjsubid::pg_catalog.text FROM uses \
             WHERE refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
             UNION SELECT 'function', n.nspname::pg_catalog.text, p.proname::pg_catalog.text \
             FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE {MAY_READ} \
             AND (p.oid IN (SELECT refobjid FROM uses WHERE refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass) \
             OR p.oid IN (SELECT o.oprcode FROM uses JOIN pg_catalog.pg_operator o ON o.oid = refobjid \
             WHERE refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass)) \
             UNION SELECT 'function', n.nspname::pg_catalog.text, p.proname::pg_catalog.text \
             FROM rule, pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
             WHERE p.oid < {FIRST_OWN_OID} AND p.proname ~ '{RUN_SQL}' \
             AND pg_catalog.strpos(rule.tree, ':funcid ' || p.oid || ' ') > 0 \
             UNION SELECT 'column', c.oid::pg_catalog.text, '0' FROM rule, pg_catalog.pg_class c \
             WHERE c.oid < {FIRST_OWN_OID} AND c.relname ~ '^pg_stat(s|istic)' AND c.relkind IN ('r', 'v') \
             AND pg_catalog.strpos(rule.tree, ':relid ' || c.oid || ' ') > 0 \
             UNION SELECT 'row', '', '' FROM rule WHERE pg_catalog.strpos(rule.tree, ':varattno 0 ') > 0"
        );
        let mut ways = Ways::default();
        for row in query(self.stream, &sql).await? {
            ways.add(row)?;
        }
        Some(ways)
    }

    async fn lineage_of(&mut self, ways: &Ways) -> Option<Lineage> {
        let mut lineage = Lineage { unseen: ways.unseen.clone(), ..Lineage::default() };
        for (oid, attribute) in &ways.columns {
            let Some(relation) = self.by_oid(*oid).await? else {
                lineage.unseen.push(Source::default());
                continue;
            };
            match relation.column(*attribute) {
                Some(column) if !ways.whole_rows => add_ways(&mut lineage, &column.lineage),
                // A relation alone is depended on by every query of it; only its rows hold something.
                None if !ways.whole_rows && *attribute == 0 && *oid >= FIRST_OWN_OID => {}
                _ => add_ways(&mut lineage, &relation.whole_row()),
            }
        }
        bound(&mut lineage);
        Some(lineage)
    }

    /// Values of a table may lie in its children, and it may be the child of another. A rule for one of them counts for all.
    async fn table(&mut self, raw: &mut Raw) -> Option<()> {
        let oid = raw.relation.oid;
        let sql = format!(
            "WITH RECURSIVE up(oid) AS (SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = {oid} \
             UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN up ON i.inhrelid = up.oid), \
             down(oid) AS (SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = {oid} \
             UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN down ON i.inhparent = down.oid) \
             SELECT n.nspname, c.relname, c.relkind = 'f' FROM \
             (SELECT oid, 1 AS place FROM up UNION ALL SELECT oid, 2 FROM down) kin \
             JOIN pg_catalog.pg_class c ON c.oid = kin.oid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             ORDER BY kin.place, c.relkind <> 'f', kin.oid LIMIT {}",
            MAX_KIN + 1
        );
        if raw.kind == "f" {
            let Relation { schema, name, .. } = &raw.relation;
            let itself = Source { schema: schema.clone(), name: name.clone() };
            raw.add_to_all(|lineage| lineage.unseen.push(itself.clone()));
        }
        for (index, row) in query(self.stream, &sql).await?.into_iter().enumerate() {
            let [mut schema, mut name, foreign] = row.try_into().ok()?;
            if foreign == "t" {
                let source = Source { schema: schema.clone(), name: name.clone() };
                raw.add_to_all(|lineage| lineage.unseen.push(source.clone()));
            }
            if index == MAX_KIN {
                (schema, name) = (String::new(), String::new());
            }
            for column in raw.relation.columns.iter_mut().filter(|column| column.number > 0) {
                let (schema, relation) = (schema.clone(), name.clone());
                column.lineage.origins.push(Origin { schema, relation, column: column.name.clone() });
            }
        }
        if raw.generates {
            self.generated(&mut raw.relation).await?;
        }
        Some(())
    }

    /// A generated column is computed from others of its row.
    async fn generated(&mut self, table: &mut Relation) -> Option<()> {
        let oid = table.oid;
        // The column itself depends on what it is generated from, in some versions its default expression does.
        let sql = format!(
            "WITH uses AS (SELECT a.attnum, d.refclassid, d.refobjid, d.refobjsubid FROM pg_catalog.pg_attribute a \
             LEFT JOIN pg_catalog.pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum \
             JOIN pg_catalog.pg_depend d ON \
             d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = {oid} AND d.objsubid = a.attnum \
             OR d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = e.oid \
             WHERE a.attrelid = {oid} AND a.attgenerated <> '') \
             SELECT attnum::pg_catalog.text, 'column', refobjsubid::pg_catalog.text, '' FROM uses \
             WHERE refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND refobjid = {oid} \
             AND refobjsubid NOT IN (0, attnum) \
             UNION SELECT uses.attnum::pg_catalog.text, 'function', n.nspname::pg_catalog.text, \
             p.proname::pg_catalog.text FROM uses JOIN pg_catalog.pg_proc p ON p.oid = refobjid \
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
             WHERE refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND {MAY_READ}"
        );
        for row in query(self.stream, &sql).await? {
            let [number, what, first, second] = row.try_into().ok()?;
            let number: i16 = number.parse().ok()?;
            let from = match what.as_str() {
                "column" => table.column(first.parse().ok()?)?.lineage.clone(),
                _ => {
                    let unseen = vec![Source { schema: first, name: second }];
                    Lineage { unseen, ..Lineage::default() }
                }
            };
            let column = table.columns.iter_mut().find(|column| column.number == number)?;
            add_ways(&mut column.lineage, &from);
        }
        Some(())
    }

    /// Where the server keeps the long values of a table.
    async fn toast(&mut self, raw: &mut Raw) -> Option<()> {
        let sql = format!(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.reltoastrelid = {}",
            raw.relation.oid
        );
        for row in query(self.stream, &sql).await? {
            let [schema, relation] = row.try_into().ok()?;
            let any = Origin { schema, relation, column: String::new() };
            raw.add_to_all(|lineage| lineage.reads.push(any.clone()));
        }
        Some(())
    }
}

/// OIDs below are the server's own (PostgreSQL source, `FirstNormalObjectId`).
const FIRST_OWN_OID: u32 = 16_384;

/// The server's own functions that run a text as SQL, or read a table by its name.
const RUN_SQL: &str = "^(query|table|schema|database|cursor)_to_xml|^ts_(stat|rewrite)$";

impl Raw {
    fn add_to_all(&mut self, mut add: impl FnMut(&mut Lineage)) {
        self.relation.columns.iter_mut().for_each(|column| add(&mut column.lineage));
    }
}

impl Ways {
    fn add(&mut self, row: Vec<String>) -> Option<()> {
        let [what, first, second] = row.try_into().ok()?;
        match what.as_str() {
            "column" => self.columns.push((first.parse().ok()?, second.parse().ok()?)),
            "function" => self.unseen.push(Source { schema: first, name: second }),
            _ => self.whole_rows = true,
        }
        Some(())
    }
}

/// What is computed from a column may come from all that this comes from.
pub(super) fn add_ways(lineage: &mut Lineage, from: &Lineage) {
    lineage.reads.extend(from.origins.iter().chain(&from.reads).cloned());
    lineage.unseen.extend(from.unseen.iter().cloned());
}

/// Each entry once, and not too many.
fn bound(lineage: &mut Lineage) {
    dedup(&mut lineage.origins);
    dedup(&mut lineage.reads);
    dedup(&mut lineage.unseen);
    if lineage.origins.len().max(lineage.reads.len()).max(lineage.unseen.len()) > MAX_LINEAGE {
        // Fails closed.
        lineage.origins.truncate(MAX_LINEAGE);
        lineage.reads.truncate(MAX_LINEAGE);
        lineage.unseen = vec![Source::default()];
    }
}

fn dedup<T: PartialEq + Eq + std::hash::Hash + Clone>(list: &mut Vec<T>) {
    let mut seen = std::collections::HashSet::with_capacity(list.len());
    list.retain(|one| seen.insert(one.clone()));
}
