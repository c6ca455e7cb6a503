//! The pages as HTML. The template escapes whatever stands in it; texts of others also go through [`visible`].

use super::store::Session;
use super::text::visible;
use super::visitor::Visitor;
use crate::grant::Look;
use crate::state::StoredApproval;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use chaperone_core::Timestamp;
use chaperone_core::approval::{
    ApprovalId, ApprovalProblem, Decided, MAX_COMMENT_CHARS, Matter, OperationTerms, State as Standing,
    Verdict, WindowTerms,
};
use chaperone_core::grant::Requirement;
use chaperone_core::identity::CallerKind;
use chaperone_core::window::between;
use maud::{DOCTYPE, Markup, html};
use std::time::Duration;

const STYLE: &str = include_str!("style.css");

/// A page with its status.
pub(super) struct Page {
    status: StatusCode,
    html: Markup,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        (self.status, Html(self.html.into_string())).into_response()
    }
}

impl Page {
    fn new(status: StatusCode, title: &str, session: Option<&Session>, body: Markup) -> Self {
        let html = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · Chaperone" }
                    link rel="stylesheet" href="/console/style.css";
                }
                body {
                    header {
                        a.brand href="/console/approvals" { "Chaperone" }
                        @if let Some(session) = session { (signed_in_as(session)) }
                    }
                    main { (body) }
                }
            }
        };
        Page { status, html }
    }

    /// Something that did not work.
    pub(super) fn error(status: StatusCode, title: &str, text: &str) -> Self {
        let body = html! {
            h1 { (title) }
            p { (visible(text)) }
            p { a href="/console/approvals" { "What waits for you" } }
        };
        Page::new(status, title, None, body)
    }
}

/// The style sheet: a file of its own, so that no page needs styles inside.
pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

fn signed_in_as(session: &Session) -> Markup {
    let facts = session.identity.facts();
    html! {
        div.who {
            span title=(facts.principal) {
                @match &facts.display_name {
                    Some(name) => bdi { (visible(name)) },
                    None => (facts.principal),
                }
            }
            form method="post" action="/console/logout" {
                input type="hidden" name="token" value=(session.form_token);
                button.plain type="submit" { "Sign out" }
            }
        }
    }
}

/// Which provider to sign in at.
pub(super) fn choose(providers: &[&str], then: Option<ApprovalId>) -> Page {
    let query = then.map(|id| format!("?then={id}")).unwrap_or_default();
    let body = html! {
        h1 { "Sign in" }
        p { "Where is your account?" }
        ul.choices {
            @for provider in providers {
                li { a.button href={ "/console/login/" (provider) (query) } { (provider) } }
            }
        }
    };
    Page::new(StatusCode::OK, "Sign in", None, body)
}

/// Nobody is signed in, and nobody is signed in by looking at it.
pub(super) fn signed_out(text: &str) -> Page {
    let body = html! {
        h1 { "Signed out" }
        p { (text) }
        p { a.button href="/console/login" { "Sign in" } }
    };
    Page::new(StatusCode::OK, "Signed out", None, body)
}

/// To who may not see it, what there is and what there is not look alike.
pub(super) fn not_found() -> Page {
    Page::error(StatusCode::NOT_FOUND, "Not found", "There is nothing under this address that you may see.")
}

/// A form that is not of this sign-in.
pub(super) fn not_from_here() -> Page {
    let text = "This form was not made for your sign-in. Nothing was done: open the page again.";
    Page::error(StatusCode::FORBIDDEN, "Not done", text)
}

/// What waits.
pub(super) fn list(visitor: &Visitor, approvals: &[StoredApproval]) -> Page {
    let body = html! {
        h1 { "What waits for you" }
        @if approvals.is_empty() {
            p { "Nothing. This page does not renew itself: " a href="/console/approvals" { "look again" } "." }
        } @else {
            ul.list { @for stored in approvals { li { (entry(stored, visitor.now)) } } }
        }
    };
    Page::new(StatusCode::OK, "What waits for you", Some(&visitor.session), body)
}

