//! How command lines sign people in: what the gateway tells everybody who reaches it.

use super::decode::Item;
use super::edge::scope_of;
use super::names::{Kind, Names};
use super::provider::{Provider, url, word};
use chaperone_core::name::ProviderName;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// At which provider.
    pub provider: ProviderName,
    /// As which application.
    pub client_id: String,
    /// What to ask for.
    pub scope: String,
    /// The discovery document, unless it is the provider's.
    pub discovery_url: Option<String>,
}

impl Login {
    /// `providers`: those of the file, one of which it has to be.
    pub(super) fn decode<'a>(item: &Item<'a>, providers: &[Provider], names: &mut Names<'a>) -> Option<Self> {
        let mut fields = item.fields()?;
        let provider = fields.need("provider", "the provider's name");
        let client_id = fields.need("client_id", "the id of an application that may use the device flow");
        let scope = fields.need("scope", "what to ask for; with `offline_access` tokens are renewed");
        let discovery = fields.get("discovery_url");
        let provider = provider.and_then(|item| {
            let name = item.plain_name("a provider's name")?;
            names.refer(Kind::Provider, name, &item);
            ProviderName::new(name).ok()
        });
        let known = providers.iter().find(|known| Some(&known.name) == provider.as_ref());
        if discovery.is_none() && known.is_some_and(|known| known.discovery().is_none()) {
            fields.item().missing("discovery_url", "the provider has none of its own, or several tenants");
        }
        fields.finish();
        let client_id = client_id.and_then(|item| word(&item, "a client's id"));
        let scope = scope.and_then(|item| scope_of(&item));
        let discovery_url = match discovery {
            None => Some(None),
            Some(item) => url(&item, Some(true)).map(Some),
        };
        Some(Login {
            provider: provider?,
            client_id: client_id?,
            scope: scope?,
            discovery_url: discovery_url?,
        })
    }
}
