//! What the target still has to answer, in order, and what the gateway will say in between.
//!
//! Every message that gets an answer has an entry. A refusal takes its place in the same queue, so that the client sees
//! it exactly where the target's own error would have been (PostgreSQL manual, "Pipelining").

use super::reached::Found;
use super::statements::{Portal, Statement};
use crate::session::Judged;
use chaperone_core::refusal::Refusal;
use std::rc::Rc;

/// Messages of a client that may wait for an answer at one moment; more are read when some were answered.
pub(super) const MAX_PENDING: usize = 16 * 1024;

/// Whether the client asked, or the gateway for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    Client,
    Gateway,
}

/// What the statement is about to run by that the target is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// A simple query.
    Query,
    /// An Execute.
    Execute,
}

/// What the client will be told instead of an answer of the target.
#[derive(Clone)]
pub(super) struct Refused {
    /// The refused operation's number; 0 when it was not even understood.
    pub(super) operation: u64,
    pub(super) refusal: Refusal,
}

/// One expected answer.
pub(super) enum Pending {
    /// ParseComplete.
    Parse(Asker),
    /// BindComplete.
    Bind(Asker),
    /// ParameterDescription, then RowDescription or NoData; the epoch it was asked in.
    DescribeStatement(Rc<Statement>, u64),
    /// RowDescription or NoData; the epoch it was asked in.
    DescribePortal(Rc<Portal>, Asker, u64),
    /// What the gateway asks about the columns of a COPY TO: CloseComplete, ParseComplete, ParameterDescription, RowDescription or
    /// NoData, CloseComplete; how many of the first were there, and the epoch it was asked in.
    DescribeCopy { statement: Rc<Statement>, epoch: u64, asking: Asking, closed: u8 },
    /// What the gateway asks about cursors and prepared statements. Before a simple query: RowDescription, rows, CommandComplete,
    /// ReadyForQuery. Before an Execute: two of CloseComplete, ParseComplete, BindComplete, rows, CommandComplete, two of
    /// CloseComplete; how many of those were there.
    AskReached { asking: Asking, found: Found, closed: u8 },
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended. Names mean what they do in `epoch`.
    Execute { operation: u64, portal: Rc<Portal>, epoch: u64 },
    /// CloseComplete; what was closed.
    Close { statement: bool, name: Box<[u8]>, asker: Asker },
    /// ReadyForQuery.
    Sync,
    /// Results of a simple query, then ReadyForQuery.
    Query(Rc<Judged>),
    /// A refusal inside an extended segment: nothing was sent for it.
    Local(Refused),
    /// A refused simple query: an error and ReadyForQuery, nothing was sent for it.
    LocalQuery(Refused),
    /// A refused simple query in the middle of an extended segment: a Sync was sent in its place.
    LocalSync(Refused),
    /// A refusal that has to undo what the segment did before: something was sent that the target refuses.
    Poison(Refused),
}

impl Pending {
    /// Whether its answer ends with ReadyForQuery.
    pub(super) fn ends_segment(&self) -> bool {
        matches!(
            self,
            Pending::Sync
                | Pending::Query(_)
                | Pending::LocalSync(_)
                | Pending::AskReached { asking: Asking::Query, .. }
        )
    }
}
