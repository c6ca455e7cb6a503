//! The keeper of one target's roles: makes those that sessions order, and removes those that no session has any more.
//!
//! One task with one connection as the gateway's own role, by the same login as every other. It stays open: a session then
//! waits for one round trip. On it lies a claim with the gateway's name ([`claim`]), so that two gateways which were given the
//! same name do not remove each other's roles: the second makes none (fails closed) and sweeps nothing.
//!
//! Removing is sweeping: whatever this gateway has made at the target (by name and comment, [`sql::own`]) and
//! [`LiveRoles`](crate::target::mint::LiveRoles) does not list is removed. It happens when a session has ended, when the
//! gateway starts and stops, and at intervals.
//!
//! Backends end before anything else is done to their role, because a session may hold a lock on its own role.
//!
//! What may go wrong: the role owns something, or was given a privilege by somebody, and the target keeps it. Then it can log in
//! no more, is a member of nothing, is told of (with what of this did not succeed), and is tried again at every sweep. A statement here that hangs
//! delays sessions that wait for a role; [`LOCK_TIMEOUT_MS`] and [`STATEMENT_TIMEOUT_MS`] bound that.

mod claim;
mod sql;

use super::catalog::lookup::{Unanswered, simple};
use super::dial::{LoggedIn, TARGET_KEEPALIVES, login};
use crate::target::Target;
use crate::target::mint::{Earlier, Fresh, Job, KeeperReport, MintError, Minted, Order, Orders, Turn};
use chaperone_core::role::RoleName;
use secrecy::{ExposeSecret, SecretString};
use std::collections::HashMap;
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often roles are looked for that nobody told us of.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How soon a sweep that failed is tried again, and a login that could not be taken.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The longest wait for a lock at the target: for one, that of a statement which changes what the role owns.
const LOCK_TIMEOUT_MS: &str = "2000";

/// The longest statement.
const STATEMENT_TIMEOUT_MS: &str = "10000";

/// The longest wait for an answer; the target gives up before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How often it is asked whether a role's backends have ended, and how long between.
const LOOKS_AT_BACKENDS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Roles whose backends are ended by one statement: some 20 KB of it.
const THROWN_OUT_AT_ONCE: usize = 256;

/// Bytes of a password: as many as its SCRAM keys have.
const PASSWORD_BYTES: usize = 32;

/// Whose roles these are.
pub(super) struct Whose {
    gateway: String,
    target: String,
    database: String,
}

/// Keeps the roles of one target.
pub struct Keeper {
    target: Arc<Target>,
    whose: Whose,
    /// Who gets what a role has made.
    owned_to: Option<RoleName>,
    orders: Orders,
    report: Arc<dyn KeeperReport>,
    connection: Option<LoggedIn>,
    /// Roles that could not be removed, and when that was tried last. As long as the target's own list of them.
    left: HashMap<RoleName, Instant>,
    /// All that the first sweep finds is from before.
    swept: Earlier,
    /// Of the server that the last connection led to; nothing is decided by it.
    version: Option<u32>,
    /// When the next sweep is.
    due: Instant,
}

impl Keeper {
    /// For a target whose roles are this gateway's; `gateway` is its name among those that share the target.
    pub fn new(
        target: Arc<Target>,
        gateway: String,
        owned_to: Option<RoleName>,
        orders: Orders,
        report: Arc<dyn KeeperReport>,
    ) -> Self {
        let whose = Whose { gateway, target: target.name.to_string(), database: target.database.clone() };
        let (connection, left, swept, version) = (None, HashMap::new(), Earlier::Yes, None);
        let due = Instant::now();
        Keeper { target, whose, owned_to, orders, report, connection, left, swept, version, due }
    }

    /// Works until `stop`, and then removes what is left once more: by then no session has a role.
    pub async fn keep(mut self, stop: CancellationToken) {
        loop {
            match self.orders.turn(self.due, &stop).await {
                Turn::Job(job) => self.work(job).await,
                Turn::Sweep => self.sweep_and_tell().await,
                Turn::Stop => break,
            }
        }
        self.sweep_and_tell().await;
    }

