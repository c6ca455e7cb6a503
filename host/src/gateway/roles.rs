//! Which targets mint roles, the keepers of these, and what becomes known of their work.

use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::protocol::postgres::Keeper;
use crate::state::{Audit, State};
use crate::target::mint::{Earlier, KeeperReport, Orders, mint};
use crate::target::{Target, Targets};
use chaperone_core::Timestamp;
use chaperone_core::name::TargetName;
use chaperone_core::role::RoleName;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A target whose roles nobody keeps yet.
pub(super) struct Unkept {
    target: Arc<Target>,
    gateway: String,
    owned_to: Option<RoleName>,
    orders: Orders,
}

/// All targets, with mints for those that are configured so. Until their keepers start, orders wait.
pub(super) fn offer(config: &Config, targets: Vec<Target>) -> (Targets, Vec<Unkept>) {
    let mut unkept = Vec::new();
    let offers: Vec<_> = (config.targets.iter().zip(targets))
        .map(|(configured, target)| {
            let target = Arc::new(target);
            let config::Credential::Minted { owned_to } = &configured.credential else {
                return (target, None);
            };
            let (mint, orders) = mint();
            // Configuration asks for a name where a target mints.
            let gateway = config.gateway.clone().unwrap_or_default();
            unkept.push(Unkept { target: Arc::clone(&target), gateway, owned_to: owned_to.clone(), orders });
            (target, Some(mint))
        })
        .collect();
    (Targets::new(offers), unkept)
}

/// The keepers of a running gateway.
pub(super) struct Roles {
    keepers: TaskTracker,
    stop: CancellationToken,
}

impl Roles {
    /// Starts a keeper for each target that mints; each begins with what an earlier run has left.
    pub(super) fn keep(unkept: Vec<Unkept>, state: &State, metrics: &Arc<Metrics>, runtime: &Handle) -> Self {
        let (keepers, stop) = (TaskTracker::new(), CancellationToken::new());
        for Unkept { target, gateway, owned_to, orders } in unkept {
            let report = Arc::new(Report {
                target: target.name.clone(),
                state: state.clone(),
                metrics: Arc::clone(metrics),
                runtime: runtime.clone(),
                tasks: keepers.clone(),
            });
            let keeper = Keeper::new(target, gateway, owned_to, orders, report);
            keepers.spawn_on(keeper.keep(stop.clone()), runtime);
        }
        Roles { keepers, stop }
    }

    /// Resolves when every role that can be removed is, and that is written down. Call it when no session is left.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.keepers.close();
        self.keepers.wait().await;
    }
}

/// Counts, and keeps what people have to know as audit events.
struct Report {
    target: TargetName,
    state: State,
    metrics: Arc<Metrics>,
    runtime: Handle,
    tasks: TaskTracker,
}

impl Report {
    fn audit(&self, event: &'static str, role: &RoleName, detail: serde_json::Value) {
        let (state, target, role) = (self.state.clone(), self.target.clone(), role.to_string());
        let keep = async move {
            let audit = Audit { event, actor: "chaperone", subject: &role, target: target.as_str(), detail };
            if let Err(error) = state.audit(audit, Timestamp::now()).await {
                tracing::warn!(%error, event, role, "an audit event could not be kept");
            }
        };
        self.tasks.spawn_on(keep, &self.runtime);
    }
}

impl KeeperReport for Report {
    fn made(&self) {
        self.metrics.roles_made.count();
    }

    fn removed(&self, role: &RoleName, earlier: Earlier) {
        self.metrics.roles_removed.count();
        if earlier == Earlier::Yes {
            tracing::warn!(target = %self.target, %role, "a role that an earlier run had left was removed");
            self.audit("role.swept", role, serde_json::json!({}));
        }
    }

    fn left(&self, role: &RoleName, why: &str) {
        self.metrics.roles_left.count();
        self.audit("role.left", role, serde_json::json!({ "why": why }));
    }

    fn unswept(&self) {
        self.metrics.roles_unswept.count();
    }
}
