//! The plugins of a target in order, and how their answers become one.
//!
//! Check plugins are asked in order and any refusal ends it. Then the approval triggers see the highest risk and all
//! findings. Masks are asked in order; each masks what the one before it left.

use crate::bindings::exports::chaperone::plugin::{approval_trigger, column_mask, sql_check};
use crate::fault::{Fault, FaultKind};
use crate::instance::Instance;
use crate::limits::{MASK_SLACK_BYTES, MAX_TEXT_BYTES};
use crate::load::{Plugin, PluginStamp};
use crate::metrics::Hook;
use crate::slots::Slots;
use crate::store::SessionFacts;
use crate::wire::{self, Batch, Masked};
use chaperone_core::decision::{Finding, HoldTerms, RuleRefusal, Verdict, merge_holds};
use chaperone_core::sql::{Column, StatementFacts, Surroundings, Treatment, Use};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The plugins of a target, in the operator's order.
#[derive(Debug, Clone)]
pub struct Chain {
    plugins: Arc<[Arc<Plugin>]>,
}

/// Why a target cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Nobody would judge its operations.
    #[error("no plugin of this target checks SQL; add one, e.g. `builtin:sql-guard`")]
    NoCheck,
}

impl Chain {
    /// Fails closed: a target without a check plugin is not served.
    pub fn new(plugins: Vec<Arc<Plugin>>) -> Result<Self, ChainError> {
        if plugins.iter().any(|plugin| plugin.has(Hook::SqlCheck)) {
            Ok(Chain { plugins: plugins.into() })
        } else {
            Err(ChainError::NoCheck)
        }
    }

    /// What is in it, for recordings.
    pub fn stamps(&self) -> Vec<PluginStamp> {
        self.plugins.iter().map(|plugin| plugin.stamp().clone()).collect()
    }

    /// Instances for one session; nothing in them is shared with another.
    pub async fn open(&self, facts: SessionFacts) -> Result<SessionHooks, Fault> {
        let facts = Arc::new(facts);
        let make = |plugin: &Arc<Plugin>| Instance::new(Arc::clone(plugin), Arc::clone(&facts));
        let mut hooks = SessionHooks { instances: self.plugins.iter().map(make).collect(), places: None };
        hooks.take_places(None).await?;
        for instance in &mut hooks.instances {
            instance.warm().await?;
        }
        Ok(hooks)
    }
}

/// The plugins of one session.
pub struct SessionHooks {
    // Before the places: what is in one is gone when the place is another's.
    instances: Vec<Instance>,
    places: Option<OwnedSemaphorePermit>,
}

/// What the check plugins said together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlJudgement {
    /// The first refusal, if any.
    pub refusal: Option<RuleRefusal>,
    /// The plugin that it is of.
    pub refused_by: Option<String>,
    /// The highest risk.
    pub risk: u8,
    /// All findings, in order.
    pub findings: Vec<Finding>,
    /// The facts of the first plugin that gave any.
    pub statements: Vec<StatementFacts>,
}

/// What the masks said together to a text before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseJudgement {
    /// The strictest of them.
    pub permission: Use,
    /// The plugin that refuses or wants an approval.
    pub said_by: Option<String>,
    /// The highest risk.
    pub risk: u8,
    /// All findings, in order.
    pub findings: Vec<Finding>,
}

/// What approval triggers are asked about.
#[derive(Debug, Clone)]
pub struct OperationSummary<'a> {
    /// `postgres` …
    pub protocol: &'static str,
    /// The operation's text.
    pub text: &'a str,
    /// Classes of its statements.
    pub classes: Vec<String>,
    /// The highest risk.
    pub risk: u8,
    /// All findings.
    pub findings: &'a [Finding],
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

impl<'a> OperationSummary<'a> {
    /// Of statements in `protocol`, whose facts and findings the checks have given.
    pub fn of(
        protocol: &'static str,
        text: &'a str,
        statements: &[StatementFacts],
        risk: u8,
        findings: &'a [Finding],
        now_ms: u64,
    ) -> Self {
        let classes = statements.iter().flat_map(|facts| facts.classes.iter().cloned()).collect();
        OperationSummary { protocol, text, classes, risk, findings, now_ms }
    }
}

/// The longest part of an operation's text that approval triggers see, in bytes.
const MAX_SUMMARY_BYTES: usize = 4096;

