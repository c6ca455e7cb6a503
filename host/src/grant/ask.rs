//! Requests, decisions and revocations: what the API and the CLI ask of this module.

use super::policy::{Access, StillAsks};
use super::{
    AboutProblem, Grants, Inner, LOOK_EVERY, MAX_KEY_BYTES, MAX_OPENED_PER_DAY, MAX_PENDING_REQUESTS,
    MAX_REASON_CHARS, MAX_REQUESTS_PER_MINUTE, MAX_TICKET_CHARS, may_ask, words,
};
use crate::identity::{Completeness, Identity};
use crate::state::{
    DecideProblem, EndWindow, NewRequest, Opening, Requested, SessionRow, Spent, StateError, StoredApproval,
    StoredWindow, Vote,
};
use chaperone_core::Timestamp;
use chaperone_core::approval::{
    Approval, ApprovalId, ApprovalProblem, AskProblem, Matter, State as Standing, Verdict, WindowTerms,
    is_text,
};
use chaperone_core::grant::{Choice, Grant, Hours, Match, Occasion, Ticket, When, choose};
use chaperone_core::identity::IdentityFacts;
use chaperone_core::name::{GroupAlias, RequestId, TargetName, WindowId};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::window::{Opened, Window, WindowOf, between};
use std::sync::Arc;
use std::time::Duration;

/// Why the answer is no. The texts are what clients read.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No grant, or no such target.
    #[error(
        "Access to this target is not granted to you. Either there is no such target, or no grant names you, one of \
         your groups or your app roles."
    )]
    NotGranted,
    /// Longer than any grant allows.
    #[error("The longest window that is granted to you on this target is {}.", humantime::format_duration(*.0))]
    TooLong(Duration),
    /// Not a duration that a window can have.
    #[error("A duration is at least 1 second, in whole seconds.")]
    Duration,
    /// A rule of the policy denies it, or it is not the time or the place; the words are the refusal's.
    #[error("{0}")]
    Barred(Refusal),
    /// The grant wants a ticket.
    #[error(
        "This grant wants a ticket: name it, 1 to {MAX_TICKET_CHARS} characters without control characters."
    )]
    TicketNeeded,
    /// Not the name of a ticket.
    #[error("A ticket is named in 1 to {MAX_TICKET_CHARS} characters, without control characters.")]
    Ticket,
    /// The grant has no more windows for the caller yet.
    #[error("{}", spent(.0))]
    Spent(Spent),
    /// People approved, but the requester may have no other window yet.
    #[error("No window can open for the requester yet: {}", spent(.0))]
    RequesterSpent(Spent),
    /// People approved outside the grant's hours.
    #[error("The grant's hours are {0}: it can be approved then. Your decision was not kept.")]
    OutsideHours(Box<Hours>),
    /// Nobody can be explained by that.
    #[error("It cannot be explained: {0}.")]
    About(AboutProblem),
    /// No reason, or not a short plain text.
    #[error("A reason is needed: 1 to 500 characters, without control characters.")]
    Reason,
    /// Not a key.
    #[error("An idempotency key is 1 to 128 printable ASCII characters without spaces.")]
    Key,
    /// The key was used for something else.
    #[error("This idempotency key belongs to a request with another target, duration, ticket or reason.")]
    KeyReused,
    /// Too many requests wait.
    #[error("You have 20 pending requests already. Wait until one is answered or expires.")]
    TooMany,
    /// Too many requests in a short time; when the next may come, in whole seconds.
    #[error("You may ask {MAX_REQUESTS_PER_MINUTE} times in a minute. Ask again in {}.", humantime::format_duration(*.0))]
    TooFast(Duration),
    /// Too many windows.
    #[error(
        "{MAX_OPENED_PER_DAY} windows were opened to you within a day. Ask for longer ones, and again later."
    )]
    TooManyOpened,
    /// The grant cannot be asked (the configuration is checked, so this should not happen).
    #[error("This grant cannot be asked for: {0}.")]
    Unusable(AskProblem),
    /// No such thing, or not the caller's.
    #[error("There is nothing of this id that you may see.")]
    NotFound,
    /// A rule of approvals is against it.
    #[error("This cannot be decided: {0}.")]
    Rule(ApprovalProblem),
    /// It would be asked of others, or not at all, today.
    #[error(
        "The policy has changed since this was asked: it cannot be approved any more. Let it be asked again."
    )]
    PolicyChanged,
    /// The window is over.
    #[error("This window is over already.")]
    AlreadyOver,
    /// Not how long somebody can be denied.
    #[error(
        "An entry of the deny list holds for 1 second to 366 days, or without a duration until it is lifted."
    )]
    DenialLength,
    /// It would lock its maker out.
    #[error("This entry would deny you access, too. Ask another operator to make it.")]
    DeniesItself,
    /// The list is full.
    #[error("The deny list has 1000 entries already. Lift some, or deny a client or a blueprint as a whole.")]
    TooManyDenials,
    /// Too many preservations hold.
    #[error("1000 preservations hold already. Release some, or preserve a target or a principal as a whole.")]
    TooManyPreservations,
    /// The store or the runtime failed; the words are the refusal's.
    #[error("{0}")]
    Failed(Refusal),
}

