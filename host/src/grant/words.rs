//! What clients are told by this module. The texts are part of the interface: agents act on them.

use crate::identity::{Completeness, Identity};
use crate::state::StateError;
use chaperone_core::denial::Denial;
use chaperone_core::grant::{Deny, Grant};
use chaperone_core::name::{RequestId, SessionId, TargetName};
use chaperone_core::refusal::{Refusal, RefusalCode, sentence};
use serde::Serialize;
use serde_json::json;
use std::fmt;
use std::time::Duration;

/// What to send next, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextStep {
    /// HTTP method.
    pub method: &'static str,
    /// Where.
    pub url: String,
    /// The JSON to send; only `reason` or `token` is left to fill in.
    pub body: serde_json::Value,
    /// The same as a command.
    pub command: String,
}

impl NextStep {
    /// How to ask for a window on a target.
    pub fn request(api_url: &str, target: &TargetName) -> Self {
        NextStep {
            method: "POST",
            url: format!("{}/api/v1/requests", api_url.trim_end_matches('/')),
            body: json!({ "target": target, "reason": "why you need it" }),
            command: format!("chaperone request {} --reason 'why you need it'", shell_word(target.as_str())),
        }
    }

    /// How a session gets a newer token.
    pub fn renewal(api_url: &str, session: SessionId) -> Self {
        NextStep {
            method: "PUT",
            url: format!("{}/api/v1/sessions/{session}/token", api_url.trim_end_matches('/')),
            body: json!({ "token": "the new token" }),
            command: format!("chaperone renew {session}"),
        }
    }

    /// The same, with a ticket to fill in.
    #[must_use]
    pub fn with_ticket(mut self) -> Self {
        self.command.push_str(" --ticket 'the ticket'");
        if let Some(body) = self.body.as_object_mut() {
            body.insert("ticket".to_owned(), "the ticket".into());
        }
        self
    }

    /// The same, for a window of this length.
    #[must_use]
    pub fn lasting(mut self, length: Duration) -> Self {
        let length = humantime::format_duration(length).to_string().replace(' ', "");
        self.command.push_str(&format!(" --duration {length}"));
        if let Some(body) = self.body.as_object_mut() {
            body.insert("duration".to_owned(), length.into());
        }
        self
    }
}

impl fmt::Display for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} with your token as bearer and the body {}", self.method, self.url, self.body)?;
        write!(f, ", or run: {}", self.command)
    }
}

/// A credential for approving opens nothing.
pub(super) fn only_approves() -> Refusal {
    Refusal::new(RefusalCode::NotGranted, "this token is for approving, and opens nothing")
        .hint("Ask, and connect, with a token for the gateway's own application.")
}

/// A name for a shell: names are printable ASCII without spaces, but may hold what a shell would act on.
fn shell_word(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    if name.bytes().all(plain) { name.to_owned() } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

/// No grant, or no such target: one text, so that nobody learns which targets exist.
pub(super) fn not_granted() -> Refusal {
    Refusal::new(RefusalCode::NotGranted, "access to this target is not granted to you")
        .detail(
            "Either there is no such target, or no grant names you, one of your groups or your app roles.",
        )
        .hint("Check the target's name, or ask an operator for a grant.")
}

/// A rule of the policy denies what a grant allows.
pub(super) fn denied_by_rule(rule: &Deny) -> Refusal {
    Refusal::new(RefusalCode::Denied, "a rule of the policy denies you this target")
        .detail(sentence(&rule.reason))
        .hint("Ask an operator; a grant does not help against it.")
}

/// Grants that mean the caller, but not now or not from there.
pub(super) fn not_now(grants: &[&Grant]) -> Refusal {
    let mut when: Vec<String> = grants.iter().map(|grant| grant.only.to_string()).collect();
    when.dedup();
    let when = when.join("; or ");
    Refusal::new(
        RefusalCode::NotGranted,
        "access to this target is granted to you, but not now or not from here",
    )
    .detail(format!("It is granted: {when}."))
    .hint("Try again then, or from there; or ask an operator.")
}

/// All places of a window are taken.
pub(super) fn no_place(most: u16) -> Refusal {
    let sessions = if most == 1 { "1 session".to_owned() } else { format!("{most} sessions") };
    Refusal::new(RefusalCode::LimitReached, "your window on this target has as many sessions as it may have")
        .detail(format!("The grant allows {sessions} at one time."))
        .hint("Close one and connect again.")
}

/// The same to a caller of whom all is known that could be. Of another it may be wrong: still no, but told to come back (fails
/// closed). Either way the text is one for all targets.
pub(super) fn not_granted_to(identity: &Identity) -> Refusal {
    match identity.completeness() {
        Completeness::Complete => not_granted(),
        Completeness::Open => provider_silent(),
    }
}

/// Nothing that the token proves is enough, and the provider did not say the rest.
pub(super) fn provider_silent() -> Refusal {
    Refusal::new(RefusalCode::ProviderUnavailable, "the identity provider does not answer now")
        .detail("Your token alone does not give you this, and which groups you are in cannot be looked up.")
        .hint("Try again in a few seconds; tell the operator if it stays so.")
}

/// On the deny list. Why is for operators: the denied may be who attacks.
pub(super) fn denied(by: &Denial) -> Refusal {
    Refusal::new(RefusalCode::Denied, "an operator has denied you access")
        .detail(format!("The entry is {}.", by.id))
        .hint("Ask an operator to lift it.")
}

/// A grant, but no open window.
pub(super) fn no_window(next: &NextStep) -> Refusal {
    Refusal::new(RefusalCode::NoWindow, "you have no open window on this target")
        .hint(format!("To request one: {next}"))
}

/// A grant, no open window, and a request that waits.
pub(super) fn still_pending(api_url: &str, target: &TargetName, id: RequestId) -> Refusal {
    let url = format!("{}/api/v1/requests/{id}?wait=30s", api_url.trim_end_matches('/'));
    Refusal::new(RefusalCode::NoWindow, "you have no open window on this target yet")
        .detail(format!("Your request {id} for {target} waits for approval."))
        .hint(format!("To wait for it: GET {url} with your token as bearer."))
}

/// The store does not answer. Nothing is granted then: fails closed.
pub(super) fn store_failed(error: StateError) -> Refusal {
    tracing::error!(%error, source = ?std::error::Error::source(&error).map(ToString::to_string), "state store");
    Refusal::new(RefusalCode::Internal, "the gateway cannot read or write its state")
        .hint("Try again; tell the operator if it stays so.")
}

/// The gateway's runtime is going away.
pub(super) fn shutting_down() -> Refusal {
    Refusal::new(RefusalCode::ShuttingDown, "the gateway is shutting down").hint("Try again in a moment.")
}
