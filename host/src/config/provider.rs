//! Who may prove an identity.
//!
//! Nothing is inferred: issuers, tenants and audiences are listed, tenants by GUID. Names and e-mail addresses never
//! stand for anyone (the "nOAuth" class of take-overs). Bounds are those of [`crate::identity`], so that what is accepted here
//! is what the gateway starts with.

use super::approvers::{Approvers, Around};
use super::claims;
use super::decode::Item;
use super::graph::Graph;
use super::names::{Kind, Names};
use super::node::Value;
use super::problem::quote;
use super::secret::Vault;
use crate::identity::{self, ClaimMapping, MAX_TENANTS, MAX_TOKEN_LIFETIME, MIN_TOKEN_AGE};
use chaperone_core::name::ProviderName;
use std::path::PathBuf;
use std::time::Duration;
use trusted::loopback_http;

mod trusted;

/// The most issuers, audiences or clients of one provider.
pub(crate) const MAX_PER_PROVIDER: usize = 256;

/// What a provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// Microsoft Entra.
    Entra,
    /// Any OpenID Connect provider.
    Oidc,
}

/// Which of Microsoft's clouds; never inferred from an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// The worldwide one.
    Public,
    /// US Government.
    UsGov,
    /// China, operated by 21Vianet.
    China,
}

/// One provider.
#[derive(Clone)]
pub struct Provider {
    /// Its name in principals.
    pub name: ProviderName,
    /// What it is.
    pub kind: ProviderKind,
    /// Microsoft's cloud; meaningless for `Oidc`.
    pub cloud: Cloud,
    /// Accepted tenants, lower-case GUIDs. Empty only for `Oidc`.
    pub tenants: Vec<String>,
    /// Accepted issuers, exact; empty for Entra means: derived from cloud and tenants.
    pub issuers: Vec<String>,
    /// Accepted audiences, exact. Never empty.
    pub audiences: Vec<String>,
    /// The registration of approvers, if they have one of their own.
    pub approvers: Option<Approvers>,
    /// Where the keys are; none for Entra means: derived from cloud and tenants.
    pub jwks_url: Option<String>,
    /// The discovery document, from which the keys' place is read.
    pub discovery_url: Option<String>,
    /// The authorities of the server of keys; none: the machine's.
    pub jwks_ca: Option<PathBuf>,
    /// How the tokens are read; none: as access tokens by RFC 9068. Only for `Oidc`.
    pub claims: Option<ClaimMapping>,
    /// The clients through which a user without the markers of an agent is a person; none: all. Only for `Entra`.
    pub human_clients: Option<Vec<String>>,
    /// How long after its `iat` a token is accepted.
    pub max_token_age: Duration,
    /// Whether the URLs may be http on a loopback address, for tests.
    pub allow_http_loopback: bool,
    /// How Microsoft Graph is asked; none for `Oidc`.
    pub graph: Option<Graph>,
}

impl Provider {
    /// The discovery document that browsers are sent by, if it is known.
    pub fn discovery(&self) -> Option<String> {
        let entra = || match (self.kind, self.tenants.as_slice()) {
            (ProviderKind::Entra, [tenant]) => {
                let authority = identity::Cloud::from(self.cloud).authority();
                Some(format!("https://{authority}/{tenant}/v2.0/.well-known/openid-configuration"))
            }
            _ => None,
        };
        self.discovery_url.clone().or_else(entra)
    }

