//! The file of samples: texts with empty lines between them, and what is expected of each.

use crate::cli::failure::Failure;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// What a line with an expectation begins with.
const EXPECT: &str = "-- expect:";

/// One text, judged whole, as a client would send it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Where it begins, from 1.
    pub(super) line: usize,
    pub(super) text: String,
    pub(super) expected: Option<Expected>,
}

/// What somebody wants to become of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    Allow,
    Hold,
    /// By this rule, if one is named.
    Refuse(Option<String>),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Allow => f.write_str("allow"),
            Expected::Hold => f.write_str("hold"),
            Expected::Refuse(None) => f.write_str("refuse"),
            Expected::Refuse(Some(rule)) => write!(f, "refuse {rule}"),
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<Sample>, Failure> {
    let wrong = |why: String| {
        Failure::usage(format!("{}: {why}", path.display()), "name a file of samples: `--samples FILE`")
    };
    let file = std::fs::File::open(path).map_err(|error| wrong(error.kind().to_string()))?;
    let mut source = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut source).map_err(|error| wrong(error.kind().to_string()))?;
    if source.len() as u64 > MAX_BYTES {
        return Err(wrong(format!("longer than {MAX_BYTES} bytes")));
    }
    let samples = parse(&source).map_err(|(line, why)| {
        let advice =
            "write `-- expect: allow`, `-- expect: hold`, `-- expect: refuse` or `-- expect: refuse RULE`";
        Failure::usage(format!("{}:{line}: {why}", path.display()), advice)
    })?;
    if samples.is_empty() {
        return Err(wrong("there is no sample in it".into()));
    }
    Ok(samples)
}

/// An error has its line.
fn parse(source: &str) -> Result<Vec<Sample>, (usize, String)> {
    let mut samples = Vec::new();
    let mut block: Vec<(usize, &str)> = Vec::new();
    for (index, line) in source.lines().chain([""]).enumerate() {
        if line.trim().is_empty() {
            samples.extend(sample(&std::mem::take(&mut block))?);
        } else {
            block.push((index + 1, line));
        }
    }
    Ok(samples)
}

/// A block without SQL is a comment between samples.
fn sample(block: &[(usize, &str)]) -> Result<Option<Sample>, (usize, String)> {
    let mut expected = None;
    let mut text: Vec<(usize, &str)> = Vec::new();
    for (line, words) in block {
        let Some(wanted) = words.trim().strip_prefix(EXPECT) else {
            text.push((*line, words));
            continue;
        };
        let wanted = expectation(wanted).ok_or_else(|| (*line, format!("what is `{}`?", words.trim())))?;
        if expected.replace((*line, wanted)).is_some() {
            return Err((*line, "a sample has one expectation".into()));
        }
    }
    let is_sql = |(_, words): &&(usize, &str)| !words.trim_start().starts_with("--");
    match (text.iter().find(is_sql), expected) {
        (Some((line, _)), expected) => {
            let text = text.iter().map(|(_, words)| *words).collect::<Vec<_>>().join("\n");
            Ok(Some(Sample { line: *line, text, expected: expected.map(|(_, expected)| expected) }))
        }
        (None, Some((line, _))) => Err((line, "nothing follows that could be judged".into())),
        (None, None) => Ok(None),
    }
}

fn expectation(words: &str) -> Option<Expected> {
    let mut words = words.split_whitespace();
    let (verdict, rule) = (words.next()?, words.next());
    match (verdict, rule, words.next()) {
        ("allow", None, None) => Some(Expected::Allow),
        ("hold", None, None) => Some(Expected::Hold),
        ("refuse", rule, None) => Some(Expected::Refuse(rule.map(str::to_owned))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_part_samples_and_comments_alone_are_none() {
        let source = "-- about\n-- this file\n\n-- expect: refuse ddl.drop\ndrop\n  table t;\n\n\nselect 1; -- x\nselect 2;\n\
            -- expect: allow\n \n--expect: nonsense is a comment\nselect 3";
        let sample = |line, text: &str, expected| Sample { line, text: text.into(), expected };
        assert_eq!(
            parse(source).unwrap(),
            [
                sample(5, "drop\n  table t;", Some(Expected::Refuse(Some("ddl.drop".into())))),
                sample(9, "select 1; -- x\nselect 2;", Some(Expected::Allow)),
                sample(14, "--expect: nonsense is a comment\nselect 3", None),
            ]
        );
    }

    #[test]
    fn an_expectation_that_means_nothing_is_a_mistake() {
        for (source, line) in [
            ("-- expect: deny\nselect 1", 1),
            ("select 1\n-- expect:", 2),
            ("select 1\n-- expect: allow ddl.drop", 2),
            ("-- expect: allow\n-- expect: hold\nselect 1", 2),
            ("\n-- expect: allow\n\nselect 1", 2),
        ] {
            assert_eq!(parse(source).map_err(|(line, _)| line), Err(line), "{source}");
        }
    }
}
