//! How approvals are shown: the list of what waits, and one of it with all that a decision should rest on.

use super::super::pages::{Page, Renewed, Room, live};
use super::super::roles::{Answer, May};
use super::super::sql;
use super::super::text::visible;
use super::super::visitor::Visitor;
use super::super::words::{self, ago, badge, caller_name, deadline, moment};
use crate::grant::Look;
use crate::state::StoredApproval;
use chaperone_core::Timestamp;
use chaperone_core::approval::{
    ApprovalProblem, Decided, MAX_COMMENT_CHARS, Matter, OperationTerms, State as Standing, Verdict,
};
use maud::{Markup, html};

/// What waits.
pub(super) fn list(may: &May<Answer>, approvals: &[StoredApproval]) -> Page {
    let title = match approvals.len() {
        0 => "What waits for you".to_owned(),
        count => format!("({count}) What waits for you"),
    };
    let body = html! {
        div.head { h1 { "What waits for you" } (live()) }
        div #waiting .part data-part="renewed" {
            (entries(approvals, may.now, html! {
                "A request for access that needs people, or a risky statement that is held, is shown here as soon as it is asked. "
                "You see what one of your groups is asked to decide."
            }))
        }
    };
    Page::of(may, Room::Approve, Renewed::Itself, &title, body)
}

/// Approvals as a list that leads to each.
pub(in super::super) fn entries(approvals: &[StoredApproval], now: Timestamp, how: Markup) -> Markup {
    html! {
        @if approvals.is_empty() {
            (words::empty("Nothing waits.", how))
        } @else {
            ul.list { @for stored in approvals { li { (entry(stored, now)) } } }
        }
    }
}

fn entry(stored: &StoredApproval, now: Timestamp) -> Markup {
    let approval = &stored.approval;
    html! {
        a.entry #{ "entry-" (stored.id) } data-step href={ "/console/approvals/" (stored.id) } {
            strong { (words::title(approval.matter())) @if let Matter::Operation(terms) = approval.matter() { span.badge.waits { "risk " (terms.risk) } } }
            span.who-asks { "asked by " (words::requester(stored)) }
            @match approval.matter() {
                Matter::Window(terms) => span.reason { (visible(&terms.reason)) },
                Matter::Operation(terms) => code { (words::begin(&terms.summary)) },
            }
            span.until { (deadline(approval.deadline(), now)) }
        }
    }
}

/// One approval, whole.
pub(super) fn one(may: &May<Answer>, look: &Look, before: &[StoredApproval]) -> Page {
    let (stored, now) = (&look.stored, may.now);
    let title = words::title(stored.approval.matter());
    let body = html! {
        div.head {
            h1 { (title) }
            p.small { a href="/console/approvals" { "← What waits for you" } }
            (live())
        }
        div #standing .part data-part="renewed" {
            (standing(look, now))
            (decisions(stored.approval.decisions()))
        }
        div.columns {
            div {
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
                (form(may, look))
            }
            div {
                (who(stored))
                (terms(stored, now))
                (history(before, now))
            }
        }
    };
    Page::of(may, Room::Approve, Renewed::Itself, &title, body)
}

fn standing(look: &Look, now: Timestamp) -> Markup {
    let approval = &look.stored.approval;
    let (class, text) = match approval.state(now) {
        Standing::Pending => {
            let missing = match approval.missing() {
                1 => "1 person".to_owned(),
                number => format!("{number} persons"),
            };
            let text = html! { "Waits for " (missing) ", " (deadline(approval.deadline(), now)) "." };
            ("waits", text)
        }
        Standing::Approved => ("ok", html! { "Approved." }),
        Standing::Rejected => ("refused", html! { "Rejected." }),
        Standing::Expired => ("over", html! { "Nobody decided in time." }),
        Standing::Withdrawn => ("over", html! { "Nobody waits for it any more." }),
    };
    html! { p.standing.(class) { (text) } }
}

