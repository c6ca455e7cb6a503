//! The command line.
//!
//! Every command answers with an exit code or a [`Failure`]: one line what, one line what to do, no backtraces. Commands
//! that ask a gateway use its HTTPS API and the caller's own token; `sessions`, `replay`, `verify` and `export` work on files and
//! need neither; `check` needs nothing but the file.

mod check;
mod client;
mod deliveries;
mod denials;
mod explain;
mod failure;
mod fetch;
mod login;
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    //! What the fuzz targets call of the replay.
    pub use super::recordings::fuzzing::tell;
}
mod preservations;
mod print;
mod recording_key;
mod recordings;
mod remote;
mod samples;
mod search;
mod stored;
mod watch;
mod wiring;

#[cfg(test)]
mod tests;

pub use client::GatewayArgs;
pub use denials::DenyArgs;
pub use explain::ExplainArgs;
pub use failure::{Exit, Failure};
pub use fetch::FetchArgs;
pub use preservations::PreserveArgs;
pub use recordings::{ExportArgs, Given, Place};
pub use remote::RequestArgs;
pub use search::SearchArgs;
pub use wiring::DemoArgs;

use crate::recorder::Hash;
use chaperone_core::name::SessionId;
use clap::{Parser, Subcommand};
use print::Audience;
use recordings::{Pace, Trust, What};
use remote::Verdict;
use std::path::PathBuf;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused: by the gateway, or by `check`
  2  the command line, a file or the configuration is wrong
  3  the gateway cannot be reached, or its certificate is not trusted
  4  a recording does not verify

Environment:
  CHAPERONE_TOKEN    your token; or name a file with --token-file, or sign in with `chaperone login`
  CHAPERONE_GATEWAY  the gateway's URL
  CHAPERONE_CA       the authority of the gateway's certificate
  CHAPERONE_CONFIG   the configuration file
  NO_COLOR           no colours, also on a terminal";

