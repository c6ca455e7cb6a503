//! Turns configured providers into what a token is checked against, or says what is wrong with them.

use super::claims::{self, Form, Provider, Registration, Rules};
use super::config::{
    Cloud, IdentityConfigError, MAX_PROVIDER_NAME_BYTES, MAX_PROVIDERS, MAX_TENANTS, MAX_TOKEN_LIFETIME,
    MIN_TOKEN_AGE, ProviderConfig, ProviderKind, ProviderProblem, UnmarkedUsers,
};
use super::fetch::{DocumentUrl, Fetcher, authorities};
use super::graph::{self, Graph};
use super::keys::{KeySource, KeyStore};
use chaperone_core::approval::NO_TENANT;
use chaperone_core::name::ProviderName;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The tenant of personal Microsoft accounts: anyone in the world can get a token there.
pub(super) const CONSUMER_TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// One issuer: the rules for its tokens, and the keys that may sign them.
pub(super) struct Issuer {
    pub(super) rules: Rules,
    pub(super) keys: Arc<KeyStore>,
}

/// All issuers by their exact text, and the stores behind them.
pub(super) struct Built {
    pub(super) issuers: HashMap<String, Issuer>,
    pub(super) stores: Vec<Arc<KeyStore>>,
    pub(super) graphs: HashMap<ProviderName, Graph>,
}

/// The issuers that share one source of keys.
struct Part {
    rules: Vec<Rules>,
    source: KeySource,
}

/// A provider that is right, apart from files.
struct Planned {
    config: ProviderConfig,
    parts: Vec<Part>,
}

/// Whether [`build`] would take these: all but the files that they name.
pub(super) fn check(configs: Vec<ProviderConfig>) -> Result<(), IdentityConfigError> {
    plan(configs).map(drop)
}

fn plan(configs: Vec<ProviderConfig>) -> Result<Vec<Planned>, IdentityConfigError> {
    match configs.len() {
        0 => return Err(IdentityConfigError::NoProvider),
        1..=MAX_PROVIDERS => (),
        _ => return Err(IdentityConfigError::TooManyProviders),
    }
    let mut planned = Vec::new();
    let (mut names, mut issuers) = (BTreeSet::new(), BTreeSet::new());
    for config in configs {
        let name = config.name.clone();
        if !names.insert(name.clone()) {
            return Err(IdentityConfigError::NameTwice(name));
        }
        if config.graph.is_some() && !matches!(config.kind, ProviderKind::Entra { .. }) {
            let problem = ProviderProblem::Graph("only Microsoft Entra has it");
            return Err(IdentityConfigError::Provider { provider: name, problem });
        }
        let parts = parts(&config)
            .map_err(|problem| IdentityConfigError::Provider { provider: name.clone(), problem })?;
        for rules in parts.iter().flat_map(|part| &part.rules) {
            if !issuers.insert(rules.issuer.clone()) {
                let issuer = rules.issuer.clone();
                return Err(IdentityConfigError::IssuerTwice { provider: name, issuer });
            }
        }
        planned.push(Planned { config, parts });
    }
    Ok(planned)
}

/// Checks and builds all providers.
pub(super) fn build(configs: Vec<ProviderConfig>) -> Result<Built, IdentityConfigError> {
    let planned = plan(configs)?;
    let client_error = |error: reqwest::Error| IdentityConfigError::Client(error.to_string());
    let public = Arc::new(Fetcher::new().map_err(client_error)?);
    let mut built = Built { issuers: HashMap::new(), stores: Vec::new(), graphs: HashMap::new() };
    for Planned { config, parts } in planned {
        let name = config.name.clone();
        let graph = graph(&config, &public)
            .map_err(|problem| IdentityConfigError::Provider { provider: name.clone(), problem })?;
        built.graphs.extend(graph.map(|graph| (name.clone(), graph)));
        let fetcher = match &config.jwks_ca {
            None => Arc::clone(&public),
            Some(path) => {
                let own = authorities(path).map_err(|why| IdentityConfigError::Provider {
                    provider: name.clone(),
                    problem: ProviderProblem::Authority { path: path.clone(), why },
                })?;
                Arc::new(Fetcher::trusting(own).map_err(client_error)?)
            }
        };
        for Part { rules, source } in parts {
            let store = Arc::new(KeyStore::new(name.clone(), source, Arc::clone(&fetcher)));
            built.stores.push(Arc::clone(&store));
            for rules in rules {
                let issuer = rules.issuer.clone();
                built.issuers.insert(issuer, Issuer { rules, keys: Arc::clone(&store) });
            }
        }
    }
    Ok(built)
}

