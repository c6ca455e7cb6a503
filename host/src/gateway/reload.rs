//! The policy, read again while the gateway runs: at SIGHUP, and when an operator asks for it through the API.
//!
//! A file is taken whole or not at all, and as `serve` would take it. What may change are groups, grants, denies, operators, auditors, approvers and people; a
//! file in
//! which anything else has changed is refused, since half of it would count and nobody would know which half. What the new
//! policy would not give again ends at once ([`Grants::replace`]).
//!
//! What may go wrong: whoever may write the file decides who gets in, so each reading leaves an audit event with its digest.

use super::policy::policy;
use crate::api::{Answer, Reload, Reloaded};
use crate::config::{self, Config, Severity};
use crate::grant::Grants;
use crate::state::Audit;
use serde_json::json;
use tokio::sync::Mutex;

/// What may change without a restart.
const POLICY: [&str; 7] = ["approvers", "auditors", "denies", "grants", "groups", "operators", "people"];

/// Reads the file of the running gateway again.
pub(super) struct Reloader {
    /// What counts now. Held while another is read: one at a time.
    current: Mutex<config::Source>,
    api_url: String,
    grants: Grants,
}

/// Why today's policy stays.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Unreadable(config::LoadError),
    #[error("{}", problems(.0))]
    Wrong(Box<config::Report>),
    #[error("{} changed, which needs a restart; take that back, or restart the gateway", .0.join(", "))]
    NeedsRestart(Vec<String>),
    #[error("{}", .0.join("; "))]
    Policy(Vec<String>),
}

/// The errors of a report, each in a line with its place.
fn problems(report: &config::Report) -> String {
    let errors = report.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let line = |problem: &config::Problem| {
        let config::Mark { line, column, .. } = problem.mark;
        format!("line {line}, column {column}: {}", problem.message)
    };
    errors.map(line).collect::<Vec<_>>().join("; ")
}

impl Reloader {
    pub(super) fn new(config: &Config, api_url: String, grants: Grants) -> Self {
        Reloader { current: Mutex::new(config.source.clone()), api_url, grants }
    }

    /// Says which file the gateway was started with.
    pub(super) async fn loaded(&self) {
        let source = self.current.lock().await.clone();
        self.audit("config.loaded", "chaperone", json!({ "sha256": source.sha256 })).await;
    }

    /// Reads the file again for `by`. The answer is in the log and among the audit events as well.
    pub(super) async fn reload(&self, by: &str) -> Result<Reloaded, String> {
        let mut current = self.current.lock().await;
        match self.replace(&mut current).await {
            Ok(changed) => {
                tracing::info!(by, sha256 = current.sha256, ?changed, "the policy was read again");
                let detail = json!({ "sha256": current.sha256, "changed": changed });
                self.audit("config.loaded", by, detail).await;
                Ok(Reloaded { changed, sha256: current.sha256.clone() })
            }
            Err(refused) => {
                let why = refused.to_string();
                tracing::error!(by, why, "the policy was not read again; the one before stays");
                self.audit("config.refused", by, json!({ "why": why })).await;
                Err(why)
            }
        }
    }

    async fn replace(&self, current: &mut config::Source) -> Result<Vec<String>, Refused> {
        let path = current.path.clone();
        let read = tokio::task::spawn_blocking(move || config::load(&path)).await;
        let config = match read {
            Ok(Ok((config, _))) => config,
            Ok(Err(config::LoadError::Refused(report))) => return Err(Refused::Wrong(report)),
            Ok(Err(error)) => return Err(Refused::Unreadable(error)),
            Err(panicked) => return Err(Refused::Policy(vec![panicked.to_string()])),
        };
        let changed = current.differences(&config.source);
        let (changed, others): (Vec<String>, Vec<String>) =
            changed.into_iter().partition(|key| POLICY.contains(&key.as_str()));
        if !others.is_empty() {
            return Err(Refused::NeedsRestart(others));
        }
        let replaced = self.grants.replace(policy(&config, &self.api_url));
        replaced.map_err(|problems| Refused::Policy(problems.iter().map(ToString::to_string).collect()))?;
        *current = config.source;
        Ok(changed)
    }

    async fn audit(&self, event: &str, actor: &str, detail: serde_json::Value) {
        let audit = Audit { event, actor, subject: "config", target: "", detail };
        if let Err(error) = self.grants.state().audit(audit, self.grants.clock().now()).await {
            tracing::error!(%error, event, "an audit event could not be kept");
        }
    }
}

impl Reload for Reloader {
    fn reload<'a>(&'a self, by: &'a str) -> Answer<'a, Result<Reloaded, String>> {
        Box::pin(Reloader::reload(self, by))
    }
}
