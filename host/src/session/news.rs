//! What comes to a session besides its operations: recorded when it comes.

use super::{Session, Watch};
use crate::recorder::EventKind;
use chaperone_core::Timestamp;
use serde_json::json;

/// Something about the session itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Another token counts.
    Renewed,
    /// Nobody looks for news any more.
    Lost,
}

/// What was noted already.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noted {
    /// Tokens that came after the first.
    renewals: usize,
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
            permit.renewed(noted.renewals).await;
            News::Renewed
        };
        Watch::over(news, || News::Lost)
    }

    /// Records it.
    pub fn note_news(&mut self, news: News) {
        match news {
            News::Renewed => self.note_renewals(),
            News::Lost => {
                tracing::error!(session = %self.recording.id(), "nobody looks any more for what the client should be told");
                self.noted.lost = true;
            }
        }
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
}
