//! The policy that counts now, and why it lets somebody in or not.
//!
//! It is the running policy, not the file: after a reload that was refused they differ. Targets and plugins are told without
//! secrets: what a reference names is nowhere here, and neither is a plugin's own configuration, of which only the hash is told.

use super::Console;
use super::pages::Page;
use super::roles::{May, Watch};
use crate::grant::{About, Explanation};
use axum::extract::{Query, State};
use chaperone_core::Timestamp;
use chaperone_core::grant::Occasion;
use chaperone_core::identity::CallerKind;
use chaperone_core::name::{GroupAlias, Principal, TargetName};
use chaperone_hooks::Plugin;
use serde::Deserialize;
use std::sync::Arc;

pub(super) mod view;

/// Values in one list of the form.
const MAX_LISTED: usize = 100;

/// A target as it may be told.
#[derive(Debug, Clone)]
pub struct TargetFacts {
    /// Its name.
    pub name: TargetName,
    /// What it speaks.
    pub protocol: &'static str,
    /// Where it is: host and port.
    pub address: String,
    /// The database behind it.
    pub database: String,
    /// How the connection to it is protected.
    pub tls: &'static str,
    /// Where a session's credential comes from.
    pub credential: &'static str,
    /// The plugins that judge there, in order.
    pub plugins: Vec<String>,
    /// Its labels, as `name=value`.
    pub labels: Vec<String>,
}

/// What does not change while the gateway runs.
#[derive(Default)]
pub struct Plant {
    /// The targets, in the order of the configuration.
    pub targets: Vec<TargetFacts>,
    /// The plugins, by name.
    pub plugins: Vec<Arc<Plugin>>,
}

/// The form. Each field may be there and empty.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Question {
    target: String,
    who: String,
    kind: String,
    groups: String,
    roles: String,
    from: String,
    at: String,
}

/// `GET /console/policy`, with an explanation where the form asks for one.
pub(super) async fn show(
    State(console): State<Console>,
    may: May<Watch>,
    query: Result<Query<Question>, axum::extract::rejection::QueryRejection>,
) -> Page {
    // What is no question of this page's form is none.
    let question = query.map(|Query(question)| question).unwrap_or_default();
    let answer = (!question.target.is_empty()).then(|| explain(&console, &may, &question));
    let rules = console.grants.rules(&may.identity).unwrap_or_default();
    view::policy(&may, &console.plant, &rules, &question, answer.as_ref())
}

fn explain(console: &Console, may: &May<Watch>, question: &Question) -> Result<Explanation, String> {
    let (about, target, occasion) = question.read(may.now)?;
    let explained = console.grants.explain(&may.identity, Some(&about), &target, &occasion);
    explained.map_err(|error| error.to_string())
}

impl Question {
    /// What is asked, or what of it cannot be read.
    fn read(&self, now: Timestamp) -> Result<(About, TargetName, Occasion), String> {
        let target = TargetName::new(self.target.trim()).map_err(|error| format!("The target: {error}."))?;
        let principal = Principal::new(self.who.trim())
            .map_err(|_| "Who: a principal is `provider/tenant/object-id`.".to_owned())?;
        let kind = match self.kind.as_str() {
            "" => CallerKind::Agent,
            word => CallerKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == word)
                .ok_or("The kind is not one of those that there are.")?,
        };
        let groups = listed(&self.groups)?;
        let groups: Vec<GroupAlias> = groups
            .into_iter()
            .map(|alias| GroupAlias::new(alias).map_err(|error| format!("A group's alias: {error}.")))
            .collect::<Result<_, _>>()?;
        let about = About {
            principal,
            kind,
            // None told is not known, as of a token that does not say.
            groups: (!groups.is_empty()).then_some(groups),
            roles: listed(&self.roles)?.into_iter().map(str::to_owned).collect(),
        };
        let from = match self.from.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_| "From: an IP address, such as 10.0.0.7.")?),
        };
        let at = match self.at.trim() {
            "" => now,
            text => text.parse().map_err(|_| "At: a moment such as 2026-07-30T09:00:00Z.")?,
        };
        Ok((about, target, Occasion { at, from }))
    }
}

/// Parted by commas or spaces.
fn listed(text: &str) -> Result<Vec<&str>, String> {
    let parts: Vec<&str> = text.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    match parts.len() <= MAX_LISTED {
        true => Ok(parts),
        false => Err(format!("A list has at most {MAX_LISTED} values.")),
    }
}
