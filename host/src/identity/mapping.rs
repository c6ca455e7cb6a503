//! How to read the tokens of an issuer that follows no profile: which claims say who it is, and which have to say what.
//!
//! Systems that run jobs (continuous integration, clusters) sign a token for whoever runs something on them; on a public one
//! that is anybody. So a mapping has to require something that only the operator's own jobs have, and a mapping without
//! requirements is refused. Claims are found by name or by JSON pointer (RFC 6901).
//!
//! What may go wrong: a claim that others may choose. Names of repositories, groups and branches can be given up and taken
//! by somebody else, so the subject should be an id that is never given twice; the presets use such. A mapping never makes a
//! person: people approve, and no claim of an issuer's choice proves one.

use chaperone_core::identity::CallerKind;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The longest path to a claim, in bytes.
pub const MAX_PATH_BYTES: usize = 256;

/// How deep a path may lead. Kubernetes' lead three deep.
pub const MAX_PATH_STEPS: usize = 8;

/// How many claims a mapping may require.
pub const MAX_REQUIRED: usize = 16;

/// How many values may be accepted of one claim.
pub const MAX_ACCEPTED: usize = 256;

/// Claims that are checked of every token or differ in each: requiring them tells nobody apart.
const TELLING_NOTHING: [&str; 6] = ["iss", "aud", "exp", "iat", "nbf", "jti"];

/// Where a claim stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimPath {
    /// Never empty, and no step is.
    steps: Vec<String>,
}

/// Why a text is no path to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Empty or too long.
    #[error("a claim's name or pointer has 1 to {MAX_PATH_BYTES} bytes and no control characters")]
    Text,
    /// An empty step.
    #[error("a pointer has 1 to {MAX_PATH_STEPS} steps, none of them empty")]
    Steps,
    /// `~` with something else behind it.
    #[error("in a pointer `~` is written `~0` and `/` within a name `~1`")]
    Escape,
}

impl std::str::FromStr for ClaimPath {
    type Err = PathError;

    /// A claim's name; or, with a slash in front, a pointer through objects (RFC 6901 section 3).
    fn from_str(text: &str) -> Result<Self, PathError> {
        if !(1..=MAX_PATH_BYTES).contains(&text.len()) || text.chars().any(char::is_control) {
            return Err(PathError::Text);
        }
        let Some(pointer) = text.strip_prefix('/') else {
            return Ok(ClaimPath { steps: vec![text.to_owned()] });
        };
        let steps = pointer.split('/').map(unescaped).collect::<Result<Vec<_>, _>>()?;
        if steps.len() > MAX_PATH_STEPS || steps.iter().any(String::is_empty) {
            return Err(PathError::Steps);
        }
        Ok(ClaimPath { steps })
    }
}

/// RFC 6901 section 4.
fn unescaped(step: &str) -> Result<String, PathError> {
    let mut parts = step.split('~');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (letter, rest) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(rest), _) => ('~', rest),
            (_, Some(rest)) => ('/', rest),
            (None, None) => return Err(PathError::Escape),
        };
        plain.push(letter);
        plain.push_str(rest);
    }
    Ok(plain)
}

impl fmt::Display for ClaimPath {
    /// As it is written in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps.as_slice() {
            [name] if !name.starts_with('/') => f.write_str(name),
            steps => {
                steps.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
            }
        }
    }
}

impl ClaimPath {
    /// A path by its steps, for the presets.
    pub(super) fn of(steps: &[&str]) -> Self {
        ClaimPath { steps: steps.iter().map(|step| (*step).to_owned()).collect() }
    }

    pub(super) fn steps(&self) -> &[String] {
        &self.steps
    }
}

/// What the header's `typ` has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MappedType {
    /// `at+jwt` (RFC 9068 section 2.1): an access token and nothing else.
    #[default]
    AccessToken,
    /// `JWT`, or no `typ` at all: what CI systems and clusters send, and ID tokens of people too.
    Plain,
}

/// What a mapping makes of a caller. There is no word for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MappedKind {
    /// A program.
    #[default]
    Workload,
    /// An agent that acts for itself.
    Agent,
}

impl From<MappedKind> for CallerKind {
    fn from(kind: MappedKind) -> Self {
        match kind {
            MappedKind::Workload => CallerKind::Workload,
            MappedKind::Agent => CallerKind::Agent,
        }
    }
}

/// How the tokens of an issuer are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMapping {
    /// What the header's `typ` has to say.
    pub form: MappedType,
    /// Who it is: an id that is never given twice.
    pub subject: ClaimPath,
    /// What acts: shown to approvers, and what windows are bound to.
    pub actor: ClaimPath,
    /// What kind of caller it is.
    pub kind: MappedKind,
    /// The groups, a list of texts; none: unknown.
    pub groups: Option<ClaimPath>,
    /// The roles, a list of texts; none: no roles.
    pub roles: Option<ClaimPath>,
    /// Those of the other claims that the issuer writes as integers. All others are texts.
    pub numbers: BTreeSet<ClaimPath>,
    /// What has to be there, and the exact texts of which it has to be one.
    pub require: BTreeMap<ClaimPath, BTreeSet<String>>,
}

