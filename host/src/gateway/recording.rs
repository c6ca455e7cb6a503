//! The recorder of a configuration, with the keys that it signs and encrypts by.

use super::run::StartError;
use crate::config::{Config, Secret};
use crate::recorder::sign::{self, Signer};
use crate::recorder::{Caps, Encryption, EncryptionKey, Recorder, RecorderConfig};
use chaperone_core::Timestamp;

/// Opens the recorder, and seals what was left open; `now` is written down as its end.
pub(super) fn recorder(config: &Config, now: Timestamp) -> Result<Recorder, StartError> {
    let advice = "check `recording.directory`: nothing runs unrecorded";
    let recording = &config.recording;
    let caps = Caps {
        response_bytes_per_operation: recording.response_bytes_per_operation,
        response_bytes_per_session: recording.response_bytes_per_session,
        ..Caps::default()
    };
    let (directory, durable, space) = (recording.directory.clone(), recording.durable, recording.space);
    let (signer, encryption) = (signer(config)?, encryption(config)?);
    let settings = RecorderConfig { directory, caps, signer, encryption, durable, space };
    let signer = settings.signer.clone();
    let recorder = Recorder::new(settings).map_err(|error| StartError::new(error, advice))?;
    sign::publish(&recording.directory, signer.public()).map_err(|error| StartError::new(error, advice))?;
    for recovered in recorder.recover(now).map_err(|error| StartError::new(error, advice))? {
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