/// A held operation: exactly what runs if it is approved.
fn operation(terms: &OperationTerms) -> Markup {
    html! {
        h2 #exactly { "Exactly this runs" }
        pre.exact dir="ltr" tabindex="0" role="region" aria-labelledby="exactly" { (sql::marked(&terms.summary)) }
        h2 { "Why a human has to look" }
        p.text { (visible(&terms.reason)) }
        dl {
            dt { "Risk" } dd { (words::risk(terms.risk)) }
            dt { "SHA-256" } dd.id { (terms.digest) }
            dt { "Window" } dd.id { (terms.window) }
        }
        @if !terms.findings.is_empty() {
            h2 { "Findings" }
            ul.findings {
                @for finding in &terms.findings {
                    li { code { (visible(&finding.rule)) } " " (visible(&finding.detail)) " " span.badge { "risk " (finding.risk) } }
                }
            }
        }
    }
}

/// The chain: who acts, through what, and who answers for it.
fn who(stored: &StoredApproval) -> Markup {
    html! {
        h2 { "Who asks" }
        dl.card {
            @match &stored.caller {
                Some(caller) => {
                    @if caller.display_name.is_some() { dt { "Calls itself" } dd { (caller_name(caller)) } }
                    dt { "Is" } dd { (words::kind(caller.kind)) }
                    dt { "Principal" } dd.id { (caller.principal) }
                    dt { "Through" } dd.id { (visible(&caller.actor)) }
                    @if let Some(blueprint) = &caller.blueprint {
                        dt { "Blueprint" } dd.id { (visible(blueprint)) }
                    }
                    @for sponsor in &caller.sponsors {
                        dt { "Sponsor" }
                        dd {
                            @if let Some(name) = &sponsor.display_name { bdi { (visible(name)) } " " }
                            span.id { (visible(&sponsor.id)) }
                        }
                    }
                },
                None => { dt { "Principal" } dd.id { (stored.approval.requester()) } },
            }
        }
    }
}

fn terms(stored: &StoredApproval, now: Timestamp) -> Markup {
    let approval = &stored.approval;
    html! {
        h2 { "What is asked" }
        dl.card {
            dt { "Target" } dd { (approval.matter().target()) }
            dt { "Asked" } dd { (moment(approval.asked())) }
            dt { "Decide" } dd { (moment(approval.deadline())) @if approval.state(now) == Standing::Pending { ", " (deadline(approval.deadline(), now)) } }
            dt { "By" } dd { (words::by_stage(approval.requirements())) }
            dt { "Id" } dd.id { (stored.id) }
        }
    }
}

/// What was decided before for the same requester here.
fn history(before: &[StoredApproval], now: Timestamp) -> Markup {
    html! {
        h2 { "Decided before" }
        @if before.is_empty() {
            (words::empty("Nothing yet.", html! { "What people decided for this principal on this target is listed here." }))
        } @else {
            ul.decisions.card {
                @for stored in before {
                    li {
                        (badge(stored.approval.state(now))) " "
                        a href={ "/console/approvals/" (stored.id) } {
                            @match stored.approval.matter() {
                                Matter::Operation(terms) => code { (words::begin(&terms.summary)) },
                                Matter::Window(_) => (words::title(stored.approval.matter())),
                            }
                        }
                        @if let Some(last) = stored.approval.decisions().last() {
                            div.small.quiet { (ago(last.at, now)) " by " (words::short(&last.by)) }
                        }
                    }
                }
            }
        }
    }
}

fn decisions(decisions: &[Decided]) -> Markup {
    html! {
        @if !decisions.is_empty() {
            h2 { "Decided so far" }
            ul.decisions.card {
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
                // Taken away when there is nothing to decide any more; never renewed, so that nothing written is lost.
                form #decide .decide.card data-part="kept" method="post" action={ "/console/approvals/" (look.stored.id) } {
                    h2 { "Your decision" }
                    input type="hidden" name="token" value=(visitor.session.form_token);
                    label for="comment" { "Comment; who asked reads it" }
                    textarea #comment name="comment" rows="3" maxlength=(MAX_COMMENT_CHARS) data-key="c" {}
                    div.buttons {
                        button.approve type="submit" name="verdict" value="approve" data-key="a" { "Approve" }
                        button.reject type="submit" name="verdict" value="reject" data-key="r" { "Reject" }
                    }
                }
            },
            // The standing says it already.
            Err(ApprovalProblem::Final(_) | ApprovalProblem::TooLate) => {},
            Err(why) => { p.note { "You cannot decide this: " (why) "." } },
        }
    }
}
