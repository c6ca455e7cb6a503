//! The configuration: a preset, rules before it, and the risk of each class.

use crate::classes::Class;
use crate::rules::{Action, Preset, Rule, Rules};
use chaperone_sdk::ConfigError;
use serde::Deserialize;
use std::collections::BTreeMap;

/// JSON Schema of [`Config`].
pub(crate) const SCHEMA: &str = include_str!("../config.schema.json");

/// Bytes of one text, unless configured: more than people and drivers write, little enough to parse in time.
const DEFAULT_MAX_BYTES: usize = 256 * 1024;
/// What `max_bytes` may be set to; the tree of a text takes about sixty times its size.
const HIGHEST_MAX_BYTES: usize = 1024 * 1024;
/// Rules are tried in order for every relation of every statement.
const MAX_RULES: usize = 1_000;

/// The configuration as the operator writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What happens to classes that no rule decides.
    #[serde(default)]
    pub(crate) preset: Preset,
    /// Tried in order, before the preset.
    #[serde(default)]
    pub(crate) rules: Vec<RuleConfig>,
    /// Functions of unknown effect that may be called, as patterns.
    #[serde(default)]
    pub(crate) functions: Vec<String>,
    /// Risk of a class, 0 to 100, instead of the built-in one.
    #[serde(default)]
    pub(crate) risk: BTreeMap<String, u8>,
    /// Longest text that is parsed, in bytes.
    #[serde(default)]
    pub(crate) max_bytes: Option<usize>,
}

/// One rule as the operator writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleConfig {
    class: Option<String>,
    relation: Option<String>,
    schema: Option<String>,
    function: Option<String>,
    action: Action,
    risk: Option<u8>,
    message: Option<String>,
    hint: Option<String>,
}

/// The bounds and rules that a valid configuration means.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) max_bytes: usize,
    pub(crate) rules: Rules,
}

impl Config {
    /// Checks everything; all mistakes at once.
    pub(crate) fn build(self) -> Result<Settings, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let max_bytes = self.max_bytes.unwrap_or(DEFAULT_MAX_BYTES);
        if max_bytes == 0 || max_bytes > HIGHEST_MAX_BYTES {
            errors.push(ConfigError::at("/max_bytes", format!("must be 1 to {HIGHEST_MAX_BYTES} (1 MiB)")));
        }
        for (field, length) in [("/rules", self.rules.len()), ("/functions", self.functions.len())] {
            if length > MAX_RULES {
                errors.push(ConfigError::at(field, format!("holds more than {MAX_RULES} entries")));
            }
        }
        let mut risks = BTreeMap::new();
        for (name, risk) in &self.risk {
            let pointer = format!("/risk/{}", name.replace('~', "~0").replace('/', "~1"));
            match Class::ALL.iter().find(|class| class.name() == name) {
                Some(class) => risks.insert(class.name(), *risk),
                None => {
                    errors.push(ConfigError::at(&pointer, no_class(name)));
                    None
                }
            };
            if *risk > 100 {
                errors.push(ConfigError::at(pointer, "must be 0 to 100"));
            }
        }
        let rules = self.rules.into_iter().enumerate();
        let mut rules: Vec<Rule> =
            rules.map(|(index, rule)| rule.build(&format!("/rules/{index}"), &mut errors)).collect();
        // Behind the rules, which may refuse some of them, and before the preset.
        let functions = self.functions.into_iter().enumerate();
        rules.extend(functions.map(|(index, pattern)| {
            if has_empty_part(&pattern) {
                errors.push(ConfigError::at(format!("/functions/{index}"), EMPTY_PART));
            }
            Rule::allowing(pattern)
        }));
        let risks =
            Class::ALL.iter().map(|class| *risks.get(class.name()).unwrap_or(&class.base_risk())).collect();
        if errors.is_empty() {
            Ok(Settings { max_bytes, rules: Rules::new(self.preset, rules, risks) })
        } else {
            Err(errors)
        }
    }
}

impl RuleConfig {
    fn build(self, at: &str, errors: &mut Vec<ConfigError>) -> Rule {
        let mut wrong =
            |field: &str, message: String| errors.push(ConfigError::at(format!("{at}{field}"), message));
        if self.class.is_none() && self.relation.is_none() && self.schema.is_none() && self.function.is_none()
        {
            wrong(
                "",
                "names nothing that it applies to: give a `class`, `relation`, `schema` or `function`".into(),
            );
        }
        if self.function.is_some() && (self.relation.is_some() || self.schema.is_some()) {
            let message =
                "cannot stand beside `relation` or `schema`: a call has no relation; write `schema.function`";
            wrong("/function", message.into());
        }
        if self.schema.is_some() && self.relation.as_deref().is_some_and(|relation| relation.contains('.')) {
            wrong("/schema", "cannot stand beside a `relation` with a schema of its own".into());
        }
        for (field, pattern) in
            [("relation", &self.relation), ("schema", &self.schema), ("function", &self.function)]
        {
            if pattern.as_deref().is_some_and(has_empty_part) {
                wrong(&format!("/{field}"), EMPTY_PART.into());
            }
        }
        if let Some(class) = self.class.as_deref()
            && class != "*"
        {
            let name = class.strip_suffix(".*").unwrap_or(class);
            if !Class::ALL.iter().any(|known| known.is_within(name)) {
                wrong("/class", no_class(class));
            }
        }
        if self.risk.is_some_and(|risk| risk > 100) {
            wrong("/risk", "must be 0 to 100".into());
        }
        match (self.action, self.risk) {
            (Action::Risk, None) => wrong("", "has the action `risk` and no `risk`".into()),
            (Action::Refuse, Some(_)) => {
                wrong("/risk", "has no effect: what is refused is not weighed".into())
            }
            _ => (),
        }
        Rule {
            class: self.class,
            relation: self.relation,
            schema: self.schema,
            function: self.function,
            action: self.action,
            risk: self.risk,
            message: self.message,
            hint: self.hint,
        }
    }
}

const EMPTY_PART: &str = "has an empty part; `*` stands for any name";

fn has_empty_part(pattern: &str) -> bool {
    pattern.split('.').any(str::is_empty)
}

fn no_class(name: &str) -> String {
    let common = |class: &Class| class.name().bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let near = |class: &Class| (common(class), std::cmp::Reverse(class.name().len()));
    match Class::ALL.iter().copied().max_by_key(near).filter(|class| common(class) >= 3) {
        Some(near) => format!("`{name}` is no class of statements; did you mean `{near}`?"),
        None => format!("`{name}` is no class of statements; the README of sql-guard lists them"),
    }
}
