//! From a plugin's bytes to something a session can instantiate: verify, discover, configure, snapshot, compile.
//!
//! The configured component is snapshotted, so that a session starts from finished patterns and tables. Compiled code
//! is cached under a key made of the plugin's digest, the configuration's hash and the engine's version (`cache.rs`).

use crate::bindings::exports::chaperone::plugin::{approval_trigger, column_mask, lifecycle, sql_check};
use crate::clock::{Clock, Running};
use crate::engine::{Engine, Inner};
use crate::fault::FaultKind;
use crate::instance::Hooks;
use crate::limits::{Limits, MAX_ANSWER_TEXT_BYTES, MAX_CONFIG_PROBLEMS, plain_line};
use crate::metrics::{Alive, Hook, HookMetrics};
use crate::store::{SessionFacts, StoreData, arm, bounded};
use crate::wasi;
use aws_lc_rs::digest::{SHA256, digest};
use chaperone_core::identity::CallerKind;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime_wizer::{WasmtimeWizerComponent, Wizer};

/// The largest plugin that is read, in bytes.
const MAX_PLUGIN_BYTES: u64 = 64 << 20;

/// Where a plugin's bytes come from.
#[derive(Debug, Clone)]
pub enum PluginSource {
    /// Part of the binary.
    BuiltIn {
        /// The component.
        wasm: &'static [u8],
        /// What it must hash to, if the operator pins it all the same.
        sha256: Option<[u8; 32]>,
    },
    /// A file, pinned by its SHA-256.
    File {
        /// The component.
        path: PathBuf,
        /// What it must hash to.
        sha256: [u8; 32],
    },
}

/// A mistake in a plugin's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// JSON pointer (RFC 6901) into the plugin's `config`.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

/// Why a plugin was not loaded. The gateway does not start without it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is over 64 MiB.
    #[error("{path}: larger than 64 MiB, no plugin needs that")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what was pinned.
    #[error(
        "{path}: its SHA-256 is {found}, but the configuration pins {expected}; if the new file is right, change the pin"
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// In hexadecimal.
        found: String,
        /// In hexadecimal.
        expected: String,
    },
    /// It is no component of the contract.
    #[error("not a plugin of contract chaperone:plugin@0.1: {0}")]
    Contract(String),
    /// It exports no hook.
    #[error("it exports no hook: a plugin exports at least one of sql-check, approval-trigger, column-mask")]
    NoHook,
    /// It refused its configuration.
    #[error("its configuration is wrong")]
    Config(Vec<ConfigProblem>),
    /// It broke while being configured or snapshotted.
    #[error("it failed while being configured: {0}")]
    Configure(String),
    /// It could not be compiled.
    #[error("it could not be compiled: {0}")]
    Compile(String),
}

/// What recordings and `check` say of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginStamp {
    /// The operator's name for it.
    pub name: String,
    /// The version it says it has.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// SHA-256 of the configuration's canonical JSON, in hexadecimal.
    pub config_hash: String,
    /// The hooks it exports.
    pub hooks: Vec<&'static str>,
}

/// A loaded, configured plugin.
pub struct Plugin {
    pub(crate) name: Arc<str>,
    pub(crate) stamp: PluginStamp,
    pub(crate) limits: Limits,
    pub(crate) pre: InstancePre<StoreData>,
    /// Keeps the engine's clock going: without it no deadline would ever be reached.
    pub(crate) engine: Engine,
    pub(crate) sql_check: Option<sql_check::GuestIndices>,
    pub(crate) approval_trigger: Option<approval_trigger::GuestIndices>,
    pub(crate) column_mask: Option<column_mask::GuestIndices>,
    metrics: [HookMetrics; 3],
    pub(crate) alive: Alive,
    /// It says that it answers the same question in the same way throughout a session.
    pub(crate) deterministic: bool,
    /// Its approval trigger may look at the operation's text.
    pub(crate) reads_text: bool,
}

impl Plugin {
    /// What it is.
    pub fn stamp(&self) -> &PluginStamp {
        &self.stamp
    }

    /// Whether it exports a hook.
    pub fn has(&self, hook: Hook) -> bool {
        match hook {
            Hook::SqlCheck => self.sql_check.is_some(),
            Hook::ApprovalTrigger => self.approval_trigger.is_some(),
            Hook::ColumnMask => self.column_mask.is_some(),
        }
    }

    /// How many instances of it sessions hold now.
    pub fn instances(&self) -> u64 {
        self.alive.read()
    }

