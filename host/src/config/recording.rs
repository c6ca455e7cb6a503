//! Where recordings go, how much they keep and for how long, and by which keys they are signed and encrypted.

use super::decode::{Item, NAME_HELP};
use super::edge::path;
use super::names::Names;
use super::problem::quote;
use super::secret::{Secret, Vault};
use super::store::Store;
use super::target::{MAX_TARGETS, Target};
use super::{Config, State, subject};
use crate::recorder::retain::{Keep, Retention};
use crate::recorder::sign::Signer;
use crate::recorder::{self, Durable, EncryptionKey, Mark, Watermarks};
use crate::state::Indexing;
use chaperone_core::name::{GroupAlias, TargetName};
use std::path::PathBuf;
use std::time::Duration;

/// The shortest time that recordings are kept: somebody has to be able to look.
const SHORTEST_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The longest time but for ever: a hundred years.
const LONGEST_KEPT: Duration = Duration::from_secs(36_500 * 24 * 3600);

/// The most old keys.
const MAX_OLD_KEYS: usize = 64;

/// Where recordings are kept, and how much of the responses.
#[derive(Clone)]
pub struct Recording {
    /// The folder.
    pub directory: PathBuf,
    /// Bytes of response rows kept for each operation; row counts are always kept.
    pub response_bytes_per_operation: u64,
    /// Bytes of response rows kept for each session.
    pub response_bytes_per_session: u64,
    /// The private key that signs recordings; none: one that the gateway makes and keeps.
    pub signing_key: Option<Secret>,
    /// The key that new recordings are encrypted by.
    pub encryption_key: Option<Secret>,
    /// Keys that were that before, to read what they encrypted.
    pub old_encryption_keys: Vec<Secret>,
    /// What of them goes into the search index.
    pub search: Indexing,
    /// Whether events are on the medium before anything is forwarded.
    pub durable: Durable,
    /// How much room there has to be.
    pub space: Watermarks,
    /// What there is for the time when it cannot be written; none: nothing.
    pub break_glass: Option<BreakGlass>,
    /// How long they are kept.
    pub retention: Retention,
    /// Where they are uploaded to.
    pub store: Option<Store>,
}

/// Where sessions of a few are recorded while [`Recording::directory`] cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    /// A folder on another file system.
    pub directory: PathBuf,
    /// Whose sessions.
    pub group: GroupAlias,
}

impl Recording {
    pub(crate) fn decode<'a>(
        item: Item<'a>,
        targets: &[Target],
        vault: &Vault<'_>,
        names: &mut Names<'a>,
    ) -> Option<Self> {
        let mut fields = item.fields()?;
        let directory = fields.need("directory", "the folder for recordings");
        let operation = fields.get("response_bytes_per_operation");
        let session = fields.get("response_bytes_per_session");
        let signing_key = match fields.get("signing_key") {
            Some(item) => Some(signing_key(&item, vault)?),
            None => None,
        };
        let encryption_key = match fields.get("encryption_key") {
            Some(item) => Some(disk_key(&item, vault)?),
            None => None,
        };
        let old = fields.get("old_encryption_keys");
        let old = old.map(|item| item.one_or_many(MAX_OLD_KEYS)).unwrap_or_default();
        let old: Option<Vec<Secret>> = old.iter().map(|item| disk_key(item, vault)).collect();
        let search = fields.get("search");
        let durable = fields.get("durable").map_or(Some(false), |item| item.yes_no());
        let space = fields.get("space").map_or_else(|| Some(Watermarks::default()), |item| watermarks(&item));
        let glass = fields.get("break_glass");
        let retention = fields.get("retention");
        let outside = fields.get("store");
        let store = match &outside {
            Some(item) => Some(Store::decode(item, vault)?),
            None => None,
        };
        fields.finish();
        let break_glass = match &glass {
            Some(item) => Some(break_glass(item, vault, names)?),
            None => None,
        };
        let per_operation = operation.as_ref().map_or(Some(256 << 10), |item| item.bytes(0, 1 << 30));
        let per_session = session.as_ref().map_or(Some(64 << 20), |item| item.bytes(0, 64 << 30));
        let directory = directory.and_then(|item| path(&item, vault));
        let words = [("text", Indexing::Text), ("facts", Indexing::Facts), ("no", Indexing::No)];
        let search = search.map_or(Some(Indexing::default()), |item| item.choice(&words));
        let retention = retention.map_or(Some(Retention::default()), |item| decode_retention(&item, targets));
        let recording = Recording {
            directory: directory?,
            response_bytes_per_operation: per_operation?,
            response_bytes_per_session: per_session?,
            signing_key,
            encryption_key,
            old_encryption_keys: old?,
            search: search?,
            durable: if durable? { Durable::Yes } else { Durable::No },
            space: space?,
            break_glass,
            retention: retention?,
            store,
        };
        if let (Some(item), Some(other)) = (&glass, &recording.break_glass)
            // What is not there yet is judged when the gateway starts.
            && recorder::on_one_disk(&recording.directory, &other.directory).unwrap_or(false)
        {
            let what = "its `directory` is on the same disk as that of `recording`, and fails with it";
            item.no_effect(what, "name a folder on another file system");
        }
        if let (Some(item), Some(store)) = (&outside, &recording.store) {
            store.beside(item, &recording.retention);
        }
        if let Some(operation) = operation
            && recording.response_bytes_per_operation > recording.response_bytes_per_session
        {
            operation.no_effect(
                "an operation may not keep more than its whole session",
                "lower this, or raise `response_bytes_per_session`",
            );
        }
        Some(recording)
    }
}

