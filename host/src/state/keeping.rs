//! Which recordings must not be deleted (a legal hold, here a *preservation*), and which were.
//!
//! What may go wrong: somebody preserves a recording while it is being deleted. Both begin by moving one row, so the second waits for the
//! first: a preservation that was acknowledged holds for every deletion after it, and one that came too late is told so.

use super::audit::{Audit, note};
use super::{State, StateError, micros, moment, moment_or_none, name, text};
use chaperone_core::Timestamp;
use chaperone_core::name::{PreservationId, Principal, SessionId, TargetName};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};

/// Entries at one time: they are all read by whoever lists them. One for a target or a principal stands for any number of recordings.
pub const MAX_PRESERVATIONS: i64 = 1_000;

const INSERT: &str = "INSERT INTO preservations (id, kind, preserved, reason, made, made_by) \
     VALUES ($1, $2, $3, $4, $5, $6)";

const RELEASE: &str =
    "UPDATE preservations SET released = $2, released_by = $3 WHERE id = $1 AND released IS NULL";

const HELD: &str = "SELECT id FROM preservations WHERE released IS NULL AND ((kind = 'session' AND preserved = $1) \
     OR (kind = 'target' AND preserved = $2) OR (kind = 'principal' AND preserved = $3)) LIMIT 1";

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "kebab-case")]
pub enum Preserved {
    /// One recording.
    Session(SessionId),
    /// All recordings of a target.
    Target(TargetName),
    /// All recordings of a principal.
    Principal(Principal),
}

impl Preserved {
    fn columns(&self) -> (&'static str, String) {
        match self {
            Preserved::Session(id) => ("session", id.to_string()),
            Preserved::Target(name) => ("target", name.to_string()),
            Preserved::Principal(name) => ("principal", name.to_string()),
        }
    }

    /// Whether it is about this recording.
    pub fn covers(&self, session: SessionId, target: &TargetName, principal: &Principal) -> bool {
        match self {
            Preserved::Session(one) => *one == session,
            Preserved::Target(name) => name == target,
            Preserved::Principal(name) => name == principal,
        }
    }

    fn stored(row: &AnyRow) -> Result<Self, StateError> {
        let kind: String = row.try_get("kind")?;
        match kind.as_str() {
            "session" => Ok(Preserved::Session(text(row, "preserved")?)),
            "target" => Ok(Preserved::Target(name(row, "preserved")?)),
            "principal" => Ok(Preserved::Principal(name(row, "preserved")?)),
            _ => Err(StateError::Unreadable("kind")),
        }
    }
}

/// An entry that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preservation {
    /// Its id.
    pub id: PreservationId,
    /// What it is about.
    pub preserved: Preserved,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub by: Principal,
    /// When.
    pub made: Timestamp,
}

/// What became of an entry that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preserving {
    /// It holds. `too_late` says when the deletion of the one recording that it is about had begun.
    Made {
        /// None: nothing of it was deleted.
        too_late: Option<Timestamp>,
    },
    /// No session of this id is known.
    NoSession,
    /// There are too many.
    TooMany,
}

/// A recording that the rules delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion<'a> {
    /// The session.
    pub session: SessionId,
    /// On what it was.
    pub target: &'a TargetName,
    /// Whose it was.
    pub principal: &'a Principal,
    /// The rule's own words.
    pub rule: &'a str,
}

/// Whether a recording may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayDelete {
    /// It may, and whoever preserves it from now on is told that it is too late.
    Yes,
    /// An entry preserves it.
    Preserved(PreservationId),
}

/// Whether the copy of a recording in the store outside may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayDeleteCopy {
    /// It was deleted here by the rules, and nothing preserves it.
    Yes,
    /// An entry preserves it.
    Preserved(PreservationId),
    /// Nobody has noted its deletion here, or whose it was.
    Unknown,
}

