//! Cards for people: what agents wrote stays text, whatever it looks like, and is there whole or not at all.

use super::super::message::{Card, card};
use super::*;
use crate::state::StoredApproval;
use crate::state::tests::{needs, person};
use chaperone_core::approval::{Approval, Digest, Matter, OperationTerms};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{HoldId, WindowId};
use serde_json::Value;

/// Markup, mentions and links of Slack, Teams and HTML.
pub(super) const HOSTILE: &str = "DELETE FROM t -- <!channel> <@U012AB3CD> <https://evil.example|Open> [Open](https://evil.example) \
     <at>everyone</at> **bold** `code` ```\n&lt;!here&gt; & https://evil.example/x {{DATE(2026-01-01T00:00:00Z)}} <b>";

/// A hold with this text.
pub(super) fn held(summary: &str) -> StoredApproval {
    let facts = person("a1", CallerKind::Agent, &[]);
    let matter = Matter::Operation(OperationTerms {
        target: target("db"),
        window: WindowId::new(uuid::Uuid::now_v7()),
        summary: summary.into(),
        digest: Digest([9; 32]),
        risk: 70,
        findings: vec![],
        reason: "it deletes".into(),
    });
    let minute = Duration::from_secs(60);
    let principal = facts.principal.clone();
    let approval = Approval::ask(principal, matter, vec![needs("dba", 2)], at(0), minute).unwrap();
    let id = ApprovalId::Hold(HoldId::new(uuid::Uuid::now_v7()));
    StoredApproval { id, caller: Some((&facts).into()), approval, window: None }
}

pub(super) fn card_of(stored: &StoredApproval, content: Content) -> Card {
    card(stored, &Page::new("https://gateway.example"), content, teams::ROOM, at(0))
}

/// Every value of `key`, at any depth.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            if name == key {
                found.push(value);
            }
            all(value, key, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        _ => {}
    }
}

#[test]
fn a_card_of_teams_is_of_its_form_and_shows_texts_as_they_are() {
    let stored = held(HOSTILE);
    let body: Value = serde_json::from_slice(&teams::body(&card_of(&stored, Content::Full))).unwrap();
    assert_eq!(body["type"], "message");
    let attachment = &body["attachments"][0];
    assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(attachment["content"]["type"], "AdaptiveCard");
    let mut types = Vec::new();
    all(&attachment["content"], "type", &mut types);
    let types: std::collections::BTreeSet<_> = types.iter().map(|kind| kind.as_str().unwrap()).collect();
    // No TextBlock and no FactSet, whose texts are Markdown; no action but the link.
    assert_eq!(
        types.into_iter().collect::<Vec<_>>(),
        ["Action.OpenUrl", "AdaptiveCard", "RichTextBlock", "TextRun"]
    );
    let url = format!("https://gateway.example/console/approvals/{}", stored.id);
    let mut urls = Vec::new();
    all(&body, "url", &mut urls);
    assert_eq!(urls, [&Value::from(url)]);
    let mut texts = Vec::new();
    all(&body, "text", &mut texts);
    assert!(texts.contains(&&Value::from(HOSTILE)), "whole, and in one run: {texts:?}");
}

#[test]
fn a_link_holds_nothing_that_an_agent_wrote() {
    let card = card_of(&held(HOSTILE), Content::Link);
    let text = String::from_utf8(teams::body(&card)).unwrap();
    assert!(!text.contains("DELETE") && !text.contains("deletes"), "{text}");
    assert_eq!(card.headline, "Approval needed: an operation on db");
    let facts: Vec<_> = card.facts.iter().map(|(label, fact)| format!("{label}: {fact}")).collect();
    let until = format!("Until: {:.0}", at(60));
    assert_eq!(facts, ["Requester: corp/t/a1", "Kind: agent", "Persons needed: 2", &until]);
    assert_eq!((card.note, card.is_open), (None, true));
}

#[test]
fn what_does_not_fit_is_left_out_whole() {
    let fits = "x".repeat(teams::ROOM - 200);
    let shown = card_of(&held(&fits), Content::Full);
    assert_eq!((shown.text, shown.note), (Some(("Operation", fits)), None));
    let hidden = card_of(&held(&"x".repeat(teams::ROOM)), Content::Full);
    assert_eq!((hidden.text, hidden.note.is_some()), (None, true));
    let size = teams::body(&card_of(&held(&"\u{1}".repeat(64 * 1024)), Content::Full)).len();
    assert!(size < 4096, "{size}");
    // UTF-16, and every character escaped.
    let worst = teams::body(&card_of(&held(&"\"".repeat(teams::ROOM - 200)), Content::Full));
    assert!(String::from_utf8(worst).unwrap().encode_utf16().count() < 28 * 1024);
}

#[test]
fn a_card_says_how_it_stands_now_and_not_what_it_was_made_for() {
    let stored = held("x");
    let late = card(&stored, &Page::new("https://gateway.example"), Content::Link, 999, at(60));
    assert_eq!(
        (late.headline.as_str(), late.is_open),
        ("Expired, nobody decided in time: an operation on db", false)
    );
    assert!(late.facts.iter().all(|(label, _)| *label != "Until"));
}

#[test]
fn a_webhook_that_would_be_too_long_is_a_link() {
    let page = Page::new("https://gateway.example");
    for (length, whole) in [(1_000, true), (crate::post::MAX_BODY_BYTES, false)] {
        let stored = held(&"x".repeat(length));
        let delivery = Delivery {
            id: chaperone_core::name::DeliveryId::new(uuid::Uuid::now_v7()),
            channel: ChannelName::new("siem").unwrap(),
            approval: stored.id,
            event: chaperone_core::approval::Told::Asked,
            target: target("db"),
            attempts: 1,
            made: at(0),
            due: at(0),
            state: DeliveryState::Waiting,
            settled: None,
            error: None,
        };
        let body = webhook::body(&delivery, &stored, &page, Content::Full, at(0));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["approval"]["state"], "pending");
        assert_eq!(body["approval"]["matter"].is_object(), whole, "{length}");
    }
}
