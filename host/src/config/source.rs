//! From which file a configuration was read, and what each of its sections said: what a reload needs to know.
//!
//! Sections are compared by digests of what is written there, so that no text with a secret in it is kept. Spaces, comments and
//! quotes do not count; the order of keys does, and so does a default that is now written out: more than has changed in effect may
//! be said to have changed, never less.

use super::node::{Node, Value};
use aws_lc_rs::digest::{Context, SHA256, digest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where a configuration is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// A digest of each top-level key's value.
    sections: BTreeMap<String, Vec<u8>>,
}

impl Source {
    pub(super) fn new(path: &Path, text: &str, sections: BTreeMap<String, Vec<u8>>) -> Self {
        let sha256 = digest(&SHA256, text.as_bytes());
        let sha256 = sha256.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Source { path: path.to_owned(), sha256, sections }
    }

    /// The top-level keys whose values differ, or that only one of the two has.
    pub fn differences(&self, other: &Source) -> BTreeSet<String> {
        let keys = self.sections.keys().chain(other.sections.keys());
        keys.filter(|key| self.sections.get(*key) != other.sections.get(*key)).cloned().collect()
    }
}

/// A digest of each top-level key's value.
pub(super) fn sections(root: &Node) -> BTreeMap<String, Vec<u8>> {
    let Value::Map(entries) = &root.value else { return BTreeMap::new() };
    let of = |node: &Node| {
        let mut context = Context::new(&SHA256);
        feed(node, &mut context);
        context.finish().as_ref().to_vec()
    };
    entries.iter().map(|entry| (entry.key.clone(), of(&entry.value))).collect()
}

/// Every text with its length in front, so that no two values are one. The parser bounds the depth.
fn feed(node: &Node, context: &mut Context) {
    let text = |context: &mut Context, text: &str| {
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text.as_bytes());
    };
    match &node.value {
        Value::Scalar { text: value, .. } => {
            context.update(if node.is_null() { b"n" } else { b"s" });
            text(context, value);
        }
        Value::List(items) => {
            context.update(b"l");
            context.update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| feed(item, context));
        }
        Value::Map(entries) => {
            context.update(b"m");
            context.update(&(entries.len() as u64).to_le_bytes());
            for entry in entries {
                text(context, &entry.key);
                feed(&entry.value, context);
            }
        }
    }
}
