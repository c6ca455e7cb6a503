//! The stored deny list.
//!
//! All gateways read the whole of it every half second, so there are few entries at a time (`MAX_DENIALS`). What may go
//! wrong: one that cannot be read. Then none is returned, and who asks takes that as a store that is silent.

use super::audit::{Audit, note};
use super::{State, StateError, micros, moment, moment_or_none, name, text};
use chaperone_core::Timestamp;
use chaperone_core::denial::{Denial, Denied, DeniedKind};
use chaperone_core::name::{DenialId, Principal};
use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

/// Entries at one time: as many as are read every half second without being felt. One entry for a client or a blueprint stands
/// for any number of agents.
pub const MAX_DENIALS: i64 = 1_000;

const INSERT: &str = "INSERT INTO denials (id, kind, tenant, denied, reason, made, made_by, until) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

/// States what it expects: of two who lift an entry, the second finds nothing to change.
const LIFT: &str = "UPDATE denials SET lifted = $2, lifted_by = $3 WHERE id = $1 AND lifted IS NULL \
     AND (until IS NULL OR until > $2)";

impl State {
    /// Keeps an entry. False, and nothing is kept: there are too many.
    pub async fn deny(&self, denial: &Denial) -> Result<bool, StateError> {
        let Denial { id, denied, reason, by, made, until } = denial;
        let mut transaction = self.begin().await?;
        sqlx::query(INSERT)
            .bind(id.to_string())
            .bind(denied.kind().as_str())
            .bind(denied.tenant())
            .bind(denied.id())
            .bind(reason.as_str())
            .bind(micros(*made))
            .bind(by.as_str())
            .bind(until.map(micros))
            .execute(&mut *transaction)
            .await?;
        let row = sqlx::query(
            "SELECT count(*) AS live FROM denials WHERE lifted IS NULL AND (until IS NULL OR until > $1)",
        )
        .bind(micros(*made))
        .fetch_one(&mut *transaction)
        .await?;
        if row.try_get::<i64, _>("live")? > MAX_DENIALS {
            transaction.rollback().await?;
            return Ok(false);
        }
        let audit = Audit {
            event: "denial.made",
            actor: by.as_str(),
            subject: &id.to_string(),
            target: "",
            detail: json!({ "denied": denied, "reason": reason, "until": until }),
        };
        note(&mut transaction, audit, *made).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Lifts an entry. False: there is none of this id that still holds.
    pub async fn lift(&self, id: DenialId, by: &Principal, now: Timestamp) -> Result<bool, StateError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(LIFT)
            .bind(id.to_string())
            .bind(micros(now))
            .bind(by.as_str())
            .execute(&mut *transaction)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let audit = Audit {
            event: "denial.lifted",
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
    pub async fn denials(&self, now: Timestamp) -> Result<Vec<Denial>, StateError> {
        // Fails closed: were there ever more than may be made, all of them are read.
        let rows = sqlx::query(
            "SELECT * FROM denials WHERE lifted IS NULL AND (until IS NULL OR until > $1) \
             ORDER BY made DESC, id DESC",
        )
        .bind(micros(now))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(stored).collect()
    }
}

fn stored(row: &AnyRow) -> Result<Denial, StateError> {
    let kind: DeniedKind = text(row, "kind")?;
    let (tenant, denied): (String, String) = (row.try_get("tenant")?, row.try_get("denied")?);
    Ok(Denial {
        id: text(row, "id")?,
        denied: Denied::new(kind, tenant, denied).map_err(|_| StateError::Unreadable("denied"))?,
        reason: row.try_get("reason")?,
        by: name(row, "made_by")?,
        made: moment(row, "made")?,
        until: moment_or_none(row, "until")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, person, stores};
    use super::*;
    use chaperone_core::identity::CallerKind;

    fn denial(object: &str, made: i64, until: Option<i64>) -> Denial {
        Denial {
            id: DenialId::new(uuid::Uuid::now_v7()),
            denied: Denied::new(DeniedKind::Object, "t", object).unwrap(),
            reason: "incident 7".into(),
            by: person("oz", CallerKind::Human, &[]).principal,
            made: at(made),
            until: until.map(at),
        }
    }

    #[tokio::test]
    async fn entries_are_kept_until_they_end_or_are_lifted() {
        for store in stores().await {
            let state = &store.state;
            let (first, second) = (denial("a", 0, None), denial("b", 1, Some(10)));
            assert!(state.deny(&first).await.unwrap() && state.deny(&second).await.unwrap());
            assert_eq!(state.denials(at(9)).await.unwrap(), [second.clone(), first.clone()]);
            assert_eq!(state.denials(at(10)).await.unwrap(), std::slice::from_ref(&first));

            let ann = person("ann", CallerKind::Human, &[]).principal;
            assert!(!state.lift(second.id, &ann, at(11)).await.unwrap(), "it is over");
            assert!(!state.lift(DenialId::new(uuid::Uuid::now_v7()), &ann, at(11)).await.unwrap());
            assert!(state.lift(first.id, &ann, at(11)).await.unwrap());
            assert!(!state.lift(first.id, &ann, at(12)).await.unwrap(), "it is lifted");
            assert_eq!(state.denials(at(12)).await.unwrap(), []);

            let events = state.audit_events().await.unwrap();
            let told: Vec<_> =
                events.iter().map(|event| (event.event.as_str(), event.actor.as_str())).collect();
            let made = ("denial.made", "corp/t/oz");
            assert_eq!(told, [("denial.lifted", "corp/t/ann"), made, made]);
            assert_eq!(
                events[2].detail,
                json!({ "denied": { "kind": "object", "tenant": "t", "id": "a" }, "reason": "incident 7", "until": null })
            );
        }
    }

    #[tokio::test]
    async fn there_are_not_more_than_are_read_in_a_moment() {
        for store in stores().await {
            let state = &store.state;
            let mut transaction = state.begin().await.unwrap();
            for number in 0..MAX_DENIALS {
                let sql = sqlx::query(INSERT)
                    .bind(DenialId::new(uuid::Uuid::now_v7()).to_string())
                    .bind("client")
                    .bind("t")
                    .bind(number.to_string())
                    .bind("full")
                    .bind(micros(at(0)))
                    .bind("corp/t/oz")
                    .bind((number == 0).then(|| micros(at(10))));
                sql.execute(&mut *transaction).await.unwrap();
            }
            transaction.commit().await.unwrap();
            assert!(!state.deny(&denial("a", 9, None)).await.unwrap());
            assert_eq!(state.denials(at(9)).await.unwrap().len(), 1_000);
            assert_eq!(state.audit_events().await.unwrap(), []);
            // One has ended by itself.
            assert!(state.deny(&denial("a", 10, None)).await.unwrap());
        }
    }
}