/// When another window may open, and why not now.
fn spent(spent: &Spent) -> String {
    match spent {
        Spent::CoolDown(until) => {
            format!("the grant wants a pause after each window, which ends at {until}.")
        }
        Spent::Today(until) => {
            format!(
                "as many windows as the grant allows in 24 hours were opened. The next may open at {until}."
            )
        }
    }
}

/// Whether a text says why: not empty, short, and with nothing in it that steers a terminal.
pub fn is_reason(text: &str) -> bool {
    !text.trim().is_empty() && is_text(text, MAX_REASON_CHARS)
}

/// A time to wait, never said shorter than it is.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

impl AskError {
    /// The nearest class of refusal, for callers that are no HTTP clients.
    pub fn refusal(self) -> Refusal {
        let code = match &self {
            AskError::Failed(refusal) | AskError::Barred(refusal) => return refusal.clone(),
            AskError::NotGranted | AskError::NotFound | AskError::Rule(_) => RefusalCode::NotGranted,
            AskError::TooMany
            | AskError::TooFast(_)
            | AskError::TooManyOpened
            | AskError::TooManyDenials
            | AskError::TooManyPreservations
            | AskError::Spent(_) => RefusalCode::LimitReached,
            AskError::AlreadyOver => RefusalCode::WindowClosed,
            _ => RefusalCode::NotUnderstood,
        };
        Refusal::new(code, self.to_string())
    }
}

impl AskError {
    /// The same to a caller of whom not all is known: what they may not have or see now may be theirs once their provider
    /// answers. Still no (fails closed), but another word.
    pub(crate) fn to(self, identity: &Identity) -> Self {
        match (&self, identity.completeness()) {
            (AskError::NotGranted | AskError::NotFound, Completeness::Open) => {
                AskError::Failed(words::provider_silent())
            }
            _ => self,
        }
    }
}

impl From<AskError> for Refusal {
    fn from(error: AskError) -> Refusal {
        error.refusal()
    }
}

impl From<StateError> for AskError {
    fn from(error: StateError) -> Self {
        AskError::Failed(words::store_failed(error))
    }
}

/// What became of an access request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It was asked now. With `when: requested` its window is open.
    New(StoredApproval, Option<StoredWindow>),
    /// It was asked before.
    Repeated(StoredApproval, Option<StoredWindow>),
    /// A window at least as long is open already. It is not extended.
    AlreadyOpen(StoredWindow),
}

/// A window that somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// On what.
    pub target: &'a TargetName,
    /// Why, in their words.
    pub reason: &'a str,
    /// The ticket that it is for.
    pub ticket: Option<&'a str>,
    /// How long; as long as possible where nothing is said.
    pub duration: Option<Duration>,
    /// The same key and terms are the same request.
    pub key: Option<&'a str>,
}

impl<'a> Wish<'a> {
    /// For as long as possible, without a ticket or a key.
    pub fn new(target: &'a TargetName, reason: &'a str) -> Self {
        Wish { target, reason, ticket: None, duration: None, key: None }
    }

