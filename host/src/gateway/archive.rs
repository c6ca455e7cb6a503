//! The store outside, fed from this gateway's recordings.

use crate::archive::Uploader;
use crate::config::Config;
use crate::feed::{Consumer, Index};
use crate::grant::Grants;
use crate::metrics::Metrics;
use crate::recorder::Recorder;
use crate::stream::consumer;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Uploads until `stop`, on the runtime that this is called on; nothing where no store is configured. A store that cannot be used keeps
/// no gateway from starting: nothing is lost, and the log and the metrics say that it waits.
pub(super) fn start(
    config: &Config,
    grants: &Grants,
    recorder: &Recorder,
    metrics: &Metrics,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let Some(store) = config.recording.store.as_ref() else { return };
    let (state, clock) = (grants.state().clone(), Arc::clone(grants.clock()));
    let uploads = Arc::clone(&metrics.uploads);
    let index = Index::new(state.clone()).map(|index| index.name().to_owned());
    let readers = config.streams.iter().map(|stream| consumer(&stream.name)).chain(index).collect();
    tracing::info!(%store, "sealed recordings are uploaded");
    Uploader::new(recorder.clone(), store.clone(), state, clock, uploads).after(readers).start(tasks, stop);
}
