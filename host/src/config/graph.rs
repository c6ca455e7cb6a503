//! How Microsoft Graph is asked for what a provider's tokens leave open.

use super::decode::Item;
use super::problem::quote;
use super::provider::{guid, url};
use super::secret::{Secret, Vault};
use std::fmt;
use std::time::Duration;

/// How long an answer may count, both ends included.
const CACHE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];

/// How often callers who are in may be looked at again, both ends included.
const RECHECK: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(3600)];

/// How often they are unless the file says otherwise.
const DEFAULT_RECHECK: Duration = Duration::from_secs(300);

/// Microsoft Graph of an Entra provider.
#[derive(Clone)]
pub struct Graph {
    /// The gateway's own application, a lower-case GUID.
    pub client_id: String,
    /// Its secret.
    pub secret: Secret,
    /// How long an answer counts.
    pub cache: Duration,
    /// How often callers who are in are looked at again.
    pub recheck: Duration,
    /// Another address than the cloud's, on loopback: for tests.
    pub url: Option<String>,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// By the secret's reference, not by its value.
impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        let parts = |graph: &Graph| (graph.client_id.clone(), graph.cache, graph.recheck, graph.url.clone());
        parts(self) == parts(other) && self.secret.reference() == other.secret.reference()
    }
}

impl Eq for Graph {}

impl Graph {
    /// `loopback` is whether the provider's URLs may be http on a loopback address.
    pub(crate) fn decode(item: &Item<'_>, loopback: Option<bool>, vault: &Vault<'_>) -> Option<Self> {
        let mut fields = item.fields()?;
        let client =
            fields.need("client_id", "the client id of an application that may read Microsoft Graph");
        let secret = fields.need("secret", "a reference to that application's client secret");
        let cache = fields.get("cache");
        let recheck = fields.get("recheck");
        let address = fields.get("url");
        fields.finish();

        let client_id = client.and_then(|item| client_id(&item));
        let secret = secret.and_then(|item| vault.secret(&item));
        let [shortest, longest] = CACHE;
        let cache = cache.map_or(Some(shortest), |item| item.duration(shortest, longest));
        let [soonest, latest] = RECHECK;
        let recheck = recheck.map_or(Some(DEFAULT_RECHECK), |item| item.duration(soonest, latest));
        let url = match address {
            None => Some(None),
            Some(item) => test_url(&item, loopback).map(Some),
        };
        Some(Graph { client_id: client_id?, secret: secret?, cache: cache?, recheck: recheck?, url: url? })
    }
}

fn client_id(item: &Item<'_>) -> Option<String> {
    let text = item.text("an application's client id (a GUID)")?;
    let found = guid(text);
    if found.is_none() {
        item.invalid(
            format!("{} is not an application's client id", quote(text)),
            "it is a GUID; the Entra portal shows it as \"Application (client) ID\"",
        );
    }
    found
}

/// The client's secret is sent there, so it is this machine or the cloud's own address.
fn test_url(item: &Item<'_>, loopback: Option<bool>) -> Option<String> {
    let text = url(item, loopback)?;
    if text.starts_with("http://") {
        return Some(text);
    }
    item.invalid("only a loopback address takes the place of the cloud's", "delete it: the cloud decides");
    None
}