    fn check(&self) -> Result<(), AskError> {
        if !is_reason(self.reason) {
            return Err(AskError::Reason);
        }
        if self.ticket.is_some_and(|ticket| ticket.trim().is_empty() || !is_text(ticket, MAX_TICKET_CHARS)) {
            return Err(AskError::Ticket);
        }
        let fits = |key: &str| {
            (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !self.key.is_none_or(fits) {
            return Err(AskError::Key);
        }
        if self.duration.is_some_and(|wanted| wanted.is_zero() || wanted.subsec_nanos() != 0) {
            return Err(AskError::Duration);
        }
        Ok(())
    }
}

impl Grants {
    /// Asks for a window.
    pub async fn request(
        &self,
        identity: &Identity,
        wish: Wish<'_>,
        occasion: impl Into<Occasion>,
    ) -> Result<RequestOutcome, AskError> {
        let (facts, occasion) = (identity.facts(), occasion.into());
        let now = occasion.at;
        may_ask(facts).map_err(AskError::Failed)?;
        wish.check()?;
        // Before the policy is asked, so that targets cannot be guessed any faster.
        self.inner
            .pace
            .count(&facts.principal, now)
            .map_err(|rest| AskError::TooFast(whole_seconds(rest)))?;
        let policy = self.inner.policy.load_full();
        let covering: Vec<&Grant> = match policy.access(facts, wish.target, &occasion) {
            Access::Granted { grants, .. } => grants.into_iter().map(|(grant, _)| grant).collect(),
            Access::Denied(rule) => return Err(AskError::Barred(words::denied_by_rule(rule))),
            Access::NotNow(grants) => return Err(AskError::Barred(words::not_now(&grants))),
            Access::NotGranted => return Err(AskError::NotGranted.to(identity)),
        };
        let grant = match choose(covering.iter().copied(), wish.duration, now) {
            Choice::Grant(grant) => grant,
            // Less than a second is left of the hours.
            Choice::TooLong(longest) if longest.is_zero() => {
                return Err(AskError::Barred(words::not_now(&covering)));
            }
            Choice::TooLong(longest) => return Err(AskError::TooLong(longest)),
            Choice::NoGrant => return Err(AskError::NotGranted.to(identity)),
        };
        if grant.ticket == Ticket::Required && wish.ticket.is_none() {
            return Err(AskError::TicketNeeded);
        }
        let mut new = new_request(facts, grant, &wish, now)?;
        new.key = wish.key.map(str::to_owned);
        new.grants = covering.into_iter().cloned().collect();
        let inner = self.inner.clone();
        self.home(async move { inner.request(new, now).await }).await
    }

    /// One person decides on an access request or on a held operation.
    pub async fn decide(
        &self,
        approver: &Identity,
        which: ApprovalId,
        verdict: Verdict,
        comment: &str,
        now: Timestamp,
    ) -> Result<StoredApproval, AskError> {
        // Asked before the store is, so that an agent does not even learn which ids exist.
        let may = self.inner.policy.load().persons.may_approve(approver.facts());
        may.map_err(AskError::Rule)?;
        let (inner, facts, comment) = (self.inner.clone(), approver.facts().clone(), comment.to_owned());
        let decided =
            self.home(async move { inner.decide(facts, which, verdict, &comment, now).await }).await;
        decided.map_err(|error| error.to(approver))
    }

    /// Ends a window early. Its owner may, and any operator; for others it does not exist.
    pub async fn end_window(
        &self,
        identity: &Identity,
        window: WindowId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), AskError> {
        if !is_reason(reason) {
            return Err(AskError::Reason);
        }
        let (inner, facts, reason) = (self.inner.clone(), identity.facts().clone(), reason.to_owned());
        let ended = self.home(async move { inner.end_window(facts, window, &reason, now).await }).await;
        ended.map_err(|error| error.to(identity))
    }

    /// One access request: its requester sees it, who sees everything, and who may decide on it.
    pub async fn request_of(&self, identity: &Identity, id: RequestId) -> Result<StoredApproval, AskError> {
        // Each time: who waits may be denied in the meantime.
        self.inner.admit(identity, self.inner.clock.now()).map_err(AskError::Failed)?;
        let mut stored = self
            .inner
            .state
            .approval(ApprovalId::Request(id))
            .await?
            .ok_or(AskError::NotFound.to(identity))?;
        let visible = self.inner.policy.load().shows_or_is_of(&mut stored, identity.facts());
        if visible { Ok(stored) } else { Err(AskError::NotFound.to(identity)) }
    }

    /// The same, once it is no longer pending, or after `longest`.
    pub async fn wait_for_request(
        &self,
        identity: &Identity,
        id: RequestId,
        longest: Duration,
    ) -> Result<StoredApproval, AskError> {
        let mut changed = self.inner.approvals_changed.subscribe();
        let give_up = tokio::time::Instant::now() + longest;
        loop {
            changed.mark_unchanged();
            let stored = self.request_of(identity, id).await?;
            let now = self.inner.clock.now();
            let rest = give_up.saturating_duration_since(tokio::time::Instant::now());
            if stored.approval.state(now) != Standing::Pending || rest.is_zero() {
                return Ok(stored);
            }
            let rest = rest.min(LOOK_EVERY).min(between(now, stored.approval.deadline()));
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = changed.changed() => {}
            }
        }
    }

    /// Windows: an operator's and an auditor's view is of all, anybody else's of their own.
    pub async fn windows(&self, identity: &Identity) -> Result<Vec<StoredWindow>, AskError> {
        Ok(match self.sees_everything(identity) {
            Match::Proved => self.inner.state.windows(None).await?,
            Match::NotProved => self.inner.state.windows(Some(&identity.facts().principal)).await?,
        })
    }

    /// One window by its id, for whoever may see its request.
    pub async fn window_opened(&self, id: WindowId) -> Result<Option<StoredWindow>, AskError> {
        Ok(self.inner.state.window(id).await?)
    }

    /// Access requests: an operator's and an auditor's view is of all, anybody else's of their own.
    pub async fn requests(&self, identity: &Identity) -> Result<Vec<StoredApproval>, AskError> {
        Ok(match self.sees_everything(identity) {
            Match::Proved => self.inner.state.requests(None).await?,
            Match::NotProved => self.inner.state.requests(Some(&identity.facts().principal)).await?,
        })
    }

    /// What waits for people: operators and auditors see all of it, an approver what they may decide, anybody else nothing.
    pub async fn approvals(&self, identity: &Identity) -> Result<Vec<StoredApproval>, AskError> {
        let policy = self.inner.policy.load_full();
        let visible = |stored: &mut StoredApproval| policy.shows(stored, identity.facts());
        Ok(self.inner.state.pending_approvals(self.inner.clock.now(), visible).await?)
    }

    /// Sessions, live and past: an operator's and an auditor's view is of all, anybody else's of their own.
    pub async fn sessions(&self, identity: &Identity) -> Result<Vec<SessionRow>, AskError> {
        Ok(match self.sees_everything(identity) {
            Match::Proved => self.inner.state.sessions(None).await?,
            Match::NotProved => self.inner.state.sessions(Some(&identity.facts().principal)).await?,
        })
    }

    pub(super) async fn home<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, AskError>> + Send + 'static,
    ) -> Result<T, AskError> {
        self.at_home(work).await.map_err(AskError::Failed)?
    }
}

