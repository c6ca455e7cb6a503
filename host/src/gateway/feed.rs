//! Who is told what was done: the search index and the streams, each fed from every folder that this gateway records to.
//!
//! What was done while the glass was broken is what people look for first, so that folder is followed as well. Its feeds measure
//! their lag apart: the disk that has failed would hide what the other one does.

use super::Gateway;
use super::stream::Fed;
use crate::feed::{Consumer, Feed, Index};
use crate::metrics::Lag;
use crate::recorder::Recorder;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Indexes, where the configuration does not forbid it, and streams until `stop`, on the runtime that this is called on.
pub(super) async fn start(
    gateway: &Gateway,
    streams: Vec<Fed>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let state = gateway.grants.state();
    let mut consumers: Vec<(String, Arc<dyn Consumer>, Arc<Lag>)> = Vec::new();
    if let Some(index) = Index::new(state.clone()) {
        if let Err(error) = state.forget_consumer(index.other()).await {
            tracing::warn!(%error, "what an earlier configuration has indexed may not be indexed anew");
        }
        consumers.push(("search".to_owned(), Arc::new(index), Arc::clone(&gateway.metrics.search)));
    }
    for (stream, lag) in streams {
        consumers.push((stream.name().to_owned(), stream, lag));
    }
    for (name, consumer, lag) in consumers {
        if let Some(glass) = &gateway.break_glass {
            let apart = gateway.metrics.stream(format!("break-glass:{name}"));
            follow(gateway, &glass.recorder, (Arc::clone(&consumer), apart)).start(tasks, stop);
        }
        follow(gateway, &gateway.recorder, (consumer, lag)).start(tasks, stop);
    }
}

fn follow(gateway: &Gateway, recorder: &Recorder, (consumer, lag): (Arc<dyn Consumer>, Arc<Lag>)) -> Feed {
    let (state, clock) = (gateway.grants.state().clone(), Arc::clone(gateway.grants.clock()));
    Feed::new(recorder.library(), state, clock, lag, consumer)
}
