//! Which function an OID means, for calls by OID.

use super::super::stream::TargetStream;
use super::lookup::{Ask, Told, query};
use super::{Catalog, is_fresh};
use std::sync::Arc;

/// A function that can be called by name as it was called by OID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Callable {
    pub(in super::super) schema: String,
    pub(in super::super) name: String,
    /// The OIDs of its arguments' types.
    pub(in super::super) arguments: Vec<u32>,
}

impl Catalog {
    /// The function of an OID. None: there is none, as far as the catalog's connection sees, or it could not be looked up,
    /// or its name and the types of its arguments do not say which function it is.
    pub(in super::super) async fn callable(&self, oid: u32) -> Option<Arc<Callable>> {
        if let Some((_, known)) = self.lock().callables.get(&oid).filter(|(when, _)| is_fresh(*when)) {
            return Some(Arc::clone(known));
        }
        match self.ask(Ask::Callable(oid)).await {
            Some(Told::Callable(found)) => found,
            _ => None,
        }
    }
}

/// Asks for it. As at the server, only a function that returns one value can be called so; not one with arguments of any
/// type or of any number, because then the types do not lead back to it (PostgreSQL manual, "Function Type Resolution").
pub(super) async fn find(stream: &mut TargetStream, oid: u32) -> Option<Option<Arc<Callable>>> {
    let sql = format!(
        "SELECT n.nspname, p.proname, p.proargtypes::pg_catalog.text FROM pg_catalog.pg_proc p \
         JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
         WHERE p.oid = {oid} AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0 AND NOT EXISTS \
         (SELECT FROM pg_catalog.pg_type t WHERE t.oid = ANY (p.proargtypes) AND t.typtype = 'p')"
    );
    let rows = query(stream, &sql).await?;
    let Some(row) = rows.into_iter().next() else { return Some(None) };
    let [schema, name, types] = row.try_into().ok()?;
    let arguments = types.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>().ok()?;
    Some(Some(Arc::new(Callable { schema, name, arguments })))
}
