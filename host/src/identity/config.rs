//! Which providers are trusted, and for what.
//!
//! Nothing is inferred: no default provider, no `common` or `organizations`, no cloud guessed from an issuer. What
//! Microsoft fixes (the forms of issuers and the addresses of keys per cloud) is generated from cloud and tenant.

use super::fetch::UrlError;
use super::graph::GraphConfig;
use super::mapping::{ClaimMapping, MappingProblem};
use chaperone_core::name::ProviderName;
use std::path::PathBuf;
use std::time::Duration;

/// How many providers may be configured.
pub const MAX_PROVIDERS: usize = 64;

/// The longest name of a provider, in bytes, so that a principal (name, tenant and object id) stays within a name's bound.
pub const MAX_PROVIDER_NAME_BYTES: usize = 100;

/// How many tenants one Entra provider may list. Each has a key cache of its own.
pub const MAX_TENANTS: usize = 64;

/// The longest life of a token that is accepted: managed identities get 24 h, the rest 60 to 90 minutes.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(48 * 60 * 60);

/// The shortest `max_token_age`: less than the skew of clocks would refuse at random.
pub const MIN_TOKEN_AGE: Duration = Duration::from_secs(60);

/// A Microsoft cloud. Never inferred: US Government tokens of version 1 use the public cloud's issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// The worldwide cloud.
    Public,
    /// Azure Government (GCC High, DoD).
    UsGov,
    /// Azure operated by 21Vianet.
    China,
}

impl Cloud {
    /// The host of version 2 issuers and of key documents.
    pub fn authority(self) -> &'static str {
        match self {
            Cloud::Public => "login.microsoftonline.com",
            Cloud::UsGov => "login.microsoftonline.us",
            Cloud::China => "login.partner.microsoftonline.cn",
        }
    }

    /// Microsoft Graph ("Microsoft Graph national cloud deployments", learn.microsoft.com/graph/deployments). The host of the US
    /// Department of Defense is another one, which is not asked.
    pub fn graph(self) -> &'static str {
        match self {
            Cloud::Public => "https://graph.microsoft.com",
            Cloud::UsGov => "https://graph.microsoft.us",
            Cloud::China => "https://microsoftgraph.chinacloudapi.cn",
        }
    }

    /// Where tokens for Graph are got (the same page).
    pub fn token_server(self) -> &'static str {
        match self {
            Cloud::Public => "https://login.microsoftonline.com",
            Cloud::UsGov => "https://login.microsoftonline.us",
            Cloud::China => "https://login.chinacloudapi.cn",
        }
    }

    /// The issuer of version 1 tokens of a tenant, with the slash at its end.
    pub fn issuer_v1(self, tenant: &str) -> String {
        let host = match self {
            // Azure Government shares the public cloud's version 1 issuer. If a tenant there should differ after all,
            // its version 1 tokens are refused as of an unknown issuer: fails closed.
            Cloud::Public | Cloud::UsGov => "sts.windows.net",
            Cloud::China => "sts.chinacloudapi.cn",
        };
        format!("https://{host}/{tenant}/")
    }

    /// The issuer of version 2 tokens of a tenant, without a slash at its end.
    pub fn issuer_v2(self, tenant: &str) -> String {
        format!("https://{}/{tenant}/v2.0", self.authority())
    }
}

/// What kind of provider it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// Microsoft Entra.
    Entra {
        /// The cloud that the tenants are in.
        cloud: Cloud,
        /// The tenants' ids (GUIDs).
        tenants: Vec<String>,
    },
    /// Any provider of JWT access tokens by RFC 9068.
    Oidc,
    /// Any provider of JWTs, read by a mapping.
    Mapped(ClaimMapping),
}

/// Whether plain HTTP to a loopback IP address is allowed, for the demo and for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoopbackHttp {
    /// HTTPS only.
    #[default]
    Refused,
    /// `http://127.0.0.1` and `http://[::1]` as well.
    Allowed,
}

/// What a `user` token without agent markers proves. Markers can be missing, so their absence is weak evidence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum UnmarkedUsers {
    /// A person, whatever the client application.
    #[default]
    AreHuman,
    /// A person, if the token came through one of these client applications (`azp`, GUIDs), which only people sign in
    /// with; unknown otherwise. The stricter choice where agents have user accounts.
    AreHumanThrough(Vec<String>),
}

/// The registration that approvers sign in with: its tokens approve, and open nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvers {
    /// Exact audiences, none of which is one of the provider's others.
    pub audiences: Vec<String>,
    /// The client applications that people sign in with; a token that came through another is refused.
    pub clients: Vec<String>,
}

