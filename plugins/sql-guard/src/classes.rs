//! The classes of statements and functions: the vocabulary of rules, findings and recordings.
//!
//! The names are a public interface: they are never renamed, only added to. `README.md` explains each.

use squawk_parser::SyntaxKind;
use std::fmt;

macro_rules! classes {
    ($($variant:ident $name:literal $risk:literal $phrase:literal,)+) => {
        /// What a statement, or a function that it calls, is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the table below has the names, README.md what they mean")]
        pub enum Class { $($variant,)+ }

        impl Class {
            /// Every class.
            pub const ALL: &[Class] = &[$(Class::$variant,)+];

            /// The dotted name.
            pub const fn name(self) -> &'static str {
                match self { $(Class::$variant => $name,)+ }
            }

            /// What it does, as a phrase that follows "it".
            pub const fn phrase(self) -> &'static str {
                match self { $(Class::$variant => $phrase,)+ }
            }

            /// The risk that it has unless the configuration says otherwise, 0 to 100.
            pub const fn base_risk(self) -> u8 {
                match self { $(Class::$variant => $risk,)+ }
            }
        }
    };
}

classes! {
    Empty "empty" 0 "does nothing",
    Select "select" 5 "reads",
    SelectForUpdate "select.for-update" 10 "locks rows",
    SelectInto "select.into" 60 "copies rows into a new table",
    Insert "insert" 20 "inserts rows",
    Update "update" 40 "changes rows",
    UpdateNoWhere "update.no-where" 80 "changes rows without a condition that chooses some of them",
    Delete "delete" 60 "deletes rows",
    DeleteNoWhere "delete.no-where" 85 "deletes rows without a condition that chooses some of them",
    Merge "merge" 45 "merges rows",
    Truncate "truncate" 90 "empties tables",
    CopyIn "copy.in" 30 "copies rows in",
    CopyOut "copy.out" 25 "copies rows out",
    CopyFile "copy.file" 95 "reads or writes a file of the server",
    CopyProgram "copy.program" 100 "runs a program on the server",
    Explain "explain" 5 "plans a statement",
    ExplainAnalyze "explain.analyze" 10 "runs a statement to explain it",
    DdlCreate "ddl.create" 70 "creates objects",
    DdlAlter "ddl.alter" 80 "alters objects",
    DdlDrop "ddl.drop" 90 "drops objects",
    DdlComment "ddl.comment" 70 "changes comments",
    DdlFunction "ddl.function" 85 "defines code that the server runs",
    Privilege "privilege" 90 "changes who may do what",
    Role "role" 90 "changes roles, or which role the session has",
    System "system" 95 "administers the server",
    SessionSet "session.set" 10 "changes a setting of the session",
    SessionShow "session.show" 0 "shows settings",
    SessionReset "session.reset" 5 "resets settings of the session",
    SessionDiscard "session.discard" 10 "discards state of the session",
    Transaction "transaction" 0 "controls the transaction",
    TransactionPrepared "transaction.prepared" 40 "controls a transaction that outlives the session",
    Cursor "cursor" 5 "uses a cursor",
    Prepare "prepare" 5 "prepares a statement",
    Execute "execute" 10 "runs a prepared statement",
    Procedural "procedural" 80 "runs code that cannot be looked into",
    Maintenance "maintenance" 50 "maintains tables",
    Listen "listen" 5 "listens for notifications",
    Notify "notify" 10 "sends a notification",
    Lock "lock" 30 "locks tables",
    Unknown "unknown" 100 "is not known",
    FunctionBuiltin "function.builtin" 0 "calls a function",
    FunctionOther "function.other" 15 "calls a function of unknown effect",
    FunctionSequence "function.sequence" 10 "advances a sequence",
    FunctionWait "function.wait" 20 "waits or takes advisory locks",
    FunctionNotify "function.notify" 10 "sends a notification",
    FunctionLargeObject "function.large-object" 60 "uses large objects",
    FunctionAdmin "function.admin" 80 "administers the server by a function",
    FunctionDynamic "function.dynamic" 90 "runs a text as SQL, or reads whole tables, by a function",
    FunctionRemote "function.remote" 90 "reaches another server by a function",
    FunctionFile "function.file" 95 "reaches files of the server by a function",
}

