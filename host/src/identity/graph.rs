//! Microsoft Graph: what a token leaves open about its caller.
//!
//! Entra puts no groups into the tokens of applications and leaves them out where they are too many, and its markers of agents
//! can be missing. Where a provider has `graph`, its tenant's own directory is asked. This is the second module that makes an
//! [`Identity`], beside the reading of tokens: it adds to one that a token has proved, and vouches for persons who have no token
//! here ([`Identities::vouched`]).
//!
//! What may go wrong: Graph is slow, or down. Then nothing is added, and the identity says so ([`Completeness::Open`]): it may do
//! what its token alone proves, and is told to come back where that is not enough.
//!
//! Whoever asks for a target must not learn from the time an answer takes whether it exists. So the groups of the whole policy
//! are asked for at once, whatever the target is.

mod client;
mod config;
mod known;
mod seen;
#[cfg(test)]
mod tests;

pub use config::{ClientSecret, GraphConfig};
use known::Silent;
use seen::{Lost, Seen};

use super::config::{Cloud, LoopbackHttp, ProviderProblem};
use super::fetch::Fetcher;
use super::{Completeness, Identities, Identity, claims};
use chaperone_core::Timestamp;
use chaperone_core::identity::{Audience, CallerKind, Groups, IdentityFacts};
use chaperone_core::name::{Principal, ProviderName};
use chaperone_core::refusal::{Refusal, RefusalCode};
use client::{Client, Place};
use known::{Known, Question, Whom};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// How long a look-up may take, with all its calls.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many groups are asked for: 20 calls for a caller whose answer has run out. Groups past that are held by nobody whose token
/// does not list them; `check` refuses such a file.
pub const MAX_ASKED: usize = 400;

/// What stands in the place of a token's id where there is none.
const VOUCHED: &str = "vouched-for-by-the-directory";

/// The groups of a provider that the policy of the moment names.
pub type PolicyGroups<'a> = &'a (dyn Fn(&ProviderName) -> BTreeSet<String> + Send + Sync);

/// The Graph of one provider.
pub(super) struct Graph {
    known: Arc<Known>,
    cache_seconds: i64,
    recheck: Duration,
    /// The gateway's own application.
    client_id: String,
    /// What was asked last: the same for everybody until the policy changes, and kept once.
    asked: Mutex<Arc<BTreeSet<String>>>,
}

/// Checks and builds what asks for a provider's tenants.
pub(super) fn build(
    provider: &ProviderName,
    config: &GraphConfig,
    (cloud, tenants): (Cloud, &[String]),
    loopback: LoopbackHttp,
    fetcher: &Arc<Fetcher>,
) -> Result<Graph, ProviderProblem> {
    if !claims::is_guid(&config.client_id.to_ascii_lowercase()) {
        return Err(ProviderProblem::Client(config.client_id.clone()));
    }
    let (graph, tokens) = config.addresses(cloud, loopback)?;
    let client = |tenant: &String| {
        let tenant = tenant.to_ascii_lowercase();
        let client = Client {
            fetcher: Arc::clone(fetcher),
            token_url: tokens.with_path(&[&tenant, "oauth2", "v2.0", "token"], None),
            graph: graph.clone(),
            scope: format!("{}/.default", cloud.graph()),
            client_id: config.client_id.clone(),
            secret: config.secret.clone(),
            token: tokio::sync::Mutex::default(),
            quiet_until: AtomicI64::new(i64::MIN),
            no_sponsors_until: AtomicI64::new(i64::MIN),
        };
        (tenant, client)
    };
    let clients: HashMap<String, Client> = tenants.iter().map(client).collect();
    Ok(Graph {
        known: Arc::new(Known::new(provider.clone(), clients, config.patience)),
        cache_seconds: i64::try_from(config.cache.as_secs()).unwrap_or(0),
        recheck: config.recheck,
        client_id: config.client_id.clone(),
        asked: Mutex::default(),
    })
}

/// How old an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// As old as the configuration says.
    Cached,
    /// From now on.
    Fresh,
}

