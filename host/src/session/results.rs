//! Results: how columns are treated, and masking a batch of values.

use super::Session;
use super::operation::{Judged, rule_refusal};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::sql::{Column, Surroundings};
use chaperone_hooks::{Batch, Hook, MaskPlan, Masked, PlanOutcome};

/// How a result is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// It may be shown, with these columns masked.
    Show(MaskPlan),
    /// It must not be shown.
    Refuse(Refusal),
}

impl Session {
    /// Asks the masks about a result's columns. A fault refuses the result.
    pub async fn plan(
        &mut self,
        judged: &Judged,
        surroundings: &Surroundings,
        columns: &[Column],
    ) -> Planned {
        let now_ms = self.now_ms();
        let planned = self.hooks.plan(judged.facts_for_masks(), surroundings, columns, now_ms).await;
        self.tick();
        match planned {
            Ok(PlanOutcome::Plan(plan)) => Planned::Show(plan),
            Ok(PlanOutcome::Refuse(rule)) => {
                Planned::Refuse(rule_refusal(RefusalCode::MaskImpossible, &rule))
            }
            Err(fault) => Planned::Refuse(self.fault(judged.operation, &fault)),
        }
    }

    /// Whether a plan may be used again for the same facts and columns.
    pub fn plans_are_deterministic(&self) -> bool {
        self.hooks.is_deterministic(Hook::ColumnMask)
    }

    /// Masks one batch for each masked column of the plan.
    pub async fn mask(
        &mut self,
        operation: u64,
        plan: &MaskPlan,
        batches: Vec<Batch>,
    ) -> Result<Vec<Masked>, Refusal> {
        let masked = self.hooks.mask(plan, batches).await;
        self.tick();
        match masked {
            Ok(Ok(masked)) => Ok(masked),
            Ok(Err(rule)) => Err(rule_refusal(RefusalCode::MaskImpossible, &rule)),
            Err(fault) => Err(self.fault(operation, &fault)),
        }
    }
}
