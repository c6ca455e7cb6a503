//! What the host keeps beside one plugin instance, and what the plugin may call back.
//!
//! The session's facts are lent as a resource whose handle means nothing outside the one call: the store holds one
//! session only, so that a plugin cannot name another.

use crate::bindings::chaperone::plugin::host;
use crate::clock::{Clock, Running};
use crate::engine::{INSTANCES_PER_COMPONENT, TABLES_PER_COMPONENT};
use crate::limits::{Limits, MAX_ANSWER_BYTES, MAX_TABLE_ELEMENTS, plain_line, ticks};
use chaperone_core::identity::CallerKind;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::Resource;
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};

/// The longest line that a plugin may log, in characters.
const MAX_LOG_CHARACTERS: usize = 512;

/// The facts of a session that a plugin may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// `provider/tenant/object-id`.
    pub principal: String,
    /// What the credential proved.
    pub caller_kind: CallerKind,
    /// The target's name.
    pub target: String,
    /// Aliases of proved groups.
    pub groups: Vec<String>,
    /// The role asked for on the target.
    pub requested_role: String,
}

/// The type behind the WIT resource `session`; there is nothing in it, the store knows the one session.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct SessionHandle;

/// What the host keeps beside one instance.
pub(crate) struct StoreData {
    pub(crate) plugin: Arc<str>,
    pub(crate) facts: Arc<SessionFacts>,
    pub(crate) memory: MemoryGuard,
    pub(crate) log_budget: u32,
    pub(crate) log_dropped: u64,
    pub(crate) ticks_left: u64,
    pub(crate) deadline_hit: bool,
}

impl StoreData {
    pub(crate) fn new(plugin: Arc<str>, facts: Arc<SessionFacts>, limits: &Limits) -> Self {
        StoreData {
            plugin,
            facts,
            memory: MemoryGuard::new(limits.memory_bytes),
            log_budget: 0,
            log_dropped: 0,
            ticks_left: 0,
            deadline_hit: false,
        }
    }

    /// Lines over the budget are one line that says how many they were.
    pub(crate) fn tell_dropped_lines(&mut self) {
        let dropped = std::mem::take(&mut self.log_dropped);
        if dropped > 0 {
            tracing::warn!(plugin = &*self.plugin, dropped, "a plugin logged more lines than one call may");
        }
    }
}

/// A store with all bounds on: memory, tables, time, and what an answer may cost. Time runs from the next [`arm`].
pub(crate) fn bounded(engine: &Engine, data: StoreData) -> Store<StoreData> {
    let mut store = Store::new(engine, data);
    store.limiter(|data| &mut data.memory);
    store.set_hostcall_fuel(MAX_ANSWER_BYTES);
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
    store
}

/// Gives the next call its budget of time and log lines. Its time runs while the answer lives.
pub(crate) fn arm<'c>(
    store: &mut Store<StoreData>,
    clock: &'c Clock,
    deadline: Duration,
    log_lines: u32,
) -> Running<'c> {
    let data = store.data_mut();
    data.log_budget = log_lines;
    data.ticks_left = ticks(deadline);
    data.memory.refused = false;
    store.set_epoch_deadline(1);
    clock.run()
}

/// Refuses to grow over the ceiling, and remembers that it did: the fault is then told apart from other traps.
///
/// The pool bounds memories, tables and instances as well, but `configure` runs outside of the pool.
pub(crate) struct MemoryGuard {
    memory_bytes: usize,
    table_elements_left: usize,
    pub(crate) refused: bool,
}

impl MemoryGuard {
    fn new(memory_bytes: usize) -> Self {
        MemoryGuard { memory_bytes, table_elements_left: MAX_TABLE_ELEMENTS, refused: false }
    }
}

impl ResourceLimiter for MemoryGuard {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory_bytes.min(maximum.unwrap_or(usize::MAX));
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        // The pool's ceiling was below the plugin's own.
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let allowed = more <= self.table_elements_left && desired <= maximum.unwrap_or(usize::MAX);
        if allowed {
            self.table_elements_left -= more;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        INSTANCES_PER_COMPONENT
    }

    fn memories(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        TABLES_PER_COMPONENT
    }
}

impl host::Host for StoreData {
    fn log(&mut self, level: host::Level, message: String) {
        if self.log_budget == 0 {
            self.log_dropped += 1;
            return;
        }
        self.log_budget -= 1;
        let line = plain_line(&message, MAX_LOG_CHARACTERS);
        match level {
            host::Level::Error => tracing::error!(plugin = &*self.plugin, "{line}"),
            host::Level::Warn => tracing::warn!(plugin = &*self.plugin, "{line}"),
            host::Level::Info => tracing::info!(plugin = &*self.plugin, "{line}"),
            host::Level::Debug => tracing::debug!(plugin = &*self.plugin, "{line}"),
        }
    }
}

impl host::HostSession for StoreData {
    fn principal(&mut self, _: Resource<SessionHandle>) -> String {
        self.facts.principal.clone()
    }

    fn caller_kind(&mut self, _: Resource<SessionHandle>) -> host::CallerKind {
        match self.facts.caller_kind {
            CallerKind::Human => host::CallerKind::Human,
            CallerKind::Workload => host::CallerKind::Workload,
            CallerKind::Agent | CallerKind::AgentUser | CallerKind::HumanThroughAgent => {
                host::CallerKind::Agent
            }
            CallerKind::Unknown => host::CallerKind::Unknown,
        }
    }

    fn target(&mut self, _: Resource<SessionHandle>) -> String {
        self.facts.target.clone()
    }

    fn groups(&mut self, _: Resource<SessionHandle>) -> Vec<String> {
        self.facts.groups.clone()
    }

    fn requested_role(&mut self, _: Resource<SessionHandle>) -> String {
        self.facts.requested_role.clone()
    }

    fn drop(&mut self, _: Resource<SessionHandle>) -> wasmtime::Result<()> {
        // Only borrows are ever lent; the host owns nothing here that could be dropped.
        Ok(())
    }
}

// Interfaces that hold only types have no functions to offer.
impl crate::bindings::chaperone::plugin::types::Host for StoreData {}
impl crate::bindings::chaperone::plugin::sql_facts::Host for StoreData {}
