//! The shape of the sources: who may name whom, and what every file must have.

use chaperone_tests::sources::{documents, module_of, paths, read, root, rust_files};
use chaperone_tests::{process, tools};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most lines a source file may have. Most have under 400; beyond this nobody reads a file as a whole.
const MAX_LINES: usize = 600;

/// What the sources of a folder must not name: packages, or modules from `crate`.
struct Rule {
    /// The source folder, where `crate` begins.
    crate_folder: &'static str,
    /// The files the rule is for: those whose module starts like this.
    module: &'static str,
    forbidden: &'static [&'static str],
}

/// The direction of imports of DESIGN.md, section 3. Each protocol's siblings are added by the test itself.
const RULES: &[Rule] = &[
    // Values and rules: no waiting, no files, no clock, no engine, no database, and nothing of ours.
    Rule {
        crate_folder: "host/core/src",
        module: "",
        forbidden: &[
            "tokio",
            "wasmtime",
            "sqlx",
            "std::fs",
            "std::net",
            "std::process",
            "std::thread",
            "std::time::SystemTime",
            "std::time::Instant",
            "SystemTime::now",
            "Instant::now",
            "Timestamp::now",
            "jiff::Timestamp::now",
            "chaperone",
            "chaperone_hooks",
            "chaperone_sdk",
        ],
    },
    // Judging is not deciding who or where.
    Rule { crate_folder: "host/hooks/src", module: "", forbidden: &["chaperone", "chaperone_sdk", "sqlx"] },
    // The engine has one door.
    Rule {
        crate_folder: "host/src",
        module: "",
        forbidden: &["wasmtime", "wasmtime_wizer", "chaperone_sdk"],
    },
    // A protocol words the steps and never decides.
    Rule {
        crate_folder: "host/src",
        module: "protocol",
        forbidden: &["chaperone_hooks", "crate::recorder", "crate::state", "crate::grant", "crate::api"],
    },
    // A session is driven; it does not know by what, nor where things are kept.
    Rule {
        crate_folder: "host/src",
        module: "session",
        forbidden: &[
            "crate::protocol",
            "crate::state",
            "crate::gateway",
            "crate::listener",
            "crate::api",
            "crate::cli",
        ],
    },
    // What a recording says does not depend on who asks.
    Rule {
        crate_folder: "host/src",
        module: "story",
        forbidden: &[
            "chaperone_hooks",
            "crate::session",
            "crate::state",
            "crate::grant",
            "crate::gateway",
            "crate::api",
            "crate::console",
            "crate::cli",
        ],
    },
    // A reader of recordings, as anybody could be one: nothing of a running session reaches it.
    Rule {
        crate_folder: "host/src",
        module: "feed",
        forbidden: &[
            "chaperone_hooks",
            "crate::protocol",
            "crate::session",
            "crate::gateway",
            "crate::api",
            "crate::console",
            "crate::cli",
        ],
    },
    // A consumer of the feed, as the index is one.
    Rule {
        crate_folder: "host/src",
        module: "stream",
        forbidden: &[
            "chaperone_hooks",
            "crate::protocol",
            "crate::session",
            "crate::grant",
            "crate::gateway",
            "crate::api",
            "crate::console",
            "crate::cli",
        ],
    },
    // A reader of sealed files: nothing of a running session reaches it.
    Rule {
        crate_folder: "host/src",
        module: "archive",
        forbidden: &[
            "chaperone_hooks",
            "crate::protocol",
            "crate::session",
            "crate::gateway",
            "crate::api",
            "crate::console",
            "crate::cli",
        ],
    },
    // The SDK is all that a plugin's author has, so it must be enough.
    Rule {
        crate_folder: "sdk/src",
        module: "",
        forbidden: &["chaperone", "chaperone_core", "chaperone_hooks"],
    },
];

fn names(path: &str, forbidden: &str) -> bool {
    path == forbidden || path.strip_prefix(forbidden).is_some_and(|rest| rest.starts_with("::"))
}

