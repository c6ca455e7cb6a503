//! How a recording is shown: what it proves, who it was, when things happened, and a window of what was done.

use super::super::pages::{Page, Renewed, Room};
use super::super::roles::{May, Watch};
use super::super::text::visible;
use super::super::visitor::Visitor;
use super::super::words::{self, moment};
use super::proof::{Outline, Proof};
use super::scenes::{self, clock};
use super::walk::{Start, Stop, WINDOW};
use super::{AT_ONCE_BYTES, Sight};
use crate::recorder::{EventKind, Opening, RecorderError, SessionEnd, SessionSummary, State, Tombstone};
use crate::story::Scene;
use chaperone_core::name::SessionId;
use maud::{Markup, html};

pub(super) fn recording(may: &May<Watch>, sight: &Sight) -> Page {
    let opening = opening(sight);
    let title = match opening {
        Some(opening) => format!("Session on {}", opening.head.target),
        None => "Session".to_owned(),
    };
    let body = html! {
        (head(&title))
        section #proof aria-label="What the recording proves" { (proof(sight)) }
        (facts(sight, opening))
        section #timing aria-label="When it happened" { (timing(sight)) }
        (player(sight))
        section #window aria-label="What was done" data-session=(sight.id) { (window(sight)) }
    };
    Page::of(may, Room::Sessions, Renewed::Played, &title, body)
}

fn head(title: &str) -> Markup {
    html! {
        div.head {
            h1 { (title) }
            p.small { a href=(Room::Sessions.path()) { "← Sessions" } }
        }
    }
}

fn opening(sight: &Sight) -> Option<&Opening> {
    let known = sight.summary.as_ref().ok().map(|summary| &summary.opening);
    known.or(sight.window.opening.as_ref())
}

/// A session whose recording was deleted by the rules.
pub(super) fn deleted(visitor: &Visitor, id: SessionId, tombstone: &Result<Tombstone, String>) -> Page {
    let body = html! {
        (head("Deleted session"))
        @match tombstone {
            Ok(tombstone) => {
                p.standing.over { "Deleted by the rules for keeping recordings, on " (moment(tombstone.deleted)) "." }
                dl.card {
                    dt { "Rule" } dd { (visible(&tombstone.rule)) }
                    @if let Some(target) = &tombstone.target { dt { "Target" } dd { (target) } }
                    @if let Some(started) = tombstone.started { dt { "Began" } dd { (moment(started)) } }
                    dt { "Ended" } dd { (moment(tombstone.ended)) }
                    dt { "Length" } dd { (size(tombstone.bytes)) }
                    dt { "Hash" } dd.id { (tombstone.footer) }
                    dt { "Id" } dd.id { (id) }
                }
                p.note { "This note is signed by this gateway's key. It says what was there, and nothing of whose it was." }
            },
            Err(why) => {
                p.standing.refused { "There is a note that this recording was deleted by the rules, and it does not count: " (visible(why)) "." }
                p { "Somebody may have put it in the recording's place. " code { "chaperone verify --all" } " says what the checkpoints name." }
            },
        }
    };
    Page::of(visitor, Room::Sessions, Renewed::Not, "Deleted session", body)
}

/// A session that the index knows and no folder of this gateway has.
pub(super) fn missing(visitor: &Visitor, id: SessionId) -> Page {
    let body = html! {
        (head("Session without a recording"))
        p.standing.refused { "The index has operations of this session, but its recording is not in this gateway's folder." }
        p {
            "Another gateway on the same store may have it. If not, it was taken away: " code { "chaperone verify --all" }
            " says whether a checkpoint names it."
        }
        dl.card { dt { "Id" } dd.id { (id) } }
        p { a.button href={ "/console/sessions?session=" (id) } { "What the index has of it" } }
    };
    Page::of(visitor, Room::Sessions, Renewed::Not, "Session without a recording", body)
}

