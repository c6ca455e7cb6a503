//! Where commands meet the parts of the host that run: the one place to wire `serve` and `demo`.

use super::failure::Failure;
use crate::config::Config;

/// What `chaperone demo` was asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Walk through everything, asserting each step, and exit.
    #[arg(long)]
    pub tour: bool,
}

/// `chaperone serve`.
pub(crate) async fn serve(_config: Config) -> Result<(), Failure> {
    Err(not_wired("serve"))
}

/// `chaperone demo`.
pub(crate) async fn demo(_args: DemoArgs) -> Result<(), Failure> {
    Err(not_wired("demo"))
}

pub(super) fn not_wired(command: &str) -> Failure {
    Failure::usage(format!("`chaperone {command}` is not wired yet"), "use a build of the main branch")
}
