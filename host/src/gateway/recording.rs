//! The recorder of a configuration, with the keys that it signs and encrypts by.

use super::BreakGlass;
use super::run::StartError;
use crate::config::{Config, Secret};
use crate::recorder::sign::{self, Signer};
use crate::recorder::{self, Caps, Encryption, EncryptionKey, Recorder, RecorderConfig};
use chaperone_core::Timestamp;
use std::path::Path;

/// Opens the recorder, and the one for the time when it fails, and seals what was left open in both; `now` is written down as its end.
pub(super) fn recorders(
    config: &Config,
    now: Timestamp,
) -> Result<(Recorder, Option<BreakGlass>), StartError> {
    let recording = &config.recording;
    let (signer, encryption) = (signer(config)?, encryption(config)?);
    let advice = "check `recording.directory`: nothing runs unrecorded";
    let open = |directory: &Path, advice: &str| {
        let caps = Caps {
            response_bytes_per_operation: recording.response_bytes_per_operation,
            response_bytes_per_session: recording.response_bytes_per_session,
            ..Caps::default()
        };
        let settings = RecorderConfig {
            directory: directory.to_owned(),
            caps,
            signer: signer.clone(),
            encryption: encryption.clone(),
            durable: recording.durable,
            space: recording.space,
        };
        recorder(settings, now).map_err(|error| StartError::new(error, advice))
    };
    let usual = open(&recording.directory, advice)?;
    let Some(other) = &recording.break_glass else { return Ok((usual, None)) };
    let advice = "check `recording.break_glass.directory`";
    let elsewhere = open(&other.directory, advice)?;
    match recorder::on_one_disk(&recording.directory, &other.directory) {
        Ok(false) => {}
        Ok(true) => {
            let what = "`recording.break_glass.directory` is on the same disk as `recording.directory`, and fails with it";
            return Err(StartError::new(what, "name a folder on another file system"));
        }
        Err(error) => return Err(StartError::new(error, advice)),
    }
    Ok((usual, Some(BreakGlass { recorder: elsewhere, group: other.group.clone() })))
}

fn recorder(settings: RecorderConfig, now: Timestamp) -> Result<Recorder, Box<dyn std::error::Error>> {
    let (directory, public) = (settings.directory.clone(), settings.signer.public());
    let recorder = Recorder::new(settings)?;
    sign::publish(&directory, public)?;
    for recovered in recorder.recover(now)? {
        tracing::warn!(session = ?recovered.session, outcome = ?recovered.outcome, "a recording was left open");
    }
    Ok(recorder)
}

/// The configured keys. Fails closed: what is to be encrypted is not written in the clear.
fn encryption(config: &Config) -> Result<Encryption, StartError> {
    let key = |secret: &Secret| {
        EncryptionKey::parse(secret.expose()).map_err(|error| {
            StartError::new(error, "check `recording.encryption_key` and `recording.old_encryption_keys`")
        })
    };
    let recording = &config.recording;
    let by = recording.encryption_key.as_ref().map(key).transpose()?;
    if let Some(by) = &by {
        tracing::info!(key = %by.id(), "recordings are encrypted");
    }
    let old = recording.old_encryption_keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    Ok(Encryption::new(by, old))
}

/// The configured key, or the gateway's own. Fails closed: nothing is recorded that could not be signed.
fn signer(config: &Config) -> Result<Signer, StartError> {
    if let Some(secret) = &config.recording.signing_key {
        return Signer::from_pem(secret.expose())
            .map_err(|error| StartError::new(error, "check `recording.signing_key`"));
    }
    let path = config.own_signing_key();
    let kept = sign::keep(&path).map_err(|error| {
        StartError::new(
            format!("the key that signs recordings cannot be kept: {error}"),
            "give the folder to the gateway's user, or set `recording.signing_key`",
        )
    })?;
    let (key, private, public) = (kept.signer.id(), path.display(), kept.public.display());
    match kept.made {
        true => tracing::warn!(
            %key, %private, %public,
            "a key that signs recordings was made: keep a copy of the private half safe, and give the public half to whoever verifies"
        ),
        false => tracing::info!(%key, %public, "recordings are signed by the gateway's own key"),
    }
    Ok(kept.signer)
}