    async fn sweep_and_tell(&mut self) {
        self.due = Instant::now() + SWEEP_EVERY;
        match self.sweep().await {
            Ok(()) => self.swept = Earlier::No,
            Err(error) => {
                tracing::error!(target = %self.target.name, %error, "roles of ended sessions could not be looked for");
                self.report.unswept();
                self.sweep_soon();
            }
        }
    }

    /// Something did not succeed that a sweep tries again.
    fn sweep_soon(&mut self) {
        self.due = self.due.min(Instant::now() + RETRY_AFTER);
    }

    async fn work(&mut self, job: Job) {
        match job {
            Job::Make { order, minted, answer } => {
                // A session that has given up needs none.
                if answer.is_closed() {
                    return;
                }
                let made = self.make(&order, minted).await;
                // If the session is gone by now, this ends the role's life.
                let _ = answer.send(made);
            }
            Job::Bar(name) => self.bar(&name).await,
        }
    }

    /// Whatever fails here is tried again in the next sweep: a session may have changed its own password meanwhile, or hold a
    /// lock on its role, and could then log in a second time once it has ended the first.
    async fn bar(&mut self, name: &RoleName) {
        match self.ask(&sql::bar(name)).await {
            Ok(_) => self.orders.live.barred(name),
            // The session was over sooner.
            Err(MintError::Refused(state)) if state == sql::ROLE_HAS_GONE => self.orders.live.barred(name),
            Err(error) => {
                tracing::warn!(target = %self.target.name, role = %name, %error, "a role can still log in");
                self.sweep_soon();
            }
        }
    }

    /// A few of the sessions that wait, before each thing that a sweep does: neither waits for the end of the other.
    async fn work_off(&mut self) {
        for job in self.orders.a_few() {
            self.work(job).await;
        }
    }

    async fn make(&mut self, order: &Order, minted: Minted) -> Result<Fresh, MintError> {
        let password = password()?;
        let plain = password.clone();
        // Thousands of rounds of a hash: not on a thread that others wait for.
        let verifier = tokio::task::spawn_blocking(move || {
            postgres_protocol::password::scram_sha_256(plain.expose_secret().as_bytes())
        });
        let verifier = verifier.await.map_err(|_| MintError::Stopping)?;
        match self.ask(&sql::make(&self.whose, order, &verifier)).await {
            Ok(_) => {
                self.report.made();
                Ok(minted.with_password(password))
            }
            Err(MintError::Refused(state)) if state == sql::TOO_POWERFUL => Err(MintError::TooPowerful),
            Err(error) => Err(error),
        }
    }

    /// Removes every role of ours that is not in use, and bars those in use that could not be barred before.
    async fn sweep(&mut self) -> Result<(), MintError> {
        let mut found = names(self.ask(&sql::own(&self.whose)).await?);
        self.left.retain(|name, _| found.contains(name));
        for name in self.orders.live.unbarred() {
            self.work_off().await;
            self.bar(&name).await;
            // Without a connection, each of the others would be waited for in vain.
            if self.connection.is_none() {
                return Err(MintError::NoConnection);
            }
        }
        let lately = |name: &RoleName| self.left.get(name).is_some_and(|tried| tried.elapsed() < SWEEP_EVERY);
        found.retain(|name| !lately(name) && !self.orders.live.contains(name));
        self.throw_out_all(&found).await?;
        for name in found {
            self.work_off().await;
            match self.remove(&name).await {
                Ok(()) => {
                    tracing::debug!(target = %self.target.name, role = %name, "a role was removed");
                    self.left.remove(&name);
                    self.report.removed(&name, self.swept);
                }
                Err(Kept::Gone) => {}
                Err(Kept::Lost(error)) => return Err(error),
                Err(Kept::Left(why, reach)) => self.leave(name, &why, reach).await,
            }
        }
        Ok(())
    }

