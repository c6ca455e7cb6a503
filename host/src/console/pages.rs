//! The frame of every page, and the pages that are the same for everybody. The template escapes whatever stands in it; texts
//! of others also go through [`visible`].

use super::roles::{Action, Answer, Roles, Watch};
use super::text::visible;
use super::visitor::Visitor;
use super::words;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use chaperone_core::Timestamp;
use chaperone_core::approval::ApprovalId;
use maud::{DOCTYPE, Markup, html};

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

/// Where navigation leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Now,
    Approve,
    Sessions,
    Policy,
    Overview,
}

impl Room {
    const ALL: [Room; 5] = [Room::Now, Room::Approve, Room::Sessions, Room::Policy, Room::Overview];

    pub(super) fn path(self) -> &'static str {
        match self {
            Room::Now => "/console/now",
            Room::Approve => "/console/approvals",
            Room::Sessions => "/console/sessions",
            Room::Policy => "/console/policy",
            Room::Overview => "/console/overview",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Room::Now => "Now",
            Room::Approve => "Approve",
            Room::Sessions => "Sessions",
            Room::Policy => "Policy",
            Room::Overview => "Overview",
        }
    }

    /// The key that leads there, after `g`.
    fn key(self) -> &'static str {
        match self {
            Room::Now => "n",
            Room::Approve => "a",
            Room::Sessions => "s",
            Room::Policy => "p",
            Room::Overview => "o",
        }
    }

    /// Whether there is such a page for them.
    fn is_for(self, roles: Roles) -> bool {
        match self {
            Room::Approve => Answer::is_for(roles),
            Room::Now | Room::Sessions | Room::Policy | Room::Overview => Watch::is_for(roles),
        }
    }

    /// What somebody sees first.
    pub(super) fn first(roles: Roles) -> Room {
        if Room::Now.is_for(roles) { Room::Now } else { Room::Approve }
    }
}

/// Whether a page looks again by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewed {
    Itself,
    Not,
    /// It is no page that changes, but one that is played.
    Played,
}

impl Page {
    /// A page for somebody who is signed in.
    pub(super) fn of(visitor: &Visitor, room: Room, renewed: Renewed, title: &str, body: Markup) -> Self {
        let bar = html! {
            nav aria-label="Pages" {
                @for one in Room::ALL.into_iter().filter(|one| one.is_for(visitor.roles)) {
                    a href=(one.path()) data-go=(one.key()) aria-current=[(one == room).then_some("page")] { (one.word()) }
                }
            }
            (signed_in_as(visitor))
        };
        let foot = html! { footer { (shortcuts(visitor.roles)) } };
        let scripts = html! {
            @if renewed == Renewed::Itself { script src="/console/live.js" defer {} }
            @if renewed == Renewed::Played { script src="/console/replay.js" defer {} }
            script src="/console/keys.js" defer {}
        };
        Page::new(StatusCode::OK, title, Some(visitor.now), [scripts, bar, body, foot])
    }

    fn new(
        status: StatusCode,
        title: &str,
        now: Option<Timestamp>,
        [scripts, bar, body, foot]: [Markup; 4],
    ) -> Self {
        let html = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · Chaperone" }
                    link rel="stylesheet" href="/console/style.css";
                    (scripts)
                }
                body data-now=[now.map(|now| now.to_string())] {
                    a.skip href="#main" { "Skip to the content" }
                    header.bar {
                        a.brand href="/console" { "Chaperone" }
                        (bar)
                    }
                    main #main tabindex="-1" { (body) }
                    (foot)
                }
            }
        };
        Page { status, html }
    }

    /// One that is the same for everybody.
    fn plain(status: StatusCode, title: &str, body: Markup) -> Self {
        let none = || html! {};
        Page::new(status, title, None, [none(), none(), body, none()])
    }

    /// Something that did not work.
    pub(super) fn error(status: StatusCode, title: &str, text: &str) -> Self {
        let body = html! {
            div.head { h1 { (title) } }
            p { (visible(text)) }
            p { a.button href="/console" { "Back to the console" } }
        };
        Page::plain(status, title, body)
    }
}

fn signed_in_as(visitor: &Visitor) -> Markup {
    let facts = visitor.session.identity.facts();
    html! {
        div.who {
            span title=(facts.principal) {
                @match &facts.display_name {
                    Some(name) => bdi { (visible(name)) },
                    None => (words::short(&facts.principal)),
                }
            }
            span.badge { (visitor.roles.word()) }
            form method="post" action="/console/logout" {
                input type="hidden" name="token" value=(visitor.session.form_token);
                button.plain type="submit" { "Sign out" }
            }
        }
    }
}

/// The keys, for those who look for them; `?` opens the list.
fn shortcuts(roles: Roles) -> Markup {
    html! {
        details #shortcuts {
            summary { "Keys (" kbd { "?" } ")" }
            dl {
                dt { kbd { "?" } } dd { "Show this list" }
                @for room in Room::ALL.into_iter().filter(|room| room.is_for(roles)) {
                    dt { kbd { "g" } " " kbd { (room.key()) } } dd { "Go to " (room.word()) }
                }
                dt { kbd { "j" } " " kbd { "k" } } dd { "Next and previous entry; " kbd { "Enter" } " opens it" }
                dt { kbd { "a" } " " kbd { "r" } " " kbd { "c" } }
                dd { "On an approval: to Approve, to Reject, to the comment. " kbd { "Enter" } " then does it: no single key decides." }
                @if Room::Sessions.is_for(roles) {
                    dt { kbd { "Space" } " " kbd { "f" } " " kbd { "1" } " " kbd { "2" } " " kbd { "4" } " " kbd { "8" } }
                    dd { "In a session: play and pause, next finding, speed" }
                }
                dt { kbd { "Esc" } } dd { "Leave a field" }
            }
            label hidden { input #keys-on type="checkbox" checked; " Single keys work" }
        }
    }
}

/// The state of a page that looks again by itself; written by its script.
pub(super) fn live() -> Markup {
    html! { p #live .live role="status" hidden { "Connecting…" } }
}

/// Which provider to sign in at.
pub(super) fn choose(providers: &[&str], then: Option<ApprovalId>) -> Page {
    let query = then.map(|id| format!("?then={id}")).unwrap_or_default();
    let body = html! {
        div.head { h1 { "Sign in" } }
        p { "Where is your account?" }
        ul.choices {
            @for provider in providers {
                li { a.button href={ "/console/login/" (provider) (query) } { (provider) } }
            }
        }
    };
    Page::plain(StatusCode::OK, "Sign in", body)
}

/// Nobody is signed in, and nobody is signed in by looking at it.
pub(super) fn signed_out(text: &str) -> Page {
    let body = html! {
        div.head { h1 { "Signed out" } }
        p { (text) }
        p { a.button href="/console/login" { "Sign in" } }
    };
    Page::plain(StatusCode::OK, "Signed out", body)
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
