//! Slack: a message of an app's incoming webhook, with buttons, and what comes back when one is pressed.
//!
//! An incoming webhook is enough for buttons: presses go to the app's "Interactivity Request URL", which is the gateway's hook
//! ([`hook`]), and the answer to the address that comes with them. So there is no bot token, and the app can write into its one channel only.
//!
//! What may go wrong: texts of agents that are read as a mention, a link or markup. They stand in `plain_text` objects, which know no markup, and
//! `&`, `<` and `>` are written as entities, so that no control sequence is in them whichever way they are read (Slack, "Formatting message text").

use super::message::{Card, TOO_LONG};
use serde_json::{Value, json};

pub(super) mod click;
pub(super) mod hook;

/// Bytes of texts in a message. A text object takes 3,000 characters, entities as they are written.
pub(super) const ROOM: usize = 2_500;

/// The longest text object, in characters.
const MAX_TEXT_CHARS: usize = 3_000;

/// The `action_id` of a button.
pub(super) const APPROVE: &str = "approve";
pub(super) const REJECT: &str = "reject";
pub(super) const OPEN: &str = "open";

/// Whether a message has buttons that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Buttons {
    /// It has, as long as anybody can decide.
    Decide,
    /// Only the one that opens the page.
    Open,
}

/// The JSON value of a message.
pub(super) fn message(card: &Card, id: &str, buttons: Buttons) -> Value {
    let mut lines = vec![card.headline.clone()];
    lines.extend(card.facts.iter().map(|(label, fact)| format!("{label}: {fact}")));
    lines.extend(card.note.map(str::to_owned));
    // Slack refuses a message with a text that is too long, and with entities it may be: then it is shown not at all.
    let mut head = lines.join("\n");
    if !fits(&head) {
        head = format!("{}\n{TOO_LONG}", card.headline);
    }
    let mut blocks = vec![section(&head)];
    if let Some((label, text)) = &card.text {
        let whole = format!("{label}:\n{text}");
        blocks.push(section(if fits(&whole) { &whole } else { TOO_LONG }));
    }
    let mut elements = Vec::new();
    if buttons == Buttons::Decide && card.is_open {
        elements.push(button("Approve", APPROVE, id, json!({ "style": "primary" })));
        elements.push(button("Reject", REJECT, id, json!({ "style": "danger" })));
    }
    elements.push(button("Open", OPEN, id, json!({ "url": card.link })));
    blocks.push(json!({ "type": "actions", "elements": elements }));
    json!({
        "text": escaped(&card.headline),
        "blocks": blocks,
        // Nobody fetches the page to show a preview of it.
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// An answer that only the person who pressed sees.
pub(super) fn answer(text: &str) -> Value {
    json!({
        "response_type": "ephemeral",
        "replace_original": false,
        "text": escaped(text),
        "blocks": [section(text)],
    })
}

fn fits(text: &str) -> bool {
    escaped(text).chars().count() <= MAX_TEXT_CHARS
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "plain_text", "text": escaped(text), "emoji": false } })
}

fn button(title: &str, action: &str, value: &str, more: Value) -> Value {
    let mut button = json!({
        "type": "button",
        "text": { "type": "plain_text", "text": title, "emoji": false },
        "action_id": action,
        "value": value,
    });
    if let (Some(button), Value::Object(more)) = (button.as_object_mut(), more) {
        button.extend(more);
    }
    button
}

/// Slack's three control characters, as entities.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
