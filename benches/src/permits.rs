//! How long it takes to get a permit out of a full store: what every login waits for besides its token.
//!
//! The store is SQLite's file, as a gateway of its own has it, with the windows and requests of many other agents. They are
//! written as rows, since each by its own road would be a commit that waits for the disk. The identity comes from a token.

use crate::configuration::{AGENTS, AUDIENCE, STATE, TENANT};
use crate::gateway::{AGENT, MORE_WINDOWS};
use anyhow::{Context, Result, ensure};
use chaperone::demo::issuer::{GroupsClaim, Issuer, TokenSpec};
use chaperone::grant::{Grants, Policy, SystemClock, Wish};
use chaperone::identity::{Credential, Identities, Identity};
use chaperone::state::State;
use chaperone_core::Timestamp;
use chaperone_core::grant::{Amounts, Conditions, Grant, Recorded, Subject, Ticket, When};
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{GroupAlias, ProviderName, TargetName};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is in the store, and how often it is asked.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Open windows, of which one is the agent's that asks.
    windows: u32,
    /// Others' requests that wait for people.
    requests: u32,
    /// Permits that are asked for, one after the other.
    permits: usize,
}

const FULL: Size = Size { windows: 100_000, requests: 1_000, permits: 20_000 };

/// The promise, in milliseconds at the 99th of a hundred.
pub(crate) const MOST_MS: f64 = 1.0;

/// Requests like the first, of other agents, that are pending for an hour.
const MORE_REQUESTS: &str = "\
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1), \
    model AS (SELECT * FROM approvals ORDER BY asked LIMIT 1) \
    INSERT INTO approvals (id, kind, requester, target, matter, requirements, asked, deadline, state, node, touched, caller, chain) \
    SELECT substr(id, 1, length(id) - 8) || printf('%08x', n), kind, \
    substr(requester, 1, length(requester) - 8) || printf('%08x', n), \
    target, matter, requirements, asked, asked + 3600000000, 'pending', node, 0, caller, chain FROM numbers, model";

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permits {
    /// In the middle.
    pub(crate) p50: Duration,
    /// Of a hundred all but the slowest.
    pub(crate) p99: Duration,
}

impl std::fmt::Display for Permits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let (p50, p99) = (micros(self.p50), micros(self.p99));
        let Size { windows, requests, permits } = FULL;
        write!(
            f,
            "{permits} permits, {windows} windows and {requests} requests in the store: p50 {p50:.0} µs, p99 {p99:.0} µs"
        )
    }
}

pub(crate) fn measure() -> Result<Permits> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measured(FULL))
}

async fn measured(size: Size) -> Result<Permits> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join(STATE);
    let (issuer, target) = (Issuer::start(TENANT).await?, TargetName::new("bench")?);
    let identity = identity(&issuer).await?;
    let state = State::sqlite(&file, "bench").await?;
    let grants = Grants::start(policy(&target)?, state, Arc::new(SystemClock::new())).await?;
    let now = grants.clock().now();
    grants.request(&identity, Wish::new(&target, "benchmark"), now).await.context("no window")?;
    fill(&file, size).await?;
    let open = grants.state().open_counts(now).await?;
    let wanted = (i64::from(size.windows), i64::from(size.requests));
    ensure!((open.windows, open.requests) == wanted, "the store has other rows: {open:?}");

    let mut times = Vec::with_capacity(size.permits);
    for _ in 0..size.permits {
        let started = Instant::now();
        let permit = grants.permit(&identity, &target, grants.clock().now()).await;
        times.push(started.elapsed());
        permit.map_err(|refusal| anyhow::anyhow!("no permit: {refusal}"))?;
    }
    times.sort_unstable();
    let at = |part: usize| times.get(size.permits * part / 100).copied().context("nothing was measured");
    Ok(Permits { p50: at(50)?, p99: at(99)? })
}

async fn identity(issuer: &Issuer) -> Result<Identity> {
    let identities = Identities::new(vec![issuer.provider(ProviderName::new("bench")?, AUDIENCE)])?;
    let spec = TokenSpec::new(CallerKind::Agent, AGENT, AUDIENCE, Timestamp::now())
        .groups(GroupsClaim::Listed(vec![AGENTS.to_owned()]));
    let credential = Credential::bearer(issuer.token(&spec)?);
    let identity = identities.identify(&credential, Timestamp::now()).await;
    identity.map_err(|refusal| anyhow::anyhow!("no identity: {refusal}"))
}

fn policy(target: &TargetName) -> Result<Policy> {
    let (provider, alias) = (ProviderName::new("bench")?, GroupAlias::new("agents")?);
    let grant = Grant {
        target: target.clone(),
        to: vec![Subject::Group { provider, id: AGENTS.to_owned(), alias }],
        kinds: None,
        only: Conditions::default(),
        ticket: Ticket::Optional,
        when: When::Requested,
        lifetime: Duration::from_secs(3600),
        amounts: Amounts::default(),
        recorded: Recorded::Yes,
        roles: vec![],
        line: 1,
    };
    Ok(Policy { grants: vec![grant], api_url: "https://bench.example".to_owned(), ..Policy::default() })
}

async fn fill(file: &Path, size: Size) -> Result<()> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut store = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await?;
    sqlx::query(MORE_WINDOWS).bind(size.windows).execute(&mut store).await?;
    sqlx::query(MORE_REQUESTS).bind(size.requests).execute(&mut store).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows are written past the code that usually writes them: a change of the tables has to be followed here.
    #[tokio::test]
    async fn permits_come_out_of_a_store_that_was_filled_by_rows() {
        let Permits { p50, p99 } = measured(Size { windows: 20, requests: 5, permits: 10 }).await.unwrap();
        assert!(!p50.is_zero() && p50 <= p99);
    }
}
