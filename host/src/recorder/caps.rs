//! How much bulk data a recording keeps.
//!
//! What a client did, what was decided and how it came out is always kept. Rows and copied data are kept up to the
//! caps, and then left out whole and visibly: the first thing left out of an operation makes a `truncated` event, and
//! nothing of that operation is kept after it, so that what is kept is always a true beginning.

use super::format::EventKind;

/// Bounds of one recording, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// Rows and copied data that one operation returns.
    pub response_bytes_per_operation: u64,
    /// The same, over a whole session.
    pub response_bytes_per_session: u64,
    /// Bulk data that one operation sends (`COPY … FROM STDIN`).
    pub upload_bytes_per_operation: u64,
    /// The same, over a whole session.
    pub upload_bytes_per_session: u64,
    /// The whole recording. When it is reached the session ends: without it, a client that does nothing but send
    /// statements could fill the disk for everyone.
    pub recording_bytes: u64,
}

impl Default for Caps {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Caps {
            response_bytes_per_operation: 8 * MIB,
            response_bytes_per_session: 256 * MIB,
            upload_bytes_per_operation: 8 * MIB,
            upload_bytes_per_session: 256 * MIB,
            recording_bytes: 4096 * MIB,
        }
    }
}

/// Which cap was reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) limit: &'static str,
    pub(super) limit_bytes: u64,
    /// What was kept of this operation before.
    pub(super) kept_bytes: u64,
}

/// Whether bulk data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Keep,
    /// The first that is left out of this operation.
    LeaveOutFirst(Reached),
    LeaveOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    NotYet,
    Done,
}

/// Counts one direction of bulk data. Bulk data of different operations comes one operation after the other; were it
/// interleaved, the cap of an operation would begin anew at each turn, and that of the session would still hold.
#[derive(Debug)]
struct Meter {
    per_operation: (&'static str, u64),
    per_session: (&'static str, u64),
    operation: u64,
    kept_of_operation: u64,
    kept_of_session: u64,
    cut: Cut,
}

impl Meter {
    fn new(per_operation: (&'static str, u64), per_session: (&'static str, u64)) -> Self {
        Meter {
            per_operation,
            per_session,
            operation: 0,
            kept_of_operation: 0,
            kept_of_session: 0,
            cut: Cut::NotYet,
        }
    }

    fn admit(&mut self, operation: u64, bytes: u64) -> Admission {
        if operation != self.operation {
            self.operation = operation;
            self.kept_of_operation = 0;
            self.cut = Cut::NotYet;
        }
        if self.cut == Cut::Done {
            return Admission::LeaveOut;
        }
        let of_operation = self.kept_of_operation.saturating_add(bytes);
        let of_session = self.kept_of_session.saturating_add(bytes);
        let reached = if of_operation > self.per_operation.1 {
            self.per_operation
        } else if of_session > self.per_session.1 {
            self.per_session
        } else {
            self.kept_of_operation = of_operation;
            self.kept_of_session = of_session;
            return Admission::Keep;
        };
        self.cut = Cut::Done;
        let (limit, limit_bytes) = reached;
        Admission::LeaveOutFirst(Reached { limit, limit_bytes, kept_bytes: self.kept_of_operation })
    }
}

/// What is left of a session's caps.
#[derive(Debug)]
pub(super) struct Allowance {
    responses: Meter,
    uploads: Meter,
    pub(super) dropped_bytes: u64,
}

impl Allowance {
    pub(super) fn new(caps: &Caps) -> Self {
        Allowance {
            responses: Meter::new(
                ("response_bytes_per_operation", caps.response_bytes_per_operation),
                ("response_bytes_per_session", caps.response_bytes_per_session),
            ),
            uploads: Meter::new(
                ("upload_bytes_per_operation", caps.upload_bytes_per_operation),
                ("upload_bytes_per_session", caps.upload_bytes_per_session),
            ),
            dropped_bytes: 0,
        }
    }

    pub(super) fn admit(&mut self, kind: EventKind, operation: u64, bytes: u64) -> Admission {
        let meter = match kind {
            EventKind::Rows | EventKind::CopyOut => &mut self.responses,
            EventKind::CopyIn => &mut self.uploads,
            _ => return Admission::Keep,
        };
        let admission = meter.admit(operation, bytes);
        if admission != Admission::Keep {
            self.dropped_bytes = self.dropped_bytes.saturating_add(bytes);
        }
        admission
    }
}
