//! `chaperone export`: recordings, what verifying them found and what they say, as files that an auditor can take along.
//!
//! It works on a folder of recordings, needs no gateway, and writes nothing but the bundle. What a bundle says is read from the
//! copies in it, never from the originals: so it says what its reader can check. A recording that does not verify is evidence as
//! well: it is in the bundle, the bundle says what is wrong with it, and the command ends as `verify` does.
//!
//! - `choose`: which recordings are meant; `gather`: copies and verifies them; `folder`: the files, their digests, the bundle's name
//! - `told`: what is said of a session and an operation, in words; `page`: as HTML; `tables`: as CSV; `papers`: the other files
//!
//! What may go wrong: the disk. The bundle then does not appear under its name: it is put together beside it, in a folder
//! `.chaperone-export-…`, which a process that is killed leaves behind.

mod choose;
mod folder;
mod gather;
mod page;
mod papers;
mod tables;
mod told;

use super::chain::Verdict;
use super::proof::worse;
use super::{Screen, Trust, list, needs_key, unreadable};
use crate::cli::failure::{Exit, Failure};
use crate::cli::print::Audience;
use crate::recorder::checkpoint::{Chain, Problem};
use crate::recorder::sign::Signer;
use crate::recorder::{Buried, EventKind, Library, ReadError, buried};
use crate::story::{Operation, operations};
use chaperone_core::Timestamp;
use chaperone_core::name::{Principal, SessionId, TargetName};
use choose::{Selection, Span};
use clap::Args;
use folder::Bundle;
use gather::Item;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Warnings of one session that are shown.
const MAX_WARNINGS: usize = 64;

/// What is to be exported, and where to.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A session's id; may be given several times
    #[arg(long, value_name = "SESSION", required_unless_present_any = ["from", "to"], conflicts_with_all = ["from", "to", "target", "principal"])]
    session: Vec<SessionId>,
    /// All sessions that ran at this time or later: a moment (RFC 3339), or a day (UTC)
    #[arg(long, value_name = "TIME", value_parser = choose::from)]
    from: Option<Timestamp>,
    /// All sessions that began before this time: a moment (RFC 3339), or a day (UTC), which is within
    #[arg(long, value_name = "TIME", value_parser = choose::to)]
    to: Option<Timestamp>,
    /// Of these only those on a target
    #[arg(long, value_name = "NAME")]
    target: Option<TargetName>,
    /// Of these only those of a principal, as `sessions --json` shows it
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<Principal>,
    /// The bundle: a folder that is not there yet, or a file that is not there and ends in `.zip`
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// A public key that is trusted to sign them, or a folder of such keys [default: that of the configuration]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub public_key: Vec<PathBuf>,
    /// Where the recordings are.
    #[command(flatten)]
    pub place: super::Place,
}

impl ExportArgs {
    fn selection(&self) -> Result<Selection, Failure> {
        let ExportArgs { from, to, target, principal, session, .. } = self;
        if !session.is_empty() {
            return Ok(Selection::Sessions(session.iter().copied().collect()));
        }
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(Failure::usage(
                format!("nothing is between {from} and {to}"),
                "`--from` has to be before `--to`; a day alone is meant in UTC, and as `--to` it is within",
            ));
        }
        Ok(Selection::Span(Span {
            from: *from,
            to: *to,
            target: target.clone(),
            principal: principal.clone(),
        }))
    }
}

/// All that the bundle is about, before its operations are read.
struct Evidence {
    made: Timestamp,
    selection: Selection,
    /// The oldest first.
    items: Vec<Item>,
    deleted: Vec<Buried>,
    /// What checkpoints name and is gone.
    missing: Vec<(SessionId, String)>,
    verdict: Verdict,
    trust: Trust,
    signed_by: Option<String>,
}

impl Evidence {
    /// Recordings that do not verify.
    fn failed(&self) -> usize {
        self.items.iter().filter(|item| item.exit != Exit::Done).count()
    }

    /// Fails closed, as `verify` does.
    fn exit(&self) -> Exit {
        let unburied = self.deleted.iter().any(|one| one.problem.is_some());
        let deleted = if unburied { Exit::Unverified } else { Exit::Done };
        self.items.iter().map(|item| item.exit).fold(worse(deleted, self.verdict.exit()), worse)
    }
}

/// How many operations were written.
#[derive(Default)]
struct Counts {
    operations: u64,
    /// Recordings of which nothing could be read, or not all.
    unread: usize,
}

pub(super) fn run(
    library: &Library,
    args: &ExportArgs,
    trust: &Trust,
    signer: Option<&Signer>,
    audience: Audience,
    screen: &mut dyn Screen,
) -> Result<Exit, Failure> {
    let selection = args.selection()?;
    let mut bundle = Bundle::begin(&args.out)?;
    let evidence = collect(library, selection, trust, signer, &mut bundle)?;
    papers::verification(&evidence, &mut bundle)?;
    let counts = summarize(library, &evidence, &mut bundle)?;
    papers::readme(&evidence, &mut bundle)?;
    let manifest = papers::manifest(&evidence, signer, &mut bundle)?;
    let place = bundle.publish()?;
    match audience {
        Audience::Programs => screen.data(&super::pretty(&json!({
            "bundle": place,
            "recordings": evidence.items.len(),
            "failed": evidence.failed(),
            "open": evidence.items.iter().filter(|item| item.is_live()).count(),
            "unread": counts.unread,
            "operations": counts.operations,
            "deleted": evidence.deleted.len(),
            "missing": evidence.missing.len(),
            "checkpoints": evidence.verdict.to_json(),
            "verified": evidence.exit() == Exit::Done,
            "manifest_sha256": manifest,
            "signed_by": evidence.signed_by,
        }))),
        Audience::People => screen.show(&papers::said(&evidence, &counts, &place, &manifest)),
    }
    Ok(evidence.exit())
}

