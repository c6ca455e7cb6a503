//! Where commands meet the parts of the host that run: the one place to wire `serve` and `demo`.

use super::failure::Failure;
use crate::config::Config;

/// What `chaperone demo` was asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Walk through everything, asserting each step, and exit.
    #[arg(long)]
    pub tour: bool,
    /// Where `initdb`, `postgres` and `psql` are [default: searched for]
    #[arg(long, value_name = "DIR")]
    pub postgres_bin: Option<std::path::PathBuf>,
}

/// `chaperone serve`.
pub(crate) async fn serve(config: Config) -> Result<(), Failure> {
    log(tracing::Level::INFO);
    crate::gateway::run::run(config).await.map_err(|error| Failure::usage(error.to_string(), error.advice))
}

/// `chaperone demo`.
pub(crate) async fn demo(args: DemoArgs) -> Result<(), Failure> {
    log(tracing::Level::WARN);
    crate::demo::run(args).await
}

/// Log lines go to standard error; `RUST_LOG` chooses others. No payload is in them at any level (invariant 10). Colours are for
/// people: a file or a collector gets none, and a terminal neither where `NO_COLOR` is set.
fn log(level: tracing::Level) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level.as_str()));
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let lines = tracing_subscriber::fmt().with_ansi(colours).with_env_filter(filter);
    // An error only says that a log is set up already, as in tests.
    let _ = lines.with_writer(std::io::stderr).try_init();
}
