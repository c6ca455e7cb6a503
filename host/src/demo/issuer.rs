//! A local token issuer of Entra's shape, for the demo and for tests.
//!
//! It makes its keys at start, serves discovery and key documents over HTTP on loopback, and signs tokens of both
//! versions for every kind of caller. Its tokens carry Entra's real forms of issuers, so that a gateway that trusts it
//! runs exactly the code that it runs with Entra; only the address of the keys differs. Keys can be rotated, hidden and
//! shown again, and the server can misbehave on request.
//!
//! What may go wrong: whoever reads this process's memory can sign anything. It is a stand-in for an identity provider
//! on one machine and never part of a served gateway. Keys live in memory only.

mod ci;
mod signin;
mod spec;

pub use ci::CiToken;
pub use signin::{Account, Application, Wrong};
pub use spec::{GroupsClaim, TokenForm, TokenSpec};

use crate::identity::{Cloud, LoopbackHttp, ProviderConfig, ProviderKind};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chaperone_core::name::ProviderName;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why the issuer cannot work.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// No port on loopback.
    #[error("the local token issuer cannot listen on 127.0.0.1: {0}")]
    Listen(#[from] std::io::Error),
    /// The cryptographic library failed.
    #[error("the local token issuer cannot make or use a key")]
    Key,
}

/// How the issuer's server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// It answers.
    #[default]
    Works,
    /// It answers with status 503.
    Fails,
    /// It answers with something that is no document.
    Babbles,
    /// It answers with more than anyone should read.
    Floods,
    /// It redirects to itself.
    Redirects,
}

/// What a published key says about the issuer it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyIssuer {
    /// No `issuer` member.
    Absent,
    /// `https://login.microsoftonline.com/{tenantid}/v2.0`, as in Entra's shared documents.
    Template,
    /// This text.
    Exact(String),
}

/// Whether a key is in the published document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publication {
    /// It is.
    Shown,
    /// It is not, though it may sign.
    Hidden,
}

struct Key {
    id: String,
    pair: RsaKeyPair,
    issuer: KeyIssuer,
    publication: Publication,
}

struct Shared {
    tenant: String,
    address: SocketAddr,
    keys: Mutex<Vec<Key>>,
    behaviour: Mutex<Behaviour>,
    fetches: AtomicUsize,
    sign_ins: Mutex<signin::SignIns>,
}

/// A running issuer of one tenant. Its server ends when this is dropped.
pub struct Issuer {
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Issuer {
    /// Starts an issuer for a tenant (a GUID) with one published key, on a free port.
    pub async fn start(tenant: &str) -> Result<Self, IssuerError> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let shared = Arc::new(Shared {
            tenant: tenant.to_owned(),
            address: listener.local_addr()?,
            keys: Mutex::default(),
            behaviour: Mutex::default(),
            fetches: AtomicUsize::new(0),
            sign_ins: Mutex::default(),
        });
        let router = signin::router().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            // Serving on an open listener goes on until the task is aborted.
            let _ = axum::serve(listener, router).await;
        });
        let issuer = Issuer { shared, server };
        issuer.rotate()?;
        Ok(issuer)
    }

    /// The tenant.
    pub fn tenant(&self) -> &str {
        &self.shared.tenant
    }

    /// The address of the discovery document.
    pub fn discovery_url(&self) -> String {
        format!("{}/{}/v2.0/.well-known/openid-configuration", self.origin(), self.shared.tenant)
    }

    /// The address of the key document.
    pub fn jwks_url(&self) -> String {
        format!("{}/{}/discovery/v2.0/keys", self.origin(), self.shared.tenant)
    }

    /// The configuration with which a gateway trusts this issuer's tokens for an audience.
    pub fn provider(&self, name: ProviderName, audience: &str) -> ProviderConfig {
        let kind = ProviderKind::Entra { cloud: Cloud::Public, tenants: vec![self.shared.tenant.clone()] };
        let mut config = ProviderConfig::new(name, kind, vec![audience.to_owned()]);
        config.discovery_url = Some(self.discovery_url());
        config.loopback_http = LoopbackHttp::Allowed;
        config
    }

    /// A token, signed with the newest key.
    pub fn token(&self, spec: &TokenSpec) -> Result<String, IssuerError> {
        self.token_by(&self.newest_key_id(), spec)
    }

    /// A token, signed with this key.
    pub fn token_by(&self, key_id: &str, spec: &TokenSpec) -> Result<String, IssuerError> {
        let issuer = match spec.token_form() {
            TokenForm::V1 => Cloud::Public.issuer_v1(&self.shared.tenant),
            TokenForm::V2 => Cloud::Public.issuer_v2(&self.shared.tenant),
        };
        let claims = Value::Object(spec.claims_for(&self.shared.tenant, issuer));
        let header = Value::Object(spec.header_for(key_id));
        self.sign_by(key_id, &header.to_string(), &claims.to_string())
    }

    /// A token of a system that runs jobs, signed with the newest key. Such systems' keys name no issuer: see
    /// [`Issuer::set_key_issuer`].
    pub fn ci_token(&self, token: &CiToken) -> Result<String, IssuerError> {
        let key_id = self.newest_key_id();
        let (header, claims) = token.parts(&key_id);
        self.sign_by(&key_id, &header, &claims)
    }

    /// Signs any two texts with this key, whatever they say.
    pub fn sign_by(&self, key_id: &str, header: &str, claims: &str) -> Result<String, IssuerError> {
        self.shared.sign_by(key_id, header, claims)
    }

    /// Makes and publishes a new key, which signs from now on; the old ones stay published. Returns the new key's id.
    pub fn rotate(&self) -> Result<String, IssuerError> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| IssuerError::Key)?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, pair.public_key().as_ref());
        let id = URL_SAFE_NO_PAD.encode(digest.as_ref().get(..20).unwrap_or_default());
        let key = Key { id: id.clone(), pair, issuer: KeyIssuer::Template, publication: Publication::Shown };
        self.keys().push(key);
        Ok(id)
    }

    /// Shows or hides a key in the document.
    pub fn publish(&self, key_id: &str, publication: Publication) {
        for key in self.keys().iter_mut().filter(|key| key.id == key_id) {
            key.publication = publication;
        }
    }

    /// Changes what all published keys say about their issuer.
    pub fn set_key_issuer(&self, issuer: &KeyIssuer) {
        for key in self.keys().iter_mut() {
            key.issuer = issuer.clone();
        }
    }

    /// The id of the key that signs.
    pub fn newest_key_id(&self) -> String {
        self.shared.newest_key_id()
    }

    /// The DER form of the signing key's public half (RFC 8017 `RSAPublicKey`), for tests of key confusion.
    pub fn public_key_der(&self) -> Vec<u8> {
        self.keys().last().map(|key| key.pair.public_key().as_ref().to_vec()).unwrap_or_default()
    }

    /// Makes the server misbehave, or work again.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// How many requests the server has had.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    fn origin(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    fn keys(&self) -> MutexGuard<'_, Vec<Key>> {
        self.shared.keys()
    }
}

