//! What comes to a session besides its operations: recorded when it comes, and told to the client where its protocol has a place.

use super::{Session, Watch};
use crate::grant::{ComingEnd, EndsWith};
use crate::recorder::EventKind;
use chaperone_core::Timestamp;
use chaperone_core::window::between;
use serde_json::json;

/// Something about the session itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Another token counts.
    Renewed,
    /// The session ends soon.
    EndsSoon(ComingEnd),
    /// Nobody looks for news any more.
    Lost,
}

/// What the client is told, in the form of a [`Refusal`](chaperone_core::refusal::Refusal)'s texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What is.
    pub message: String,
    /// More of it.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// What was noted already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noted {
    /// Tokens that came after the first.
    renewals: usize,
    /// The end that the client was told of.
    told: Option<Timestamp>,
    /// The watch over news failed: said once, and not watched again.
    lost: bool,
}

impl Session {
    /// Resolves when there is something that was not noted yet.
    pub fn news(&self) -> Watch<News> {
        let (permit, noted) = (self.permit.clone(), self.noted);
        let news = async move {
            if noted.lost {
                std::future::pending::<()>().await;
            }
            tokio::select! {
                () = permit.renewed(noted.renewals) => News::Renewed,
                end = permit.ends_soon(noted.told) => News::EndsSoon(end),
            }
        };
        Watch::over(news, || News::Lost)
    }

    /// Records it; [`Session::commit`] comes before the client is told what it shall be told.
    pub fn note_news(&mut self, news: News) -> Option<Warning> {
        match news {
            News::Renewed => self.note_renewals(),
            News::EndsSoon(end) => return self.note_coming_end(end),
            News::Lost => {
                tracing::error!(session = %self.recording.id(), "nobody looks any more for what the client should be told");
                self.noted.lost = true;
            }
        }
        None
    }

    /// Records the tokens that have come to count: their ids, never one of them.
    pub(super) fn note_renewals(&mut self) {
        for identity in self.permit.renewals(self.noted.renewals) {
            let facts = identity.facts();
            let ends: Timestamp = facts.expires_at.min(self.permit.ends_at_latest());
            let body = json!({
                "what": "the session has a new token",
                "credential_id": facts.credential_id,
                "issued_at": facts.issued_at,
                "expires_at": facts.expires_at,
                "ends": ends,
            });
            self.note(EventKind::Warning, 0, &body);
            self.noted.renewals += 1;
        }
    }

    fn note_coming_end(&mut self, end: ComingEnd) -> Option<Warning> {
        // While it waited for a place, a newer token may have moved the end.
        if self.permit.coming_end() != Some(end) {
            return None;
        }
        self.noted.told = Some(end.at);
        let body = json!({ "what": "the client was told that the session ends soon", "ends": end.at });
        self.note(EventKind::Warning, 0, &body);
        let target = self.permit.target();
        let rest = between(self.grants.clock().now(), end.at).as_secs();
        let (why, hint) = match end.with {
            EndsWith::Token => {
                let next = self.grants.how_to_renew(self.recording.id());
                (
                    "when your token expires".to_owned(),
                    format!("Get a new token and give it to the session: {next}"),
                )
            }
            EndsWith::Hours => (
                format!("when the hours in which you may use {target} are over"),
                "No token makes them longer. Connect again when they have begun.".to_owned(),
            ),
            EndsWith::Window => {
                let next = self.grants.next_step(target);
                let hint = format!("No window is made longer. When it has closed, request another: {next}");
                (format!("when your window on {target} closes"), hint)
            }
        };
        Some(Warning {
            message: format!("this session ends in {rest} seconds, {why}"),
            detail: format!("It ends at {}.", end.at.strftime("%Y-%m-%d %H:%M:%SZ")),
            hint,
        })
    }
}
