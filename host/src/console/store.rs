//! Who is signed in, and who is about to: in memory, bounded, and found by the digest of what the browser holds.
//!
//! A digest as key says nothing about how far a guess was right, so nothing here has to compare in constant time but what is
//! found. What is kept of a person is an [`Identity`], made from a token by the identity module, never from a row.

use crate::identity::Identity;
use crate::identity::signin::{self, SignInError};
use aws_lc_rs::digest::{SHA256, digest};
use chaperone_core::Timestamp;
use chaperone_core::approval::ApprovalId;
use chaperone_core::name::SessionId;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use subtle::ConstantTimeEq as _;

/// Browsers that are signed in at one time.
pub const MAX_SIGNED_IN: usize = 1_000;

/// Browsers in which one person is signed in at one time; with another one, the oldest is signed out.
pub const MAX_SIGNED_IN_EACH: usize = 8;

/// How long somebody is signed in at the most, in seconds; never past the end of the token.
pub const SIGNED_IN_SECONDS: i64 = 60 * 60;

/// Sign-ins that were begun and are not over. Anybody may begin one, so past that the oldest goes.
pub const MAX_STARTED: usize = 10_000;

/// How long somebody may take to sign in, in seconds.
pub const STARTED_SECONDS: i64 = 10 * 60;

/// Recordings of one sign-in that need no second audit event.
const MAX_LOOKED: usize = 1_000;

/// The digest of a value of chance.
type Digest = [u8; 32];