    /// The counters of a hook.
    pub fn metrics(&self, hook: Hook) -> &HookMetrics {
        let [check, trigger, mask] = &self.metrics;
        match hook {
            Hook::SqlCheck => check,
            Hook::ApprovalTrigger => trigger,
            Hook::ColumnMask => mask,
        }
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads a plugin. Takes seconds the first time (it is compiled twice), milliseconds from the cache.
    pub async fn load(
        &self,
        name: &str,
        source: &PluginSource,
        config: &serde_json::Value,
        limits: Limits,
    ) -> Result<Arc<Plugin>, LoadError> {
        let wasm = read(source)?;
        let config = config.to_string();
        let digest_hex = hex(digest(&SHA256, &wasm).as_ref());
        let config_hash = hex(digest(&SHA256, config.as_bytes()).as_ref());
        let key = format!("{digest_hex}.{config_hash}");
        let name: Arc<str> = name.into();

        let run = &self.inner.run;
        let cache = self.inner.cache.as_ref();
        let component = match cache.and_then(|cache| cache.get(run, &key)) {
            Some(component) => component,
            None => {
                let snapshot = self.inner.configure(&name, &wasm, &config, &limits).await?;
                let component = Component::new(run, &snapshot)
                    .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
                if let Some(cache) = cache {
                    cache.put(run, &key, &component);
                }
                component
            }
        };
        let pre = link(&self.inner.run, &component).map_err(contract)?;
        let mut plugin = Plugin {
            sql_check: sql_check::GuestIndices::new(&pre).ok(),
            approval_trigger: approval_trigger::GuestIndices::new(&pre).ok(),
            column_mask: column_mask::GuestIndices::new(&pre).ok(),
            stamp: PluginStamp {
                name: name.to_string(),
                version: String::new(),
                digest: digest_hex,
                config_hash,
                hooks: Vec::new(),
            },
            name,
            limits,
            pre,
            engine: self.clone(),
            metrics: Default::default(),
            alive: Alive::default(),
            deterministic: false,
            reads_text: true,
        };
        discover(&mut plugin)?;
        let about = plugin.try_out().await?;
        plugin.stamp.version = about.version.chars().filter(char::is_ascii_graphic).take(64).collect();
        plugin.deterministic = about.deterministic;
        plugin.reads_text = about.reads_text;
        Ok(Arc::new(plugin))
    }
}

/// A hook counts only if the component exports the whole interface; one that exports something else under its name is
/// refused, not skipped: an author who meant to check must not end up with a plugin that does not.
fn discover(plugin: &mut Plugin) -> Result<(), LoadError> {
    let ty = plugin.pre.component().component_type();
    for (name, _) in ty.exports(plugin.pre.engine()) {
        let Some(interface) = name.strip_prefix("chaperone:plugin/") else { continue };
        let interface = interface.split_once('@').map_or(interface, |(interface, _)| interface);
        if interface == "lifecycle" {
            continue;
        }
        let known = Hook::ALL.into_iter().find(|hook| hook.as_str() == interface);
        match known {
            Some(hook) if plugin.has(hook) => plugin.stamp.hooks.push(hook.as_str()),
            Some(_) => {
                return Err(LoadError::Contract(format!(
                    "`{name}` does not have the types of this host's contract"
                )));
            }
            None => {
                return Err(LoadError::Contract(format!("`{name}` is a hook that this host does not know")));
            }
        }
    }
    // A component lists its exports in an order of its linker's choice.
    plugin.stamp.hooks.sort_unstable();
    if plugin.stamp.hooks.is_empty() { Err(LoadError::NoHook) } else { Ok(()) }
}

fn read(source: &PluginSource) -> Result<std::borrow::Cow<'static, [u8]>, LoadError> {
    match source {
        PluginSource::BuiltIn { wasm, sha256 } => {
            if let Some(expected) = sha256 {
                pinned(wasm, expected, Path::new("(built in)"))?;
            }
            Ok((*wasm).into())
        }
        PluginSource::File { path, sha256 } => {
            let failed = |source| LoadError::Read { path: path.clone(), source };
            let mut wasm = Vec::new();
            let file = std::fs::File::open(path).map_err(failed)?;
            let read = file.take(MAX_PLUGIN_BYTES + 1).read_to_end(&mut wasm).map_err(failed)?;
            if u64::try_from(read).is_ok_and(|read| read > MAX_PLUGIN_BYTES) {
                return Err(LoadError::TooLarge { path: path.clone() });
            }
            pinned(&wasm, sha256, path)?;
            Ok(wasm.into())
        }
    }
}

fn pinned(wasm: &[u8], expected: &[u8; 32], path: &Path) -> Result<(), LoadError> {
    let found = digest(&SHA256, wasm);
    if found.as_ref() == expected {
        return Ok(());
    }
    Err(LoadError::Digest { path: path.to_owned(), found: hex(found.as_ref()), expected: hex(expected) })
}

fn contract(error: wasmtime::Error) -> LoadError {
    LoadError::Contract(format!("{error:#}"))
}