fn graph(config: &ProviderConfig, fetcher: &Arc<Fetcher>) -> Result<Option<Graph>, ProviderProblem> {
    match (&config.graph, &config.kind) {
        (None, _) => Ok(None),
        (Some(graph), ProviderKind::Entra { cloud, tenants }) => {
            graph::build(&config.name, graph, (*cloud, tenants), config.loopback_http, fetcher).map(Some)
        }
        (Some(_), ProviderKind::Oidc | ProviderKind::Mapped(_)) => {
            Err(ProviderProblem::Graph("only Microsoft Entra has it"))
        }
    }
}

fn parts(config: &ProviderConfig) -> Result<Vec<Part>, ProviderProblem> {
    if config.name.as_str().contains('/') || config.name.as_str().len() > MAX_PROVIDER_NAME_BYTES {
        return Err(ProviderProblem::Name);
    }
    let max_age = config.max_token_age;
    if !(MIN_TOKEN_AGE..=MAX_TOKEN_LIFETIME).contains(&max_age) {
        return Err(ProviderProblem::TokenAge);
    }
    let provider = Arc::new(Provider {
        name: config.name.clone(),
        audiences: audiences(&config.audiences)?,
        approvers: registration(config)?,
        max_age_seconds: i64::try_from(max_age.as_secs()).unwrap_or(0),
        human_clients: human_clients(&config.unmarked_users)?,
    });
    match &config.kind {
        ProviderKind::Oidc => Ok(vec![oidc(config, provider, Form::AccessTokenProfile)?]),
        ProviderKind::Mapped(mapping) => {
            mapping.check()?;
            Ok(vec![oidc(config, provider, Form::Mapped(mapping.clone()))?])
        }
        ProviderKind::Entra { cloud, tenants } => entra(config, &provider, *cloud, tenants),
    }
}

fn audiences(listed: &[String]) -> Result<BTreeSet<String>, ProviderProblem> {
    if listed.is_empty() {
        return Err(ProviderProblem::NoAudience);
    }
    for audience in listed {
        if audience.is_empty() || audience.contains(char::is_whitespace) {
            return Err(ProviderProblem::Audience);
        }
        if claims::is_graph_audience(audience) {
            return Err(ProviderProblem::GraphAudience(audience.clone()));
        }
    }
    Ok(listed.iter().cloned().collect())
}

/// The registration of approvers. Its audiences are no others': otherwise what was handed out for asking would approve.
fn registration(config: &ProviderConfig) -> Result<Option<Registration>, ProviderProblem> {
    let Some(approvers) = &config.approvers else { return Ok(None) };
    if let Some(shared) = approvers.audiences.iter().find(|audience| config.audiences.contains(audience)) {
        return Err(ProviderProblem::SharedAudience(shared.clone()));
    }
    if approvers.clients.is_empty() {
        return Err(ProviderProblem::NoClient);
    }
    let client = |client: &String| match config.kind {
        ProviderKind::Entra { .. } => client_id(client),
        ProviderKind::Oidc | ProviderKind::Mapped(_) => Ok(client.clone()),
    };
    let clients = approvers.clients.iter().map(client).collect::<Result<_, _>>()?;
    Ok(Some(Registration { audiences: audiences(&approvers.audiences)?, clients }))
}

/// A client application's id at Entra, in its one spelling.
fn client_id(client: &str) -> Result<String, ProviderProblem> {
    let lower = client.to_ascii_lowercase();
    if claims::is_guid(&lower) { Ok(lower) } else { Err(ProviderProblem::Client(client.to_owned())) }
}

fn human_clients(unmarked: &UnmarkedUsers) -> Result<Option<BTreeSet<String>>, ProviderProblem> {
    let UnmarkedUsers::AreHumanThrough(clients) = unmarked else {
        return Ok(None);
    };
    clients.iter().map(|client| client_id(client)).collect::<Result<_, _>>().map(Some)
}