impl State {
    /// Keeps an entry.
    pub async fn preserve(&self, entry: &Preservation) -> Result<Preserving, StateError> {
        let (kind, preserved) = entry.preserved.columns();
        let mut transaction = self.begin().await?;
        alone(&mut transaction).await?;
        if let Preserved::Session(id) = &entry.preserved {
            let known = sqlx::query("SELECT id FROM sessions WHERE id = $1").bind(id.to_string());
            if known.fetch_optional(&mut *transaction).await?.is_none() {
                transaction.rollback().await?;
                return Ok(Preserving::NoSession);
            }
        }
        let live = sqlx::query("SELECT count(*) AS live FROM preservations WHERE released IS NULL");
        if live.fetch_one(&mut *transaction).await?.try_get::<i64, _>("live")? >= MAX_PRESERVATIONS {
            transaction.rollback().await?;
            return Ok(Preserving::TooMany);
        }
        sqlx::query(INSERT)
            .bind(entry.id.to_string())
            .bind(kind)
            .bind(&preserved)
            .bind(entry.reason.as_str())
            .bind(micros(entry.made))
            .bind(entry.by.as_str())
            .execute(&mut *transaction)
            .await?;
        let deleted = sqlx::query("SELECT moment FROM deletions WHERE session = $1").bind(&preserved);
        let too_late = match deleted.fetch_optional(&mut *transaction).await? {
            Some(row) => moment_or_none(&row, "moment")?,
            None => None,
        };
        let audit = Audit {
            event: "preservation.made",
            actor: entry.by.as_str(),
            subject: &entry.id.to_string(),
            target: "",
            detail: json!({ "preserved": entry.preserved, "reason": entry.reason, "too_late": too_late }),
        };
        note(&mut transaction, audit, entry.made).await?;
        transaction.commit().await?;
        Ok(Preserving::Made { too_late })
    }

