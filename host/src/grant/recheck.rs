//! Callers who are in, when their provider is asked about them again.
//!
//! Tokens cannot be revoked, so what they proved may be over long before they are. Who asks the provider is no matter of this module:
//! it says who is in, and ends what is no longer proved.
//!
//! What may go wrong: somebody is let in by an older answer while a newer one is being gone by. They are met in the next round.

use super::{Grants, PermitEnd};
use crate::identity::Identity;
use chaperone_core::name::{Principal, ProviderName};
use std::collections::BTreeMap;

impl Grants {
    /// The callers of live permits who came by this provider, each principal once.
    pub fn live_callers(&self, provider: &ProviderName) -> BTreeMap<Principal, Identity> {
        let live = self.inner.live.identities().into_iter();
        let theirs = live.filter(|identity| identity.facts().provider == *provider);
        theirs.map(|identity| (identity.facts().principal.clone(), identity)).collect()
    }

    /// Ends every live permit for whose caller there is something that is no longer proved.
    pub fn end_unproved(&self, lost: impl Fn(&Identity) -> Option<&'static str>) {
        self.inner.live.review(|watched| {
            let what = lost(&watched.identity)?;
            tracing::info!(principal = %watched.identity.facts().principal, what, "a permit is no longer proved");
            Some(PermitEnd::NoLongerProved { what })
        });
    }
}
