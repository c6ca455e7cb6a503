//! Roles that exist for one session: who orders them, who makes them, and what makes sure that they go.
//!
//! A session orders a role ([`Mint::mint`]) and gets it with a [`Minted`], which is the role's life: while that value
//! exists the role is listed in [`LiveRoles`], and when it is dropped (the session ended, its task panicked, the order was
//! given up, the gateway stops) the role is not listed any more and whoever keeps the target's roles is woken. The keeper
//! ([`crate::protocol::postgres`]) has one rule: a role that this gateway has made at the target and that is not listed here is
//! removed. So the end of a session, a failed removal and what a killed gateway has left behind are one and the same case.
//!
//! A role is listed before it is made, so that no sweep can take a role that is about to be used.

use super::Account;
use chaperone_core::Timestamp;
use chaperone_core::name::{Principal, SessionId};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::role::RoleName;
use secrecy::SecretString;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Orders that wait for the keeper of one target; over it a session is refused.
const QUEUE: usize = 1024;

/// Jobs that are done before each role that a sweep removes: a session brings two (a role to be made, a login to be taken) and leaves one
/// role to be removed. So the three go at one pace, and neither the sessions that wait nor the roles that are left grow without end.
const A_FEW: usize = 2;

/// A role to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub name: RoleName,
    /// For whom.
    pub principal: Principal,
    /// For which session.
    pub session: SessionId,
    /// What it is a member of, and nothing else.
    pub roles: Vec<RoleName>,
    /// Until when it may log in. It does so once, at the session's begin: a session that gets a newer token goes on past this.
    pub until: Timestamp,
}

/// Why there is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The gateway's own account could not log in; the keeper has logged why.
    #[error("the gateway cannot log in at the target")]
    NoConnection,
    /// The target refused to make it.
    #[error("the target refuses (SQLSTATE {0}): see what a target that mints has to be prepared with")]
    Refused(String),
    /// A role of the grant leads to more than a session may ever have.
    #[error(
        "a role of the grant leads to a role with SUPERUSER, CREATEROLE, CREATEDB, REPLICATION or BYPASSRLS, or to files and programs of the server"
    )]
    TooPowerful,
    /// Two gateways would remove each other's roles.
    #[error(
        "another gateway of the same name is connected to this target: each needs a `gateway` of its own"
    )]
    NameTaken,
    /// Somebody who is no gateway stands in the way: who, and what the operator does about it.
    #[error("the lock that tells gateways of one name apart is held by {0}")]
    ClaimTaken(String),
    /// More orders than can wait.
    #[error("too many roles are waited for")]
    Busy,
    /// It took too long.
    #[error("it took longer than {} seconds", .0.as_secs())]
    Late(Duration),
    /// The keeper has gone: the gateway stops.
    #[error("the gateway stops")]
    Stopping,
    /// The operating system gives no random bytes.
    #[error("there is no randomness for a password")]
    NoRandomness,
}

impl MintError {
    /// What the client is told.
    pub fn refusal(&self) -> Refusal {
        Refusal::new(RefusalCode::TargetUnavailable, "the target gave no role to this session")
            .detail("Your token and your window are fine; the failure is between the gateway and the target.")
            .hint("Tell the operator; the gateway's log has the cause.")
    }
}

/// Where roles of one target are ordered.
#[derive(Clone)]
pub struct Mint {
    jobs: mpsc::Sender<Job>,
    live: Arc<LiveRoles>,
}

/// The keeper's end: what it is asked to do, and which roles are in use.
pub struct Orders {
    /// What to do.
    pub jobs: mpsc::Receiver<Job>,
    /// Roles that must stay.
    pub live: Arc<LiveRoles>,
}

/// What a keeper does when it is asked.
pub enum Job {
    /// Make a role. Whoever answers gives the life of the role on; if nobody waits any more, it ends here.
    Make {
        /// Which.
        order: Order,
        /// Its life.
        minted: Minted,
        /// To the session.
        answer: oneshot::Sender<Result<Fresh, MintError>>,
    },
    /// Let it log in no more; if that fails, [`LiveRoles::unbarred`] still lists it.
    Bar(RoleName),
}

/// What a keeper does next.
pub enum Turn {
    /// What somebody asks for.
    Job(Job),
    /// It looks for roles that are left.
    Sweep,
    /// It ends.
    Stop,
}

/// A role that was made.
pub struct Fresh {
    /// Its name and password.
    pub account: Account,
    /// Its life.
    pub minted: Minted,
}

/// The life of a role: when this is dropped, the role is removed.
pub struct Minted {
    name: RoleName,
    mint: Mint,
}

/// The roles in use. As large as there are sessions; nothing waits while it is locked.
#[derive(Default)]
pub struct LiveRoles {
    names: Mutex<HashMap<RoleName, Logins>>,
    gone: Notify,
}

