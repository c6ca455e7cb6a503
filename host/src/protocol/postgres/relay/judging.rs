//! What the gateway itself has to say about a text, beside the plugins: results that cannot be shown, and statements that
//! reach what was prepared under a name.

use super::Relay;
use super::defined::{Defines, are_the_servers_own, may_only_set};
use crate::session::{Judged, Planned, Ruling, UseJudgement, refused_by};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::sql::{Column, Format, Lineage, Place, StatementFacts};

impl Relay<'_> {
    /// Judges a text, and what only masks and the gateway can see of it: what it uses, and results that masks would refuse
    /// after the fact.
    pub(super) async fn judge(&mut self, kind: &str, text: &str) -> Judged {
        let mut judged = self.session.judge_sql(kind, text).await;
        if !matches!(judged.ruling, Ruling::Refuse(_)) && self.session.has_masks() {
            match self.check_use(&judged).await {
                Ok(judgement) => self.session.apply_use(&mut judged, &judgement).await,
                Err(refusal) => judged.ruling = Ruling::Refuse(refusal),
            }
        }
        if !matches!(judged.ruling, Ruling::Refuse(_))
            && let Some(refusal) = self.refused_result(&judged).await
        {
            judged.ruling = Ruling::Refuse(refusal);
        }
        if let Some(refusal) = self.hidden_from_approvers(&judged) {
            judged.ruling = Ruling::Refuse(refusal);
        }
        // As it is enforced.
        self.session.note_decision(&judged);
        judged
    }

    /// What answers of masks depend on besides facts: another state, another answer.
    pub(super) fn state(&self) -> (u64, u64) {
        (self.catalog.generation(), self.epoch)
    }

    /// Whether the masks let the statement use what it uses. The answer counts for statements of the same facts, so that
    /// those that differ in their literals alone are asked about once.
    async fn check_use(&mut self, judged: &Judged) -> Result<UseJudgement, Refusal> {
        let state = self.state();
        if let Some(known) = self.uses.get(&judged.statements, state) {
            return Ok(known.clone());
        }
        let surroundings = self.surroundings(judged, &judged.statements).await;
        let judgement = self.session.check_use(judged, &surroundings).await?;
        // Operators are in the text, and what is remembered is asked for by facts.
        if self.session.plans_are_deterministic() && self.catalog.has_no_operators() {
            self.uses.put(&judged.statements, state, &judgement);
        }
        Ok(judgement)
    }

    /// The same for a statement that was judged before and is planned now: its names may mean something else by now.
    pub(super) async fn refused_use(&mut self, judged: &Judged) -> Option<Refusal> {
        if judged.statements.is_empty() || !self.session.has_masks() {
            // It was judged where it was prepared or declared.
            return None;
        }
        match self.check_use(judged).await {
            Ok(judgement) => refused_by(&judgement, &judged.ruling),
            Err(refusal) => Some(refusal),
        }
    }

    /// A statement that writes cannot be taken back when its result turns out to be unshowable: it is planned before it
    /// runs. So is a COPY TO whose columns cannot be asked for (`before_copy`), which must not have to be masked.
    /// Fails closed.
    pub(super) async fn refused_result(&mut self, judged: &Judged) -> Option<Refusal> {
        let mut columns = Vec::new();
        let copies = judged.traits.copies_out && !self.asks_for_copied_columns(judged);
        if copies && judged.statements.iter().any(StatementFacts::may_change_session) {
            // What is copied may be another relation by then.
            columns.push(Column { lineage: Lineage::unknown(), ..computed() });
        }
        for facts in judged.statements.iter().filter(|_| copies) {
            let Some(copy) = &facts.copy_out else { continue };
            match &copy.relation {
                None => columns.push(computed()),
                Some(relation) => {
                    let found = self.catalog.named(relation.schema.as_deref(), &relation.name).await;
                    if found.is_empty() {
                        columns.push(computed());
                    }
                    for (name, lineage) in found.iter().flat_map(|relation| relation.visible()) {
                        if copy.columns.is_empty() || copy.columns.iter().any(|copied| copied == name) {
                            let mut lineage = lineage.clone();
                            self.defined.doubt(judged.operation, &mut lineage);
                            columns.push(Column { name: name.to_owned(), lineage, ..computed() });
                        }
                    }
                }
            }
        }
        let writes_and_returns = judged.traits.writes_rows
            && judged.statements.iter().any(|facts| match facts.understood() {
                true => facts.opaque || facts.columns.iter().any(|column| column.place == Place::Output),
                // Whatever it is: it returns what it wrote only with this keyword.
                false => judged.mentions("returning"),
            });
        if writes_and_returns {
            columns.push(computed());
        }
        if columns.is_empty() {
            return None;
        }
        let planned = match copies {
            true => self.plan(&without_forms(judged), &columns).await,
            false => self.plan(judged, &columns).await,
        };
        match planned {
            Planned::Refuse(refusal) => Some(refusal),
            Planned::Show(plan) if copies && !plan.passes_all() => Some(
                Refusal::new(
                    RefusalCode::MaskImpossible,
                    "this COPY would show values that have to be masked, and cannot be read to mask them",
                )
                .detail(
                    "Rows are read where COPY is the only statement of its text, writes UTF-8, and has no option \
                     that is not known.",
                )
                .hint("Send it alone, with fewer options, or read the values with SELECT."),
            ),
            Planned::Show(_) => None,
        }
    }

    /// PREPARE and EXECUTE in SQL would show approvers a text without its parameters, or parameters without their text.
    /// What was approved is what runs (invariant 7), so what needs approval goes neither way. Fails closed.
    fn hidden_from_approvers(&self, judged: &Judged) -> Option<Refusal> {
        let prepares = judged.traits.prepares && matches!(judged.ruling, Ruling::Hold(_));
        if matches!(judged.ruling, Ruling::Refuse(_)) || !(prepares || self.reaches_what_is_held(judged)) {
            return None;
        }
        Some(not_in_sql())
    }

    /// `EXECUTE name` in SQL (also inside EXPLAIN and CREATE TABLE AS) runs what was perhaps prepared by Parse, where a
    /// statement that needs approval only waits to be bound.
    fn reaches_what_is_held(&self, judged: &Judged) -> bool {
        // A statement whose name is in doubt is refused to the protocol, and still there for EXECUTE.
        judged.traits.says_execute
            && self.statements.all().any(|other| {
                !std::ptr::eq(&*other.judged, judged) && !matches!(other.judged.ruling, Ruling::Allow)
            })
    }

    /// The same at Execute: what is held may have been prepared after the EXECUTE was judged.
    pub(super) fn runs_what_is_held(&self, judged: &Judged) -> Option<Refusal> {
        self.reaches_what_is_held(judged).then(not_in_sql)
    }

    /// What a text that is about to be sent may define, as far as the catalog tells.
    pub(super) async fn defines(&self, judged: &Judged) -> Defines {
        let asks = judged.traits.changes_session
            && self.session.has_masks()
            && self.defined.is_nothing()
            && may_only_set(judged);
        if asks && are_the_servers_own(&self.surroundings(judged, &judged.statements).await) {
            return Defines::Nothing;
        }
        Defines::AsItSays
    }

    /// Something was forwarded that names may mean something else after. Everything that is sent later reckons with it,
    /// whether or not it comes to pass: waiting for the answer would leave a gap in a pipeline.
    pub(super) fn note_sent(&mut self, judged: &Judged, defines: Defines) {
        let is = &judged.traits;
        if is.renames_statements {
            self.statements.distrust();
        }
        if is.renames_portals {
            self.portals.distrust();
        }
        if is.changes_session {
            // A setting may be undone by the end of its transaction.
            self.changed = Some(self.segment);
            if defines == Defines::AsItSays {
                self.defined.note(judged);
            }
        }
        if is.moves_on || self.changed.is_some() && is.bounds_transaction {
            self.epoch += 1;
        }
    }
}

/// A COPY that is not described, to masks: it may copy any column of what it reads.
fn without_forms(judged: &Judged) -> Judged {
    let mut statements = judged.statements.to_vec();
    statements.iter_mut().filter_map(|facts| facts.copy_out.as_mut()).for_each(|copy| copy.form = None);
    let mut unread = judged.clone();
    unread.statements = statements.into();
    unread
}

fn not_in_sql() -> Refusal {
    Refusal::new(
        RefusalCode::OperationRefused,
        "a statement that needs approval cannot be run by PREPARE and EXECUTE in SQL",
    )
    .detail("An approver has to see the statement and its parameters together.")
    .hint("Run it directly, or with your driver's parameters.")
}

/// A column that nothing is known of.
pub(super) fn computed() -> Column {
    Column { name: String::new(), lineage: Lineage::default(), type_oid: 25, format: Format::Text }
}
