//! Attempts to get something past a preset: the list is in `bypass.txt`, and only grows.

use crate::{guard, verdict};

const ATTEMPTS: &str = include_str!("bypass.txt");

/// There shall not be fewer.
const MIN_ATTEMPTS: usize = 200;

struct Attempt {
    presets: &'static str,
    rule: &'static str,
    text: String,
}

fn attempts() -> Vec<Attempt> {
    let lines = ATTEMPTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let attempt = |line: &'static str| {
        let (presets, rest) = line.split_at(4);
        let (rule, text) = rest.split_at(22);
        Attempt { presets: presets.trim(), rule: rule.trim(), text: unescape(text) }
    };
    lines.map(attempt).collect()
}

fn unescape(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut out = pieces.next().unwrap_or_default().to_owned();
    while let Some(piece) = pieces.next() {
        let Some(escape) = piece.chars().next() else {
            // A backslash, and what follows it as it is.
            out.push('\\');
            out.push_str(pieces.next().unwrap_or_default());
            continue;
        };
        let rest = match escape {
            'n' => ("\n".to_owned(), &piece[1..]),
            'r' => ("\r".to_owned(), &piece[1..]),
            't' => ("\t".to_owned(), &piece[1..]),
            'u' => {
                let (hex, rest) = piece[2..].split_once('}').expect("a closing brace");
                let code = u32::from_str_radix(hex, 16).expect("hexadecimal");
                (char::from_u32(code).expect("a character").to_string(), rest)
            }
            other => panic!("\\{other} is no escape here"),
        };
        out.push_str(&rest.0);
        out.push_str(rest.1);
    }
    out
}

#[test]
fn nothing_gets_past() {
    let attempts = attempts();
    assert!(attempts.len() >= MIN_ATTEMPTS, "only {} attempts", attempts.len());
    let mut wrong = Vec::new();
    for (letter, config) in [
        ('R', r#"{"preset": "read-only"}"#),
        ('N', r#"{"preset": "no-ddl"}"#),
        ('W', "{}"),
        ('*', r#"{"preset": "none", "rules": [{"class": "*", "action": "allow"}]}"#),
    ] {
        let guard = guard(config);
        for Attempt { presets, rule, text } in &attempts {
            if !presets.contains(letter) {
                continue;
            }
            let response = guard.check_text(text);
            let found = verdict(&response);
            if found != *rule {
                wrong.push(format!("{letter} {text:?}: {found} (expected {rule})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn deep_and_long_texts_are_refused_cleanly() {
    let guard = guard("{}");
    for (text, rule) in [
        (format!("select {}1{}", "(".repeat(50_000), ")".repeat(50_000)), "sql.too-complex"),
        (format!("select {}1", "not ".repeat(50_000)), "sql.too-complex"),
        (format!("select {}1", "case when ".repeat(20_000)), "sql.too-complex"),
        (format!("{}1{}", "select (".repeat(5_000), ")".repeat(5_000)), "sql.too-complex"),
        (format!("select '{}'", "a".repeat(300_000)), "sql.too-large"),
        ("select 1;".repeat(2_000), "sql.too-complex"),
        (format!("select {}", vec!["f(1)"; 60_000].join(",")), "sql.too-large"),
        (
            format!("select 1 from {}", (0..300).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",")),
            "sql.too-complex",
        ),
        (
            format!("select {}", (0..300).map(|n| format!("f{n}()")).collect::<Vec<_>>().join(",")),
            "sql.too-complex",
        ),
    ] {
        let response = guard.check_text(&text);
        assert_eq!(verdict(&response), rule, "{}", text.get(..40).unwrap_or_default());
    }
}

/// Texts as deep as the bound lets through, each a different way for the parser to recurse.
#[test]
fn what_is_let_through_does_not_exhaust_the_stack() {
    const PIECES: &[(&str, &str, &str)] = &[
        ("select ", "(", ")"),
        ("select ", "not ", ""),
        ("select ", "- ", ""),
        ("select ", "@ ", ""),
        ("select ", "array[", "]"),
        ("select ", "f(", ")"),
        ("select ", "(select ", ")"),
        ("select ", "exists (select ", ")"),
        ("select ", "case when ", " then 1 end"),
        ("select ", "case when 1 then 1 else ", " end"),
        ("select ", "1 = ", ""),
        ("select ", "1 || ", ""),
        ("select ", "a -> ", ""),
        ("select ", "1 in (1) in ", ""),
        ("select ", "1 between 1 and ", ""),
        ("select ", "operator(+) ", ""),
        ("select ", "a is distinct from ", ""),
        ("select * from ", "(select * from ", ") x"),
        ("select * from ", "(a join ", " on true)"),
        ("select * from ", "a join ", " on true"),
        ("select * from ", "a cross join ", ""),
        ("", "with x as (", ") select 1"),
        ("", "explain ", ""),
        ("", "prepare x as ", ""),
        ("", "create function f() begin atomic ", "; end"),
        ("select ", "x::int[", "]"),
        ("select ", "row(", ")"),
        ("select ", "cast(", " as int)"),
    ];
    let run = || {
        let guard = guard("{}");
        for (head, open, close) in PIECES {
            let mut deepest = 0;
            for depth in (1..220).rev() {
                let text = format!("{head}{}1{}", open.repeat(depth), close.repeat(depth));
                if verdict(&guard.check_text(&text)) != "sql.too-complex" {
                    deepest = deepest.max(depth);
                }
            }
            assert!(deepest > 10, "{open}: not even {deepest}");
        }
    };
    // Half of what a thread of a test has; a plugin has at least as much, and its frames are smaller.
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("no overflow");
}
