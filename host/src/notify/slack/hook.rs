//! `POST /api/v1/hooks/slack/{name}`: a button was pressed.
//!
//! The signature says that it comes from Slack, and Slack says which of its users it was. That is no identity: the configuration says whose
//! principal that is, and somebody has to vouch for that person's groups as they are today ([`Vouch`]). What they then may is the grant module's
//! to say, as by every other road: never on their own request, never twice, never an agent.
//!
//! Slack waits for three seconds, and vouching may take longer. So the answer is empty and at once, and what came of it is sent to the
//! address that came with the press, if that is on the server that the channel's own URL names.
//!
//! What may go wrong: whoever has the signing secret can press any button as anybody who is mapped. So the secret is a
//! channel's own, a channel decides only on the targets that it is told of, and each press leaves an audit event before it decides.

use super::click::{Click, ClickError, verify};
use super::{Buttons, ROOM, answer, message};
use crate::grant::{AskError, Grants};
use crate::identity::Identity;
use crate::notify::message::{Page, card};
use crate::notify::{Channel, Kind};
use crate::post::Message;
use crate::state::{Audit, StoredApproval};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use chaperone_core::Timestamp;
use chaperone_core::approval::{ApprovalId, State as Standing, Verdict};
use chaperone_core::name::Principal;
use chaperone_core::refusal::Refusal;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The longest body, in bytes: the press comes with the whole message, as a form of JSON.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Presses that are being answered at once.
const AT_ONCE: usize = 32;

/// A future that a trait object returns.
pub type Vouched<'a> = Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send + 'a>>;

/// Says who somebody is today, without a token of theirs.
pub trait Vouch: Send + Sync {
    /// The identity of this principal, with the groups that they are in now.
    ///
    /// # Errors
    /// What the person is told instead.
    fn vouch<'a>(&'a self, principal: &'a Principal, now: Timestamp) -> Vouched<'a>;
}

/// What the hook stands on.
#[derive(Clone)]
pub(in crate::notify) struct Hook {
    pub(in crate::notify) channels: Arc<[Arc<Channel>]>,
    pub(in crate::notify) grants: Grants,
    pub(in crate::notify) vouch: Arc<dyn Vouch>,
    pub(in crate::notify) page: Page,
    places: Arc<Semaphore>,
}

