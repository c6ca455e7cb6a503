//! The wasmtime engine, its pool, its clock and its cache.

use crate::cache::Cache;
use crate::clock::Clock;
use crate::limits::MAX_TABLE_ELEMENTS;
use crate::slots::Slots;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// Address space reserved for each pooled memory. 4 GiB lets compiled code skip bounds checks; it costs no memory.
const RESERVATION_BYTES: u64 = 4 << 30;

/// Core instances of one component: the module, its adapter, and the shims that the component tooling adds.
const CORE_INSTANCES_PER_COMPONENT: u32 = 8;

/// The same as a store counts, which counts the component itself too.
pub(crate) const INSTANCES_PER_COMPONENT: usize = CORE_INSTANCES_PER_COMPONENT as usize + 1;

/// Tables of one component: its functions, and those of the shims.
pub(crate) const TABLES_PER_COMPONENT: usize = 2;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The most live plugin instances of all sessions together.
    pub max_instances: u32,
    /// How long a session waits for instances when all are in use, before what it wants is refused.
    pub instance_wait: Duration,
    /// The ceiling of any plugin's memory, in bytes; a plugin's own limit may be lower.
    pub max_memory_bytes: usize,
    /// Where compiled plugins are kept; none: compiled at each start.
    pub cache: Option<PathBuf>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            max_instances: 6_000,
            // Sessions give their instances back after a few seconds without work, and at once when others wait.
            instance_wait: Duration::from_secs(10),
            max_memory_bytes: 256 << 20,
            cache: None,
        }
    }
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refused the settings or the address space.
    #[error("the plugin engine could not start: {0}")]
    Wasmtime(String),
    /// The thread that counts time could not be started.
    #[error("the plugin engine's clock could not start: {0}")]
    Clock(#[source] std::io::Error),
    /// The cache folder cannot be trusted with machine code.
    #[error("the plugin cache {path} is not safe: {problem}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// Runs plugins. Cheap to clone; the clock stops with the last clone, and each loaded plugin holds one.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// For sessions: optimised code, pooled instances.
    pub(crate) run: wasmtime::Engine,
    /// For `configure`: quick to compile, used once.
    pub(crate) prepare: wasmtime::Engine,
    pub(crate) cache: Option<Cache>,
    pub(crate) slots: Slots,
    pub(crate) clock: Clock,
}

impl Engine {
    /// Starts the engine and its clock.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let open = |path: &PathBuf| {
            Cache::open(path).map_err(|problem| EngineError::Cache { path: path.clone(), problem })
        };
        let cache = config.cache.as_ref().map(open).transpose()?;
        let wasmtime = |error: wasmtime::Error| EngineError::Wasmtime(format!("{error:#}"));
        let run = wasmtime::Engine::new(&run_config(config)).map_err(wasmtime)?;
        let prepare = wasmtime::Engine::new(&prepare_config()).map_err(wasmtime)?;
        let slots = Slots::new(config.max_instances, config.instance_wait);
        let engines = [run.clone(), prepare.clone()];
        let tick = move || engines.iter().for_each(wasmtime::Engine::increment_epoch);
        let clock = Clock::start(tick).map_err(EngineError::Clock)?;
        Ok(Engine { inner: Arc::new(Inner { run, prepare, cache, slots, clock }) })
    }
}

fn base_config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(512 << 10);
    config.async_stack_size(1 << 20);
    // What no plugin needs is off, so that it is no part of the surface. (Reference types are what a
    // wasm32-wasip2 module uses for its function table.)
    config.wasm_threads(false);
    config.wasm_memory64(false);
    config.wasm_relaxed_simd(false);
    config
}

fn run_config(settings: &EngineConfig) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(settings.max_instances);
    pool.total_core_instances(settings.max_instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT));
    pool.total_memories(settings.max_instances);
    pool.total_tables(settings.max_instances.saturating_mul(TABLES_PER_COMPONENT as u32));
    // An instance keeps the stack of its last call, so that there must be one for each.
    pool.total_stacks(settings.max_instances);
    pool.max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT);
    pool.max_memories_per_component(1);
    pool.max_tables_per_component(TABLES_PER_COMPONENT as u32);
    pool.table_elements(MAX_TABLE_ELEMENTS);
    pool.max_memory_size(settings.max_memory_bytes);
    // A place that is given back keeps no memory: with thousands of sessions that are idle most of the time, what places keep
    // would be most of what the gateway holds, and faulting it in again is a small part of a session's start.
    pool.linear_memory_keep_resident(0);
    pool.table_keep_resident(0);
    pool.async_stack_keep_resident(0);
    let mut config = base_config();
    config.cranelift_opt_level(OptLevel::Speed);
    config.memory_reservation(RESERVATION_BYTES);
    config.memory_init_cow(true);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn prepare_config() -> Config {
    let mut config = base_config();
    config.cranelift_opt_level(OptLevel::None);
    config
}
