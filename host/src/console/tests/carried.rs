//! Sessions as the console sees them, without any.

use crate::api::{EndOutcome, LiveSession, LiveSessions};
use crate::grant::{RenewError, Renewal};
use crate::identity::Identity;
use crate::session::Activities;
use crate::state::tests::{at, person, target};
use chaperone_core::identity::{Caller, CallerKind};
use chaperone_core::name::{Principal, SessionId, WindowId};
use std::sync::Mutex;

/// What a gateway would carry.
#[derive(Default)]
pub(super) struct Carried(pub(super) Mutex<Vec<LiveSession>>);

impl Carried {
    /// One session more, of an agent that calls itself `name`.
    pub(super) fn begin(
        &self,
        number: u128,
        name: &str,
        window: WindowId,
        activity: Activities,
    ) -> SessionId {
        let facts = person("a1", CallerKind::Agent, &[]);
        let id = SessionId::new(uuid::Uuid::from_u128(number));
        self.0.lock().unwrap().push(LiveSession {
            id,
            principal: facts.principal.clone(),
            caller: Caller { display_name: Some(name.into()), ..(&facts).into() },
            target: target("db"),
            window,
            started: at(0),
            ends: at(900),
            activity,
        });
        id
    }
}

impl LiveSessions for Carried {
    fn list(&self) -> Vec<LiveSession> {
        self.0.lock().unwrap().clone()
    }

    fn end(&self, id: SessionId, _by: &Principal, _reason: &str) -> EndOutcome {
        let mut sessions = self.0.lock().unwrap();
        let before = sessions.len();
        sessions.retain(|session| session.id != id);
        if sessions.len() < before { EndOutcome::Ended } else { EndOutcome::NotLive }
    }

    fn renew(&self, _: SessionId, _: &Identity) -> Result<Renewal, RenewError> {
        Err(RenewError::NotLive)
    }
}
