//! The configuration as the operator writes it, and the check that it means something.
//!
//! The short form (`threshold`, `findings`, `classes`) and `rules` become the same list of rules, so that there is one
//! way to decide. A configuration that can never hold anything is a mistake.

use crate::policy::{Condition, Policy, Rule};
use chaperone_sdk::{ConfigError, Glob};
use serde::Deserialize;

/// Most rules, and most patterns in each short list: each is compared with each operation.
pub const MAX_RULES: usize = 200;
/// Most approvers that one hold may need; with more, nobody ever finishes one.
pub const MAX_NEEDED: u8 = 10;
/// Longest time that an operation may wait, in seconds: one day.
pub const MAX_TIMEOUT_SECONDS: u32 = 24 * 60 * 60;
/// Time that an operation waits when nothing is said, in seconds.
pub const DEFAULT_TIMEOUT_SECONDS: u32 = 10 * 60;
/// Longest name of a group, in bytes, as in the gateway's configuration.
pub const MAX_GROUP_BYTES: usize = 200;
/// Longest `reason`, in bytes: it is shown in one line.
pub const MAX_REASON_BYTES: usize = 200;
/// The highest risk there is.
pub const MAX_RISK: u8 = 100;

/// `config` of the plugin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Hold what is at least so risky.
    #[serde(default)]
    pub threshold: Option<u8>,
    /// Hold operations with a finding whose rule matches one of these patterns.
    #[serde(default)]
    pub findings: Vec<String>,
    /// Hold operations with a statement whose class matches one of these patterns.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Who approves, unless a rule says otherwise: alias of a group.
    #[serde(default)]
    pub approvers: Option<String>,
    /// How many of them, unless a rule says otherwise; 1 when left out.
    #[serde(default)]
    pub needed: Option<u8>,
    /// How long an operation waits, unless a rule says otherwise; ten minutes when left out.
    #[serde(default)]
    pub timeout: Option<Timeout>,
    /// Finer rules.
    #[serde(default)]
    pub rules: Vec<RuleEntry>,
}

/// An entry of `rules`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleEntry {
    /// All of these must hold.
    pub when: When,
    /// Overrides [`Config::approvers`].
    #[serde(default)]
    pub approvers: Option<String>,
    /// Overrides [`Config::needed`].
    #[serde(default)]
    pub needed: Option<u8>,
    /// Overrides [`Config::timeout`].
    #[serde(default)]
    pub timeout: Option<Timeout>,
    /// What approvers read first.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The conditions of a rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The operation is at least so risky.
    #[serde(default)]
    pub risk_at_least: Option<u8>,
    /// A finding's rule matches.
    #[serde(default)]
    pub finding: Option<String>,
    /// A statement's class matches.
    #[serde(default)]
    pub class: Option<String>,
}

/// A duration: seconds, or words such as `10m` and `1h 30m`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected seconds or a duration such as \"10m\"")]
pub enum Timeout {
    /// Seconds.
    Seconds(u32),
    /// In the words of the crate `humantime`.
    Words(String),
}

impl Timeout {
    fn seconds(&self) -> Result<u32, String> {
        let range = || "must be from 1s to 24h".to_owned();
        let seconds = match self {
            Timeout::Seconds(seconds) => *seconds,
            Timeout::Words(words) => {
                let duration = humantime::parse_duration(words)
                    .map_err(|error| format!("is no duration such as `10m` or `1h 30m`: {error}"))?;
                if duration.subsec_nanos() != 0 {
                    return Err("must be whole seconds".to_owned());
                }
                u32::try_from(duration.as_secs()).map_err(|_| range())?
            }
        };
        if (1..=MAX_TIMEOUT_SECONDS).contains(&seconds) { Ok(seconds) } else { Err(range()) }
    }
}

/// Checks everything and reports every mistake.
pub fn check(config: &Config) -> Result<Policy, Vec<ConfigError>> {
    let mut checker = Checker { errors: Vec::new() };
    let rules = checker.rules(config);
    if checker.errors.is_empty() { Ok(Policy::new(rules)) } else { Err(checker.errors) }
}

/// Who, how many, how long: from a rule, else from the top of the configuration.
#[derive(Clone, Copy)]
struct Terms<'a> {
    at: &'a str,
    approvers: Option<&'a String>,
    needed: Option<u8>,
    timeout: Option<&'a Timeout>,
}

struct Checker {
    errors: Vec<ConfigError>,
}

impl Checker {
    fn mistake(&mut self, at: impl Into<String>, message: impl Into<String>) {
        self.errors.push(ConfigError::at(at, message));
    }

