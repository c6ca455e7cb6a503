//! What the columns of a result are, and how each is treated.

use super::super::frame::{Body, Frame, Malformed};
use super::pending::Asker;
use super::recent::Description;
use super::responses::Finished;
use super::statements::{Described, Portal, ResultPlan, Statement};
use super::{Relay, drift};
use crate::session::{EventKind, Judged, Planned, SessionStop};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::sql::{Column, Format, Lineage, Source, StatementFacts, Surroundings};
use serde_json::json;
use std::rc::Rc;
use std::time::Instant;

impl Relay<'_> {
    /// A description of a prepared statement: remembered, so that every Execute knows its columns.
    pub(super) async fn described(
        &mut self,
        frame: Frame,
        statement: &Rc<Statement>,
        asker: Asker,
        epoch: u64,
    ) -> Result<Finished, SessionStop> {
        let columns = self.columns(frame, epoch).await?;
        let same = statement.columns_in(epoch).is_some_and(|known| Rc::ptr_eq(&known, &columns));
        if !same {
            *statement.columns.borrow_mut() =
                Some(Described { epoch, generation: self.catalog.generation(), at: Instant::now(), columns });
            statement.plans.borrow_mut().clear();
        }
        if statement.asked.get().is_some_and(|(asked, _)| asked == epoch) {
            statement.asked.set(None);
        }
        self.pending.pop_front();
        match asker {
            Asker::Client => self.copy(frame.total),
            Asker::Gateway => self.drop_answer(frame),
        }
        self.say_locals();
        Ok(Finished::No)
    }

    /// Reads a RowDescription (or NoData: no columns), with the lineage of each column. Clients have the same statement
    /// described each time that they run it: the same bytes, in the same epoch, are looked up once.
    pub(super) async fn columns(&mut self, frame: Frame, epoch: u64) -> Result<Rc<[Column]>, SessionStop> {
        if frame.kind == b'n' {
            return Ok(Rc::default());
        }
        let generation = self.catalog.generation();
        let bytes = self.target.input.bytes().get(..frame.total).unwrap_or_default();
        if let Some(known) = self.descriptions.recall(bytes, epoch, generation) {
            return Ok(known);
        }
        let fields = read_fields(bytes).map_err(|Malformed(what)| drift(what))?;
        let bytes = Box::from(bytes);
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            columns.push(Column {
                lineage: self.lineage(field.relation, field.attribute).await,
                name: field.name,
                type_oid: field.type_oid,
                format: field.format,
            });
        }
        let columns: Rc<[Column]> = columns.into();
        self.descriptions.remember(Description {
            bytes,
            described: Described { epoch, generation, at: Instant::now(), columns: Rc::clone(&columns) },
        });
        Ok(columns)
    }

    async fn lineage(&self, relation: u32, attribute: i16) -> Lineage {
        if !self.session.has_masks() {
            return Lineage::default();
        }
        let mut lineage = self.catalog.lineage(relation, attribute).await;
        let operation = self.running().map_or(0, |judged| judged.operation);
        self.defined.doubt(operation, &mut lineage);
        lineage
    }

    /// Asks the masks about columns. What surrounds them is looked up only where a column is computed.
    pub(super) async fn plan(&mut self, judged: &Judged, columns: &[Column]) -> Planned {
        let computed = columns.iter().any(|column| column.lineage.is_computed());
        let surroundings = match (computed && self.session.has_masks(), &judged.reached) {
            (false, _) => Surroundings::default(),
            (true, Some(reached)) => reached.surroundings.clone(),
            (true, None) => self.surroundings(judged, judged.facts_for_masks()).await,
        };
        self.session.plan(judged, &surroundings, columns).await
    }

    /// What the catalog has of the names in statements, as far as this session's open transaction lets it.
    pub(super) async fn surroundings(&self, judged: &Judged, statements: &[StatementFacts]) -> Surroundings {
        let mut surroundings = self.catalog.surroundings(statements, &judged.text).await;
        let columns = surroundings.relations.iter_mut().flat_map(|relation| &mut relation.columns);
        columns.for_each(|column| self.defined.doubt(judged.operation, &mut column.lineage));
        if self.defined.is_anything(judged.operation) && statements.iter().any(StatementFacts::computes) {
            surroundings.unseen.push(Source::default());
        }
        surroundings
    }

    /// Asks the masks how a result is treated, unless they have just said so of the same columns of such a statement.
    pub(super) async fn make_plan(&mut self, judged: &Judged, columns: &Rc<[Column]>) -> Rc<ResultPlan> {
        let state = self.state();
        // What is reached is another thing each time, in the same words.
        let alike = judged.reached.is_none();
        let plan = match self.plans.recall(judged, columns, state).filter(|_| alike) {
            Some(plan) => plan,
            None => {
                let plan = Rc::new(match self.plan(judged, columns).await {
                    Planned::Refuse(refusal) => ResultPlan::Refuse(refusal),
                    Planned::Show(plan) => {
                        let masked = plan.masked_columns().collect();
                        ResultPlan::Show { plan, masked, columns: Rc::clone(columns) }
                    }
                });
                // Operators are in the text, and what is remembered is asked for by facts.
                if alike && self.session.plans_are_deterministic() && self.catalog.has_no_operators() {
                    self.plans.remember(judged, columns, state, &plan);
                }
                plan
            }
        };
        if let ResultPlan::Show { masked, .. } = &*plan
            && !masked.is_empty()
        {
            let names = masked.iter().filter_map(|index| columns.get(*index));
            let names: Vec<&str> = names.map(|column| column.name.as_str()).collect();
            self.session.note(EventKind::Mask, judged.operation, &json!({ "columns": names }));
        }
        plan
    }

    /// The plan of a portal's result; kept with the statement, by result formats. Only a description of the same epoch
    /// counts: the target may have planned the statement anew since an older one.
    pub(super) async fn plan_for(&mut self, portal: &Portal, epoch: u64) -> Rc<ResultPlan> {
        let statement = &portal.statement;
        let Some(described) = statement.columns_in(epoch) else {
            // Fails closed: rows whose columns are not known are not shown.
            let refusal = Refusal::new(
                RefusalCode::MaskImpossible,
                "the columns of this result are not known, so it cannot be shown",
            );
            return Rc::new(ResultPlan::Refuse(
                refusal.hint("Prepare the statement again, and run it then."),
            ));
        };
        let known = statement
            .plans
            .borrow()
            .iter()
            .find(|(formats, _)| *formats == portal.formats)
            .map(|(_, plan)| Rc::clone(plan));
        if let Some(plan) = known {
            return plan;
        }
        let columns: Rc<[Column]> = with_formats(&described, &portal.formats);
        let plan = match self.refused_use(&statement.judged).await {
            Some(refusal) => Rc::new(ResultPlan::Refuse(refusal)),
            None => self.make_plan(&statement.judged, &columns).await,
        };
        let mut plans = statement.plans.borrow_mut();
        if plans.len() >= 4 {
            plans.clear();
        }
        plans.push((portal.formats.clone(), Rc::clone(&plan)));
        plan
    }
}

