//! From wire types to core's and back, with every answer checked: a plugin is trusted to judge, not to count.

use crate::bindings::chaperone::plugin::{sql_facts, types};
use crate::bindings::exports::chaperone::plugin::{approval_trigger, column_mask, sql_check};
use crate::fault::FaultKind;
use crate::limits::{MASK_GROWTH, MASK_SLACK_BYTES, MAX_ANSWER_TEXT_BYTES, MAX_FACTS, MAX_FINDINGS};
use chaperone_core::decision::{Assessment, Finding, HoldTerms, MAX_RISK, RuleRefusal, Verdict};
use chaperone_core::name::GroupAlias;
use chaperone_core::sql;

/// An answer that broke the contract.
pub(crate) struct Bad(pub(crate) FaultKind, pub(crate) &'static str);

type Checked<T> = Result<T, Bad>;

fn bad<T>(what: &'static str) -> Checked<T> {
    Err(Bad(FaultKind::BadAnswer, what))
}

fn text(text: String) -> Checked<String> {
    if text.len() > MAX_ANSWER_TEXT_BYTES { bad("a text of the answer is too long") } else { Ok(text) }
}

fn risk(risk: u8) -> Checked<u8> {
    if risk > MAX_RISK { bad("a risk is over 100") } else { Ok(risk) }
}

fn list<A, B>(items: Vec<A>, most: usize, each: impl FnMut(A) -> Checked<B>) -> Checked<Vec<B>> {
    if items.len() > most {
        bad("a list of the answer is too long")
    } else {
        items.into_iter().map(each).collect()
    }
}

fn finding(finding: types::Finding) -> Checked<Finding> {
    Ok(Finding { rule: text(finding.rule)?, detail: text(finding.detail)?, risk: risk(finding.risk)? })
}

pub(crate) fn refusal(refusal: types::Refusal) -> Checked<RuleRefusal> {
    Ok(RuleRefusal { rule: text(refusal.rule)?, reason: text(refusal.reason)?, hint: text(refusal.hint)? })
}

fn assessment(assessment: types::Assessment) -> Checked<Assessment> {
    Ok(Assessment {
        verdict: match assessment.verdict {
            types::Verdict::Allow => Verdict::Allow,
            types::Verdict::Refuse(why) => Verdict::Refuse(refusal(why)?),
        },
        risk: risk(assessment.risk)?,
        findings: list(assessment.findings, MAX_FINDINGS, finding)?,
    })
}

pub(crate) fn sql_response(response: sql_check::Response) -> Checked<(Assessment, Vec<sql::StatementFacts>)> {
    Ok((assessment(response.assessment)?, list(response.statements, MAX_FACTS, statement)?))
}

fn statement(facts: sql_facts::StatementFacts) -> Checked<sql::StatementFacts> {
    Ok(sql::StatementFacts {
        class: text(facts.class)?,
        classes: list(facts.classes, MAX_FACTS, text)?,
        relations: list(facts.relations, MAX_FACTS, relation)?,
        columns: list(facts.columns, MAX_FACTS, |column| {
            Ok(sql::ColumnRef {
                qualifier: column.qualifier.map(text).transpose()?,
                name: text(column.name)?,
                place: match column.place {
                    sql_facts::Place::Output => sql::Place::Output,
                    sql_facts::Place::Predicate => sql::Place::Predicate,
                    sql_facts::Place::Assigned => sql::Place::Assigned,
                    sql_facts::Place::Other => sql::Place::Other,
                },
            })
        })?,
        functions: list(facts.functions, MAX_FACTS, |function| {
            Ok(sql::FunctionRef {
                schema: function.schema.map(text).transpose()?,
                name: text(function.name)?,
            })
        })?,
        opaque: facts.opaque,
        changes_session: facts.changes_session,
        copy_out: facts.copy_out.map(copy_out).transpose()?,
    })
}

fn copy_out(copy: sql_facts::CopyOut) -> Checked<sql::CopyOut> {
    Ok(sql::CopyOut {
        relation: copy.relation.map(relation).transpose()?,
        columns: list(copy.columns, MAX_FACTS, text)?,
        format: text(copy.format)?,
        form: copy.form.map(copy_form).transpose()?,
    })
}

fn copy_form(form: sql_facts::CopyForm) -> Checked<sql::CopyForm> {
    let sql_facts::CopyForm { delimiter, quote, escape, null, header, query } = form;
    Ok(sql::CopyForm { delimiter, quote, escape, null: text(null)?, header, query })
}

fn relation(relation: sql_facts::Relation) -> Checked<sql::Relation> {
    Ok(sql::Relation {
        schema: relation.schema.map(text).transpose()?,
        name: text(relation.name)?,
        access: match relation.access {
            sql_facts::Access::Read => sql::Access::Read,
            sql_facts::Access::Write => sql::Access::Write,
            sql_facts::Access::Define => sql::Access::Define,
        },
    })
}

pub(crate) fn hold(hold: approval_trigger::Hold) -> Checked<HoldTerms> {
    let Ok(approvers) = GroupAlias::new(hold.approvers) else {
        return bad("the approvers are no group's alias");
    };
    if hold.needed == 0 {
        return bad("a hold that nobody has to approve");
    }
    if hold.timeout_seconds == 0 {
        return bad("a hold without time to approve it");
    }
    Ok(HoldTerms {
        approvers,
        needed: hold.needed,
        timeout_seconds: hold.timeout_seconds,
        reason: text(hold.reason)?,
    })
}

pub(crate) fn treatment(treatment: column_mask::Treatment) -> Checked<sql::Treatment> {
    Ok(match treatment {
        column_mask::Treatment::Pass => sql::Treatment::Pass,
        column_mask::Treatment::Mask(number) => sql::Treatment::Mask(number),
        column_mask::Treatment::Refuse(why) => sql::Treatment::Refuse(refusal(why)?),
    })
}

pub(crate) fn to_findings(findings: &[Finding]) -> Vec<types::Finding> {
    let wire = |finding: &Finding| types::Finding {
        rule: finding.rule.clone(),
        detail: finding.detail.clone(),
        risk: finding.risk,
    };
    findings.iter().map(wire).collect()
}

pub(crate) fn answer(answer: column_mask::Answer) -> Checked<MaskAnswer> {
    Ok(MaskAnswer {
        permission: match answer.permission {
            column_mask::Permission::Allow => sql::Use::Allow,
            column_mask::Permission::Refuse(why) => sql::Use::Refuse(refusal(why)?),
            column_mask::Permission::Approve(why) => sql::Use::Approve(refusal(why)?),
        },
        risk: risk(answer.risk)?,
        findings: list(answer.findings, MAX_FINDINGS, finding)?,
    })
}

/// What one mask said to a statement.
pub(crate) struct MaskAnswer {
    pub(crate) permission: sql::Use,
    pub(crate) risk: u8,
    pub(crate) findings: Vec<Finding>,
}

pub(crate) fn to_context(
    statements: &[sql::StatementFacts],
    surroundings: &sql::Surroundings,
    now: u64,
) -> column_mask::Context {
    let relation = |relation: &sql::RelationColumns| column_mask::RelationColumns {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        columns: relation
            .columns
            .iter()
            .map(|column| column_mask::RelationColumn {
                name: column.name.clone(),
                lineage: to_lineage(&column.lineage),
            })
            .collect(),
    };
    column_mask::Context {
        statements: statements.iter().map(to_statement).collect(),
        relations: surroundings.relations.iter().map(relation).collect(),
        unseen: surroundings.unseen.iter().map(to_source).collect(),
        now,
    }
}

pub(crate) fn to_columns(columns: &[sql::Column]) -> Vec<column_mask::Column> {
    let wire = |column: &sql::Column| column_mask::Column {
        name: column.name.clone(),
        lineage: to_lineage(&column.lineage),
        type_oid: column.type_oid,
        format: to_format(column.format),
    };
    columns.iter().map(wire).collect()
}

fn to_lineage(lineage: &sql::Lineage) -> column_mask::Lineage {
    let origins = |origins: &[sql::Origin]| {
        let wire = |origin: &sql::Origin| column_mask::Origin {
            schema: origin.schema.clone(),
            relation: origin.relation.clone(),
            column: origin.column.clone(),
        };
        origins.iter().map(wire).collect()
    };
    column_mask::Lineage {
        origins: origins(&lineage.origins),
        reads: origins(&lineage.reads),
        unseen: lineage.unseen.iter().map(to_source).collect(),
    }
}

fn to_source(source: &sql::Source) -> column_mask::Source {
    column_mask::Source { schema: source.schema.clone(), name: source.name.clone() }
}

fn to_format(format: sql::Format) -> column_mask::Format {
    match format {
        sql::Format::Text => column_mask::Format::Text,
        sql::Format::Binary => column_mask::Format::Binary,
    }
}

fn to_statement(facts: &sql::StatementFacts) -> sql_facts::StatementFacts {
    // A word that the host does not know means to masks what it means to the host: it may be anything.
    let (class, classes) = match facts.understood() {
        true => (facts.class.clone(), facts.classes.clone()),
        false => (sql::UNKNOWN.to_owned(), vec![sql::UNKNOWN.to_owned()]),
    };
    sql_facts::StatementFacts {
        class,
        classes,
        relations: facts.relations.iter().map(to_relation).collect(),
        columns: facts
            .columns
            .iter()
            .map(|column| sql_facts::ColumnRef {
                qualifier: column.qualifier.clone(),
                name: column.name.clone(),
                place: match column.place {
                    sql::Place::Output => sql_facts::Place::Output,
                    sql::Place::Predicate => sql_facts::Place::Predicate,
                    sql::Place::Assigned => sql_facts::Place::Assigned,
                    sql::Place::Other => sql_facts::Place::Other,
                },
            })
            .collect(),
        functions: facts
            .functions
            .iter()
            .map(|function| sql_facts::FunctionRef {
                schema: function.schema.clone(),
                name: function.name.clone(),
            })
            .collect(),
        opaque: facts.opaque,
        changes_session: facts.changes_session,
        copy_out: facts.copy_out.as_ref().map(|copy| sql_facts::CopyOut {
            relation: copy.relation.as_ref().map(to_relation),
            columns: copy.columns.clone(),
            format: copy.format.clone(),
            form: copy.form.as_ref().map(|form| sql_facts::CopyForm {
                delimiter: form.delimiter,
                quote: form.quote,
                escape: form.escape,
                null: form.null.clone(),
                header: form.header,
                query: form.query,
            }),
        }),
    }
}

fn to_relation(relation: &sql::Relation) -> sql_facts::Relation {
    sql_facts::Relation {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        access: match relation.access {
            sql::Access::Read => sql_facts::Access::Read,
            sql::Access::Write => sql_facts::Access::Write,
            sql::Access::Define => sql_facts::Access::Define,
        },
    }
}

/// Values of one column, as the contract's `batch` describes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The values, one after the other.
    pub bytes: Vec<u8>,
    /// Where each starts, and where the last ends.
    pub offsets: Vec<u32>,
    /// Bit `i % 8` of byte `i / 8`: value `i` is NULL.
    pub nulls: Vec<u8>,
}