impl fmt::Display for Class {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl Class {
    /// Whether `name` is the class itself or a class above it: `ddl` is above `ddl.drop`.
    pub fn is_within(self, name: &str) -> bool {
        let rest = self.name().strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Statements whose objects are often not relations (functions, schemas, everything at once): when they name
    /// none, they cannot be proven not to touch a given one.
    pub(crate) fn may_touch_unnamed(self) -> bool {
        use Class as C;
        self.is_within("ddl")
            || matches!(
                self,
                C::Privilege | C::Role | C::System | C::Procedural | C::Maintenance | C::Lock | C::Unknown
            )
    }

    /// Whether running it can change what names mean for later statements.
    pub(crate) fn changes_session(self) -> bool {
        use Class as C;
        !matches!(
            self,
            C::Empty
                | C::Select
                | C::SelectForUpdate
                | C::Insert
                | C::Update
                | C::UpdateNoWhere
                | C::Delete
                | C::DeleteNoWhere
                | C::Merge
                | C::CopyIn
                | C::CopyOut
                | C::Explain
                | C::ExplainAnalyze
                | C::SessionShow
                | C::Transaction
                | C::Cursor
                | C::Prepare
                | C::Listen
                | C::Notify
                | C::Lock
                | C::FunctionBuiltin
                | C::FunctionSequence
                | C::FunctionWait
                | C::FunctionNotify
                | C::FunctionLargeObject
                | C::FunctionFile
        )
    }

    /// The class that a kind of statement has by itself; `None` for what is no statement, or none that is known.
    /// Statements that need a closer look (`WHERE`, direction of a `COPY`) get their plainest class here.
    pub(crate) fn of_statement(kind: SyntaxKind) -> Option<Class> {
        use Class as C;
        use SyntaxKind as K;
        Some(match kind {
            K::EMPTY_STMT => C::Empty,
            K::SELECT | K::COMPOUND_SELECT | K::PAREN_SELECT | K::VALUES | K::TABLE => C::Select,
            K::SELECT_INTO => C::SelectInto,
            K::INSERT => C::Insert,
            K::UPDATE => C::Update,
            K::DELETE => C::Delete,
            K::MERGE => C::Merge,
            K::TRUNCATE => C::Truncate,
            K::COPY => C::CopyOut,
            K::EXPLAIN => C::Explain,
            K::SET | K::SET_CONSTRAINTS => C::SessionSet,
            K::SHOW => C::SessionShow,
            K::RESET => C::SessionReset,
            K::DISCARD => C::SessionDiscard,
            K::BEGIN
            | K::COMMIT_TRANSACTION
            | K::ROLLBACK_TRANSACTION
            | K::ROLLBACK_TO_SAVEPOINT
            | K::SAVEPOINT_CREATE
            | K::RELEASE_SAVEPOINT
            | K::SET_TRANSACTION => C::Transaction,
            K::PREPARE_TRANSACTION | K::COMMIT_PREPARED | K::ROLLBACK_PREPARED => C::TransactionPrepared,
            K::DECLARE | K::FETCH | K::MOVE | K::CLOSE => C::Cursor,
            K::PREPARE | K::DEALLOCATE => C::Prepare,
            K::EXECUTE => C::Execute,
            K::DO | K::CALL => C::Procedural,
            K::VACUUM | K::ANALYZE | K::REINDEX | K::CLUSTER | K::REFRESH | K::REPACK => C::Maintenance,
            K::LISTEN | K::UNLISTEN => C::Listen,
            K::NOTIFY => C::Notify,
            K::LOCK => C::Lock,
            _ => return Self::of_definition(kind),
        })
    }

    /// [`Self::of_statement`] for statements that define things.
    fn of_definition(kind: SyntaxKind) -> Option<Class> {
        use Class as C;
        use SyntaxKind as K;
        Some(match kind {
            K::GRANT | K::REVOKE | K::ALTER_DEFAULT_PRIVILEGES | K::REASSIGN | K::DROP_OWNED => C::Privilege,
            K::CREATE_POLICY | K::ALTER_POLICY | K::DROP_POLICY | K::SECURITY_LABEL => C::Privilege,
            K::CREATE_ROLE | K::CREATE_USER | K::CREATE_GROUP | K::ALTER_ROLE | K::ALTER_USER => C::Role,
            K::ALTER_GROUP | K::DROP_ROLE | K::DROP_USER | K::DROP_GROUP => C::Role,
            K::SET_ROLE | K::RESET_ROLE | K::SET_SESSION_AUTH | K::RESET_SESSION_AUTH => C::Role,
            K::ALTER_SYSTEM | K::LOAD | K::CHECKPOINT => C::System,
            K::CREATE_DATABASE | K::ALTER_DATABASE | K::DROP_DATABASE => C::System,
            K::CREATE_TABLESPACE | K::ALTER_TABLESPACE | K::DROP_TABLESPACE => C::System,
            K::CREATE_EXTENSION | K::ALTER_EXTENSION | K::DROP_EXTENSION => C::System,
            K::CREATE_LANGUAGE | K::ALTER_LANGUAGE | K::DROP_LANGUAGE => C::System,
            K::CREATE_ACCESS_METHOD | K::DROP_ACCESS_METHOD => C::System,
            K::CREATE_SERVER | K::ALTER_SERVER | K::DROP_SERVER | K::IMPORT_FOREIGN_SCHEMA => C::System,
            K::CREATE_USER_MAPPING | K::ALTER_USER_MAPPING | K::DROP_USER_MAPPING => C::System,
            K::CREATE_FOREIGN_DATA_WRAPPER => C::System,
            K::ALTER_FOREIGN_DATA_WRAPPER | K::DROP_FOREIGN_DATA_WRAPPER => C::System,
            K::CREATE_PUBLICATION | K::ALTER_PUBLICATION | K::DROP_PUBLICATION => C::System,
            K::CREATE_SUBSCRIPTION | K::ALTER_SUBSCRIPTION | K::DROP_SUBSCRIPTION => C::System,
            K::CREATE_FUNCTION | K::CREATE_PROCEDURE | K::CREATE_AGGREGATE | K::CREATE_TRIGGER => {
                C::DdlFunction
            }
            K::CREATE_EVENT_TRIGGER | K::CREATE_RULE | K::CREATE_CAST | K::CREATE_OPERATOR => C::DdlFunction,
            K::CREATE_OPERATOR_CLASS | K::CREATE_OPERATOR_FAMILY | K::CREATE_TRANSFORM => C::DdlFunction,
            K::ALTER_FUNCTION | K::ALTER_PROCEDURE | K::ALTER_ROUTINE | K::ALTER_AGGREGATE => C::DdlFunction,
            K::ALTER_TRIGGER | K::ALTER_EVENT_TRIGGER | K::ALTER_RULE | K::ALTER_OPERATOR => C::DdlFunction,
            K::ALTER_OPERATOR_CLASS | K::ALTER_OPERATOR_FAMILY | K::CREATE_CONVERSION => C::DdlFunction,
            K::COMMENT_ON => C::DdlComment,
            K::CREATE_TABLE | K::CREATE_TABLE_AS | K::CREATE_VIEW | K::CREATE_MATERIALIZED_VIEW => {
                C::DdlCreate
            }
            K::CREATE_INDEX | K::CREATE_SEQUENCE | K::CREATE_SCHEMA | K::CREATE_TYPE => C::DdlCreate,
            K::CREATE_DOMAIN | K::CREATE_COLLATION | K::CREATE_STATISTICS => C::DdlCreate,
            K::CREATE_FOREIGN_TABLE | K::CREATE_PROPERTY_GRAPH => C::DdlCreate,
            K::CREATE_TEXT_SEARCH_CONFIGURATION | K::CREATE_TEXT_SEARCH_DICTIONARY => C::DdlCreate,
            K::CREATE_TEXT_SEARCH_PARSER | K::CREATE_TEXT_SEARCH_TEMPLATE => C::DdlCreate,
            K::ALTER_TABLE | K::ALTER_VIEW | K::ALTER_MATERIALIZED_VIEW | K::ALTER_INDEX => C::DdlAlter,
            K::ALTER_SEQUENCE | K::ALTER_SCHEMA | K::ALTER_TYPE | K::ALTER_DOMAIN => C::DdlAlter,
            K::ALTER_COLLATION | K::ALTER_CONVERSION | K::ALTER_STATISTICS => C::DdlAlter,
            K::ALTER_FOREIGN_TABLE | K::ALTER_LARGE_OBJECT | K::ALTER_PROPERTY_GRAPH => C::DdlAlter,
            K::ALTER_TEXT_SEARCH_CONFIGURATION | K::ALTER_TEXT_SEARCH_DICTIONARY => C::DdlAlter,
            K::ALTER_TEXT_SEARCH_PARSER | K::ALTER_TEXT_SEARCH_TEMPLATE => C::DdlAlter,
            K::DROP_TABLE | K::DROP_VIEW | K::DROP_MATERIALIZED_VIEW | K::DROP_INDEX => C::DdlDrop,
            K::DROP_SEQUENCE | K::DROP_SCHEMA | K::DROP_TYPE | K::DROP_DOMAIN => C::DdlDrop,
            K::DROP_COLLATION | K::DROP_CONVERSION | K::DROP_STATISTICS => C::DdlDrop,
            K::DROP_FOREIGN_TABLE | K::DROP_PROPERTY_GRAPH | K::DROP_FUNCTION => C::DdlDrop,
            K::DROP_PROCEDURE | K::DROP_ROUTINE | K::DROP_AGGREGATE | K::DROP_TRIGGER => C::DdlDrop,
            K::DROP_EVENT_TRIGGER | K::DROP_RULE | K::DROP_CAST | K::DROP_OPERATOR => C::DdlDrop,
            K::DROP_OPERATOR_CLASS | K::DROP_OPERATOR_FAMILY | K::DROP_TRANSFORM => C::DdlDrop,
            K::DROP_TEXT_SEARCH_CONFIG | K::DROP_TEXT_SEARCH_DICT => C::DdlDrop,
            K::DROP_TEXT_SEARCH_PARSER | K::DROP_TEXT_SEARCH_TEMPLATE => C::DdlDrop,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_risks_in_range() {
        for (index, class) in Class::ALL.iter().enumerate() {
            assert!(class.base_risk() <= 100, "{class}");
            assert!(Class::ALL.iter().skip(index + 1).all(|other| other.name() != class.name()), "{class}");
        }
    }

    #[test]
    fn a_class_is_within_the_classes_above_it() {
        assert!(Class::DeleteNoWhere.is_within("delete"));
        assert!(Class::Delete.is_within("delete"));
        assert!(!Class::Delete.is_within("delete.no-where"));
        assert!(!Class::SelectInto.is_within("sel"));
    }
}