impl Inner {
    async fn request(self: Arc<Self>, new: NewRequest, now: Timestamp) -> Result<RequestOutcome, AskError> {
        let outcome = self.state.request(new, now).await?;
        self.tell_waiters();
        match outcome {
            Requested::New(stored, window) => Ok(RequestOutcome::New(stored, window)),
            Requested::Repeated(stored, window) => Ok(RequestOutcome::Repeated(stored, window)),
            Requested::AlreadyOpen(window) => Ok(RequestOutcome::AlreadyOpen(window)),
            Requested::KeyReused => Err(AskError::KeyReused),
            Requested::TooMany => Err(AskError::TooMany),
            Requested::TooManyOpened => Err(AskError::TooManyOpened),
            Requested::Spent(spent) => Err(AskError::Spent(spent)),
        }
    }

    async fn decide(
        self: Arc<Self>,
        approver: IdentityFacts,
        which: ApprovalId,
        verdict: Verdict,
        comment: &str,
        now: Timestamp,
    ) -> Result<StoredApproval, AskError> {
        let window = WindowId::new(uuid::Uuid::now_v7());
        let policy = self.policy.load_full();
        let members = |alias: &GroupAlias| policy.members(alias);
        let mut opening = Opening::default();
        if verdict == Verdict::Approve
            && let Some(mut stored) = self.state.approval(which).await?
        {
            stored.approval.renew_members(members);
            // Not told to who is none of its approvers.
            if stored.approval.may_decide(&approver, &policy.persons).is_ok() {
                opening = match policy.still_asks(&stored, now) {
                    StillAsks::Yes(opening) => opening,
                    StillAsks::NotNow(hours) => return Err(AskError::OutsideHours(Box::new(hours))),
                    StillAsks::No => return Err(AskError::PolicyChanged),
                };
            }
        }
        let persons = &policy.persons;
        let vote = Vote { approver: &approver, persons, verdict, comment, window, opening: &opening };
        let decided = self.state.decide(which, members, vote, now).await?;
        self.tell_waiters();
        decided.map_err(|problem| match problem {
            // To who is no approver, what they may not decide and what does not exist look alike.
            DecideProblem::Unknown | DecideProblem::Rule(ApprovalProblem::NotAnApprover) => {
                AskError::NotFound
            }
            DecideProblem::Rule(problem) => AskError::Rule(problem),
            DecideProblem::Spent(spent) => AskError::RequesterSpent(spent),
        })
    }

