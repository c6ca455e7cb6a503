//! Streams as they are configured.

use super::run::{Reference, StartError};
use crate::config::{self, Config};
use crate::grant::Grants;
use crate::metrics::{Lag, Metrics};
use crate::post::LoopbackHttp;
use crate::stream::{Stream, StreamConfig, consumer};
use crate::target::SecretSource;
use std::sync::Arc;

/// A stream, and where it says how far it is behind.
pub(super) type Fed = (Arc<Stream>, Arc<Lag>);

/// All streams.
pub(super) fn streams(config: &Config, grants: &Grants, metrics: &Metrics) -> Result<Vec<Fed>, StartError> {
    let start = |one: &config::Stream| {
        let lag = metrics.stream(consumer(&one.name));
        let stream = Stream::new(stream(one), grants.state().clone(), Arc::clone(&lag));
        let stream =
            stream.map_err(|error| StartError::new(error, "check `streams` in the configuration"))?;
        Ok((Arc::new(stream), lag))
    };
    config.streams.iter().map(start).collect()
}

fn stream(stream: &config::Stream) -> StreamConfig {
    let token = stream.token.clone();
    StreamConfig {
        name: stream.name.clone(),
        to: stream.to.clone(),
        format: stream.format,
        content: stream.content,
        of: stream.of.clone(),
        token: token.map(|token| Box::new(Reference(token)) as Box<dyn SecretSource>),
        ca: stream.ca.clone(),
        loopback_http: match stream.allow_http_loopback {
            true => LoopbackHttp::Allowed,
            false => LoopbackHttp::Refused,
        },
    }
}