fn digest_of(value: &str) -> Digest {
    let mut bytes = [0; 32];
    // The lengths are equal; were they not, nothing would ever be found.
    bytes.iter_mut().zip(digest(&SHA256, value.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

/// A sign-in that was begun.
pub(super) struct Start {
    /// At which of the providers.
    pub(super) provider: usize,
    /// What is asked of the answer.
    pub(super) started: signin::Started,
    /// What to show afterwards.
    pub(super) then: Option<ApprovalId>,
    browser: Digest,
    until: Timestamp,
}

/// Sign-ins that were begun, by their `state`.
#[derive(Default)]
pub(super) struct Started(Mutex<HashMap<Digest, Start>>);

impl Started {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Start>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one for the browser that holds `browser`.
    pub(super) fn keep(
        &self,
        begun: (&str, signin::Started),
        provider: usize,
        then: Option<ApprovalId>,
        browser: &str,
        now: Timestamp,
    ) {
        let (state, started) = begun;
        let mut all = self.lock();
        if all.len() >= MAX_STARTED {
            all.retain(|_, start| now < start.until);
        }
        if all.len() >= MAX_STARTED
            && let Some(oldest) = all.iter().min_by_key(|(_, start)| start.until).map(|(state, _)| *state)
        {
            all.remove(&oldest);
        }
        let until = later(now, STARTED_SECONDS);
        all.insert(digest_of(state), Start { provider, started, then, browser: digest_of(browser), until });
    }

    /// Gives one back, once, to the browser that began it. Another browser's try leaves it where it is.
    pub(super) fn take(&self, state: &str, browser: &str, now: Timestamp) -> Option<Start> {
        let (state, browser) = (digest_of(state), digest_of(browser));
        let mut all = self.lock();
        let found = all.get(&state)?;
        if !bool::from(found.browser.ct_eq(&browser)) {
            return None;
        }
        all.remove(&state).filter(|start| now < start.until)
    }
}

/// Somebody who is signed in.
pub(super) struct Session {
    /// Who.
    pub(super) identity: Identity,
    /// What the forms of this sign-in carry.
    pub(super) form_token: String,
    began: Timestamp,
    until: Timestamp,
    /// Recordings of which an audit event says that this person has looked at them.
    looked: Mutex<HashSet<SessionId>>,
}

impl Session {
    /// Whether it is on record that a recording was looked at in this sign-in.
    pub(super) fn has_looked_at(&self, session: SessionId) -> bool {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).contains(&session)
    }

    /// It is on record now.
    pub(super) fn looked_at(&self, session: SessionId) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.len() >= MAX_LOOKED {
            // They are put on record once more.
            looked.clear();
        }
        looked.insert(session);
    }

    /// Whether a form is one of this sign-in.
    pub(super) fn sent(&self, form_token: &str) -> bool {
        self.form_token.as_bytes().ct_eq(form_token.as_bytes()).into()
    }
}

/// Why somebody cannot be signed in.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("{MAX_SIGNED_IN} people are signed in already; try again later")]
    Full,
    #[error("{0}")]
    Chance(#[from] SignInError),
}

/// Who is signed in, by their cookies.
#[derive(Default)]
pub(super) struct SignedIn(Mutex<HashMap<Digest, Arc<Session>>>);

impl SignedIn {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs somebody in; the cookie.
    pub(super) fn keep(&self, identity: Identity, now: Timestamp) -> Result<String, KeepError> {
        let (cookie, form_token) = (signin::random()?, signin::random()?);
        let until = later(now, SIGNED_IN_SECONDS).min(identity.facts().expires_at);
        let mut all = self.lock();
        all.retain(|_, session| now < session.until);
        let principal = &identity.facts().principal;
        let mut own: Vec<(Timestamp, Digest)> = all
            .iter()
            .filter(|(_, session)| session.identity.facts().principal == *principal)
            .map(|(key, session)| (session.began, *key))
            .collect();
        own.sort_unstable();
        let excess = (own.len() + 1).saturating_sub(MAX_SIGNED_IN_EACH);
        for (_, key) in own.iter().take(excess) {
            all.remove(key);
        }
        if all.len() >= MAX_SIGNED_IN {
            return Err(KeepError::Full);
        }
        let session = Session { identity, form_token, began: now, until, looked: Mutex::default() };
        all.insert(digest_of(&cookie), Arc::new(session));
        Ok(cookie)
    }

    /// Who holds this cookie, if they are still signed in.
    pub(super) fn find(&self, cookie: &str, now: Timestamp) -> Option<Arc<Session>> {
        let key = digest_of(cookie);
        let mut all = self.lock();
        let found = all.get(&key)?;
        if now < found.until {
            return Some(Arc::clone(found));
        }
        all.remove(&key);
        None
    }

    /// Signs out whoever holds this cookie.
    pub(super) fn forget(&self, cookie: &str) {
        self.lock().remove(&digest_of(cookie));
    }
}

/// A moment so many seconds later; at the end of time, that.
fn later(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(now.as_second().saturating_add(seconds)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{at, person};
    use chaperone_core::identity::CallerKind;

    fn identity(object: &str, expires: i64) -> Identity {
        let mut facts = person(object, CallerKind::Human, &[]);
        facts.expires_at = at(expires);
        Identity::for_test(facts)
    }

    #[test]
    fn nobody_is_signed_in_past_an_hour_or_the_token() {
        for (expires, until) in [(7200, SIGNED_IN_SECONDS), (600, 600)] {
            let signed_in = SignedIn::default();
            let cookie = signed_in.keep(identity("ann", expires), at(0)).unwrap();
            assert!(signed_in.find(&cookie, at(until - 1)).is_some());
            assert!(signed_in.find(&cookie, at(until)).is_none());
            // Also if the clock goes back: it was found out once.
            assert!(signed_in.find(&cookie, at(0)).is_none());
        }
    }

    #[test]
    fn who_is_signed_out_is_unknown_and_so_is_every_other_cookie() {
        let signed_in = SignedIn::default();
        let ann = signed_in.keep(identity("ann", 7200), at(0)).unwrap();
        let bob = signed_in.keep(identity("bob", 7200), at(0)).unwrap();
        assert_ne!(ann, bob);
        for guess in ["", "x", &ann[1..], &format!("{ann}A")] {
            assert!(signed_in.find(guess, at(1)).is_none(), "{guess}");
        }
        let session = signed_in.find(&ann, at(1)).unwrap();
        assert!(session.sent(&session.form_token) && !session.sent("") && !session.sent(&ann));
        assert!(!session.sent(&signed_in.find(&bob, at(1)).unwrap().form_token));
        signed_in.forget(&ann);
        assert!(signed_in.find(&ann, at(1)).is_none() && signed_in.find(&bob, at(1)).is_some());
    }

    #[test]
    fn sign_ins_are_bounded_and_one_person_takes_no_places_of_others() {
        let signed_in = SignedIn::default();
        let first = signed_in.keep(identity("ann", 7200), at(0)).unwrap();
        let cookies: Vec<_> =
            (1..=8).map(|second| signed_in.keep(identity("ann", 7200), at(second)).unwrap()).collect();
        assert!(signed_in.find(&first, at(9)).is_none(), "the oldest goes");
        assert!(cookies.iter().all(|cookie| signed_in.find(cookie, at(9)).is_some()));
        for number in MAX_SIGNED_IN_EACH..MAX_SIGNED_IN {
            signed_in.keep(identity(&format!("p{number}"), 7200), at(9)).unwrap();
        }
        assert!(matches!(signed_in.keep(identity("bob", 7200), at(9)), Err(KeepError::Full)));
        // Ann may move to another browser, and everybody may come when the hour is over.
        signed_in.keep(identity("ann", 7200), at(10)).unwrap();
        signed_in.keep(identity("bob", 7200), at(9 + SIGNED_IN_SECONDS)).unwrap();
    }

    fn start() -> signin::Started {
        signin::Started::for_test()
    }

    #[test]
    fn a_begun_sign_in_is_given_back_once_and_to_its_browser() {
        let started = Started::default();
        started.keep(("state", start()), 0, None, "browser", at(0));
        assert!(started.take("state", "another", at(1)).is_none());
        assert!(started.take("state", "", at(1)).is_none());
        assert!(started.take("another", "browser", at(1)).is_none());
        assert!(started.take("state", "browser", at(1)).is_some());
        assert!(started.take("state", "browser", at(1)).is_none());
        started.keep(("state", start()), 0, None, "browser", at(0));
        assert!(started.take("state", "browser", at(STARTED_SECONDS)).is_none());
    }

    #[test]
    fn whoever_begins_many_sign_ins_pushes_out_the_oldest() {
        let started = Started::default();
        for number in 0..=MAX_STARTED {
            started.keep((&format!("s{number}"), start()), 0, None, "browser", at(i64::from(number > 0)));
        }
        assert_eq!(started.lock().len(), MAX_STARTED);
        assert!(started.take("s0", "browser", at(2)).is_none());
        assert!(started.take("s1", "browser", at(2)).is_some());
        started.keep(("late", start()), 0, None, "browser", at(STARTED_SECONDS + 10));
        started.keep(("later", start()), 0, None, "browser", at(STARTED_SECONDS + 10));
        assert_eq!(started.lock().len(), 2, "those that are over go first");
    }
}
