//! What a bundle says as one page: no script, nothing from elsewhere, and every text of an agent or a target as text.
//!
//! What stands in front of the sessions is made by `front`.
//!
//! It is written as recordings are read, an operation at a time. Of a long session the first [`SHOWN`] operations are shown, and of
//! the rest those that an auditor looks for, as far as [`NOTABLE`]: no browser shows a million rows. All are in `operations.csv`.

mod front;

use super::folder::Writing;
use super::gather::Item;
use super::{Evidence, told};
use crate::cli::failure::{Exit, Failure};
use crate::console::text::visible;
use crate::recorder::{Opening, ReadError};
use crate::story::Operation;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

/// Operations that are shown of a session, whatever they are.
const SHOWN: u64 = 2_000;
/// How many are shown beyond that which were refused, held or failed, or that have findings.
const NOTABLE: u64 = 8_000;

const STYLE: &str = include_str!("style.css");

/// A page that is being written.
pub(super) struct Page {
    out: Writing,
    shown: u64,
    notable: u64,
    left_out: u64,
}

/// Writes what stands in front of the sessions.
pub(super) fn begin(out: Writing, evidence: &Evidence) -> Result<Page, Failure> {
    let mut page = Page { out, shown: 0, notable: 0, left_out: 0 };
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy =
        format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'");
    let title = format!("Evidence: {} recordings", evidence.items.len());
    let head = html! {
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy);
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="referrer" content="no-referrer";
            title { (title) }
            style { (PreEscaped(STYLE)) }
        }
    };
    page.write(&html! { (DOCTYPE) })?;
    page.raw("<html lang=\"en\">")?;
    page.write(&head)?;
    page.raw("<body>")?;
    page.write(&html! {
        a .skip href="#sessions" { "To the sessions" }
        header {
            h1 { (title) }
            p {
                "Recordings " (visible(&evidence.selection.to_string())) ". Made " (told::moment(Some(evidence.made)))
                " by chaperone " (env!("CARGO_PKG_VERSION")) ". All times are UTC."
            }
        }
    })?;
    page.raw("<main>")?;
    page.write(&front::verification(evidence))?;
    page.write(&front::overview(evidence))?;
    page.write(&front::deleted(evidence))?;
    Ok(page)
}

/// A table that is wider than a small screen scrolls by itself, also by keys.
fn wide(name: &str, table: Markup) -> Markup {
    html! { div .wide tabindex="0" role="region" aria-label=(name) { table { (table) } } }
}

fn titles(caption: &str, titles: &[&str]) -> Markup {
    html! {
        caption { (caption) }
        thead { tr { @for title in titles { th scope="col" { (title) } } } }
    }
}

/// Two files of one session have a place each.
fn anchor(item: &Item) -> String {
    match &item.copy {
        Some(copy) => copy.replace('/', "."),
        None => item.session.to_string(),
    }
}

impl Page {
    fn raw(&mut self, markup: &str) -> Result<(), Failure> {
        self.out.all(markup.as_bytes())
    }

    fn write(&mut self, markup: &Markup) -> Result<(), Failure> {
        self.out.all(markup.0.as_bytes())
    }

    /// Begins a session: who, where, under what.
    pub(super) fn session(&mut self, item: &Item) -> Result<(), Failure> {
        (self.shown, self.notable, self.left_out) = (0, 0, 0);
        self.raw("\n<section class=\"session\">")?;
        self.write(&html! {
            h2 id=(anchor(item)) { "Session " (item.session) }
            dl {
                dt { "Verification" } dd { @match item.exit {
                    Exit::Done => span .ok { (item.word("status")) },
                    _ => span .bad { (item.word("status")) ": " (visible(item.word("problem"))) },
                } }
                (fact("Recording", item.copy.as_deref().unwrap_or("not in this bundle")))
                (fact("Last hash", item.word("last_hash")))
                (fact("Signed by", item.word("key_id")))
                (fact("Preserved by", item.preserved.as_deref().unwrap_or_default()))
                @if let Some(opening) = told::opening(item) { (facts(opening)) }
                (ending(item))
            }
            @if let Some(opening) = told::opening(item) { (plugins(item, opening)) }
            h3 { "Operations" }
        })?;
        // Anchors are made of ids, not of texts.
        self.raw(&format!(
            "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Operations of {}\"><table>",
            anchor(item)
        ))?;
        const TITLES: [&str; 7] =
            ["Number", "Time", "Operation", "Decision", "Findings", "Masked columns", "Answer"];
        self.write(&titles("In the order in which they were answered", &TITLES))?;
        self.raw("<tbody>")
    }