    fn rules(&mut self, config: &Config) -> Vec<Rule> {
        for (at, length) in [
            ("/findings", config.findings.len()),
            ("/classes", config.classes.len()),
            ("/rules", config.rules.len()),
        ] {
            if length > MAX_RULES {
                self.mistake(at, format!("has {length} entries; at most {MAX_RULES} are allowed"));
                return Vec::new();
            }
        }
        let top = Terms {
            at: "",
            approvers: config.approvers.as_ref(),
            needed: config.needed,
            timeout: config.timeout.as_ref(),
        };
        let (approvers, needed, timeout_seconds) = self.terms(top);
        let mut rules = Vec::new();
        for (index, entry) in config.rules.iter().enumerate() {
            let at = format!("/rules/{index}");
            let own = Terms {
                at: &at,
                approvers: entry.approvers.as_ref(),
                needed: entry.needed,
                timeout: entry.timeout.as_ref(),
            };
            let own = self.terms(own);
            let condition = self.when(&format!("{at}/when"), &entry.when);
            let Some(approvers) = own.0.or_else(|| approvers.clone()) else {
                self.mistake(format!("{at}/approvers"), "is missing, here and at the top");
                continue;
            };
            rules.push(Rule {
                condition,
                approvers,
                needed: own.1.or(needed).unwrap_or(1),
                timeout_seconds: own.2.or(timeout_seconds).unwrap_or(DEFAULT_TIMEOUT_SECONDS),
                reason: self.reason(&at, entry.reason.as_deref()),
            });
        }
        let short = self.short_form(config);
        match &approvers {
            None if !short.is_empty() => self.mistake("/approvers", "is missing: the alias of a group"),
            None => {}
            Some(approvers) => rules.extend(short.into_iter().map(|condition| Rule {
                condition,
                approvers: approvers.clone(),
                needed: needed.unwrap_or(1),
                timeout_seconds: timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS),
                reason: None,
            })),
        }
        if rules.is_empty() && self.errors.is_empty() {
            self.mistake("", "nothing would be held: give `threshold`, `findings`, `classes` or `rules`");
        }
        rules
    }

    fn short_form(&mut self, config: &Config) -> Vec<Condition> {
        let mut conditions = Vec::new();
        if let Some(risk) = self.risk("/threshold", config.threshold) {
            conditions.push(Condition { risk_at_least: Some(risk), ..Condition::default() });
        }
        for (index, text) in config.findings.iter().enumerate() {
            let finding = self.glob(&format!("/findings/{index}"), Some(text));
            conditions.push(Condition { finding, ..Condition::default() });
        }
        for (index, text) in config.classes.iter().enumerate() {
            let class = self.glob(&format!("/classes/{index}"), Some(text));
            conditions.push(Condition { class, ..Condition::default() });
        }
        conditions
    }

    fn when(&mut self, at: &str, when: &When) -> Condition {
        if when.risk_at_least.is_none() && when.finding.is_none() && when.class.is_none() {
            self.mistake(at, "is empty: give `risk_at_least`, `finding` or `class`");
        }
        Condition {
            risk_at_least: self.risk(&format!("{at}/risk_at_least"), when.risk_at_least),
            finding: self.glob(&format!("{at}/finding"), when.finding.as_ref()),
            class: self.glob(&format!("{at}/class"), when.class.as_ref()),
        }
    }

    fn risk(&mut self, at: &str, risk: Option<u8>) -> Option<u8> {
        if risk.is_some_and(|risk| risk > MAX_RISK) {
            self.mistake(at, format!("must be 0 to {MAX_RISK}"));
        }
        risk
    }

    fn glob(&mut self, at: &str, text: Option<&String>) -> Option<Glob> {
        Glob::new(text?).map_err(|message| self.mistake(at, message)).ok()
    }

    fn terms(&mut self, terms: Terms<'_>) -> (Option<String>, Option<u8>, Option<u32>) {
        let Terms { at, approvers, needed, timeout } = terms;
        let is_name = |name: &String| {
            (1..=MAX_GROUP_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if approvers.is_some_and(|name| !is_name(name)) {
            self.mistake(
                format!("{at}/approvers"),
                "must be the alias of a group: printable ASCII without spaces",
            );
        }
        if needed.is_some_and(|needed| !(1..=MAX_NEEDED).contains(&needed)) {
            self.mistake(format!("{at}/needed"), format!("must be 1 to {MAX_NEEDED}"));
        }
        let seconds = timeout.map(Timeout::seconds).transpose().unwrap_or_else(|message| {
            self.mistake(format!("{at}/timeout"), message);
            None
        });
        (approvers.cloned(), needed, seconds)
    }

    fn reason(&mut self, at: &str, reason: Option<&str>) -> Option<String> {
        let reason = reason?;
        if reason.trim().is_empty() || reason.len() > MAX_REASON_BYTES || reason.contains(char::is_control) {
            self.mistake(
                format!("{at}/reason"),
                format!("must be one line of 1 to {MAX_REASON_BYTES} bytes"),
            );
        }
        Some(reason.to_owned())
    }
}
