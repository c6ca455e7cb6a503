//! What is asked of Microsoft Graph, version 1.0, in one tenant.
//!
//! By an application of the gateway's own, with client credentials ("Microsoft identity platform and the OAuth 2.0 client
//! credentials flow", learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow). Addresses are made of the
//! configured cloud, the tenant and the object's id; none comes out of a token or an answer. Answers are read
//! strictly: what is not as documented counts as no answer.
//!
//! What may go wrong: somebody else's answer. So the answer's id has to be the one that was asked about, and its groups
//! have to be among those that were.

use super::super::claims;
use super::super::fetch::{Answer, DocumentUrl, FetchError, Fetcher};
use super::super::json::{Json, Object};
use super::ClientSecret;
use super::seen::{Account, AccountKind};
use chaperone_core::Timestamp;
use chaperone_core::identity::Sponsor;
use reqwest::{Method, StatusCode, Url, header};
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// How many groups one call may be about ("directoryObject: checkMemberGroups", learn.microsoft.com/graph/api/directoryobject-checkmembergroups).
const GROUPS_PER_CALL: usize = 20;

/// A token is not used in its last seconds, so that none expires on its way.
const TOKEN_RESERVE_SECONDS: i64 = 60;

/// The longest time that a token is used, whatever is said about it. Graph's live 60 to 90 minutes.
const MAX_TOKEN_SECONDS: i64 = 24 * 60 * 60;

/// How long nothing is asked after an answer that says "too many" without saying until when ("Microsoft Graph throttling guidance",
/// learn.microsoft.com/graph/throttling), in seconds.
const QUIET_SECONDS: u32 = 10;

/// The longest time that such an answer may silence us, in seconds.
const MAX_QUIET_SECONDS: u32 = 300;

/// How many sponsors of an agent are kept; it may have 100 ("agentIdentity: Add sponsors", learn.microsoft.com/graph/api/agentidentity-post-sponsors).
const MAX_SPONSORS: usize = 5;

/// How long the question for sponsors may take. It is asked last, and nothing waits for its answer but this.
const SPONSORS_PATIENCE: Duration = Duration::from_secs(2);

/// How long nobody is asked for sponsors after Graph said that we may not know, in seconds.
const NO_SPONSORS_SECONDS: i64 = 3600;

/// Where an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Users,
    Applications,
    /// The token does not say; the object itself does.
    Either,
}

impl Place {
    fn segment(self) -> &'static str {
        match self {
            Place::Users => "users",
            Place::Applications | Place::Either => "servicePrincipals",
        }
    }
}

/// Why Graph has not answered. Texts carry nothing but what was configured.
#[derive(Debug, thiserror::Error)]
pub(super) enum GraphError {
    #[error("the client's secret cannot be read: {0}")]
    Secret(String),
    #[error("no token for Graph: {0}")]
    Token(Box<GraphError>),
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("Graph asked to be left alone for a while")]
    Quiet,
    #[error("the answer is not as documented: {0}")]
    Answer(&'static str),
    #[error("it took too long")]
    Late,
}

/// Asks in one tenant.
pub(super) struct Client {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) graph: DocumentUrl,
    pub(super) token_url: DocumentUrl,
    pub(super) scope: String,
    pub(super) client_id: String,
    pub(super) secret: ClientSecret,
    /// Locked while a token is fetched, so that it is fetched once.
    pub(super) token: Mutex<Option<Token>>,
    /// Nothing is asked before this second.
    pub(super) quiet_until: AtomicI64,
    /// No sponsors are asked for before this second.
    pub(super) no_sponsors_until: AtomicI64,
}

/// A token for Graph.
pub(super) struct Token {
    text: SecretString,
    ends: i64,
}