/// How the columns of one result are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskPlan {
    /// For each column that needs it: its index, and the treatments in order (plugin, number).
    columns: Vec<MaskedColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct MaskedColumn {
    index: usize,
    column: Column,
    steps: Vec<(usize, u32)>,
}

impl MaskPlan {
    /// Whether the whole result passes untouched.
    pub fn passes_all(&self) -> bool {
        self.columns.is_empty()
    }

    /// Indexes of the columns whose values go through plugins, rising.
    pub fn masked_columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().map(|column| column.index)
    }
}

/// What the masks said together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanOutcome {
    /// The result may be shown, treated like this.
    Plan(MaskPlan),
    /// It must not be shown.
    Refuse(RuleRefusal),
}

impl SessionHooks {
    /// Whether every plugin of a hook says that it answers the same question in the same way: an answer may be used again.
    pub fn is_deterministic(&self, hook: Hook) -> bool {
        self.all(hook, |plugin| plugin.deterministic)
    }

    /// Whether the approval triggers' answer depends on classes, risk and findings alone, and not on the text.
    pub fn triggers_are_blind_to_text(&self) -> bool {
        self.all(Hook::ApprovalTrigger, |plugin| plugin.deterministic && !plugin.reads_text)
    }

    /// Whether [`SessionHooks::rest`] would give anything back.
    pub fn can_rest(&self) -> bool {
        self.has_all_places() && self.instances.iter().any(Instance::can_rest)
    }

    /// Gives the memory and the places of deterministic plugins back until the next call, which makes them anew: most sessions
    /// are idle most of the time.
    pub fn rest(&mut self) {
        if !self.can_rest() {
            return;
        }
        self.instances.iter_mut().for_each(Instance::rest);
        let resting = self.instances.iter().filter(|instance| instance.can_rest()).count();
        if let Some(places) = &mut self.places {
            drop(places.split(resting));
        }
    }

    /// Whether other sessions wait for what this one has.
    pub fn are_waited_for(&self) -> bool {
        self.slots().is_some_and(Slots::are_waited_for)
    }

    /// Whether they do, or soon have to.
    pub fn are_wanted(&self) -> bool {
        self.slots().is_some_and(Slots::are_wanted)
    }

    fn slots(&self) -> Option<&Slots> {
        self.instances.first().map(|one| &one.plugin().engine.inner.slots)
    }

    fn has_all_places(&self) -> bool {
        self.places.as_ref().is_some_and(|places| places.num_permits() >= self.instances.len())
    }

    /// Has a place for every instance, and waits for them if need be. Called before any plugin is; a wait in vain refuses what
    /// `hook` was to be asked, and is counted as its fault.
    async fn take_places(&mut self, hook: Option<Hook>) -> Result<(), Fault> {
        if self.has_all_places() {
            return Ok(());
        }
        let mut asked = self.instances.iter().filter(|one| hook.is_none_or(|hook| one.plugin().has(hook)));
        let Some(first) = asked.next() else { return Ok(()) };
        let had = self.places.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = self.instances.len().saturating_sub(had);
        let taken = first.plugin().engine.inner.slots.take(missing).await.map_err(|why| {
            if let Some(hook) = hook {
                first.plugin().metrics(hook).faulted();
            }
            first.no_instance(&why)
        })?;
        match &mut self.places {
            Some(places) => places.merge(taken),
            None => self.places = Some(taken),
        }
        Ok(())
    }

    fn all(&self, hook: Hook, is: impl Fn(&Plugin) -> bool) -> bool {
        self.instances.iter().map(Instance::plugin).filter(|plugin| plugin.has(hook)).all(is)
    }

