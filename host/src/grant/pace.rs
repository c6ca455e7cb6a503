//! How fast one principal may ask for windows.
//!
//! Each request that is new is a write that waits for the disk, and the store has one writer: an agent in a loop would keep
//! everybody else waiting. What may go wrong: a principal that is configured under two providers' names asks twice as
//! fast. So it counts by tenant and object.

use chaperone_core::Timestamp;
use chaperone_core::approval::person;
use chaperone_core::name::Principal;
use chaperone_core::window::between;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Requests of one principal in a minute.
pub const MAX_REQUESTS_PER_MINUTE: u32 = 30;

/// Principals that are counted at one time; all of them have asked within the last minute.
const MAX_COUNTED: usize = 10_000;

const MINUTE: Duration = Duration::from_secs(60);

/// Who has asked how often.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<HashMap<String, Minute>>);

#[derive(Debug, Clone, Copy)]
struct Minute {
    began: Timestamp,
    asked: u32,
}

impl Pace {
    /// Counts a request, or says how long to wait before the next one.
    pub(super) fn count(&self, of: &Principal, now: Timestamp) -> Result<(), Duration> {
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = |minute: &Minute| MINUTE.saturating_sub(between(minute.began, now));
        let person = person(of).to_ascii_lowercase();
        if !minutes.contains_key(&person) && minutes.len() >= MAX_COUNTED {
            minutes.retain(|_, minute| !rest(minute).is_zero());
            if minutes.len() >= MAX_COUNTED {
                // Fails closed: who cannot be counted does not ask.
                return Err(MINUTE);
            }
        }
        let minute = minutes.entry(person).or_insert(Minute { began: now, asked: 0 });
        if rest(minute).is_zero() {
            *minute = Minute { began: now, asked: 0 };
        }
        if minute.asked >= MAX_REQUESTS_PER_MINUTE {
            return Err(rest(minute));
        }
        minute.asked += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::at;
    use chaperone_core::name::ProviderName;

    fn principal(provider: &str, object: &str) -> Principal {
        Principal::of(&ProviderName::new(provider).unwrap(), "t", object).unwrap()
    }

    #[test]
    fn a_principal_asks_so_often_in_a_minute_under_any_name_and_others_are_not_concerned() {
        let pace = Pace::default();
        for number in 0..MAX_REQUESTS_PER_MINUTE {
            let (provider, object) = if number % 2 == 0 { ("corp", "a1") } else { ("twin", "A1") };
            assert_eq!(pace.count(&principal(provider, object), at(10)), Ok(()));
        }
        assert_eq!(pace.count(&principal("corp", "a1"), at(15)), Err(Duration::from_secs(55)));
        assert_eq!(pace.count(&principal("corp", "a2"), at(15)), Ok(()));
        assert_eq!(pace.count(&principal("corp", "a1"), at(69)), Err(Duration::from_secs(1)));
        assert_eq!(pace.count(&principal("corp", "a1"), at(70)), Ok(()));
    }

    #[test]
    fn who_is_counted_is_bounded_and_those_of_the_last_minute_are_not_forgotten() {
        let pace = Pace::default();
        for _ in 0..MAX_REQUESTS_PER_MINUTE {
            pace.count(&principal("corp", "a1"), at(0)).unwrap();
        }
        for number in 1..MAX_COUNTED {
            pace.count(&principal("corp", &format!("n{number}")), at(1)).unwrap();
        }
        assert_eq!(pace.count(&principal("corp", "one-more"), at(59)), Err(MINUTE));
        assert!(pace.count(&principal("corp", "a1"), at(59)).is_err());
        // The first one's minute is over, and makes room.
        assert_eq!(pace.count(&principal("corp", "one-more"), at(60)), Ok(()));
    }
}