    pub(crate) fn decode<'a>(item: &Item<'a>, vault: &Vault<'_>, names: &mut Names<'a>) -> Option<Self> {
        let mut fields = item.fields()?;
        let name_item = fields.need("name", "a short name; it is the first part of principals");
        let kind = fields.need("kind", "`entra` or `oidc`");
        let age = fields.get("max_token_age");
        let loopback = fields.get("allow_http_loopback");
        let given = Given {
            provider: fields.item().clone(),
            cloud: fields.get("cloud"),
            tenants: fields.get("tenants"),
            issuers: fields.get("issuers"),
            audiences: fields.need("audiences", "the exact `aud` values of your tokens, each listed"),
            approvers: fields.get("approvers"),
            jwks: fields.get("jwks_url"),
            discovery: fields.get("discovery_url"),
            human_clients: fields.get("human_clients"),
            claims: fields.get("claims"),
            jwks_ca: fields.get("jwks_ca"),
            graph: fields.get("graph"),
        };
        fields.finish();

        let name = name_item.and_then(|item| provider_name(&item, names));
        let kind = kind
            .and_then(|item| item.choice(&[("entra", ProviderKind::Entra), ("oidc", ProviderKind::Oidc)]));
        let allow = loopback.map_or(Some(false), |item| item.yes_no());
        let cloud = given.cloud.as_ref().map_or(Some(Cloud::Public), |item| {
            item.choice(&[("public", Cloud::Public), ("usgov", Cloud::UsGov), ("china", Cloud::China)])
        });
        // Where tenants mean nothing, that is all that is said of them.
        let entra = kind != Some(ProviderKind::Oidc);
        let tenants = if entra { texts(given.tenants.as_ref(), MAX_TENANTS, &tenant) } else { Vec::new() };
        let known = cloud.filter(|_| entra).map(|cloud| issuers_of(cloud, &tenants));
        let issuers =
            texts(given.issuers.as_ref(), MAX_PER_PROVIDER, &|item| issuer(item, allow, known.as_deref()));
        let audiences = texts(given.audiences.as_ref(), MAX_PER_PROVIDER, &audience);
        let discovered = given.discovery.is_some() || (entra && tenants.len() == 1);
        let around = Around { agents: &audiences, entra, allow_http_loopback: allow, discovered };
        let approvers = given.approvers.as_ref().map(|item| Approvers::decode(item, &around, vault));
        let human_clients =
            given.human_clients.as_ref().map(|item| texts(Some(item), MAX_PER_PROVIDER, &client));
        let jwks_url = given.jwks.as_ref().and_then(|item| document_url(item, allow));
        let discovery_url = given.discovery.as_ref().and_then(|item| document_url(item, allow));
        let jwks_ca = given.jwks_ca.as_ref().map(|item| super::edge::path(item, vault));
        let claims = given.claims.as_ref().map(claims::decode);
        let graph = given.graph.as_ref().filter(|_| entra).map(|item| Graph::decode(item, allow, vault));
        given.check(kind, [&jwks_url, &discovery_url]);
        let max_token_age =
            age.map_or(Some(MAX_TOKEN_LIFETIME), |item| item.duration(MIN_TOKEN_AGE, MAX_TOKEN_LIFETIME));
        Some(Provider {
            name: name?,
            kind: kind?,
            cloud: cloud?,
            tenants,
            issuers,
            audiences,
            approvers: optional(approvers)?,
            jwks_url,
            discovery_url,
            jwks_ca: optional(jwks_ca)?,
            claims: optional(claims)?,
            human_clients,
            graph: optional(graph)?,
            max_token_age: max_token_age?,
            allow_http_loopback: allow?,
        })
    }
}

/// What may be left out and is wrong when it was given and could not be read.
pub(super) fn optional<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// What was written, for what must or must not stand together.
struct Given<'a> {
    provider: Item<'a>,
    cloud: Option<Item<'a>>,
    tenants: Option<Item<'a>>,
    issuers: Option<Item<'a>>,
    audiences: Option<Item<'a>>,
    approvers: Option<Item<'a>>,
    jwks: Option<Item<'a>>,
    discovery: Option<Item<'a>>,
    human_clients: Option<Item<'a>>,
    claims: Option<Item<'a>>,
    jwks_ca: Option<Item<'a>>,
    graph: Option<Item<'a>>,
}