fn entry(stored: &StoredApproval, now: Timestamp) -> Markup {
    let approval = &stored.approval;
    let (what, reason) = match approval.matter() {
        Matter::Window(terms) => (window_title(terms), &terms.reason),
        Matter::Operation(terms) => (operation_title(terms), &terms.reason),
    };
    html! {
        a.entry href={ "/console/approvals/" (stored.id) } {
            strong { (what) }
            span.who-asks { "asked by " (caller_name(stored)) }
            span.reason { (visible(reason)) }
            span.until { (deadline(approval.deadline(), now)) }
        }
    }
}

fn window_title(terms: &WindowTerms) -> String {
    let length = humantime::format_duration(Duration::from_secs(terms.seconds));
    format!("Access to {} for {length}", terms.target)
}

fn operation_title(terms: &OperationTerms) -> String {
    format!("One statement on {}", terms.target)
}

/// Who asks, by the name that they have given themselves if any.
fn caller_name(stored: &StoredApproval) -> Markup {
    let name = stored.caller.as_ref().and_then(|caller| caller.display_name.as_deref());
    html! {
        @match name {
            Some(name) => bdi { (visible(name)) },
            None => (stored.approval.requester()),
        }
    }
}

fn deadline(deadline: Timestamp, now: Timestamp) -> String {
    if now >= deadline {
        return "its time is over".to_owned();
    }
    let left = Duration::from_secs(between(now, deadline).as_secs());
    format!("within {}", humantime::format_duration(left))
}