/// One trusted provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Its name in grants and records.
    pub name: ProviderName,
    /// What kind of provider it is.
    pub kind: ProviderKind,
    /// Exact issuers. Entra: empty means the version 1 and version 2 forms of every tenant; a list narrows them down.
    /// OIDC: exactly one, since a subject is unique within its issuer only.
    pub issuers: Vec<String>,
    /// Exact audiences, each spelling listed.
    pub audiences: Vec<String>,
    /// The registration of approvers, if they have one of their own.
    pub approvers: Option<Approvers>,
    /// The key document's address. Entra: generated unless this or `discovery_url` is set.
    pub jwks_url: Option<String>,
    /// The discovery document's address. OIDC: `<issuer>/.well-known/openid-configuration` unless set.
    pub discovery_url: Option<String>,
    /// A PEM file with the authorities that may have signed the certificate of the server of keys, and no others may; none:
    /// the machine's.
    pub jwks_ca: Option<PathBuf>,
    /// How long after its issue a token is accepted: [`MIN_TOKEN_AGE`] to [`MAX_TOKEN_LIFETIME`].
    pub max_token_age: Duration,
    /// Whether plain HTTP to loopback is allowed.
    pub loopback_http: LoopbackHttp,
    /// What a `user` token without agent markers proves.
    pub unmarked_users: UnmarkedUsers,
    /// How Microsoft Graph is asked for what tokens leave open. Entra only; without it nothing is asked.
    pub graph: Option<GraphConfig>,
}

impl ProviderConfig {
    /// A provider with every optional setting at its default (any token that is not expired, HTTPS only).
    pub fn new(name: ProviderName, kind: ProviderKind, audiences: Vec<String>) -> Self {
        ProviderConfig {
            name,
            kind,
            issuers: Vec::new(),
            audiences,
            approvers: None,
            jwks_url: None,
            discovery_url: None,
            jwks_ca: None,
            max_token_age: MAX_TOKEN_LIFETIME,
            loopback_http: LoopbackHttp::default(),
            unmarked_users: UnmarkedUsers::default(),
            graph: None,
        }
    }
}

/// Why the providers cannot be used as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityConfigError {
    /// No provider at all.
    #[error("no identity provider is configured: nobody could get in")]
    NoProvider,
    /// More than [`MAX_PROVIDERS`].
    #[error("at most {MAX_PROVIDERS} identity providers can be configured")]
    TooManyProviders,
    /// Two providers of one name.
    #[error("two identity providers are named `{0}`")]
    NameTwice(ProviderName),
    /// Two providers (or one, twice) with one issuer: a token must select exactly one.
    #[error("provider `{provider}`: the issuer `{issuer}` is configured twice")]
    IssuerTwice {
        /// The later provider.
        provider: ProviderName,
        /// The issuer.
        issuer: String,
    },
    /// A setting that cannot be.
    #[error("provider `{provider}`: {problem}")]
    Provider {
        /// The provider.
        provider: ProviderName,
        /// What is wrong with it.
        problem: ProviderProblem,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client for identity providers cannot start: {0}")]
    Client(String),
}

/// What is wrong with one provider's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderProblem {
    /// A name that cannot be part of a principal.
    #[error("its name must have at most {MAX_PROVIDER_NAME_BYTES} characters and no `/`")]
    Name,
    /// None or too many tenants.
    #[error("list 1 to {MAX_TENANTS} tenants")]
    TenantCount,
    /// Not a tenant's id.
    #[error("the tenant `{0}` is not a GUID (`common` and `organizations` would trust everybody)")]
    Tenant(String),
    /// Personal accounts.
    #[error("the tenant of personal Microsoft accounts would trust everybody")]
    ConsumerTenant,
    /// An issuer that is not one of the tenant's.
    #[error("the issuer `{0}` is not one of its tenants' in this cloud")]
    ForeignIssuer(String),
    /// Not exactly one issuer.
    #[error("an `oidc` provider has exactly one issuer; configure one provider per issuer")]
    OneIssuer,
    /// An unusable address.
    #[error("the address `{url}` cannot be used: {error}")]
    Url {
        /// The address as configured.
        url: String,
        /// Why not.
        error: UrlError,
    },
    /// Both addresses.
    #[error("set the address of the keys or of the discovery document, not both")]
    TwoAddresses,
    /// No audience.
    #[error("list at least one audience")]
    NoAudience,
    /// An audience that no own application has.
    #[error("the audience `{0}` is Microsoft Graph's: tokens for it are not for this gateway")]
    GraphAudience(String),
    /// An empty audience.
    #[error("an audience must not be empty or have spaces in it")]
    Audience,
    /// Out of range.
    #[error("the maximum token age must be between one minute and 48 hours")]
    TokenAge,
    /// Not a client's id.
    #[error("the client `{0}` is not a GUID")]
    Client(String),
    /// The HTTP client cannot be built.
    #[error("the HTTP client for sign-in cannot start: {0}")]
    HttpClient(String),
    /// Approvers without a client.
    #[error("list at least one client that approvers sign in with")]
    NoClient,
    /// One audience for asking and for approving.
    #[error("the audience `{0}` is listed for agents and for approvers: a token must be for one of them")]
    SharedAudience(String),
    /// A mapping that would let in anybody, or nobody.
    #[error("{0}")]
    Mapping(#[from] MappingProblem),
    /// The authorities of the server of keys.
    #[error("`{}` cannot be used as the authority of the server of keys: {why}", path.display())]
    Authority {
        /// The file as configured.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Microsoft Graph cannot be asked like that.
    #[error("`graph`: {0}")]
    Graph(&'static str),
}