/// The gateway an AI agent has to walk through to reach a database.
#[derive(Debug, Parser)]
#[command(name = "chaperone", version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// Print JSON instead of tables and sentences
    #[arg(long, global = true)]
    pub json: bool,
    /// The configuration file
    #[arg(
        long,
        global = true,
        env = "CHAPERONE_CONFIG",
        default_value = "chaperone.yaml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// Which gateway, and with whose token.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve,
    /// Find every mistake in a configuration at once
    Check {
        /// The file [default: that of --config]
        file: Option<PathBuf>,
        /// Let warnings fail, too
        #[arg(long)]
        strict: bool,
        /// Judge the statements of a file as a target would; `-- expect: refuse RULE` in it makes a test of it
        #[arg(long, value_name = "FILE", conflicts_with = "strict")]
        samples: Option<PathBuf>,
        /// The target whose plugins judge the samples [default: the only one]
        #[arg(long, value_name = "NAME", requires = "samples")]
        target: Option<String>,
    },
    /// Try everything on this machine: a PostgreSQL, a token issuer, agents and an approver
    Demo(DemoArgs),
    /// Sign in at the gateway's identity provider; later commands use, and renew, the token that it gives
    Login,
    /// Forget the token of `login`
    Logout,
    /// Ask for a window on a target
    Request(RequestArgs),
    /// List your windows
    Windows,
    /// List what waits for your approval
    Approvals {
        /// What else to do with it.
        #[command(subcommand)]
        action: Option<ApprovalsAction>,
    },
    /// Approve an access request or a held operation
    Approve {
        /// Its id, as `approvals` shows it
        id: String,
        /// What others should know
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
    /// Reject an access request or a held operation
    Reject {
        /// Its id, as `approvals` shows it
        id: String,
        /// Why; the requester reads this
        #[arg(long, value_name = "TEXT")]
        comment: Option<String>,
    },
    /// List recorded sessions, or with --live those that the gateway carries now
    Sessions {
        /// Ask the gateway for live sessions
        #[arg(long, conflicts_with = "recordings")]
        live: bool,
        /// The most that are shown
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
        /// Where the recordings are.
        #[command(flatten)]
        place: Place,
    },
    /// Find what was done, in all sessions: by words, target, principal, table, finding, decision, approver, time
    Search(SearchArgs),
    /// Show a recorded session as it happened
    Replay {
        /// The session's id
        session: SessionId,
        /// How much faster than real time
        #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = speed)]
        speed: f64,
        /// Where the recordings are.
        #[command(flatten)]
        place: Place,
    },
    /// Prove that recordings are complete, unchanged and signed by a key that you trust
    Verify {
        /// A session's id, or a file or folder of recordings
        #[arg(required_unless_present_any = ["all", "stored"], value_name = "SESSION|PATH")]
        what: Option<Given>,
        /// Every recording of the folder, and that none is missing
        #[arg(long, conflicts_with = "what")]
        all: bool,
        /// That the store outside has everything that the folder has, or had, byte for byte; it reads all of it there
        #[arg(long, conflicts_with_all = ["what", "all", "expect"])]
        stored: bool,
        /// The hash of a checkpoint that was kept elsewhere: it has to be among those of the folder
        #[arg(long, value_name = "HASH", value_parser = recordings::hash)]
        expect: Option<Hash>,
        /// A public key that is trusted to sign them, or a folder of such keys [default: that of the configuration]
        #[arg(long, value_name = "FILE", num_args = 1..)]
        public_key: Vec<PathBuf>,
        /// Where the recordings are.
        #[command(flatten)]
        place: Place,
    },
    /// Put recordings, what verifying them finds and a summary into a bundle for an audit
    Export(ExportArgs),
    /// List the checkpoints of a folder of recordings; keep the newest one's hash elsewhere
    Checkpoints {
        /// The most that are shown
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
        limit: u16,
        /// Where the recordings are.
        #[command(flatten)]
        place: Place,
    },
    /// Keep recordings from being deleted by `recording.retention` (a legal hold), until they are released
    Preserve(PreserveArgs),
    /// List what is preserved
    Preservations,
    /// End a preservation
    Release {
        /// Its id, as `preservations` shows it
        id: String,
    },
    /// Fetch recordings from the store outside (`recording.store`) into a folder, to verify and replay them there
    Fetch(FetchArgs),
    /// Show the public half of the key that signs recordings, or make such a key
    RecordingKey {
        /// Make a private key and put it into this file, which must not exist
        #[arg(long, value_name = "FILE")]
        new: Option<PathBuf>,
    },
    /// End a window or a live session now
    Revoke {
        /// Its id: `win_…` or `ses_…`
        id: String,
        /// Why; whoever is cut reads this, and it is recorded
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let a live session of yours go on with the token you have now, past the end of the one it began with
    Renew {
        /// The session's id, as `sessions --live` shows it
        session: SessionId,
    },
    /// Deny somebody all access now, whatever tokens and grants say; live sessions are cut
    Deny(DenyArgs),
    /// List who is denied access
    Denials,
    /// List what channels were told, and what they were not
    Deliveries,
    /// Let the gateway read its policy again: groups, grants, rules that deny, operators and approvers
    Reload,
    /// Say which rules let somebody onto a target, or why none does
    Explain(ExplainArgs),
    /// Take an entry off the list of those who are denied access
    Lift {
        /// Its id, as `denials` shows it
        id: String,
    },
}

/// What to do with what waits.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ApprovalsAction {
    /// Show each as it is asked for and how it ends, until you stop it
    Watch,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse::<f64>().ok().filter(|speed| *speed > 0.0 && *speed <= 1000.0);
    speed.ok_or_else(|| "a number over 0 and at most 1000".into())
}

/// Runs a command to its end and says how the process ends.
pub fn run(cli: Cli) -> ExitCode {
    let audience = if cli.json { Audience::Programs } else { Audience::People };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let what = format!("cannot start: {error}");
            let failure =
                Failure::new(Exit::Usage, "internal", what, "check the limits on threads and open files");
            print::failure(&failure, audience);
            return failure.exit.into();
        }
    };
    match runtime.block_on(dispatch(cli, audience)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            print::failure(&failure, audience);
            failure.exit.into()
        }
    }
}

