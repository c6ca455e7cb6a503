//! The configuration as the operator writes it, and the check that it means something.
//!
//! A rule that can never do anything is a mistake, not a default: an operator who wrote it believes to be protected.

use crate::detect::{Confidence, ContentRule, Detector};
use crate::rules::{ColumnRule, Computed, Pattern, Predicate, Trusted};
use crate::strategy::{HashKey, Strategy};
use chaperone_sdk::ConfigError;
use serde::Deserialize;

/// Most column rules: each is compared with each column of each row description.
pub const MAX_COLUMN_RULES: usize = 1000;
/// Most entries of `trusted`: each is compared with each function that a statement calls.
pub const MAX_TRUSTED: usize = 1000;
/// Most content rules: each may look at each value.
pub const MAX_CONTENT_RULES: usize = 50;
/// Shortest `hash_key` in bytes: 128 bits, if they are random. SSNs are few; a guessable key gives them all away.
pub const MIN_HASH_KEY_BYTES: usize = 16;

/// `config` of the plugin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Columns that are hidden by name.
    #[serde(default)]
    pub columns: Vec<ColumnEntry>,
    /// What is hidden wherever it is found.
    #[serde(default)]
    pub content: Vec<ContentEntry>,
    /// What becomes of computed columns that may hold a hidden one.
    #[serde(default)]
    pub computed: Computed,
    /// Functions and foreign tables that return nothing hidden, as `schema.name`.
    #[serde(default)]
    pub trusted: Vec<String>,
    /// The key of the strategy `hash`; the host has resolved a reference before.
    #[serde(default)]
    pub hash_key: Option<String>,
    /// What becomes of a result that cannot be masked. There is one answer; the key exists to be read.
    #[serde(default)]
    pub unmaskable: Unmaskable,
}

/// What becomes of a result that cannot be masked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmaskable {
    /// The client gets an error instead of the result.
    #[default]
    Refuse,
}

/// An entry of `columns`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnEntry {
    /// `schema.table.column`, with `*` in each part.
    pub r#match: String,
    /// How its values look afterwards.
    pub strategy: Strategy,
    /// Overrides [`Config::computed`] for this rule.
    #[serde(default)]
    pub computed: Option<Computed>,
    /// The column may not even be guessed at: no statement decides by it unless `predicate` says so.
    #[serde(default)]
    pub secret: bool,
    /// What becomes of statements that decide by it.
    #[serde(default)]
    pub predicate: Option<Predicate>,
}

/// An entry of `content`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentEntry {
    /// What is looked for.
    pub kind: ContentKind,
    /// The regular expression of kind `regex`.
    #[serde(default)]
    pub pattern: Option<String>,
    /// What a `regex` finds, in words, for the reader of the configuration.
    #[serde(default)]
    pub name: Option<String>,
    /// How what was found looks afterwards.
    pub strategy: Strategy,
    /// How sure the detector must be.
    #[serde(default)]
    pub confidence: Option<Confidence>,
}

/// What a content rule looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentKind {
    /// Payment card numbers.
    Card,
    /// Social security numbers of the United States.
    Ssn,
    /// E-mail addresses.
    Email,
    /// International bank account numbers.
    Iban,
    /// Telephone numbers.
    Phone,
    /// The operator's own pattern.
    Regex,
}

/// A configuration that was checked.
pub struct Checked {
    /// In the order of the configuration; the first that matches wins.
    pub columns: Vec<ColumnRule>,
    /// What may be taken for harmless.
    pub trusted: Vec<Trusted>,
    /// In the order of the configuration.
    pub content: Vec<ContentRule>,
    /// Present when any rule hashes.
    pub hash_key: Option<HashKey>,
}

/// Checks everything and reports every mistake.
pub fn check(config: Config) -> Result<Checked, Vec<ConfigError>> {
    let mut errors = Vec::new();
    if config.columns.is_empty() && config.content.is_empty() {
        errors.push(ConfigError::at("", "nothing would be masked: give a rule in `columns` or in `content`"));
    }
    for (list, length, most) in [
        ("/columns", config.columns.len(), MAX_COLUMN_RULES),
        ("/content", config.content.len(), MAX_CONTENT_RULES),
        ("/trusted", config.trusted.len(), MAX_TRUSTED),
    ] {
        if length > most {
            errors.push(ConfigError::at(list, format!("has {length} entries; at most {most} are allowed")));
            return Err(errors);
        }
    }
    if config.computed == Computed::Scan && config.content.is_empty() {
        errors.push(ConfigError::at("/computed", NOTHING_TO_SCAN_FOR));
    }
    let hash_key = check_key(&config, &mut errors);
    let columns = check_columns(&config, &mut errors);
    let trusted = check_trusted(&config, &mut errors);
    let content = check_content(&config, &mut errors);
    if errors.is_empty() { Ok(Checked { columns, trusted, content, hash_key }) } else { Err(errors) }
}

const NOTHING_TO_SCAN_FOR: &str =
    "`scan` looks for what `content` lists, and that is empty: it would show everything";

