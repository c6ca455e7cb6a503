//! What a client is told when it does not get what it asked for.
//!
//! One type for every protocol: a protocol only words it (PostgreSQL: ERROR with SQLSTATE; HTTP: RFC 9457). The code
//! is stable and machine-readable; the texts may be improved at any time. A refusal never says whether a target exists.

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
    /// One sentence: what was refused.
    pub message: String,
    /// Why: the rule, the reason. May be empty.
    pub detail: String,
    /// What to do next. May be empty.
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
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
