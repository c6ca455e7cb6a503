//! `column-mask`: hides columns by name and texts by content. This file is only the glue to the SDK: [`policy`] decides,
//! with [`config`] checked, [`rules`] over a column's lineage, [`usage`] before a statement runs, [`plan`] once for each result
//! (both by what it is [`reading`]), [`detect`] for what looks sensitive, [`strategy`] for its look.

pub mod config;
pub mod detect;
pub mod kind;
pub mod plan;
pub mod policy;
pub mod reading;
pub mod rules;
pub mod strategy;
pub mod usage;
use chaperone_sdk::{
    Answer, Change, ColumnMask, ColumnOf, ConfigError, Context, Masked, PlanRequest, Plugin, Refusal,
    Session, Treatment, Values,
};

/// The plugin: a checked configuration.
pub struct ColumnMasker(policy::Policy);

impl Plugin for ColumnMasker {
    type Config = config::Config;
    const NAME: &'static str = "column-mask";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str =
        "Hides sensitive columns, and content that looks sensitive, in result sets.";
    const CONFIG_SCHEMA: &'static str = include_str!("../config.schema.json");
    const DETERMINISTIC: bool = true;
    fn configure(config: Self::Config) -> Result<Self, Vec<ConfigError>> {
        policy::Policy::new(config).map(ColumnMasker)
    }
}

impl ColumnMask for ColumnMasker {
    fn check(&self, _: &Session<'_>, context: &Context) -> Answer {
        self.0.check(context)
    }

    fn plan(&self, _: &Session<'_>, request: &PlanRequest) -> Vec<Treatment> {
        self.0.plan(request)
    }

    fn mask_value(&self, column: ColumnOf, value: &[u8], out: &mut Vec<u8>) -> Result<Change, Refusal> {
        self.0.mask_value(column, value, out)
    }

    fn mask_column(&self, column: ColumnOf, values: Values<'_>) -> Result<Masked, Refusal> {
        self.0.mask_column(column, values)
    }
}

chaperone_sdk::export!(ColumnMasker: column_mask);
