//! What `chaperone check` says: for people like a compiler, for programs as JSON.
//!
//! The source may hold a password in the wrong place, and what is printed here ends up in CI logs: places that were
//! marked as secret are covered in every line that is shown; in a file that is no YAML so is whatever stands behind a
//! key that sounds secret.

use super::problem::{Mark, Problem, ProblemCode, Severity};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::fmt::{self, Write};

/// The longest source line that is shown, in characters.
const SHOWN_COLUMNS: usize = 120;

/// Everything that was found in one file, in its order.
#[derive(Debug, Clone)]
pub struct Report {
    /// The file as the user named it.
    pub file: String,
    /// The problems.
    pub problems: Vec<Problem>,
    /// How many more there were than are kept.
    pub dropped: usize,
    /// The source, its secrets covered.
    lines: Vec<String>,
}

/// What a report amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing, or notes only.
    Clean,
    /// Warnings.
    Warned,
    /// Errors: the configuration is refused.
    Refused,
}

impl Report {
    pub(crate) fn new(file: &str, source: &str, collected: super::problem::Collected) -> Self {
        let mut lines = lines(source);
        // Where the tree was not built no place could be marked as secret, so the name of the key has to do.
        if collected.problems.iter().any(|problem| problem.code == ProblemCode::Syntax) {
            lines = lines.iter().map(|line| cover_by_name(line)).collect();
        }
        for mark in &collected.secrets {
            cover(&mut lines, *mark);
        }
        Report { file: file.to_owned(), problems: collected.problems, dropped: collected.dropped, lines }
    }

    /// What it amounts to.
    pub fn outcome(&self) -> Outcome {
        let worst = self.problems.iter().map(|problem| problem.severity).min();
        match worst {
            _ if self.dropped > 0 => Outcome::Refused,
            Some(Severity::Error) => Outcome::Refused,
            Some(Severity::Warning) => Outcome::Warned,
            Some(Severity::Note) | None => Outcome::Clean,
        }
    }

    /// How many there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|problem| problem.severity == severity).count()
    }

    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        let problems: Vec<JsonProblem<'_>> = self.problems.iter().map(JsonProblem::of).collect();
        serde_json::json!({
            "file": self.file,
            "errors": self.count(Severity::Error) + self.dropped,
            "warnings": self.count(Severity::Warning),
            "problems": problems,
        })
    }

    fn write_problem(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        let style = match problem.severity {
            Severity::Error => Style::new().bold().fg_color(Some(AnsiColor::Red.into())),
            Severity::Warning => Style::new().bold().fg_color(Some(AnsiColor::Yellow.into())),
            Severity::Note => Style::new().bold().fg_color(Some(AnsiColor::Cyan.into())),
        };
        let (bold, frame) = (Style::new().bold(), Style::new().fg_color(Some(AnsiColor::BrightBlue.into())));
        let Mark { line, column, .. } = problem.mark;
        let number = line.to_string();
        let pad = " ".repeat(number.len());
        writeln!(f, "{style}{}{style:#}{bold}: {}{bold:#}", problem.severity.as_str(), problem.message)?;
        writeln!(f, "{pad}{frame}-->{frame:#} {}:{line}:{column}", self.file)?;
        if let Some((text, caret)) = self.snippet(problem.mark) {
            writeln!(f, "{pad} {frame}|{frame:#}")?;
            writeln!(f, "{frame}{number} |{frame:#} {text}")?;
            writeln!(f, "{pad} {frame}|{frame:#} {style}{caret}{style:#}")?;
        }
        if !problem.help.is_empty() {
            writeln!(f, "{pad} {frame}={frame:#} {bold}help{bold:#}: {}", problem.help)?;
        }
        writeln!(f)
    }

    /// The line and the caret under it, both cut to what fits.
    fn snippet(&self, mark: Mark) -> Option<(String, String)> {
        let line = self.lines.get(mark.line.checked_sub(1)?)?;
        let shown: Vec<char> = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let start = (mark.column - 1).min(shown.len());
        let end =
            if mark.end_line > mark.line { shown.len() } else { (mark.end_column - 1).min(shown.len()) };
        let from = if start + 20 > SHOWN_COLUMNS { start - 20 } else { 0 };
        let text: String = shown.iter().skip(from).take(SHOWN_COLUMNS).collect();
        let width = end.saturating_sub(start).clamp(1, SHOWN_COLUMNS - (start - from).min(SHOWN_COLUMNS - 1));
        Some((text.trim_end().to_owned(), format!("{}{}", " ".repeat(start - from), "^".repeat(width))))
    }
}

