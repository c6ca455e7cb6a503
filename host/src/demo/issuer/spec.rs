//! What a token of the local issuer says: Entra's claims per kind of caller, each of which can be changed or left out.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The version of a token, which decides the form of its issuer and the name of its client claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenForm {
    /// `https://sts.windows.net/{tenant}/`, `appid`.
    V1,
    /// `https://login.microsoftonline.com/{tenant}/v2.0`, `azp`.
    V2,
}

/// What the token says about groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupsClaim {
    /// Nothing: what apps and most agents get.
    Absent,
    /// These ids.
    Listed(Vec<String>),
    /// Too many to list: a pointer to an address that nobody must call.
    Overage,
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct TokenSpec {
    caller: CallerKind,
    form: TokenForm,
    object_id: String,
    client_id: String,
    audience: String,
    issued_at: Timestamp,
    lifetime: Duration,
    groups: GroupsClaim,
    roles: Vec<String>,
    name: Option<String>,
    header: Vec<(String, Option<Value>)>,
    claims: Vec<(String, Option<Value>)>,
}

impl TokenSpec {
    /// A version 2 token without groups and roles, valid for an hour from `issued_at`. A caller that acts for itself
    /// (an agent, a workload) is its own client until [`TokenSpec::client`] says otherwise.
    pub fn new(caller: CallerKind, object_id: &str, audience: &str, issued_at: Timestamp) -> Self {
        TokenSpec {
            caller,
            form: TokenForm::V2,
            object_id: object_id.to_owned(),
            client_id: object_id.to_owned(),
            audience: audience.to_owned(),
            issued_at,
            lifetime: Duration::from_secs(60 * 60),
            groups: GroupsClaim::Absent,
            roles: Vec::new(),
            name: None,
            header: Vec::new(),
            claims: Vec::new(),
        }
    }

    /// The version.
    #[must_use]
    pub fn form(mut self, form: TokenForm) -> Self {
        self.form = form;
        self
    }

    /// The client application: the agent, where a person comes through one.
    #[must_use]
    pub fn client(mut self, client_id: &str) -> Self {
        self.client_id = client_id.to_owned();
        self
    }

    /// How long the token is valid.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The groups.
    #[must_use]
    pub fn groups(mut self, groups: GroupsClaim) -> Self {
        self.groups = groups;
        self
    }

    /// The app roles.
    #[must_use]
    pub fn roles(mut self, roles: &[&str]) -> Self {
        self.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        self
    }

    /// The name for display.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Sets a claim, after all others.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.push((name.to_owned(), None));
        self
    }

    /// Sets a member of the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Leaves a member of the header out.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.push((name.to_owned(), None));
        self
    }

    /// The header for a key.
    pub(super) fn header_for(&self, key_id: &str) -> Map<String, Value> {
        let mut header = object(json!({ "typ": "JWT", "alg": "RS256", "kid": key_id }));
        if self.form == TokenForm::V1 {
            header.insert("x5t".to_owned(), key_id.into());
        }
        change(&mut header, &self.header);
        header
    }

    /// The claims in a tenant of the public cloud.
    pub(super) fn claims_for(&self, tenant: &str, issuer: String) -> Map<String, Value> {
        let issued = self.issued_at.as_second();
        let (version, client_claim, client_proof) = match self.form {
            TokenForm::V1 => ("1.0", "appid", "appidacr"),
            TokenForm::V2 => ("2.0", "azp", "azpacr"),
        };
        let mut claims = object(json!({
            "aud": self.audience,
            "iss": issuer,
            "iat": issued,
            "nbf": issued,
            "exp": issued.saturating_add_unsigned(self.lifetime.as_secs()),
            "aio": random_text(),
            "oid": self.object_id,
            "sub": self.object_id,
            "tid": tenant,
            "uti": random_text(),
            "ver": version,
        }));
        claims.insert(client_claim.to_owned(), self.client_id.clone().into());
        claims.insert(client_proof.to_owned(), "1".into());
        self.add_caller(&mut claims);
        if !self.roles.is_empty() {
            claims.insert("roles".to_owned(), self.roles.clone().into());
        }
        match &self.groups {
            GroupsClaim::Absent => (),
            GroupsClaim::Listed(ids) => drop(claims.insert("groups".to_owned(), ids.clone().into())),
            GroupsClaim::Overage => {
                let endpoint =
                    format!("https://graph.windows.net/{tenant}/users/{}/getMemberObjects", self.object_id);
                claims.insert("_claim_names".to_owned(), json!({ "groups": "src1" }));
                claims.insert("_claim_sources".to_owned(), json!({ "src1": { "endpoint": endpoint } }));
            }
        }
        change(&mut claims, &self.claims);
        claims
    }

    /// `idtyp`, the agent markers and the name.
    fn add_caller(&self, claims: &mut Map<String, Value>) {
        let (id_type, actor, subject) = match self.caller {
            CallerKind::Human => ("user", None, None),
            CallerKind::HumanThroughAgent => ("user", Some("3 11"), Some("5")),
            CallerKind::Agent => ("app", Some("11 3"), Some("9 11")),
            CallerKind::AgentUser => ("user", Some("11"), Some("13")),
            CallerKind::Workload => ("app", None, None),
            // A combination that no known case has.
            CallerKind::Unknown => ("user", Some("11"), Some("11")),
        };
        claims.insert("idtyp".to_owned(), id_type.into());
        for (claim, value) in [("xms_act_fct", actor), ("xms_sub_fct", subject)] {
            if let Some(value) = value {
                claims.insert(claim.to_owned(), value.into());
            }
        }
        if let Some(name) = &self.name {
            let claim = if id_type == "app" { "app_displayname" } else { "name" };
            claims.insert(claim.to_owned(), name.clone().into());
        }
    }

    pub(super) fn token_form(&self) -> TokenForm {
        self.form
    }
}

fn change(object: &mut Map<String, Value>, changes: &[(String, Option<Value>)]) {
    for (name, value) in changes {
        match value {
            Some(value) => drop(object.insert(name.clone(), value.clone())),
            None => drop(object.remove(name)),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// 16 random bytes as text, as in Entra's `uti`.
fn random_text() -> String {
    let mut bytes = [0; 16];
    // Without randomness two tokens may share an id here; a local issuer can live with that.
    let _ = rand::fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}