/// The verdict, and what there is to say besides it.
fn proof(sight: &Sight) -> Markup {
    html! {
        @match &sight.proof {
            Some(proof) => {
                @let badge = proof.badge();
                div #verdict .standing.(badge.class) data-verdict=(badge.class) {
                    strong { (badge.word) ". " } span { (visible(&badge.text)) }
                }
                (encryption(proof))
                @if let Ok(report) = &proof.report {
                    details {
                        summary { "What was computed" }
                        dl {
                            dt { "Blocks" } dd { (report.blocks) }
                            dt { "Events" } dd { (report.events) }
                            dt { "Bytes" } dd { (report.bytes) " of " (sight.bytes) }
                            dt { "Last hash" } dd.id { (report.last_hash) }
                            @if let Some(why) = &report.unpacked { dt { "Not compressed" } dd { (visible(why)) } }
                        }
                        p.note { "Computed just now, for this page. " code { "chaperone verify " (sight.id) } " computes the same, and that of a whole folder that none is missing." }
                    }
                }
            },
            None => {
                div #verdict .standing data-verdict="none" {
                    strong { "Not verified yet. " }
                    @if sight.bytes > AT_ONCE_BYTES { span { "It has " (size(sight.bytes)) ", more than the " (size(AT_ONCE_BYTES)) " that are read through for every page." } }
                    @else { span { "Only a part of it was asked for." } }
                }
                p { a #verify .button href={ (place(sight.id, sight.from)) "&look=proof" } { "Verify it now" } }
            },
        }
    }
}

fn encryption(proof: &Proof) -> Markup {
    let Some(key) = proof.key else { return html! {} };
    let locked = proof.report.as_ref().is_ok_and(|report| report.locked.is_some());
    html! {
        p.note #encryption {
            @if locked {
                "Encrypted with the key " span.id { (key) } ", which this gateway has not: what it says cannot be shown. Its chain and its "
                "signature were checked all the same. Add the key under " code { "recording.old_encryption_keys" } "."
            } @else {
                "Encrypted with the key " span.id { (key) } ", which this gateway has."
            }
        }
    }
}

fn facts(sight: &Sight, opening: Option<&Opening>) -> Markup {
    let summary = sight.summary.as_ref();
    html! {
        @match opening {
            None => {
                p.note { "Who it was cannot be told: " (visible(&unread(summary.err()))) "." }
                dl.card { dt { "Id" } dd.id { (sight.id) } }
            },
            Some(opening) => {
                dl.card #facts {
                    (who(opening))
                    dt { "Began" } dd { (moment(opening.started)) }
                    (ended(summary.ok(), sight.window.end.as_ref()))
                    dt { "Id" } dd.id { (sight.id) }
                }
                (more_facts(opening))
            },
        }
    }
}

fn unread(error: Option<&RecorderError>) -> String {
    error.map_or("the head cannot be read".to_owned(), ToString::to_string)
}

fn who(opening: &Opening) -> Markup {
    let (head, identity) = (&opening.head, &opening.head.identity);
    html! {
        dt { "Who" }
        dd {
            @if let Some(name) = &identity.display_name { bdi { (visible(name)) } ", " }
            (words::kind(identity.kind))
        }
        dt { "Principal" } dd.id { (identity.principal) }
        @if !identity.actor.is_empty() { dt { "Through" } dd.id { (visible(&identity.actor)) } }
        dt { "Target" } dd { (head.target) " (" (visible(&head.protocol)) ")" }
        dt { "Window" } dd { span.id { (visible(&head.window)) } " of grant " (visible(&head.grant)) }
        @if !head.approved_by.is_empty() {
            dt { "Approved by" } dd { @for (number, one) in head.approved_by.iter().enumerate() { @if number > 0 { ", " } span.id { (one) } } }
        }
    }
}

fn ended(summary: Option<&SessionSummary>, end: Option<&SessionEnd>) -> Markup {
    let footer = summary.and_then(|summary| summary.footer.as_ref());
    let end = footer.map(|footer| &footer.end).or(end);
    html! {
        dt { "Ended" }
        dd {
            @match end {
                Some(end) => {
                    (moment(end.ended)) ": " (why(end))
                    @if !end.detail.is_empty() { ". " (visible(&end.detail)) }
                },
                None if summary.is_some_and(|summary| summary.state == State::Live) => {
                    span.badge.live { "running" } " " a href="" { "Look again" }
                },
                None => "not known: the recording has no end",
            }
        }
        @if let Some(footer) = footer {
            dt { "Operations" } dd { (footer.count(EventKind::Operation) + footer.count(EventKind::Execute)) }
        }
    }
}

fn why(end: &SessionEnd) -> String {
    let reason = serde_json::to_value(end.reason).unwrap_or_default();
    reason.as_str().unwrap_or_default().replace('-', " ")
}

