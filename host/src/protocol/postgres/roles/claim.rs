//! The claim: an advisory lock with the gateway's name, which lies on the keeper's connection as long as that lives.
//!
//! It tells gateways of one name apart, so that none removes the roles of another. It is a lock that anybody can take who may
//! connect to the target's database, an agent in its session, too. So whoever holds it in our place is looked up: another gateway
//! is believed in only if it runs as one, and of all others the operator is told who they are and how they are ended.
//!
//! What may go wrong: the gateway's own role is no secret, but its password is; who has that can pass for a gateway, and can do
//! worse. And who holds the claim may have let go of it before it is looked up.

use super::super::catalog::lookup::{Unanswered, simple};
use super::super::stream::TargetStream;
use super::{ANSWER_TIMEOUT, Whose, sql};
use crate::target::mint::MintError;

/// What `lock_timeout` and `statement_timeout` end a statement with.
const WAITED_IN_VAIN: [&str; 2] = ["55P03", "57014"];

/// Takes the claim. Gives the server's version, if it says one.
pub(super) async fn take(stream: &mut TargetStream, whose: &Whose) -> Result<Option<u32>, MintError> {
    let key = key(whose);
    match ask(stream, &sql::claim(key)).await {
        Ok(rows) => Ok(rows.last().and_then(|row| row.first()?.parse().ok())),
        // Fails closed, whoever has it: whose roles these are is not sure.
        Err(MintError::Refused(state)) if WAITED_IN_VAIN.contains(&state.as_str()) => {
            Err(holder(stream, key).await.unwrap_or_else(|error| error))
        }
        Err(error) => Err(error),
    }
}

/// Who is in the way. Of several (a lock may be shared), one: once that is gone, the next is told.
async fn holder(stream: &mut TargetStream, key: i64) -> Result<MintError, MintError> {
    let first: Option<[String; 4]> =
        ask(stream, &sql::holders(key)).await?.into_iter().next().and_then(|row| row.try_into().ok());
    // In quotes, because names and ids may hold anything.
    Ok(MintError::ClaimTaken(match first {
        Some([gateway, ..]) if gateway == "t" => return Ok(MintError::NameTaken),
        Some([_, owner, process, transaction]) if process.is_empty() => {
            format!("a prepared transaction of {owner:?}: ROLLBACK PREPARED at the target ({transaction:?})")
        }
        Some([_, role, process, _]) => {
            format!("{role:?}, which is no gateway: end its process at the target ({process})")
        }
        None => "nobody any more".into(),
    }))
}

async fn ask(stream: &mut TargetStream, sql: &str) -> Result<Vec<Vec<String>>, MintError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, simple(stream, sql)).await {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(Unanswered::Refused(state))) => Err(MintError::Refused(state)),
        Ok(Err(Unanswered::Lost)) | Err(_) => Err(MintError::NoConnection),
    }
}

/// A number for the lock: the beginning of a digest of the names.
fn key(whose: &Whose) -> i64 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, sql::mark(whose).as_bytes());
    digest.as_ref().first_chunk::<8>().map_or(0, |start| i64::from_be_bytes(*start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_gateways_claim_two_locks() {
        let of = |gateway: &str, target: &str| {
            key(&Whose { gateway: gateway.into(), target: target.into(), database: "d".into() })
        };
        assert_ne!(of("a", "x"), of("b", "x"));
        assert_ne!(of("a", "x"), of("a", "y"));
        assert_eq!(of("a", "x"), of("a", "x"));
    }
}
