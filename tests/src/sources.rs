//! The project's own sources, as files and as the paths that they name.
//!
//! Sources are read as the compiler's tokens, so that comments and strings do not count, a `use` with braces counts as
//! what it imports, and code inside macros counts too.

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("tests/ is one folder below the workspace")?.to_owned())
}

/// Every Rust file below a folder of the repository, as paths relative to the repository, sorted.
pub fn rust_files(folder: &str) -> Result<Vec<PathBuf>> {
    files(folder, "rs")
}

/// Every document of the repository, likewise.
pub fn documents() -> Result<Vec<PathBuf>> {
    files("", "md")
}

fn files(folder: &str, extension: &str) -> Result<Vec<PathBuf>> {
    let root = root()?;
    let mut files = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // `host/src/target` is ours; what cargo builds has a mark.
            let is_built = path.join("CACHEDIR.TAG").exists();
            if path.is_dir() && !is_built && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path.strip_prefix(&root)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file of the repository.
pub fn read(file: &Path) -> Result<String> {
    let path = root()?.join(file);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The module that a file is, as segments: `host/src/protocol/postgres.rs` is `["protocol", "postgres"]` in `host/src`.
pub fn module_of(file: &Path, source_folder: &Path) -> Result<Vec<String>> {
    let relative = file.strip_prefix(source_folder)?.with_extension("");
    let mut segments: Vec<String> =
        relative.iter().map(|segment| segment.to_string_lossy().into_owned()).collect();
    if segments.last().is_some_and(|last| matches!(last.as_str(), "lib" | "main" | "mod")) {
        segments.pop();
    }
    Ok(segments)
}

/// Words before which or after which a path begins; `crate`, `self` and `super` are parts of paths.
const KEYWORDS: [&str; 33] = [
    "as", "async", "await", "break", "const", "continue", "dyn", "else", "enum", "extern", "fn", "for", "if",
    "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return", "static", "struct",
    "trait", "type", "unsafe", "use", "where", "while", "yield",
];

/// Every path that a source names, such as `crate::session::Session` or `tokio::select`; paths that start with `self`
/// or `super` are given from `crate`, the source being the module `module`. Single identifiers count as paths.
pub fn paths(source: &str, module: &[String]) -> Result<BTreeSet<String>> {
    let tokens: TokenStream = source.parse().map_err(|error| anyhow!("not Rust: {error}"))?;
    let mut found = BTreeSet::new();
    collect(tokens, module, &[], &mut found);
    Ok(found)
}

/// Adds the paths of `tokens`, each prefixed with `prefix`: what stands before the braces of a `use`.
fn collect(tokens: TokenStream, module: &[String], prefix: &[String], found: &mut BTreeSet<String>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut path: Vec<String> = Vec::new();
    // Whether the last tokens were `::`, so that what comes next belongs to `path`.
    let mut joined = false;
    // The name after `mod`, whose braces are another module.
    let mut inline: Option<String> = None;
    let mut after_mod = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(name) => {
                let name = name.to_string();
                if !joined {
                    finish(&mut path, module, prefix, found);
                }
                joined = false;
                if KEYWORDS.contains(&name.as_str()) {
                    after_mod = name == "mod";
                    continue;
                }
                inline = after_mod.then(|| name.clone());
                after_mod = false;
                path.push(name.trim_start_matches("r#").to_owned());
            }
            TokenTree::Punct(mark) if mark.as_char() == ':' && is_colon(tokens.peek()) => {
                tokens.next();
                joined = true;
            }
            TokenTree::Group(group) => {
                if joined && group.delimiter() == Delimiter::Brace {
                    let absolute = absolute(&path, module, prefix);
                    collect(group.stream(), module, &absolute, found);
                } else {
                    finish(&mut path, module, prefix, found);
                    let inner: Vec<String> = module.iter().cloned().chain(inline.take()).collect();
                    collect(group.stream(), &inner, &[], found);
                }
                path.clear();
                joined = false;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                finish(&mut path, module, prefix, found);
                joined = false;
            }
        }
    }
    finish(&mut path, module, prefix, found);
}

fn is_colon(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(mark)) if mark.as_char() == ':')
}

fn finish(path: &mut Vec<String>, module: &[String], prefix: &[String], found: &mut BTreeSet<String>) {
    if !path.is_empty() {
        found.insert(absolute(path, module, prefix).join("::"));
        path.clear();
    }
}

fn absolute(path: &[String], module: &[String], prefix: &[String]) -> Vec<String> {
    if !prefix.is_empty() {
        return prefix.iter().chain(path).cloned().collect();
    }
    let mut base = module;
    let mut rest = path;
    let relative = matches!(path.first().map(String::as_str), Some("self" | "super"));
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "self" => {}
            "super" => base = base.split_last().map_or(base, |(_, parents)| parents),
            _ => break,
        }
        rest = others;
    }
    if relative {
        std::iter::once("crate".to_owned()).chain(base.iter().cloned()).chain(rest.iter().cloned()).collect()
    } else {
        path.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_of(source: &str) -> BTreeSet<String> {
        paths(source, &["protocol".to_owned(), "postgres".to_owned()]).unwrap()
    }

    #[test]
    fn a_path_is_found_however_it_is_written() {
        for (source, path) in [
            ("use crate::recorder::Recording;", "crate::recorder::Recording"),
            ("use crate::{session, recorder::{self, Event}};", "crate::recorder::Event"),
            ("use super::super::recorder;", "crate::recorder"),
            ("use super::{ssh};", "crate::protocol::ssh"),
            ("fn f() { crate::state::open() }", "crate::state::open"),
            ("fn f() { select! { x = crate::state::open() => {} } }", "crate::state::open"),
            ("mod tests { use super::super::ssh; }", "crate::protocol::ssh"),
            ("return ::tokio::net();", "tokio::net"),
            ("use ::tokio::net;", "tokio::net"),
            ("type A = <T as crate::hooks::B>::C;", "crate::hooks::B"),
            ("use crate::r#type::x as y;", "crate::type::x"),
        ] {
            let found = paths_of(source);
            assert!(found.contains(path), "{source}: {found:?}");
        }
    }

    #[test]
    fn comments_and_texts_name_nothing() {
        let found = paths_of("//! crate::state\n/* crate::state */ const A: &str = \"crate::state\";");
        assert!(!found.iter().any(|path| path.contains("state")), "{found:?}");
    }

    #[test]
    fn a_file_is_its_module() {
        let folder = Path::new("host/src");
        for (file, module) in [
            ("lib.rs", ""),
            ("gateway.rs", "gateway"),
            ("protocol/postgres/frame.rs", "protocol::postgres::frame"),
        ] {
            assert_eq!(module_of(&folder.join(file), folder).unwrap().join("::"), module);
        }
    }
}
