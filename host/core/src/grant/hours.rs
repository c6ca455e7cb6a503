//! Hours: the part of the week in which a rule holds, by the clocks of a time zone.
//!
//! Clocks are put forward and back, so an hour may not exist or come twice. Whoever asks says which way is the careful one:
//! a grant's hours are then the shorter ones and a rule that denies has the longer ones ([`Edge`]).

use crate::Timestamp;
use jiff::ToSpan;
use jiff::civil::{Date, Weekday};
use jiff::tz::{Disambiguation, TimeZone};
use std::fmt;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// Days that are looked at from one moment: longer than the longest window.
const DAYS_AHEAD: i64 = 9;

const WEEK: [(Weekday, &str); 7] = [
    (Weekday::Monday, "mon"),
    (Weekday::Tuesday, "tue"),
    (Weekday::Wednesday, "wed"),
    (Weekday::Thursday, "thu"),
    (Weekday::Friday, "fri"),
    (Weekday::Saturday, "sat"),
    (Weekday::Sunday, "sun"),
];

/// A daily period on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    zone: TimeZone,
    days: Vec<Weekday>,
    from: u16,
    to: u16,
}

/// Which of two moments a border is, where clocks jump over it or show it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Begin at the later and end at the earlier one: for what is allowed.
    Narrow,
    /// Begin at the earlier and end at the later one: for what is denied.
    Wide,
}

/// Why there are no such hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoursProblem {
    /// No day.
    #[error("hours need at least one day")]
    NoDay,
    /// Not minutes of a day.
    #[error("hours are from 00:00 to 24:00")]
    NotInADay,
}

impl Hours {
    /// From one minute of the day (0 to 1439) to another (1 to 1440); one that is not later is of the day after, so that a
    /// night is one period, of the day on which it begins.
    ///
    /// # Errors
    /// Days or minutes that there are not.
    pub fn new(zone: TimeZone, days: &[Weekday], from: u16, to: u16) -> Result<Self, HoursProblem> {
        if from >= DAY || !(1..=DAY).contains(&to) {
            return Err(HoursProblem::NotInADay);
        }
        let days: Vec<Weekday> =
            WEEK.into_iter().map(|(day, _)| day).filter(|day| days.contains(day)).collect();
        if days.is_empty() {
            return Err(HoursProblem::NoDay);
        }
        Ok(Hours { zone, days, from, to })
    }

    /// When the period ends that `at` lies in, together with those that follow it without a gap; none outside of all.
    pub fn open_until(&self, at: Timestamp, edge: Edge) -> Option<Timestamp> {
        let mut end = None;
        for (from, to) in self.periods(at, edge) {
            let meets = from <= end.unwrap_or(at);
            if meets && to > end.unwrap_or(at) {
                end = Some(to);
            }
        }
        end
    }

    /// When the next period begins after `at`.
    pub fn next(&self, at: Timestamp, edge: Edge) -> Option<Timestamp> {
        self.periods(at, edge).into_iter().map(|(from, _)| from).find(|from| *from > at)
    }

    /// The periods around a moment, in their order. Time ends at the year 9999; there is none beyond it.
    fn periods(&self, at: Timestamp, edge: Edge) -> Vec<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(at).date();
        let days = (-1..DAYS_AHEAD).filter_map(|ahead| today.checked_add(ahead.days()).ok());
        let on = days.filter(|day| self.days.contains(&day.weekday()));
        on.filter_map(|day| self.period(day, edge)).filter(|(from, to)| from < to).collect()
    }

    fn period(&self, day: Date, edge: Edge) -> Option<(Timestamp, Timestamp)> {
        let (begin, end) = match edge {
            Edge::Narrow => (Disambiguation::Later, Disambiguation::Earlier),
            Edge::Wide => (Disambiguation::Earlier, Disambiguation::Later),
        };
        let last = if self.to > self.from { day } else { day.tomorrow().ok()? };
        Some((self.moment(day, self.from, begin)?, self.moment(last, self.to, end)?))
    }

    fn moment(&self, day: Date, minute: u16, which: Disambiguation) -> Option<Timestamp> {
        let (day, minute) = if minute >= DAY { (day.tomorrow().ok()?, minute - DAY) } else { (day, minute) };
        let time = day.at(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0);
        self.zone.to_ambiguous_timestamp(time).disambiguate(which).ok()
    }
}

/// The day of this word, such as `mon`.
pub fn weekday(word: &str) -> Option<Weekday> {
    WEEK.iter().find(|(_, name)| *name == word).map(|(day, _)| *day)
}

