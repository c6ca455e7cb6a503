//! The registration that approvers sign in with: what agents are given must not approve.

use super::decode::Item;
use super::problem::quote;
use super::provider::{MAX_PER_PROVIDER, audience, guid, texts, word};

/// The registration that approvers sign in with: its tokens approve, and open nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvers {
    /// Accepted audiences, exact; none of them one of the provider's. Never empty.
    pub audiences: Vec<String>,
    /// The client applications that people sign in with. Never empty.
    pub clients: Vec<String>,
}

impl Approvers {
    /// `agents`: the provider's other audiences. `entra`: whether clients are GUIDs.
    pub(super) fn decode(item: &Item<'_>, agents: &[String], entra: bool) -> Option<Self> {
        let mut fields = item.fields()?;
        let audiences = fields.need("audience", "the exact `aud` of the tokens that approvers sign in with");
        let clients = fields.need("clients", "the ids of the applications that people sign in with");
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
        (!audiences.is_empty() && !clients.is_empty()).then_some(Approvers { audiences, clients })
    }
}

/// A client application's id.
fn client(item: &Item<'_>, entra: bool) -> Option<String> {
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
