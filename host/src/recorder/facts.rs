//! What the gateway itself writes into a recording as JSON: the head, the end and the footer's totals.
//!
//! Fields are only ever added; a reader ignores those it does not know. Nothing here is a secret: a head names the
//! credential's id, never the credential, and no field ever holds the target's.

use super::format::{EventKind, HEADER_BYTES, Hash, Part};
use chaperone_core::Timestamp;
use chaperone_core::identity::IdentityFacts;
use chaperone_core::name::{Principal, SessionId, TargetName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A plugin as it was when the session began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginStamp {
    /// Its name in the configuration.
    pub name: String,
    /// The version it says it is.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// SHA-256 of its configuration, in hexadecimal.
    pub config_hash: String,
    /// The hooks it was asked at.
    pub hooks: Vec<String>,
}

/// Who is on which target, under what: everything that ties a recording to an identity and a permit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHead {
    /// The session's id, which names the recording.
    pub session: SessionId,
    /// The protocol spoken, for example `postgres`: says how raw bodies are to be read.
    pub protocol: String,
    /// The target.
    pub target: TargetName,
    /// What the credential proved.
    pub identity: IdentityFacts,
    /// The grant.
    pub grant: String,
    /// The window's id.
    pub window: String,
    /// The access request's id, when the window came from one.
    pub request: Option<String>,
    /// Who approved that request.
    pub approved_by: Vec<Principal>,
    /// The role at the target that the client asked for.
    pub requested_role: Option<String>,
    /// The role at the target that the session works as: the configured one, or one that was minted for it and is named in
    /// the target's own log. Absent in recordings of versions before it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_role: Option<String>,
    /// The client's address and port.
    pub client_address: String,
    /// The plugins of the session, in the order in which they are asked.
    pub plugins: Vec<PluginStamp>,
    /// The version of the gateway that recorded.
    pub gateway_version: String,
}

/// The body of the head event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The wall clock at the session's start; every event's time counts from here.
    pub started: Timestamp,
    /// The session.
    #[serde(flatten)]
    pub head: SessionHead,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EndReason {
    /// The client went.
    ClientClosed,
    /// The target went.
    TargetClosed,
    /// The client was refused before it was in; `code` says with what.
    Refused,
    /// The window closed.
    WindowClosed,
    /// The credential's time was over.
    CredentialExpired,
    /// An operator ended the session or the window.
    Revoked,
    /// The gateway was shut down.
    ShuttingDown,
    /// The client or the target broke the protocol, or a bound was reached; `code` says which.
    Broken,
    /// The gateway stopped in the middle; written by the recovery at its next start.
    Interrupted,
    /// A reason that only a newer version knows.
    #[serde(other)]
    Other,
}

/// The body of the end event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEnd {
    /// The wall clock at the end.
    pub ended: Timestamp,
    /// Why.
    pub reason: EndReason,
    /// The refusal's stable code, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Sentences without data values: what happened and, where somebody ended it, who and why. May be empty.
    #[serde(default)]
    pub detail: String,
}

/// Who sealed a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The session itself, at its end.
    Sealed,
    /// The recovery, after the gateway had stopped in the middle.
    Interrupted,
}

/// The body of the footer block. The chain seals the events; the footer seals the chain's length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// The session, again.
    pub session: SessionId,
    /// Who sealed.
    pub ending: Ending,
    /// The end event's body, again, so that a listing needs no scan.
    pub end: SessionEnd,
    /// Blocks in front of the footer.
    pub blocks: u64,
    /// Bytes in front of the footer.
    pub bytes: u64,
    /// Events in front of the footer; a body cut into several frames counts once.
    pub events: u64,
    /// Events by kind.
    pub kinds: BTreeMap<String, u64>,
    /// The time of the last event, in microseconds since the start.
    pub last_at_us: u64,
    /// The hash of the last block in front of the footer, in hexadecimal.
    pub last_hash: String,
    /// Bytes of bulk data that the caps left out; unknown (absent) after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_bytes: Option<u64>,
    /// The hash, in hexadecimal, of the last block that was written while the session lived. Absent unless it was packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packed_from: Option<String>,
    /// Why it was not packed when it was sealed. Absent where it was, and in recordings of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked: Option<String>,
}

impl Footer {
    /// How many events of a kind there are.
    pub fn count(&self, kind: EventKind) -> u64 {
        self.kinds.get(kind.as_str()).copied().unwrap_or(0)
    }
}

const KINDS: usize = EventKind::ALL.len();

/// What has been written so far: kept by the writer, computed again by every reader, compared with the footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    pub(super) last_at_us: u64,
    pub(super) last_hash: Hash,
    counts: [u64; KINDS],
}

impl Totals {
    pub(super) fn new() -> Self {
        Totals { blocks: 0, bytes: 0, last_at_us: 0, last_hash: Hash::NONE, counts: [0; KINDS] }
    }

    pub(super) fn frame(&mut self, kind: EventKind, part: Part, at_us: u64) {
        self.last_at_us = self.last_at_us.max(at_us);
        let slot = usize::from(kind.code()).checked_sub(1).and_then(|index| self.counts.get_mut(index));
        if let (Some(slot), Part::Last) = (slot, part) {
            *slot += 1;
        }
    }

    pub(super) fn block(&mut self, payload: usize, hash: Hash) {
        self.blocks += 1;
        self.bytes += (HEADER_BYTES + payload) as u64;
        self.last_hash = hash;
    }

    pub(super) fn events(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn footer(&self, session: SessionId, ending: Ending, end: SessionEnd) -> Footer {
        let kinds = EventKind::ALL.iter().zip(self.counts).filter(|(_, count)| *count > 0);
        Footer {
            session,
            ending,
            end,
            blocks: self.blocks,
            bytes: self.bytes,
            events: self.events(),
            kinds: kinds.map(|(kind, count)| (kind.as_str().to_owned(), count)).collect(),
            last_at_us: self.last_at_us,
            last_hash: self.last_hash.to_string(),
            dropped_bytes: None,
            packed_from: None,
            unpacked: None,
        }
    }
}
