//! The registration that approvers sign in with: what agents are given must not approve.

use super::decode::Item;
use super::problem::quote;
use super::provider::{MAX_PER_PROVIDER, audience, guid, texts, word};
use super::secret::Vault;
use super::signin::{Fits, SignIn};

/// The registration that approvers sign in with: its tokens approve, and open nothing.
#[derive(Clone)]
pub struct Approvers {
    /// Accepted audiences, exact; none of them one of the provider's. Never empty.
    pub audiences: Vec<String>,
    /// The client applications that people sign in with. Never empty.
    pub clients: Vec<String>,
    /// How they sign in with a browser, if they do here.
    pub sign_in: Option<SignIn>,
}

/// What of its provider a registration has to fit to.
pub(super) struct Around<'a> {
    /// The provider's other audiences.
    pub(super) agents: &'a [String],
    /// Whether clients are GUIDs.
    pub(super) entra: bool,
    /// Whether http on loopback is accepted.
    pub(super) allow_http_loopback: Option<bool>,
    /// Whether the provider's discovery document is known.
    pub(super) discovered: bool,
}

impl Approvers {
    pub(super) fn decode(item: &Item<'_>, around: &Around<'_>, vault: &Vault<'_>) -> Option<Self> {
        let &Around { agents, entra, allow_http_loopback, discovered } = around;
        let mut fields = item.fields()?;
        let audiences = fields.need("audience", "the exact `aud` of the tokens that approvers sign in with");
        let clients = fields.need("clients", "the ids of the applications that people sign in with");
        let sign_in = fields.get("sign_in");
        fields.finish();
        for item in [&audiences, &clients].into_iter().flatten().filter(|item| item.is_empty_list()) {
            item.no_effect(format!("nobody could approve: `{}` is empty", item.name()), "list at least one");
        }
        let audience = |item: &Item<'_>| {
            let text = audience(item)?;
            if agents.contains(&text) {
                item.invalid(
                    format!("{} is one of the provider's `audiences`, too", quote(&text)),
                    "register another application for approvers: what agents are given must not approve",
                );
                return None;
            }
            Some(text)
        };
        let audiences = texts(audiences.as_ref(), MAX_PER_PROVIDER, &audience);
        let clients = texts(clients.as_ref(), MAX_PER_PROVIDER, &|item| client(item, entra));
        let fits = Fits { entra, clients: &clients, allow_http_loopback, discovered };
        let sign_in = match sign_in {
            None => Some(None),
            Some(item) => SignIn::decode(&item, &fits, vault).map(Some),
        }?;
        (!audiences.is_empty() && !clients.is_empty()).then_some(Approvers { audiences, clients, sign_in })
    }
}

/// A client application's id.
pub(super) fn client(item: &Item<'_>, entra: bool) -> Option<String> {
    let text = word(item, "a client's id")?;
    if !entra {
        return Some(text);
    }
    let id = guid(&text);
    if id.is_none() {
        item.invalid(
            format!("{} is not a client's id", quote(&text)),
            "Entra's are GUIDs: the portal shows it as \"Application (client) ID\"",
        );
    }
    id
}
