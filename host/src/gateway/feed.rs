//! The search index, fed from this gateway's recordings.

use crate::feed::{Feed, Index};
use crate::grant::Grants;
use crate::metrics::Metrics;
use crate::recorder::Recorder;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Indexes until `stop`, on the runtime that this is called on; nothing where the configuration says so.
pub(super) async fn start(
    grants: &Grants,
    recorder: &Recorder,
    metrics: &Metrics,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let state = grants.state().clone();
    let Some(index) = Index::new(state.clone()) else { return };
    if let Err(error) = state.forget_consumer(index.other()).await {
        tracing::warn!(%error, "what an earlier configuration has indexed may not be indexed anew");
    }
    let (clock, lag) = (Arc::clone(grants.clock()), Arc::clone(&metrics.search));
    Feed::new(recorder.library(), state, clock, lag, Arc::new(index)).start(tasks, stop);
}