impl Given<'_> {
    fn mean_nothing(&self, kind: &str, keys: [&Option<Item<'_>>; 3]) {
        for item in keys.into_iter().flatten() {
            item.no_effect(
                format!("`{}` means nothing for a provider of kind `{kind}`", item.name()),
                "delete it",
            );
        }
    }

    fn check(&self, kind: Option<ProviderKind>, urls: [&Option<String>; 2]) {
        if kind == Some(ProviderKind::Entra) && self.tenants.is_none() {
            let help = "list the tenants' GUIDs; there is no provider for everyone";
            self.provider.missing("tenants", help);
        }
        match kind {
            Some(ProviderKind::Entra) => self.mean_nothing("entra", [&self.claims, &self.jwks_ca, &None]),
            Some(ProviderKind::Oidc) => {
                self.mean_nothing("oidc", [&self.cloud, &self.tenants, &self.human_clients]);
                if let Some(item) = &self.graph {
                    item.no_effect("only Microsoft Entra has Microsoft Graph", "delete it");
                }
            }
            None => (),
        }
        if kind == Some(ProviderKind::Oidc) {
            if self.issuers.is_none() {
                self.provider.missing("issuers", "write the exact `iss` of its tokens");
            }
            let several =
                |item: &&Item<'_>| matches!(&item.node.value, Value::List(items) if items.len() > 1);
            if let Some(item) = self.issuers.as_ref().filter(several) {
                let help = "configure one provider for each: a subject is unique within its issuer only";
                item.invalid("a provider of kind `oidc` has exactly one issuer", help);
            }
            if self.jwks.is_none() && self.discovery.is_none() {
                self.provider.missing("discovery_url", "give `discovery_url` or `jwks_url`");
            }
        }
        if let (Some(_), Some(discovery)) = (&self.jwks, &self.discovery) {
            discovery.no_effect("`discovery_url` is not read when `jwks_url` is given", "delete one of them");
        }
        if let (Some(_), Some(approvers)) = (&self.claims, &self.approvers) {
            approvers.no_effect(
                "`approvers` means nothing beside `claims`: a mapping never makes a person, and people approve",
                "delete one of them",
            );
        }
        let http = urls.into_iter().flatten().any(|url| url.starts_with("http:"));
        if let Some(item) = self.jwks_ca.as_ref().filter(|_| http && kind == Some(ProviderKind::Oidc)) {
            item.no_effect(
                "`jwks_ca` is not read when keys are fetched over http",
                "delete it, or use https",
            );
        }
        if let Some(item) = self.human_clients.as_ref().filter(|item| item.is_empty_list()) {
            item.invalid(
                "`human_clients` is empty, so nobody would be a person and nobody could approve",
                "list the clients that people sign in with, or delete it",
            );
        }
        let lists = [&self.tenants, &self.issuers, &self.audiences];
        for item in lists.into_iter().flatten().filter(|item| item.is_empty_list()) {
            item.invalid(format!("`{}` is empty, so no token can match", item.name()), "list at least one");
        }
    }
}

/// The issuers of tenants, in both versions.
fn issuers_of(cloud: Cloud, tenants: &[String]) -> Vec<String> {
    let cloud = identity::Cloud::from(cloud);
    tenants.iter().flat_map(|tenant| [cloud.issuer_v1(tenant), cloud.issuer_v2(tenant)]).collect()
}

/// An issuer: one of those that are known, where they are.
fn issuer(item: &Item<'_>, allow: Option<bool>, known: Option<&[String]>) -> Option<String> {
    let issuer = url(item, allow)?;
    match known {
        // With a tenant that could not be read, that is what is reported.
        Some(known) if !known.is_empty() && !known.contains(&issuer) => {
            item.invalid(
                format!("{} is no issuer of these tenants in this cloud", quote(&issuer)),
                "leave `issuers` out to accept both versions of each tenant",
            );
            None
        }
        _ => Some(issuer),
    }
}

/// The elements of a list that could be read.
pub(super) fn texts<'a>(
    item: Option<&Item<'a>>,
    max: usize,
    read: &dyn Fn(&Item<'a>) -> Option<String>,
) -> Vec<String> {
    let items = item.map(|item| item.one_or_many(max)).unwrap_or_default();
    items.iter().filter_map(read).collect()
}

