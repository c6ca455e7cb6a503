//! One plugin inside one session: an instance of its own, made when first needed, thrown away after a fault.

use crate::bindings::exports::chaperone::plugin::{approval_trigger, column_mask, sql_check};
use crate::fault::{Fault, FaultKind};
use crate::limits::{MAX_ANSWER_BYTES, plain_line};
use crate::load::Plugin;
use crate::metrics::{Counted, Hook};
use crate::store::{SessionFacts, SessionHandle, StoreData, arm, bounded};
use crate::wire::Bad;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::component::Resource;
use wasmtime::{Store, Trap};

/// The longest detail of a fault, in characters: enough for an operator, too little to carry data out.
const MAX_DETAIL_CHARACTERS: usize = 200;

/// A plugin's live instance in a session.
pub(crate) struct Instance {
    plugin: Arc<Plugin>,
    facts: Arc<SessionFacts>,
    live: Option<Live>,
}

struct Live {
    store: Store<StoreData>,
    hooks: Hooks,
    /// Last, so that what is not counted any more is gone.
    _counted: Counted,
}

/// The hooks of one instance, their types checked.
pub(crate) struct Hooks {
    sql_check: Option<sql_check::Guest>,
    approval_trigger: Option<approval_trigger::Guest>,
    column_mask: Option<column_mask::Guest>,
}

impl Hooks {
    /// Fails when an exported function does not have the type of the contract.
    pub(crate) fn load(
        plugin: &Plugin,
        store: &mut Store<StoreData>,
        instance: &wasmtime::component::Instance,
    ) -> wasmtime::Result<Self> {
        Ok(Hooks {
            sql_check: plugin.sql_check.as_ref().map(|it| it.load(&mut *store, instance)).transpose()?,
            approval_trigger: plugin
                .approval_trigger
                .as_ref()
                .map(|it| it.load(&mut *store, instance))
                .transpose()?,
            column_mask: plugin.column_mask.as_ref().map(|it| it.load(&mut *store, instance)).transpose()?,
        })
    }
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

    /// Makes the instance now. Its place in the pool is the caller's to have.
    pub(crate) async fn warm(&mut self) -> Result<(), Fault> {
        if self.live.is_none() {
            let made = Live::new(&self.plugin, &self.facts).await;
            self.live = Some(made.map_err(|error| self.no_instance(&format!("{error:#}")))?);
        }
        Ok(())
    }

    /// Whether [`Instance::rest`] may give it back: a plugin that keeps nothing between calls, which is what deterministic
    /// means. Another's state has to stay.
    pub(crate) fn can_rest(&self) -> bool {
        self.plugin.deterministic
    }

    /// Gives the instance back until the next call, if it may.
    pub(crate) fn rest(&mut self) {
        if self.can_rest() {
            self.live = None;
        }
    }

    /// There is none, and why.
    pub(crate) fn no_instance(&self, why: &str) -> Fault {
        let detail = plain_line(why, MAX_DETAIL_CHARACTERS);
        let plugin = self.plugin.name.to_string();
        Fault { plugin, hook: "instantiate", kind: FaultKind::NoInstance, detail }
    }

    /// A fault of a hook, counted.
    pub(crate) fn fault(&self, hook: Hook, kind: FaultKind, detail: impl Into<String>) -> Fault {
        self.plugin.metrics(hook).faulted();
        Fault { plugin: self.plugin.name.to_string(), hook: hook.as_str(), kind, detail: detail.into() }
    }

