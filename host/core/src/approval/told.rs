//! What people are told of an approval, by whatever channel.

use super::State;
use serde::Serialize;
use std::fmt;

/// What became of an approval: that it was asked, and how it ended. Single votes are not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// It waits for people.
    Asked,
    /// All requirements are met.
    Approved,
    /// Somebody said no.
    Rejected,
    /// The deadline passed.
    Expired,
    /// Nobody waits for it any more.
    Withdrawn,
}

impl Told {
    /// All of them.
    pub const ALL: [Told; 5] = [Told::Asked, Told::Approved, Told::Rejected, Told::Expired, Told::Withdrawn];

    /// The word in the configuration, in messages and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Told::Asked => "asked",
            Told::Approved => "approved",
            Told::Rejected => "rejected",
            Told::Expired => "expired",
            Told::Withdrawn => "withdrawn",
        }
    }

    /// What is told of an approval that has come to stand so.
    pub fn of(state: State) -> Self {
        match state {
            State::Pending => Told::Asked,
            State::Approved => Told::Approved,
            State::Rejected => Told::Rejected,
            State::Expired => Told::Expired,
            State::Withdrawn => Told::Withdrawn,
        }
    }
}

/// A word that is none of [`Told`]'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is `asked`, `approved`, `rejected`, `expired` or `withdrawn`")]
pub struct ToldError;

impl std::str::FromStr for Told {
    type Err = ToldError;
    fn from_str(word: &str) -> Result<Self, ToldError> {
        Told::ALL.into_iter().find(|told| told.as_str() == word).ok_or(ToldError)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