    /// Ends an entry. False: there is none of this id that still holds.
    pub async fn release(
        &self,
        id: PreservationId,
        by: &Principal,
        now: Timestamp,
    ) -> Result<bool, StateError> {
        let mut transaction = self.begin().await?;
        alone(&mut transaction).await?;
        let done = sqlx::query(RELEASE)
            .bind(id.to_string())
            .bind(micros(now))
            .bind(by.as_str())
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let audit = Audit {
            event: "preservation.released",
            actor: by.as_str(),
            subject: &id.to_string(),
            target: "",
            detail: json!({}),
        };
        note(&mut transaction, audit, now).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// All entries that hold, the newest first.
    pub async fn preservations(&self) -> Result<Vec<Preservation>, StateError> {
        let rows =
            sqlx::query("SELECT * FROM preservations WHERE released IS NULL ORDER BY made DESC, id DESC")
                .fetch_all(&self.read)
                .await?;
        rows.iter().map(stored).collect()
    }

    /// Notes that a recording is being deleted, unless an entry preserves it. Asked again for the same one, as after a crash, it
    /// looks again.
    pub async fn may_delete(&self, deletion: &Deletion<'_>, now: Timestamp) -> Result<MayDelete, StateError> {
        let session = deletion.session.to_string();
        let mut transaction = self.begin().await?;
        alone(&mut transaction).await?;
        let held = sqlx::query(HELD)
            .bind(&session)
            .bind(deletion.target.as_str())
            .bind(deletion.principal.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(row) = held {
            transaction.rollback().await?;
            return Ok(MayDelete::Preserved(text(&row, "id")?));
        }
        let noted = sqlx::query(
            "INSERT INTO deletions (session, target, rule, moment) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (session) DO NOTHING",
        )
        .bind(&session)
        .bind(deletion.target.as_str())
        .bind(deletion.rule)
        .bind(micros(now))
        .execute(&mut *transaction)
        .await?;
        if noted.rows_affected() > 0 {
            let audit = Audit {
                event: "recording.deleted",
                actor: "chaperone",
                subject: &session,
                target: deletion.target.as_str(),
                detail: json!({ "rule": deletion.rule }),
            };
            note(&mut transaction, audit, now).await?;
        }
        transaction.commit().await?;
        Ok(MayDelete::Yes)
    }

    /// Whether an entry preserves a recording at this moment. It promises nothing: [`State::may_delete`] does.
    pub async fn preserved(
        &self,
        session: SessionId,
        target: &TargetName,
        principal: &Principal,
    ) -> Result<Option<PreservationId>, StateError> {
        let held = sqlx::query(HELD)
            .bind(session.to_string())
            .bind(target.as_str())
            .bind(principal.as_str())
            .fetch_optional(&self.read)
            .await?;
        held.map(|row| text(&row, "id")).transpose()
    }

    /// Whether the copy in the store outside of a recording that the rules have deleted here may go, too. Somebody may have preserved
    /// it meanwhile, and was told that it may be too late: then what there still is stays.
    pub async fn may_delete_copy(&self, session: SessionId) -> Result<MayDeleteCopy, StateError> {
        let mut transaction = self.begin().await?;
        alone(&mut transaction).await?;
        let noted = sqlx::query(
            "SELECT deletions.target AS target, sessions.principal AS principal FROM deletions \
             JOIN sessions ON sessions.id = deletions.session WHERE deletions.session = $1",
        )
        .bind(session.to_string())
        .fetch_optional(&mut *transaction)
        .await?;
        // Fails closed: who does not know whose it was does not know whether it is preserved.
        let Some(noted) = noted else {
            transaction.rollback().await?;
            return Ok(MayDeleteCopy::Unknown);
        };
        let held = sqlx::query(HELD)
            .bind(session.to_string())
            .bind(noted.try_get::<String, _>("target")?)
            .bind(noted.try_get::<String, _>("principal")?)
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        match held {
            Some(row) => Ok(MayDeleteCopy::Preserved(text(&row, "id")?)),
            None => Ok(MayDeleteCopy::Yes),
        }
    }
}

/// Waits for whoever else deletes or preserves.
async fn alone(transaction: &mut Transaction<'static, Any>) -> Result<(), StateError> {
    let moved =
        sqlx::query("UPDATE keeping SET moves = moves + 1 WHERE id = 1").execute(&mut **transaction).await?;
    match moved.rows_affected() {
        1 => Ok(()),
        // Fails closed: without the row nobody waits for anybody.
        _ => Err(StateError::Unreadable("keeping")),
    }
}

fn stored(row: &AnyRow) -> Result<Preservation, StateError> {
    Ok(Preservation {
        id: text(row, "id")?,
        preserved: Preserved::stored(row)?,
        reason: row.try_get("reason")?,
        by: name(row, "made_by")?,
        made: moment(row, "made")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::SessionStart;
    use super::super::tests::{at, person, stores, target};
    use super::*;
    use chaperone_core::identity::CallerKind;
    use chaperone_core::name::WindowId;

    fn session(number: u128) -> SessionId {
        SessionId::new(uuid::Uuid::from_u128(number))
    }

    fn entry(preserved: Preserved) -> Preservation {
        let by = person("oz", CallerKind::Human, &[]).principal;
        let id = PreservationId::new(uuid::Uuid::now_v7());
        Preservation { id, preserved, reason: "case 7".into(), by, made: at(0) }
    }

    async fn ask(state: &State, number: u128, name: &str, object: &str) -> MayDelete {
        let principal = person(object, CallerKind::Agent, &[]).principal;
        let deletion = Deletion {
            session: session(number),
            target: &target(name),
            principal: &principal,
            rule: "30days",
        };
        state.may_delete(&deletion, at(1)).await.unwrap()
    }

    async fn begin(state: &State, number: u128) {
        let start = SessionStart {
            id: session(number),
            caller: (&person("bot", CallerKind::Agent, &[])).into(),
            target: target("db"),
            window: WindowId::new(uuid::Uuid::now_v7()),
        };
        state.session_started(&start, at(0)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_preserved_is_not_deleted_until_it_is_released() {
        for store in stores().await {
            let state = &store.state;
            begin(state, 1).await;
            let entries = [
                entry(Preserved::Session(session(1))),
                entry(Preserved::Target(target("prod"))),
                entry(Preserved::Principal(person("ann", CallerKind::Human, &[]).principal)),
            ];
            for entry in &entries {
                assert_eq!(state.preserve(entry).await.unwrap(), Preserving::Made { too_late: None });
            }
            assert_eq!(state.preservations().await.unwrap().len(), 3);
            assert_eq!(ask(state, 1, "db", "bot").await, MayDelete::Preserved(entries[0].id));
            assert_eq!(ask(state, 2, "prod", "bot").await, MayDelete::Preserved(entries[1].id));
            assert_eq!(ask(state, 3, "db", "ann").await, MayDelete::Preserved(entries[2].id));
            assert_eq!(ask(state, 4, "db", "bot").await, MayDelete::Yes);
            let ann = person("ann", CallerKind::Human, &[]).principal;
            for entry in &entries {
                assert!(state.release(entry.id, &ann, at(2)).await.unwrap());
                assert!(!state.release(entry.id, &ann, at(2)).await.unwrap(), "once");
            }
            assert_eq!(ask(state, 1, "db", "bot").await, MayDelete::Yes);
            assert_eq!(ask(state, 1, "db", "bot").await, MayDelete::Yes, "after a crash");
            let late = state.preserve(&entry(Preserved::Session(session(1)))).await.unwrap();
            assert_eq!(late, Preserving::Made { too_late: Some(at(1)) });
            assert!(
                matches!(ask(state, 1, "db", "bot").await, MayDelete::Preserved(_)),
                "its file may be there"
            );
            let unknown = state.preserve(&entry(Preserved::Session(session(9)))).await.unwrap();
            assert_eq!(unknown, Preserving::NoSession);
            let events = state.audit_events().await.unwrap();
            let count = |name: &str| events.iter().filter(|event| event.event == name).count();
            assert_eq!(
                (count("recording.deleted"), count("preservation.made"), count("preservation.released")),
                (2, 4, 3)
            );
        }
    }

    #[tokio::test]
    async fn a_copy_goes_only_after_its_deletion_was_noted_and_while_nothing_preserves_it() {
        for store in stores().await {
            let state = &store.state;
            begin(state, 1).await;
            assert_eq!(state.may_delete_copy(session(1)).await.unwrap(), MayDeleteCopy::Unknown);
            assert_eq!(ask(state, 1, "db", "bot").await, MayDelete::Yes);
            assert_eq!(state.may_delete_copy(session(1)).await.unwrap(), MayDeleteCopy::Yes);
            // Of one whose session nobody knows, nobody knows whose it was.
            assert_eq!(ask(state, 2, "db", "bot").await, MayDelete::Yes);
            assert_eq!(state.may_delete_copy(session(2)).await.unwrap(), MayDeleteCopy::Unknown);
            let principal = person("bot", CallerKind::Agent, &[]).principal;
            for preserved in [
                Preserved::Session(session(1)),
                Preserved::Target(target("db")),
                Preserved::Principal(principal.clone()),
            ] {
                let made = entry(preserved);
                state.preserve(&made).await.unwrap();
                let held = state.may_delete_copy(session(1)).await.unwrap();
                assert_eq!(held, MayDeleteCopy::Preserved(made.id));
                let now = state.preserved(session(1), &target("db"), &principal).await.unwrap();
                assert_eq!(now, Some(made.id));
                state.release(made.id, &principal, at(2)).await.unwrap();
            }
            assert_eq!(state.may_delete_copy(session(1)).await.unwrap(), MayDeleteCopy::Yes);
            assert_eq!(state.preserved(session(1), &target("db"), &principal).await.unwrap(), None);
        }
    }

    /// Whatever the order, either the recording is preserved or whoever wanted it is told that it is gone.
    #[tokio::test]
    async fn who_preserves_what_is_being_deleted_is_told() {
        for store in stores().await {
            for number in 10..30 {
                begin(&store.state, number).await;
                let (deleting, preserving) = (store.state.clone(), store.state.clone());
                let delete = tokio::spawn(async move { ask(&deleting, number, "db", "bot").await });
                let made = entry(Preserved::Session(session(number)));
                let preserve = tokio::spawn(async move { preserving.preserve(&made).await.unwrap() });
                let (deleted, preserved) = (delete.await.unwrap(), preserve.await.unwrap());
                let told = preserved == Preserving::Made { too_late: Some(at(1)) };
                assert_eq!(deleted == MayDelete::Yes, told, "{deleted:?} {preserved:?}");
            }
        }
    }
}
