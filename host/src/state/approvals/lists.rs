//! Lists: what waits for people, and what was asked.

use super::StoredApproval;
use super::rows::assemble;
use crate::state::{LIST_LIMIT, State, StateError, micros, text};
use chaperone_core::Timestamp;
use chaperone_core::identity::Caller;
use chaperone_core::name::{Principal, RequestId, TargetName};
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

    /// The access request of a caller on a target that waits, if any; the oldest.
    pub async fn pending_request(
        &self,
        caller: &Caller,
        target: &TargetName,
        now: Timestamp,
    ) -> Result<Option<RequestId>, StateError> {
        let row = sqlx::query(
            "SELECT id FROM approvals WHERE requester = $1 AND kind = 'request' AND state = 'pending' \
             AND target = $2 AND deadline > $3 AND chain = $4 ORDER BY asked LIMIT 1",
        )
        .bind(caller.principal.as_str())
        .bind(target.as_str())
        .bind(micros(now))
        .bind(caller.chain())
        .fetch_optional(&self.read)
        .await?;
        row.as_ref().map(|row| text(row, "id")).transpose()
    }

    /// What people have decided for a requester on a target, the newest first, and no more than `limit`.
    pub async fn decided_before(
        &self,
        requester: &Principal,
        target: &TargetName,
        limit: i64,
    ) -> Result<Vec<StoredApproval>, StateError> {
        let rows = sqlx::query(
            "SELECT * FROM approvals WHERE requester = $1 AND target = $2 AND state IN ('approved', 'rejected') \
             AND EXISTS (SELECT 1 FROM decisions WHERE approval = approvals.id) ORDER BY settled DESC, id DESC LIMIT $3",
        );
        let decisions = sqlx::query(
            "SELECT * FROM decisions WHERE approval IN (SELECT id FROM approvals WHERE requester = $1 AND target = $2 \
             AND state IN ('approved', 'rejected') AND EXISTS (SELECT 1 FROM decisions WHERE approval = approvals.id) \
             ORDER BY settled DESC, id DESC LIMIT $3) ORDER BY decided, principal",
        );
        let rows =
            rows.bind(requester.as_str()).bind(target.as_str()).bind(limit).fetch_all(&self.read).await?;
        let decisions = decisions.bind(requester.as_str()).bind(target.as_str()).bind(limit);
        assemble(&rows, &decisions.fetch_all(&self.read).await?)
    }

    /// The newest access requests, of one principal or of all.
    pub async fn requests(&self, of: Option<&Principal>) -> Result<Vec<StoredApproval>, StateError> {
        let (rows, decisions) = match of {
            Some(principal) => {
                let rows = sqlx::query(
                    "SELECT * FROM approvals WHERE kind = 'request' AND requester = $1 \
                     ORDER BY asked DESC, id DESC LIMIT $2",
                );
                let decisions = sqlx::query(
                    "SELECT * FROM decisions WHERE approval IN (SELECT id FROM approvals WHERE kind = 'request' \
                     AND requester = $1 ORDER BY asked DESC, id DESC LIMIT $2) ORDER BY decided, principal",
                );
                (rows.bind(principal.as_str()), decisions.bind(principal.as_str()))
            }
            None => (
                sqlx::query(
                    "SELECT * FROM approvals WHERE kind = 'request' ORDER BY asked DESC, id DESC LIMIT $1",
                ),
                sqlx::query(
                    "SELECT * FROM decisions WHERE approval IN (SELECT id FROM approvals WHERE kind = 'request' \
                     ORDER BY asked DESC, id DESC LIMIT $1) ORDER BY decided, principal",
                ),
            ),
        };
        let rows = rows.bind(LIST_LIMIT).fetch_all(&self.read).await?;
        let decisions = decisions.bind(LIST_LIMIT).fetch_all(&self.read).await?;
        assemble(&rows, &decisions)
    }
}
