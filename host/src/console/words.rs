//! Words and small parts that several pages use.

use super::text::visible;
use crate::state::StoredApproval;
use chaperone_core::Timestamp;
use chaperone_core::approval::{Matter, State as Standing, WindowTerms};
use chaperone_core::grant::Requirement;
use chaperone_core::identity::{Caller, CallerKind};
use chaperone_core::name::Principal;
use chaperone_core::window::between;
use maud::{Markup, html};
use std::time::Duration;

/// What is asked for, in a title.
pub(super) fn title(matter: &Matter) -> String {
    match matter {
        Matter::Window(terms) => window_title(terms),
        Matter::Operation(terms) => format!("One statement on {}", terms.target),
    }
}

fn window_title(terms: &WindowTerms) -> String {
    let length = humantime::format_duration(Duration::from_secs(terms.seconds));
    format!("Access to {} for {length}", terms.target)
}

/// Who asks, by the name that they have given themselves if any.
pub(super) fn requester(stored: &StoredApproval) -> Markup {
    match &stored.caller {
        Some(caller) => caller_name(caller),
        None => html! { span.id { (stored.approval.requester()) } },
    }
}

/// A caller by the name that it has given itself, else by its principal.
pub(super) fn caller_name(caller: &Caller) -> Markup {
    html! {
        @match caller.display_name.as_deref() {
            Some(name) => bdi { (visible(name)) },
            None => span.id { (short(&caller.principal)) },
        }
    }
}

/// A principal without the middle of its tenant, which is mostly the same for all; the whole of it as a title.
pub(super) fn short(principal: &Principal) -> Markup {
    let mut parts = principal.as_str().splitn(3, '/');
    let (provider, tenant, object) = (parts.next(), parts.next(), parts.next());
    let text = match (provider, tenant, object) {
        (Some(provider), Some(tenant), Some(object)) if tenant.len() > 12 => {
            let begin: String = tenant.chars().take(8).collect();
            format!("{provider}/{begin}…/{object}")
        }
        _ => principal.to_string(),
    };
    html! { span title=(principal) { (text) } }
}

/// When something ends: counted down by the page where that can be.
pub(super) fn deadline(deadline: Timestamp, now: Timestamp) -> Markup {
    let left = match now < deadline {
        false => "its time is over".to_owned(),
        true => format!("within {}", rounded(between(now, deadline))),
    };
    html! { time data-until datetime=(moment(deadline)) title=(moment(deadline)) { (left) } }
}

/// A moment that is past or to come, as a distance with the moment as its title.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(moment(then)) title=(moment(then)) { (rounded(between(then, now))) " ago" } }
}

/// Two units are enough.
pub(super) fn rounded(length: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(length.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// RFC 3339 in UTC, to the second.
pub(super) fn moment(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
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

pub(super) fn kind(kind: CallerKind) -> &'static str {
    match kind {
        CallerKind::Human => "a person",
        CallerKind::HumanThroughAgent => "an agent, on behalf of a person",
        CallerKind::Agent => "an agent",
        CallerKind::AgentUser => "an agent's own user account",
        CallerKind::Workload => "a workload",
        CallerKind::Unknown => "not known",
    }
}

/// Where something stands, as a word with its colour.
pub(super) fn badge(standing: Standing) -> Markup {
    let (class, word) = match standing {
        Standing::Pending => ("waits", "waits"),
        Standing::Approved => ("ok", "approved"),
        Standing::Rejected => ("refused", "rejected"),
        Standing::Expired => ("", "expired"),
        Standing::Withdrawn => ("", "withdrawn"),
    };
    html! { span.badge.(class) { (word) } }
}

/// A risk as a bar and as a number.
pub(super) fn risk(risk: u8) -> Markup {
    html! {
        meter min="0" max="100" low="40" high="70" optimum="0" value=(risk) aria-label="Risk" { (risk) }
        " " (risk) " of 100"
    }
}

/// What a text begins with, in one line: beside a link to the whole, never instead of it.
pub(super) fn begin(text: &str) -> Markup {
    let words: Vec<&str> = text.split_whitespace().take(40).collect();
    visible(&cut(&words.join(" "), 100))
}

fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// A cell of a table, which says on a narrow screen what it is.
pub(super) fn cell(label: &'static str, content: Markup) -> Markup {
    html! { td role="cell" data-label=(label) { div { (content) } } }
}

/// The head of a table.
pub(super) fn columns(labels: &[&'static str]) -> Markup {
    html! {
        thead role="rowgroup" {
            tr role="row" { @for label in labels { th role="columnheader" scope="col" { (label) } } }
        }
    }
}

/// Nothing is here; how something comes here.
pub(super) fn empty(what: &str, how: Markup) -> Markup {
    html! { div.empty { strong { (what) } p { (how) } } }
}

/// A number with its noun.
pub(super) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
