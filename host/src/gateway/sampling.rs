//! Takes a sample of the gateway's numbers from time to time, for the console's plots.

use super::LiveRegistry;
use crate::grant::Grants;
use crate::metrics::history::{HOOKS, History, SAMPLE_EVERY, Sample};
use crate::session::Decisions;
use chaperone_hooks::{Hook, Plugin, Times};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What samples are taken of.
pub(super) struct Sampler {
    pub(super) live: Arc<LiveRegistry>,
    pub(super) grants: Grants,
    pub(super) plugins: Vec<Arc<Plugin>>,
}

/// What was read last, since counters only rise.
#[derive(Default)]
struct Before {
    decided: Decisions,
    times: [Times; HOOKS],
}

impl Sampler {
    /// Goes on until the gateway stops.
    pub(super) async fn sample(self, history: Arc<History>, stop: CancellationToken) {
        let mut before = Before { decided: self.live.decided(), times: self.times() };
        loop {
            history.note(self.take(&mut before).await);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SAMPLE_EVERY) => {}
            }
        }
    }

    /// The calls of each hook, of all plugins.
    fn times(&self) -> [Times; HOOKS] {
        Hook::ALL.map(|hook| {
            let of = |plugin: &Arc<Plugin>| plugin.metrics(hook).read().times;
            self.plugins.iter().map(of).fold(Times::default(), |all, one| all.and(&one))
        })
    }

    async fn take(&self, before: &mut Before) -> Sample {
        let now = self.grants.clock().now();
        let open = self.grants.state().open_counts(now).await;
        let waiting = open.ok().and_then(|open| u64::try_from(open.requests + open.holds).ok());
        let (decided, times) = (self.live.decided(), self.times());
        let old = std::mem::replace(before, Before { decided, times: times.clone() });
        let mut hooks = [None; HOOKS];
        for ((hook, now), earlier) in hooks.iter_mut().zip(&times).zip(&old.times) {
            *hook = now.since(earlier).percentile(99);
        }
        Sample { at: now, live: self.live.count(), decided: decided.since(old.decided), waiting, hooks }
    }
}
