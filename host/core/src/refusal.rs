//! What a client is told when it does not get what it asked for.
//!
//! One type for every protocol: a protocol only words it (PostgreSQL: ERROR with SQLSTATE; HTTP: RFC 9457). The code
//! is stable and machine-readable; the texts may be improved at any time. A refusal never says whether a target exists.
//!
//! The texts follow PostgreSQL's "Error Message Style Guide" (manual, "PostgreSQL Coding Conventions"): the message begins
//! in lower case and has no full stop, since clients print it behind `ERROR:`; detail and hint are whole sentences, and a
//! hint says what to do next. Where a message stands alone, [`sentence`] makes one of it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The stable class of a refusal. `as_str` is what clients and recordings see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RefusalCode {
    /// No credential, or one of the wrong form.
    CredentialMissing,
    /// The credential does not prove an identity (signature, issuer, audience, claims).
    CredentialInvalid,
    /// The credential is past its time.
    CredentialExpired,
    /// The credential's provider cannot be asked for its keys now.
    ProviderUnavailable,
    /// No grant, or no such target: deliberately one code.
    NotGranted,
    /// The caller is on the deny list.
    Denied,
    /// There is a grant, but no window is open.
    NoWindow,
    /// A rule of a plugin refused the operation.
    OperationRefused,
    /// The operation was not understood.
    NotUnderstood,
    /// A plugin failed; the operation does not run.
    PluginFault,
    /// An approver rejected the held operation, or nobody answered in time.
    HoldRejected,
    /// Nobody approved in time.
    HoldTimedOut,
    /// The client withdrew the operation.
    Cancelled,
    /// A value that must be masked cannot be.
    MaskImpossible,
    /// The recording cannot be written.
    RecorderFailed,
    /// The target does not answer, or refuses the gateway's own credential.
    TargetUnavailable,
    /// The window closed.
    WindowClosed,
    /// An operator ended the session or the window.
    Revoked,
    /// The gateway is shutting down.
    ShuttingDown,
    /// A named bound was reached.
    LimitReached,
    /// The connection must be encrypted.
    TlsRequired,
    /// The client broke the protocol, or uses a part of it that is not allowed.
    ProtocolViolation,
    /// The gateway itself failed.
    Internal,
}

impl RefusalCode {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalCode::CredentialMissing => "credential-missing",
            RefusalCode::CredentialInvalid => "credential-invalid",
            RefusalCode::CredentialExpired => "credential-expired",
            RefusalCode::ProviderUnavailable => "provider-unavailable",
            RefusalCode::NotGranted => "not-granted",
            RefusalCode::Denied => "denied",
            RefusalCode::NoWindow => "no-window",
            RefusalCode::OperationRefused => "operation-refused",
            RefusalCode::NotUnderstood => "not-understood",
            RefusalCode::PluginFault => "plugin-fault",
            RefusalCode::HoldRejected => "hold-rejected",
            RefusalCode::HoldTimedOut => "hold-timed-out",
            RefusalCode::Cancelled => "cancelled",
            RefusalCode::MaskImpossible => "mask-impossible",
            RefusalCode::RecorderFailed => "recorder-failed",
            RefusalCode::TargetUnavailable => "target-unavailable",
            RefusalCode::WindowClosed => "window-closed",
            RefusalCode::Revoked => "revoked",
            RefusalCode::ShuttingDown => "shutting-down",
            RefusalCode::LimitReached => "limit-reached",
            RefusalCode::TlsRequired => "tls-required",
            RefusalCode::ProtocolViolation => "protocol-violation",
            RefusalCode::Internal => "internal",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RefusalCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The stable class.
    pub code: RefusalCode,
    /// What was refused: lower case, no full stop.
    pub message: String,
    /// Why: the rule, the reason. Whole sentences, or empty.
    pub detail: String,
    /// What to do next. Whole sentences, or empty.
    pub hint: String,
}

impl Refusal {
    /// A refusal with a message only.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into(), detail: String::new(), hint: String::new() }
    }

    /// Adds why.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// A message as a sentence of its own: a capital first, a full stop last.
pub fn sentence(message: &str) -> String {
    let mut rest = message.chars();
    let mut sentence: String = rest.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    sentence.push_str(rest.as_str());
    if !sentence.is_empty() && !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

impl fmt::Display for Refusal {
    /// As running text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sentence(&self.message))?;
        for part in [&self.detail, &self.hint] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

/// Which side a failure belongs to, so that nobody searches for it on the wrong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The connecting client.
    Client,
    /// The protected system.
    Target,
    /// Chaperone itself.
    Gateway,
    /// A plugin.
    Plugin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_sentences_where_it_stands_alone() {
        let refusal =
            Refusal::new(RefusalCode::NoWindow, "you have no window").detail("Why.").hint("Ask for one.");
        assert_eq!(refusal.to_string(), "You have no window. Why. Ask for one.");
        for (message, expected) in
            [("", ""), ("it ended.", "It ended."), ("\u{e9}t\u{e9}", "\u{c9}t\u{e9}."), ("why?", "Why?")]
        {
            assert_eq!(sentence(message), expected);
        }
    }
}