/// RFC 3339 in UTC, to the second.
fn moment(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// One approval, whole.
pub(super) fn approval(visitor: &Visitor, look: &Look) -> Page {
    let stored = &look.stored;
    let title = match stored.approval.matter() {
        Matter::Window(terms) => window_title(terms),
        Matter::Operation(terms) => operation_title(terms),
    };
    let body = html! {
        p { a href="/console/approvals" { "← What waits for you" } }
        h1 { (title) }
        (standing(look, visitor.now))
        @match stored.approval.matter() {
            Matter::Operation(terms) => (operation(terms)),
            Matter::Window(terms) => {
                h2 { "Why" }
                p.text { (visible(&terms.reason)) }
                @if let Some(ticket) = &terms.ticket {
                    h2 { "Ticket" }
                    p.text { (visible(ticket)) }
                }
            },
        }
        (facts(stored, visitor.now))
        (decisions(stored.approval.decisions()))
        (form(visitor, look))
    };
    Page::new(StatusCode::OK, &title, Some(&visitor.session), body)
}

fn standing(look: &Look, now: Timestamp) -> Markup {
    let approval = &look.stored.approval;
    let (class, text) = match approval.state(now) {
        Standing::Pending => {
            let missing = match approval.missing() {
                1 => "1 person".to_owned(),
                number => format!("{number} persons"),
            };
            ("pending", format!("Waits for {missing}, {}.", deadline(approval.deadline(), now)))
        }
        Standing::Approved => ("approved", "Approved.".to_owned()),
        Standing::Rejected => ("rejected", "Rejected.".to_owned()),
        Standing::Expired => ("over", "Nobody decided in time.".to_owned()),
        Standing::Withdrawn => ("over", "Nobody waits for it any more.".to_owned()),
    };
    html! { p.standing.(class) role="status" { (text) } }
}

/// A held operation: exactly what runs if it is approved.
fn operation(terms: &OperationTerms) -> Markup {
    html! {
        h2 { "Exactly this runs" }
        pre.exact dir="ltr" tabindex="0" { (visible(&terms.summary)) }
        h2 { "Why a human has to look" }
        p.text { (visible(&terms.reason)) }
        dl {
            dt { "Risk" } dd { (terms.risk) " of 100" }
            dt { "SHA-256" } dd.id { (terms.digest) }
            dt { "Window" } dd.id { (terms.window) }
        }
        @if !terms.findings.is_empty() {
            h2 { "Findings" }
            ul.findings {
                @for finding in &terms.findings {
                    li { code { (visible(&finding.rule)) } " " (visible(&finding.detail)) " (risk " (finding.risk) ")" }
                }
            }
        }
    }
}

fn facts(stored: &StoredApproval, now: Timestamp) -> Markup {
    let approval = &stored.approval;
    html! {
        h2 { "Who asks" }
        dl {
            @if let Some(caller) = &stored.caller {
                @if let Some(name) = &caller.display_name {
                    dt { "Calls itself" } dd { bdi { (visible(name)) } }
                }
                dt { "Is" } dd { (kind(caller.kind)) }
                dt { "Principal" } dd.id { (caller.principal) }
                dt { "Through the application" } dd.id { (visible(&caller.actor)) }
                @if let Some(blueprint) = &caller.blueprint {
                    dt { "Agent's blueprint" } dd.id { (visible(blueprint)) }
                }
            } @else {
                dt { "Principal" } dd.id { (approval.requester()) }
            }
            dt { "Target" } dd { (approval.matter().target()) }
            dt { "Asked" } dd { time { (moment(approval.asked())) } }
            dt { "To be decided" } dd { time { (moment(approval.deadline())) } ", " (deadline(approval.deadline(), now)) }
            dt { "By" }
            dd { (by_stage(approval.requirements())) }
            dt { "Id" } dd.id { (stored.id) }
        }
    }
}

/// Who has to approve: those of one stage together, and after them those of the next.
pub(super) fn by_stage(requirements: &[Requirement]) -> String {
    let mut sorted: Vec<&Requirement> = requirements.iter().collect();
    sorted.sort_by_key(|one| one.stage);
    let mut text = String::new();
    let mut stage = None;
    for one in sorted {
        text.push_str(match stage {
            None => "",
            Some(before) if before == one.stage => " and ",
            Some(_) => ", then ",
        });
        text.push_str(&format!("{} of {}", one.needed, one.approvers));
        stage = Some(one.stage);
    }
    text
}

fn kind(kind: CallerKind) -> &'static str {
    match kind {
        CallerKind::Human => "a person",
        CallerKind::HumanThroughAgent => "an agent, on behalf of a person",
        CallerKind::Agent => "an agent",
        CallerKind::AgentUser => "an agent's own user account",
        CallerKind::Workload => "a workload",
        CallerKind::Unknown => "not known",
    }
}

fn decisions(decisions: &[Decided]) -> Markup {
    html! {
        @if !decisions.is_empty() {
            h2 { "Decided so far" }
            ul.decisions {
                @for decided in decisions {
                    li {
                        strong { (match decided.verdict { Verdict::Approve => "Approved", Verdict::Reject => "Rejected" }) }
                        " by " span.id { (decided.by) } ", " time { (moment(decided.at)) }
                        @if !decided.comment.is_empty() { p.text { (visible(&decided.comment)) } }
                    }
                }
            }
        }
    }
}

fn form(visitor: &Visitor, look: &Look) -> Markup {
    html! {
        @match &look.could_decide {
            Ok(()) => {
                form.decide method="post" action={ "/console/approvals/" (look.stored.id) } {
                    h2 { "Your decision" }
                    input type="hidden" name="token" value=(visitor.session.form_token);
                    label for="comment" { "Comment; who asked reads it" }
                    textarea #comment name="comment" rows="3" maxlength=(MAX_COMMENT_CHARS) {}
                    div.buttons {
                        button.approve type="submit" name="verdict" value="approve" { "Approve" }
                        button.reject type="submit" name="verdict" value="reject" { "Reject" }
                    }
                }
            },
            // The standing says it already.
            Err(ApprovalProblem::Final(_) | ApprovalProblem::TooLate) => {},
            Err(why) => { p.note { "You cannot decide this: " (why) "." } },
        }
    }
}