/// New values for a [`Batch`], checked to have its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    nulls: Vec<u8>,
    changed: u32,
    /// No plugin has sent new values. What a plugin counts as changed says less: it may count wrongly.
    same: bool,
}

impl Batch {
    /// An empty batch, ready for values.
    pub fn new() -> Self {
        Batch { bytes: Vec::new(), offsets: vec![0], nulls: Vec::new() }
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a value; `None` is NULL. Callers bound a batch far below 4 GiB, see `MAX_BATCH_BYTES` there.
    pub fn push(&mut self, value: Option<&[u8]>) {
        let index = self.len();
        if index.is_multiple_of(8) {
            self.nulls.push(0);
        }
        match value {
            Some(value) => self.bytes.extend_from_slice(value),
            None => {
                if let Some(byte) = self.nulls.last_mut() {
                    *byte |= 1 << (index % 8);
                }
            }
        }
        self.offsets.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.offsets.clear();
        self.offsets.push(0);
        self.nulls.clear();
    }
}

impl Masked {
    /// The new value at `index`; `None` inside is NULL.
    pub fn value(&self, index: usize) -> Option<Option<&[u8]>> {
        if self.nulls.get(index / 8)? & (1 << (index % 8)) != 0 {
            return Some(None);
        }
        let start = usize::try_from(*self.offsets.get(index)?).ok()?;
        let end = usize::try_from(*self.offsets.get(index + 1)?).ok()?;
        self.bytes.get(start..end).map(Some)
    }

