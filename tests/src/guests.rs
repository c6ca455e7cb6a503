//! The plugins that only tests load, and an engine to load them into.
//!
//! `hostile` is built by this package's build script; the kept ones are files of the repository. What is compiled of them
//! is cached beside the build, so that each test process does not compile them again.

use crate::sources::root;
use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use chaperone_core::identity::CallerKind;
use chaperone_hooks::{Chain, Engine, EngineConfig, Limits, LoadError, Plugin, PluginSource, SessionFacts};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The plugin that breaks every rule on request.
pub fn hostile() -> PathBuf {
    Path::new(env!("OUT_DIR")).join("hostile.wasm")
}

/// [`hostile`] under its own name, as `Setting::more_plugins` takes it.
pub fn hostile_entry() -> Result<(String, String)> {
    let path = hostile();
    let pin = sha256_hex(&path)?;
    let entry = format!("{{ name: hostile, source: {:?}, sha256: {pin:?}, config: {{}} }}", path.display());
    Ok(("hostile".into(), entry))
}

/// The plugin that was built against the first track and is kept.
pub fn kept() -> Result<PathBuf> {
    Ok(root()?.join("tests/guests/kept/plain-0.1.0.wasm"))
}

/// A configuration for [`kept`].
pub fn kept_config() -> Value {
    serde_json::json!({ "refuse": "forbidden" })
}

/// The SHA-256 of a file.
pub fn sha256(path: &Path) -> Result<[u8; 32]> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(digest(&SHA256, &bytes).as_ref().try_into()?)
}

/// The SHA-256 of a file, as configurations write it.
pub fn sha256_hex(path: &Path) -> Result<String> {
    Ok(sha256(path)?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A file, pinned by what it holds now.
pub fn source(path: &Path) -> Result<PluginSource> {
    Ok(PluginSource::File { path: path.to_owned(), sha256: sha256(path)? })
}

/// A copy of a component in which one name is another of the same length. Names in a component are plain text, so that
/// the copy is as well-formed as the original, and only its contract differs.
pub fn renamed(path: &Path, to: &Path, name: &str, new: &str) -> Result<PluginSource> {
    ensure!(name.len() == new.len(), "lengths are written in front of names");
    let mut bytes = std::fs::read(path)?;
    let mut from = 0;
    let mut count = 0;
    while let Some(at) = find(bytes.get(from..).unwrap_or_default(), name.as_bytes()) {
        let end = from + at + name.len();
        bytes.get_mut(from + at..end).context("found there")?.copy_from_slice(new.as_bytes());
        (from, count) = (end, count + 1);
    }
    ensure!(count > 0, "{} does not hold {name}", path.display());
    std::fs::write(to, bytes)?;
    source(to)
}

fn find(bytes: &[u8], name: &[u8]) -> Option<usize> {
    bytes.windows(name.len()).position(|window| window == name)
}

/// An engine for few sessions: the pool of a real one takes more address space than a process has for many engines. Nobody
/// waits for an instance for long.
pub fn engine(max_instances: u32) -> Result<Engine> {
    engine_with_patience(max_instances, Duration::from_millis(20))
}

/// The same; `patience` is how long a session waits for instances.
pub fn engine_with_patience(max_instances: u32, patience: Duration) -> Result<Engine> {
    let cache = Some(Path::new(env!("OUT_DIR")).join("compiled"));
    Ok(Engine::new(&EngineConfig {
        max_instances,
        instance_wait: patience,
        cache,
        ..EngineConfig::default()
    })?)
}

/// Deadlines that only a plugin that never ends reaches, and not before long.
pub fn patient() -> Limits {
    let long = Duration::from_secs(60);
    Limits { check_deadline: long, batch_deadline: long, ..Limits::default() }
}

/// Deadlines for plugins that never end.
pub fn hasty() -> Limits {
    let short = Duration::from_millis(20);
    Limits { check_deadline: short, batch_deadline: short, configure_deadline: short, ..Limits::default() }
}

/// Loads [`hostile`] with `configure` as the word for its configuration.
pub async fn load_hostile(
    engine: &Engine,
    configure: &str,
    limits: Limits,
) -> Result<Arc<Plugin>, LoadError> {
    let source = source(&hostile()).map_err(|error| LoadError::Configure(error.to_string()))?;
    engine.load("hostile", &source, &Value::String(format!("hostile:{configure}")), limits).await
}

/// A target's chain with only [`hostile`] in it.
pub async fn hostile_chain(engine: &Engine, limits: Limits) -> Result<Chain> {
    Ok(Chain::new(vec![load_hostile(engine, "", limits).await?])?)
}

/// Some session.
pub fn facts() -> SessionFacts {
    SessionFacts {
        principal: "test/tenant/object".into(),
        caller_kind: CallerKind::AgentUser,
        target: "shop".into(),
        groups: vec!["agents".into(), "night".into()],
        requested_role: "app".into(),
    }
}