    /// Asks all check plugins about a text.
    pub async fn check_sql(&mut self, text: &str, now_ms: u64) -> Result<SqlJudgement, Fault> {
        let hook = Hook::SqlCheck;
        self.take_places(Some(hook)).await?;
        let mut judgement = SqlJudgement {
            refusal: None,
            refused_by: None,
            risk: 0,
            findings: Vec::new(),
            statements: Vec::new(),
        };
        let request = sql_check::Request { text: text.to_owned(), now: now_ms };
        for instance in self.instances.iter_mut().filter(|instance| instance.plugin().has(hook)) {
            if text.len() > MAX_TEXT_BYTES {
                let detail = format!("the statement is longer than {MAX_TEXT_BYTES} bytes");
                return Err(instance.fault(hook, FaultKind::TooLarge, detail));
            }
            let response = instance.check_sql(&request).await?;
            let (assessment, statements) =
                wire::sql_response(response).map_err(|bad| instance.discard(hook, &bad))?;
            judgement.risk = judgement.risk.max(assessment.risk);
            judgement.findings.extend(assessment.findings);
            if judgement.statements.is_empty() {
                judgement.statements = statements;
            }
            if let Verdict::Refuse(refusal) = assessment.verdict {
                judgement.refusal = Some(refusal);
                judgement.refused_by = Some(instance.plugin().stamp().name.clone());
                break;
            }
        }
        if judgement.statements.is_empty() && judgement.refusal.is_none() {
            // Fails closed: allowed, and nothing is known of it. It may be anything.
            judgement.statements.push(StatementFacts::unknown());
        }
        Ok(judgement)
    }

    /// Asks all approval triggers; empty: nobody has to look.
    pub async fn holds(&mut self, operation: &OperationSummary<'_>) -> Result<Vec<HoldTerms>, Fault> {
        let hook = Hook::ApprovalTrigger;
        if !self.instances.iter().any(|instance| instance.plugin().has(hook)) {
            return Ok(Vec::new());
        }
        self.take_places(Some(hook)).await?;
        let request = approval_trigger::Request {
            protocol: operation.protocol.to_owned(),
            summary: cut(operation.text, MAX_SUMMARY_BYTES).to_owned(),
            classes: operation.classes.clone(),
            risk: operation.risk,
            findings: wire::to_findings(operation.findings),
            now: operation.now_ms,
        };
        let mut holds = Vec::new();
        for instance in self.instances.iter_mut().filter(|instance| instance.plugin().has(hook)) {
            if let Some(hold) = instance.decide(&request).await? {
                holds.push(wire::hold(hold).map_err(|bad| instance.discard(hook, &bad))?);
            }
        }
        Ok(merge_holds(holds))
    }

    /// Whether anything is masked at all. If not, nobody needs to look names up for it.
    pub fn has_masks(&self) -> bool {
        self.instances.iter().any(|instance| instance.plugin().has(Hook::ColumnMask))
    }

    /// Asks all masks whether statements may use what they use. The first refusal ends it; what one of them wants approved
    /// has to be.
    pub async fn check_use(
        &mut self,
        statements: &[StatementFacts],
        surroundings: &Surroundings,
        now_ms: u64,
    ) -> Result<UseJudgement, Fault> {
        let hook = Hook::ColumnMask;
        let mut judgement =
            UseJudgement { permission: Use::Allow, said_by: None, risk: 0, findings: Vec::new() };
        if !self.has_masks() {
            return Ok(judgement);
        }
        self.take_places(Some(hook)).await?;
        let context = wire::to_context(statements, surroundings, now_ms);
        for instance in self.instances.iter_mut().filter(|instance| instance.plugin().has(hook)) {
            let answer = instance.check_use(&context).await?;
            let answer = wire::answer(answer).map_err(|bad| instance.discard(hook, &bad))?;
            judgement.risk = judgement.risk.max(answer.risk);
            judgement.findings.extend(answer.findings);
            match answer.permission {
                Use::Allow => {}
                Use::Approve(why) if judgement.permission == Use::Allow => {
                    judgement.permission = Use::Approve(why);
                    judgement.said_by = Some(instance.plugin().stamp().name.clone());
                }
                Use::Approve(_) => {}
                Use::Refuse(why) => {
                    judgement.permission = Use::Refuse(why);
                    judgement.said_by = Some(instance.plugin().stamp().name.clone());
                    break;
                }
            }
        }
        Ok(judgement)
    }

