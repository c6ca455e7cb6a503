//! Targets, their credentials, and the lease of one for a session.
//!
//! A lease exists only for a permit and a recording that is open: both are asked for, so that neither step can be
//! skipped. A target's credential is static or minted. The static one is read from its reference at each lease (a rotated
//! file is seen at once). A minted one is a role that exists for this session alone ([`mint`]). Neither is ever logged,
//! both are wiped when the lease goes, and with the lease goes the role.

pub mod mint;

use crate::grant::Permit;
use crate::recorder::Recording;
use crate::tls::TlsClient;
use chaperone_core::name::{Principal, SessionId, TargetName};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::role::{RoleName, application_name};
use chaperone_hooks::Chain;
use mint::{Mint, Minted, Order};
use secrecy::SecretString;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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
    /// The gateway's own role there: the one of every session, or the one that makes roles for them.
    pub user: String,
    /// That role's password.
    pub password: Box<dyn SecretSource>,
    /// How the connection is protected.
    pub tls: TargetTls,
    /// The plugins that judge its operations.
    pub chain: Chain,
    /// From connecting to being let in; also the longest wait for a role.
    pub dial_timeout: Duration,
}

/// Who logs in at a target. Not Debug, not Clone.
pub struct Account {
    /// The role.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

impl Target {
    /// The gateway's own account. The error names the reference, never a value.
    pub fn own_account(&self) -> Result<Account, String> {
        Ok(Account { user: self.user.clone(), password: self.password.read()? })
    }
}

/// All targets.
#[derive(Default)]
pub struct Targets {
    by_name: HashMap<TargetName, Offer>,
}

struct Offer {
    target: Arc<Target>,
    /// None: sessions share the gateway's own account.
    mint: Option<Mint>,
}

/// A target credential, borrowed for one session. Not Debug, not Clone. A role that was made for it goes when this goes.
pub struct Lease {
    target: Arc<Target>,
    account: Account,
    minted: Option<Minted>,
    principal: Principal,
    session: SessionId,
}

impl Lease {
    /// Where to connect.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The credential.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What the session is called at the target, whatever its client wishes to be called.
    pub fn application_name(&self, wish: &str) -> String {
        application_name(&self.principal, self.session, wish)
    }

    /// Whether the credential is for this session alone.
    pub fn is_minted(&self) -> bool {
        self.minted.is_some()
    }

    /// The one login that the credential was for has been made. A minted role takes no other from here on, also not with a
    /// password that its own session has given it.
    pub fn used(&self) {
        if let Some(minted) = &self.minted {
            minted.used();
        }
    }
}

impl Targets {
    /// With a mint for those whose roles are made for each session. Later targets of the same name win; configuration refuses
    /// duplicates before.
    pub fn new(targets: impl IntoIterator<Item = (Arc<Target>, Option<Mint>)>) -> Self {
        let offer = |(target, mint): (Arc<Target>, _)| (target.name.clone(), Offer { target, mint });
        Targets { by_name: targets.into_iter().map(offer).collect() }
    }

    /// The target of a permit. That it exists was settled when the permit was given.
    pub fn of(&self, permit: &Permit) -> Result<&Arc<Target>, Refusal> {
        self.offer(permit).map(|offer| &offer.target)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &TargetName> {
        self.by_name.keys()
    }

    fn offer(&self, permit: &Permit) -> Result<&Offer, Refusal> {
        self.by_name.get(permit.target()).ok_or_else(|| {
            Refusal::new(RefusalCode::Internal, "the target of this window is not configured on this gateway")
                .hint("Tell the operator; your token and your window are fine.")
        })
    }

    /// The role at the target that a session will work as: settled before there is a lease, so that a recording begins with it.
    pub fn role_of(&self, permit: &Permit, session: SessionId) -> Result<String, Refusal> {
        let Offer { target, mint } = self.offer(permit)?;
        Ok(match mint {
            None => target.user.clone(),
            Some(_) => minted_name(permit, session).to_string(),
        })
    }

    /// Borrows the target's credential for one session that is no longer than `longest`, or mints one.
    pub async fn lease(
        &self,
        permit: &Permit,
        recording: &Recording,
        longest: Duration,
    ) -> Result<Lease, Refusal> {
        let Offer { target, mint } = self.offer(permit)?;
        let (account, minted) = match mint {
            None => (borrow(target)?, None),
            Some(mint) => {
                let order = order(permit, recording, longest)?;
                // Fails closed: no role, no session.
                let fresh = mint.mint(order, target.dial_timeout).await.map_err(|error| {
                    tracing::error!(target = %target.name, %error, "no role could be minted");
                    error.refusal()
                })?;
                (fresh.account, Some(fresh.minted))
            }
        };
        let principal = permit.identity().facts().principal.clone();
        Ok(Lease { target: Arc::clone(target), account, minted, principal, session: recording.id() })
    }
}

fn borrow(target: &Target) -> Result<Account, Refusal> {
    target.own_account().map_err(|problem| {
        tracing::error!(target = %target.name, %problem, "the target's credential cannot be read");
        Refusal::new(RefusalCode::TargetUnavailable, "the gateway cannot read its credential for the target")
            .hint("Tell the operator; your token and your window are fine.")
    })
}

fn minted_name(permit: &Permit, session: SessionId) -> RoleName {
    RoleName::of_session(&permit.identity().facts().principal, session)
}

fn order(permit: &Permit, recording: &Recording, longest: Duration) -> Result<Order, Refusal> {
    let (session, roles) = (recording.id(), permit.grant().roles.clone());
    if roles.is_empty() {
        // Fails closed: configuration asks for roles in every grant, so this is what several of them do not share.
        return Err(Refusal::new(RefusalCode::NotGranted, "your window gives you no role at this target")
            .detail("Several grants stand behind it, and they have no role in common.")
            .hint("Ask the operator to keep one grant for each subject and target."));
    }
    let until = permit.now().checked_add(longest).map_or(permit.ends_at(), |end| end.min(permit.ends_at()));
    let principal = permit.identity().facts().principal.clone();
    Ok(Order { name: minted_name(permit, session), principal, session, roles, until })
}