    pub(crate) async fn check_sql(
        &mut self,
        request: &sql_check::Request,
    ) -> Result<sql_check::Response, Fault> {
        let deadline = self.plugin.limits.check_deadline;
        self.call(Hook::SqlCheck, deadline, MAX_ANSWER_BYTES, async |live| match &live.hooks.sql_check {
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
        self.call(Hook::ApprovalTrigger, deadline, MAX_ANSWER_BYTES, async |live| {
            match &live.hooks.approval_trigger {
                Some(guest) => guest.call_decide(&mut live.store, session(), request).await,
                None => Err(missing()),
            }
        })
        .await
    }

    pub(crate) async fn check_use(
        &mut self,
        context: &column_mask::Context,
    ) -> Result<column_mask::Answer, Fault> {
        let deadline = self.plugin.limits.check_deadline;
        self.call(Hook::ColumnMask, deadline, MAX_ANSWER_BYTES, async |live| match &live.hooks.column_mask {
            Some(guest) => guest.call_check(&mut live.store, session(), context).await,
            None => Err(missing()),
        })
        .await
    }

    pub(crate) async fn plan(
        &mut self,
        request: &column_mask::PlanRequest,
    ) -> Result<Vec<column_mask::Treatment>, Fault> {
        let deadline = self.plugin.limits.check_deadline;
        self.call(Hook::ColumnMask, deadline, MAX_ANSWER_BYTES, async |live| match &live.hooks.column_mask {
            Some(guest) => guest.call_plan(&mut live.store, session(), request).await,
            None => Err(missing()),
        })
        .await
    }

    pub(crate) async fn mask(
        &mut self,
        batches: &[column_mask::Batch],
        answer_bytes: usize,
    ) -> Result<Result<Vec<column_mask::Masked>, crate::bindings::chaperone::plugin::types::Refusal>, Fault>
    {
        let deadline = self.plugin.limits.batch_deadline;
        self.call(Hook::ColumnMask, deadline, answer_bytes, async |live| match &live.hooks.column_mask {
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
        answer_bytes: usize,
        call: impl AsyncFnOnce(&mut Live) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        self.warm().await.inspect_err(|_| self.plugin.metrics(hook).faulted())?;
        // Taken out: an instance whose call is given up halfway, with its session, is never called again.
        let Some(mut live) = self.live.take() else {
            return Err(self.fault(hook, FaultKind::NoInstance, ""));
        };
        live.store.set_hostcall_fuel(answer_bytes);
        let running =
            arm(&mut live.store, self.plugin.clock(), deadline, self.plugin.limits.log_lines_per_call);
        let started = Instant::now();
        let answer = call(&mut live).await;
        drop(running);
        self.plugin.metrics(hook).called(started.elapsed());
        live.store.data_mut().tell_dropped_lines();
        match answer {
            Ok(answer) => {
                self.live = Some(live);
                Ok(answer)
            }
            Err(error) => {
                // Which trap it was is the operator's business, the backtrace is the author's.
                let cause = error
                    .downcast_ref::<Trap>()
                    .map_or_else(|| error.root_cause().to_string(), Trap::to_string);
                let detail = plain_line(&cause, MAX_DETAIL_CHARACTERS);
                Err(self.fault(hook, FaultKind::of(live.store.data(), &error), detail))
            }
        }
    }

    /// The answer broke the contract: the instance cannot be trusted any more.
    pub(crate) fn discard(&mut self, hook: Hook, bad: &Bad) -> Fault {
        self.live = None;
        self.fault(hook, bad.0, bad.1)
    }
}

fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("the plugin does not export this hook")
}

impl Live {
    async fn new(plugin: &Plugin, facts: &Arc<SessionFacts>) -> wasmtime::Result<Self> {
        let data = StoreData::new(Arc::clone(&plugin.name), Arc::clone(facts), &plugin.limits);
        let mut store = bounded(plugin.pre.engine(), data);
        let limits = &plugin.limits;
        let _running = arm(&mut store, plugin.clock(), limits.check_deadline, limits.log_lines_per_call);
        let instance = plugin.pre.instantiate_async(&mut store).await?;
        let hooks = Hooks::load(plugin, &mut store, &instance)?;
        Ok(Live { store, hooks, _counted: plugin.alive.count() })
    }
}
