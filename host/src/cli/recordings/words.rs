//! The gateway's own words about a session, and a target's, as sentences for people. Every text is cleaned here.

use crate::cli::print::clean;
use crate::protocol::postgres::render::{Bind, Report, Value, cut};
use crate::recorder::{Opening, SessionEnd};
use anstyle::{AnsiColor, Style};
use serde_json::Value as Json;
use std::fmt::Write;
use std::time::Duration;

/// Characters of a value that are shown.
pub(super) const MAX_VALUE: usize = 60;
/// Parameters that are shown of one Bind.
const MAX_PARAMETERS: usize = 32;

pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();

/// Who, where, under what.
pub(super) fn head(body: &Json) -> String {
    let Ok(Opening { started, head }) = serde_json::from_value::<Opening>(body.clone()) else {
        return "a head that cannot be read\n".into();
    };
    let identity = &head.identity;
    let mut out = format!(
        "{BOLD}{}{BOLD:#} on {BOLD}{}{BOLD:#} ({})\n",
        head.session,
        clean(&head.target.to_string()),
        clean(&head.protocol)
    );
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {DIM}{name:<8}{DIM:#} {}", clean(&text));
    };
    let name = identity.display_name.as_deref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    line("who", format!("{}, {}{name}", identity.principal, identity.kind));
    if !identity.actor.is_empty() {
        line("through", identity.actor.clone());
    }
    let approved: Vec<String> = head.approved_by.iter().map(ToString::to_string).collect();
    let approved =
        if approved.is_empty() { String::new() } else { format!(", approved by {}", approved.join(", ")) };
    let request = head.request.as_deref().map(|id| format!(", asked for with {id}")).unwrap_or_default();
    line("window", format!("{} of grant {}{request}{approved}", head.window, head.grant));
    if let Some(role) = &head.requested_role {
        line("role", role.clone());
    }
    if let Some(role) = &head.target_role {
        line("as", format!("{role} at the target"));
    }
    line("from", head.client_address.clone());
    for plugin in &head.plugins {
        line("plugin", format!("{} {} (sha256 {})", plugin.name, plugin.version, cut(&plugin.digest, 13)));
    }
    line(
        "started",
        format!("{} by chaperone {}", started.strftime("%Y-%m-%d %H:%M:%SZ"), head.gateway_version),
    );
    out.push('\n');
    out
}

pub(super) fn decision(body: &Json) -> String {
    let text = |pointer: &str| clean(body.pointer(pointer).and_then(Json::as_str).unwrap_or_default());
    let mut out = match body.pointer("/decision").and_then(Json::as_str) {
        Some("allow") => format!("{GREEN}allowed{GREEN:#}"),
        Some("refuse") => match body.pointer("/refusal") {
            Some(told) => refusal("REFUSED", told),
            None => format!("{RED}REFUSED{RED:#}"),
        },
        Some("hold") => format!("{YELLOW}needs approval{YELLOW:#}"),
        _ => text("/decision"),
    };
    let mut facts: Vec<String> = Vec::new();
    let classes = body.pointer("/statements").and_then(Json::as_array).into_iter().flatten();
    facts.extend(classes.filter_map(|facts| facts.get("class")?.as_str()).map(clean));
    if let Some(risk) = body.pointer("/risk").and_then(Json::as_u64).filter(|risk| *risk > 0) {
        facts.push(format!("risk {risk}"));
    }
    let refused = body.pointer("/decision").and_then(Json::as_str) == Some("refuse");
    if !facts.is_empty() && !refused {
        let _ = write!(out, " {DIM}({}){DIM:#}", facts.join(", "));
    }
    for finding in body.pointer("/findings").and_then(Json::as_array).into_iter().flatten() {
        let field = |name: &str| clean(finding.get(name).and_then(Json::as_str).unwrap_or_default());
        let risk = finding.get("risk").and_then(Json::as_u64).unwrap_or(0);
        let _ = write!(out, "\nfinding {} (risk {risk}): {}", field("rule"), field("detail"));
    }
    out
}

pub(super) fn refusal(word: &str, body: &Json) -> String {
    let text = |pointer: &str| clean(body.pointer(pointer).and_then(Json::as_str).unwrap_or_default());
    let mut out = format!("{RED}{word}{RED:#} {}: {}", text("/code"), text("/message"));
    for (name, pointer) in [("why", "/detail"), ("hint", "/hint")] {
        let line = text(pointer);
        if !line.is_empty() {
            let _ = write!(out, "\n{name}: {line}");
        }
    }
    out
}

