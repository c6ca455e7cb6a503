//! From a plugin's bytes to something a session can instantiate: verify, discover, configure, snapshot, compile.
//!
//! The configured component is snapshotted, so that a session starts from finished patterns and tables. Compiled code
//! is cached under a key made of the plugin's digest, the configuration's hash and the engine's version; what the
//! cache holds is machine code, see `engine.rs` for why the folder has to be ours alone.

use crate::bindings::exports::chaperone::plugin::{approval_trigger, column_mask, lifecycle, sql_check};
use crate::engine::{Engine, Inner};
use crate::limits::{Limits, ticks};
use crate::metrics::{Hook, HookMetrics};
use crate::store::{SessionFacts, StoreData};
use crate::wasi;
use aws_lc_rs::digest::{SHA256, digest};
use chaperone_core::identity::CallerKind;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime_wizer::{WasmtimeWizerComponent, Wizer};

/// The largest plugin that is read, in bytes.
const MAX_PLUGIN_BYTES: u64 = 64 << 20;

/// Raised when the meaning of a cached file changes without wasmtime noticing (a new stub, a new contract).
const CACHE_GENERATION: u32 = 1;

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
    pub(crate) sql_check: Option<sql_check::GuestIndices>,
    pub(crate) approval_trigger: Option<approval_trigger::GuestIndices>,
    pub(crate) column_mask: Option<column_mask::GuestIndices>,
    metrics: [HookMetrics; 3],
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
        let cached = self.inner.cache_path(&digest_hex, &config_hash);
        let name: Arc<str> = name.into();

        let component = match cached.as_deref().and_then(|path| self.inner.cached(path)) {
            Some(component) => component,
            None => {
                let snapshot = self.inner.configure(&name, &wasm, &config, &limits).await?;
                self.inner.compile(&snapshot, cached.as_deref())?
            }
        };
        let pre = link(&self.inner.run, &component).map_err(contract)?;
        let plugin = Plugin {
            sql_check: sql_check::GuestIndices::new(&pre).ok(),
            approval_trigger: approval_trigger::GuestIndices::new(&pre).ok(),
            column_mask: column_mask::GuestIndices::new(&pre).ok(),
            stamp: PluginStamp {
                name: name.to_string(),
                version: version(&self.inner.run, &name, &pre, &limits).await?,
                digest: digest_hex,
                config_hash,
                hooks: Vec::new(),
            },
            name,
            limits,
            pre,
            metrics: Default::default(),
        };
        discover(plugin).map(Arc::new)
    }
}

/// A hook counts only if the component exports the whole interface; one that exports it with other types is refused,
/// not skipped: an author who meant to check must not end up with a plugin that does not.
fn discover(mut plugin: Plugin) -> Result<Plugin, LoadError> {
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
    if plugin.stamp.hooks.is_empty() { Err(LoadError::NoHook) } else { Ok(plugin) }
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
            if std::fs::metadata(path).map_err(failed)?.len() > MAX_PLUGIN_BYTES {
                return Err(LoadError::TooLarge { path: path.clone() });
            }
            let wasm = std::fs::read(path).map_err(failed)?;
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
    linker.instantiate_pre(component)
}

/// A store for the gateway's own questions to a plugin, outside any session.
fn own_store(engine: &wasmtime::Engine, name: &Arc<str>, limits: &Limits) -> Store<StoreData> {
    let facts = SessionFacts {
        principal: "chaperone".into(),
        caller_kind: CallerKind::Unknown,
        target: String::new(),
        groups: Vec::new(),
        requested_role: String::new(),
    };
    let mut data = StoreData::new(Arc::clone(name), Arc::new(facts), limits);
    data.log_budget = limits.log_lines_per_call;
    let mut store = Store::new(engine, data);
    store.limiter(|data| &mut data.memory);
    store.epoch_deadline_trap();
    store.set_epoch_deadline(ticks(limits.configure_deadline));
    store
}

async fn version(
    engine: &wasmtime::Engine,
    name: &Arc<str>,
    pre: &InstancePre<StoreData>,
    limits: &Limits,
) -> Result<String, LoadError> {
    let indices = lifecycle::GuestIndices::new(pre).map_err(contract)?;
    let mut store = own_store(engine, name, limits);
    let failed = |error: wasmtime::Error| LoadError::Configure(format!("{error:#}"));
    let instance = pre.instantiate_async(&mut store).await.map_err(failed)?;
    let guest = indices.load(&mut store, &instance).map_err(failed)?;
    let description = guest.call_describe(&mut store).await.map_err(failed)?;
    Ok(description.version.chars().filter(|c| c.is_ascii_graphic()).take(64).collect())
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

        let mut store = own_store(&self.prepare, name, limits);
        let failed = |error: wasmtime::Error| LoadError::Configure(format!("{error:#}"));
        let instance = pre.instantiate_async(&mut store).await.map_err(failed)?;
        let guest = indices.load(&mut store, &instance).map_err(failed)?;
        guest.call_configure(&mut store, config).await.map_err(failed)?.map_err(|problems| {
            let problem = |error: lifecycle::ConfigError| ConfigProblem {
                pointer: error.pointer,
                message: error.message,
            };
            LoadError::Config(problems.into_iter().map(problem).collect())
        })?;
        let mut state = WasmtimeWizerComponent { store: &mut store, instance };
        wizer.snapshot_component(&context, &mut state).await.map_err(failed)
    }

    fn compile(&self, snapshot: &[u8], cached: Option<&Path>) -> Result<Component, LoadError> {
        let failed = |error: wasmtime::Error| LoadError::Compile(format!("{error:#}"));
        let component = Component::new(&self.run, snapshot).map_err(failed)?;
        if let Some(path) = cached {
            let code = component.serialize().map_err(failed)?;
            if let Err(error) = write_whole(path, &code) {
                // Only the next start is slower; nothing is less safe.
                tracing::warn!(%error, "a compiled plugin could not be cached");
            }
        }
        Ok(component)
    }

    fn cache_path(&self, digest_hex: &str, config_hash: &str) -> Option<PathBuf> {
        let folder = self.cache.as_ref()?;
        let mut hasher = std::hash::DefaultHasher::new();
        self.run.precompile_compatibility_hash().hash(&mut hasher);
        CACHE_GENERATION.hash(&mut hasher);
        let key = format!("{digest_hex}.{config_hash}.{:016x}", hasher.finish());
        Some(folder.join(format!("{}.cwasm", hex(digest(&SHA256, key.as_bytes()).as_ref()))))
    }

    /// Loads machine code that this gateway compiled before; anything odd means: compile again.
    #[allow(unsafe_code)]
    fn cached(&self, path: &Path) -> Option<Component> {
        if !path.exists() {
            return None;
        }
        // SAFETY: the file was written by `compile` into a folder that only our user can write to (`trusted_folder`
        // in engine.rs checks that at start); wasmtime checks that it was made by this very version.
        match unsafe { Component::deserialize_file(&self.run, path) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(%error, "a cached plugin is not usable and will be compiled again");
                None
            }
        }
    }
}

/// Writes beside the goal and renames, so that a crash never leaves half a file under the name.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().ok_or_else(|| std::io::Error::other("the cache has no folder"))?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.persist(path)?;
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