    async fn end_window(
        self: Arc<Self>,
        facts: IdentityFacts,
        id: WindowId,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), AskError> {
        let window = self.state.window(id).await?.ok_or(AskError::NotFound)?.window;
        let policy = self.policy.load_full();
        if !policy.persons.are_same(window.principal(), &facts.principal)
            && policy.is_operator(&facts) == Match::NotProved
        {
            return Err(AskError::NotFound);
        }
        match self.state.end_window(id, &facts.principal, reason, now).await? {
            EndWindow::Ended(ended) => {
                // Live sessions here hear of it now; other gateways at their next look.
                self.live.ended(vec![ended]);
                Ok(())
            }
            EndWindow::AlreadyOver => Err(AskError::AlreadyOver),
            EndWindow::Unknown => Err(AskError::NotFound),
        }
    }
}

/// What to store for a request under this grant.
fn new_request(
    facts: &IdentityFacts,
    grant: &Grant,
    wish: &Wish<'_>,
    now: Timestamp,
) -> Result<NewRequest, AskError> {
    let longest = grant.longest(now);
    let length = wish.duration.unwrap_or(longest);
    let terms = WindowTerms {
        target: grant.target.clone(),
        seconds: length.as_secs(),
        reason: wish.reason.to_owned(),
        ticket: wish.ticket.map(str::to_owned),
    };
    let requester = facts.principal.clone();
    let matter = Matter::Window(terms);
    let (approval, window) = match &grant.when {
        When::Requested => {
            let of = WindowOf {
                id: WindowId::new(uuid::Uuid::now_v7()),
                principal: requester.clone(),
                target: grant.target.clone(),
                opened: Opened::Requested,
            };
            let window = Window::open(of, now, length, longest).map_err(|_| AskError::Duration)?;
            (Approval::by_policy(requester, matter, now), Some(window))
        }
        When::Approved { requirements, patience } => {
            let asked = Approval::ask(requester, matter, requirements.clone(), now, *patience);
            (asked.map_err(AskError::Unusable)?, None)
        }
    };
    let id = RequestId::new(uuid::Uuid::now_v7());
    Ok(NewRequest {
        id,
        caller: facts.into(),
        approval,
        window,
        key: None,
        grants: Vec::new(),
        limit: MAX_PENDING_REQUESTS,
        opened_limit: MAX_OPENED_PER_DAY,
        amounts: grant.amounts.clone(),
    })
}
