//! Targets, their credentials, and the lease of one for a session.
//!
//! A lease exists only for a permit and a recording that is open: both are asked for, so that neither step can be
//! skipped. The password is read from its reference at each lease (a rotated file is seen at once), is never logged,
//! and is wiped when the lease goes.

use crate::grant::Permit;
use crate::recorder::Recording;
use crate::tls::TlsClient;
use chaperone_core::name::TargetName;
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_hooks::Chain;
use secrecy::SecretString;
use std::collections::HashMap;
use std::sync::Arc;

/// Where a secret is kept; the value is read when it is needed.
pub trait SecretSource: Send + Sync {
    /// Reads the secret. The error names the reference, never a value.
    fn read(&self) -> Result<SecretString, String>;
}

/// How the gateway talks to a target.
#[derive(Clone)]
pub enum TargetTls {
    /// Verified against the authorities given; the host name must match.
    Verify(TlsClient),
    /// In the clear; configuration allows it for loopback only.
    Disabled,
}

/// A protected system.
pub struct Target {
    /// Its name in the configuration.
    pub name: TargetName,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The database behind the name.
    pub database: String,
    /// The role that the gateway logs in as.
    pub user: String,
    /// The role's password.
    pub password: Box<dyn SecretSource>,
    /// How the connection is protected.
    pub tls: TargetTls,
    /// The plugins that judge its operations.
    pub chain: Chain,
    /// From connecting to being let in.
    pub dial_timeout: std::time::Duration,
}

/// All targets.
#[derive(Default)]
pub struct Targets {
    by_name: HashMap<TargetName, Arc<Target>>,
}

/// A target credential, borrowed for one session. Not Debug, not Clone.
pub struct Lease {
    target: Arc<Target>,
    password: SecretString,
}

impl Lease {
    /// Where to connect.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The credential.
    pub fn password(&self) -> &SecretString {
        &self.password
    }
}

impl Targets {
    /// Later targets of the same name win; configuration refuses duplicates before.
    pub fn new(targets: impl IntoIterator<Item = Target>) -> Self {
        let by_name = targets.into_iter().map(|target| (target.name.clone(), Arc::new(target))).collect();
        Targets { by_name }
    }

    /// The target of a permit. That it exists was settled when the permit was given.
    pub fn of(&self, permit: &Permit) -> Result<&Arc<Target>, Refusal> {
        self.by_name.get(permit.target()).ok_or_else(|| {
            Refusal::new(RefusalCode::Internal, "the target of this window is not configured on this gateway")
                .hint("Tell the operator; your token and your window are fine.")
        })
    }

    /// Borrows the target's credential for one session.
    pub fn lease(&self, permit: &Permit, _recorded: &Recording) -> Result<Lease, Refusal> {
        let target = self.of(permit)?;
        let password = target.password.read().map_err(|problem| {
            tracing::error!(target = %target.name, %problem, "the target's credential cannot be read");
            Refusal::new(
                RefusalCode::TargetUnavailable,
                "the gateway cannot read its credential for the target",
            )
            .hint("Tell the operator; your token and your window are fine.")
        })?;
        Ok(Lease { target: Arc::clone(target), password })
    }
}