/// Which logins a role has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logins {
    /// Its session's.
    Own,
    /// None, but the target would let one in: it is still to be barred.
    Open,
    /// None, and the target knows.
    Barred,
}

/// Both ends of what one target's sessions and its keeper say to each other.
pub fn mint() -> (Mint, Orders) {
    let (asked, jobs) = mpsc::channel(QUEUE);
    let live = Arc::<LiveRoles>::default();
    (Mint { jobs: asked, live: Arc::clone(&live) }, Orders { jobs, live })
}

impl Mint {
    /// Orders a role and waits for it.
    pub async fn mint(&self, order: Order, longest: Duration) -> Result<Fresh, MintError> {
        let minted = Minted::new(order.name.clone(), self.clone());
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job::Make { order, minted, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => MintError::Busy,
            mpsc::error::TrySendError::Closed(_) => MintError::Stopping,
        })?;
        match tokio::time::timeout(longest, answered).await {
            Ok(Ok(fresh)) => fresh,
            Ok(Err(_)) => Err(MintError::Stopping),
            Err(_) => Err(MintError::Late(longest)),
        }
    }
}

impl Orders {
    /// Waits for what is next. Of several, chance decides: whoever came first every time would keep the others waiting for as long as
    /// there is work for it.
    pub async fn turn(&mut self, sweep_at: Instant, stop: &CancellationToken) -> Turn {
        tokio::select! {
            job = self.jobs.recv() => job.map_or(Turn::Stop, Turn::Job),
            () = self.live.one_is_gone() => Turn::Sweep,
            () = tokio::time::sleep_until(sweep_at.into()) => Turn::Sweep,
            () = stop.cancelled() => Turn::Stop,
        }
    }

    /// Some of the jobs that wait, if any do.
    pub fn a_few(&mut self) -> Vec<Job> {
        std::iter::from_fn(|| self.jobs.try_recv().ok()).take(A_FEW).collect()
    }
}

impl Minted {
    fn new(name: RoleName, mint: Mint) -> Self {
        mint.live.lock().insert(name.clone(), Logins::Own);
        Minted { name, mint }
    }

    /// With the password that it was made with.
    pub fn with_password(self, password: SecretString) -> Fresh {
        Fresh { account: Account { user: self.name.to_string(), password }, minted: self }
    }

    /// Its only login was made. If the keeper cannot be told now, it finds the role at its next sweep; until then that has its
    /// connection limit and its time.
    pub(super) fn used(&self) {
        self.mint.live.set(&self.name, Logins::Open);
        let _ = self.mint.jobs.try_send(Job::Bar(self.name.clone()));
    }
}

impl Drop for Minted {
    fn drop(&mut self) {
        self.mint.live.lock().remove(&self.name);
        self.mint.live.gone.notify_one();
    }
}

impl LiveRoles {
    fn lock(&self) -> MutexGuard<'_, HashMap<RoleName, Logins>> {
        // The set is whole after any panic: every change is one call.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a role is in use.
    pub fn contains(&self, name: &RoleName) -> bool {
        self.lock().contains_key(name)
    }

    /// The roles that may still log in, and should not.
    pub fn unbarred(&self) -> Vec<RoleName> {
        let open = |(name, logins): (&RoleName, &Logins)| (*logins == Logins::Open).then(|| name.clone());
        self.lock().iter().filter_map(open).collect()
    }

    /// A role takes no login any more, or is gone.
    pub fn barred(&self, name: &RoleName) {
        self.set(name, Logins::Barred);
    }

    /// A role whose session has ended is not listed again.
    fn set(&self, name: &RoleName, logins: Logins) {
        if let Some(known) = self.lock().get_mut(name) {
            *known = logins;
        }
    }

    /// Resolves when a role went out of use since it last did.
    pub async fn one_is_gone(&self) {
        self.gone.notified().await;
    }
}

/// What a keeper tells the gateway, for audit events and counters.
pub trait KeeperReport: Send + Sync {
    /// A role was made.
    fn made(&self);
    /// A role is gone. `earlier`: it was left by an earlier run of this gateway.
    fn removed(&self, role: &RoleName, earlier: Earlier);
    /// A role could not be removed. It can log in no more and is a member of nothing, as far as the target let us; it is tried
    /// again at every sweep, and told of once.
    fn left(&self, role: &RoleName, why: &str);
    /// The target could not be looked at, so what is left there is not known.
    fn unswept(&self);
}