    /// How many values were changed.
    pub fn changed(&self) -> u32 {
        self.changed
    }

    /// Whether every value is as it was.
    pub fn is_same(&self) -> bool {
        self.same
    }

    /// What no plugin has seen yet.
    pub(crate) fn unseen(batch: Batch) -> Self {
        Masked { bytes: batch.bytes, offsets: batch.offsets, nulls: batch.nulls, changed: 0, same: true }
    }

    /// After what an earlier plugin has done.
    pub(crate) fn after(self, (changed, same): (u32, bool)) -> Self {
        Masked { changed: self.changed.max(changed), same: self.same && same, ..self }
    }
}

pub(crate) fn to_batch(treatment: u32, column: &sql::Column, batch: Masked) -> column_mask::Batch {
    column_mask::Batch {
        treatment,
        type_oid: column.type_oid,
        format: to_format(column.format),
        bytes: batch.bytes,
        offsets: batch.offsets,
        nulls: batch.nulls,
    }
}

fn most_bytes(asked: &column_mask::Batch) -> usize {
    asked.bytes.len().saturating_mul(MASK_GROWTH).saturating_add(MASK_SLACK_BYTES)
}

/// What the answer may cost the host: its values, an offset and a bit for each, and what holds them together.
pub(crate) fn most(asked: &column_mask::Batch) -> usize {
    most_bytes(asked)
        .saturating_add(size_of_val(asked.offsets.as_slice()))
        .saturating_add(asked.nulls.len())
        .saturating_add(size_of::<column_mask::Masked>())
}

/// The new values, or those that were asked about where the plugin says that it has changed none.
pub(crate) fn masked(answer: column_mask::Masked, asked: column_mask::Batch) -> Checked<Masked> {
    if answer.changed == 0 && answer.offsets.is_empty() {
        if !answer.bytes.is_empty() || !answer.nulls.is_empty() {
            return bad("a masked batch without offsets has values");
        }
        return Ok(Masked {
            bytes: asked.bytes,
            offsets: asked.offsets,
            nulls: asked.nulls,
            changed: 0,
            same: true,
        });
    }
    if answer.offsets.len() != asked.offsets.len() || answer.nulls.len() != asked.nulls.len() {
        return bad("a masked batch has another number of values than the batch had");
    }
    if answer.bytes.len() > most_bytes(&asked) {
        return bad("a masked batch is far larger than the batch was");
    }
    let rising = answer.offsets.is_sorted();
    let whole = answer.offsets.first() == Some(&0)
        && answer.offsets.last().is_some_and(|end| usize::try_from(*end) == Ok(answer.bytes.len()));
    if !rising || !whole {
        return bad("the offsets of a masked batch do not fit its bytes");
    }
    if usize::try_from(answer.changed).map_or(true, |changed| changed >= asked.offsets.len()) {
        return bad("a masked batch has more changed values than values");
    }
    let null_with_bytes = answer.offsets.array_windows().enumerate().any(|(index, [start, end])| {
        start != end && answer.nulls.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    });
    if null_with_bytes {
        return bad("a NULL of a masked batch has bytes");
    }
    let column_mask::Masked { bytes, offsets, nulls, changed } = answer;
    Ok(Masked { bytes, offsets, nulls, changed, same: false })
}
