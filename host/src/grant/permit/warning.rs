//! When the holder of a permit is told that it ends soon: once for each end, so again when a newer token has moved it.

use super::{Live, Permit};
use chaperone_core::Timestamp;
use chaperone_core::window::{after, between};
use std::time::Duration;

/// So long before the end.
pub const WARN_BEFORE: Duration = Duration::from_secs(5 * 60);

/// What does not live for longer than that has this part of its life left when it is told.
const LAST_PART: u32 = 5;

/// The longest sleep between two looks at the clock: nobody is let in by this one, so it may be later than the end itself.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(5);

/// What a permit ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndsWith {
    /// Its window, which nothing makes longer.
    Window,
    /// The hours in which the policy gives it, which no token makes longer.
    Hours,
    /// The token that counts; a newer one moves it.
    Token,
}

/// The end that comes, unless something ends the permit before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComingEnd {
    /// When.
    pub at: Timestamp,
    /// With what.
    pub with: EndsWith,
}

impl Permit {
    /// The end that comes by the clock. None when it is not listed any more.
    pub fn coming_end(&self) -> Option<ComingEnd> {
        self.inner.grants.live.coming_end(self.inner.number).map(|(end, _)| end)
    }

    /// Resolves when it is time to tell of an end other than the one at `told`.
    pub async fn ends_soon(&self, told: Option<Timestamp>) -> ComingEnd {
        let proof = &self.inner;
        let mut renewed = proof.renewed.subscribe();
        loop {
            renewed.mark_unchanged();
            let coming = proof.grants.live.coming_end(proof.number);
            let rest = match coming.filter(|(end, _)| told != Some(end.at)) {
                None => Duration::MAX,
                Some((end, tell)) => match between(proof.grants.clock.now(), tell) {
                    Duration::ZERO => return end,
                    rest => rest.min(LOOK_AT_CLOCK),
                },
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                // The sender lives in this permit.
                _ = renewed.changed() => {}
            }
        }
    }
}

impl Live {
    /// The end by the clock, and when to tell of it.
    fn coming_end(&self, number: u64) -> Option<(ComingEnd, Timestamp)> {
        let permits = self.permits();
        let watched = permits.by_number.get(&number)?;
        let at = watched.ends_at();
        let with = match () {
            () if at == watched.window.closes() => EndsWith::Window,
            () if at == watched.ends_at_latest() => EndsWith::Hours,
            () => EndsWith::Token,
        };
        Some((ComingEnd { at, with }, tell_at(watched.since, at)))
    }
}

/// When to tell of an end that has stood since then.
fn tell_at(since: Timestamp, end: Timestamp) -> Timestamp {
    let life = between(since, end);
    let ahead = if life > WARN_BEFORE { WARN_BEFORE } else { life / LAST_PART };
    // A sum that does not fit is beyond any end.
    after(since, life.saturating_sub(ahead)).map_or(end, |tell| tell.min(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_five_minutes_before_or_in_the_last_fifth_of_a_short_life() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        for (life, told) in [(3600, 3300), (301, 1), (300, 240), (100, 80), (5, 4), (0, 0)] {
            assert_eq!(tell_at(at(0), at(life)), at(told), "{life}");
        }
        // One that has ended before it began.
        assert_eq!(tell_at(at(10), at(5)), at(5));
        assert_eq!(tell_at(at(0), Timestamp::MAX), Timestamp::MAX - WARN_BEFORE);
    }
}