fn check_key(config: &Config, errors: &mut Vec<ConfigError>) -> Option<HashKey> {
    let columns = config.columns.iter().enumerate().map(|(i, rule)| (format!("/columns/{i}"), rule.strategy));
    let content = config.content.iter().enumerate().map(|(i, rule)| (format!("/content/{i}"), rule.strategy));
    let hashing = columns.chain(content).find(|(_, strategy)| *strategy == Strategy::Hash);
    match (&config.hash_key, hashing) {
        (None, Some((rule, _))) => {
            errors.push(ConfigError::at("/hash_key", format!("is missing, and {rule}/strategy is `hash`")));
            None
        }
        (Some(key), _) if key.len() < MIN_HASH_KEY_BYTES => {
            let message = format!("is too short: at least {MIN_HASH_KEY_BYTES} bytes, and random ones");
            errors.push(ConfigError::at("/hash_key", message));
            None
        }
        (Some(_), None) => {
            errors.push(ConfigError::at("/hash_key", "is not used: no rule has the strategy `hash`"));
            None
        }
        (Some(key), Some(_)) => HashKey::new(key.as_bytes()),
        (None, None) => None,
    }
}

fn check_columns(config: &Config, errors: &mut Vec<ConfigError>) -> Vec<ColumnRule> {
    let mut rules: Vec<ColumnRule> = Vec::with_capacity(config.columns.len());
    for (index, entry) in config.columns.iter().enumerate() {
        let at = |field: &str| format!("/columns/{index}/{field}");
        if entry.computed == Some(Computed::Scan) && config.content.is_empty() {
            errors.push(ConfigError::at(at("computed"), NOTHING_TO_SCAN_FOR));
        }
        if let Some(first) =
            config.columns.iter().take(index).position(|other| other.r#match == entry.r#match)
        {
            errors.push(ConfigError::at(
                at("match"),
                format!("is never reached: /columns/{first} has the same"),
            ));
        }
        if entry.secret && entry.predicate == Some(Predicate::Allow) {
            errors.push(ConfigError::at(
                at("predicate"),
                "`allow` contradicts `secret`: rows chosen by a column tell what is in it",
            ));
        }
        match Pattern::new(&entry.r#match) {
            Ok(pattern) => rules.push(ColumnRule {
                pattern,
                strategy: entry.strategy,
                computed: entry.computed.unwrap_or(config.computed),
                predicate: entry.predicate.unwrap_or(match entry.secret {
                    true => Predicate::Refuse,
                    false => Predicate::Allow,
                }),
            }),
            Err(message) => errors.push(ConfigError::at(at("match"), message)),
        }
    }
    rules
}

fn check_trusted(config: &Config, errors: &mut Vec<ConfigError>) -> Vec<Trusted> {
    if !config.trusted.is_empty() && config.columns.is_empty() {
        errors.push(ConfigError::at("/trusted", "is not used: there are no rules in `columns`"));
    }
    let mut trusted = Vec::with_capacity(config.trusted.len());
    for (index, text) in config.trusted.iter().enumerate() {
        match Trusted::new(text) {
            Ok(one) => trusted.push(one),
            Err(message) => errors.push(ConfigError::at(format!("/trusted/{index}"), message)),
        }
    }
    trusted
}

fn check_content(config: &Config, errors: &mut Vec<ConfigError>) -> Vec<ContentRule> {
    let mut rules = Vec::with_capacity(config.content.len());
    for (index, entry) in config.content.iter().enumerate() {
        let at = |field: &str| format!("/content/{index}/{field}");
        let before = errors.len();
        if entry.kind != ContentKind::Regex {
            for (field, given) in [("pattern", entry.pattern.is_some()), ("name", entry.name.is_some())] {
                if given {
                    errors.push(ConfigError::at(at(field), "belongs to kind `regex` only"));
                }
            }
        } else if entry.confidence.is_some() {
            errors.push(ConfigError::at(
                at("confidence"),
                "does not belong to kind `regex`: its pattern says it all",
            ));
        }
        match detector(entry) {
            Ok(detector) if errors.len() == before => {
                rules.push(ContentRule { detector, strategy: entry.strategy });
            }
            Ok(_) => {}
            Err(message) => errors.push(ConfigError::at(at("pattern"), message)),
        }
    }
    rules
}

fn detector(entry: &ContentEntry) -> Result<Detector, String> {
    let confidence = entry.confidence.unwrap_or_default();
    match (entry.kind, &entry.pattern) {
        (ContentKind::Card, _) => Ok(Detector::Card(confidence)),
        (ContentKind::Iban, _) => Ok(Detector::Iban(confidence)),
        (ContentKind::Email, _) => Ok(Detector::Email(confidence)),
        (ContentKind::Ssn, _) => Ok(Detector::Ssn(confidence)),
        (ContentKind::Phone, _) => Detector::phone(confidence),
        (ContentKind::Regex, Some(pattern)) => Detector::custom(pattern),
        (ContentKind::Regex, None) => Err("is missing: kind `regex` needs one".to_owned()),
    }
}
