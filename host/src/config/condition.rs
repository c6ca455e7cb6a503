//! When and from where a rule holds, and how much of a grant there is.

use super::decode::{Fields, Item};
use super::problem::quote;
use chaperone_core::grant::{
    Amounts, Conditions, Hours, MAX_COUNTED, MAX_LIFETIME, MAX_NETWORKS, Ticket, weekday, weekdays,
};
use chaperone_core::identity::CallerKind;
use ipnet::IpNet;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::time::Duration;

const DAYS_HELP: &str = "write `mon`, `mon-fri`, or a list of these";

/// What is not known of a caller opens nothing, so there is no word for the unknown kind.
pub(crate) fn kinds(item: &Item<'_>) -> Option<BTreeSet<CallerKind>> {
    let known = CallerKind::ALL.into_iter().filter(|kind| *kind != CallerKind::Unknown);
    let words: Vec<(&str, CallerKind)> = known.map(|kind| (kind.as_str(), kind)).collect();
    if item.is_empty_list() {
        item.no_effect("nobody can match this: `kind` is empty", "name a kind of caller, or delete it");
        return None;
    }
    let mut kinds = BTreeSet::new();
    for item in item.one_or_many(words.len()) {
        if let Some(kind) = item.choice(&words)
            && !kinds.insert(kind)
        {
            item.no_effect("this kind is listed twice", "one is enough: delete this one");
        }
    }
    Some(kinds)
}

/// `hours` and `networks`, which grants and rules that deny both have.
pub(crate) struct Given<'a> {
    hours: Option<Item<'a>>,
    networks: Option<Item<'a>>,
}

impl<'a> Given<'a> {
    pub(crate) fn get(fields: &mut Fields<'a>) -> Self {
        Given { hours: fields.get("hours"), networks: fields.get("networks") }
    }

    pub(crate) fn decode(&self) -> Option<Conditions> {
        let hours = self.hours.as_ref().map_or(Some(None), |item| hours(item).map(Some));
        let networks = self.networks.as_ref().map_or(Some(Vec::new()), networks);
        Some(Conditions { hours: hours?, networks: networks? })
    }
}

fn hours(item: &Item<'_>) -> Option<Hours> {
    let mut fields = item.fields()?;
    let days = fields.get("days");
    let from = fields.need("from", "when they begin, such as `08:00`");
    let to = fields.need("to", "when they end, such as `18:00`");
    let zone = fields.need("zone", "whose clocks count, such as `Europe/Berlin` or `UTC`");
    fields.finish();
    let days = days.map_or(Some(weekdays(Weekday::Monday, Weekday::Sunday)), |item| decode_days(&item));
    let from = from.and_then(|item| minute(&item));
    let to = to.and_then(|item| minute(&item));
    let zone = zone.and_then(|item| decode_zone(&item));
    match Hours::new(zone?, &days?, from?, to?) {
        Ok(hours) => Some(hours),
        Err(problem) => {
            item.invalid(problem.to_string(), "write `from: 08:00` and `to: 18:00`; a day ends at `24:00`");
            None
        }
    }
}

fn decode_zone(item: &Item<'_>) -> Option<TimeZone> {
    let name = item.text("a time zone such as `Europe/Berlin`")?;
    let zone = TimeZone::get(name).ok();
    if zone.is_none() {
        item.invalid(
            format!("{} is not a time zone", quote(name)),
            "write a name of the IANA database, such as `Europe/Berlin`, `America/New_York` or `UTC`",
        );
    }
    zone
}

/// `08:00`, with two digits each.
fn minute(item: &Item<'_>) -> Option<u16> {
    let text = item.text("a time such as `08:00`")?;
    let two = |digits: &str| {
        let fits = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if fits { digits.parse::<u16>().ok() } else { None }
    };
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
    match parts {
        Some((hour, minute)) if minute < 60 && hour * 60 + minute <= 24 * 60 => Some(hour * 60 + minute),
        _ => {
            item.invalid(
                format!("{} is not a time of the day", quote(text)),
                "write `08:00`; a day ends at `24:00`",
            );
            None
        }
    }
}

fn decode_days(item: &Item<'_>) -> Option<Vec<Weekday>> {
    let mut days = Vec::new();
    for item in item.one_or_many(7) {
        let text = item.text("days such as `mon-fri`")?;
        let named = match text.split_once('-') {
            None => weekday(text).map(|day| vec![day]),
            Some((first, last)) => {
                weekday(first).zip(weekday(last)).map(|(first, last)| weekdays(first, last))
            }
        };
        match named {
            Some(named) => days.extend(named),
            None => {
                item.invalid(format!("{} are no days", quote(text)), DAYS_HELP);
                return None;
            }
        }
    }
    Some(days)
}

fn networks(item: &Item<'_>) -> Option<Vec<IpNet>> {
    if item.is_empty_list() {
        item.no_effect("nobody can match this: `networks` is empty", "name a network, or delete it");
        return None;
    }
    let mut networks: Vec<IpNet> = Vec::new();
    for item in item.one_or_many(MAX_NETWORKS) {
        let text = item.text("a network such as `10.0.0.0/8`")?;
        match text.parse::<IpNet>() {
            // Whoever writes 10.1.2.3/8 may mean the address or the network: nobody guesses.
            Ok(network) if network.trunc() != network => {
                item.invalid(
                    format!("{} is an address in a network", quote(text)),
                    format!(
                        "write `{}` for the network, or `{}` for the address",
                        network.trunc(),
                        IpNet::from(network.addr())
                    ),
                );
                return None;
            }
            Ok(network) => networks.push(network),
            Err(_) => {
                item.invalid(
                    format!("{} is not a network", quote(text)),
                    "write `10.0.0.0/8`, `192.0.2.7/32` or `2001:db8::/32`",
                );
                return None;
            }
        }
    }
    Some(networks)
}

/// What only grants have.
pub(crate) struct Counted<'a> {
    cool_down: Option<Item<'a>>,
    windows_per_day: Option<Item<'a>>,
    max_sessions: Option<Item<'a>>,
}

impl<'a> Counted<'a> {
    pub(crate) fn get(fields: &mut Fields<'a>) -> Self {
        Counted {
            cool_down: fields.get("cool_down"),
            windows_per_day: fields.get("windows_per_day"),
            max_sessions: fields.get("max_sessions"),
        }
    }

    pub(crate) fn decode(&self) -> Option<Amounts> {
        let count = |item: &Option<Item<'_>>| match item {
            None => Some(None),
            Some(item) => {
                item.number(1, u64::from(MAX_COUNTED)).and_then(|count| u16::try_from(count).ok()).map(Some)
            }
        };
        let cool_down = match &self.cool_down {
            None => Some(None),
            Some(item) => item.duration(Duration::from_secs(1), MAX_LIFETIME).map(Some),
        };
        let (windows_per_day, max_sessions) = (count(&self.windows_per_day), count(&self.max_sessions));
        Some(Amounts {
            cool_down: cool_down?,
            windows_per_day: windows_per_day?,
            max_sessions: max_sessions?,
        })
    }
}

/// `ticket`.
pub(crate) fn ticket(item: Option<&Item<'_>>) -> Option<Ticket> {
    item.map_or(Some(Ticket::Optional), |item| {
        item.choice(&[("required", Ticket::Required), ("optional", Ticket::Optional)])
    })
}
