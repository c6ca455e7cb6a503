//! The store outside that sealed recordings are uploaded to: a bucket of S3 or of what speaks its protocol, a container of Azure
//! Blob Storage, or a bucket of Google Cloud Storage.
//!
//! What may go wrong: recordings go to where somebody else reads them, or a gateway believes a server that is none. So it is https
//! with a verified certificate or nothing, the endpoint is the configuration's alone, and a key of another kind of store is an
//! error and not left out in silence.

use super::decode::{Fields, Item};
use super::edge::path;
use super::problem::quote;
use super::secret::{Secret, Vault};
use crate::recorder::retain::{Keep, Retention};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The shortest time that a local copy stays: what is recorded has to be read by the search index, too.
const SHORTEST_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The longest such time: ten years.
const LONGEST_KEPT: Duration = Duration::from_secs(3650 * 24 * 3600);
/// The longest prefix, in bytes. An object's name may have 1024.
const MAX_PREFIX_BYTES: usize = 512;

/// What kind of store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// Amazon S3, or what speaks its protocol.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
}

impl StoreKind {
    const ALL: [(&'static str, StoreKind); 3] =
        [("s3", StoreKind::S3), ("azure", StoreKind::Azure), ("gs", StoreKind::Gcs)];

    fn scheme(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(scheme, _)| scheme)
    }

    /// Whether this program was built with it.
    const fn built_in(self) -> bool {
        match self {
            StoreKind::S3 => cfg!(feature = "s3"),
            StoreKind::Azure => cfg!(feature = "azure"),
            StoreKind::Gcs => cfg!(feature = "gcs"),
        }
    }
}

/// Whether what retention deletes is deleted in the store, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// It is.
    Yes,
    /// It is not: rules of the store do that, or nobody.
    No,
}

/// Whom the gateway is to the store.
#[derive(Clone)]
pub enum StoreIdentity {
    /// Whoever the machine is: its instance profile, managed or workload identity, as the environment says.
    Machine,
    /// An access key of S3: its id and its secret.
    AccessKey(Secret, Secret),
    /// The key of an account of Azure: it may do everything there.
    AccountKey(Secret),
    /// A shared access signature of Azure.
    Sas(Secret),
    /// The JSON of a service account of Google's.
    ServiceAccount(Secret),
}

/// A store.
#[derive(Clone)]
pub struct Store {
    /// What kind.
    pub kind: StoreKind,
    /// The bucket or container.
    pub bucket: String,
    /// What objects' names begin with, without slashes at the ends; may be empty.
    pub prefix: String,
    /// Where it is, when not where the provider has it.
    pub endpoint: Option<String>,
    /// The region of S3.
    pub region: Option<String>,
    /// The storage account of Azure.
    pub account: Option<String>,
    /// Whom the gateway is there.
    pub identity: StoreIdentity,
    /// PEM: the authorities of its certificate; none: the machine's.
    pub ca: Option<PathBuf>,
    /// For tests.
    pub allow_http_loopback: bool,
    /// How long a local copy stays after it was stored; none: for ever.
    pub keep_local: Option<Duration>,
    /// Whether what retention deletes is deleted there, too.
    pub deletes: Deletes,
}

/// Its URL, which also names it in the state store. There is no secret in it.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{}://{}{slash}{}", self.kind.scheme(), self.bucket, self.prefix)
    }
}

impl Store {
    pub(crate) fn decode(item: &Item<'_>, vault: &Vault<'_>) -> Option<Self> {
        let mut fields = item.fields()?;
        let url =
            fields.need("url", "`s3://bucket/prefix`, `azure://container/prefix` or `gs://bucket/prefix`");
        let place = url.as_ref().and_then(place);
        let kind = place.as_ref().map(|place| place.0);
        let loopback = fields.get("allow_http_loopback").map_or(Some(false), |item| item.yes_no());
        let endpoint = match fields.get("endpoint") {
            Some(item) => Some(endpoint(&item, loopback)?),
            None => None,
        };
        let region = of_kind(&mut fields, "region", kind, StoreKind::S3);
        let region = region.and_then(|item| item.plain_name("a region").map(str::to_owned));
        let account = of_kind(&mut fields, "account", kind, StoreKind::Azure);
        let account = account.and_then(|item| item.plain_name("a storage account").map(str::to_owned));
        let identity = identity(&mut fields, kind, vault);
        let ca = match fields.get("ca") {
            Some(item) => Some(path(&item, vault)?),
            None => None,
        };
        let keep_local = match fields.get("keep_local") {
            Some(item) => Some(item.duration(SHORTEST_KEPT, LONGEST_KEPT)?),
            None => None,
        };
        let deletes = fields.get("delete").map_or(Some(true), |item| item.yes_no());
        fields.finish();
        let (kind, bucket, prefix) = place?;
        if kind == StoreKind::S3 && region.is_none() && endpoint.is_none() {
            item.missing("region", "the region of the bucket, such as `eu-central-1`");
            return None;
        }
        if kind == StoreKind::Azure && account.is_none() {
            item.missing("account", "the name of the storage account");
            return None;
        }
        let allow_http_loopback = loopback?;
        Some(Store {
            kind,
            bucket,
            prefix,
            endpoint,
            region,
            account,
            identity: identity?,
            ca,
            allow_http_loopback,
            keep_local,
            deletes: if deletes? { Deletes::Yes } else { Deletes::No },
        })
    }
}

