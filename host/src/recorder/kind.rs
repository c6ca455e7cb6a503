//! What events say: their codes and words, which are part of the format.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $word:literal;)*) => {
        /// What an event says. Codes and words are part of the format and never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* $name,)*
        }

        impl EventKind {
            /// Every kind, in the order of the codes.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$name),*];

            /// The kind's byte in a frame.
            pub const fn code(self) -> u8 {
                match self { $(EventKind::$name => $code,)* }
            }

            /// The kind with this code, if this version knows it.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(EventKind::$name),)* _ => None }
            }

            /// The word for people and programs.
            pub const fn as_str(self) -> &'static str {
                match self { $(EventKind::$name => $word,)* }
            }
        }
    };
}

kinds! {
    /// JSON: who, where, under what. The first event of every recording, and only there.
    Head = 1, "head";
    /// Raw: the operation as the client sent it (a statement's text).
    Operation = 2, "operation";
    /// Raw: the parameters of an operation.
    Parameters = 3, "parameters";
    /// JSON: what was decided about an operation, by whom, and the findings.
    Decision = 4, "decision";
    /// A prepared operation runs; JSON or raw as its protocol says.
    Execute = 5, "execute";
    /// What the columns of the following rows are.
    Columns = 6, "columns";
    /// Raw: rows as the client saw them. Capped.
    Rows = 7, "rows";
    /// How an operation came out: counts, totals, duration.
    Result = 8, "result";
    /// The target's error, as the client saw it.
    Error = 9, "error";
    /// The target's or the gateway's notice, as the client saw it.
    Notice = 10, "notice";
    /// JSON: an operation waits for approvers.
    Hold = 11, "hold";
    /// JSON: how the waiting ended, and through whom.
    HoldResolved = 12, "hold-resolved";
    /// JSON: a plugin broke.
    Fault = 13, "fault";
    /// JSON: which columns were masked, and by which rule.
    Mask = 14, "mask";
    /// Raw: data that the client sent in bulk. Capped.
    CopyIn = 15, "copy-in";
    /// Raw: data that the client got in bulk. Capped.
    CopyOut = 16, "copy-out";
    /// JSON: something an auditor should know that is none of the above.
    Warning = 17, "warning";
    /// JSON: from here on, bulk data of this operation was left out, and why.
    Truncated = 18, "truncated";
    /// JSON: what the client was told instead of getting what it asked for.
    Refusal = 19, "refusal";
    /// JSON: when and why the session ended. The last event of every sealed recording, and only there.
    End = 20, "end";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
