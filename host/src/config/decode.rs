//! From the positioned tree to typed values, without stopping at a mistake.
//!
//! A getter that finds something wrong files a problem and answers `None`; its caller goes on with the next key. A key
//! is known because decoding asked for it, so the list of known keys cannot drift from the code: [`Fields::finish`]
//! reports every key that nobody asked for, with the nearest that somebody did.

use super::node::{Entry, Node, Value};
use super::problem::{Mark, Problem, ProblemCode, Severity, Sink, nearest, quote};
use std::str::FromStr;
use std::time::Duration;

/// A node with its place in the document.
#[derive(Clone)]
pub(crate) struct Item<'a> {
    pub(crate) node: &'a Node,
    pub(crate) sink: &'a Sink,
    /// `targets[0].tls`.
    pub(crate) path: String,
    /// `targets[].tls`: the same for every target.
    pub(crate) section: String,
    /// Where the key stands, when there is one: problems about the key itself point there.
    pub(crate) key_mark: Mark,
}

impl<'a> Item<'a> {
    /// The document itself.
    pub(crate) fn root(node: &'a Node, sink: &'a Sink) -> Self {
        Item { node, sink, path: String::new(), section: String::new(), key_mark: node.mark }
    }

    /// Files a problem at this value.
    pub(crate) fn problem(
        &self,
        severity: Severity,
        code: ProblemCode,
        message: String,
        help: impl Into<String>,
    ) {
        self.problem_at(self.node.mark, severity, code, message, help);
    }

    fn problem_at(
        &self,
        mark: Mark,
        severity: Severity,
        code: ProblemCode,
        message: String,
        help: impl Into<String>,
    ) {
        self.sink.push(Problem { severity, code, path: self.path.clone(), mark, message, help: help.into() });
    }

    /// Files an error about the value.
    pub(crate) fn invalid(&self, message: impl Into<String>, help: impl Into<String>) {
        self.problem(Severity::Error, ProblemCode::InvalidValue, message.into(), help);
    }

    /// Files a warning about something accepted but risky.
    pub(crate) fn risk(&self, message: impl Into<String>, help: impl Into<String>) {
        self.problem(Severity::Warning, ProblemCode::Risk, message.into(), help);
    }

    /// Files an error about a control that controls nothing.
    pub(crate) fn no_effect(&self, message: impl Into<String>, help: impl Into<String>) {
        self.problem_at(self.key_mark, Severity::Error, ProblemCode::NoEffect, message.into(), help);
    }

    /// Files an error about a key that has to be in this mapping.
    pub(crate) fn missing(&self, key: &str, help: &str) {
        let entries: &[Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            _ => &[],
        };
        // A misspelled key is reported once, as that, and not a second time as missing.
        if entries.iter().any(|entry| nearest(&entry.key, [key]).is_some()) {
            return;
        }
        let mark = entries.first().map_or(self.node.mark, |entry| entry.mark);
        let of = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
        self.problem_at(
            mark,
            Severity::Error,
            ProblemCode::MissingKey,
            format!("`{key}` is missing{of}"),
            help,
        );
    }

