//! The check against PostgreSQL's own parser, on PostgreSQL's own regression tests: never less strict.
//!
//! The parser is libpg_query (PostgreSQL's grammar as a library), in the Python package `pglast`; the statements are
//! those of the source of PostgreSQL 15. `cargo xtask test` fetches both and says where they are in two variables; without
//! them this test says that it was left out.
//!
//! What must hold for every statement that PostgreSQL can read: it is one statement here as well, it has every class
//! that follows from the tree, every relation in it is named with what is done to it, every function is named. What
//! PostgreSQL cannot read never runs, whatever is said here. Being stricter is no fault, but counted, so that it stays rare.

mod kinds;
mod script;
mod tree;

use crate::{guard, verdict};
use chaperone_sdk::{Access, SqlResponse, StatementFacts};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tree::{Name, Oracle, Use};

/// Distinct statements that PostgreSQL can read, at least.
const MIN_STATEMENTS: usize = 20_000;

/// The same, of mutated texts.
const MIN_MUTATED: usize = 10_000;
/// Texts that PostgreSQL can read and that are refused whatever the rules say, per thousand, at most.
const MAX_STRICTER_PER_MILLE: usize = 1;

/// What a mutation puts into a text: everything that one lexer may read otherwise than the other.
const PIECES: &[&str] = &[
    " ",
    "\n",
    "\r",
    "\t",
    "\u{b}",
    "\u{c}",
    "\u{a0}",
    "\u{85}",
    "\u{200b}",
    "\u{2028}",
    "\u{feff}",
    "/**/",
    "/*",
    "*/",
    "/*/**/",
    "--",
    "--\n",
    "--\r",
    "-- x\r\n",
    "'",
    "''",
    "E'",
    "e'\\'",
    "b'",
    "x'",
    "n'",
    "U&'",
    "u&\"",
    "\"",
    "\"\"",
    "$$",
    "$a$",
    "$1",
    "$1a",
    "$",
    "\\",
    ";",
    ";;",
    ",",
    ".",
    "..",
    ":",
    "::",
    ":=",
    "=>",
    "=",
    "<>",
    "!=",
    "!",
    "?",
    "@",
    "#",
    "^",
    "&",
    "|",
    "~",
    "`",
    "%",
    "*",
    "+",
    "-",
    "- -",
    "+-",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "0x1",
    "1_0",
    "1.",
    ".5",
    "1e",
    "1e5x",
    "1a",
    "uescape",
    "é",
    "ſ",
    "\u{212a}",
    "as",
    "not",
    "null",
    "on",
    "only",
    "into x",
    "for update",
    "from t",
    "where true",
    "; drop table t;",
    "with x as (delete from t) ",
    "returning *",
    " union select lo_import('x') ",
    "'\n'\\''",
];

#[test]
fn it_is_never_less_strict_than_postgresql() {
    let Some(oracle) = Source::find() else { return };
    let compared = oracle.compare(&oracle.texts());
    compared.assert_never_less_strict();
    assert!(compared.read >= MIN_STATEMENTS, "only {} statements", compared.read);
    let stricter = compared.stricter.len();
    let listed = compared.stricter.join("\n");
    assert!(
        stricter * 1000 <= compared.read * MAX_STRICTER_PER_MILLE,
        "{stricter} times stricter:\n{listed}"
    );
}

/// Most of these are no SQL; what is left differs from SQL that people write where lexers may differ.
#[test]
fn it_is_never_less_strict_on_texts_that_nobody_writes() {
    let Some(oracle) = Source::find() else { return };
    let texts: Vec<String> =
        oracle.texts().iter().enumerate().map(|(seed, text)| mutated(text, seed)).collect();
    let compared = oracle.compare(&texts);
    compared.assert_never_less_strict();
    assert!(compared.read >= MIN_MUTATED, "only {} could be read", compared.read);
}

#[test]
fn statements_in_company_are_the_same_statements() {
    let Some(oracle) = Source::find() else { return };
    let texts: Vec<String> = oracle.texts().chunks(3).map(|texts| texts.join("\n;")).collect();
    let compared = oracle.compare(&texts);
    compared.assert_never_less_strict();
    assert!(compared.read >= MIN_STATEMENTS, "only {} statements", compared.read);
}

/// Where scripts and parser are.
struct Source {
    scripts: PathBuf,
    python: PathBuf,
}

/// What a comparison found.
#[derive(Default)]
struct Compared {
    /// Statements that PostgreSQL can read.
    read: usize,
    /// Texts that it can read and that are refused here whatever the rules say.
    stricter: Vec<String>,
    less_strict: Vec<String>,
}

