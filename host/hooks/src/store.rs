//! What the host keeps beside one plugin instance, and what the plugin may call back.
//!
//! The session's facts are lent as a resource whose handle means nothing outside the one call: the store holds one
//! session only, so that a plugin cannot name another.

use crate::bindings::chaperone::plugin::host;
use crate::limits::Limits;
use chaperone_core::identity::CallerKind;
use std::sync::Arc;
use wasmtime::component::Resource;
use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};

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
}

/// Refuses to grow over the ceiling, and remembers that it did: the fault is then told apart from other traps.
pub(crate) struct MemoryGuard {
    limits: StoreLimits,
    pub(crate) refused: bool,
}

impl MemoryGuard {
    fn new(memory_bytes: usize) -> Self {
        // One memory, and a few small tables and instances, is what a component made by wasm32-wasip2 has.
        let limits = StoreLimitsBuilder::new().memory_size(memory_bytes).build();
        MemoryGuard { limits, refused: false }
    }
}

impl ResourceLimiter for MemoryGuard {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = self.limits.memory_growing(current, desired, maximum)?;
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }
}

impl host::Host for StoreData {
    fn log(&mut self, level: host::Level, message: String) {
        if self.log_budget == 0 {
            self.log_dropped += 1;
            return;
        }
        self.log_budget -= 1;
        // A plugin's words are not the gateway's: control characters could forge lines in an operator's terminal.
        let line: String = message.chars().take(512).map(|c| if c.is_control() { ' ' } else { c }).collect();
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
