//! Places of long polls and streams: few enough for this process, and not all of them for one caller.

use chaperone_core::name::Principal;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Long polls at once; past that, answers come at once and clients ask again.
const MAX_WAITERS: usize = 1024;

/// Long polls of one principal at once.
const MAX_WAITERS_EACH: usize = 16;

/// Who waits, and how often.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiters(Arc<Mutex<HashMap<Principal, usize>>>);

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    waiters: Waiters,
    of: Principal,
}

impl Waiters {
    /// A place; none while there are too many, of all or of this caller.
    pub(crate) fn enter(&self, of: &Principal) -> Option<Waiter> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting.get(of).copied().unwrap_or_default();
        if own >= MAX_WAITERS_EACH || waiting.values().sum::<usize>() >= MAX_WAITERS {
            return None;
        }
        waiting.insert(of.clone(), own + 1);
        Some(Waiter { waiters: self.clone(), of: of.clone() })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiters.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = waiting.get_mut(&self.of) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(number: usize) -> Principal {
        Principal::try_from(format!("corp/t/{number}")).unwrap()
    }

    #[test]
    fn one_caller_does_not_take_all_places_and_all_have_an_end() {
        let waiters = Waiters::default();
        let mut places: Vec<Waiter> =
            (0..MAX_WAITERS_EACH).filter_map(|_| waiters.enter(&principal(0))).collect();
        assert_eq!(places.len(), MAX_WAITERS_EACH);
        assert!(waiters.enter(&principal(0)).is_none());
        places.extend((MAX_WAITERS_EACH..MAX_WAITERS).filter_map(|number| waiters.enter(&principal(number))));
        assert_eq!(places.len(), MAX_WAITERS);
        assert!(waiters.enter(&principal(MAX_WAITERS)).is_none());
        places.remove(0);
        assert!(
            waiters.enter(&principal(MAX_WAITERS)).is_some_and(|_| waiters.enter(&principal(0)).is_none())
        );
        assert!(waiters.enter(&principal(0)).is_some());
        places.clear();
        assert!(waiters.0.lock().unwrap().is_empty(), "nobody is counted who does not wait");
    }
}