fn more_facts(opening: &Opening) -> Markup {
    let head = &opening.head;
    html! {
        details {
            summary { "More about it" }
            dl {
                @if let Some(request) = &head.request { dt { "Request" } dd.id { (visible(request)) } }
                @if let Some(role) = &head.requested_role { dt { "Asked for the role" } dd { (visible(role)) } }
                @if let Some(role) = &head.target_role { dt { "Works as" } dd { (visible(role)) } }
                dt { "From" } dd { (visible(&head.client_address)) }
                @for plugin in &head.plugins {
                    dt { "Plugin" }
                    dd { (visible(&plugin.name)) " " (visible(&plugin.version)) " " span.id.small { "sha256 " (visible(&plugin.digest)) } }
                }
                dt { "Recorded by" } dd { "chaperone " (visible(&head.gateway_version)) }
            }
        }
    }
}

/// The strip: how much happened when, and where there is something to look at.
fn timing(sight: &Sight) -> Markup {
    let Some(Proof { outline, .. }) = &sight.proof else { return html! {} };
    html! {
        h2 { "Timing" }
        @if outline.operations > 0 {
            (strip(outline, length(sight)))
            p.small.quiet #summary {
                (words::counted(outline.operations, "operation")) " in " (clock(length(sight))) "; "
                @match outline.notable { 0 => "nothing that was refused, held, failed or found.", count => { (count) " worth a look." } }
            }
            @if !outline.marks.is_empty() { (marks(sight.id, outline)) }
        } @else { p.small.quiet { "No operation was read." } }
    }
}

fn strip(outline: &Outline, length_us: u64) -> Markup {
    let most = outline.parts.iter().map(|part| part.operations).max().unwrap_or(0).max(1) as f64;
    let across = |index: usize| index as f64 * outline.part_us as f64 / length_us.max(1) as f64 * 1000.0;
    let width = (across(1) - across(0)).clamp(2.0, 1000.0);
    html! {
        svg.strip viewBox="0 0 1000 40" preserveAspectRatio="none" aria-hidden="true" {
            @for (index, part) in outline.parts.iter().enumerate().filter(|(_, part)| part.operations > 0) {
                @let height = 8.0 + 32.0 * (part.operations as f64).ln_1p() / most.ln_1p();
                rect.notable[part.notable > 0] x=(format!("{:.1}", across(index).min(1000.0 - width))) y=(format!("{:.1}", 40.0 - height)) width=(format!("{width:.1}")) height=(format!("{height:.1}")) {}
            }
        }
    }
}

fn marks(id: SessionId, outline: &Outline) -> Markup {
    let more = outline.notable.saturating_sub(outline.marks.len() as u64);
    html! {
        details #marks {
            summary { "What is worth a look" }
            ol.findings {
                @for mark in &outline.marks {
                    li { a href=(operation(id, mark.number)) { "#" (mark.number) } " " time { (clock(mark.at_us)) } " " (visible(&mark.what)) }
                }
            }
            @if more > 0 { p.note { "And " (more) " more: " a href=(place(id, Start::Finding(outline.marks.last().map_or(0, |mark| mark.number)))) { "go on from there" } "." } }
        }
    }
}

/// Microseconds from the start to the last thing that is known.
fn length(sight: &Sight) -> u64 {
    let footer = sight.summary.as_ref().ok().and_then(|summary| summary.footer.as_ref());
    let last = sight.window.scenes.iter().map(|scene| match scene {
        Scene::Operation(act) => act.until_us,
        Scene::Aside { at_us, .. } => *at_us,
    });
    let last = last.chain(sight.window.open.iter().map(|act| act.until_us)).max().unwrap_or(0);
    let outline = sight.proof.as_ref().map_or(0, |proof| proof.outline.last_us);
    footer.map_or(0, |footer| footer.last_at_us).max(last).max(outline)
}

