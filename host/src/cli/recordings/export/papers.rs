//! The files of a bundle that are about the others: what verifying found, how to check it, and the list of all with their digests.

use super::folder::Bundle;
use super::gather::Item;
use super::{Counts, Evidence};
use crate::cli::failure::{Exit, Failure};
use crate::cli::print::clean;
use crate::cli::recordings::proof::sentences;
use crate::recorder::sign::{Signer, Statement};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// The list of all files.
const MANIFEST: &str = "manifest.json";
/// Ed25519 over [`MANIFEST`], 64 bytes.
const SIGNATURE: &str = "manifest.sig";
/// The version of the manifest's form.
const FORM: u32 = 1;

/// `verification.json` and `verification.txt`: as `chaperone verify` says it.
pub(super) fn verification(evidence: &Evidence, bundle: &mut Bundle) -> Result<(), Failure> {
    let rows: Vec<&Value> = evidence.items.iter().map(|item| &item.row).collect();
    let deleted: Vec<Value> = evidence
        .deleted
        .iter()
        .map(|one| json!({ "session": one.session, "tombstone": one.says, "problem": one.problem }))
        .collect();
    let missing: Vec<Value> =
        evidence.missing.iter().map(|(session, why)| json!({ "session": session, "problem": why })).collect();
    let trusted: Vec<_> = evidence.trust.keys.ids().collect();
    let report = json!({
        "recordings": rows,
        "failed": evidence.failed(),
        "deleted": deleted,
        "missing": missing,
        "checkpoints": evidence.verdict.to_json(),
        "trusted_keys": trusted,
        "verified": evidence.exit() == Exit::Done,
    });
    bundle.write("verification.json", format!("{report:#}\n").as_bytes())?;
    bundle.write("verification.txt", told(evidence).as_bytes())
}

fn told(evidence: &Evidence) -> String {
    let mut out = String::new();
    for item in &evidence.items {
        match (&item.report, &item.copy) {
            (Some(report), Some(copy)) => out.push_str(&sentences(Path::new(copy), report, &evidence.trust)),
            _ => out.push_str(&lost(item)),
        }
        out.push('\n');
    }
    for one in &evidence.deleted {
        let _ = match (&one.says, &one.problem) {
            (Some(says), None) => writeln!(
                out,
                "{} was deleted {:.0} by the rules: {}",
                one.session,
                says.deleted,
                clean(&says.rule)
            ),
            (_, problem) => {
                let why = clean(problem.as_deref().unwrap_or_default());
                writeln!(out, "wrong: the tombstone of {} does not count: {why}", one.session)
            }
        };
    }
    out.push_str(&evidence.verdict.sentences());
    out.push_str(&tally(evidence));
    out
}

fn lost(item: &Item) -> String {
    format!(
        "session   {}\nstatus    {}\nwrong     {}\n",
        item.session,
        item.word("status"),
        clean(item.word("problem"))
    )
}

fn tally(evidence: &Evidence) -> String {
    let total = evidence.items.len();
    format!("{} of {total} recordings verify, by {}\n", total - evidence.failed(), evidence.trust)
}

/// `README.txt`.
pub(super) fn readme(evidence: &Evidence, bundle: &mut Bundle) -> Result<(), Failure> {
    let signed = match &evidence.signed_by {
        Some(key) => format!("It is signed by the key {key}:"),
        None => "This one is not signed: the key was not at hand. Where one is, it is checked so:".to_owned(),
    };
    let text = include_str!("README.txt")
        .replace("{made}", &format!("{:.0}", evidence.made))
        .replace("{selection}", &clean(&evidence.selection.to_string()))
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{signed}", &signed);
    bundle.write("README.txt", text.as_bytes())
}

/// `manifest.json`, with what was signed of it. Gives its SHA-256.
pub(super) fn manifest(
    evidence: &Evidence,
    signer: Option<&Signer>,
    bundle: &mut Bundle,
) -> Result<String, Failure> {
    let manifest = json!({
        "form": FORM,
        "made": evidence.made,
        "chaperone": env!("CARGO_PKG_VERSION"),
        "selection": evidence.selection.to_json(),
        "recordings": evidence.items.len(),
        "failed": evidence.failed(),
        "deleted": evidence.deleted.len(),
        "missing": evidence.missing.len(),
        "verified": evidence.exit() == Exit::Done,
        "signed_by": evidence.signed_by,
        "files": bundle.files(),
    });
    let text = format!("{manifest:#}\n");
    if let Some(signer) = signer {
        let signature = signer.sign(Statement::Evidence, text.as_bytes()).map_err(|error| {
            Failure::new(
                Exit::Usage,
                "not-signed",
                format!("the manifest cannot be signed: {error}"),
                "try again",
            )
        })?;
        bundle.write(SIGNATURE, &signature.bytes)?;
    }
    bundle.write(MANIFEST, text.as_bytes())?;
    let digest = bundle.files().last().map(|listed| listed.sha256.clone());
    Ok(digest.unwrap_or_default())
}

/// What the command says.
pub(super) fn said(evidence: &Evidence, counts: &Counts, place: &Path, manifest: &str) -> String {
    let mut out = String::new();
    for item in evidence.items.iter().filter(|item| item.exit != Exit::Done) {
        let _ = writeln!(out, "wrong: {}: {}", item.session, clean(item.word("problem")));
    }
    out.push_str(&evidence.verdict.sentences());
    out.push_str(&tally(evidence));
    let live = evidence.items.iter().filter(|item| item.is_live()).count();
    for (count, what) in [
        (live, "sessions still run: what was recorded of them so far is in the bundle"),
        (counts.unread, "recordings could not be read, or not to their end: `summary.html` says why"),
        (evidence.deleted.len(), "recordings were deleted: their tombstones are in the bundle"),
    ] {
        if count > 0 {
            let _ = writeln!(out, "{count} {what}");
        }
    }
    let _ = writeln!(
        out,
        "\n{}: {} recordings, {} operations\nmanifest {manifest}, {}",
        clean(&place.display().to_string()),
        evidence.items.len(),
        counts.operations,
        match &evidence.signed_by {
            Some(key) => format!("signed by {key}"),
            None => "not signed: the key that signs recordings is not at hand".to_owned(),
        },
    );
    out
}
