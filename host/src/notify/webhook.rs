//! The generic webhook: JSON, signed. `host/docs/notify.md` is for those who write a receiver.
//!
//! The signature covers the time, so that what was recorded on the way cannot be sent again later; the id in the header stays the same at
//! every attempt.

use super::message::Page;
use super::{Content, Delivery};
use crate::post::{MAX_BODY_BYTES, Message, SendError};
use crate::state::StoredApproval;
use crate::target::SecretSource;
use aws_lc_rs::hmac;
use chaperone_core::Timestamp;
use chaperone_core::approval::{ApprovalId, Matter};
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::json;

const SIGNATURE: HeaderName = HeaderName::from_static("chaperone-signature");
const DELIVERY: HeaderName = HeaderName::from_static("chaperone-delivery");

/// The JSON text. What would be too long is a link as well.
pub(super) fn body(
    delivery: &Delivery,
    stored: &StoredApproval,
    page: &Page,
    content: Content,
    now: Timestamp,
) -> Vec<u8> {
    let approval = &stored.approval;
    let kind = match stored.id {
        ApprovalId::Request(_) => "request",
        ApprovalId::Hold(_) => "hold",
    };
    let seconds = match approval.matter() {
        Matter::Window(terms) => Some(terms.seconds),
        Matter::Operation(_) => None,
    };
    let mut told = json!({
        "delivery": delivery.id,
        "event": delivery.event,
        "at": delivery.made,
        "approval": {
            "id": stored.id,
            "kind": kind,
            "state": approval.state(now),
            "target": approval.matter().target(),
            "requester": approval.requester(),
            "seconds": seconds,
            "asked": approval.asked(),
            "deadline": approval.deadline(),
            "missing": approval.missing(),
            "url": page.of(stored.id),
        },
    });
    let link = told.to_string().into_bytes();
    if content == Content::Link {
        return link;
    }
    if let Some(members) = told.get_mut("approval").and_then(|approval| approval.as_object_mut()) {
        members.insert("caller".into(), json!(stored.caller));
        members.insert("matter".into(), json!(approval.matter()));
        members.insert("decisions".into(), json!(approval.decisions()));
    }
    let full = told.to_string().into_bytes();
    if full.len() > MAX_BODY_BYTES { link } else { full }
}

/// The message with its signature: `t=<seconds since 1970>,v1=<HMAC-SHA256 of "t.body", in hexadecimal>`.
pub(super) fn signed(
    secret: Option<&dyn SecretSource>,
    delivery: &Delivery,
    body: Vec<u8>,
    now: Timestamp,
) -> Result<Message, SendError> {
    // Fails closed: nothing is sent unsigned.
    let secret = secret.ok_or_else(|| SendError::Secret("there is none".into()))?;
    let secret = secret.read().map_err(SendError::Secret)?;
    let signature = sign(secret.expose_secret().as_bytes(), now.as_second(), &body);
    let mut message = Message::json(body);
    for (name, value) in [(SIGNATURE, signature), (DELIVERY, delivery.id.to_string())] {
        let value = HeaderValue::try_from(value).map_err(|_| SendError::Url("a header cannot be made"))?;
        message.headers.insert(name, value);
    }
    Ok(message)
}

fn sign(secret: &[u8], at: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{at}.").as_bytes());
    context.update(body);
    let tag: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={tag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_the_time_and_the_body() {
        let secret = b"a secret of the test";
        // As `printf '1800000000.{}' | openssl dgst -sha256 -hmac 'a secret of the test'` makes it.
        let tag = "adad96a0f5b3e67cf7eb4b9f76f676532a00ea4e9d7a74ea19edc2266473472d";
        let tag_of = |at, body: &[u8]| sign(secret, at, body).split_once(",v1=").unwrap().1.to_owned();
        assert_eq!(sign(secret, 1_800_000_000, b"{}"), format!("t=1800000000,v1={tag}"));
        assert_ne!(tag_of(1_800_000_001, b"{}"), tag);
        assert_ne!(tag_of(1_800_000_000, b"{ }"), tag);
    }
}
