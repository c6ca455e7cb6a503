//! What every plugin has: a name, a typed configuration, and errors that say where the configuration is wrong.

use serde::de::DeserializeOwned;
use serde_json::Value;

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
    /// Set to true when `check`, `decide` and `plan` answer the same question in the same way throughout a session, whatever
    /// the time and whatever was asked before. The host then asks less often: it uses an answer again, for ten seconds at most. And
    /// a session that is idle gives the plugin's memory back: the next call meets a new instance.
    const DETERMINISTIC: bool = false;
    /// Set to false when `decide` never looks at the operation's text (`summary`): the host then uses an answer again for other
    /// texts with the same classes, risk and findings. Counts only together with [`Plugin::DETERMINISTIC`].
    const READS_TEXT: bool = true;

    /// Checks the configuration and builds the plugin; all mistakes at once.
    fn configure(config: Self::Config) -> Result<Self, Vec<ConfigError>>;
}

/// Mistakes that are listed at once; a configuration with more is worked on in rounds.
const MAX_MISTAKES: usize = 20;

/// Parses the operator's JSON and configures the plugin: the one way in, for the sandbox and for native tests.
///
/// First every part that does not have the right shape is listed, then [`Plugin::configure`] is asked.
pub fn configure<P: Plugin>(json: &str) -> Result<P, Vec<ConfigError>> {
    // Serde would read a list as the fields in their order; nobody means that.
    if !json.trim_start().starts_with('{') {
        return Err(vec![ConfigError::at("", "the configuration must be a JSON object")]);
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let config: P::Config =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| mistakes::<P::Config>(json, &error))?;
    reader.end().map_err(|error| vec![ConfigError::at("", error.to_string())])?;
    P::configure(config)
}

type ShapeError = serde_path_to_error::Error<serde_json::Error>;

/// Serde stops at the first mistake. To find the others, the part that holds it is taken out and the rest is read
/// again; pointers are those of the text as it was written.
fn mistakes<C: DeserializeOwned>(json: &str, first: &ShapeError) -> Vec<ConfigError> {
    let first = ConfigError::at(pointer_of(first.path()), first.inner().to_string());
    let Ok(mut rest) = serde_json::from_str::<Value>(json) else { return vec![first] };
    let mut found: Vec<ConfigError> = Vec::new();
    let mut taken = Taken::default();
    while found.len() < MAX_MISTAKES {
        let Err(error) = serde_path_to_error::deserialize::<_, C>(&rest) else { break };
        let message = error.inner().to_string();
        if taken.explains(&message) {
            break;
        }
        let written = taken.as_written(pointer_of(error.path()));
        found.push(ConfigError::at(written, message));
        if !taken.take(&mut rest, &pointer_of(error.path())) {
            break;
        }
    }
    // A key that is written twice is seen only by the reader of the text.
    if found.is_empty() { vec![first] } else { found }
}

/// What was taken out of a configuration: top-level keys, and entries of top-level lists by their written index.
#[derive(Default)]
struct Taken {
    keys: Vec<String>,
    entries: Vec<(String, usize)>,
}

impl Taken {
    fn take(&mut self, rest: &mut Value, pointer: &str) -> bool {
        let mut parts = pointer.split('/').skip(1);
        let (Some(key), index) = (parts.next(), parts.next()) else { return false };
        let Some(whole) = rest.as_object_mut() else { return false };
        if let (Some(Value::Array(list)), Some(Ok(index))) =
            (whole.get_mut(key), index.map(str::parse::<usize>))
            && index < list.len()
        {
            self.entries.push((key.to_owned(), self.written_index(key, index)));
            self.entries.sort_unstable();
            list.remove(index);
            return true;
        }
        let key = key.replace("~1", "/").replace("~0", "~");
        let was_there = whole.remove(&key).is_some();
        self.keys.push(key);
        was_there
    }

    fn written_index(&self, key: &str, mut index: usize) -> usize {
        for (_, taken) in self.entries.iter().filter(|(list, _)| list == key) {
            if *taken <= index {
                index += 1;
            }
        }
        index
    }

    fn as_written(&self, pointer: String) -> String {
        let mut parts: Vec<String> = pointer.split('/').map(str::to_owned).collect();
        if let [_, key, index, ..] = parts.as_mut_slice()
            && let Ok(number) = index.parse::<usize>()
        {
            *index = self.written_index(key, number).to_string();
        }
        parts.join("/")
    }

    /// "missing field `x`" is no news after `x` was taken out.
    fn explains(&self, message: &str) -> bool {
        self.keys.iter().any(|key| message == format!("missing field `{key}`"))
    }
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
