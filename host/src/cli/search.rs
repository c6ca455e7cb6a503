//! `chaperone search`: what was done, in all sessions.

use super::client::Client;
use super::failure::{Exit, Failure};
use super::print::{self, Audience, cell, clean};
use anstyle::{AnsiColor, Style};
use chaperone_core::name::{SessionId, TargetName};
use clap::Args;
use reqwest::Url;
use serde_json::Value;
use std::fmt::Write;

const MARK: Style = AnsiColor::Yellow.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// What to look for. Everything that is given has to match.
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// Words that are all in the statement or its parameters; several in a row in double quotes
    pub words: Vec<String>,
    /// On this target
    #[arg(long, value_name = "NAME")]
    pub target: Option<TargetName>,
    /// By this principal, or by its last part alone
    #[arg(long, value_name = "PRINCIPAL")]
    pub principal: Option<String>,
    /// In this session
    #[arg(long, value_name = "SESSION")]
    pub session: Option<SessionId>,
    /// Touching this table: NAME or SCHEMA.NAME
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// With this finding: a rule, or its beginning up to a dot
    #[arg(long, value_name = "RULE")]
    pub finding: Option<String>,
    /// What became of it
    #[arg(long, value_name = "DECISION", value_parser = ["allowed", "refused", "held"])]
    pub decision: Option<String>,
    /// Approved by this principal, or by its last part alone: the operation, or the window
    #[arg(long, value_name = "PRINCIPAL")]
    pub approver: Option<String>,
    /// Not before this: 2026-12-24T18:00:00Z, or how long ago, such as 7d
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// Before this
    #[arg(long, value_name = "MOMENT")]
    pub until: Option<String>,
    /// The most that are shown, newest first
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    pub limit: u16,
    /// Go on where an answer before has said
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<i64>,
}

/// Asks a gateway.
pub(crate) async fn search(client: &Client, args: &SearchArgs, audience: Audience) -> Result<Exit, Failure> {
    let answer = client.get(&path(args)?).await?;
    match audience {
        Audience::Programs => print::json(&answer),
        Audience::People => print::out(&told(&answer)),
    }
    Ok(Exit::Done)
}

fn path(args: &SearchArgs) -> Result<String, Failure> {
    let mut url = Url::parse("https://gateway.invalid").map_err(|error| {
        Failure::usage(format!("a question cannot be made: {error}"), "report this as a fault of chaperone")
    })?;
    let words = (!args.words.is_empty()).then(|| args.words.join(" "));
    let given = [
        ("words", words),
        ("target", args.target.as_ref().map(ToString::to_string)),
        ("principal", args.principal.clone()),
        ("session", args.session.map(|session| session.to_string())),
        ("table", args.table.clone()),
        ("finding", args.finding.clone()),
        ("decision", args.decision.clone()),
        ("approver", args.approver.clone()),
        ("since", args.since.clone()),
        ("until", args.until.clone()),
        ("limit", Some(args.limit.to_string())),
        ("cursor", args.cursor.map(|cursor| cursor.to_string())),
    ];
    let given = given.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    url.query_pairs_mut().extend_pairs(given);
    Ok(format!("/api/v1/search?{}", url.query().unwrap_or_default()))
}

/// Three lines for an operation: where and what became of it, who, and the text.
fn told(answer: &Value) -> String {
    let found = answer.get("operations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut out = String::new();
    for one in found {
        let at = |pointer: &str| cell(one.pointer(pointer));
        let findings = one.pointer("/operation/decision/findings").and_then(Value::as_array);
        let rules = findings.into_iter().flatten().map(|finding| cell(finding.get("rule")));
        let rules: Vec<String> = rules.collect();
        let rules = if rules.is_empty() { String::new() } else { format!(" ({})", rules.join(", ")) };
        let _ = writeln!(
            out,
            "{}  {} #{} on {}: {}{rules}\n  {DIM}by {} ({}){DIM:#}\n  {}",
            at("/at"),
            at("/session"),
            at("/number"),
            at("/target"),
            at("/decisions"),
            at("/principal"),
            at("/caller/kind"),
            snippet(one.get("snippet"))
        );
    }
    match (found.is_empty(), answer.get("indexing").and_then(Value::as_str)) {
        (true, Some("no")) => {
            out.push_str("nothing was found: this gateway indexes nothing (recording.search)\n")
        }
        (true, _) => out.push_str("nothing was found\n"),
        (false, _) => {}
    }
    if let Some(next) = answer.get("next").and_then(Value::as_str) {
        let _ = writeln!(out, "{DIM}there may be more: --cursor {}{DIM:#}", clean(next));
    }
    out
}

fn snippet(pieces: Option<&Value>) -> String {
    let mut out = String::new();
    for piece in pieces.and_then(Value::as_array).into_iter().flatten() {
        let text = clean(piece.get("text").and_then(Value::as_str).unwrap_or_default());
        let _ = match piece.get("marked").and_then(Value::as_bool) {
            Some(true) => write!(out, "{MARK}{text}{MARK:#}"),
            _ => write!(out, "{text}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use serde_json::json;

    #[test]
    fn what_is_typed_is_one_value_of_its_own_parameter() {
        let line = [
            "chaperone",
            "search",
            "a&limit=9",
            "\"b c\"",
            "--table",
            "x y",
            "--since",
            "7d",
            "--decision",
            "held",
        ];
        let Command::Search(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("another command")
        };
        assert_eq!(
            path(&args).unwrap(),
            "/api/v1/search?words=a%26limit%3D9+%22b+c%22&table=x+y&decision=held&since=7d&limit=50"
        );
    }

    #[test]
    fn what_was_found_cannot_steer_the_terminal() {
        let evil = "\u{1b}]0;x\u{7}\u{202e}";
        let one = json!({
            "session": evil, "number": 1, "target": evil, "principal": evil, "decisions": [evil], "at": evil,
            "operation": { "decision": { "findings": [{ "rule": evil }] } },
            "snippet": [{ "text": evil }, { "text": evil, "marked": true }],
        });
        let shown = told(&json!({ "operations": [one], "next": evil }));
        let shown = anstream::adapter::strip_str(&shown).to_string();
        assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown:?}");
        assert!(told(&json!({ "operations": [], "indexing": "no" })).contains("recording.search"));
    }
}
