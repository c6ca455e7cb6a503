//! What the columns of a result are, and how each is treated.

use super::super::frame::{Body, Frame, Malformed};
use super::pending::Asker;
use super::responses::Finished;
use super::statements::{Described, Portal, ResultPlan, Statement};
use super::{Relay, drift};
use crate::session::{EventKind, Judged, Planned, SessionStop};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::sql::{Column, Format};
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
        let columns: Rc<[Column]> = self.columns(frame).await?.into();
        *statement.columns.borrow_mut() = Some(Described { epoch, at: Instant::now(), columns });
        statement.plans.borrow_mut().clear();
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

    /// Reads a RowDescription (or NoData: no columns), with the origin of each column.
    pub(super) async fn columns(&mut self, frame: Frame) -> Result<Vec<Column>, SessionStop> {
        if frame.kind == b'n' {
            return Ok(Vec::new());
        }
        let fields = self
            .target
            .input
            .bytes()
            .get(..frame.total)
            .ok_or(Malformed("a frame that is not whole"))
            .and_then(read_fields)
            .map_err(|Malformed(what)| drift(what))?;
        let mut columns = Vec::with_capacity(fields.len());
        for field in fields {
            columns.push(Column {
                origin: self.catalog.origin(field.relation, field.attribute).await,
                name: field.name,
                type_oid: field.type_oid,
                format: field.format,
            });
        }
        Ok(columns)
    }

    pub(super) async fn make_plan(&mut self, judged: &Judged, columns: Rc<[Column]>) -> ResultPlan {
        match self.session.plan(judged, &columns).await {
            Planned::Refuse(refusal) => ResultPlan::Refuse(refusal),
            Planned::Show(plan) => {
                let masked: Box<[usize]> = plan.masked_columns().collect();
                if !masked.is_empty() {
                    let names: Vec<&str> = masked
                        .iter()
                        .filter_map(|index| columns.get(*index))
                        .map(|column| column.name.as_str())
                        .collect();
                    self.session.note(EventKind::Mask, judged.operation, &json!({ "columns": names }));
                }
                ResultPlan::Show { plan, masked, columns }
            }
        }
    }

    /// The plan of a portal's result; kept with the statement, by result formats. Only a description of the same epoch
    /// counts: the target may have planned the statement anew since an older one.
    pub(super) async fn plan_for(&mut self, portal: &Portal, epoch: u64) -> Rc<ResultPlan> {
        let statement = &portal.statement;
        let Some(described) = statement.columns_in(epoch) else {
            // Fails closed: rows whose columns are not known are not shown.
            return Rc::new(ResultPlan::Refuse(Refusal::new(
                RefusalCode::MaskImpossible,
                "the columns of this result are not known, so it cannot be shown",
            )));
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
        let plan = Rc::new(self.make_plan(&statement.judged, columns).await);
        let mut plans = statement.plans.borrow_mut();
        if plans.len() >= 4 {
            plans.clear();
        }
        plans.push((portal.formats.clone(), Rc::clone(&plan)));
        plan
    }
}

struct Field {
    name: String,
    relation: u32,
    attribute: i16,
    type_oid: u32,
    format: Format,
}

fn read_fields(frame: &[u8]) -> Result<Vec<Field>, Malformed> {
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
fn with_formats(columns: &[Column], formats: &[i16]) -> Rc<[Column]> {
    let of = |index: usize| match formats {
        [] => Format::Text,
        [all] => format(*all),
        each => each.get(index).map_or(Format::Text, |code| format(*code)),
    };
    columns.iter().enumerate().map(|(index, column)| Column { format: of(index), ..column.clone() }).collect()
}
