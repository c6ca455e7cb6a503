//! A newer token for a permit that lives: it moves the end that the token sets, and never the window's or that of the hours.
//!
//! It has to be of exactly the same caller, and everything is asked anew with what it proves: the deny list, today's policy,
//! and the groups that plugins were told of. All of that, the end by the clock and the change itself happen while the list
//! of live permits is locked. So a revocation, an entry of the deny list or another policy either comes first and is seen
//! here, or comes later and goes through what is listed here. What may go wrong: a leaked token that no longer counts is
//! denied. So each that ever counted stays listed, and an entry against any of them ends the permit.

use super::super::policy::earlier;
use super::super::{Inner, words};
use super::{Live, Permit, PermitEnd, Watched};
use crate::identity::Identity;
use chaperone_core::Timestamp;
use chaperone_core::grant::Occasion;
use chaperone_core::refusal::sentence;
use std::fmt;

/// Tokens that one permit may get in its life: one in each three minutes of the longest session, if that is 12 hours.
pub const MAX_RENEWALS: usize = 240;

/// What a token changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// When the permit ends now.
    pub ends: Timestamp,
    /// Whether it is another token than the one that counted.
    pub token: NewToken,
}

/// Whether a token is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewToken {
    /// It counts now.
    Taken,
    /// It has counted already.
    Same,
}

/// Why a token does not count. The permit lives on as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenewError {
    /// Nobody holds such a permit.
    NotLive,
    /// The permit has ended.
    Ended(Box<PermitEnd>),
    /// The token is of somebody else, of another kind, or came through something else.
    OtherCaller,
    /// It is older than the one that counts.
    Older,
    /// It is past its time.
    Expired,
    /// With what it proves there would be no permit today.
    Refused(Box<PermitEnd>),
    /// It does not prove a group that the session's plugins were told of.
    FewerGroups,
    /// The permit has had [`MAX_RENEWALS`].
    TooMany,
}

impl fmt::Display for RenewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RenewError::NotLive => "There is no such session.",
            RenewError::Ended(end) => return write!(f, "The session is over: {}.", end.refusal().message),
            RenewError::OtherCaller => {
                "The new token must be of the session's caller: the same principal and kind, through the same application."
            }
            RenewError::Older => "The new token is older than the one that the session has.",
            RenewError::Expired => "The new token has expired.",
            RenewError::Refused(end) => match &**end {
                PermitEnd::Denied { by } => return f.write_str(&sentence(&words::denied(by).message)),
                _ => "With what the new token proves, no grant stands behind the session.",
            },
            RenewError::FewerGroups => {
                "The new token does not prove all groups by which the session's operations are judged."
            }
            RenewError::TooMany => "This session has had as many tokens as one may have.",
        })
    }
}

impl std::error::Error for RenewError {}

impl Permit {
    /// Lets a newer token count in the place of the one before: the permit ends with it, with its window, or with its
    /// hours.
    ///
    /// # Errors
    /// Why it does not count. Then nothing has changed.
    pub fn renew(&self, identity: &Identity) -> Result<Renewal, RenewError> {
        let proof = &self.inner;
        let renewal = proof.grants.live.renew(proof.number, identity, &proof.grants)?;
        if renewal.token == NewToken::Taken {
            proof.renewed.send_replace(());
        }
        Ok(renewal)
    }

    /// What the tokens proved that have come to count, but for the first `known` of them.
    pub fn renewals(&self, known: usize) -> Vec<Identity> {
        self.inner.grants.live.renewals(self.inner.number, known)
    }

    /// Resolves when more than `known` tokens have come to count.
    pub async fn renewed(&self, known: usize) {
        let mut renewed = self.inner.renewed.subscribe();
        loop {
            renewed.mark_unchanged();
            if !self.renewals(known).is_empty() {
                return;
            }
            // The sender lives in this permit.
            let _ = renewed.changed().await;
        }
    }
}

impl Live {
    fn renew(&self, number: u64, identity: &Identity, grants: &Inner) -> Result<Renewal, RenewError> {
        let mut permits = self.permits();
        let watched = permits.by_number.get_mut(&number).ok_or(RenewError::NotLive)?;
        let now = grants.clock.now();
        if let Some(end) = watched.has_ended(now) {
            return Err(RenewError::Ended(Box::new(end)));
        }
        if watched.identity == *identity {
            return Ok(Renewal { ends: watched.ends_at(), token: NewToken::Same });
        }
        may_follow(&watched.identity, identity, now)?;
        if watched.before.len() >= MAX_RENEWALS {
            return Err(RenewError::TooMany);
        }
        let policy = grants.policy.load();
        let occasion = Occasion { at: now, from: watched.from };
        let backed = policy.backing(identity.facts(), &watched.window, &occasion);
        // Hours that another policy made longer since then are for who connects again.
        let until = earlier(watched.until, backed.and_then(|backed| backed.until));
        let as_new = watched.with(identity.clone(), until, now);
        let end = grants.denied(identity, now).or_else(|| policy.no_longer_gives(&as_new, now));
        if let Some(end) = end {
            return Err(RenewError::Refused(Box::new(end)));
        }
        let (had, has) = (policy.aliases(watched.identity.facts()), policy.aliases(identity.facts()));
        if had.iter().any(|alias| !has.contains(alias)) {
            return Err(RenewError::FewerGroups);
        }
        if as_new.ends_at() != watched.ends_at() {
            watched.since = now;
        }
        let before = std::mem::replace(&mut watched.identity, identity.clone());
        watched.until = until;
        watched.before.push(before);
        Ok(Renewal { ends: watched.ends_at(), token: NewToken::Taken })
    }

    fn renewals(&self, number: u64, known: usize) -> Vec<Identity> {
        let permits = self.permits();
        let all = permits.by_number.get(&number).into_iter().flat_map(Watched::identities);
        all.skip(1).skip(known).cloned().collect()
    }
}

/// Whether a token may come after another. Nothing is compared loosely: who is the same in other words connects again.
fn may_follow(before: &Identity, next: &Identity, now: Timestamp) -> Result<(), RenewError> {
    let (before, next) = (before.facts(), next.facts());
    // The principal names the provider, the tenant and the object.
    if next.principal != before.principal || next.kind != before.kind || next.actor != before.actor {
        return Err(RenewError::OtherCaller);
    }
    // What approves opens nothing, so it keeps nothing open either.
    if next.audience != before.audience {
        return Err(RenewError::OtherCaller);
    }
    if next.issued_at < before.issued_at {
        return Err(RenewError::Older);
    }
    if now >= next.expires_at {
        return Err(RenewError::Expired);
    }
    Ok(())
}
