//! What is asked for: a window, or one exact operation.

use crate::decision::Finding;
use crate::name::{HoldId, IdError, RequestId, TargetName, WindowId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An access request or a held operation: what an approver names when deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ApprovalId {
    /// An access request.
    Request(RequestId),
    /// A held operation.
    Hold(HoldId),
}

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApprovalId::Request(id) => id.fmt(f),
            ApprovalId::Hold(id) => id.fmt(f),
        }
    }
}

impl std::str::FromStr for ApprovalId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.parse() {
            Ok(id) => Ok(ApprovalId::Hold(id)),
            Err(_) => text.parse().map(ApprovalId::Request),
        }
    }
}

impl Serialize for ApprovalId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// SHA-256 of the exact bytes of an operation, parameters included: what was approved is what runs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        let hex = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut digest = [0; 32];
        if text.len() != 64 {
            return Err(DigestError);
        }
        for (out, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let &[high, low] = pair else { return Err(DigestError) };
            let (Some(high), Some(low)) = (hex(high), hex(low)) else { return Err(DigestError) };
            *out = high << 4 | low;
        }
        Ok(Digest(digest))
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Matter {
    /// A window: it opens when the last approval arrives, and is this long.
    Window(WindowTerms),
    /// One held operation.
    Operation(OperationTerms),
}

/// The window that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowTerms {
    /// On what.
    pub target: TargetName,
    /// How long, in seconds.
    pub seconds: u64,
    /// Why, in the requester's words.
    pub reason: String,
    /// The ticket that it is for, as the requester names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// The operation that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationTerms {
    /// On what.
    pub target: TargetName,
    /// In whose window.
    pub window: WindowId,
    /// The operation as an approver reads it: whole, never shortened.
    pub summary: String,
    /// Its exact bytes, parameters included.
    pub digest: Digest,
    /// 0 to [`crate::decision::MAX_RISK`].
    pub risk: u8,
    /// What the check plugins found.
    pub findings: Vec<Finding>,
    /// Why a human has to look.
    pub reason: String,
}

impl Matter {
    /// On what.
    pub fn target(&self) -> &TargetName {
        match self {
            Matter::Window(terms) => &terms.target,
            Matter::Operation(terms) => &terms.target,
        }
    }
}