impl Client {
    /// The object, with which of these groups it is in; `None` when the tenant has no such object.
    pub(super) async fn look(
        &self,
        id: &str,
        place: Place,
        groups: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Option<Account>, GraphError> {
        let found = match place {
            Place::Users | Place::Applications => {
                self.object(id, place, now).await?.map(|found| (place, found))
            }
            Place::Either => match self.object(id, Place::Applications, now).await? {
                Some(found) => Some((Place::Applications, found)),
                None => self.object(id, Place::Users, now).await?.map(|found| (Place::Users, found)),
            },
        };
        let Some((place, mut account)) = found else { return Ok(None) };
        account.held = self.groups(id, place, groups, now).await?;
        if account.kind == AccountKind::Agent {
            account.sponsors = self.sponsors(id, now).await;
        }
        Ok(Some(account))
    }

    /// Who answers for an agent ("List sponsors", learn.microsoft.com/graph/api/agentidentity-list-sponsors). It takes a right that the
    /// gateway need not have, and decides nothing, so that no answer is as good as none of them.
    async fn sponsors(&self, id: &str, now: Timestamp) -> Vec<Sponsor> {
        if now.as_second() < self.no_sponsors_until.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let path = ["v1.0", "servicePrincipals", id, "microsoft.graph.agentIdentity", "sponsors"];
        let call = self.call(Method::GET, &path, Some("$select=id,displayName"), None, now);
        let Ok(Ok(answer)) = tokio::time::timeout(SPONSORS_PATIENCE, call).await else { return Vec::new() };
        if answer.status == StatusCode::FORBIDDEN {
            self.no_sponsors_until.store(now.as_second() + NO_SPONSORS_SECONDS, Ordering::Relaxed);
        }
        let Ok(document) = document(&answer) else { return Vec::new() };
        let Some(Json::List(found)) = document.get("value") else { return Vec::new() };
        found.iter().filter_map(|one| sponsor(one, now)).take(MAX_SPONSORS).collect()
    }

    /// The object itself. Only derived types have an `@odata.type` (OData JSON Format 4.01, section 4.6.3).
    async fn object(&self, id: &str, place: Place, now: Timestamp) -> Result<Option<Account>, GraphError> {
        let select = match place {
            Place::Users => "$select=id,accountEnabled,userType,signInSessionsValidFromDateTime",
            Place::Applications | Place::Either => "$select=id,accountEnabled",
        };
        let path = ["v1.0", place.segment(), id];
        let answer = self.call(Method::GET, &path, Some(select), None, now).await?;
        if is_unknown(&answer) {
            return Ok(None);
        }
        let found = document(&answer)?;
        let named = found.text("id").map_err(|_| GraphError::Answer("no `id`"))?;
        if !named.eq_ignore_ascii_case(id) {
            return Err(GraphError::Answer("it is about another object"));
        }
        let kind = match place {
            Place::Users => user_kind(&found),
            Place::Applications | Place::Either => application_kind(&found),
        };
        Ok(Some(Account {
            kind,
            enabled: found.truth("accountEnabled").map_err(|_| GraphError::Answer("no `accountEnabled`"))?,
            sessions_from: sessions_from(&found)?,
            held: BTreeSet::new(),
            sponsors: Vec::new(),
        }))
    }

    /// Which of the groups the object is in, also through other groups.
    async fn groups(
        &self,
        id: &str,
        place: Place,
        groups: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, GraphError> {
        let mut held = BTreeSet::new();
        let all: Vec<&String> = groups.iter().collect();
        for some in all.chunks(GROUPS_PER_CALL) {
            if let Some(found) = self.member_groups(id, place, some, now).await? {
                held.extend(found);
                continue;
            }
            // One that Graph does not take must not hide the others.
            for one in some {
                match self.member_groups(id, place, &[*one], now).await? {
                    Some(found) => held.extend(found),
                    None => tracing::warn!(group = %one, "Microsoft Graph knows no such group"),
                }
            }
        }
        Ok(held)
    }

    /// One call; `None` when Graph does not know one of the groups.
    async fn member_groups(
        &self,
        id: &str,
        place: Place,
        groups: &[&String],
        now: Timestamp,
    ) -> Result<Option<Vec<String>>, GraphError> {
        let path = ["v1.0", place.segment(), id, "checkMemberGroups"];
        let body = serde_json::json!({ "groupIds": groups }).to_string();
        let answer = self.call(Method::POST, &path, None, Some(body), now).await?;
        if is_unknown(&answer) || answer.status == StatusCode::BAD_REQUEST {
            return Ok(None);
        }
        let document = document(&answer)?;
        let held = document.optional_texts("value").ok().flatten();
        let held = held.ok_or(GraphError::Answer("`value` is no list of groups"))?;
        if held.iter().any(|held| !groups.iter().any(|asked| asked == held)) {
            return Err(GraphError::Answer("it is about other groups"));
        }
        Ok(Some(held.into_iter().map(str::to_owned).collect()))
    }

    /// One call with a token.
    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: Option<&str>,
        body: Option<String>,
        now: Timestamp,
    ) -> Result<Answer, GraphError> {
        self.may_ask(now)?;
        let token = self.token(now).await?;
        let url = self.graph.with_path(path, query);
        let answer = self.fetcher.ask(method, &url, |request| {
            let request = request.bearer_auth(token.expose_secret());
            match body {
                Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(body),
                None => request,
            }
        });
        let answer = answer.await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            // Taken back, or ours no more: another one is asked for next time.
            *self.token.lock().await = None;
        }
        self.heed(&answer, now);
        Ok(answer)
    }