pub(super) fn hold(body: &Json) -> String {
    let id = clean(body.pointer("/hold").and_then(Json::as_str).unwrap_or_default());
    let mut out = format!("{YELLOW}HELD{YELLOW:#} as {id}");
    for terms in body.pointer("/terms").and_then(Json::as_array).into_iter().flatten() {
        let text = |name: &str| clean(terms.get(name).and_then(Json::as_str).unwrap_or_default());
        let number = |name: &str| terms.get(name).and_then(Json::as_u64).unwrap_or(0);
        let timeout = took(number("timeout_seconds").saturating_mul(1_000_000));
        let _ = write!(
            out,
            "\nwaits for {} of {}, at most {timeout}: {}",
            number("needed"),
            text("approvers"),
            text("reason")
        );
    }
    out
}

pub(super) fn resolved(body: &Json, after: Option<&str>) -> String {
    let text = |pointer: &str| clean(body.pointer(pointer).and_then(Json::as_str).unwrap_or_default());
    let after = after.map(|after| format!(" after {after}")).unwrap_or_default();
    let outcome = text("/outcome");
    if outcome == "approved" {
        let by = body.pointer("/by").and_then(Json::as_array).into_iter().flatten();
        let by: Vec<String> = by.filter_map(Json::as_str).map(clean).collect();
        return format!("{GREEN}approved{GREEN:#} by {}{after}", by.join(", "));
    }
    let detail = text("/detail");
    let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
    format!("{RED}NOT APPROVED{RED:#}{after}: {outcome}{detail}")
}

pub(super) fn end(body: &Json) -> String {
    let Ok(end) = serde_json::from_value::<SessionEnd>(body.clone()) else {
        return "an end that cannot be read".into();
    };
    let reason = serde_json::to_value(end.reason).unwrap_or_default();
    let mut out = format!("{BOLD}end{BOLD:#}: {}", clean(reason.as_str().unwrap_or_default()));
    if let Some(code) = &end.code {
        let _ = write!(out, " ({})", clean(code));
    }
    if !end.detail.is_empty() {
        let _ = write!(out, ": {}", clean(&end.detail));
    }
    out
}

pub(super) fn outcome(result: &Json, copied_bytes: u64) -> String {
    let number = |name: &str| result.get(name).and_then(Json::as_u64).unwrap_or(0);
    let tag = clean(result.get("tag").and_then(Json::as_str).unwrap_or_default());
    let mut parts = Vec::new();
    if !tag.is_empty() {
        parts.push(tag);
    }
    if number("rows") > 0 || number("masked") > 0 {
        parts.push(format!("{}, {} masked", counted(number("rows"), "row"), number("masked")));
    }
    if copied_bytes > 0 {
        parts.push(format!("{copied_bytes} bytes"));
    }
    parts.push(took(number("micros")));
    parts.join(" · ")
}

pub(super) fn parameters(bind: &Bind) -> String {
    if bind.count == 0 {
        return "binds nothing".into();
    }
    let mut out = String::from("binds");
    for (index, value) in bind.values.iter().take(MAX_PARAMETERS).enumerate() {
        let separator = if index == 0 { " " } else { ", " };
        let _ = write!(out, "{separator}${} = {}", index + 1, clean(&literal(value)));
    }
    let shown = bind.values.len().min(MAX_PARAMETERS);
    if shown < bind.count {
        let _ = write!(out, " … and {} more", bind.count - shown);
    }
    out
}

fn literal(value: &Value) -> String {
    match value {
        Value::Text(_) => format!("'{}'", value.show(MAX_VALUE)),
        other => other.show(MAX_VALUE),
    }
}

pub(super) fn words(report: &Report) -> String {
    let mut out =
        format!("{} {}: {}", clean(&report.severity), clean(&report.sqlstate), clean(&report.message));
    for (name, text) in [("detail", &report.detail), ("hint", &report.hint)] {
        if !text.is_empty() {
            let _ = write!(out, "\n{name}: {}", clean(text));
        }
    }
    out
}

/// A duration with as much precision as anybody reads.
pub(super) fn took(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => humantime::format_duration(Duration::from_secs(micros / 1_000_000)).to_string(),
    }
}

pub(super) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

pub(super) fn fault(body: &Json) -> String {
    let text = |pointer: &str| clean(body.pointer(pointer).and_then(Json::as_str).unwrap_or_default());
    let (plugin, hook, kind, detail) = (text("/plugin"), text("/hook"), text("/kind"), text("/detail"));
    format!("{RED}FAULT{RED:#} plugin {plugin} in {hook}: {kind}: {detail}")
}

pub(super) fn truncated(body: &Json) -> String {
    let text = |pointer: &str| clean(body.pointer(pointer).and_then(Json::as_str).unwrap_or_default());
    let (kind, limit) = (text("/kind"), text("/limit"));
    format!("{YELLOW}not recorded from here on{YELLOW:#}: {kind} reached its limit ({limit})")
}

pub(super) fn masked(body: &Json) -> String {
    let columns = body.pointer("/columns").and_then(Json::as_array);
    let names: Vec<_> = columns.into_iter().flatten().filter_map(Json::as_str).map(clean).collect();
    format!("masked: {}", names.join(", "))
}
