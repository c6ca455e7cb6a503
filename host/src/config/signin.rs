//! The application that people sign in with in a browser.

use super::approvers::client;
use super::decode::Item;
use super::edge::scope_of;
use super::problem::quote;
use super::provider::url;
use super::secret::{Secret, Vault};

/// One of a provider's `approvers.clients`, with which the gateway's pages let people sign in.
#[derive(Clone)]
pub struct SignIn {
    /// Its id.
    pub client_id: String,
    /// Its secret; none: a public client.
    pub secret: Option<Secret>,
    /// Scopes beside `openid profile`.
    pub scope: String,
    /// The discovery document, unless it is the provider's.
    pub discovery_url: Option<String>,
}

/// What of the provider an application has to fit to.
pub(super) struct Fits<'a> {
    /// Whether clients are GUIDs.
    pub(super) entra: bool,
    /// The approvers' clients.
    pub(super) clients: &'a [String],
    /// Whether http on loopback is accepted.
    pub(super) allow_http_loopback: Option<bool>,
    /// Whether the provider's own discovery document is known.
    pub(super) discovered: bool,
}

impl SignIn {
    pub(super) fn decode(item: &Item<'_>, fits: &Fits<'_>, vault: &Vault<'_>) -> Option<Self> {
        let mut fields = item.fields()?;
        let client_item = fields.need("client_id", "the id of the application that people sign in with");
        let secret = fields.get("secret");
        let scope =
            fields.need("scope", "the scope of the approvers' API; Entra: `<Application ID URI>/approve`");
        let discovery = fields.get("discovery_url");
        if discovery.is_none() && !fits.discovered {
            fields.item().missing("discovery_url", "the provider has none of its own, or several tenants");
        }
        fields.finish();
        let client_id = client_item.as_ref().and_then(|item| client(item, fits.entra));
        if let (Some(item), Some(id)) = (&client_item, &client_id)
            && !fits.clients.contains(id)
        {
            item.invalid(
                format!("{} is none of the approvers' `clients`, so its tokens would be refused", quote(id)),
                "add it there, or write one of them",
            );
        }
        // An unreadable secret must not become a public client.
        let secret = match secret {
            None => Some(None),
            Some(item) => vault.secret(&item).map(Some),
        };
        let scope = scope.and_then(|item| scope_of(&item));
        let discovery_url = match discovery {
            None => Some(None),
            Some(item) => url(&item, fits.allow_http_loopback).map(Some),
        };
        Some(SignIn { client_id: client_id?, secret: secret?, scope: scope?, discovery_url: discovery_url? })
    }
}