/// The days from one to another, over the end of the week where need be.
pub fn weekdays(from: Weekday, to: Weekday) -> Vec<Weekday> {
    let mut days = vec![from];
    let mut day = from;
    while day != to {
        day = day.next();
        days.push(day);
    }
    days
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            WEEK.iter().filter(|(day, _)| self.days.contains(day)).map(|(_, name)| *name).collect();
        let joined = self.days.first().zip(self.days.last()).is_some_and(|(first, last)| {
            self.days.len() > 2 && weekdays(*first, *last).len() == self.days.len()
        });
        match (joined, names.first(), names.last()) {
            (true, Some(first), Some(last)) => write!(f, "{first}-{last}")?,
            _ => f.write_str(&names.join(", "))?,
        }
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let zone = self.zone.iana_name().unwrap_or("of an unnamed zone");
        write!(f, " {}-{} {zone}", clock(self.from), clock(self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn berlin(days: &[Weekday], from: u16, to: u16) -> Hours {
        Hours::new(TimeZone::get("Europe/Berlin").unwrap(), days, from, to).unwrap()
    }

    const WORK: [Weekday; 5] =
        [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];

    #[test]
    fn the_first_moment_is_inside_and_the_last_is_not() {
        let hours = berlin(&WORK, 8 * 60, 18 * 60);
        assert_eq!(hours.to_string(), "mon-fri 08:00-18:00 Europe/Berlin");
        let end = Some(at("2026-12-01T17:00:00Z"));
        for (moment, expected) in [
            ("2026-12-01T06:59:59.999999Z", None),
            ("2026-12-01T07:00:00Z", end),
            ("2026-12-01T16:59:59.999999Z", end),
            ("2026-12-01T17:00:00Z", None),
            ("2026-12-05T12:00:00Z", None),
        ] {
            assert_eq!(hours.open_until(at(moment), Edge::Narrow), expected, "{moment}");
        }
        assert_eq!(hours.next(at("2026-12-04T17:00:00Z"), Edge::Narrow), Some(at("2026-12-07T07:00:00Z")));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let hours = berlin(&[Weekday::Friday], 22 * 60, 6 * 60);
        let end = Some(at("2026-12-05T05:00:00Z"));
        assert_eq!(hours.open_until(at("2026-12-04T21:30:00Z"), Edge::Narrow), end);
        assert_eq!(hours.open_until(at("2026-12-05T04:59:59Z"), Edge::Narrow), end);
        assert_eq!(hours.open_until(at("2026-12-05T05:00:00Z"), Edge::Narrow), None);
        assert_eq!(hours.open_until(at("2026-12-05T21:30:00Z"), Edge::Narrow), None, "Saturday's night");
        assert_eq!(hours.open_until(at("2026-12-04T03:00:00Z"), Edge::Narrow), None, "Thursday's night");
    }

    #[test]
    fn days_without_a_gap_are_one_period() {
        let all: Vec<Weekday> = weekdays(Weekday::Monday, Weekday::Sunday);
        let always = berlin(&all, 0, DAY);
        let until = always.open_until(at("2026-12-01T12:00:00Z"), Edge::Narrow).unwrap();
        assert!(until >= at("2026-12-08T12:00:00Z"), "longer than any window: {until}");
        let weekend = berlin(&weekdays(Weekday::Saturday, Weekday::Sunday), 0, DAY);
        assert_eq!(
            weekend.open_until(at("2026-12-05T12:00:00Z"), Edge::Narrow),
            Some(at("2026-12-06T23:00:00Z"))
        );
        assert_eq!(weekend.to_string(), "sat, sun 00:00-24:00 Europe/Berlin");
        let over = weekdays(Weekday::Saturday, Weekday::Tuesday);
        assert_eq!(over, [Weekday::Saturday, Weekday::Sunday, Weekday::Monday, Weekday::Tuesday]);
    }

    /// On 2027-03-28 there is no 02:30 in Berlin; on 2027-10-31 there are two.
    #[test]
    fn where_clocks_jump_the_careful_border_counts() {
        let sunday = berlin(&[Weekday::Sunday], 2 * 60 + 30, 5 * 60);
        let gap = at("2027-03-28T00:00:00Z");
        assert_eq!(sunday.next(gap, Edge::Narrow), Some(at("2027-03-28T01:30:00Z")), "03:30 in summer");
        assert_eq!(sunday.next(gap, Edge::Wide), Some(at("2027-03-28T00:30:00Z")), "01:30 in winter");
        let until = berlin(&[Weekday::Sunday], 60, 2 * 60 + 30);
        let fold = at("2027-10-30T23:30:00Z");
        assert_eq!(until.open_until(fold, Edge::Narrow), Some(at("2027-10-31T00:30:00Z")), "the first 02:30");
        assert_eq!(until.open_until(fold, Edge::Wide), Some(at("2027-10-31T01:30:00Z")), "the second");
        // A period that the jump swallows does not exist.
        let swallowed = berlin(&[Weekday::Sunday], 2 * 60 + 10, 2 * 60 + 20);
        assert_eq!(swallowed.open_until(at("2027-03-28T01:15:00Z"), Edge::Narrow), None);
    }

    #[test]
    fn hours_that_there_are_not() {
        let new = |days: &[Weekday], from, to| Hours::new(TimeZone::UTC, days, from, to).unwrap_err();
        assert_eq!(new(&[], 0, 60), HoursProblem::NoDay);
        assert_eq!(new(&WORK, DAY, 60), HoursProblem::NotInADay);
        assert_eq!(new(&WORK, 0, DAY + 1), HoursProblem::NotInADay);
        assert_eq!(new(&WORK, 60, 0), HoursProblem::NotInADay);
        assert_eq!((weekday("tue"), weekday("Tue"), weekday("")), (Some(Weekday::Tuesday), None, None));
    }

    proptest::proptest! {
        /// Whatever the zone and the hours: what is open ends later than now, what comes next is later than now, and what is
        /// allowed lies within what would be denied.
        #[test]
        fn narrow_lies_within_wide(
            at in 0_i64..4_000_000_000, from in 0_u16..DAY, to in 1_u16..=DAY, mask in 1_u8..128, zone in 0_usize..6
        ) {
            let zones = ["UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia"];
            let days: Vec<Weekday> =
                WEEK.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, day)| day.0).collect();
            let hours = Hours::new(TimeZone::get(zones[zone]).unwrap(), &days, from, to).unwrap();
            let at = Timestamp::from_second(at).unwrap();
            let (narrow, wide) = (hours.open_until(at, Edge::Narrow), hours.open_until(at, Edge::Wide));
            if let Some(narrow) = narrow {
                proptest::prop_assert!(narrow > at && wide >= Some(narrow), "{hours} {at} {narrow} {wide:?}");
            }
            for edge in [Edge::Narrow, Edge::Wide] {
                proptest::prop_assert!(hours.next(at, edge).is_none_or(|next| next > at));
            }
        }
    }
}