fn entra(
    config: &ProviderConfig,
    provider: &Arc<Provider>,
    cloud: Cloud,
    tenants: &[String],
) -> Result<Vec<Part>, ProviderProblem> {
    let tenants = tenants.iter().map(|tenant| tenant_id(tenant)).collect::<Result<Vec<_>, _>>()?;
    if !(1..=MAX_TENANTS).contains(&tenants.len()) {
        return Err(ProviderProblem::TenantCount);
    }
    let known: Vec<String> =
        tenants.iter().flat_map(|tenant| [cloud.issuer_v1(tenant), cloud.issuer_v2(tenant)]).collect();
    if let Some(foreign) = config.issuers.iter().find(|issuer| !known.contains(issuer)) {
        return Err(ProviderProblem::ForeignIssuer(foreign.clone()));
    }
    let wanted = |rules: &Rules| config.issuers.is_empty() || config.issuers.contains(&rules.issuer);
    let rules = |tenant: &String| -> Vec<Rules> {
        [Form::EntraV1, Form::EntraV2]
            .map(|form| entra_rules(provider, cloud, tenant, form))
            .into_iter()
            .filter(&wanted)
            .collect()
    };
    match configured_source(config, known)? {
        Some(source) => Ok(vec![Part { rules: tenants.iter().flat_map(rules).collect(), source }]),
        // Each tenant's document is fetched for itself: its keys' `issuer` members name that tenant.
        None => tenants
            .iter()
            .map(|tenant| {
                let url = format!("https://{}/{tenant}/discovery/v2.0/keys", cloud.authority());
                Ok(Part { rules: rules(tenant), source: KeySource::Keys(document_url(config, &url)?) })
            })
            .collect(),
    }
}

fn entra_rules(provider: &Arc<Provider>, cloud: Cloud, tenant: &str, form: Form) -> Rules {
    let v2 = cloud.issuer_v2(tenant);
    let issuer = match form {
        Form::EntraV1 => cloud.issuer_v1(tenant),
        _ => v2.clone(),
    };
    // Keys of Entra name the version 2 issuer, also where they sign version 1 tokens: Microsoft's own validator
    // (`AadSigningKeyIssuerValidator`) accepts both, and so do we, for the token's tenant alone.
    let key_issuers = vec![issuer.clone(), v2];
    Rules { provider: Arc::clone(provider), issuer, tenant: tenant.to_owned(), form, key_issuers }
}

fn oidc(config: &ProviderConfig, provider: Arc<Provider>, form: Form) -> Result<Part, ProviderProblem> {
    let [issuer] = config.issuers.as_slice() else {
        return Err(ProviderProblem::OneIssuer);
    };
    let source = match configured_source(config, vec![issuer.clone()])? {
        Some(source) => source,
        None => {
            // OpenID Connect Discovery 1.0 section 4.
            let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
            discovery(config, &url, vec![issuer.clone()])?
        }
    };
    let rules = Rules {
        provider,
        issuer: issuer.clone(),
        tenant: NO_TENANT.to_owned(),
        form,
        key_issuers: vec![issuer.clone()],
    };
    Ok(Part { rules: vec![rules], source })
}

fn configured_source(
    config: &ProviderConfig,
    issuers: Vec<String>,
) -> Result<Option<KeySource>, ProviderProblem> {
    match (&config.jwks_url, &config.discovery_url) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ProviderProblem::TwoAddresses),
        (Some(url), None) => Ok(Some(KeySource::Keys(document_url(config, url)?))),
        (None, Some(url)) => discovery(config, url, issuers).map(Some),
    }
}

fn discovery(config: &ProviderConfig, url: &str, issuers: Vec<String>) -> Result<KeySource, ProviderProblem> {
    Ok(KeySource::Discovery { url: document_url(config, url)?, issuers, loopback: config.loopback_http })
}

fn document_url(config: &ProviderConfig, url: &str) -> Result<DocumentUrl, ProviderProblem> {
    DocumentUrl::parse(url, config.loopback_http)
        .map_err(|error| ProviderProblem::Url { url: url.to_owned(), error })
}

/// A tenant's id in its one spelling.
fn tenant_id(tenant: &str) -> Result<String, ProviderProblem> {
    let lower = tenant.to_ascii_lowercase();
    if lower == CONSUMER_TENANT {
        return Err(ProviderProblem::ConsumerTenant);
    }
    if claims::is_guid(&lower) { Ok(lower) } else { Err(ProviderProblem::Tenant(tenant.to_owned())) }
}