/// Every place where a file of `rule` names what it must not.
fn breaches(rule: &Rule) -> Vec<String> {
    let folder = Path::new(rule.crate_folder);
    let mut breaches = Vec::new();
    let mut looked_at = 0;
    for file in rust_files(rule.crate_folder).unwrap() {
        let module = module_of(&file, folder).unwrap();
        if !rule.module.is_empty() && !names(&module.join("::"), rule.module) {
            continue;
        }
        looked_at += 1;
        let named = paths(&read(&file).unwrap(), &module).unwrap();
        for forbidden in rule.forbidden {
            // A local name such as `chaperone` in a pattern is no import: a package counts where it leads somewhere.
            let package = !forbidden.contains("::");
            let found = named
                .iter()
                .filter(|path| !package || path.contains("::"))
                .find(|path| names(path, forbidden));
            breaches.extend(found.map(|path| format!("{} names {path}", file.display())));
        }
    }
    assert!(looked_at > 0, "no source in {} of {}: the rule holds nothing", rule.module, rule.crate_folder);
    breaches
}

#[test]
fn imports_go_one_way() {
    let breaches: Vec<String> = RULES.iter().flat_map(breaches).collect();
    assert!(breaches.is_empty(), "{breaches:#?}");
}

/// Protocols in `host/src/protocol`: their modules' names.
fn protocols() -> BTreeSet<String> {
    let folder = Path::new("host/src");
    let modules =
        rust_files("host/src/protocol").unwrap().into_iter().map(|file| module_of(&file, folder).unwrap());
    modules.filter(|module| module.len() > 1).map(|module| module[1].clone()).collect()
}

#[test]
fn a_protocol_does_not_know_another() {
    let protocols = protocols();
    assert!(protocols.contains("postgres"), "{protocols:?}");
    let folder = Path::new("host/src");
    for file in rust_files("host/src/protocol").unwrap() {
        let module = module_of(&file, folder).unwrap();
        let Some(own) = module.get(1) else { continue };
        let named = paths(&read(&file).unwrap(), &module).unwrap();
        for other in protocols.iter().filter(|other| *other != own) {
            let other = format!("crate::protocol::{other}");
            let breach = named.iter().find(|path| names(path, &other));
            assert!(breach.is_none(), "{} names {}", file.display(), breach.unwrap());
        }
    }
}

/// The keys of every `[dependencies]`-like table of a manifest.
fn dependencies(manifest: &Path) -> Vec<String> {
    let mut keys = Vec::new();
    let mut inside = false;
    for line in read(manifest).unwrap().lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            inside = table.trim_end_matches(']').ends_with("dependencies");
        } else if inside && !line.starts_with('#') {
            keys.extend(
                line.split(['=', '.']).next().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()),
            );
        }
    }
    keys
}

fn manifests(folder: &str) -> Vec<PathBuf> {
    let root = root().unwrap();
    let folders = std::fs::read_dir(root.join(folder)).unwrap();
    let manifests =
        folders.map(|entry| entry.unwrap().path().join("Cargo.toml")).filter(|path| path.is_file());
    manifests.map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect()
}

#[test]
fn packages_depend_one_way() {
    let ours = |manifest: &Path| -> Vec<String> {
        dependencies(manifest).into_iter().filter(|key| key.starts_with("chaperone")).collect()
    };
    assert_eq!(ours(Path::new("host/core/Cargo.toml")), [""; 0]);
    assert_eq!(ours(Path::new("host/hooks/Cargo.toml")), ["chaperone-core"]);
    assert_eq!(ours(Path::new("sdk/Cargo.toml")), [""; 0]);
    let plugins = manifests("plugins");
    assert!(plugins.len() >= 3, "{plugins:?}");
    for plugin in plugins {
        assert_eq!(ours(&plugin), ["chaperone-sdk"], "{}", plugin.display());
    }
    for manifest in ["host/Cargo.toml", "host/core/Cargo.toml", "sdk/Cargo.toml"] {
        let engine: Vec<String> =
            dependencies(Path::new(manifest)).into_iter().filter(|key| key.starts_with("wasmtime")).collect();
        assert!(engine.is_empty(), "{manifest} depends on {engine:?}");
    }
}