/// What the script moves; without it, a form that leads to a time.
fn player(sight: &Sight) -> Markup {
    let seconds = length(sight) / 1_000_000;
    html! {
        div #player .card hidden data-length=(length(sight) / 1000) {
            div.bar-line {
                button #play .strong type="button" { "Play" }
                label.unseen for="time" { "Time in the session" }
                input #time type="range" min="0" max=(length(sight).div_ceil(1000)) step="1" value="0";
                span #clock { (clock(0)) }
                span.quiet { "of " (clock(length(sight))) }
            }
            div.buttons {
                label.beside { "Speed " select #speed { @for speed in [1, 2, 4, 8] { option value=(speed) { (speed) "×" } } } }
                label.beside { input #idle type="checkbox" checked; " Skip idle" }
                button #finding .plain type="button" { "Next finding" }
                button #all .plain type="button" { "Show all" }
                span #said role="status" {}
            }
        }
        form #goto .buttons method="get" action={ "/console/sessions/" (sight.id) } {
            label.beside for="t" { "Go to second" }
            input #t .short type="number" name="t" min="0" max=(seconds.max(1)) step="any" required;
            button.plain type="submit" { "Go" }
        }
    }
}

fn window(sight: &Sight) -> Markup {
    let window = &sight.window;
    let is_empty = window.scenes.is_empty() && window.open.is_empty();
    html! {
        h2 { "What was done" }
        (steps(sight, "Operations"))
        @if is_empty { (words::empty(nothing(sight.from), html! { (nothing_here(sight)) })) }
        @else {
            ol.scenes {
                @for scene in &window.scenes { (scenes::scene(sight.id, scene)) }
                @for act in &window.open { (scenes::act(sight.id, act, true)) }
            }
        }
        @match &window.stop {
            Some(Stop::Broken(why)) => { p.standing.refused { "It breaks here: " (visible(why)) ". What is above is as it was written." } },
            Some(Stop::Unfinished) => { p.note { "This is what was recorded so far. " a href="" { "Look again" } } },
            Some(Stop::End) if !is_empty => { p.note { "The session ends here." } },
            _ => {},
        }
        @if !is_empty { (steps(sight, "Operations, below")) }
    }
}

fn nothing(from: Start) -> &'static str {
    match from {
        Start::Finding(_) => "Nothing more to look at.",
        Start::Operation(1) => "No operation.",
        Start::Operation(_) | Start::Time(_) => "Nothing after this.",
    }
}

fn nothing_here(sight: &Sight) -> Markup {
    match (&sight.window.stop, sight.from) {
        (Some(Stop::Locked(key)), _) => {
            html! { "It is encrypted with the key " span.id { (key) } ", which this gateway has not." }
        }
        (_, Start::Finding(after)) => {
            html! { "Nothing was refused, held, failed or found after operation " (after) "." }
        }
        (_, Start::Operation(1)) => {
            html! { "The client connected and sent nothing that was judged. What ended the session is told above." }
        }
        _ => html! { a href={ "/console/sessions/" (sight.id) } { "To the begin" } },
    }
}

/// Links to the windows around this one.
fn steps(sight: &Sight, label: &str) -> Markup {
    let numbers = sight.window.scenes.iter().filter_map(|scene| match scene {
        Scene::Operation(act) => Some(act.operation.number),
        Scene::Aside { .. } => None,
    });
    let numbers: Vec<u64> = numbers.chain(sight.window.open.iter().map(|act| act.operation.number)).collect();
    let (first, last) = (numbers.first().copied().unwrap_or(1), numbers.last().copied().unwrap_or(0));
    let before = first.saturating_sub(WINDOW as u64).max(1);
    html! {
        @if first > 1 || sight.window.more { nav.buttons aria-label=(label) {
            @if first > 1 {
                a.button.plain href=(place(sight.id, Start::Operation(1))) { "Begin" }
                a.button.plain href=(place(sight.id, Start::Operation(before))) { "Before" }
            }
            @if sight.window.more {
                a.button.plain data-next href=(place(sight.id, Start::Operation(last + 1))) { "Next" }
                a.button.plain data-finding href=(place(sight.id, Start::Finding(last))) { "Next finding behind these" }
            }
        } }
    }
}

/// The address of a window.
pub(super) fn place(id: SessionId, from: Start) -> String {
    match from {
        Start::Operation(number) => format!("/console/sessions/{id}?from={number}"),
        Start::Time(at_us) => format!("/console/sessions/{id}?t={}", at_us as f64 / 1e6),
        Start::Finding(after) => format!("/console/sessions/{id}?after={after}"),
    }
}

/// The address of an operation: the window that begins with it.
pub(in super::super) fn operation(id: SessionId, number: u64) -> String {
    format!("/console/sessions/{id}?from={number}#op-{number}")
}

/// Bytes, as people say them.
pub(in super::super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1024),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