fn break_glass<'a>(item: &Item<'a>, vault: &Vault<'_>, names: &mut Names<'a>) -> Option<BreakGlass> {
    let mut fields = item.fields()?;
    let directory = fields.need("directory", "a folder on another file system than `recording.directory`");
    let group =
        fields.need("group", "the one group whose sessions are recorded there, such as `group:on-call`");
    fields.finish();
    let directory = directory.and_then(|item| path(&item, vault));
    let group = subject::group_list(&group?, 1, names).pop();
    Some(BreakGlass { directory: directory?, group: group? })
}

fn watermarks(item: &Item<'_>) -> Option<Watermarks> {
    let mut fields = item.fields()?;
    let warn = fields.need("warn", "below how much room operators are warned, such as `10%` or `20GiB`");
    let refuse = fields.need("refuse", "below how much room no session begins, such as `2%` or `4GiB`");
    fields.finish();
    let (warn, refuse) = (warn?, refuse?);
    let space = Watermarks { warn: mark(&warn)?, refuse: mark(&refuse)? };
    let help = match (space.warn, space.refuse) {
        (Mark::Percent(low), Mark::Percent(high)) if low <= high => "write a larger share than `refuse` has",
        (Mark::Bytes(low), Mark::Bytes(high)) if low <= high => "write a larger size than `refuse` has",
        // Which of them comes first would depend on the disk.
        (Mark::Percent(_), Mark::Bytes(_)) | (Mark::Bytes(_), Mark::Percent(_)) => {
            "write two shares, or two sizes: which comes first depends on the disk otherwise"
        }
        _ => return Some(space),
    };
    warn.no_effect("nobody is warned before sessions are refused", help);
    None
}

fn mark(item: &Item<'_>) -> Option<Mark> {
    let text = item.text("a share such as `10%`, or a size such as `20GiB`")?;
    let Some(share) = text.strip_suffix('%') else {
        return item.bytes(1 << 20, 1 << 50).map(Mark::Bytes);
    };
    match share.parse::<u8>() {
        Ok(share @ 1..=90) => Some(Mark::Percent(share)),
        _ => {
            item.invalid(
                format!("{} is no share of a disk", quote(text)),
                "write a whole number from `1%` to `90%`",
            );
            None
        }
    }
}

fn decode_retention(item: &Item<'_>, targets: &[Target]) -> Option<Retention> {
    let mut fields = item.fields()?;
    let default = fields.get("default");
    let by_target = fields.get("targets");
    fields.finish();
    let mut retention = Retention {
        default: default.map_or(Some(Keep::Forever), |item| keep(&item))?,
        ..Retention::default()
    };
    for (name, item) in by_target.iter().flat_map(|item| item.named(MAX_TARGETS)) {
        if !targets.iter().any(|target| target.name.as_str() == name) {
            // No error: recordings of a target that was taken out of the file are still there.
            item.risk(
                format!("there is no target {}, so this is for recordings of one that there was", quote(name)),
                "correct the name if it is meant to be one of `targets`: what is not named here goes by `default`",
            );
        }
        let Ok(name) = TargetName::new(name) else {
            item.invalid(format!("{} is not a target's name", quote(name)), NAME_HELP);
            continue;
        };
        retention.targets.insert(name, keep(&item)?);
    }
    Some(retention)
}

fn keep(item: &Item<'_>) -> Option<Keep> {
    if item.text("a duration such as `90d`, or `forever`")? == "forever" {
        return Some(Keep::Forever);
    }
    item.duration(SHORTEST_KEPT, LONGEST_KEPT).map(Keep::For)
}

fn signing_key(item: &Item<'_>, vault: &Vault<'_>) -> Option<Secret> {
    let secret = vault.secret(item)?;
    // Empty: a check on a machine without the secret.
    if !secret.expose().is_empty()
        && let Err(error) = Signer::from_pem(secret.expose())
    {
        let message = format!("what `{}` holds cannot sign: {error}", secret.reference());
        item.invalid(message, "make a key with `chaperone recording-key --new FILE`");
        return None;
    }
    Some(secret)
}

fn disk_key(item: &Item<'_>, vault: &Vault<'_>) -> Option<Secret> {
    let secret = vault.secret(item)?;
    if !secret.expose().is_empty()
        && let Err(error) = EncryptionKey::parse(secret.expose())
    {
        let message = format!("what `{}` holds cannot encrypt: {error}", secret.reference());
        item.invalid(message, "make a key with `openssl rand -base64 32`");
        return None;
    }
    Some(secret)
}

impl Config {
    /// Where the gateway keeps the key that it makes when none is configured: beside its state, which only it reads. Beside the
    /// folder of recordings, not in it, when the state is a database elsewhere.
    pub fn own_signing_key(&self) -> PathBuf {
        const NAME: &str = "recording-key.pem";
        match &self.state {
            State::Sqlite(path) => path.with_file_name(NAME),
            State::Postgres(_) => self.recording.directory.with_file_name(NAME),
        }
    }
}