impl fmt::Display for Report {
    /// With colours; whoever prints it strips them where they do not belong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            self.write_problem(f, problem)?;
        }
        if self.dropped > 0 {
            writeln!(f, "… and {} more problems", self.dropped)?;
        }
        let file = &self.file;
        let counted = |severity, one: &str, many: &str| match self.count(severity) {
            0 => None,
            1 => Some(format!("1 {one}")),
            n => Some(format!("{n} {many}")),
        };
        let counts: Vec<String> = [
            counted(Severity::Error, "error", "errors"),
            counted(Severity::Warning, "warning", "warnings"),
            counted(Severity::Note, "note", "notes"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut line = match self.outcome() {
            Outcome::Refused => format!("{file} is refused"),
            _ => format!("{file} is good"),
        };
        if !counts.is_empty() {
            write!(line, ": {}", counts.join(", "))?;
        }
        writeln!(f, "{line}")
    }
}

#[derive(Serialize)]
struct JsonProblem<'a> {
    severity: Severity,
    code: ProblemCode,
    path: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    help: &'a str,
}

impl<'a> JsonProblem<'a> {
    fn of(problem: &'a Problem) -> Self {
        JsonProblem {
            severity: problem.severity,
            code: problem.code,
            path: &problem.path,
            line: problem.mark.line,
            column: problem.mark.column,
            message: &problem.message,
            help: &problem.help,
        }
    }
}

const COVER: char = '*';

/// The lines of a source as YAML divides them, at a lone carriage return too (YAML 1.2, section 5.4). Divided in any other
/// way, the places of secrets would be covered on the wrong lines.
fn lines(source: &str) -> Vec<String> {
    source.replace("\r\n", "\n").replace('\r', "\n").lines().map(str::to_owned).collect()
}

/// Covers a marked place. Of a value over several lines every line is covered from its start.
fn cover(lines: &mut [String], mark: Mark) {
    for number in mark.line..=mark.end_line {
        let Some(line) = number.checked_sub(1).and_then(|index| lines.get_mut(index)) else { break };
        let from = if number == mark.line { mark.column - 1 } else { 0 };
        let to = if number == mark.end_line { mark.end_column - 1 } else { usize::MAX };
        *line = line
            .chars()
            .enumerate()
            .map(|(column, c)| if (from..to).contains(&column) && !c.is_whitespace() { COVER } else { c })
            .collect();
    }
}

/// Covers what stands behind a key that sounds secret, unless it is a reference. This is what is left to do when the
/// file is not YAML at all and no place could be marked.
fn cover_by_name(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let word =
        ["password", "passwd", "secret", "token", "_key"].iter().filter_map(|word| lower.find(word)).min();
    let Some(colon) = word.and_then(|at| line.get(at..)?.find(':').map(|offset| at + offset + 1)) else {
        return line.to_owned();
    };
    let (key, value) = line.split_at(colon);
    let bare = value.trim_start_matches([' ', '\t', '"', '\'']);
    if bare.starts_with("env:") || bare.starts_with("file:") || bare.is_empty() {
        return line.to_owned();
    }
    let covered: String = value.chars().map(|c| if c.is_whitespace() { c } else { COVER }).collect();
    format!("{key}{covered}")
}

#[cfg(test)]
mod tests {
    use super::super::decode_file;
    use super::super::secret::Purpose;
    use super::*;
    use std::path::Path;

    /// Found by fuzzing: a carriage return alone begins a line for YAML, and the places of secrets are counted in such lines.
    #[test]
    fn a_carriage_return_alone_does_not_uncover_a_secret() {
        let source = "targets:\n  - nam: x\n    us: y\n    password: hunter2-hunter2\n    tl: z\n";
        for returns in 0..4 {
            let source = format!("#{}\n{source}", "\r#".repeat(returns));
            let (_, report) = decode_file(Path::new("x.yaml"), &source, Purpose::Serve, &|_| None);
            let literal = report.problems.iter().find(|one| one.code == ProblemCode::LiteralSecret);
            assert_eq!(literal.map(|one| one.mark.line), Some(5 + returns));
            for text in [report.to_string(), report.to_json().to_string()] {
                assert!(!text.contains("hunter2"), "{returns}: {text}");
            }
        }
    }

    #[test]
    fn what_sounds_secret_is_covered() {
        for (line, shown) in [
            ("password: hunter2", "password: *******"),
            ("  { user: u, password: \"hunter2", "  { user: u, password: ********"),
            ("password: env:PGPASSWORD", "password: env:PGPASSWORD"),
            ("hash_key: abc def", "hash_key: *** ***"),
            ("name: x", "name: x"),
            ("password", "password"),
        ] {
            assert_eq!(cover_by_name(line), shown);
        }
    }
}