/// Private parsers are public with the feature `fuzzing`: no build that is run may have it.
#[test]
fn only_the_fuzz_targets_see_private_parsers() {
    let asking = ["host", "sdk", "tests", "benches", "host/core", "host/hooks", "tests/xtask", "tests/fuzz"]
        .map(PathBuf::from);
    let manifests = asking.iter().map(|folder| folder.join("Cargo.toml")).chain(manifests("plugins"));
    let asking: Vec<PathBuf> = manifests
        .filter(|manifest| {
            let text = read(manifest).unwrap();
            text.lines().any(|line| line.contains("\"fuzzing\""))
        })
        .collect();
    assert_eq!(asking, [Path::new("tests/fuzz/Cargo.toml")]);
}

fn every_source() -> Vec<PathBuf> {
    ["host", "sdk", "plugins", "tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(folder).unwrap())
        .collect()
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<PathBuf> = every_source()
        .into_iter()
        .filter(|file| !read(file).unwrap().trim_start().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "no `//!` at the start of {silent:#?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = every_source()
        .into_iter()
        .map(|file| (read(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, file)| format!("{} has {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:#?}");
}

/// Who may read the machine's clock: the one clock that all decisions go by, what is only written down, and what runs at the
/// caller's side. A window that has closed must not open again because the machine's clock was set back.
const READS_THE_MACHINES_CLOCK: [&str; 8] = [
    "host/src/gateway/roles.rs",
    "host/src/gateway/run.rs",
    "host/src/gateway/sessions.rs",
    "host/src/gateway/store.rs",
    "host/src/grant/clock.rs",
    "host/src/identity.rs",
    "host/src/cli",
    "host/src/demo",
];

#[test]
fn decisions_go_by_one_clock() {
    let read_in = |file: &PathBuf| {
        let source = read(file).unwrap();
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        ["Timestamp::now", "SystemTime::now"].iter().any(|call| source.contains(call))
    };
    let files: Vec<PathBuf> = rust_files("host").unwrap().into_iter().filter(read_in).collect();
    let is_test =
        |file: &Path| file.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
    let allowed = |file: &Path| READS_THE_MACHINES_CLOCK.iter().any(|place| file.starts_with(place));
    let others: Vec<_> = files.iter().filter(|file| !is_test(file) && !allowed(file)).collect();
    assert!(others.is_empty(), "these read the machine's clock: {others:#?}");
    let stale: Vec<_> = READS_THE_MACHINES_CLOCK
        .iter()
        .filter(|place| !files.iter().any(|file| file.starts_with(place)))
        .collect();
    assert!(stale.is_empty(), "these do not: {stale:?}");
}

/// The first word after each `prefix` in the README's code blocks and code spans.
fn commands_in(text: &str, prefix: &str) -> BTreeSet<String> {
    let code = text.split('`').skip(1).step_by(2).chain(text.split("```").skip(1).step_by(2));
    let lines = code.flat_map(str::lines).map(|line| line.trim_start().trim_start_matches("$ "));
    let rest = lines.filter_map(|line| line.strip_prefix(prefix));
    rest.filter_map(|rest| rest.split_whitespace().next())
        .filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn commands_are_found_in_a_readme() {
    let text = "Run `cargo xtask demo`:\n```sh\n$ chaperone check x.yaml\ncargo xtask test --quick\n```\nchaperone none";
    assert_eq!(commands_in(text, "cargo xtask ").into_iter().collect::<Vec<_>>(), ["demo", "test"]);
    assert_eq!(commands_in(text, "chaperone ").into_iter().collect::<Vec<_>>(), ["check"]);
}

#[test]
fn every_command_in_the_readme_exists() {
    let readme = read(Path::new("README.md")).unwrap();
    let tasks = commands_in(&readme, "cargo xtask ");
    assert!(tasks.contains("demo") && tasks.contains("test"), "the README must show both: {tasks:?}");
    let usage = read(Path::new("tests/xtask/src/main.rs")).unwrap();
    for task in tasks {
        assert!(usage.contains(&format!("Some(\"{task}\")")), "`cargo xtask {task}` does not exist");
    }
    let chaperone = tools::chaperone().unwrap();
    for command in commands_in(&readme, "chaperone ") {
        let ran = process::run(Command::new(&chaperone).args([&command, "--help"]), "").unwrap();
        assert!(ran.status.success(), "`chaperone {command} --help` failed: {}", ran.stderr);
    }
}

/// Names in code spans that are long enough to be a sentence, and so a test's.
fn tests_named_in(text: &str) -> BTreeSet<String> {
    let spans = text.split('`').skip(1).step_by(2).map(|span| span.rsplit("::").next().unwrap_or(span));
    let is_name = |span: &&str| span.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let is_sentence = |span: &&str| span.matches('_').count() >= 3;
    spans.filter(is_name).filter(is_sentence).map(str::to_owned).collect()
}

/// Functions that a test runner runs: those with an attribute, and those of a file that its list of cases names.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in every_source() {
        let text = read(&file).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            let name =
                line.split_once("fn ").map(|(_, rest)| rest.split(['(', '<']).next().unwrap_or_default());
            match name {
                Some(name) if !line.starts_with("//") => {
                    let listed = text.contains("cases!") && text.matches(name).count() > 1;
                    if marked || listed {
                        tests.insert(name.to_owned());
                    }
                    marked = false;
                }
                _ if line.starts_with("#[") => marked |= line.contains("test"),
                _ if line.starts_with("//") => {}
                _ => marked = false,
            }
        }
    }
    tests
}

/// A table that names a test which is gone says that something is held, and nothing holds it.
#[test]
fn every_test_that_a_table_names_exists() {
    let tests = tests();
    assert!(tests.contains("every_test_that_a_table_names_exists") && tests.len() > 400, "{}", tests.len());
    // ARCHITECTURE names other functions, too, and limits; these must exist all the same.
    let host: String = rust_files("host").unwrap().iter().map(|file| read(file).unwrap()).collect();
    let exists = |name: &str| host.contains(&format!("fn {name}")) || host.contains(&format!("pub {name}: "));
    for page in ["tests/e2e/attack/README.md", "host/ARCHITECTURE.md"] {
        let named = tests_named_in(&read(Path::new(page)).unwrap());
        assert!(named.len() > 50, "{page} names only {}", named.len());
        let other = |name: &str| page.starts_with("host") && exists(name);
        let gone: Vec<&String> = named.iter().filter(|name| !tests.contains(*name) && !other(name)).collect();
        assert!(gone.is_empty(), "{page} names tests that do not exist: {gone:#?}");
    }
}

/// PEERS' classes of attacks on PostgreSQL: each has a row, and each row a test or the reason why there is none.
#[test]
fn every_class_of_attacks_has_its_tests() {
    let page = read(Path::new("tests/e2e/attack/README.md")).unwrap();
    for class in
        ["PostgreSQL", "Masking side channels", "Listener", "Revocation lag", "Terminal escapes", "Disk full"]
    {
        assert!(page.contains(&format!("| **{class}** |")), "no row for {class}");
    }
    let (_, table) = page.split_once("## What broke elsewhere").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).collect();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for row in rows.iter().filter(|row| !row.ends_with("tests |")) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let reason = tests.starts_with("does not arise") || tests.starts_with("so it is here, on purpose");
        assert!(reason || !tests_named_in(tests).is_empty(), "a row without a test: {row}");
    }
}

/// What links and pictures of a document lead to in the repository, without anchors.
fn targets_in(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '<']));
    local.filter_map(|target| target.split('#').next()).collect()
}

#[test]
fn every_link_and_picture_in_a_document_is_there() {
    assert_eq!(targets_in("[a](b/c.md#d), ![e](f.png) [g](https://h/) [i](#j)"), ["b/c.md", "f.png"]);
    let (mut count, mut missing) = (0, Vec::new());
    for document in documents().unwrap() {
        let text = read(&document).unwrap();
        let folder = root().unwrap().join(document.parent().unwrap());
        for target in targets_in(&text) {
            count += 1;
            if !folder.join(target).exists() {
                missing.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(count > 500, "only {count} were found");
}
