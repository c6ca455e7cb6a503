//! What is served beside the API, as it is configured: the console, and where command lines sign people in.

use super::Gateway;
use super::run::StartError;
use super::sampling::Sampler;
use crate::api::{self, login::LoginInfo};
use crate::config::{self, Config};
use crate::console::{self, Archive, Parts, Plant, TargetFacts};
use crate::identity::signin::{SecretReader, SignIn, SignInConfig};
use crate::identity::{Identities, LoopbackHttp};
use crate::metrics::history::History;
use crate::recorder::Recorder;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What command lines are told about signing in, where the configuration says so.
pub(super) fn login(config: &Config) -> Result<axum::Router, StartError> {
    let Some(login) = &config.listen.login else { return Ok(axum::Router::new()) };
    let provider = config.providers.iter().find(|provider| provider.name == login.provider);
    let discovery_url = login.discovery_url.clone().or_else(|| provider?.discovery());
    let discovery_url = discovery_url.ok_or_else(|| {
        StartError::new("`listen.login`: the provider has no discovery document", "set `discovery_url` there")
    })?;
    let (client_id, scope) = (login.client_id.clone(), login.scope.clone());
    Ok(api::login::router(LoginInfo { discovery_url, client_id, scope }))
}

/// The console; without anybody who could sign in there is none, and nothing is sampled for it.
pub(super) fn router(
    config: &Config,
    url: &str,
    identities: &Arc<Identities>,
    sampler: Sampler,
    archive: Archive,
    (accepting, stop): (&TaskTracker, &CancellationToken),
) -> Result<axum::Router, StartError> {
    let sign_ins = sign_ins(config, url)?;
    if sign_ins.is_empty() {
        return Ok(axum::Router::new());
    }
    let history = Arc::new(History::default());
    let parts = Parts {
        identities: Arc::clone(identities),
        sign_ins,
        grants: sampler.grants.clone(),
        sessions: sampler.live.clone(),
        plant: Plant {
            targets: config.targets.iter().map(target_facts).collect(),
            plugins: sampler.plugins.clone(),
        },
        history: Arc::clone(&history),
        archive,
    };
    accepting.spawn(sampler.sample(history, stop.clone()));
    Ok(console::router(parts, url))
}

/// The recordings of a gateway, also those of break glass. Its own key counts, and no key for lying beside them.
pub(super) fn archive(gateway: &Gateway) -> Archive {
    let elsewhere = gateway.break_glass.iter().map(|glass| &glass.recorder);
    let folders = std::iter::once(&gateway.recorder).chain(elsewhere).map(Recorder::library).collect();
    Archive { folders, keys: gateway.recorder.public_key().into() }
}

/// A target without its secrets.
fn target_facts(target: &config::Target) -> TargetFacts {
    TargetFacts {
        name: target.name.clone(),
        protocol: match target.protocol {
            config::Protocol::Postgres => "postgres",
        },
        address: format!("{}:{}", target.host, target.port),
        database: target.database.clone(),
        tls: match target.tls {
            config::TargetTls::VerifyFull { .. } => "verified",
            config::TargetTls::Disabled => "disabled",
        },
        credential: match target.credential {
            config::Credential::Static => "static",
            config::Credential::Minted { .. } => "minted for each session",
        },
        plugins: target.plugins.clone(),
        labels: target.labels.iter().map(|(name, value)| format!("{name}={value}")).collect(),
    }
}

/// Where people can sign in.
fn sign_ins(config: &Config, url: &str) -> Result<Vec<SignIn>, StartError> {
    let advice = "check `sign_in` of the provider's `approvers`";
    let mut sign_ins = Vec::new();
    for provider in &config.providers {
        let Some(own) = provider.approvers.as_ref().and_then(|approvers| approvers.sign_in.as_ref()) else {
            continue;
        };
        let what = |why: &dyn std::fmt::Display| format!("provider `{}`: {why}", provider.name);
        let discovery_url = own.discovery_url.clone().or_else(|| provider.discovery());
        let discovery_url =
            discovery_url.ok_or_else(|| StartError::new(what(&"it has no discovery document"), advice))?;
        let read = |secret: config::Secret| -> SecretReader { Box::new(move || secret.read_again()) };
        let sign_in = SignIn::new(SignInConfig {
            provider: provider.name.clone(),
            client_id: own.client_id.clone(),
            secret: own.secret.clone().map(read),
            scope: own.scope.clone(),
            discovery_url,
            redirect_uri: console::redirect_uri(url),
            loopback_http: match provider.allow_http_loopback {
                true => LoopbackHttp::Allowed,
                false => LoopbackHttp::Refused,
            },
        });
        sign_ins.push(sign_in.map_err(|problem| StartError::new(what(&problem), advice))?);
    }
    Ok(sign_ins)
}
