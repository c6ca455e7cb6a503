//! What is told: that a session began, what was done in it, how it ended. As an object of our own, in its first version.
//!
//! `docs/streams.md` has every field. Fields are only ever added; a change of meaning is another `schema`.

use super::Content;
use crate::recorder::{EndReason, Opening, SessionEnd};
use crate::story::Operation;
use chaperone_core::Timestamp;
use serde_json::{Map, Value as Json, json};
use std::fmt::Write;
use std::time::Duration;

/// The version of the objects.
pub(super) const SCHEMA: &str = "chaperone.event.v1";

/// An event of a session.
#[derive(Debug, Clone)]
pub(super) struct Event<'a> {
    pub(super) opening: &'a Opening,
    pub(super) at: Timestamp,
    /// The same, however often it is told.
    pub(super) id: String,
    pub(super) what: What<'a>,
}

/// What has happened.
#[derive(Debug, Clone)]
pub(super) enum What<'a> {
    Begin,
    Operation(Box<Operation>),
    End(&'a SessionEnd),
    /// Too much to tell: only that there was something, and of which kind.
    LeftOut(&'static str),
}

impl<'a> Event<'a> {
    pub(super) fn begin(opening: &'a Opening) -> Self {
        Event::new(opening, opening.started, "begin".to_owned(), What::Begin)
    }

    pub(super) fn operation(opening: &'a Opening, operation: &Operation, content: Content) -> Self {
        let since = Duration::from_micros(operation.at_us);
        let at = opening.started.saturating_add(since).unwrap_or(opening.started);
        let mut operation = operation.clone();
        if content == Content::Facts {
            operation.leave_out_texts();
        }
        Event::new(opening, at, operation.number.to_string(), What::Operation(Box::new(operation)))
    }

    pub(super) fn end(opening: &'a Opening, end: &'a SessionEnd) -> Self {
        Event::new(opening, end.ended, "end".to_owned(), What::End(end))
    }

    fn new(opening: &'a Opening, at: Timestamp, part: String, what: What<'a>) -> Self {
        Event { opening, at, id: format!("{}:{part}", opening.head.session), what }
    }

    /// The same without what was sent.
    pub(super) fn without_texts(&self) -> Self {
        let mut shorter = self.clone();
        if let What::Operation(operation) = &mut shorter.what {
            operation.leave_out_texts();
        }
        shorter
    }

    /// Only that it was there.
    pub(super) fn without_facts(&self) -> Self {
        Event { what: What::LeftOut(self.kind()), ..self.clone() }
    }

    /// What it tells of.
    pub(super) fn kind(&self) -> &'static str {
        match &self.what {
            What::Begin => "session-began",
            What::Operation(_) => "operation",
            What::End(_) => "session-ended",
            What::LeftOut(kind) => kind,
        }
    }

    /// Whether what was asked for was kept from happening, or broke: what somebody may want to look at.
    pub(super) fn gravity(&self) -> Gravity {
        match &self.what {
            What::Operation(operation) if !operation.faults.is_empty() => Gravity::Broken,
            What::Operation(operation) if operation.was_refused() => Gravity::Refused,
            What::Operation(operation) if operation.was_held() => Gravity::Held,
            What::End(SessionEnd { reason: EndReason::Broken | EndReason::Interrupted, .. }) => {
                Gravity::Broken
            }
            What::End(SessionEnd { reason: EndReason::Refused | EndReason::Revoked, .. }) => Gravity::Refused,
            _ => Gravity::Usual,
        }
    }

    /// The object of our own.
    pub(super) fn json(&self) -> Json {
        let mut object = Map::new();
        object.insert("schema".into(), SCHEMA.into());
        object.insert("id".into(), self.id.as_str().into());
        object.insert("kind".into(), self.kind().into());
        object.insert("time".into(), time(self.at).into());
        if matches!(self.what, What::LeftOut(_)) {
            object.insert("session".into(), json!({ "id": self.opening.head.session }));
            object.insert("left_out".into(), true.into());
            return object.into();
        }
        object.insert("session".into(), self.session());
        object.insert("caller".into(), self.caller());
        let (key, value) = match &self.what {
            What::Begin => ("begin", self.begun()),
            What::End(end) => {
                ("end", json!({ "reason": end.reason, "code": end.code, "detail": end.detail }))
            }
            What::Operation(operation) => {
                object.insert("decisions".into(), operation.decisions().collect());
                ("operation", json!(operation))
            }
            What::LeftOut(_) => return object.into(),
        };
        object.insert(key.into(), value);
        object.into()
    }

    fn session(&self) -> Json {
        let head = &self.opening.head;
        json!({
            "id": head.session,
            "started": time(self.opening.started),
            "protocol": head.protocol,
            "target": head.target,
            "target_role": head.target_role,
            "grant": head.grant,
            "window": head.window,
            "request": head.request,
            "approved_by": head.approved_by,
            "client_address": head.client_address,
        })
    }

    /// Who. Groups and roles are left out: they are many, and in the recording.
    fn caller(&self) -> Json {
        let identity = &self.opening.head.identity;
        json!({
            "principal": identity.principal,
            "provider": identity.provider,
            "tenant": identity.tenant,
            "object_id": identity.object_id,
            "kind": identity.kind,
            "actor": identity.actor,
            "blueprint": identity.blueprint,
            "display_name": identity.display_name,
        })
    }

    fn begun(&self) -> Json {
        let head = &self.opening.head;
        json!({
            "requested_role": head.requested_role,
            "gateway_version": head.gateway_version,
            "plugins": head.plugins,
        })
    }
}

/// How much an event matters to whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gravity {
    /// As it should be.
    Usual,
    /// People were asked.
    Held,
    /// It was kept from happening, or was ended by somebody.
    Refused,
    /// Something broke.
    Broken,
}

/// RFC 3339, in UTC, with six digits behind the point.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// Milliseconds since 1970.
pub(super) fn milliseconds(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// JSON in one line, in which no character steers a terminal, ends a line or turns text round: texts in it are anybody's.
/// JSON's own escapes do for the first 32 characters; the others get one here (RFC 8259, section 7).
pub(super) fn text(value: &Json) -> String {
    let plain = value.to_string();
    if plain.is_ascii() && !plain.contains('\u{7f}') {
        return plain;
    }
    let mut text = String::with_capacity(plain.len());
    for character in plain.chars() {
        match character {
            '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => {
                // Writing to a String cannot fail. All of these are below 0x10000, and stand in strings alone.
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            other => text.push(other),
        }
    }
    text
}
