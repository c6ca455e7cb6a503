//! What all channels say of an approval, as it stands when it is said.

use super::Content;
use crate::state::StoredApproval;
use chaperone_core::Timestamp;
use chaperone_core::approval::{ApprovalId, Matter, State as Standing};
use std::time::Duration;

/// Where people decide: the base of the console as they reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page(String);

impl Page {
    /// From the gateway's URL.
    pub fn new(url: &str) -> Self {
        Page(url.trim_end_matches('/').to_owned())
    }

    /// The page of one approval. Opening it decides nothing.
    pub(super) fn of(&self, id: ApprovalId) -> String {
        format!("{}/console/approvals/{id}", self.0)
    }
}

/// What a card for people says, before it is put into a channel's form. The texts are anybody's: each form has to take them as
/// characters and nothing else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) headline: String,
    pub(super) facts: Vec<(&'static str, String)>,
    /// What an agent wrote, whole; none where it is not to leave the house, or does not fit.
    pub(super) text: Option<(&'static str, String)>,
    pub(super) note: Option<&'static str>,
    pub(super) link: String,
    /// Whether anybody can still decide.
    pub(super) is_open: bool,
}

/// An approver sees the whole operation or nothing.
pub(super) const TOO_LONG: &str = "It is too long to be shown whole here: open the page.";

/// The card; a text of more than `room` bytes is left out, and that is said.
pub(super) fn card(
    stored: &StoredApproval,
    page: &Page,
    content: Content,
    room: usize,
    now: Timestamp,
) -> Card {
    let approval = &stored.approval;
    let standing = approval.state(now);
    let what = match approval.matter() {
        Matter::Window(_) => "a window on",
        Matter::Operation(_) => "an operation on",
    };
    let headline = format!("{}: {what} {}", headline(standing), approval.matter().target());
    let mut facts = vec![("Requester", approval.requester().to_string())];
    if let Some(caller) = &stored.caller {
        facts.push(("Kind", caller.kind.to_string()));
    }
    if let Matter::Window(terms) = approval.matter() {
        facts.push(("For", humantime::format_duration(Duration::from_secs(terms.seconds)).to_string()));
    }
    if standing == Standing::Pending {
        facts.push(("Persons needed", approval.missing().to_string()));
        facts.push(("Until", format!("{:.0}", approval.deadline())));
    }
    let by: Vec<_> = match approval.rejection() {
        Some(no) => vec![no.by.to_string()],
        None => approval.approved_by().iter().map(ToString::to_string).collect(),
    };
    if !by.is_empty() {
        facts.push(("By", by.join(", ")));
    }
    let mut text = None;
    if content == Content::Full {
        text = Some(match approval.matter() {
            Matter::Window(terms) => {
                facts.extend(terms.ticket.iter().map(|ticket| ("Ticket", ticket.clone())));
                ("Reason", terms.reason.clone())
            }
            Matter::Operation(terms) => {
                facts.push(("Risk", terms.risk.to_string()));
                facts.push(("Why it waits", terms.reason.clone()));
                ("Operation", terms.summary.clone())
            }
        });
    }
    let said = |text: &Option<(&str, String)>| text.as_ref().map_or(0, |(_, text)| text.len());
    let long = said(&text) + facts.iter().map(|(_, fact)| fact.len()).sum::<usize>() > room;
    if long {
        text = None;
        facts.retain(|(label, fact)| !["Why it waits", "Ticket"].contains(label) && fact.len() <= room / 4);
    }
    let note = long.then_some(TOO_LONG);
    let is_open = standing == Standing::Pending;
    Card { headline, facts, text, note, link: page.of(stored.id), is_open }
}

fn headline(standing: Standing) -> &'static str {
    match standing {
        Standing::Pending => "Approval needed",
        Standing::Approved => "Approved",
        Standing::Rejected => "Rejected",
        Standing::Expired => "Expired, nobody decided in time",
        Standing::Withdrawn => "Withdrawn",
    }
}
