//! Plugins: where each comes from, its pin, its own configuration and its limits.

use super::approving::MAX_APPROVER_GROUPS;
use super::decode::Item;
use super::names::{Kind, Names};
use super::node::{Entry, Node, Value};
use super::problem::{ProblemCode, Severity, nearest, quote};
use super::secret::Vault;
use super::subject::group_list;
use std::path::PathBuf;
use std::time::Duration;

/// The most plugins.
pub(crate) const MAX_PLUGINS: usize = 64;

/// A plugin that is embedded in the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// Checks SQL.
    SqlGuard,
    /// Masks columns.
    ColumnMask,
    /// Asks for a human's approval.
    ApprovalTrigger,
}

impl Builtin {
    /// All of them by name.
    pub const ALL: [(&'static str, Builtin); 3] = [
        ("sql-guard", Builtin::SqlGuard),
        ("column-mask", Builtin::ColumnMask),
        ("approval-trigger", Builtin::ApprovalTrigger),
    ];

    /// Its name behind `builtin:`.
    pub fn as_str(self) -> &'static str {
        match self {
            Builtin::SqlGuard => "sql-guard",
            Builtin::ColumnMask => "column-mask",
            Builtin::ApprovalTrigger => "approval-trigger",
        }
    }
}

/// Where a plugin comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginSource {
    /// The binary itself.
    Builtin(Builtin),
    /// A component's file; its digest is checked at load.
    File(PathBuf),
}

impl PluginSource {
    /// Whether it may check operations. What a file exports is known only when it is loaded.
    pub(crate) fn may_check(&self) -> bool {
        !matches!(self, PluginSource::Builtin(Builtin::ColumnMask | Builtin::ApprovalTrigger))
    }
}

/// A plugin's own configuration, secrets resolved. No `Debug`: it may hold a key.
#[derive(Clone)]
pub struct PluginConfig(serde_json::Value);

impl PluginConfig {
    /// What is handed to `configure`. It may hold secrets: never log it.
    pub fn expose(&self) -> &serde_json::Value {
        &self.0
    }
}

/// What one plugin may use, where the default is not wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginLimits {
    /// Linear memory of one instance, in bytes.
    pub memory: Option<u64>,
    /// For one check, plan or trigger call.
    pub check_deadline: Option<Duration>,
    /// For one batch of values.
    pub batch_deadline: Option<Duration>,
    /// For `configure`, at load.
    pub configure_deadline: Option<Duration>,
}

/// One plugin.
#[derive(Clone)]
pub struct Plugin {
    /// The name that targets list.
    pub name: String,
    /// Where it comes from.
    pub source: PluginSource,
    /// Its pin; always there for a file.
    pub sha256: Option<[u8; 32]>,
    /// Its own configuration.
    pub config: PluginConfig,
    /// Its limits.
    pub limits: PluginLimits,
}

impl Plugin {
    pub(crate) fn decode<'a>(item: &Item<'a>, vault: &Vault<'_>, names: &mut Names<'a>) -> Option<Self> {
        let mut fields = item.fields()?;
        let name = fields.need("name", "the name that targets list under `plugins`");
        let source = fields.need("source", "`builtin:sql-guard`, or the path of a component");
        let sha256 = fields.get("sha256");
        let config = fields.get("config");
        let limits = fields.get("limits");
        fields.finish();
        let name = name.and_then(|item| {
            let name = item.plain_name("a plugin's name")?;
            names.define(Kind::Plugin, name, &item);
            Some(name.to_owned())
        });
        let source = source.and_then(|item| decode_source(&item, vault));
        let pinned = sha256.is_some();
        if let (Some(PluginSource::File(path)), false) = (&source, pinned) {
            let help = format!("a plugin's file is pinned: run `sha256sum {}`", path.display());
            item.missing("sha256", &help);
        }
        let sha256 = sha256.and_then(|item| digest(&item));
        let limits = limits.map_or_else(|| Some(PluginLimits::default()), |item| decode_limits(&item));
        let json = match &config {
            Some(item) => {
                let guard = matches!(source, Some(PluginSource::Builtin(Builtin::ApprovalTrigger)));
                if guard {
                    approver_names(item, names);
                }
                match item.node.value {
                    Value::Map(_) => json(item, vault, ""),
                    _ => item.fields().and(None),
                }
            }
            None => Some(serde_json::Value::Object(serde_json::Map::new())),
        };
        Some(Plugin { name: name?, source: source?, sha256, config: PluginConfig(json?), limits: limits? })
    }
}

fn decode_source(item: &Item<'_>, vault: &Vault<'_>) -> Option<PluginSource> {
    let text = item.text("`builtin:NAME` or a path")?;
    let Some(name) = text.strip_prefix("builtin:") else {
        return super::edge::path(item, vault).map(PluginSource::File);
    };
    if let Some((_, builtin)) = Builtin::ALL.iter().find(|known| known.0 == name) {
        return Some(PluginSource::Builtin(*builtin));
    }
    let all = Builtin::ALL.map(|known| known.0);
    let help = match nearest(name, all) {
        Some(known) => format!("did you mean `builtin:{known}`?"),
        None => format!("there are {}", all.join(", ")),
    };
    item.invalid(format!("there is no built-in plugin {}", quote(name)), help);
    None
}