    /// A token that can still be used, or a new one.
    async fn token(&self, now: Timestamp) -> Result<SecretString, GraphError> {
        let mut kept = self.token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| now.as_second() < token.ends) {
            return Ok(token.text.clone());
        }
        let token = self.fetch_token(now).await.map_err(|error| GraphError::Token(Box::new(error)))?;
        let text = token.text.clone();
        *kept = Some(token);
        Ok(text)
    }

    async fn fetch_token(&self, now: Timestamp) -> Result<Token, GraphError> {
        self.may_ask(now)?;
        let secret = self.secret.read().map_err(GraphError::Secret)?;
        let form = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", secret.expose_secret()),
            ("scope", &self.scope),
        ]);
        let answer = self.fetcher.ask(Method::POST, &self.token_url, |request| {
            request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
        });
        let answer = answer.await?;
        self.heed(&answer, now);
        let document = document(&answer)?;
        let text = document.text("access_token").map_err(|_| GraphError::Answer("no `access_token`"))?;
        let life = document.integer("expires_in").map_err(|_| GraphError::Answer("no `expires_in`"))?;
        let life = life.clamp(0, MAX_TOKEN_SECONDS) - TOKEN_RESERVE_SECONDS;
        Ok(Token { text: SecretString::from(text), ends: now.as_second() + life })
    }

    fn may_ask(&self, now: Timestamp) -> Result<(), GraphError> {
        match now.as_second() < self.quiet_until.load(Ordering::Relaxed) {
            true => Err(GraphError::Quiet),
            false => Ok(()),
        }
    }

    /// Does as an overloaded server asks: everybody's look-ups fail for a while, instead of making it worse.
    fn heed(&self, answer: &Answer, now: Timestamp) {
        if matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let rest = answer.retry_after.unwrap_or(QUIET_SECONDS).clamp(1, MAX_QUIET_SECONDS);
            self.quiet_until.fetch_max(now.as_second() + i64::from(rest), Ordering::Relaxed);
        }
    }
}

/// The one object of an answer that is one.
fn document(answer: &Answer) -> Result<Object, GraphError> {
    if answer.status != StatusCode::OK {
        return Err(GraphError::Status(answer.status));
    }
    Object::parse(&answer.document).map_err(|_| GraphError::Answer("no JSON object"))
}

/// Whether Graph itself says that there is no such thing ("Microsoft Graph error responses"): any other server's 404 says nothing.
fn is_unknown(answer: &Answer) -> bool {
    let says = || {
        let document = Object::parse(&answer.document).ok()?;
        let Some(Json::Object(error)) = document.get("error") else { return None };
        error.text("code").ok().map(|code| code == "Request_ResourceNotFound")
    };
    answer.status == StatusCode::NOT_FOUND && says() == Some(true)
}

/// ("user resource type" and "agentUser resource type", learn.microsoft.com/graph/api/resources/user and /agentuser)
fn user_kind(found: &Object) -> AccountKind {
    let of_type = found.optional_text("@odata.type");
    match (of_type, found.optional_text("userType")) {
        (Ok(Some("#microsoft.graph.agentUser")), _) => AccountKind::AgentUser,
        (Ok(None | Some("#microsoft.graph.user")), Ok(Some("Member"))) => AccountKind::Member,
        _ => AccountKind::OtherUser,
    }
}

/// ("agentIdentity resource type", learn.microsoft.com/graph/api/resources/agentidentity)
fn application_kind(found: &Object) -> AccountKind {
    match found.optional_text("@odata.type") {
        Ok(Some("#microsoft.graph.agentIdentity")) => AccountKind::Agent,
        _ => AccountKind::Application,
    }
}

fn sponsor(found: &Json, seen: Timestamp) -> Option<Sponsor> {
    let Json::Object(found) = found else { return None };
    let id = found.text("id").ok().filter(|id| claims::is_guid(id))?;
    Some(Sponsor { id: id.to_owned(), display_name: claims::display_name(found, "displayName"), seen })
}

/// Since when the user's sign-ins count; applications have none.
fn sessions_from(found: &Object) -> Result<Option<Timestamp>, GraphError> {
    match found.get("signInSessionsValidFromDateTime") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) => match text.parse() {
            Ok(from) => Ok(Some(from)),
            Err(_) => Err(GraphError::Answer("`signInSessionsValidFromDateTime` is no moment")),
        },
        Some(_) => Err(GraphError::Answer("`signInSessionsValidFromDateTime` is no text")),
    }
}

/// `application/x-www-form-urlencoded` (URL Standard, section 5.2), by the library that does URLs.
fn form(fields: &[(&str, &str)]) -> String {
    let Ok(mut url) = Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}
