//! Conditions: when and from where a rule holds, and how much of it there is.

use super::hours::{Edge, Hours};
use crate::Timestamp;
use core::net::IpAddr;
use ipnet::IpNet;
use std::fmt;
use std::time::Duration;

/// Networks of one rule.
pub const MAX_NETWORKS: usize = 64;

/// The most windows a day, and sessions in a window, that a grant may count: more is no limit.
pub const MAX_COUNTED: u16 = 1000;

/// When and from where somebody asks or connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occasion {
    /// The moment.
    pub at: Timestamp,
    /// Their address as the gateway sees it; none where it is not known.
    pub from: Option<IpAddr>,
}

impl From<Timestamp> for Occasion {
    /// From nowhere that is known: nothing that is bound to networks is allowed then.
    fn from(at: Timestamp) -> Self {
        Occasion { at, from: None }
    }
}

/// When and from where a rule holds. The default asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Only in these hours.
    pub hours: Option<Hours>,
    /// Only from these networks; from everywhere when there are none. Up to [`MAX_NETWORKS`].
    pub networks: Vec<IpNet>,
}

impl Conditions {
    /// Whether what is allowed under these conditions is allowed now, and until when it stays so; without hours it does.
    ///
    /// # Errors
    /// The condition that is not met.
    pub fn allow(&self, occasion: &Occasion) -> Result<Option<Timestamp>, Unmet> {
        // An address that is not known is in no network: fails closed.
        if !self.networks.is_empty() && !occasion.from.is_some_and(|from| self.has(from)) {
            return Err(Unmet::Networks);
        }
        match &self.hours {
            None => Ok(None),
            Some(hours) => hours.open_until(occasion.at, Edge::Narrow).map(Some).ok_or(Unmet::Hours),
        }
    }

    /// Whether what is denied under these conditions is denied now or later.
    pub fn deny(&self, occasion: &Occasion) -> Denied {
        // An address that is not known may be in any network: fails closed.
        if !self.networks.is_empty() && !occasion.from.is_none_or(|from| self.has(from)) {
            return Denied::Never;
        }
        let Some(hours) = &self.hours else { return Denied::Now };
        match (hours.open_until(occasion.at, Edge::Wide), hours.next(occasion.at, Edge::Wide)) {
            (Some(_), _) => Denied::Now,
            (None, Some(next)) => Denied::From(next),
            (None, None) => Denied::Never,
        }
    }

    /// IPv4 addresses that are written as IPv6 ones (RFC 4291, section 2.5.5.2) are what they stand for.
    fn has(&self, from: IpAddr) -> bool {
        let from = from.to_canonical();
        self.networks.iter().any(|network| network.contains(&from))
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.hours.as_ref().map(ToString::to_string));
        if !self.networks.is_empty() {
            let networks: Vec<String> = self.networks.iter().map(ToString::to_string).collect();
            parts.push(format!("from {}", networks.join(", ")));
        }
        f.write_str(&parts.join(", "))
    }
}

/// A condition that is not met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// Not in its hours.
    Hours,
    /// Not from its networks.
    Networks,
}

/// Whether something is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It is.
    Now,
    /// It will be, from this moment on.
    From(Timestamp),
    /// Not for this.
    Never,
}

/// How much of a grant there is. The default counts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amounts {
    /// How long after the end of a caller's last window on the target no other opens.
    pub cool_down: Option<Duration>,
    /// Windows of a caller on the target that may open within 24 hours.
    pub windows_per_day: Option<u16>,
    /// Sessions in one window at one time.
    pub max_sessions: Option<u16>,
}

impl Amounts {
    /// What both allow.
    #[must_use]
    pub fn and(&self, other: &Amounts) -> Amounts {
        fn least<T: Ord + Copy>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        Amounts {
            cool_down: self.cool_down.max(other.cool_down),
            windows_per_day: least(self.windows_per_day, other.windows_per_day),
            max_sessions: least(self.max_sessions, other.max_sessions),
        }
    }

    pub(super) fn fit(&self) -> bool {
        let counted = |count: Option<u16>| count.is_none_or(|count| (1..=MAX_COUNTED).contains(&count));
        let pause = self.cool_down.is_none_or(|pause| !pause.is_zero() && pause <= super::MAX_LIFETIME);
        pause && counted(self.windows_per_day) && counted(self.max_sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::Weekday;
    use jiff::tz::TimeZone;

    fn from(address: Option<&str>) -> Occasion {
        Occasion { at: Timestamp::UNIX_EPOCH, from: address.map(|address| address.parse().unwrap()) }
    }

    fn networks(list: &[&str]) -> Conditions {
        let networks = list.iter().map(|one| one.parse().unwrap()).collect();
        Conditions { networks, ..Conditions::default() }
    }

    #[test]
    fn a_network_holds_its_addresses_however_they_are_written() {
        let office = networks(&["10.1.0.0/16", "2001:db8::/32"]);
        for (address, inside) in [
            (Some("10.1.255.255"), true),
            (Some("10.2.0.0"), false),
            (Some("::ffff:10.1.2.3"), true),
            (Some("::ffff:10.2.2.3"), false),
            (Some("::10.1.2.3"), false),
            (Some("2001:db8:1::1"), true),
            (Some("2001:db9::1"), false),
            (None, false),
        ] {
            assert_eq!(office.allow(&from(address)), if inside { Ok(None) } else { Err(Unmet::Networks) });
            let denied = if inside || address.is_none() { Denied::Now } else { Denied::Never };
            assert_eq!(office.deny(&from(address)), denied, "{address:?}");
        }
        assert_eq!(Conditions::default().allow(&from(None)), Ok(None));
        assert_eq!(Conditions::default().deny(&from(None)), Denied::Now);
    }

    #[test]
    fn what_is_denied_later_is_told_from_when() {
        let hours = Hours::new(TimeZone::UTC, &[Weekday::Friday], 16 * 60, 18 * 60).unwrap();
        let freeze = Conditions { hours: Some(hours), ..Conditions::default() };
        let at = |text: &str| Occasion::from(text.parse::<Timestamp>().unwrap());
        let begins = "2026-12-04T16:00:00Z".parse().unwrap();
        assert_eq!(freeze.deny(&at("2026-12-04T15:00:00Z")), Denied::From(begins));
        assert_eq!(freeze.deny(&at("2026-12-04T16:00:00Z")), Denied::Now);
        assert_eq!(freeze.allow(&at("2026-12-04T15:00:00Z")), Err(Unmet::Hours));
        assert_eq!(freeze.to_string(), "fri 16:00-18:00 UTC");
    }

    #[test]
    fn of_two_amounts_the_smaller_holds() {
        let minutes = |count: u64| Some(Duration::from_secs(60 * count));
        let one = Amounts { cool_down: minutes(5), windows_per_day: Some(4), max_sessions: None };
        let other = Amounts { cool_down: minutes(9), windows_per_day: None, max_sessions: Some(2) };
        let both = Amounts { cool_down: minutes(9), windows_per_day: Some(4), max_sessions: Some(2) };
        assert_eq!((one.and(&other), other.and(&one)), (both.clone(), both));
        assert!(Amounts::default().fit() && one.fit());
        assert!(!Amounts { max_sessions: Some(0), ..one.clone() }.fit());
        assert!(!Amounts { cool_down: minutes(0), ..one }.fit());
    }
}
