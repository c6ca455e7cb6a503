//! What is in one tenant of the local Graph.

use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountKind {
    /// A user who is a member.
    Member,
    /// A user who is a guest.
    Guest,
    /// An agent's user account.
    AgentUser,
    /// An agent.
    Agent,
    /// Any other service principal.
    Application,
}

/// A user or a service principal.
#[derive(Debug, Clone)]
pub struct Account {
    /// What it is.
    pub kind: AccountKind,
    /// Whether it may sign in.
    pub enabled: bool,
    /// Its groups, by id, however it came into them.
    pub groups: BTreeSet<String>,
    /// `signInSessionsValidFromDateTime`, for users.
    pub sessions_from: Option<String>,
    /// Ids and names of those who answer for an agent; `None` when the application may not know.
    pub sponsors: Option<Vec<(String, String)>>,
}

impl Account {
    /// An account that may sign in and is in these groups.
    pub fn new(kind: AccountKind, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Account { kind, enabled: true, groups, sessions_from: None, sponsors: None }
    }

    fn place(&self) -> &'static str {
        match self.kind {
            AccountKind::Member | AccountKind::Guest | AccountKind::AgentUser => "users",
            AccountKind::Agent | AccountKind::Application => "servicePrincipals",
        }
    }
}

/// The objects of a tenant, by id, and the groups that it has.
#[derive(Debug, Default)]
pub(super) struct Directory {
    accounts: HashMap<String, Account>,
    groups: BTreeSet<String>,
}

impl Directory {
    pub(super) fn put(&mut self, id: &str, account: Account) {
        self.groups.extend(account.groups.iter().cloned());
        self.accounts.insert(id.to_owned(), account);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.accounts.remove(id);
    }

    pub(super) fn change(&mut self, id: &str, change: impl FnOnce(&mut Account)) {
        if let Some(account) = self.accounts.get_mut(id) {
            change(account);
            self.groups.extend(account.groups.iter().cloned());
        }
    }

    pub(super) fn has_group(&self, id: &str) -> bool {
        self.groups.contains(id)
    }

    /// Those of the groups that the object is in.
    pub(super) fn held(&self, place: &str, id: &str, asked: &[&str]) -> Option<Vec<String>> {
        let account = self.at(place, id)?;
        Some(asked.iter().filter(|group| account.groups.contains(**group)).map(ToString::to_string).collect())
    }

    /// The object as Graph shows it.
    pub(super) fn object(&self, place: &str, id: &str) -> Option<Value> {
        let account = self.at(place, id)?;
        let mut shown = json!({ "@odata.context": "…", "id": id, "accountEnabled": account.enabled });
        let of_type = match account.kind {
            AccountKind::AgentUser => Some("#microsoft.graph.agentUser"),
            AccountKind::Agent => Some("#microsoft.graph.agentIdentity"),
            AccountKind::Member | AccountKind::Guest | AccountKind::Application => None,
        };
        let mut set = |name: &str, value: Value| {
            if let Some(shown) = shown.as_object_mut() {
                shown.insert(name.to_owned(), value);
            }
        };
        if let Some(of_type) = of_type {
            set("@odata.type", of_type.into());
        }
        if place == "users" {
            let guest = account.kind == AccountKind::Guest;
            set("userType", if guest { "Guest" } else { "Member" }.into());
            set("signInSessionsValidFromDateTime", account.sessions_from.clone().into());
        }
        Some(shown)
    }

    /// An agent's sponsors as Graph shows them; `None` for what is no agent.
    pub(super) fn sponsors(&self, id: &str) -> Option<Option<Value>> {
        let agent = |account: &&Account| account.kind == AccountKind::Agent;
        let account = self.at("servicePrincipals", id).filter(agent)?;
        let shown = |sponsors: &Vec<(String, String)>| {
            let one = |(id, name): &(String, String)| json!({ "@odata.type": "#microsoft.graph.user", "id": id, "displayName": name });
            json!({ "@odata.context": "…", "value": sponsors.iter().map(one).collect::<Vec<_>>() })
        };
        Some(account.sponsors.as_ref().map(shown))
    }

    fn at(&self, place: &str, id: &str) -> Option<&Account> {
        self.accounts.get(id).filter(|account| account.place() == place)
    }
}
