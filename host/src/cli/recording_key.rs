//! `chaperone recording-key`: what those need who verify recordings, and a key for those who keep their own.
//!
//! Only the public half is ever printed. The text may be piped into a file: tools that read PEM skip the line in front of it.

use super::check;
use super::failure::{Exit, Failure};
use super::print::{self, Audience};
use crate::config::{self, Config};
use crate::recorder::sign::{self, KeyError, PublicKey, PublicKeys, Signer};
use serde_json::json;
use std::path::Path;

/// Makes a key.
pub(crate) fn make(file: &Path, audience: Audience) -> Result<Exit, Failure> {
    let signer = sign::make(file).map_err(|error| {
        Failure::usage(
            format!("the key cannot be made: {error}"),
            "name a file that does not exist, in a folder that does: a key is never overwritten",
        )
    })?;
    tell(signer.public(), audience);
    Ok(Exit::Done)
}

/// Shows the key of a configuration.
pub(crate) fn show(path: &Path, audience: Audience) -> Result<Exit, Failure> {
    let config = config::without_secrets(path).map_err(|error| check::not_loaded(error, audience))?;
    tell(own(&config)?, audience);
    Ok(Exit::Done)
}

/// The public half of the key that a configuration's gateway signs by.
pub(super) fn own(config: &Config) -> Result<PublicKey, Failure> {
    let unreadable = |error: KeyError| {
        Failure::usage(
            format!("the key that signs recordings cannot be read: {error}"),
            "run this as the gateway's user; the gateway makes a key at its first start, unless `recording.signing_key` names one",
        )
    };
    match &config.recording.signing_key {
        Some(secret) => Signer::from_pem(secret.expose()).map(|signer| signer.public()).map_err(|_| {
            Failure::usage(
                format!("the key `{}` cannot be read", secret.reference()),
                "run this where the gateway runs, as its user",
            )
        }),
        None => {
            let public = sign::public_half(&config.own_signing_key());
            let keys = PublicKeys::read(std::slice::from_ref(&public)).map_err(unreadable)?;
            keys.keys().next().ok_or_else(|| unreadable(KeyError::Nothing(public)))
        }
    }
}

/// The key itself, where it can be read here.
pub(super) fn signer(path: &Path) -> Option<Signer> {
    let config = config::without_secrets(path).ok()?;
    match &config.recording.signing_key {
        Some(secret) => Signer::from_pem(secret.expose()).ok(),
        None => sign::private(&config.own_signing_key()).ok(),
    }
}

fn tell(key: PublicKey, audience: Audience) {
    match audience {
        Audience::People => print::out(&format!("key {}\n{}", key.id(), key.to_pem())),
        Audience::Programs => print::json(&json!({ "key_id": key.id(), "public_key": key.to_pem() })),
    }
}