fn link(engine: &wasmtime::Engine, component: &Component) -> wasmtime::Result<InstancePre<StoreData>> {
    let mut linker = Linker::new(engine);
    crate::bindings::Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |data: &mut StoreData| data)?;
    for (name, _) in component.component_type().imports(engine) {
        if !name.starts_with("chaperone:plugin/") && !name.starts_with("wasi:") {
            wasmtime::bail!("it imports `{name}`, which no plugin gets");
        }
    }
    wasi::close(engine, &mut linker, component)?;
    // Fails closed: what the contract's own interfaces lack is an error here, not a trap at the first call.
    linker.instantiate_pre(component)
}

/// A store for the gateway's own questions to a plugin, outside any session.
fn own_store<'c>(
    engine: &wasmtime::Engine,
    clock: &'c Clock,
    name: &Arc<str>,
    limits: &Limits,
) -> (Store<StoreData>, Running<'c>) {
    let facts = SessionFacts {
        principal: "chaperone".into(),
        caller_kind: CallerKind::Unknown,
        target: String::new(),
        groups: Vec::new(),
        requested_role: String::new(),
    };
    let mut store = bounded(engine, StoreData::new(Arc::clone(name), Arc::new(facts), limits));
    let running = arm(&mut store, clock, limits.configure_deadline, limits.log_lines_per_call);
    (store, running)
}

/// Why a call outside of any session failed.
fn failed(store: &Store<StoreData>, error: &wasmtime::Error) -> LoadError {
    LoadError::Configure(match FaultKind::of(store.data(), error) {
        FaultKind::Trapped => plain_line(&format!("{error:#}"), MAX_ANSWER_TEXT_BYTES),
        kind => format!("{} ({})", kind.as_str(), plain_line(&error.root_cause().to_string(), 200)),
    })
}

impl Plugin {
    /// Counts the time of its calls.
    pub(crate) fn clock(&self) -> &Clock {
        &self.engine.inner.clock
    }

    /// Makes one instance, looks whether its hooks have the contract's types, and asks what it says of itself. What is wrong
    /// with a plugin has to show here, not when the first session opens.
    async fn try_out(&self) -> Result<lifecycle::Description, LoadError> {
        let lifecycle = lifecycle::GuestIndices::new(&self.pre).map_err(contract)?;
        let (mut store, _running) = own_store(self.pre.engine(), self.clock(), &self.name, &self.limits);
        let instance = match self.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => return Err(failed(&store, &error)),
        };
        let hooks = Hooks::load(self, &mut store, &instance);
        hooks.map_err(|error| {
            LoadError::Contract(format!("a hook does not have the types of this host's contract: {error:#}"))
        })?;
        let guest = lifecycle.load(&mut store, &instance).map_err(contract)?;
        guest.call_describe(&mut store).await.map_err(|error| failed(&store, &error))
    }
}

impl Inner {
    /// Configures the plugin in a throw-away instance and takes its memory as the new start.
    async fn configure(
        &self,
        name: &Arc<str>,
        wasm: &[u8],
        config: &str,
        limits: &Limits,
    ) -> Result<Vec<u8>, LoadError> {
        let wizer = Wizer::new();
        let (context, instrumented) = wizer.instrument_component(wasm).map_err(contract)?;
        let component = Component::new(&self.prepare, &instrumented)
            .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        let pre = link(&self.prepare, &component).map_err(contract)?;
        let indices = lifecycle::GuestIndices::new(&pre).map_err(contract)?;

        let (mut store, _running) = own_store(&self.prepare, &self.clock, name, limits);
        let configure = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let guest = indices.load(&mut store, &instance)?;
            match guest.call_configure(&mut store, config).await? {
                Err(problems) => Ok(Err(problems)),
                Ok(()) => {
                    let mut state = WasmtimeWizerComponent { store: &mut store, instance };
                    wizer.snapshot_component(&context, &mut state).await.map(Ok)
                }
            }
        };
        match configure.await {
            Ok(Ok(snapshot)) => Ok(snapshot),
            Ok(Err(problems)) => Err(LoadError::Config(config_problems(problems))),
            Err(error) => Err(failed(&store, &error)),
        }
    }
}

/// Mistakes are shown to operators: as many as a person reads, in plain lines.
fn config_problems(problems: Vec<lifecycle::ConfigError>) -> Vec<ConfigProblem> {
    let line = |text: String| plain_line(&text, MAX_ANSWER_TEXT_BYTES);
    let problem = |error: lifecycle::ConfigError| ConfigProblem {
        pointer: line(error.pointer),
        message: line(error.message),
    };
    problems.into_iter().take(MAX_CONFIG_PROBLEMS).map(problem).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
