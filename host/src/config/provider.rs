//! Who may prove an identity.
//!
//! Nothing is inferred: issuers, tenants and audiences are listed, tenants by GUID. Names and e-mail addresses never
//! stand for anyone (the "nOAuth" class of take-overs).

use super::approvers::Approvers;
use super::decode::Item;
use super::names::{Kind, Names};
use super::problem::quote;
use chaperone_core::name::ProviderName;
use std::time::Duration;

/// The most providers.
pub(crate) const MAX_PROVIDERS: usize = 64;
/// The most tenants, issuers or audiences of one provider.
pub(crate) const MAX_PER_PROVIDER: usize = 256;
/// No token may be valid longer than this; a managed identity's lives a day.
pub(crate) const MAX_TOKEN_AGE: Duration = Duration::from_secs(48 * 3600);

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The longest accepted `exp - iat`.
    pub max_token_age: Duration,
    /// Whether the URLs may be http on a loopback address, for tests.
    pub allow_http_loopback: bool,
}

impl Provider {
    pub(crate) fn decode<'a>(item: &Item<'a>, names: &mut Names<'a>) -> Option<Self> {
        let mut fields = item.fields()?;
        let name_item = fields.need("name", "a short name; it is the first part of principals");
        let kind = fields.need("kind", "`entra` or `oidc`");
        let cloud = fields.get("cloud");
        let tenants = fields.get("tenants");
        let issuers = fields.get("issuers");
        let audiences = fields.need("audiences", "the exact `aud` values of your tokens, each listed");
        let approvers = fields.get("approvers");
        let jwks = fields.get("jwks_url");
        let discovery = fields.get("discovery_url");
        let age = fields.get("max_token_age");
        let loopback = fields.get("allow_http_loopback");
        let start = fields.item().clone();
        fields.finish();

        let name = name_item.and_then(|item| provider_name(&item, names));
        let kind = kind
            .and_then(|item| item.choice(&[("entra", ProviderKind::Entra), ("oidc", ProviderKind::Oidc)]));
        let allow = loopback.map_or(Some(false), |item| item.yes_no());
        let cloud_value = cloud.as_ref().map_or(Some(Cloud::Public), |item| {
            item.choice(&[("public", Cloud::Public), ("usgov", Cloud::UsGov), ("china", Cloud::China)])
        });
        let entra = kind != Some(ProviderKind::Oidc);
        let tenant_values =
            texts(&tenants, &|item| if entra { tenant(item) } else { word(item, "a tenant") });
        let issuer_values = texts(&issuers, &|item| url(item, allow));
        let audience_values = texts(&audiences, &audience);
        let approvers = match &approvers {
            None => Some(None),
            Some(item) => Approvers::decode(item, &audience_values, entra).map(Some),
        };
        let jwks_url = jwks.as_ref().and_then(|item| url(item, allow));
        let discovery_url = discovery.as_ref().and_then(|item| url(item, allow));
        let given = Given { provider: &start, cloud, tenants, issuers, audiences, jwks, discovery };
        given.check(kind);
        let max_token_age =
            age.map_or(Some(MAX_TOKEN_AGE), |item| item.duration(Duration::from_secs(60), MAX_TOKEN_AGE));
        Some(Provider {
            name: name?,
            kind: kind?,
            cloud: cloud_value?,
            tenants: tenant_values,
            issuers: issuer_values,
            audiences: audience_values,
            approvers: approvers?,
            jwks_url,
            discovery_url,
            max_token_age: max_token_age?,
            allow_http_loopback: allow?,
        })
    }
}

/// What was written, for what must or must not stand together.
struct Given<'a, 'b> {
    provider: &'b Item<'a>,
    cloud: Option<Item<'a>>,
    tenants: Option<Item<'a>>,
    issuers: Option<Item<'a>>,
    audiences: Option<Item<'a>>,
    jwks: Option<Item<'a>>,
    discovery: Option<Item<'a>>,
}

impl Given<'_, '_> {
    fn check(&self, kind: Option<ProviderKind>) {
        if kind == Some(ProviderKind::Entra) && self.tenants.is_none() {
            let help = "list the tenants' GUIDs; there is no provider for everyone";
            self.provider.missing("tenants", help);
        }
        if kind == Some(ProviderKind::Oidc) {
            if let Some(cloud) = &self.cloud {
                cloud.no_effect("`cloud` means nothing for a provider of kind `oidc`", "delete it");
            }
            if self.issuers.is_none() {
                self.provider.missing("issuers", "list the exact `iss` values");
            }
            if self.jwks.is_none() && self.discovery.is_none() {
                self.provider.missing("discovery_url", "give `discovery_url` or `jwks_url`");
            }
        }
        if let (Some(_), Some(discovery)) = (&self.jwks, &self.discovery) {
            discovery.no_effect("`discovery_url` is not read when `jwks_url` is given", "delete one of them");
        }
        let lists = [&self.tenants, &self.issuers, &self.audiences];
        for item in lists.into_iter().flatten().filter(|item| item.is_empty_list()) {
            item.invalid(format!("`{}` is empty, so no token can match", item.name()), "list at least one");
        }
    }
}

/// The elements of a list that could be read.
pub(super) fn texts<'a>(item: &Option<Item<'a>>, read: &dyn Fn(&Item<'a>) -> Option<String>) -> Vec<String> {
    let items = item.as_ref().map(|item| item.one_or_many(MAX_PER_PROVIDER)).unwrap_or_default();
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

fn tenant(item: &Item<'_>) -> Option<String> {
    let text = item.text("a tenant's GUID")?;
    if let Some(guid) = guid(text) {
        return Some(guid);
    }
    if ["common", "organizations", "consumers"].contains(&text.to_ascii_lowercase().as_str()) {
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

/// Microsoft Graph, by id and by URL: its tokens are not ours to check, and any app can get one.
const GRAPH: [&str; 8] = [
    "00000003-0000-0000-c000-000000000000",
    "00000002-0000-0000-c000-000000000000",
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
    "https://graph.windows.net",
    "https://graph.microsoft.de",
];

pub(super) fn audience(item: &Item<'_>) -> Option<String> {
    let text = word(item, "an audience")?;
    let plain = text.strip_prefix("spn:").unwrap_or(&text).trim_end_matches('/').to_ascii_lowercase();
    if GRAPH.contains(&plain.as_str()) {
        item.invalid(
            "this is Microsoft Graph's audience, and every app can get a token for it",
            "register an API of your own in Entra and list its application id",
        );
        return None;
    }
    Some(text)
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
