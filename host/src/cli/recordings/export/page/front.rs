//! What stands in front of the sessions: whether all of it verifies, which sessions there are, and which are gone.

use super::{anchor, titles, visible, wide};
use crate::cli::failure::Exit;
use crate::cli::recordings::export::gather::Item;
use crate::cli::recordings::export::{Evidence, tables, told};
use crate::recorder::{Buried, EventKind};
use maud::{Markup, html};

pub(super) fn verification(evidence: &Evidence) -> Markup {
    let total = evidence.items.len();
    let failed = evidence.failed();
    html! {
        section {
            h2 #verification { "Verification" }
            @match evidence.exit() {
                Exit::Done => p .ok { "Everything verifies: " (total) " of " (total) " recordings." },
                _ => p .bad { "Not everything verifies: " (total - failed) " of " (total) " recordings do." },
            }
            p { "Trusted to sign is " (visible(&evidence.trust.to_string())) ". What this page says is what this program found when it was made; "
                code { "README.txt" } " says how to check it." }
            ul {
                @for line in evidence.verdict.sentences().lines() { li { (visible(line)) } }
            }
        }
    }
}

pub(super) fn overview(evidence: &Evidence) -> Markup {
    const TITLES: [&str; 10] = [
        "Session",
        "Started",
        "Principal",
        "Kind",
        "Target",
        "Operations",
        "Refused",
        "Held",
        "State",
        "Verification",
    ];
    html! {
        section {
            h2 #sessions { "Sessions" }
            @if evidence.items.is_empty() { p { "None is left." } } @else {
                (wide("Sessions", html! {
                    (titles("Recordings, the oldest first", &TITLES))
                    tbody { @for item in &evidence.items { (line(item)) } }
                }))
            }
        }
    }
}

fn line(item: &Item) -> Markup {
    let opening = told::opening(item);
    let footer = item.glance.as_ref().and_then(|glance| glance.footer.as_ref());
    let head = opening.map(|opening| &opening.head);
    html! {
        tr {
            th scope="row" { a href={ "#" (anchor(item)) } { (item.session) } }
            td { (told::moment(opening.map(|opening| opening.started))) }
            @match head {
                Some(head) => {
                    td { (visible(&head.identity.principal.to_string())) }
                    td { (head.identity.kind) }
                    td { (visible(&head.target.to_string())) }
                },
                None => td colspan="3" .bad { "cannot be read" },
            }
            @for kind in [EventKind::Operation, EventKind::Refusal, EventKind::Hold] {
                td { @if let Some(footer) = footer { (footer.count(kind)) } }
            }
            td { (tables::state(item)) }
            (verdict(item))
        }
    }
}

/// Whether it verifies, in a cell.
fn verdict(item: &Item) -> Markup {
    match item.exit {
        Exit::Done => html! { td .ok { (item.word("status")) } },
        _ => html! { td .bad { (item.word("status")) ": " (visible(item.word("problem"))) } },
    }
}

pub(super) fn deleted(evidence: &Evidence) -> Markup {
    const TITLES: [&str; 6] = ["Session", "Target", "Started", "Ended", "Deleted", "Rule"];
    let row = |one: &Buried| {
        let says = one.says.as_ref();
        html! {
            tr {
                th scope="row" { (one.session) }
                td { @if let Some(target) = says.and_then(|says| says.target.as_ref()) { (visible(&target.to_string())) } }
                td { (told::moment(says.and_then(|says| says.started))) }
                td { (told::moment(says.map(|says| says.ended))) }
                td { (told::moment(says.map(|says| says.deleted))) }
                td {
                    @if let Some(says) = says { (visible(&says.rule)) }
                    @if let Some(problem) = &one.problem { p .bad { "This tombstone does not count: " (visible(problem)) } }
                }
            }
        }
    };
    html! {
        @if !evidence.deleted.is_empty() {
            section {
                h2 #deleted { "Deleted by the rules" }
                (wide("Deleted by the rules", html! {
                    (titles("Recordings of which a tombstone is left, which names nobody", &TITLES))
                    tbody { @for one in &evidence.deleted { (row(one)) } }
                }))
            }
        }
        @if !evidence.missing.is_empty() {
            section {
                h2 #missing { "Missing" }
                ul { @for (session, why) in &evidence.missing { li .bad { (session) ": " (visible(why)) } } }
            }
        }
    }
}