impl Store {
    /// What does nothing beside what is said of retention.
    pub(super) fn beside(&self, item: &Item<'_>, retention: &Retention) {
        if self.deletes == Deletes::No && !retention.deletes() {
            item.no_effect("`delete: no` does nothing: there is no `retention` that deletes", "delete it");
        }
        let all = retention.targets.values().chain([&retention.default]);
        let longer = |keep: &Keep| match keep {
            Keep::Forever => true,
            Keep::For(time) => self.keep_local.is_none_or(|kept| *time > kept),
        };
        if !all.into_iter().any(longer) {
            item.no_effect(
                "`keep_local` does nothing: `retention` keeps no recording for longer than that",
                "lower it, or leave it out",
            );
        }
    }
}

/// Kind, bucket and prefix.
fn place(item: &Item<'_>) -> Option<(StoreKind, String, String)> {
    const HELP: &str = "write `s3://bucket/prefix`, `azure://container/prefix` or `gs://bucket/prefix`";
    let text = item.text("the URL of a bucket")?;
    let wrong = |why: &str| {
        // What stands before an `@` may be a password.
        if text.contains('@') {
            item.sink.conceal(item.node.mark);
            item.invalid("this is no URL of a bucket: it has an `@`", HELP);
        } else {
            item.invalid(format!("{} is no URL of a bucket: {why}", quote(text)), HELP);
        }
        None
    };
    let Some((scheme, rest)) = text.split_once("://") else { return wrong("it has no scheme") };
    let Some((_, kind)) = StoreKind::ALL.into_iter().find(|(known, _)| *known == scheme) else {
        return wrong("its scheme is none of these");
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let lower = |byte: u8| plain(byte) && !byte.is_ascii_uppercase();
    if !((3..=63).contains(&bucket.len()) && bucket.bytes().all(lower) && !bucket.contains("..")) {
        return wrong("a bucket's name has 3 to 63 lower case letters, digits, `.`, `_` and `-`");
    }
    // Nothing that a server or a file system could read as another place.
    let segment = |one: &str| !one.is_empty() && one != "." && one != ".." && one.bytes().all(plain);
    let fits = prefix.len() <= MAX_PREFIX_BYTES && prefix.split('/').all(segment);
    if !prefix.is_empty() && !fits {
        return wrong("a prefix is names of letters, digits, `.`, `_` and `-`, parted by single slashes");
    }
    if !kind.built_in() {
        item.invalid(
            format!("this chaperone was built without {}", quote(scheme)),
            "use a build that has it: the released ones have all",
        );
        return None;
    }
    Some((kind, bucket.to_owned(), prefix.to_owned()))
}

fn endpoint(item: &Item<'_>, loopback: Option<bool>) -> Option<String> {
    let url = super::provider::url(item, loopback)?;
    if url.contains(['?', '#']) {
        item.invalid(format!("{} is no endpoint", quote(&url)), "write it without `?` and `#`");
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// A key that means something for one kind of store.
fn of_kind<'a>(
    fields: &mut Fields<'a>,
    key: &'static str,
    kind: Option<StoreKind>,
    wanted: StoreKind,
) -> Option<Item<'a>> {
    let item = fields.get(key)?;
    match kind {
        Some(kind) if kind != wanted => {
            item.no_effect(format!("`{key}` does nothing: it is for `{}://`", wanted.scheme()), "delete it");
            None
        }
        _ => Some(item),
    }
}

/// None when something is wrong with it.
fn identity(fields: &mut Fields<'_>, kind: Option<StoreKind>, vault: &Vault<'_>) -> Option<StoreIdentity> {
    let id = of_kind(fields, "access_key_id", kind, StoreKind::S3);
    let secret = of_kind(fields, "secret_access_key", kind, StoreKind::S3);
    let account_key = of_kind(fields, "account_key", kind, StoreKind::Azure);
    let sas = of_kind(fields, "sas", kind, StoreKind::Azure);
    let service_account = of_kind(fields, "service_account", kind, StoreKind::Gcs);
    if let (Some(_), Some(sas)) = (&account_key, &sas) {
        sas.no_effect("`sas` does nothing beside `account_key`", "keep `sas`: it may do less");
        return None;
    }
    match (id, secret) {
        (Some(id), Some(secret)) => {
            return Some(StoreIdentity::AccessKey(vault.secret(&id)?, vault.secret(&secret)?));
        }
        (Some(_), None) => {
            fields.item().missing("secret_access_key", "an access key is an id and a secret");
            return None;
        }
        (None, Some(_)) => {
            fields.item().missing("access_key_id", "an access key is an id and a secret");
            return None;
        }
        (None, None) => {}
    }
    if let Some(item) = account_key {
        return vault.secret(&item).map(StoreIdentity::AccountKey);
    }
    if let Some(item) = sas {
        return vault.secret(&item).map(StoreIdentity::Sas);
    }
    match service_account {
        Some(item) => vault.secret(&item).map(StoreIdentity::ServiceAccount),
        None => Some(StoreIdentity::Machine),
    }
}