impl Shared {
    fn keys(&self) -> MutexGuard<'_, Vec<Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sign_ins(&self) -> MutexGuard<'_, signin::SignIns> {
        self.sign_ins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest_key_id(&self) -> String {
        self.keys().last().map(|key| key.id.clone()).unwrap_or_default()
    }

    fn sign_by(&self, key_id: &str, header: &str, claims: &str) -> Result<String, IssuerError> {
        let keys = self.keys();
        let key = keys.iter().find(|key| key.id == key_id).ok_or(IssuerError::Key)?;
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; key.pair.public_modulus_len()];
        key.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| IssuerError::Key)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Answers every request, by the end of its path.
async fn answer(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    let behaviour = *shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
    match behaviour {
        Behaviour::Works => (),
        Behaviour::Fails => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Behaviour::Babbles => return "<html>sign in</html>".into_response(),
        Behaviour::Floods => return "x".repeat(4 * 1024 * 1024).into_response(),
        Behaviour::Redirects => {
            return (StatusCode::FOUND, [(header::LOCATION, uri.to_string())]).into_response();
        }
    }
    let document = match uri.path() {
        path if path.ends_with("/.well-known/openid-configuration") => discovery(&shared),
        path if path.ends_with("/keys") => key_document(&shared),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(header::CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}

fn discovery(shared: &Shared) -> Value {
    let Shared { tenant, address, .. } = shared;
    let mut document = json!({
        "issuer": Cloud::Public.issuer_v2(tenant),
        "jwks_uri": format!("http://{address}/{tenant}/discovery/v2.0/keys"),
        "token_endpoint": format!("http://{address}/{tenant}/oauth2/v2.0/token"),
        "id_token_signing_alg_values_supported": ["RS256"],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
    });
    if let Some(document) = document.as_object_mut() {
        let more = signin::discovered(&format!("http://{address}/{tenant}"));
        document.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    document
}

fn key_document(shared: &Shared) -> Value {
    let keys = shared.keys();
    let shown = keys.iter().filter(|key| key.publication == Publication::Shown);
    json!({ "keys": shown.map(jwk).collect::<Vec<_>>() })
}

fn jwk(key: &Key) -> Value {
    let public = key.pair.public_key();
    let mut jwk = json!({
        "kty": "RSA",
        "use": "sig",
        "kid": key.id,
        "x5t": key.id,
        "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
        "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
        "cloud_instance_name": "microsoftonline.com",
    });
    let issuer = match &key.issuer {
        KeyIssuer::Absent => None,
        KeyIssuer::Template => Some(Cloud::Public.issuer_v2("{tenantid}")),
        KeyIssuer::Exact(issuer) => Some(issuer.clone()),
    };
    if let (Some(issuer), Some(members)) = (issuer, jwk.as_object_mut()) {
        members.insert("issuer".to_owned(), issuer.into());
    }
    jwk
}