/// Chooses, copies and verifies.
fn collect(
    library: &Library,
    selection: Selection,
    trust: &Trust,
    signer: Option<&Signer>,
    bundle: &mut Bundle,
) -> Result<Evidence, Failure> {
    let failed = |error| unreadable(&error);
    // In this order what is sealed or deleted meanwhile is not taken for a loss.
    let chain = Chain::read(library.directory(), &trust.keys).map_err(failed)?;
    let chosen = choose::choose(library, &selection)?;
    let is_copy = chain.is_empty() && library.days().map_err(failed)?.is_empty();
    let mut found = chosen.found;
    let kept = list::noted(library);
    let mut items = gather::gather(library, chosen.glances, chosen.unreadable, &kept, trust, bundle)?;
    gather::found(&items, &mut found);
    let mut deleted = buried(library, &trust.keys).map_err(failed)?;
    // Deleted by the rules since the folder was looked at.
    items.retain(|item| !item.is_gone || !deleted.iter().any(|one| one.session == item.session));
    deleted.retain(|one| selection.takes_deleted(one));
    let findings = chain.compare(&found, None).map(|mut findings| {
        findings.problems.retain(|problem| selection.is_concerned(problem));
        findings
    });
    let verdict = Verdict::of(findings, None, is_copy)?;
    let missing = missing(&verdict, &mut deleted);
    selection.is_met(&items, &deleted, &missing, library)?;
    gather::keys(trust, bundle)?;
    gather::checkpoints(library, &selection, &items, &deleted, bundle)?;
    gather::tombstones(&deleted, bundle)?;
    Ok(Evidence {
        made: Timestamp::now(),
        selection,
        items,
        deleted,
        missing,
        verdict,
        trust: trust.clone(),
        signed_by: signer.map(|signer| signer.id().to_string()),
    })
}

/// What is gone without a tombstone that counts. Tombstones get to know what is wrong with them.
fn missing(verdict: &Verdict, deleted: &mut [Buried]) -> Vec<(SessionId, String)> {
    let Verdict::Judged(findings, _) = verdict else { return Vec::new() };
    let mut missing = Vec::new();
    for problem in &findings.problems {
        match problem {
            Problem::Gone { session, .. } | Problem::NeverSealed { session, .. } => {
                missing.push((*session, problem.to_string()));
            }
            Problem::Tombstone { session, why } => {
                for one in deleted.iter_mut().filter(|one| one.session == *session) {
                    one.problem.get_or_insert_with(|| why.clone());
                }
            }
            _ => {}
        }
    }
    missing
}

/// Reads every copy through, and writes what it says.
fn summarize(library: &Library, evidence: &Evidence, bundle: &mut Bundle) -> Result<Counts, Failure> {
    let mut table = tables::operations(bundle.create("operations.csv")?)?;
    let mut page = page::begin(bundle.create("summary.html")?, evidence)?;
    let mut counts = Counts::default();
    let bar = gather::bar(evidence.items.len() as u64, "{prefix}{bar:40} {pos}/{len} recordings");
    bar.set_prefix("summarising ");
    for item in &evidence.items {
        page.session(item)?;
        let (mut warnings, mut unread) = (Vec::new(), None);
        let mut told = |operation: &Operation| {
            counts.operations += 1;
            table.operation(item, operation)?;
            page.operation(item, operation)
        };
        if let Some(copy) = item.copy.as_ref().filter(|_| !item.is_gone) {
            unread = read(library, &bundle.path(copy), &mut warnings, &mut told)?;
        }
        // A live one ends where it was copied.
        let unread = unread.filter(|error| !(item.is_live() && is_unfinished(error)));
        counts.unread += usize::from(unread.is_some());
        page.end(item, unread.as_ref(), &warnings)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    bundle.add(page.finish()?)?;
    bundle.add(table.finish()?)?;
    bundle.add(tables::sessions(bundle.create("sessions.csv")?, evidence)?)?;
    Ok(counts)
}

/// Tells each operation when it is settled: no more of a recording is in memory than one block and what is not settled yet. Gives what
/// stopped it, if anything did; what was settled until then is told all the same.
fn read(
    library: &Library,
    path: &std::path::Path,
    warnings: &mut Vec<Value>,
    told: &mut dyn FnMut(&Operation) -> Result<(), Failure>,
) -> Result<Option<ReadError>, Failure> {
    let events = library.open(path).map_err(|error| unreadable(&error))?.events();
    let events = events.inspect(|event| {
        if let Ok(event) = event
            && event.kind == EventKind::Warning
            && warnings.len() < MAX_WARNINGS
        {
            warnings.push(json!({ "at_us": event.at_us, "said": event.json() }));
        }
    });
    let mut stopped = None;
    for operation in operations(events) {
        match operation {
            Ok(operation) => told(&operation)?,
            Err(error) => stopped = Some(error),
        }
    }
    Ok(stopped)
}

fn is_unfinished(error: &ReadError) -> bool {
    matches!(error, ReadError::Damage(damage) if damage.what.is_unfinished())
}
