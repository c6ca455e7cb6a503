//! Configured providers as the identity module takes them.

use super::{Cloud, Provider, ProviderKind};
use crate::identity::{self, LoopbackHttp, ProviderConfig, UnmarkedUsers};

impl From<Cloud> for identity::Cloud {
    fn from(cloud: Cloud) -> Self {
        match cloud {
            Cloud::Public => identity::Cloud::Public,
            Cloud::UsGov => identity::Cloud::UsGov,
            Cloud::China => identity::Cloud::China,
        }
    }
}

impl From<&Provider> for ProviderConfig {
    fn from(provider: &Provider) -> Self {
        let kind = match (provider.kind, &provider.claims) {
            (ProviderKind::Entra, _) => identity::ProviderKind::Entra {
                cloud: provider.cloud.into(),
                tenants: provider.tenants.clone(),
            },
            (ProviderKind::Oidc, None) => identity::ProviderKind::Oidc,
            (ProviderKind::Oidc, Some(mapping)) => identity::ProviderKind::Mapped(mapping.clone()),
        };
        ProviderConfig {
            issuers: provider.issuers.clone(),
            approvers: provider.approvers.as_ref().map(|approvers| identity::Approvers {
                audiences: approvers.audiences.clone(),
                clients: approvers.clients.clone(),
            }),
            jwks_url: provider.jwks_url.clone(),
            discovery_url: provider.discovery_url.clone(),
            jwks_ca: provider.jwks_ca.clone(),
            graph: provider.graph.as_ref().map(graph),
            max_token_age: provider.max_token_age,
            loopback_http: loopback_http(provider.allow_http_loopback),
            unmarked_users: match &provider.human_clients {
                None => UnmarkedUsers::AreHuman,
                Some(clients) => UnmarkedUsers::AreHumanThrough(clients.clone()),
            },
            ..ProviderConfig::new(provider.name.clone(), kind, provider.audiences.clone())
        }
    }
}

fn graph(graph: &super::Graph) -> identity::GraphConfig {
    let super::Graph { client_id, secret, cache, recheck, url } = graph.clone();
    let secret = identity::ClientSecret::new(move || secret.read_again());
    identity::GraphConfig { cache, recheck, url, ..identity::GraphConfig::new(client_id, secret) }
}

pub(super) fn loopback_http(allowed: bool) -> LoopbackHttp {
    match allowed {
        true => LoopbackHttp::Allowed,
        false => LoopbackHttp::Refused,
    }
}
