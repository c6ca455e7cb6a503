//! What a relay asks of a statement each time that it runs, worked out once, when the statement is judged.
//!
//! Facts are lists of words; comparing them again for each Execute would cost more than the rest of it.

use chaperone_core::sql::StatementFacts;

/// What all statements of one text are, or may be: what is not understood may be anything (fails closed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// There are statements, and each of them only reads.
    pub only_reads: bool,
    /// Names may mean something else after it ran.
    pub changes_session: bool,
    /// A COPY FROM STDIN is in it.
    pub copies_in: bool,
    /// A COPY TO STDOUT is in it.
    pub copies_out: bool,
    /// Rows are written.
    pub writes_rows: bool,
    /// A PREPARE or DEALLOCATE is in it.
    pub prepares: bool,
    /// Prepared names may mean something else after it ran.
    pub renames_statements: bool,
    /// Names of portals may mean something else after it ran.
    pub renames_portals: bool,
    /// What was described before may have to be described again after it ran.
    pub moves_on: bool,
    /// A transaction begins or ends in it.
    pub bounds_transaction: bool,
    /// The keyword EXECUTE is in its text.
    pub says_execute: bool,
}

impl Traits {
    pub(super) fn of(statements: &[StatementFacts], text: &str) -> Self {
        let is = |class: &str| statements.iter().any(|facts| facts.is(class));
        // EXECUTE, and a statement that was never seen, run what was prepared elsewhere: a PREPARE or a DECLARE as well.
        let runs_anything = statements.is_empty() || is("procedural") || is("unknown") || is("execute");
        let (cursor, prepare) = (is("cursor"), is("prepare"));
        let changes_session =
            statements.is_empty() || statements.iter().any(StatementFacts::may_change_session);
        Traits {
            only_reads: !statements.is_empty() && statements.iter().all(StatementFacts::only_reads),
            changes_session,
            copies_in: is("copy.in"),
            copies_out: statements.iter().any(|facts| facts.copy_out.is_some()),
            writes_rows: ["insert", "update", "delete", "merge"].into_iter().any(is),
            // What is not understood may be a PREPARE, but not without the keyword.
            prepares: prepare && mentions(text, "prepare"),
            renames_statements: runs_anything || prepare || is("session.discard"),
            renames_portals: runs_anything || cursor && mentions(text, "declare"),
            moves_on: changes_session || cursor || prepare || runs_anything,
            bounds_transaction: is("transaction"),
            says_execute: mentions(text, "execute"),
        }
    }
}

/// Whether a keyword may be in a text. A keyword cannot be written in any other way, so its letters are there.
pub(super) fn mentions(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|text| text.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(classes: &[&str], text: &str) -> Traits {
        let facts = |class: &&str| StatementFacts {
            class: (*class).to_owned(),
            classes: vec![(*class).to_owned()],
            opaque: false,
            changes_session: false,
            ..StatementFacts::unknown()
        };
        Traits::of(&classes.iter().map(facts).collect::<Vec<_>>(), text)
    }

    #[test]
    fn a_read_is_nothing_else() {
        let is = traits(&["select", "session.show"], "select 1; show all");
        assert!(is.only_reads);
        assert_eq!(is, Traits { only_reads: true, ..traits(&["empty"], "") });
        assert!(!is.changes_session && !is.moves_on && !is.renames_statements && !is.renames_portals);
    }

    #[test]
    fn one_statement_among_reads_counts() {
        let is = traits(&["select", "copy.in", "delete.no-where"], "");
        assert!(!is.only_reads && is.copies_in && is.writes_rows);
    }

    #[test]
    fn what_is_not_understood_may_be_everything() {
        let is = traits(&["select", "reads"], "PREPARE x AS y; EXECUTE x; DECLARE z");
        let all = Traits {
            only_reads: false,
            changes_session: true,
            copies_in: true,
            copies_out: false,
            writes_rows: true,
            prepares: true,
            renames_statements: true,
            renames_portals: true,
            moves_on: true,
            bounds_transaction: true,
            says_execute: true,
        };
        assert_eq!(is, all);
        // Without the keyword it is none of these.
        let silent = traits(&["reads"], "");
        assert_eq!(silent, Traits { prepares: false, says_execute: false, ..all });
    }

    #[test]
    fn without_facts_nothing_is_known_to_only_read() {
        let is = traits(&[], "select 1");
        assert!(!is.only_reads && is.changes_session && is.moves_on);
        assert!(is.renames_statements && is.renames_portals, "it may be a PREPARE or a DECLARE");
    }

    #[test]
    fn execute_may_run_a_prepare() {
        let is = traits(&["execute"], "EXECUTE x");
        assert!(is.renames_statements && is.renames_portals && is.moves_on);
    }
}
