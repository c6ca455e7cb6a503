//! Telling people that something waits for them, and how it ended: by a signed webhook, Microsoft Teams or Slack.
//!
//! What is to be told stands in the outbox ([`crate::state`]), written with what it tells of. Here it is claimed when it is
//! due, worded as the approval stands now, and sent. A message leaves the house, so it says who, what target and until when,
//! and links to the page; what agents and people have written goes only where the configuration says `content: full`.
//!
//! What may go wrong: a receiver that is down, slow or hostile. Each channel has a task of its own, a message is tried for a day with
//! growing pauses, no answer is read and no redirect followed. Messages are told at least once: a receiver knows repeated ones
//! by their id. Nothing here lets anybody in: who is told may be wrong, who decides is the grant module's business.

use crate::grant::{Clock, Grants};
use crate::metrics::Metrics;
use crate::post::{Connections, Message, SendError, Sender, chance, pause};
use crate::state::{Delivery, Route, State, StateError};
use crate::target::SecretSource;
use chaperone_core::name::{ChannelName, Principal};
use chaperone_core::window::after;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod message;
mod slack;
mod teams;
#[cfg(test)]
pub(crate) mod tests;
mod webhook;

pub use crate::post::LoopbackHttp;
pub use message::Page;
pub use slack::hook::{Vouch, Vouched};

/// How often each channel looks for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Messages of one channel that are sent at once.
const AT_ONCE: i64 = 8;

/// How long a claim holds: longer than an attempt may take, the store's answers included.
const CLAIM: Duration = Duration::from_secs(60);

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How often what is old is removed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// What a batch that is being sent gets when the gateway stops; what it does not finish is due again when its claim ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What a channel speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Signed JSON.
    Webhook,
    /// A card for a workflow.
    Teams,
    /// A message with buttons.
    Slack,
}

/// How much a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Who, what target, until when, and a link.
    Link,
    /// Also what agents and people have written.
    Full,
}

/// A channel as it is configured.
pub struct ChannelConfig {
    /// What it is told of, and its name.
    pub route: Route,
    /// What it speaks.
    pub kind: Kind,
    /// Where messages go. Read for each message, so that a rotated one counts without a restart.
    pub url: Box<dyn SecretSource>,
    /// What signs.
    pub secret: Option<Box<dyn SecretSource>>,
    /// Who a user of Slack is.
    pub people: BTreeMap<String, Principal>,
    /// How much its messages say.
    pub content: Content,
    /// PEM: who may have signed the receiver's certificate; none: the machine's authorities.
    pub ca: Option<PathBuf>,
    /// See [`LoopbackHttp`].
    pub loopback_http: LoopbackHttp,
}

/// Why a channel cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("channel `{channel}`: {why}")]
pub struct ChannelError {
    channel: ChannelName,
    why: String,
}

/// A channel that can be sent to.
struct Channel {
    config: ChannelConfig,
    sender: Sender,
}

impl Channel {
    fn new(config: ChannelConfig) -> Result<Self, ChannelError> {
        let sender = Sender::new(config.ca.as_deref(), config.loopback_http, Connections::New)
            .map_err(|why| ChannelError { channel: config.route.channel.clone(), why })?;
        Ok(Channel { config, sender })
    }

    fn name(&self) -> &ChannelName {
        &self.config.route.channel
    }
}

/// All channels, and what they stand on.
pub struct Notifier {
    channels: Vec<Arc<Channel>>,
    around: Arc<Around>,
}

struct Around {
    state: State,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    page: Page,
}

impl Notifier {
    /// Prepares the channels; nothing is sent yet.
    ///
    /// # Errors
    /// The first channel whose authorities cannot be used.
    pub fn new(
        channels: Vec<ChannelConfig>,
        state: State,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        page: Page,
    ) -> Result<Self, ChannelError> {
        let channels = channels.into_iter().map(|config| Channel::new(config).map(Arc::new));
        let around = Arc::new(Around { state, clock, metrics, page });
        Ok(Notifier { channels: channels.collect::<Result<_, _>>()?, around })
    }

    /// Where Slack tells which buttons were pressed; `vouch` says who the people are today.
    pub fn hooks(&self, grants: Grants, vouch: Arc<dyn Vouch>) -> axum::Router {
        let channels = self.channels.clone().into();
        slack::hook::Hook::new(channels, grants, vouch, self.around.page.clone()).router()
    }

    /// Sends what is due until `stop`, on the runtime that this is called on.
    pub fn start(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        for channel in &self.channels {
            let (around, channel, stop) = (Arc::clone(&self.around), Arc::clone(channel), stop.clone());
            tasks.spawn(async move { around.keep_sending(&channel, &stop).await });
        }
        // Also without channels: others, or an earlier configuration, may have left rows.
        let (around, stop) = (Arc::clone(&self.around), stop.clone());
        tasks.spawn(async move {
            let _ = stop.run_until_cancelled(around.keep_pruning()).await;
        });
    }
}

