//! Names of roles at a target, and what the target's own log calls a session.
//!
//! A role that is made for one session carries in its name whose session it is and which, so that the target's log, its
//! list of sessions and its list of roles all say it without the gateway's help. A name has at most 63 bytes there
//! (PostgreSQL manual, "Identifiers and Key Words"), and a longer one would be cut in silence; so principals and sessions
//! are shortened here. What makes a name unique is the session: two principals may well shorten to the same text.

use crate::name::{Principal, SessionId};
use std::fmt;

/// PostgreSQL's bound of a name, in bytes (`NAMEDATALEN` - 1); also that of `application_name`.
pub const MAX_ROLE_BYTES: usize = 63;

/// How the names of roles that are made for sessions begin.
pub const MINTED_PREFIX: &str = "chp_";

/// What is left of a principal: an object id of Entra without its dashes fits.
const PRINCIPAL_BYTES: usize = 32;

/// What is left of a session's id: its last digits, 62 bits of which are random (RFC 9562, section 5.7).
const SESSION_DIGITS: usize = 16;

/// A role at a target.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(String);

/// Why a text is no role's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a role's name is 1 to {MAX_ROLE_BYTES} bytes without control characters")]
pub struct RoleNameError;

impl RoleName {
    /// Checks and wraps a text. Quotes and blanks are allowed, as they are at the target.
    pub fn new(text: impl Into<String>) -> Result<Self, RoleNameError> {
        let text = text.into();
        let fits = (1..=MAX_ROLE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(RoleName(text)) } else { Err(RoleNameError) }
    }

    /// The role of one session: `chp_`, the principal, the session. Lower-case letters, digits and `_` only.
    pub fn of_session(principal: &Principal, session: SessionId) -> Self {
        RoleName(format!("{MINTED_PREFIX}{}_{}", short_principal(principal), short_session(session)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What a session is called in the target's `application_name`: principal, session, and as much of the client's own wish
/// as there is room for. The gateway's part comes first, so that no wish can push it out or pass for it.
pub fn application_name(principal: &Principal, session: SessionId, wish: &str) -> String {
    let mut name = format!("{}/{}", short_principal(principal), short_session(session));
    let mut wish = wish.chars().filter(|one| (' '..='~').contains(one)).peekable();
    if wish.peek().is_some() {
        name.push('/');
        name.extend(wish);
    }
    name.truncate(MAX_ROLE_BYTES);
    name
}

/// The object id, as far as it fits a name. Principals are ASCII.
fn short_principal(principal: &Principal) -> String {
    let object_id = principal.as_str().rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    let safe = |one: char| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '_' };
    object_id.chars().filter(|one| *one != '-').map(safe).take(PRINCIPAL_BYTES).collect()
}

fn short_session(session: SessionId) -> String {
    let digits = session.uuid().simple().to_string();
    digits.chars().skip(digits.len() - SESSION_DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u128) -> SessionId {
        SessionId::new(uuid::Uuid::from_u128(number))
    }

    fn principal(text: &str) -> Principal {
        Principal::new(text).unwrap()
    }

    #[test]
    fn a_minted_name_says_who_and_which_session() {
        let who = principal("corp/8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001/5C1C0E6E-1111-4111-8111-1111111111ab");
        let name = RoleName::of_session(&who, session(0x0193_0000_0000_7000_8123_4567_89ab_cdef));
        assert_eq!(name.as_str(), "chp_5c1c0e6e1111411181111111111111ab_8123456789abcdef");
    }

    #[test]
    fn no_principal_makes_a_name_that_could_mean_something_else() {
        let long = "x".repeat(200);
        for text in
            ["a/b/o';drop/**/role/**/x;--", "\"", "a/b/\"quoted\"", "\\", "$$", "////", "a/b/-", &long]
        {
            let name = RoleName::of_session(&principal(text), session(7));
            let safe = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(name.as_str().bytes().all(safe), "{text}: {name}");
            assert!(name.as_str().len() <= MAX_ROLE_BYTES, "{text}: {name}");
            assert!(name.as_str().starts_with(MINTED_PREFIX), "{text}: {name}");
        }
    }

    #[test]
    fn two_principals_that_shorten_to_the_same_have_two_names() {
        let same = "x".repeat(40);
        let (one, other) = (principal(&format!("a/b/{same}1")), principal(&format!("a/b/{same}2")));
        let names = [RoleName::of_session(&one, session(1)), RoleName::of_session(&other, session(2))];
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn a_wish_cannot_push_out_who_it_is() {
        let who = principal("corp/t/5c1c0e6e-1111-4111-8111-1111111111ab");
        let ours = "5c1c0e6e1111411181111111111111ab/0000000000000007";
        assert_eq!(application_name(&who, session(7), ""), ours);
        assert_eq!(application_name(&who, session(7), "psql"), format!("{ours}/psql"));
        let name = application_name(&who, session(7), &"wish\n\u{e9}\u{1b}[31m".repeat(100));
        assert!(name.starts_with(&format!("{ours}/wish")) && name.len() == MAX_ROLE_BYTES, "{name}");
        assert!(name.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}");
    }

    #[test]
    fn a_name_of_the_configuration_fits_the_target() {
        assert_eq!(RoleName::new("Weird \"role\"").unwrap().as_str(), "Weird \"role\"");
        for bad in ["", "a\0b", "a\nb", &"x".repeat(64)] {
            assert_eq!(RoleName::new(bad), Err(RoleNameError), "{bad:?}");
        }
    }
}