async fn dispatch(cli: Cli, audience: Audience) -> Result<Exit, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let connect = || login::connect(&cli.gateway, &variable);
    let library = |place: &Place, directory: Option<PathBuf>| {
        recordings::library(place, directory, &cli.config, audience)
    };
    match cli.command {
        Command::Serve => wiring::serve(check::load(&cli.config, audience)?).await.map(|()| Exit::Done),
        Command::Demo(args) => wiring::demo(args).await.map(|()| Exit::Done),
        Command::Check { file, samples: Some(samples), target, .. } => {
            samples::run(&file.unwrap_or(cli.config), &samples, target.as_deref(), audience).await
        }
        Command::Check { file, strict, .. } => {
            let warnings = if strict { check::Warnings::Refused } else { check::Warnings::Allowed };
            check::run(&file.unwrap_or(cli.config), warnings, audience)
        }
        Command::Login => login::login(&cli.gateway, &variable, audience).await,
        Command::Logout => login::logout(&cli.gateway, &variable, audience),
        Command::Request(args) => remote::request(&connect().await?, &args, audience).await,
        Command::Windows => remote::windows(&connect().await?, audience).await,
        Command::Approvals { action: Some(ApprovalsAction::Watch) } => {
            watch::watch(&cli.gateway, audience).await
        }
        Command::Approvals { action: None } => remote::approvals(&connect().await?, audience).await,
        Command::Approve { id, comment } => {
            remote::decide(&connect().await?, &id, Verdict::Approve, comment.as_deref(), audience).await
        }
        Command::Reject { id, comment } => {
            remote::decide(&connect().await?, &id, Verdict::Reject, comment.as_deref(), audience).await
        }
        Command::Revoke { id, reason } => {
            remote::revoke(&connect().await?, &id, reason.as_deref(), audience).await
        }
        Command::Renew { session } => remote::renew(&connect().await?, session, audience).await,
        Command::Deny(args) => denials::deny(&connect().await?, &args, audience).await,
        Command::Deliveries => deliveries::deliveries(&connect().await?, audience).await,
        Command::Denials => denials::denials(&connect().await?, audience).await,
        Command::Reload => remote::reload(&connect().await?, audience).await,
        Command::Explain(args) if args.live => explain::by_gateway(&connect().await?, &args, audience).await,
        Command::Explain(args) => explain::by_file(&cli.config, &args, audience),
        Command::Lift { id } => denials::lift(&connect().await?, &id, audience).await,
        Command::Search(args) => search::search(&connect().await?, &args, audience).await,
        Command::Sessions { live: true, .. } => remote::sessions(&connect().await?, audience).await,
        Command::Sessions { limit, place, .. } => {
            recordings::sessions(library(&place, None)?, limit.into(), audience)
        }
        Command::Replay { session, speed, place } => {
            let fetched = fetch::if_not_here(&cli.config, &place, library(&place, None)?, session).await?;
            recordings::replay(fetched.library, session, Pace { speed }, audience)
        }
        Command::Fetch(args) => fetch::run(&cli.config, &args, audience).await,
        Command::RecordingKey { new: Some(file) } => recording_key::make(&file, audience),
        Command::RecordingKey { new: None } => recording_key::show(&cli.config, audience),
        Command::Preserve(args) => preservations::preserve(&connect().await?, args, audience).await,
        Command::Preservations => preservations::preservations(&connect().await?, audience).await,
        Command::Release { id } => preservations::release(&connect().await?, &id, audience).await,
        Command::Checkpoints { limit, place } => {
            recordings::checkpoints(&library(&place, None)?, limit.into(), audience)
        }
        Command::Export(args) => {
            let (library, trust) = (library(&args.place, None)?, trust(&args.public_key, &cli.config)?);
            let signer = recording_key::signer(&cli.config);
            recordings::export(&library, &args, &trust, signer.as_ref(), audience)
        }
        Command::Verify { what, public_key, place, expect, stored, .. } => {
            let trust = trust(&public_key, &cli.config)?;
            let (directory, what) = match what {
                None => (None, What::All(expect)),
                Some(Given::Path(path)) if path.is_dir() => (Some(path), What::All(expect)),
                Some(_) if expect.is_some() => {
                    return Err(Failure::usage(
                        "one recording says nothing of checkpoints",
                        "leave out `--expect`, or verify a folder",
                    ));
                }
                Some(Given::Session(session)) => (None, What::One(session)),
                Some(Given::Path(path)) => (Some(PathBuf::new()), What::File(path)),
            };
            let found = library(&place, directory)?;
            if stored {
                return stored::run(&cli.config, &found, &trust, audience).await;
            }
            let What::One(session) = what else {
                return recordings::verify(found, &what, &trust, audience);
            };
            let fetched = fetch::if_not_here(&cli.config, &place, found, session).await?;
            recordings::verify(fetched.library, &what, &trust, audience)
        }
    }
}

/// Whose signatures count.
fn trust(given: &[PathBuf], config: &std::path::Path) -> Result<Trust, Failure> {
    match given {
        [] => Ok(Trust::of_configuration(config)),
        given => Trust::given(given),
    }
}