impl Around {
    async fn keep_sending(self: &Arc<Self>, channel: &Arc<Channel>, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let given_up = async {
                stop.cancelled().await;
                tokio::time::sleep(STOP_TIMEOUT).await;
            };
            let sent = tokio::select! {
                sent = self.send_due(channel) => sent,
                () = given_up => return,
            };
            match sent {
                Ok(sent) if i64::try_from(sent).is_ok_and(|sent| sent >= AT_ONCE) => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(channel = %channel.name(), %error, "the outbox did not answer"),
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
        }
    }

    /// One look: sends what is due, [`AT_ONCE`] at most, and says how many that were.
    async fn send_due(self: &Arc<Self>, channel: &Arc<Channel>) -> Result<usize, StateError> {
        let now = self.clock.now();
        let end = after(now, CLAIM).unwrap_or(now);
        let claimed = self.state.claim_deliveries(channel.name(), AT_ONCE, now, end).await?;
        let count = claimed.len();
        let mut sending = JoinSet::new();
        for delivery in claimed {
            let (around, channel) = (Arc::clone(self), Arc::clone(channel));
            sending.spawn(async move { around.deliver(&channel, &delivery).await });
        }
        while let Some(done) = sending.join_next().await {
            if let Ok(Err(error)) = done {
                // Its claim ends, and it is sent once more: at least once.
                tracing::warn!(channel = %channel.name(), %error, "what became of a message could not be noted");
            }
        }
        Ok(count)
    }

    async fn deliver(&self, channel: &Channel, delivery: &Delivery) -> Result<(), StateError> {
        let outcome = self.attempt(channel, delivery).await?;
        let now = self.clock.now();
        let Err(error) = outcome else {
            self.metrics.deliveries.count(crate::metrics::DELIVERED);
            return self.state.delivered(delivery.id, now).await;
        };
        let pause = pause(delivery.attempts, LONGEST_PAUSE, chance()).max(error.wait().min(LONGEST_PAUSE));
        let next = after(now, pause).filter(|next| error.may_pass() && *next < delivery.ends());
        let outcome = if next.is_some() { crate::metrics::RETRIED } else { crate::metrics::FAILED };
        self.metrics.deliveries.count(outcome);
        // The first and the last attempt: those in between say the same, and the list has the newest.
        if next.is_none() || delivery.attempts == 1 {
            let (channel, id, approval) = (channel.name(), delivery.id, delivery.approval);
            tracing::warn!(%channel, delivery = %id, %approval, outcome, %error, "a message was not delivered");
        }
        self.state.not_delivered(delivery, &error.to_string(), next, now).await
    }

    /// Words the message as things stand now, and sends it.
    async fn attempt(
        &self,
        channel: &Channel,
        delivery: &Delivery,
    ) -> Result<Result<(), SendError>, StateError> {
        let Some(stored) = self.state.approval(delivery.approval).await? else {
            return Ok(Err(SendError::Gone));
        };
        let now = self.clock.now();
        let config = &channel.config;
        let message = match config.kind {
            Kind::Webhook => {
                let body = webhook::body(delivery, &stored, &self.page, config.content, now);
                webhook::signed(config.secret.as_deref(), delivery, body, now)
            }
            Kind::Teams => {
                let card = message::card(&stored, &self.page, config.content, teams::ROOM, now);
                Ok(Message::json(teams::body(&card)))
            }
            Kind::Slack => {
                let card = message::card(&stored, &self.page, config.content, slack::ROOM, now);
                // Buttons that nobody could use would only teach people to ignore the answer.
                let nobody = config.people.is_empty();
                let buttons = if nobody { slack::Buttons::Open } else { slack::Buttons::Decide };
                let message = slack::message(&card, &stored.id.to_string(), buttons);
                Ok(Message::json(message.to_string().into_bytes()))
            }
        };
        Ok(match message {
            Ok(message) => channel.sender.post(config.url.as_ref(), message).await,
            Err(error) => Err(error),
        })
    }

    async fn keep_pruning(&self) {
        loop {
            match self.state.prune_deliveries(self.clock.now()).await {
                Ok(0) => {}
                Ok(given_up) => {
                    tracing::warn!(given_up, "messages to channels that nobody sends to were given up");
                }
                Err(error) => tracing::warn!(%error, "old messages could not be removed"),
            }
            tokio::time::sleep(PRUNE_EVERY).await;
        }
    }
}