impl Hook {
    pub(in crate::notify) fn new(
        channels: Arc<[Arc<Channel>]>,
        grants: Grants,
        vouch: Arc<dyn Vouch>,
        page: Page,
    ) -> Self {
        Hook { channels, grants, vouch, page, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The one path; a GET decides nothing.
    pub(in crate::notify) fn router(self) -> Router {
        Router::new()
            .route("/api/v1/hooks/slack/{name}", post(pressed))
            .layer(axum::middleware::map_response(crate::api::harden))
            .with_state(self)
    }
}

/// Says the same to an unknown channel and to a wrong signature: which channels there are cannot be probed.
async fn pressed(State(hook): State<Hook>, Path(name): Path<String>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let read = axum::body::to_bytes(body, MAX_BODY_BYTES);
    let body = match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE,
        Err(_) => return StatusCode::REQUEST_TIMEOUT,
    };
    let is_it =
        |channel: &&Arc<Channel>| channel.config.kind == Kind::Slack && channel.name().as_str() == name;
    let Some(channel) = hook.channels.iter().find(is_it).cloned() else { return StatusCode::UNAUTHORIZED };
    let now = hook.grants.clock().now();
    let click = match from_slack(&channel, &parts.headers, &body, now) {
        Ok(click) => click,
        Err(error) => {
            tracing::warn!(channel = %channel.name(), %error, "a press of a button was refused");
            return match error {
                ClickError::Form | ClickError::Payload => StatusCode::BAD_REQUEST,
                _ => StatusCode::UNAUTHORIZED,
            };
        }
    };
    let Some((id, verdict)) = click.decision else { return StatusCode::OK };
    // Slack shows its user that it failed.
    let Ok(place) = Arc::clone(&hook.places).try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    tokio::spawn(async move {
        let said = hook.decide(&channel, &click.user, id, verdict, now).await;
        let said = said.unwrap_or_else(|why| answer(&why));
        reply(&channel, &click.answer_to, &said).await;
        drop(place);
    });
    StatusCode::OK
}

fn from_slack(
    channel: &Channel,
    headers: &HeaderMap,
    body: &Bytes,
    now: Timestamp,
) -> Result<Click, ClickError> {
    // Fails closed: without a secret nothing is from Slack.
    let secret = channel.config.secret.as_ref().and_then(|secret| secret.read().ok());
    let secret = secret.ok_or(ClickError::Signature)?;
    // Of two headers of one name, which is meant is not ours to guess.
    let header = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    let (time, signature) = (header("x-slack-request-timestamp"), header("x-slack-signature"));
    verify(secret.expose_secret().as_bytes(), time, signature, body, now)?;
    Click::read(body)
}

impl Hook {
    /// Decides for who has pressed; what Slack is told.
    async fn decide(
        &self,
        channel: &Channel,
        user: &str,
        id: ApprovalId,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<Value, String> {
        let open = format!("Open the page to decide: {}", self.page.of(id));
        let Some(principal) = channel.config.people.get(user) else {
            return Err(format!("The gateway does not know who you are. {open}"));
        };
        let nothing = || AskError::NotFound.to_string();
        // Before anybody is vouched for, so that a channel is of no use for what it is not told of.
        let known =
            self.grants.state().approval(id).await.map_err(|error| AskError::from(error).to_string())?;
        let known =
            known.filter(|stored| channel.config.route.covers(stored.approval.matter().target().as_str()));
        let stored = known.ok_or_else(nothing)?;
        let identity = self.vouch.vouch(principal, now).await.map_err(|refusal| refusal.to_string())?;
        // It may have taken long: a deadline that has passed meanwhile has passed.
        let now = self.grants.clock().now();
        // Who was vouched for has to be who is mapped: fails closed.
        if identity.facts().principal != *principal {
            return Err(nothing());
        }
        self.grants.admit(&identity, now).map_err(|refusal| refusal.to_string())?;
        self.audit(channel, user, principal, &stored, verdict, now).await?;
        let decided = self.grants.decide(&identity, id, verdict, "", now).await;
        let decided = decided.map_err(|error| format!("{error} {open}"))?;
        Ok(self.decided(channel, &decided, now))
    }

    /// By which road a decision came; without it there is none.
    async fn audit(
        &self,
        channel: &Channel,
        user: &str,
        principal: &Principal,
        stored: &StoredApproval,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<(), String> {
        let audit = Audit {
            event: "slack.pressed",
            actor: principal.as_str(),
            subject: &stored.id.to_string(),
            target: stored.approval.matter().target().as_str(),
            detail: json!({ "channel": channel.name(), "user": user, "verdict": verdict }),
        };
        let kept = self.grants.state().audit(audit, now).await;
        kept.map_err(|error| AskError::from(error).to_string())
    }

    /// The message itself changes once nobody can decide any more.
    fn decided(&self, channel: &Channel, stored: &StoredApproval, now: Timestamp) -> Value {
        if stored.approval.state(now) == Standing::Pending {
            let missing = stored.approval.missing();
            return answer(&format!("Counted. Persons who still have to say yes: {missing}."));
        }
        let card = card(stored, &self.page, channel.config.content, ROOM, now);
        let mut message = message(&card, &stored.id.to_string(), Buttons::Open);
        if let Some(members) = message.as_object_mut() {
            members.insert("replace_original".into(), true.into());
        }
        message
    }
}

/// Sends an answer, if it goes where the channel's own messages go.
async fn reply(channel: &Channel, to: &str, said: &Value) {
    let sent = async {
        let own = channel.sender.address(channel.config.url.as_ref()).map_err(|error| error.to_string())?;
        let to = channel.sender.checked(to).map_err(|error| error.to_string())?;
        if to.origin() != own.origin() {
            return Err("its address is not on the server of the channel's URL".to_owned());
        }
        let message = Message::json(said.to_string().into_bytes());
        channel.sender.post_to(to, message).await.map_err(|error| error.to_string())
    };
    if let Err(error) = sent.await {
        tracing::warn!(channel = %channel.name(), error, "Slack was not told what came of a press");
    }
}
