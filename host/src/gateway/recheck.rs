//! Asks a provider again about those of its callers who are in, as often as it is configured.
//!
//! What may go wrong: the provider does not answer. Then nothing has changed: sessions go on until their own end, and the next round
//! asks again. A revocation that must hold at once is an operator's, by the deny list.

use crate::grant::Grants;
use crate::identity::{Identities, Identity};
use chaperone_core::name::ProviderName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many callers are asked about at a time: logins have most of Graph's attention.
const AT_ONCE: usize = 8;

/// Watches the callers of every provider that can be asked, until `stop`.
pub(super) fn spawn(
    identities: &Arc<Identities>,
    grants: &Grants,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    for (provider, every) in identities.rechecks() {
        let (identities, grants, stop) = (Arc::clone(identities), grants.clone(), stop.clone());
        tasks.spawn(async move {
            let _ = stop.run_until_cancelled(watch(&identities, &grants, &provider, every)).await;
        });
    }
}

async fn watch(identities: &Arc<Identities>, grants: &Grants, provider: &ProviderName, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let callers: Vec<Identity> = grants.live_callers(provider).into_values().collect();
        for some in callers.chunks(AT_ONCE) {
            look(identities, grants, some).await;
        }
    }
}

/// Asks about some callers at once, and ends what is no longer proved before others are asked about.
async fn look(identities: &Arc<Identities>, grants: &Grants, some: &[Identity]) {
    let mut looks = JoinSet::new();
    for caller in some {
        let (identities, grants, caller) = (Arc::clone(identities), grants.clone(), caller.clone());
        looks.spawn(async move {
            let groups = |provider: &_| grants.groups_of(provider);
            let standing = identities.standing(caller.facts(), &groups, grants.clock().now()).await;
            (caller.facts().principal.clone(), standing)
        });
    }
    let found: BTreeMap<_, _> = looks.join_all().await.into_iter().collect();
    // By its own facts: somebody may be in with several tokens, of which only the older ones were taken back.
    grants.end_unproved(|identity| {
        let facts = identity.facts();
        found.get(&facts.principal)?.as_ref()?.lost(facts)
    });
}