/// Whose a removed role was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Of a session of this process.
    No,
    /// Of a process before it.
    Yes,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: u128) -> Order {
        let principal = Principal::new("corp/t/a").unwrap();
        let session = SessionId::new(uuid::Uuid::from_u128(number));
        let name = RoleName::of_session(&principal, session);
        Order { name, principal, session, roles: vec![], until: Timestamp::UNIX_EPOCH }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_role_is_listed_from_its_order_to_the_end_of_its_lease() {
        let (mint, mut orders) = mint();
        let live = Arc::clone(&orders.live);
        let name = order(1).name;
        let asked = tokio::spawn(async move { mint.mint(order(1), LONG).await });
        let Some(Job::Make { minted, answer, .. }) = orders.jobs.recv().await else { panic!("no order") };
        assert!(live.contains(&name), "not listed before it is made");
        assert!(answer.send(Ok(minted.with_password("secret".into()))).is_ok());
        let fresh = asked.await.unwrap().ok().unwrap();
        assert_eq!(fresh.account.user, name.as_str());
        assert_eq!(live.unbarred(), []);
        fresh.minted.used();
        assert!(matches!(orders.jobs.recv().await, Some(Job::Bar(barred)) if barred == name));
        assert!(live.contains(&name));
        assert_eq!(live.unbarred(), std::slice::from_ref(&name));
        live.barred(&name);
        assert_eq!(live.unbarred(), []);
        drop(fresh);
        live.barred(&name);
        assert!(!live.contains(&name), "it is listed again");
        live.one_is_gone().await;
    }

    #[tokio::test]
    async fn an_order_that_nobody_waits_for_leaves_no_role_listed() {
        let (mint, mut orders) = mint();
        let refused = mint.mint(order(1), Duration::ZERO).await.err();
        assert_eq!(refused, Some(MintError::Late(Duration::ZERO)));
        let Some(Job::Make { order, minted, answer }) = orders.jobs.recv().await else { panic!("no order") };
        // Made all the same, in the meantime.
        assert!(orders.live.contains(&order.name));
        assert!(answer.send(Ok(minted.with_password("secret".into()))).is_err());
        assert!(!orders.live.contains(&order.name));
        orders.live.one_is_gone().await;
    }

    #[tokio::test]
    async fn a_role_whose_bar_found_no_place_is_to_be_barred_all_the_same() {
        let (mint, mut orders) = mint();
        let name = order(1).name;
        let minted = Minted::new(name.clone(), mint.clone());
        for _ in 0..QUEUE {
            mint.jobs.try_send(Job::Bar(order(2).name)).ok().unwrap();
        }
        minted.used();
        assert_eq!(orders.live.unbarred(), std::slice::from_ref(&name));
        drop(mint);
        let mut told = 0;
        while let Ok(job) = orders.jobs.try_recv() {
            assert!(!matches!(job, Job::Bar(barred) if barred == name), "there was a place");
            told += 1;
        }
        assert_eq!(told, QUEUE);
        drop(minted);
        assert_eq!(orders.live.unbarred(), []);
    }

    /// More than chance could take from any of them.
    const TURNS: usize = 1000;

    /// Until a turn is as wanted, while jobs and ended sessions never run out.
    async fn comes(orders: &mut Orders, mint: &Mint, stop: &CancellationToken, wanted: fn(&Turn) -> bool) {
        let now = Instant::now();
        for _ in 0..TURNS {
            orders.live.gone.notify_one();
            // The queue may be full.
            let _ = mint.jobs.try_send(Job::Bar(order(9).name));
            if wanted(&orders.turn(now, stop).await) {
                return;
            }
        }
        panic!("not in {TURNS} turns")
    }

    #[tokio::test]
    async fn neither_jobs_nor_ended_sessions_keep_the_other_waiting() {
        let ((mint, mut orders), stop) = (mint(), CancellationToken::new());
        comes(&mut orders, &mint, &stop, |turn| matches!(turn, Turn::Sweep)).await;
        comes(&mut orders, &mint, &stop, |turn| matches!(turn, Turn::Job(_))).await;
        stop.cancel();
        comes(&mut orders, &mint, &stop, |turn| matches!(turn, Turn::Stop)).await;
    }

    #[tokio::test]
    async fn a_sweep_is_held_up_by_a_few_jobs_at_a_time() {
        let (mint, mut orders) = mint();
        for _ in 0..5 {
            mint.jobs.try_send(Job::Bar(order(9).name)).ok().unwrap();
        }
        let counts: Vec<usize> = (0..4).map(|_| orders.a_few().len()).collect();
        assert_eq!(counts, [2, 2, 1, 0]);
    }

    #[tokio::test]
    async fn without_a_keeper_there_is_no_role() {
        let (mint, orders) = mint();
        let live = Arc::clone(&orders.live);
        drop(orders);
        assert_eq!(mint.mint(order(1), LONG).await.err(), Some(MintError::Stopping));
        assert!(!live.contains(&order(1).name));
    }

    #[test]
    fn a_client_is_told_nothing_of_the_target() {
        let refusal = MintError::Refused("42501".into()).refusal();
        let all = format!("{} {} {}", refusal.message, refusal.detail, refusal.hint);
        assert!(!all.contains("42501") && all.contains("Your token and your window are fine"), "{all}");
    }
}
