//! `sql-guard`: reads every SQL text before it runs and allows or refuses it.
//!
//! The layers, each a module of plain functions: [`lexical`] bounds the text, [`tree`] parses it, [`facts`] reads
//! what each statement is and touches, [`rules`] judge that, [`policy`] puts it together. Everything that is not
//! understood is refused, and no rule can change that.

mod classes;
mod config;
mod facts;
mod functions;
mod lexical;
mod names;
mod policy;
mod rules;
mod settings;
mod tree;
mod wording;

pub use classes::Class;
pub use config::Config;
pub use policy::SqlGuard;

chaperone_sdk::export!(SqlGuard: sql_check);
