//! Microsoft Teams: an adaptive card for the workflow trigger "When a Teams webhook request is received" (Microsoft Teams,
//! "Create incoming webhooks with Workflows"; the connectors of Office 365 that came before are retired).
//!
//! Nothing is decided in Teams: what comes back from a workflow's card is signed by nobody and names a person whom only the workflow has
//! seen. The one button opens the page, where the person signs in.
//!
//! What may go wrong: texts of agents that are read as Markdown, as a link or as a mention. Every text is a `TextRun`, which knows none of
//! them (Adaptive Cards schema, version 1.2: Markdown is a `TextBlock`'s and a `Fact`'s).

use super::message::Card;
use serde_json::{Value, json};

/// Bytes of texts in a card. A webhook takes 28 KB, counted in UTF-16.
pub(super) const ROOM: usize = 8 * 1024;

/// The JSON text.
pub(super) fn body(card: &Card) -> Vec<u8> {
    let mut blocks = vec![line(&[run(&card.headline, "bolder", "default")])];
    for (label, fact) in &card.facts {
        blocks
            .push(line(&[run(&format!("{label}: "), "bolder", "default"), run(fact, "default", "default")]));
    }
    if let Some((label, text)) = &card.text {
        blocks.push(line(&[run(label, "bolder", "default")]));
        blocks.push(line(&[run(text, "default", "monospace")]));
    }
    if let Some(note) = card.note {
        blocks.push(line(&[run(note, "default", "default")]));
    }
    let content = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
        "actions": [{ "type": "Action.OpenUrl", "title": "Open", "url": card.link }],
        "msteams": { "width": "Full" },
    });
    let attachment = json!({
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": null,
        "content": content,
    });
    json!({ "type": "message", "attachments": [attachment] }).to_string().into_bytes()
}

fn line(runs: &[Value]) -> Value {
    json!({ "type": "RichTextBlock", "inlines": runs })
}

fn run(text: &str, weight: &str, font: &str) -> Value {
    json!({ "type": "TextRun", "text": text, "weight": weight, "fontType": font })
}