fn provider_name<'a>(item: &Item<'a>, names: &mut Names<'a>) -> Option<ProviderName> {
    let name = item.plain_name("a provider's name")?;
    names.define(Kind::Provider, name, item);
    ProviderName::new(name).ok()
}

/// One exact word, such as an issuer's tenant.
pub(super) fn word(item: &Item<'_>, what: &str) -> Option<String> {
    let text = item.text(what)?;
    let fits = text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        item.invalid(
            format!("{} is not {what}", quote(text)),
            "at most 512 printable characters without spaces",
        );
    }
    fits.then(|| text.to_owned())
}

/// A GUID in its usual form, made lower-case.
pub(crate) fn guid(text: &str) -> Option<String> {
    let usual = text.len() == 36;
    uuid::Uuid::try_parse(text)
        .ok()
        .filter(|uuid| usual && !uuid.is_nil())
        .map(|uuid| uuid.hyphenated().to_string())
}

/// A client's id.
fn client(item: &Item<'_>) -> Option<String> {
    let text = item.text("a client's GUID")?;
    let guid = guid(text);
    if guid.is_none() {
        item.invalid(
            format!("{} is not a client's GUID", quote(text)),
            "the Entra portal shows it as \"Application (client) ID\"",
        );
    }
    guid
}

fn tenant(item: &Item<'_>) -> Option<String> {
    let text = item.text("a tenant's GUID")?;
    let everybody = identity::is_everybodys_tenant(text);
    if let Some(guid) = guid(text).filter(|_| !everybody) {
        return Some(guid);
    }
    if everybody || ["common", "organizations", "consumers"].contains(&text.to_ascii_lowercase().as_str()) {
        item.invalid(
            format!("{} means every tenant there is", quote(text)),
            "list the GUIDs of the tenants that you trust",
        );
    } else {
        item.invalid(
            format!("{} is not a tenant's GUID", quote(text)),
            "it looks like `8f4c1f0e-6f8e-4a3c-9a51-0c6d3ad0a001`; the Entra portal shows it as \"Tenant ID\"",
        );
    }
    None
}

pub(super) fn audience(item: &Item<'_>) -> Option<String> {
    let text = word(item, "an audience")?;
    if identity::is_graph_audience(&text) {
        item.invalid(
            "this is Microsoft Graph's audience, and every app can get a token for it",
            "register an API of your own in Entra and list its application id",
        );
        return None;
    }
    Some(text)
}

/// A URL that keys can be fetched from.
fn document_url(item: &Item<'_>, allow: Option<bool>) -> Option<String> {
    let text = url(item, allow)?;
    match identity::is_document_address(&text, loopback_http(allow.unwrap_or(true))) {
        Ok(()) => Some(text),
        Err(error) => {
            item.invalid(format!("{} cannot be fetched: {error}", quote(&text)), "");
            None
        }
    }
}

/// An https URL; http only on loopback and only when that was allowed.
pub(super) fn url(item: &Item<'_>, allow_http_loopback: Option<bool>) -> Option<String> {
    let text = word(item, "an https URL")?;
    if text.contains('@') {
        // Before anything quotes it: what stands in front of the `@` may be a password.
        item.sink.conceal(item.node.mark);
        item.invalid("a URL here must not carry a name or a password", "remove what stands before the `@`");
        return None;
    }
    let parsed = reqwest::Url::parse(&text).ok().filter(|url| url.has_host());
    let Some(url) = parsed else {
        item.invalid(format!("{} is not an https URL", quote(&text)), "it starts with `https://`");
        return None;
    };
    match url.scheme() {
        "https" => Some(text),
        "http" if is_loopback(url.host_str().unwrap_or_default()) => match allow_http_loopback {
            // When the switch itself was wrong, that is what is reported.
            Some(true) | None => Some(text),
            Some(false) => {
                item.invalid("http is refused", "for a test on this machine set `allow_http_loopback: yes`");
                None
            }
        },
        _ => {
            item.invalid(format!("{} is not an https URL", quote(&text)), "use https");
            None
        }
    }
}

/// Whether a host, as it stands in an address or a URL, can only be this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