    /// Many sessions at once, as after a crash: else the last would go on until each of the others is out. What the target refuses
    /// here, it refuses again where one role alone is thrown out, and there it counts.
    async fn throw_out_all(&mut self, names: &[RoleName]) -> Result<(), MintError> {
        if names.len() < 2 {
            return Ok(());
        }
        for some in names.chunks(THROWN_OUT_AT_ONCE) {
            match self.ask(&sql::terminate(some)).await {
                Ok(_) | Err(MintError::Refused(_)) => self.work_off().await,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn remove(&mut self, name: &RoleName) -> Result<(), Kept> {
        self.throw_out(name).await?;
        // Now that nobody can hold a lock on it. Whoever has logged in meanwhile goes as well.
        let backends =
            self.ask(&sql::end(name)).await.map_err(Kept::why("it cannot be ended", Reach::LogIn))?;
        self.wait_for_the_end_of(name, backends).await?;
        self.hand_on_and_drop(name).await
    }

    /// Ends every backend of a role. First of all: what else is to be done may wait for a lock that a backend holds.
    async fn throw_out(&mut self, name: &RoleName) -> Result<(), Kept> {
        let backends = match self.ask(&sql::terminate(slice::from_ref(name))).await {
            Err(MintError::Refused(state)) if state == sql::NOT_ALLOWED => {
                self.ask(&sql::terminate_as_signaller(name)).await
            }
            answer => answer,
        };
        let backends = backends.map_err(Kept::why("its sessions cannot be ended", Reach::GoOn))?;
        self.wait_for_the_end_of(name, backends).await
    }

    async fn wait_for_the_end_of(
        &mut self,
        name: &RoleName,
        mut backends: Vec<Vec<String>>,
    ) -> Result<(), Kept> {
        for _ in 0..LOOKS_AT_BACKENDS {
            if backends.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
            self.work_off().await;
            let seen = self.ask(&sql::backends(name)).await;
            backends = seen.map_err(Kept::why("its backends cannot be seen", Reach::GoOn))?;
        }
        Err(Kept::Left("a session of it does not end".into(), Reach::GoOn))
    }

    async fn hand_on_and_drop(&mut self, name: &RoleName) -> Result<(), Kept> {
        let owned = self.ask(&sql::owned(name)).await;
        let owned = owned.map_err(Kept::why("what it owns cannot be seen", Reach::Nothing))?;
        let counts: Option<[u64; 2]> = owned
            .into_iter()
            .next()
            .and_then(|row| row.iter().map(|count| count.parse().ok()).collect::<Option<Vec<u64>>>())
            .and_then(|counts| counts.try_into().ok());
        let owned_to = match (counts, &self.owned_to) {
            (Some([0, _]), _) => None,
            (Some([_, 0]), Some(owner)) => Some(owner.clone()),
            (Some([_, 0]), None) => {
                return Err(Kept::Left(
                    "it owns something, and `owned_to` of the target names nobody".into(),
                    Reach::Nothing,
                ));
            }
            // Fails closed: an answer that is none counts as the worst.
            _ => {
                return Err(Kept::Left(
                    "it owns something that cannot be handed on: a view, a function, an index by an expression, \
                     or what is in another database"
                        .into(),
                    Reach::Nothing,
                ));
            }
        };
        let removed = self.ask(&sql::remove(name, owned_to.as_ref())).await;
        removed.map(drop).map_err(Kept::why("the target keeps it", Reach::Nothing))
    }

    /// What cannot be removed shall at least be able to do nothing. What of that the target has done, the log says.
    async fn leave(&mut self, name: RoleName, why: &str, reach: Reach) {
        let kept = self.ask(&sql::strip(&name)).await.map(|rows| rows.concat());
        let target = &self.target.name;
        let members = match kept {
            Ok(kept) if kept.is_empty() => "it is a member of nothing".to_owned(),
            Ok(kept) => format!("it is still a member of {kept:?}, for whoever has granted that to revoke"),
            Err(error) => format!("it may be a member of others: {error}"),
        };
        let can = reach.words();
        tracing::error!(%target, role = %name, why, can, members, "a role could not be removed");
        if self.left.insert(name.clone(), Instant::now()).is_none() {
            self.report.left(&name, why);
        }
    }

    /// One round trip. A connection that stood idle may be dead: the second try is on a fresh one.
    async fn ask(&mut self, sql: &str) -> Result<Vec<Vec<String>>, MintError> {
        let stood = self.connection.is_some();
        match self.try_once(sql).await {
            Err(MintError::NoConnection) if stood => self.try_once(sql).await,
            answer => answer,
        }
    }

    async fn try_once(&mut self, sql: &str) -> Result<Vec<Vec<String>>, MintError> {
        // Taken out: if this is given up half-way, the connection is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let work = async {
            let answer = simple(&mut connection.stream, sql).await;
            if let Err(Unanswered::Refused(_)) = answer {
                simple(&mut connection.stream, "ROLLBACK").await?;
            }
            answer
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, work).await {
            Ok(Ok(rows)) => {
                self.connection = Some(connection);
                Ok(rows)
            }
            Ok(Err(Unanswered::Refused(state))) => {
                self.connection = Some(connection);
                Err(MintError::Refused(state))
            }
            Ok(Err(Unanswered::Lost)) | Err(_) => Err(MintError::NoConnection),
        }
    }

    async fn connect(&mut self) -> Result<LoggedIn, MintError> {
        let target = &self.target;
        let account = target.own_account().map_err(|problem| {
            tracing::error!(target = %target.name, %problem, "the target's credential cannot be read");
            MintError::NoConnection
        })?;
        let own = [
            ("application_name", "chaperone roles"),
            ("search_path", "pg_catalog"),
            ("lock_timeout", LOCK_TIMEOUT_MS),
            ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ];
        let settings: Vec<_> = own.into_iter().chain(TARGET_KEEPALIVES).collect();
        let mut connection = login(target, &account, &settings).await.map_err(|error| {
            tracing::error!(target = %target.name, %error, "the gateway cannot log in to make roles");
            MintError::NoConnection
        })?;
        let version = claim::take(&mut connection.stream, &self.whose).await?;
        self.is_of(version);
        Ok(connection)
    }

    /// Says once what is weaker at an old server. One that does not say its version may be old.
    fn is_of(&mut self, version: Option<u32>) {
        let version = version.unwrap_or_default();
        if self.version.replace(version) != Some(version) && version < sql::SET_IS_AN_OPTION {
            tracing::warn!(
                target = %self.target.name,
                version,
                "before PostgreSQL 16, a minted role may SET ROLE to the roles of its grant and give them what it has made, \
                 which outlives the session"
            );
        }
    }
}

/// Why a role is still there.
enum Kept {
    /// It is not: somebody else has removed it.
    Gone,
    /// The connection is lost; nothing is known.
    Lost(MintError),
    /// The target keeps it, and what it can still do.
    Left(String, Reach),
}

impl Kept {
    fn why(what: &'static str, reach: Reach) -> impl FnOnce(MintError) -> Kept {
        move |error| match error {
            MintError::Refused(state) if state == sql::ROLE_HAS_GONE => Kept::Gone,
            MintError::Refused(state) => Kept::Left(format!("{what} (SQLSTATE {state})"), reach),
            error => Kept::Lost(error),
        }
    }
}

/// How far a role that is kept still reaches, its memberships aside.
#[derive(Clone, Copy)]
enum Reach {
    /// It has no session and gets none.
    Nothing,
    /// Its sessions have ended; its login was perhaps not taken.
    LogIn,
    /// A session of it may go on.
    GoOn,
}

impl Reach {
    /// For the log.
    fn words(self) -> &'static str {
        match self {
            Reach::Nothing => "it has no session and cannot log in",
            Reach::LogIn => "it has no session but may still be able to log in",
            Reach::GoOn => "a session of it may go on",
        }
    }
}

/// The first column; what is no name cannot have been ours.
fn names(rows: Vec<Vec<String>>) -> Vec<RoleName> {
    rows.into_iter().filter_map(|row| RoleName::new(row.into_iter().next()?).ok()).collect()
}

/// From the operating system's randomness, in hexadecimal: nothing that SASLprep would change.
fn password() -> Result<SecretString, MintError> {
    let mut bytes = zeroize::Zeroizing::new([0u8; PASSWORD_BYTES]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| MintError::NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_the_same_and_never_needs_quotes() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!(one.expose_secret().len(), 2 * PASSWORD_BYTES);
        assert!(one.expose_secret().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
