//! One plugin inside one session: an instance of its own, made when first needed, thrown away after a fault.

use crate::bindings::exports::chaperone::plugin::{approval_trigger, column_mask, sql_check};
use crate::fault::{Fault, FaultKind};
use crate::limits::ticks;
use crate::load::Plugin;
use crate::metrics::Hook;
use crate::store::{SessionFacts, SessionHandle, StoreData};
use crate::wire::Bad;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::Resource;
use wasmtime::{Store, Trap, UpdateDeadline};

/// A plugin's live instance in a session.
pub(crate) struct Instance {
    plugin: Arc<Plugin>,
    facts: Arc<SessionFacts>,
    live: Option<Live>,
}

struct Live {
    store: Store<StoreData>,
    sql_check: Option<sql_check::Guest>,
    approval_trigger: Option<approval_trigger::Guest>,
    column_mask: Option<column_mask::Guest>,
}

/// The session's handle, lent for one call; the number means nothing.
fn session() -> Resource<SessionHandle> {
    Resource::new_borrow(0)
}

impl Instance {
    pub(crate) fn new(plugin: Arc<Plugin>, facts: Arc<SessionFacts>) -> Self {
        Instance { plugin, facts, live: None }
    }

    pub(crate) fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Makes the instance now, so that the first operation does not pay for it and a full pool is found at the start.
    pub(crate) async fn warm(&mut self) -> Result<(), Fault> {
        if self.live.is_none() {
            let made = Live::new(&self.plugin, &self.facts).await;
            self.live = Some(made.map_err(|error| self.no_instance(&error))?);
        }
        Ok(())
    }

    fn no_instance(&self, error: &wasmtime::Error) -> Fault {
        self.fault("instantiate", FaultKind::NoInstance, bounded(&format!("{error:#}")))
    }

    pub(crate) fn fault(&self, hook: &'static str, kind: FaultKind, detail: impl Into<String>) -> Fault {
        Fault { plugin: self.plugin.name.to_string(), hook, kind, detail: detail.into() }
    }

    pub(crate) async fn check_sql(
        &mut self,
        request: &sql_check::Request,
    ) -> Result<sql_check::Response, Fault> {
        let deadline = self.plugin.limits.check_deadline;
        self.call(Hook::SqlCheck, deadline, async |live| match &live.sql_check {
            Some(guest) => guest.call_check(&mut live.store, session(), request).await,
            None => Err(missing()),
        })
        .await
    }

    pub(crate) async fn decide(
        &mut self,
        request: &approval_trigger::Request,
    ) -> Result<Option<approval_trigger::Hold>, Fault> {
        let deadline = self.plugin.limits.check_deadline;
        self.call(Hook::ApprovalTrigger, deadline, async |live| match &live.approval_trigger {
            Some(guest) => guest.call_decide(&mut live.store, session(), request).await,
            None => Err(missing()),
        })
        .await
    }

    pub(crate) async fn plan(
        &mut self,
        request: &column_mask::PlanRequest,
    ) -> Result<Vec<column_mask::Treatment>, Fault> {
        let deadline = self.plugin.limits.check_deadline;
        self.call(Hook::ColumnMask, deadline, async |live| match &live.column_mask {
            Some(guest) => guest.call_plan(&mut live.store, session(), request).await,
            None => Err(missing()),
        })
        .await
    }

    pub(crate) async fn mask(
        &mut self,
        batches: &[column_mask::Batch],
    ) -> Result<Result<Vec<column_mask::Masked>, crate::bindings::chaperone::plugin::types::Refusal>, Fault>
    {
        let deadline = self.plugin.limits.batch_deadline;
        self.call(Hook::ColumnMask, deadline, async |live| match &live.column_mask {
            Some(guest) => guest.call_mask(&mut live.store, session(), batches).await,
            None => Err(missing()),
        })
        .await
    }

    /// Every call goes through here: budget, deadline, metrics, and the instance is gone after a fault.
    async fn call<T>(
        &mut self,
        hook: Hook,
        deadline: Duration,
        call: impl AsyncFnOnce(&mut Live) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        self.warm().await?;
        let Some(live) = self.live.as_mut() else {
            return Err(self.fault(hook.as_str(), FaultKind::NoInstance, ""));
        };
        live.arm(deadline, self.plugin.limits.log_lines_per_call);
        let started = Instant::now();
        let answer = call(live).await;
        self.plugin.metrics(hook).record(started.elapsed(), answer.is_err());
        answer.map_err(|error| self.broke(hook.as_str(), &error))
    }

    fn broke(&mut self, hook: &'static str, error: &wasmtime::Error) -> Fault {
        let kind = match self.live.take() {
            Some(live) if live.store.data().deadline_hit => FaultKind::Deadline,
            Some(live) if live.store.data().memory.refused => FaultKind::Memory,
            _ => FaultKind::Trapped,
        };
        // The backtrace is the plugin's business; which trap it was is the operator's.
        let detail =
            error.downcast_ref::<Trap>().map_or_else(|| error.root_cause().to_string(), Trap::to_string);
        self.fault(hook, kind, bounded(&detail))
    }

    /// The answer broke the contract: the instance cannot be trusted any more.
    pub(crate) fn discard(&mut self, hook: &'static str, bad: &Bad) -> Fault {
        self.live = None;
        self.fault(hook, bad.0, bad.1)
    }
}

fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the plugin does not export this hook")
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

impl Live {
    async fn new(plugin: &Plugin, facts: &Arc<SessionFacts>) -> wasmtime::Result<Self> {
        let data = StoreData::new(Arc::clone(&plugin.name), Arc::clone(facts), &plugin.limits);
        let mut store = Store::new(plugin.pre.engine(), data);
        store.limiter(|data| &mut data.memory);
        store.epoch_deadline_callback(|mut context| {
            let data = context.data_mut();
            data.ticks_left = data.ticks_left.saturating_sub(1);
            if data.ticks_left == 0 {
                data.deadline_hit = true;
                return Ok(UpdateDeadline::Interrupt);
            }
            // Other sessions of this thread get their turn at each tick.
            Ok(UpdateDeadline::Yield(1))
        });
        store.data_mut().ticks_left = ticks(plugin.limits.check_deadline);
        store.set_epoch_deadline(1);
        let instance = plugin.pre.instantiate_async(&mut store).await?;
        let sql_check = plugin.sql_check.as_ref().map(|it| it.load(&mut store, &instance)).transpose()?;
        let approval_trigger =
            plugin.approval_trigger.as_ref().map(|it| it.load(&mut store, &instance)).transpose()?;
        let column_mask = plugin.column_mask.as_ref().map(|it| it.load(&mut store, &instance)).transpose()?;
        Ok(Live { store, sql_check, approval_trigger, column_mask })
    }

    fn arm(&mut self, deadline: Duration, log_lines: u32) {
        let data = self.store.data_mut();
        data.log_budget = log_lines;
        data.ticks_left = ticks(deadline);
        self.store.set_epoch_deadline(1);
    }
}