pub(super) struct Field {
    pub(super) name: String,
    pub(super) relation: u32,
    pub(super) attribute: i16,
    pub(super) type_oid: u32,
    format: Format,
}

pub(super) fn read_fields(frame: &[u8]) -> Result<Vec<Field>, Malformed> {
    let mut body = Body::of(frame);
    let count = body.count()?;
    let mut fields = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let name = String::from_utf8_lossy(body.zero_terminated()?).into_owned();
        let (relation, attribute, type_oid) = (body.u32()?, body.i16()?, body.u32()?);
        body.bytes(6)?;
        let format = format(body.i16()?);
        fields.push(Field { name, relation, attribute, type_oid, format });
    }
    body.end()?;
    Ok(fields)
}

fn format(code: i16) -> Format {
    if code == 0 { Format::Text } else { Format::Binary }
}

/// Result formats of a Bind: none (all text), one for all, or one each (PostgreSQL manual, Bind).
pub(super) fn with_formats(columns: &[Column], formats: &[i16]) -> Rc<[Column]> {
    let of = |index: usize| match formats {
        [] => Format::Text,
        [all] => format(*all),
        each => each.get(index).map_or(Format::Text, |code| format(*code)),
    };
    columns.iter().enumerate().map(|(index, column)| Column { format: of(index), ..column.clone() }).collect()
}
