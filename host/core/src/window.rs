//! Windows: the absolute time in which a principal may begin sessions on a target, and in which they run.
//!
//! The fields are private and there is no way to move `closes` later: what is not possible in this type is not possible
//! in the product. A window can only be ended early.

use crate::Timestamp;
use crate::name::{Principal, TargetName, WindowId};
use serde::Serialize;
use std::time::Duration;

/// Who let it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Opened {
    /// The policy, under a grant with `when: requested`.
    Requested,
    /// People, under a grant with `when: approved`.
    Approved,
}

impl Opened {
    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Opened::Requested => "requested",
            Opened::Approved => "approved",
        }
    }
}

/// Where a window stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowState {
    /// It has not opened yet.
    Ahead,
    /// Sessions may begin and run.
    Open,
    /// It is over.
    Closed,
}

/// Why a window cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowProblem {
    /// Longer than the grant allows.
    #[error("a window cannot be longer than the grant's lifetime")]
    TooLong,
    /// It would never be open.
    #[error("a window must close after it opens")]
    Empty,
}

/// One opened, absolute `[opens, closes)` of a principal on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    id: WindowId,
    principal: Principal,
    target: TargetName,
    opens: Timestamp,
    closes: Timestamp,
    opened: Opened,
}

/// Whose window, where, and by whose word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowOf {
    /// Its id.
    pub id: WindowId,
    /// Whose it is.
    pub principal: Principal,
    /// On what.
    pub target: TargetName,
    /// Who let it open.
    pub opened: Opened,
}

impl Window {
    /// Opens a window now, for `wanted`, under a grant of `lifetime`. Times are cut to microseconds, downwards, so that
    /// what is stored is never longer than what was granted.
    pub fn open(
        of: WindowOf,
        now: Timestamp,
        wanted: Duration,
        lifetime: Duration,
    ) -> Result<Self, WindowProblem> {
        if wanted > lifetime {
            return Err(WindowProblem::TooLong);
        }
        let opens = microseconds(now);
        let closes = after(opens, wanted).ok_or(WindowProblem::TooLong)?;
        Window::restore(of, opens, microseconds(closes))
    }

    /// A window as it was stored.
    pub fn restore(of: WindowOf, opens: Timestamp, closes: Timestamp) -> Result<Self, WindowProblem> {
        if closes <= opens {
            return Err(WindowProblem::Empty);
        }
        Ok(Window { id: of.id, principal: of.principal, target: of.target, opens, closes, opened: of.opened })
    }

    /// Its id.
    pub fn id(&self) -> WindowId {
        self.id
    }

    /// Whose it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// On what.
    pub fn target(&self) -> &TargetName {
        &self.target
    }

    /// The first moment inside.
    pub fn opens(&self) -> Timestamp {
        self.opens
    }

    /// The first moment outside.
    pub fn closes(&self) -> Timestamp {
        self.closes
    }

    /// Who let it open.
    pub fn opened(&self) -> Opened {
        self.opened
    }

    /// How long it is.
    pub fn length(&self) -> Duration {
        between(self.opens, self.closes)
    }

    /// Where it stands.
    pub fn state(&self, now: Timestamp) -> WindowState {
        if now < self.opens {
            WindowState::Ahead
        } else if now < self.closes {
            WindowState::Open
        } else {
            WindowState::Closed
        }
    }

    /// The same window, ended early at `at`; a moment after its end changes nothing. None if it would never have been
    /// open.
    #[must_use]
    pub fn ended(mut self, at: Timestamp) -> Option<Self> {
        self.closes = self.closes.min(at);
        (self.opens < self.closes).then_some(self)
    }
}

/// `moment + duration`, or None where time ends.
pub fn after(moment: Timestamp, duration: Duration) -> Option<Timestamp> {
    moment.checked_add(jiff::SignedDuration::try_from(duration).ok()?).ok()
}

/// How long from one moment to another; zero when it is past.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// Cuts to microseconds, towards the past: that is what the store keeps.
pub fn microseconds(moment: Timestamp) -> Timestamp {
    // div_euclid rounds towards the past on both sides of 1970.
    let micros = moment.as_nanosecond().div_euclid(1000);
    i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok()).unwrap_or(moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of() -> WindowOf {
        WindowOf {
            id: WindowId::new(uuid::Uuid::from_u128(1)),
            principal: Principal::new("corp/t/a").unwrap(),
            target: TargetName::new("db").unwrap(),
            opened: Opened::Requested,
        }
    }

    fn at(nanos: i128) -> Timestamp {
        Timestamp::from_nanosecond(nanos).unwrap()
    }

    #[test]
    fn the_first_moment_is_inside_and_the_last_is_not() {
        let minute = Duration::from_secs(60);
        let window = Window::open(of(), at(0), minute, minute).unwrap();
        assert_eq!(window.state(at(-1)), WindowState::Ahead);
        assert_eq!(window.state(at(0)), WindowState::Open);
        assert_eq!(window.state(at(60_000_000_000 - 1)), WindowState::Open);
        assert_eq!(window.state(at(60_000_000_000)), WindowState::Closed);
    }

    #[test]
    fn nothing_longer_than_the_lifetime_and_nothing_empty() {
        let minute = Duration::from_secs(60);
        let longer = Window::open(of(), at(0), minute + Duration::from_nanos(1), minute);
        assert_eq!(longer, Err(WindowProblem::TooLong));
        assert_eq!(Window::open(of(), at(0), Duration::ZERO, minute), Err(WindowProblem::Empty));
        assert_eq!(Window::open(of(), Timestamp::MAX, minute, minute), Err(WindowProblem::TooLong));
        assert_eq!(Window::restore(of(), at(5), at(5)), Err(WindowProblem::Empty));
    }

    proptest! {
        #[test]
        fn a_window_is_never_longer_than_granted_and_never_grows(
            now in -1_000_000_000_000i128..4_000_000_000_000_000_000,
            wanted in 1_000u64..100_000_000_000_000,
            spare in 0u64..1_000_000_000_000,
            ends in proptest::collection::vec(-200_000_000_000_000i128..200_000_000_000_000, 0..6),
        ) {
            let lifetime = Duration::from_nanos(wanted + spare);
            let window = Window::open(of(), at(now), Duration::from_nanos(wanted), lifetime).unwrap();
            prop_assert!(window.length() <= Duration::from_nanos(wanted));
            prop_assert!(window.opens() <= at(now));
            prop_assert!(window.closes() <= at(now + i128::from(wanted)));
            prop_assert_eq!(microseconds(window.closes()), window.closes());
            let mut current = window;
            for end in ends {
                let before = current.closes();
                match current.ended(at(now + end)) {
                    Some(after) => {
                        prop_assert!(after.closes() <= before);
                        prop_assert!(after.closes() <= at(now + end).max(before));
                        current = after;
                    }
                    None => break,
                }
            }
        }
    }
}