impl Source {
    fn find() -> Option<Self> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let found = variable("CHAPERONE_REGRESSION_SQL").zip(variable("CHAPERONE_TEST_PYTHON"));
        if found.is_none() {
            eprintln!("left out: no regression tests of PostgreSQL here; `cargo xtask test` fetches them");
        }
        found.map(|(scripts, python)| Source { scripts, python })
    }

    fn texts(&self) -> Vec<String> {
        texts(&self.scripts)
    }

    fn compare(&self, texts: &[String]) -> Compared {
        let trees = parse(&self.python, texts);
        assert_eq!(trees.len(), texts.len(), "one answer for each text");
        let everything = guard(r#"{"preset": "none"}"#);
        let mut compared = Compared::default();
        for (text, tree) in texts.iter().zip(&trees) {
            if let Some(statements) = tree["stmts"].as_array() {
                compared.text(text, statements, &everything.check_text(text));
            }
        }
        compared
    }
}

impl Compared {
    fn text(&mut self, text: &str, statements: &[Value], response: &SqlResponse) {
        self.read += statements.len();
        if verdict(response) != "allow" {
            self.stricter.push(format!("{}: {}", verdict(response), short(text)));
            return;
        }
        let found = response.statements.iter().filter(|facts| facts.class != "empty").count();
        if found != statements.len() {
            self.less_strict.push(format!("{found} statements, not {}: {text}", statements.len()));
            return;
        }
        for (entry, facts) in statements.iter().zip(&response.statements) {
            let missing = missing(&Oracle::of(entry), facts);
            self.less_strict.extend(missing.into_iter().map(|what| format!("{what}: {text}")));
        }
    }

    fn assert_never_less_strict(&self) {
        let count = self.less_strict.len();
        let some = self.less_strict.iter().take(20).map(|text| short(text)).collect::<Vec<_>>().join("\n");
        assert!(count == 0, "{count} times less strict, such as\n{some}");
    }
}

/// A text with one or two pieces in places that its number decides.
fn mutated(text: &str, seed: usize) -> String {
    let mut state = seed as u64;
    let mut next = |below: usize| {
        // Knuth's generator (MMIX), whose high bits are good enough here.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut text = text.to_owned();
    for _ in 0..=next(2) {
        let piece = PIECES[next(PIECES.len())];
        let spaces: Vec<usize> = text.match_indices([' ', '\n']).map(|(index, _)| index).collect();
        if spaces.is_empty() || next(3) == 0 {
            let place = text.ceil_char_boundary(next(text.len() + 1));
            text.insert_str(place, piece);
        } else {
            let place = spaces[next(spaces.len())];
            text.replace_range(place..place + 1, piece);
        }
    }
    text
}

/// What PostgreSQL sees in a statement and the facts do not name.
fn missing(oracle: &Oracle, facts: &StatementFacts) -> Vec<String> {
    let mut missing = Vec::new();
    for (what, classes) in &oracle.classes {
        let within = |class: &String, wanted: &str| {
            class.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let found = facts.classes.iter().any(|class| classes.iter().any(|wanted| within(class, wanted)));
        if !found && !classes.is_empty() {
            missing.push(format!("{what} is no {} but {}", classes.join(" or "), facts.classes.join(", ")));
        }
    }
    for (how, name) in &oracle.relations {
        let found = facts.relations.iter().any(|relation| {
            let access = match how {
                Use::Names => true,
                Use::Reads => relation.access == Access::Read,
                Use::Writes => relation.access == Access::Write,
            };
            access && same(name, relation.schema.as_deref(), &relation.name)
        });
        if !found {
            missing.push(format!("{how:?} {name:?}"));
        }
    }
    for name in &oracle.functions {
        if !facts.functions.iter().any(|function| same(name, function.schema.as_deref(), &function.name)) {
            missing.push(format!("calls {name:?}"));
        }
    }
    missing
}

fn same(name: &Name, schema: Option<&str>, plain: &str) -> bool {
    name.0.as_deref() == schema && name.1 == plain
}

/// The distinct statements of all scripts below a folder.
fn texts(folder: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut seen = BTreeSet::new();
    let mut texts = Vec::new();
    for file in files {
        // A few scripts test other encodings; no text of theirs can reach the check.
        let Ok(script) = std::fs::read_to_string(&file) else { continue };
        for text in script::statements(&script) {
            if seen.insert(text.clone()) {
                texts.push(text);
            }
        }
    }
    texts
}

/// PostgreSQL's tree of each text; `null` for what it cannot read.
fn parse(python: &Path, texts: &[String]) -> Vec<Value> {
    let mut parser = Command::new(python)
        .args(["-c", include_str!("oracle/parse.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let input = serde_json::to_vec(texts).expect("JSON");
    let mut stdin = parser.stdin.take().expect("its input");
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = parser.wait_with_output().expect("it ends");
    writer.join().expect("a thread").expect("it reads all texts");
    assert!(output.status.success(), "the parser of the Python package pglast failed");
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(160).collect()
}
