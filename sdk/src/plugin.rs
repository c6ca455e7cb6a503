//! What every plugin has: a name, a typed configuration, and errors that say where the configuration is wrong.

use serde::de::DeserializeOwned;

/// A mistake in a plugin's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, as a JSON pointer (RFC 6901); empty for the whole document.
    pub pointer: String,
    /// What is wrong and what would be right, in one sentence.
    pub message: String,
}

impl ConfigError {
    /// A mistake at `pointer`, e.g. `/rules/3/pattern`.
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigError { pointer: pointer.into(), message: message.into() }
    }
}

/// A plugin: a type that holds its compiled configuration and implements one trait for each hook.
///
/// `configure` runs once, before the host snapshots the plugin; every session starts from that snapshot. Build
/// patterns and tables there, not in the hooks.
pub trait Plugin: Sized + 'static {
    /// The configuration as the operator writes it. Derive `serde::Deserialize` with `deny_unknown_fields`.
    type Config: DeserializeOwned;

    /// Short name in kebab case.
    const NAME: &'static str;
    /// Version of the plugin, usually `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// One sentence for operators.
    const SUMMARY: &'static str;
    /// JSON Schema of [`Plugin::Config`].
    const CONFIG_SCHEMA: &'static str;

    /// Checks the configuration and builds the plugin; all mistakes at once.
    fn configure(config: Self::Config) -> Result<Self, Vec<ConfigError>>;
}

/// Parses the operator's JSON and configures the plugin: the one way in, for the sandbox and for native tests.
pub fn configure<P: Plugin>(json: &str) -> Result<P, Vec<ConfigError>> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let config: P::Config = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer_of(error.path());
        vec![ConfigError::at(pointer, error.into_inner().to_string())]
    })?;
    reader.end().map_err(|error| vec![ConfigError::at("", error.to_string())])?;
    P::configure(config)
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path.iter() {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.clone(),
            Segment::Enum { variant } => variant.clone(),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}