    /// Asks all masks how a result's columns are treated. A refusal of any column refuses the result.
    pub async fn plan(
        &mut self,
        statements: &[StatementFacts],
        surroundings: &Surroundings,
        columns: &[Column],
        now_ms: u64,
    ) -> Result<PlanOutcome, Fault> {
        let hook = Hook::ColumnMask;
        let mut plan = MaskPlan { columns: Vec::new() };
        if columns.is_empty() || !self.has_masks() {
            return Ok(PlanOutcome::Plan(plan));
        }
        self.take_places(Some(hook)).await?;
        let request = column_mask::PlanRequest {
            context: wire::to_context(statements, surroundings, now_ms),
            columns: wire::to_columns(columns),
        };
        for (number, instance) in self.instances.iter_mut().enumerate() {
            if !instance.plugin().has(hook) {
                continue;
            }
            let answer = instance.plan(&request).await?;
            if answer.len() != columns.len() {
                let bad =
                    wire::Bad(FaultKind::BadAnswer, "a plan has another number of columns than the result");
                return Err(instance.discard(hook, &bad));
            }
            for ((index, column), treatment) in columns.iter().enumerate().zip(answer) {
                match wire::treatment(treatment).map_err(|bad| instance.discard(hook, &bad))? {
                    Treatment::Pass => {}
                    Treatment::Refuse(refusal) => return Ok(PlanOutcome::Refuse(refusal)),
                    Treatment::Mask(treatment) => plan.add(index, column, number, treatment),
                }
            }
        }
        plan.columns.sort_by_key(|column| column.index);
        Ok(PlanOutcome::Plan(plan))
    }

    /// Masks one batch for each column of [`MaskPlan::masked_columns`], in that order.
    pub async fn mask(
        &mut self,
        plan: &MaskPlan,
        batches: Vec<Batch>,
    ) -> Result<Result<Vec<Masked>, RuleRefusal>, Fault> {
        self.take_places(Some(Hook::ColumnMask)).await?;
        let mut work: Vec<Masked> = batches.into_iter().map(Masked::unseen).collect();
        for (number, instance) in self.instances.iter_mut().enumerate() {
            let mine = plan.steps_of(number);
            if mine.is_empty() {
                continue;
            }
            let hook = Hook::ColumnMask;
            let mut asked = Vec::with_capacity(mine.len());
            let mut before = Vec::with_capacity(mine.len());
            for (slot, column, treatment) in &mine {
                let Some(batch) = work.get_mut(*slot) else {
                    return Err(instance.fault(hook, FaultKind::BadAnswer, "a batch is missing"));
                };
                let batch = std::mem::replace(batch, Masked::unseen(Batch::default()));
                before.push((batch.changed(), batch.is_same()));
                asked.push(wire::to_batch(*treatment, column, batch));
            }
            let most = asked.iter().map(wire::most).fold(MASK_SLACK_BYTES, usize::saturating_add);
            let answer = match instance.mask(&asked, most).await? {
                Ok(answer) => answer,
                Err(refusal) => {
                    let refusal = wire::refusal(refusal).map_err(|bad| instance.discard(hook, &bad))?;
                    return Ok(Err(refusal));
                }
            };
            if answer.len() != mine.len() {
                let bad = wire::Bad(FaultKind::BadAnswer, "another number of batches came back");
                return Err(instance.discard(hook, &bad));
            }
            for (((slot, ..), (asked, before)), masked) in
                mine.iter().zip(asked.into_iter().zip(before)).zip(answer)
            {
                let masked = wire::masked(masked, asked).map_err(|bad| instance.discard(hook, &bad))?;
                if let Some(done) = work.get_mut(*slot) {
                    *done = masked.after(before);
                }
            }
        }
        Ok(Ok(work))
    }
}

impl MaskPlan {
    fn add(&mut self, index: usize, column: &Column, plugin: usize, treatment: u32) {
        match self.columns.iter_mut().find(|masked| masked.index == index) {
            Some(masked) => masked.steps.push((plugin, treatment)),
            None => self.columns.push(MaskedColumn {
                index,
                column: column.clone(),
                steps: vec![(plugin, treatment)],
            }),
        }
    }

    /// What one plugin has to do: slot in the batches, column, treatment.
    fn steps_of(&self, plugin: usize) -> Vec<(usize, &Column, u32)> {
        let mut steps = Vec::new();
        for (slot, masked) in self.columns.iter().enumerate() {
            if let Some((_, treatment)) = masked.steps.iter().find(|(number, _)| *number == plugin) {
                steps.push((slot, &masked.column, *treatment));
            }
        }
        steps
    }
}

/// The longest prefix of at most `most` bytes that ends at a character's border.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}