    /// A row.
    pub(super) fn operation(&mut self, item: &Item, one: &Operation) -> Result<(), Failure> {
        if self.shown < SHOWN {
            self.shown += 1;
        } else if is_notable(one) && self.notable < NOTABLE {
            self.notable += 1;
        } else {
            self.left_out += 1;
            return Ok(());
        }
        self.write(&row(item, one))
    }

    /// Ends a session, and says where it breaks.
    pub(super) fn end(
        &mut self,
        item: &Item,
        stopped: Option<&ReadError>,
        warnings: &[Value],
    ) -> Result<(), Failure> {
        self.raw("</tbody></table></div>")?;
        self.write(&html! {
            @if self.shown == 0 { p .quiet { "No operation was read." } }
            @if self.left_out > 0 {
                p { "Not shown are " (self.left_out) " more of this session. They are in " code { "operations.csv" } "." }
            }
            @match stopped {
                Some(error @ ReadError::NeedsKey { .. }) => p .waits {
                    "What it says was not read: " (visible(&error.to_string())) ". It was copied and verified as it is."
                },
                Some(error) => p .bad {
                    "The recording breaks here: " (visible(&error.to_string())) ". What is above is as it was written."
                },
                None => {},
            }
            @if item.is_live() { p .waits { "The session still ran when this was made: this is what was recorded so far." } }
            @if !warnings.is_empty() {
                h3 { "Also recorded" }
                ul { @for warning in warnings { li { (told::moment(told::at(item, at_us(warning)))) " " code { (visible(&said(warning))) } } } }
            }
        })?;
        self.raw("</section>")
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> Result<Writing, Failure> {
        self.raw("</main></body></html>\n")?;
        Ok(self.out)
    }
}

fn at_us(warning: &Value) -> u64 {
    warning.get("at_us").and_then(Value::as_u64).unwrap_or_default()
}

fn said(warning: &Value) -> String {
    warning.get("said").map(ToString::to_string).unwrap_or_default()
}

/// A fact, if it is known.
fn fact(name: &str, text: &str) -> Markup {
    html! { @if !text.is_empty() { dt { (name) } dd { (visible(text)) } } }
}

fn facts(Opening { started, head }: &Opening) -> Markup {
    let identity = &head.identity;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let token = format!(
        "{}, issued {}, expires {}",
        identity.credential_id,
        told::moment(Some(identity.issued_at)),
        told::moment(Some(identity.expires_at))
    );
    let roles = told::listed(identity.roles.iter().cloned());
    let approved = told::approved_by(head);
    html! {
        (fact("Principal", &identity.principal.to_string()))
        (fact("Kind", identity.kind.as_str()))
        (fact("Calls itself", &text(&identity.display_name)))
        (fact("Comes through", &identity.actor))
        (fact("Blueprint", &text(&identity.blueprint)))
        (fact("Sponsors", &told::sponsors(identity)))
        (fact("Groups", &told::groups(identity)))
        (fact("Roles", &roles))
        (fact("Credential", &token))
        (fact("Target", &format!("{} ({})", head.target, head.protocol)))
        (fact("Grant", &head.grant))
        (fact("Window", &head.window))
        (fact("Request", head.request.as_deref().unwrap_or("none: not from a request")))
        (fact("Window approved by", if approved.is_empty() { "nobody: the policy opened it" } else { &approved }))
        (fact("Role asked for", &text(&head.requested_role)))
        (fact("Role at the target", &text(&head.target_role)))
        (fact("From", &head.client_address))
        (fact("Started", &told::moment(Some(*started))))
        (fact("Gateway", &format!("chaperone {}", head.gateway_version)))
    }
}

fn ending(item: &Item) -> Markup {
    let footer = item.glance.as_ref().and_then(|glance| glance.footer.as_ref());
    let Some(end) = footer.map(|footer| &footer.end) else {
        return fact("Ended", if item.is_live() { "not yet" } else { "unknown: it was not sealed" });
    };
    let reason = serde_json::json!(end.reason);
    let code = end.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    html! {
        (fact("Ended", &told::moment(Some(end.ended))))
        (fact("Ended by", &format!("{}{code}", reason.as_str().unwrap_or_default())))
        (fact("How", &end.detail))
    }
}

fn plugins(item: &Item, opening: &Opening) -> Markup {
    const TITLES: [&str; 5] = ["Plugin", "Version", "SHA-256", "SHA-256 of its configuration", "Asked at"];
    html! {
        h3 { "Plugins" }
        (wide(&format!("Plugins of {}", anchor(item)), html! {
            (titles("These judged and masked every operation below, in this order", &TITLES))
            tbody { @for plugin in &opening.head.plugins { tr {
                th scope="row" { (visible(&plugin.name)) }
                td { (visible(&plugin.version)) }
                td { code { (visible(&plugin.digest)) } }
                td { code { (visible(&plugin.config_hash)) } }
                td { (visible(&plugin.hooks.join(", "))) }
            } } }
        }))
    }
}

fn is_notable(one: &Operation) -> bool {
    let found = one.decision.as_ref().is_some_and(|decided| !decided.findings.is_empty());
    found || one.was_refused() || one.was_held() || one.error.is_some() || !one.faults.is_empty()
}

fn row(item: &Item, one: &Operation) -> Markup {
    let decided = one.decision.as_ref();
    let findings = decided.map(told::findings).unwrap_or_default();
    let parameters = one.parameters.as_ref().map(told::parameters);
    let cut = one.text_bytes > one.text.len() as u64;
    html! {
        tr {
            th scope="row" { (one.number) @if let Some(of) = one.of { span .quiet { " executes " (of) } } }
            td { (told::moment(told::at(item, one.at_us))) }
            td .text {
                @if one.form != "query" && one.of.is_none() { span .quiet { (visible(&one.form)) } }
                pre { (visible(&one.text)) }
                @if cut { p .quiet { "The first of " (one.text_bytes) " bytes." } }
                @if let Some(parameters) = parameters { p { "binds " code { (visible(&parameters)) } } }
                @if !one.tables.is_empty() { p .quiet { "names " (visible(&one.tables.join(", "))) } }
            }
            td { (decision(item, one)) }
            td { @if !findings.is_empty() { ul { @for finding in findings { li { (visible(&finding)) } } } } }
            td { (visible(&one.masked_columns.join(", "))) }
            td { (answer(one)) }
        }
    }
}

fn decision(item: &Item, one: &Operation) -> Markup {
    let outcome = told::outcome(one);
    let class = match outcome {
        "allowed" | "approved" => "ok",
        "waits" => "waits",
        _ => "bad",
    };
    let risk = one.decision.as_ref().map(|decided| decided.risk).filter(|risk| *risk > 0);
    let named = told::named(one, item);
    html! {
        span class=(class) { (outcome) }
        @if let Some(risk) = risk { " (risk " (risk) ")" }
        @if let Some(hold) = &one.hold {
            p { "held as " (visible(&hold.hold)) }
            ul { @for terms in told::waited_for(one) { li { "waited for " (visible(&terms)) } } }
            @if !hold.approved_by.is_empty() { p { "approved by " (visible(&hold.approved_by.join(", "))) } }
            @if let Some(outcome) = &hold.outcome { p {
                (visible(outcome)) " " (told::moment(hold.until_us.and_then(|at_us| told::at(item, at_us)))) " " (visible(&hold.detail))
            } }
        }
        @if let Some(refusal) = &one.refusal {
            p { (visible(&refusal.code)) ": " (visible(&refusal.message)) " " (visible(&refusal.detail)) }
        }
        @if !one.faults.is_empty() { p .bad { "fault: " (visible(&told::faults(one))) } }
        @for plugin in named { p { "by " code { (visible(&plugin)) } } }
    }
}

fn answer(one: &Operation) -> Markup {
    html! {
        @if let Some(error) = &one.error { p .bad { "error of the " (visible(&error.side)) ": " (visible(&error.sqlstate)) } }
        @if one.results > 0 {
            (visible(&one.tag)) ", " (one.rows) " rows, " (one.masked_values) " values masked"
            @if let Some(took_us) = one.took_us { ", " (took_us) " µs" }
        }
        @if one.uploaded_bytes > 0 { p { (one.uploaded_bytes) " bytes sent" } }
        @if one.truncated { p .quiet { "Not all of it is recorded." } }
    }
}