/// Why a mapping would not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingProblem {
    /// Nothing is required.
    #[error(
        "nothing is required, so whoever can get a token of this issuer would be let in, and on a public one that is \
         anybody"
    )]
    Open,
    /// What is required tells nobody apart.
    #[error("all that is required is checked of every token anyway, so it keeps nobody out")]
    TellsNothing,
    /// Too many claims or values.
    #[error("at most {MAX_REQUIRED} claims with {MAX_ACCEPTED} values each can be required")]
    TooMany,
    /// A claim with no value that would do.
    #[error("no value of `{0}` is accepted, so no token can match")]
    NoValue(ClaimPath),
    /// A value that an integer never has.
    #[error("`{path}` is written as a number, which is never `{value}`")]
    NoNumber {
        /// The claim.
        path: ClaimPath,
        /// The value.
        value: String,
    },
    /// Said to be a number and read nowhere.
    #[error("`{0}` is listed as a number and is neither subject, actor nor required")]
    NumberUnused(ClaimPath),
}

impl MappingProblem {
    /// What to write instead.
    pub fn help(&self) -> &'static str {
        match self {
            MappingProblem::Open | MappingProblem::TellsNothing => {
                "require an id that tells yours from others', such as that of the repository's owner"
            }
            MappingProblem::TooMany => "",
            MappingProblem::NoValue(_) => "list at least one",
            MappingProblem::NoNumber { .. } => "write decimal digits, without zeros in front",
            MappingProblem::NumberUnused(_) => "delete it there",
        }
    }
}

impl ClaimMapping {
    /// Whether it lets in some and not everybody.
    pub fn check(&self) -> Result<(), MappingProblem> {
        if self.require.is_empty() {
            return Err(MappingProblem::Open);
        }
        if self
            .require
            .keys()
            .all(|path| matches!(path.steps(), [name] if TELLING_NOTHING.contains(&name.as_str())))
        {
            return Err(MappingProblem::TellsNothing);
        }
        if self.require.len() > MAX_REQUIRED
            || self.require.values().any(|values| values.len() > MAX_ACCEPTED)
        {
            return Err(MappingProblem::TooMany);
        }
        for (path, values) in &self.require {
            if values.is_empty() {
                return Err(MappingProblem::NoValue(path.clone()));
            }
            let odd =
                |value: &&String| !value.parse::<i64>().is_ok_and(|number| number.to_string() == **value);
            if let Some(value) = values.iter().find(odd).filter(|_| self.numbers.contains(path)) {
                return Err(MappingProblem::NoNumber { path: path.clone(), value: value.clone() });
            }
        }
        let read = |path: &&ClaimPath| {
            [&self.subject, &self.actor].contains(path) || self.require.contains_key(*path)
        };
        match self.numbers.iter().find(|path| !read(path)) {
            Some(path) => Err(MappingProblem::NumberUnused(path.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_name_or_a_pointer_and_has_one_meaning() {
        for (text, steps, shown) in [
            ("repository_id", &["repository_id"][..], "repository_id"),
            ("/repository_id", &["repository_id"], "repository_id"),
            ("https://x/roles", &["https://x/roles"], "https://x/roles"),
            ("a~b", &["a~b"], "a~b"),
            ("/a/b.c/d", &["a", "b.c", "d"], "/a/b.c/d"),
            ("/a~1b/c~0d/~01", &["a/b", "c~d", "~1"], "/a~1b/c~0d/~01"),
            ("/~1a", &["/a"], "/~1a"),
        ] {
            let path: ClaimPath = text.parse().unwrap();
            assert_eq!(path, ClaimPath::of(steps), "{text}");
            assert_eq!(path.to_string(), shown);
            assert_eq!(path.to_string().parse(), Ok(path), "{text}");
        }
        for (text, error) in [
            ("", PathError::Text),
            ("a\n", PathError::Text),
            ("/", PathError::Steps),
            ("//a", PathError::Steps),
            ("/a/", PathError::Steps),
            ("/a/b/c/d/e/f/g/h/i", PathError::Steps),
            ("/a~2", PathError::Escape),
            ("/a~", PathError::Escape),
        ] {
            assert_eq!(text.parse::<ClaimPath>(), Err(error), "{text}");
        }
        assert_eq!("x".repeat(257).parse::<ClaimPath>(), Err(PathError::Text));
    }

    #[test]
    fn a_mapping_makes_nobody_who_may_approve() {
        for kind in [MappedKind::Workload, MappedKind::Agent] {
            assert!(!CallerKind::from(kind).may_approve());
        }
    }
}
