//! Configurations: an operator's file, or one that a tool made of somebody's words.

use crate::Became;
use chaperone::config::{ProblemCode, Severity};
use chaperone::fuzzing::config::{MAX_PROBLEMS, check, refuses};

pub(crate) fn config(input: &[u8]) -> Became {
    let Ok(source) = std::str::from_utf8(input) else { return Became::Refused };
    let (loaded, report) = check(source);
    // No configuration without an error, and none with one.
    assert_ne!(loaded, refuses(&report), "{:?}", report.problems);
    assert!(report.problems.len() <= MAX_PROBLEMS);
    // As YAML divides them.
    let unix = source.replace("\r\n", "\n").replace('\r', "\n");
    let lines = unix.lines().count().max(1) + 1;
    let shown = report.to_string();
    for problem in &report.problems {
        assert!(problem.mark.line <= lines && problem.mark.end_line <= lines, "{problem:?}");
        assert!(problem.mark.line <= problem.mark.end_line, "{problem:?}");
        assert!(!problem.message.is_empty());
        // What stands where a secret belongs is never repeated.
        if problem.code == ProblemCode::LiteralSecret && problem.severity == Severity::Error {
            let line = unix.lines().nth(problem.mark.line.saturating_sub(1)).unwrap_or_default();
            let width = problem.mark.end_column.saturating_sub(problem.mark.column);
            let value: String =
                line.chars().skip(problem.mark.column.saturating_sub(1)).take(width).collect();
            let elsewhere = value.len() < 8 || unix.matches(&value).count() > 1;
            assert!(elsewhere || !shown.contains(&value), "{value:?} is in {shown}");
        }
    }
    if loaded { Became::Accepted } else { Became::Refused }
}