fn digest(item: &Item<'_>) -> Option<[u8; 32]> {
    let text = item.text("a SHA-256 in hexadecimal")?;
    let mut bytes = [0_u8; 32];
    let ascii = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pairs = (0..32).map(|index| text.get(index * 2..index * 2 + 2));
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        match pair.filter(|_| ascii).and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) => *byte = value,
            None => {
                item.invalid(
                    format!("{} is not a SHA-256", quote(text)),
                    "64 hexadecimal digits, quoted if they are all decimal",
                );
                return None;
            }
        }
    }
    Some(bytes)
}

fn decode_limits(item: &Item<'_>) -> Option<PluginLimits> {
    let mut fields = item.fields()?;
    let short = (Duration::from_millis(1), Duration::from_secs(10));
    let limits = PluginLimits {
        memory: fields.get("memory").and_then(|item| item.bytes(1 << 20, 1 << 30)),
        check_deadline: fields.get("check_deadline").and_then(|item| item.duration(short.0, short.1)),
        batch_deadline: fields.get("batch_deadline").and_then(|item| item.duration(short.0, short.1)),
        configure_deadline: fields
            .get("configure_deadline")
            .and_then(|item| item.duration(Duration::from_millis(100), Duration::from_secs(300))),
    };
    fields.finish();
    Some(limits)
}

/// Whether a key of a plugin's configuration holds a secret by its name.
fn is_secret_key(key: &str) -> bool {
    key.ends_with("_key") || key.ends_with("_secret")
}

/// YAML to JSON by the YAML 1.2 core schema, since only the plugin knows its types. `key` is the mapping key above.
fn json<'a>(item: &Item<'a>, vault: &Vault<'_>, key: &str) -> Option<serde_json::Value> {
    let below = |node: &'a Node, path: String| Item { node, path, ..item.clone() };
    match &item.node.value {
        Value::Scalar { text, plain } => scalar(item, text, *plain, vault, key),
        Value::List(nodes) => {
            let items = nodes.iter().enumerate();
            let values: Vec<_> = items
                .map(|(at, node)| json(&below(node, format!("{}[{at}]", item.path)), vault, key))
                .collect();
            values.into_iter().collect::<Option<Vec<_>>>().map(serde_json::Value::Array)
        }
        Value::Map(entries) => {
            let value = |entry: &'a Entry| {
                let item = below(&entry.value, format!("{}.{}", item.path, entry.key));
                (entry.key.clone(), json(&item, vault, &entry.key))
            };
            let values: Vec<_> = entries.iter().map(value).collect();
            let object: Option<serde_json::Map<_, _>> =
                values.into_iter().map(|(key, value)| Some((key, value?))).collect();
            object.map(serde_json::Value::Object)
        }
    }
}

fn scalar(
    item: &Item<'_>,
    text: &str,
    plain: bool,
    vault: &Vault<'_>,
    key: &str,
) -> Option<serde_json::Value> {
    let value = if plain { core_schema(text) } else { text.into() };
    // A password of digits is a password, too.
    if is_secret_key(key) && (value.is_string() || value.is_number()) {
        return vault.secret(item).map(|secret| secret.expose().into());
    }
    if value.is_string() && matches!(vault.reference(text), Some(Ok(_))) {
        item.problem(
            Severity::Warning,
            ProblemCode::NoEffect,
            format!("{} is handed to the plugin as it stands, not resolved", quote(text)),
            "secrets are resolved only under keys that end in `_key` or `_secret`",
        );
    }
    Some(value)
}

/// A plain scalar's JSON value (YAML 1.2.2, section 10.3.2).
fn core_schema(text: &str) -> serde_json::Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return serde_json::Value::Null,
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    let numeric = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if numeric {
        if let Ok(number) = text.parse::<i64>() {
            return number.into();
        }
        if let Some(number) = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            return number.into();
        }
    }
    text.into()
}

/// The approval trigger's configuration names groups under `approvers`, at whatever depth: they must exist, or the
/// hold would wait for nobody.
fn approver_names<'a>(item: &Item<'a>, names: &mut Names<'a>) {
    let below = |node: &'a Node, path: String| Item { node, path, ..item.clone() };
    match &item.node.value {
        Value::Scalar { .. } => {}
        Value::List(nodes) => {
            for (at, node) in nodes.iter().enumerate() {
                approver_names(&below(node, format!("{}[{at}]", item.path)), names);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                let item = below(&entry.value, format!("{}.{}", item.path, entry.key));
                let prefixed =
                    matches!(&entry.value.value, Value::Scalar { text, .. } if text.starts_with("group:"));
                if entry.key == "approvers" && prefixed {
                    // The plugin hands it back as it stands, and as it stands no group has that name.
                    item.invalid("a plugin names a group by its alias alone", "leave out the `group:`");
                } else if entry.key == "approvers" {
                    group_list(&item, MAX_APPROVER_GROUPS, names);
                } else {
                    approver_names(&item, names);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("true", json!(true)),
            ("yes", json!("yes")),
            ("12", json!(12)),
            ("-3", json!(-3)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("1.2.3", json!("1.2.3")),
            ("4111-1111", json!("4111-1111")),
            ("e", json!("e")),
            (".", json!(".")),
            ("inf", json!("inf")),
            ("1e999", json!("1e999")),
        ] {
            assert_eq!(core_schema(text), value, "{text}");
        }
    }
}