    /// Whether it is a list without elements.
    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(&self.node.value, Value::List(items) if items.is_empty())
    }

    fn wrong_type(&self, expected: &str) {
        let found = self.node.kind();
        self.problem(
            Severity::Error,
            ProblemCode::WrongType,
            format!("expected {expected}, found {found}"),
            String::new(),
        );
    }

    /// The name of this value's key, for messages.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// The value as a mapping.
    pub(crate) fn fields(&self) -> Option<Fields<'a>> {
        match &self.node.value {
            Value::Map(entries) => Some(Fields { item: self.clone(), entries, known: Vec::new() }),
            _ => {
                self.wrong_type("a mapping (`key: value`)");
                None
            }
        }
    }

    /// The value as a mapping whose keys are names that the operator chose.
    pub(crate) fn named(&self, max: usize) -> Vec<(&'a str, Item<'a>)> {
        let Value::Map(entries) = &self.node.value else {
            self.wrong_type("a mapping (`name: value`)");
            return Vec::new();
        };
        self.bound(entries.len(), max);
        entries.iter().take(max).map(|entry| (entry.key.as_str(), self.child(entry, "*"))).collect()
    }

    /// The value as a list.
    pub(crate) fn list(&self, max: usize) -> Vec<Item<'a>> {
        match &self.node.value {
            Value::List(items) => self.elements(items, max),
            _ => {
                self.wrong_type("a list (`- …`)");
                Vec::new()
            }
        }
    }

    /// The value as a list, or as the one element of a list.
    pub(crate) fn one_or_many(&self, max: usize) -> Vec<Item<'a>> {
        match &self.node.value {
            Value::List(items) => self.elements(items, max),
            _ => vec![self.clone()],
        }
    }

    fn elements(&self, items: &'a [Node], max: usize) -> Vec<Item<'a>> {
        self.bound(items.len(), max);
        items
            .iter()
            .take(max)
            .enumerate()
            .map(|(index, node)| Item {
                node,
                sink: self.sink,
                path: format!("{}[{index}]", self.path),
                section: format!("{}[]", self.section),
                key_mark: node.mark,
            })
            .collect()
    }

    fn bound(&self, len: usize, max: usize) {
        if len > max {
            self.invalid(format!("{len} entries are too many: at most {max}"), "");
        }
    }

    fn child(&self, entry: &'a Entry, section: &str) -> Item<'a> {
        let join = |parent: &str, key: &str| {
            if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
        };
        Item {
            node: &entry.value,
            sink: self.sink,
            path: join(&self.path, &entry.key),
            section: join(&self.section, section),
            key_mark: entry.mark,
        }
    }

    /// The value as text that is not empty, described by `expected` when it is something else.
    pub(crate) fn text(&self, expected: &str) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.node.is_null() => {
                if text.trim().is_empty() {
                    self.wrong_type(expected);
                    return None;
                }
                Some(text)
            }
            _ => {
                self.wrong_type(expected);
                None
            }
        }
    }

    /// A yes or a no, in the spellings of YAML 1.1 and 1.2 that people use.
    pub(crate) fn yes_no(&self) -> Option<bool> {
        match self.text("yes or no")?.to_ascii_lowercase().as_str() {
            "yes" | "true" | "on" => Some(true),
            "no" | "false" | "off" => Some(false),
            other => {
                self.invalid(format!("{} is neither yes nor no", quote(other)), "write `yes` or `no`");
                None
            }
        }
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|choice| choice.0).collect();
        let expected = format!("one of {}", words.join(", "));
        let text = self.text(&expected)?;
        let found = choices.iter().find(|choice| choice.0 == text).map(|choice| choice.1);
        if found.is_none() {
            let help = match nearest(text, words.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("write {expected}"),
            };
            self.invalid(format!("{} is not accepted here", quote(text)), help);
        }
        found
    }

    /// A whole number within a range, both ends included.
    pub(crate) fn number(&self, min: u64, max: u64) -> Option<u64> {
        let expected = format!("a whole number from {min} to {max}");
        let text = self.text(&expected)?;
        match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                self.invalid(format!("{} is not {expected}", quote(text)), "");
                None
            }
        }
    }

    /// A duration such as `15m`, within a range, both ends included.
    pub(crate) fn duration(&self, min: Duration, max: Duration) -> Option<Duration> {
        let text = self.text("a duration such as `15m` or `1h 30m`")?;
        let range =
            || format!("from {} to {}", humantime::format_duration(min), humantime::format_duration(max));
        match humantime::parse_duration(text) {
            Ok(duration) if (min..=max).contains(&duration) => Some(duration),
            Ok(_) => {
                self.invalid(
                    format!("{} is out of range", quote(text)),
                    format!("write a duration {}", range()),
                );
                None
            }
            Err(_) => {
                let help = if text.bytes().all(|byte| byte.is_ascii_digit()) {
                    format!("add a unit: `{text}s`, `{text}m` or `{text}h`")
                } else {
                    format!("write a number and a unit, such as `30s`, `15m` or `1h 30m`, {}", range())
                };
                self.invalid(format!("{} is not a duration", quote(text)), help);
                None
            }
        }
    }

    /// A size such as `64KiB`, within a range, both ends included, in bytes.
    pub(crate) fn bytes(&self, min: u64, max: u64) -> Option<u64> {
        let text = self.text("a size such as `64KiB`")?;
        let size = parse_bytes(text);
        match size {
            Some(size) if (min..=max).contains(&size) => return size.into(),
            Some(_) => self.invalid(
                format!("{} is out of range", quote(text)),
                format!("write a size from {} to {}", show_bytes(min), show_bytes(max)),
            ),
            None => self.invalid(
                format!("{} is not a size", quote(text)),
                "write a number of bytes, or a number with KiB, MiB or GiB, such as `64KiB`",
            ),
        }
        None
    }

    /// Anything that is parsed from one text.
    pub(crate) fn parsed<T: FromStr>(&self, expected: &str) -> Option<T> {
        let text = self.text(expected)?;
        let value = text.parse().ok();
        if value.is_none() {
            self.invalid(format!("{} is not {expected}", quote(text)), "");
        }
        value
    }

    /// A name that the operator chose: letters, digits, `.`, `_` and `-`, so that it can stand in paths and subjects.
    pub(crate) fn plain_name(&self, expected: &str) -> Option<&'a str> {
        let text = self.text(expected)?;
        is_plain_name(text).then_some(text).or_else(|| {
            self.invalid(format!("{} is not {expected}", quote(text)), NAME_HELP);
            None
        })
    }
}

fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token", "key", "cred", "url", "dsn"].iter().any(|part| key.contains(part))
}

/// What a name may be made of.
pub(crate) const NAME_HELP: &str =
    "use 1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or a digit";

/// See [`NAME_HELP`].
pub(crate) fn is_plain_name(text: &str) -> bool {
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    starts
        && text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text.get(digits.len()..)?.trim();
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn show_bytes(size: u64) -> String {
    [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| size >= 1 << shift && size.trailing_zeros() >= *shift)
        .map_or_else(|| format!("{size} bytes"), |(unit, shift)| format!("{}{unit}", size >> shift))
}

/// A mapping whose keys the schema knows.
pub(crate) struct Fields<'a> {
    item: Item<'a>,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The value of a key that may be missing. `key:` with nothing behind it counts as missing.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        let section = &self.item.section;
        self.item.sink.know(if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") });
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!entry.value.is_null()).then(|| self.item.child(entry, key))
    }

    /// The value of a key that must be there; `help` says what to write.
    pub(crate) fn need(&mut self, key: &'static str, help: &str) -> Option<Item<'a>> {
        let item = self.get(key);
        if item.is_none() {
            self.item.missing(key, help);
        }
        item
    }

    /// The mapping itself.
    pub(crate) fn item(&self) -> &Item<'a> {
        &self.item
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let meant = nearest(&entry.key, self.known.iter().copied());
            if meant == Some("password") || sounds_secret(&entry.key) {
                // What stands behind a misspelled `password` is a password.
                self.item.sink.conceal(entry.value.mark);
            }
            let child = self.item.child(entry, &entry.key);
            let help = match meant {
                Some(key) => format!("did you mean `{key}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let message = format!("unknown key {}", quote(&entry.key));
            child.problem_at(entry.mark, Severity::Error, ProblemCode::UnknownKey, message, help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_bounded() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("64KiB", Some(65_536)),
            ("2 MiB", Some(2 << 20)),
            ("1GiB", Some(1 << 30)),
            ("64KB", None),
            ("KiB", None),
            ("-1", None),
            ("99999999999999GiB", None),
        ] {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
        assert_eq!(show_bytes(64 << 10), "64KiB");
        assert_eq!(show_bytes(1), "1 bytes");
        assert_eq!(show_bytes(0), "0 bytes");
    }
}
