//! Channels as they are configured.

use super::run::{Reference, StartError};
use crate::config::{self, Config};
use crate::grant::Grants;
use crate::identity::Identities;
use crate::metrics::Metrics;
use crate::notify::{ChannelConfig, LoopbackHttp, Notifier, Page, Vouch, Vouched};
use crate::state::Route;
use crate::target::SecretSource;
use chaperone_core::Timestamp;
use chaperone_core::name::Principal;
use std::sync::Arc;

/// The directories of the configured providers, for people who press a button instead of sending a token.
pub(super) struct Directories {
    pub(super) identities: Arc<Identities>,
    pub(super) grants: Grants,
}

impl Vouch for Directories {
    fn vouch<'a>(&'a self, principal: &'a Principal, now: Timestamp) -> Vouched<'a> {
        Box::pin(async move {
            let groups = |provider: &_| self.grants.groups_of(provider);
            self.identities.vouched(principal, &groups, now).await
        })
    }
}

/// What each channel is told of.
pub(super) fn routes(config: &Config) -> Vec<Route> {
    config.notify.iter().map(route).collect()
}

fn route(channel: &config::Channel) -> Route {
    let config::Channel { name, targets, events, .. } = channel;
    Route { channel: name.clone(), targets: targets.clone(), events: events.clone() }
}

/// All channels; `url` is where people reach the console.
pub(super) fn notifier(
    config: &Config,
    grants: &Grants,
    metrics: &Arc<Metrics>,
    url: &str,
) -> Result<Notifier, StartError> {
    let channels = config.notify.iter().map(channel).collect();
    let (state, clock) = (grants.state().clone(), Arc::clone(grants.clock()));
    Notifier::new(channels, state, clock, Arc::clone(metrics), Page::new(url))
        .map_err(|error| StartError::new(error, "check `notify` in the configuration"))
}

fn channel(channel: &config::Channel) -> ChannelConfig {
    let secret = |secret: &config::Secret| Box::new(Reference(secret.clone())) as Box<dyn SecretSource>;
    ChannelConfig {
        route: route(channel),
        kind: channel.kind,
        url: secret(&channel.url),
        secret: channel.secret.as_ref().map(secret),
        content: channel.content,
        people: channel.people.clone(),
        ca: channel.ca.clone(),
        loopback_http: match channel.allow_http_loopback {
            true => LoopbackHttp::Allowed,
            false => LoopbackHttp::Refused,
        },
    }
}
