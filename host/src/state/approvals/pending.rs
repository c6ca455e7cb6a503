//! What waits for people.

use super::{StoredApproval, assemble};
use crate::state::{LIST_LIMIT, State, StateError, micros};
use chaperone_core::Timestamp;
use sqlx::Row;

/// Pages of [`LIST_LIMIT`] that are looked through for one list: what others have asked must not hide what somebody may decide.
const MAX_PAGES: usize = 20;

/// Where a page begins: behind this moment and id.
type Behind = (i64, String);

impl State {
    /// What is pending and `visible`, which may change what it is shown, the oldest first.
    pub async fn pending_approvals(
        &self,
        now: Timestamp,
        mut visible: impl FnMut(&mut StoredApproval) -> bool + Send,
    ) -> Result<Vec<StoredApproval>, StateError> {
        let most = usize::try_from(LIST_LIMIT).unwrap_or(usize::MAX);
        let (mut found, mut behind) = (Vec::new(), Some((i64::MIN, String::new())));
        for _ in 0..MAX_PAGES {
            let Some(from) = behind.take().filter(|_| found.len() < most) else { break };
            let page;
            (page, behind) = self.pending_page(now, &from).await?;
            found.extend(page.into_iter().filter_map(|mut stored| visible(&mut stored).then_some(stored)));
        }
        found.truncate(most);
        Ok(found)
    }

    /// One page, and where the next begins; none after the last.
    async fn pending_page(
        &self,
        now: Timestamp,
        (asked, id): &Behind,
    ) -> Result<(Vec<StoredApproval>, Option<Behind>), StateError> {
        let rows = sqlx::query(
            "SELECT * FROM approvals WHERE state = 'pending' AND deadline > $1 AND (asked > $2 OR asked = $2 AND id > $3) \
             ORDER BY asked, id LIMIT $4",
        );
        let rows = rows.bind(micros(now)).bind(asked).bind(id).bind(LIST_LIMIT).fetch_all(&self.read).await?;
        let decisions = sqlx::query(
            "SELECT * FROM decisions WHERE approval IN (SELECT id FROM approvals WHERE state = 'pending' AND deadline > $1 \
             AND (asked > $2 OR asked = $2 AND id > $3) ORDER BY asked, id LIMIT $4) ORDER BY decided, principal",
        );
        let decisions =
            decisions.bind(micros(now)).bind(asked).bind(id).bind(LIST_LIMIT).fetch_all(&self.read).await?;
        let is_full = i64::try_from(rows.len()).is_ok_and(|count| count == LIST_LIMIT);
        let last = rows.last().filter(|_| is_full);
        let next =
            last.map(|row| Ok::<_, StateError>((row.try_get("asked")?, row.try_get("id")?))).transpose()?;
        Ok((assemble(&rows, &decisions)?, next))
    }
}