impl Graph {
    async fn look(
        &self,
        facts: &IdentityFacts,
        groups: BTreeSet<String>,
        age: Age,
        now: Timestamp,
        runtime: &Handle,
    ) -> Result<Arc<Seen>, Silent> {
        let whom = Whom { tenant: facts.tenant.clone(), object_id: facts.object_id.clone() };
        self.look_at(whom, place(facts.kind), groups, age, now, runtime).await
    }

    async fn look_at(
        &self,
        whom: Whom,
        place: Place,
        groups: BTreeSet<String>,
        age: Age,
        now: Timestamp,
        runtime: &Handle,
    ) -> Result<Arc<Seen>, Silent> {
        let not_before = match age {
            // Exclusive: an answer counts for less than the whole time.
            Age::Cached => Timestamp::from_second(now.as_second() - self.cache_seconds + 1),
            Age::Fresh => Ok(now),
        };
        let not_before = not_before.map_err(|_| Silent)?;
        let question = Question { whom, place, groups: self.once(groups), not_before };
        self.known.ask(&question, now, runtime).await
    }

    /// One copy of what is asked, however many answers there are.
    fn once(&self, groups: BTreeSet<String>) -> Arc<BTreeSet<String>> {
        // A group by name, which `check` warns about, is none that Graph could be asked about.
        let groups: BTreeSet<String> =
            groups.into_iter().filter(|id| claims::is_guid(id)).take(MAX_ASKED).collect();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if **asked != groups {
            *asked = Arc::new(groups);
        }
        Arc::clone(&asked)
    }
}

/// Where a caller's object is.
fn place(kind: CallerKind) -> Place {
    match kind {
        CallerKind::Human | CallerKind::HumanThroughAgent | CallerKind::AgentUser => Place::Users,
        CallerKind::Agent | CallerKind::Workload => Place::Applications,
        CallerKind::Unknown => Place::Either,
    }
}

/// Whether a token leaves open what Graph can say.
fn leaves_open(facts: &IdentityFacts) -> bool {
    facts.groups == Groups::Unknown || matches!(facts.kind, CallerKind::Workload | CallerKind::Unknown)
}

impl Identities {
    /// Adds what the token left open, as the provider's Graph says it: whether the caller is in the policy's `groups`, and whether an
    /// application is an agent. No address out of a token is called for it, and no target has a part in it.
    ///
    /// Waits for one look-up at most, ten seconds. Where Graph does not answer the identity is what its token proves.
    ///
    /// # Errors
    /// The account is gone or disabled, or its sign-ins were revoked.
    pub async fn complete(
        &self,
        identity: Identity,
        groups: PolicyGroups<'_>,
        now: Timestamp,
    ) -> Result<Identity, Refusal> {
        let facts = identity.facts();
        let Some(graph) = self.graphs.get(&facts.provider).filter(|_| leaves_open(facts)) else {
            return Ok(identity);
        };
        let seen = graph.look(facts, groups(&facts.provider), Age::Cached, now, &self.runtime()).await;
        match seen.map(|seen| seen.complete(facts)) {
            Ok(Ok(facts)) => Ok(Identity { facts: Arc::new(facts), completeness: Completeness::Complete }),
            Ok(Err(lost)) => Err(no_longer_counts(lost)),
            Err(Silent) => Ok(Identity { completeness: Completeness::Open, ..identity }),
        }
    }
}

/// What a provider says now of a caller who is in.
#[derive(Debug, Clone)]
pub(crate) struct Standing(Arc<Seen>);

impl Standing {
    /// What is no longer as it was when these facts let somebody in.
    pub(crate) fn lost(&self, facts: &IdentityFacts) -> Option<&'static str> {
        self.0.no_longer(facts).map(Lost::as_str)
    }
}

impl Identities {
    /// The providers whose callers are looked at again while they are in, and how often.
    pub(crate) fn rechecks(&self) -> impl Iterator<Item = (ProviderName, Duration)> {
        self.graphs.iter().map(|(provider, graph)| (provider.clone(), graph.recheck))
    }

    /// What the provider says now of somebody who is in; no answer from before counts. `None` while it does not answer: then
    /// nothing has changed (IDENTITY: sessions go on until their own end).
    pub(crate) async fn standing(
        &self,
        facts: &IdentityFacts,
        groups: PolicyGroups<'_>,
        now: Timestamp,
    ) -> Option<Standing> {
        let graph = self.graphs.get(&facts.provider)?;
        let seen = graph.look(facts, groups(&facts.provider), Age::Fresh, now, &self.runtime()).await;
        seen.ok().map(Standing)
    }
}

