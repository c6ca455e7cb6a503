//! What waits for people, told as it happens: server-sent events (HTML standard, section 9.2).
//!
//! A stream begins with all that waits and concerns its caller, then comes `ready`, and then what changes. It is drawn from
//! lists, so that nothing is told to who could not list it, and what was missed is told by the next look. It ends with
//! its token. What may go wrong: a reader that does not read. Then nothing is looked up for it, and it holds its one place.

use super::Api;
use super::caller::Caller;
use super::problem::Problem;
use super::views::ApprovalView;
use super::waiters::Waiter;
use crate::grant::{Grants, LOOK_EVERY};
use crate::identity::Identity;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chaperone_core::approval::{ApprovalId, State as Standing};
use chaperone_core::refusal::RefusalCode;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;

/// How often an idle stream shows that it lives: proxies cut what is silent for a minute.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How often the store is asked what other gateways have changed.
const LOOK: Duration = LOOK_EVERY.saturating_mul(2);

/// `GET /api/v1/events`.
pub(super) async fn events(State(api): State<Api>, caller: Caller) -> Result<Response, Problem> {
    let Some(place) = api.waiters.enter(&caller.identity.facts().principal) else {
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Err(Problem::new(status, "limit-reached", "Too many wait already, of all or of you.")
            .detail("Close another stream or long poll, and try again."));
    };
    let turns = Turns::new(&api.grants);
    let events = Events {
        api,
        identity: caller.identity,
        turns,
        told: None,
        queue: VecDeque::new(),
        over: false,
        _place: place,
    };
    let stream = futures_util::stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// When a stream looks: at once the first time, then whenever something may have changed, here or on another gateway.
pub(crate) struct Turns {
    changed: watch::Receiver<u64>,
    begun: bool,
}

impl Turns {
    pub(crate) fn new(grants: &Grants) -> Self {
        Turns { changed: grants.changes(), begun: false }
    }

    /// Resolves when it is time to look.
    pub(crate) async fn next(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = self.changed.changed() => {}
            }
        }
        // Before the look: what changes during it is looked at again.
        self.changed.mark_unchanged();
    }
}

/// One stream.
struct Events {
    api: Api,
    identity: Identity,
    turns: Turns,
    /// What waits, with the number of its decisions; none before the first look.
    told: Option<BTreeMap<ApprovalId, usize>>,
    queue: VecDeque<Event>,
    over: bool,
    _place: Waiter,
}

impl Events {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            self.turns.next().await;
            if let Err(error) = self.look().await {
                self.end(&error);
            }
        }
    }

    async fn look(&mut self) -> Result<(), Problem> {
        let now = self.api.grants.clock().now();
        if now >= self.identity.facts().expires_at {
            let code = RefusalCode::CredentialExpired.as_str();
            return Err(Problem::new(StatusCode::UNAUTHORIZED, code, "Your token has expired."));
        }
        let groups = |provider: &_| self.api.grants.groups_of(provider);
        let identity = self.api.identities.complete(self.identity.clone(), &groups, now).await?;
        let waits = self.api.grants.concerns(&identity).await?;
        let before = self.told.take();
        let known = before.clone().unwrap_or_default();
        let mut told = BTreeMap::new();
        for (id, stored) in waits {
            let decisions = stored.approval.decisions().len();
            told.insert(id, decisions);
            match known.get(&id) {
                Some(count) if *count == decisions => {}
                Some(_) => self.tell("decided", &ApprovalView::of(stored, None, now)),
                None => self.tell("asked", &ApprovalView::of(stored, None, now)),
            }
        }
        for id in known.into_keys().filter(|id| !told.contains_key(id)) {
            match self.api.grants.ended(&identity, id).await? {
                // It goes on, but not with this caller.
                Some(stored) if stored.approval.state(now) != Standing::Pending => {
                    let window = match stored.window {
                        None => None,
                        Some(window) => self.api.grants.window_opened(window).await?,
                    };
                    self.tell("settled", &ApprovalView::of(stored, window, now));
                }
                _ => self.tell("gone", &json!({ "id": id })),
            }
        }
        if before.is_none() {
            self.tell("ready", &json!({}));
        }
        self.told = Some(told);
        Ok(())
    }

    fn tell(&mut self, name: &'static str, data: &impl serde::Serialize) {
        match Event::default().event(name).json_data(data) {
            Ok(event) => self.queue.push_back(event),
            // Never told by halves: whoever listens begins anew.
            Err(_) => self.over = true,
        }
    }

    /// The last word says why, as an answer would.
    fn end(&mut self, problem: &Problem) {
        self.over = true;
        if let Ok(event) = Event::default().event("end").json_data(problem) {
            self.queue.push_back(event);
        }
    }
}
