//! `approval-trigger`: parks an operation until humans have approved it, by risk, finding or class.
//!
//! This file is only the glue to the SDK. [`config`] says what is a mistake, [`policy`] decides.

pub mod config;
pub mod policy;

use chaperone_sdk::{ApprovalTrigger, ConfigError, Hold, OperationRequest, Plugin, Session};

/// The plugin: a checked configuration.
pub struct Trigger(policy::Policy);

impl Plugin for Trigger {
    type Config = config::Config;
    const NAME: &'static str = "approval-trigger";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "Holds risky operations until humans have approved them.";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");
    const DETERMINISTIC: bool = true;
    const READS_TEXT: bool = false;

    fn configure(config: Self::Config) -> Result<Self, Vec<ConfigError>> {
        config::check(&config).map(Trigger)
    }
}

impl ApprovalTrigger for Trigger {
    fn decide(&self, _: &Session<'_>, request: &OperationRequest) -> Option<Hold> {
        self.0.decide(request)
    }
}

chaperone_sdk::export!(Trigger: approval_trigger);