impl Identities {
    /// An identity for a person who is not here with a token, of whom another channel has proved that it is this principal: a
    /// decision by a signed message, for one.
    ///
    /// A second maker of [`Identity`], because such a decision has to go through the same rules as any other, and they ask for one. Its
    /// proof is the directory's own word, not older than any other answer of it: the principal is spelled as a token would
    /// spell it, its tenant is one that is configured, and the account is an enabled member's, no guest's and no agent's. It says
    /// nothing of who sent the message: that is the caller's to prove. It has no app roles, lasts as long as the answer counts, and
    /// is in those of the policy's groups that the directory says.
    ///
    /// # Errors
    /// Anything else, and while Graph does not answer: fails closed.
    pub(crate) async fn vouched(
        &self,
        principal: &Principal,
        groups: PolicyGroups<'_>,
        now: Timestamp,
    ) -> Result<Identity, Refusal> {
        let (provider, tenant, object_id) = parts(principal).ok_or_else(nobody)?;
        let graph = self.graphs.get(&provider).ok_or_else(no_directory)?;
        if !graph.known.asks_in(tenant) {
            return Err(nobody());
        }
        let whom = Whom { tenant: tenant.to_owned(), object_id: object_id.to_owned() };
        let asked = groups(&provider);
        let seen = graph.look_at(whom, Place::Users, asked, Age::Cached, now, &self.runtime()).await;
        let seen = seen.map_err(|Silent| silent())?;
        let account = seen.member().ok_or_else(nobody)?;
        let ends = seen.at.as_second() + graph.cache_seconds;
        let facts = IdentityFacts {
            principal: principal.clone(),
            tenant: tenant.to_owned(),
            object_id: object_id.to_owned(),
            kind: CallerKind::Human,
            groups: Groups::Asked { held: account.held.clone(), asked: seen.asked.as_ref().clone() },
            roles: BTreeSet::new(),
            // No application acts for them; the gateway has asked.
            actor: graph.client_id.clone(),
            blueprint: None,
            display_name: None,
            sponsors: Vec::new(),
            // It decides, and opens nothing.
            audience: Audience::Approvers,
            credential_id: VOUCHED.to_owned(),
            issued_at: seen.at,
            expires_at: Timestamp::from_second(ends).map_err(|_| nobody())?,
            provider,
        };
        Ok(Identity { facts: Arc::new(facts), completeness: Completeness::Complete })
    }
}

/// A principal of this module's providers, taken apart; none in another spelling than tokens have.
fn parts(principal: &Principal) -> Option<(ProviderName, &str, &str)> {
    let mut parts = principal.as_str().split('/');
    let (provider, tenant, object_id) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && claims::is_guid(tenant) && claims::is_guid(object_id);
    Some((ProviderName::new(provider).ok().filter(|_| whole)?, tenant, object_id))
}

/// The same words for every reason: who sends such a message may try any principal.
fn nobody() -> Refusal {
    Refusal::new(RefusalCode::CredentialInvalid, "the directory knows no enabled member under this principal")
        .hint("Check how the person is named in the configuration, and their account.")
}

/// Of a provider whose directory is not asked nobody is vouched for: fails closed.
fn no_directory() -> Refusal {
    let what =
        "this gateway cannot look up which groups you are in, so nobody decides without a token of theirs";
    Refusal::new(RefusalCode::ProviderUnavailable, what).hint("Open the page to decide.")
}

fn silent() -> Refusal {
    Refusal::new(RefusalCode::ProviderUnavailable, "the identity provider does not answer now")
        .hint("Try again in a few seconds; tell the operator if it stays so.")
}

fn no_longer_counts(lost: Lost) -> Refusal {
    tracing::info!(why = lost.as_str(), "a valid token does not count any more");
    Refusal::new(RefusalCode::CredentialInvalid, "the token does not count any more")
        .detail(chaperone_core::refusal::sentence(lost.as_str()))
        .hint("Sign in again if you may; ask your administrator otherwise.")
}
