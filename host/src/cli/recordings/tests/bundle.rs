//! Bundles of evidence, of recordings that are written here: what is in them, and that nothing in them is more than it is.

mod evil;
mod whole;

use super::*;
use crate::cli::{Cli, Command};
use crate::recorder::checkpoint::Cause;
use crate::recorder::sign::Statement;
use clap::Parser;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

/// What came of a command.
struct Made {
    exit: Exit,
    out: PathBuf,
    told: Value,
}

fn arguments(given: &[&str], out: &Path) -> ExportArgs {
    let given = given.iter().copied().chain(["--out", out.to_str().unwrap()]);
    match Cli::parse_from(["chaperone", "export"].into_iter().chain(given)).command {
        Command::Export(args) => args,
        other => panic!("{other:?}"),
    }
}

fn ran(library: &Library, given: &[&str], out: &Path) -> Result<Made, Failure> {
    let mut paper = Paper::default();
    let (args, signer) = (arguments(given, out), session::signer());
    let exit = export::run(library, &args, &trust(), Some(&signer), Audience::Programs, &mut paper)?;
    let told = serde_json::from_str(&paper.data).unwrap();
    Ok(Made { exit, out: out.to_owned(), told })
}

/// A bundle of a folder of recordings, beside it.
fn made(folder: &Folder, given: &[&str]) -> Made {
    ran(&folder.0.path().into(), given, &free(folder)).unwrap()
}

/// A name that is free.
fn free(folder: &Folder) -> PathBuf {
    let names = (0..).map(|number| folder.0.path().join(format!("bundle-{number}")));
    names.into_iter().find(|path| !path.exists()).unwrap()
}

impl Made {
    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.out.join(name)).unwrap()
    }

    fn table(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let mut reader = csv::Reader::from_path(self.out.join(name)).unwrap();
        reader.deserialize().map(|row| row.unwrap()).collect()
    }

    /// All files, by their names in it.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.out.clone()];
        while let Some(folder) = folders.pop() {
            assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
                let name = path.strip_prefix(&self.out).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
        files
    }
}

/// A checkpoint of what is there, so that a folder is one that verifies.
fn checkpoint(folder: &Folder) {
    folder.recorder().checkpoint(session::now(), Cause::Daily).unwrap();
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is left beside the bundles: nothing that was begun.
fn leftovers(folder: &Folder) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".chaperone")).collect()
}

const ALL: [&str; 2] = ["--from", "2026-11-21"];

#[test]
fn a_bundle_holds_recordings_what_verifying_found_and_what_they_say() {
    let folder = Folder::new();
    folder.write(1, session::story);
    folder.write(2, |_| {});
    checkpoint(&folder);
    let made = made(&folder, &ALL);
    assert_eq!((made.exit, &made.told["verified"]), (Exit::Done, &json!(true)), "{}", made.told);
    let files = made.files();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let recording = |number| format!("recordings/{}.chrec", id(number));
    assert_eq!(
        names,
        [
            "README.txt",
            "checkpoints/00000001.json",
            "keys/deb2ded39dc26fce.pem",
            "manifest.json",
            "manifest.sig",
            "operations.csv",
            &recording(1),
            &recording(2),
            "sessions.csv",
            "summary.html",
            "verification.json",
            "verification.txt"
        ]
    );
    for number in [1, 2] {
        assert_eq!(files[&recording(number)], std::fs::read(folder.path(number)).unwrap());
    }
    assert!(leftovers(&folder).is_empty());
    // It verifies by itself, as its reader would do it.
    let mut paper = Paper::default();
    let copies = made.out.join("recordings");
    let exit = proof::run(&*copies, &What::All(None), &trust(), Audience::People, &mut paper).unwrap();
    assert!(exit == Exit::Done && paper.shown.contains("2 of 2 recordings verify"), "{}", paper.shown);
    // The report is that of `verify`, but for the place.
    let mut paper = Paper::default();
    proof::run(folder.0.path(), &What::All(None), &trust(), Audience::Programs, &mut paper).unwrap();
    let verified: Value = serde_json::from_str(&paper.data).unwrap();
    let report: Value = serde_json::from_str(&made.text("verification.json")).unwrap();
    for (one, other) in [(0, 1), (1, 0)] {
        for key in ["session", "status", "signature", "last_hash", "blocks", "events", "bytes", "problem"] {
            assert_eq!(report["recordings"][one][key], verified["recordings"][other][key], "{key}");
        }
    }
    assert_eq!(report["checkpoints"], verified["checkpoints"]);
    assert!(made.text("verification.txt").contains("2 of 2 recordings verify, by deb2ded39dc26fce"));
}

#[test]
fn every_operation_is_tied_to_who_under_what_with_what_was_decided() {
    let folder = Folder::new();
    folder.write(1, session::story);
    checkpoint(&folder);
    let made = made(&folder, &ALL);
    let rows = made.table("operations.csv");
    assert_eq!(rows.len(), 12);
    assert_eq!(made.told["operations"], json!(12));
    let plugin = format!("sql-guard 0.1.0 sha256:{} config:11", "ab".repeat(32));
    for row in &rows {
        for (column, value) in [
            ("principal", "corp/tenant/0193452c-0f00-7000-8000-000000000001"),
            ("kind", "agent"),
            ("actor", "app-1"),
            ("target", "prod-logs"),
            ("window", "win_1"),
            ("request", "req_1"),
            ("window_approved_by", "corp/tenant/ann"),
            ("plugins", &plugin),
        ] {
            assert_eq!(row[column], value);
        }
        assert!(row["time"].starts_with("2026-11-21T10:00:0"), "{}", row["time"]);
    }
    let row = |number: &str| rows.iter().find(|row| row["number"] == number).unwrap();
    let columns = |number, names: [&str; 3]| names.map(|name| row(number)[name].clone());
    assert_eq!(columns("1", ["outcome", "masked_columns", "rows"]), ["allowed", "email", "2"]);
    assert_eq!(row("1")["statement"], "select id, email\n\tfrom users\n where id < 3;\n");
    assert_eq!(columns("3", ["executes", "execution", "statement"])[..2], ["2", "1"]);
    assert!(row("3")["parameters"].contains("it"), "{}", row("3")["parameters"]);
    let findings = "delete.no-where (risk 90): all rows would go";
    assert_eq!(
        columns("5", ["outcome", "refusal_code", "findings"]),
        ["refused", "operation-refused", findings]
    );
    assert_eq!(
        columns("6", ["outcome", "hold", "hold_approved_by"]),
        ["approved", "hold_1", "corp/tenant/bob"]
    );
    assert_eq!(
        columns("7", ["outcome", "hold_outcome", "hold_detail"]),
        ["refused", "hold-rejected", "not during the sale"]
    );
    assert_eq!(columns("8", ["outcome", "error_side", "error_sqlstate"]), ["failed", "target", "22012"]);
    assert_eq!(row("10")["stopped_by"], plugin);
    let page = made.text("summary.html");
    for words in [
        "corp/tenant/0193452c-0f00-7000-8000-000000000001",
        "Triage bot",
        "app-1",
        "win_1",
        "req_1",
        "corp/tenant/ann",
        "corp/tenant/bob",
        "not during the sale",
        "delete.no-where (risk 90): all rows would go",
        "email",
        "2 rows, 1 values masked",
        &"ab".repeat(32),
        "client-closed",
        &id(1).to_string(),
    ] {
        assert!(page.contains(words), "{words}");
    }
    let session = &made.table("sessions.csv")[0];
    for (column, value) in [
        ("state", "sealed"),
        ("verification", "intact"),
        ("signature", "valid"),
        ("ended_by", "client-closed"),
        ("operations", "10"),
        ("held", "2"),
        ("principal", "corp/tenant/0193452c-0f00-7000-8000-000000000001"),
    ] {
        assert_eq!(session[column], value, "{column}");
    }
}

#[test]
fn the_manifest_has_the_digest_of_every_file_and_is_signed() {
    let folder = Folder::new();
    folder.write(1, session::story);
    checkpoint(&folder);
    let made = made(&folder, &ALL);
    let mut files = made.files();
    let (manifest, signature) =
        (files.remove("manifest.json").unwrap(), files.remove("manifest.sig").unwrap());
    assert_eq!(made.told["manifest_sha256"], sha256(&manifest));
    let listed: Value = serde_json::from_slice(&manifest).unwrap();
    let entries = listed["files"].as_array().unwrap();
    assert_eq!(entries.len(), files.len());
    for entry in entries {
        let bytes = &files[entry["path"].as_str().unwrap()];
        assert_eq!((&entry["sha256"], &entry["bytes"]), (&json!(sha256(bytes)), &json!(bytes.len())));
    }
    let signer = session::signer();
    assert_eq!(listed["signed_by"], signer.id().to_string());
    let signature =
        crate::recorder::sign::Signature { key: signer.id(), bytes: signature.try_into().unwrap() };
    let keys = trust().keys;
    keys.verify(Statement::Evidence, &manifest, &signature).unwrap();
    let mut changed = manifest.clone();
    changed[10] ^= 1;
    assert!(keys.verify(Statement::Evidence, &changed, &signature).is_err());
    // And it is no signature of a recording.
    assert!(keys.verify(Statement::Footer, &manifest, &signature).is_err());
    // Without the key there is a bundle all the same, and it says so.
    let mut paper = Paper::default();
    let args = arguments(&ALL, &free(&folder));
    export::run(&folder.0.path().into(), &args, &trust(), None, Audience::People, &mut paper).unwrap();
    assert!(paper.shown.contains("not signed"), "{}", paper.shown);
}

#[test]
fn a_bundle_appears_whole_or_not_at_all_and_overwrites_nothing() {
    let folder = Folder::new();
    folder.write(1, |_| {});
    checkpoint(&folder);
    let library: Library = folder.0.path().into();
    let there = folder.0.path().join("there");
    std::fs::create_dir(&there).unwrap();
    std::fs::write(there.join("mine"), "kept").unwrap();
    let file = folder.0.path().join("there.zip");
    std::fs::write(&file, "kept").unwrap();
    let link = folder.0.path().join("link");
    std::os::unix::fs::symlink(folder.0.path().join("nowhere"), &link).unwrap();
    for taken in [&there, &file, &link, &there.join("mine")] {
        let failure = ran(&library, &ALL, taken).err().unwrap();
        assert_eq!((failure.code.as_str(), failure.exit), ("exists", Exit::Usage), "{taken:?}");
    }
    assert_eq!(std::fs::read(there.join("mine")).unwrap(), b"kept");
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    // Nothing that is meant: nothing is written.
    let out = folder.0.path().join("out");
    for given in [
        &["--from", "2026-11-22"][..],
        &["--to", "2026-11-20"],
        &["--from", "2026-11-21", "--target", "other"],
        &["--from", "2026-11-21", "--principal", "corp/tenant/nobody"],
        &["--session", "ses_00000000000000000000000000000009"],
        &["--session", &id(1).to_string(), "--session", &id(9).to_string()],
    ] {
        let failure = ran(&library, given, &out).err().unwrap();
        assert_eq!(failure.code, "no-recording", "{given:?}");
    }
    let backwards = ["--from", "2026-11-22", "--to", "2026-11-21"];
    assert_eq!(ran(&library, &backwards, &out).err().unwrap().code, "usage");
    let nowhere = folder.0.path().join("nowhere/out");
    assert_eq!(ran(&library, &ALL, &nowhere).err().unwrap().code, "not-written");
    assert!(!out.exists() && leftovers(&folder).is_empty());
    // An empty folder is what `mktemp -d` makes.
    std::fs::create_dir(&out).unwrap();
    assert_eq!(ran(&library, &ALL, &out).unwrap().exit, Exit::Done);
    assert!(leftovers(&folder).is_empty());
}

#[test]
fn an_archive_holds_what_a_folder_would() {
    let folder = Folder::new();
    folder.write(1, session::story);
    checkpoint(&folder);
    let whole = made(&folder, &ALL).files();
    let out = folder.0.path().join("evidence.zip");
    assert_eq!(ran(&folder.0.path().into(), &ALL, &out).unwrap().exit, Exit::Done);
    assert!(leftovers(&folder).is_empty());
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&out).unwrap()).unwrap();
    assert_eq!(archive.len(), whole.len());
    for (name, bytes) in &whole {
        let mut file = archive.by_name(&format!("evidence/{name}")).unwrap();
        assert_eq!(file.unix_mode().unwrap() & 0o777, 0o600);
        let mut found = Vec::new();
        std::io::copy(&mut file, &mut found).unwrap();
        // The others say when they were made.
        if name.starts_with("recordings") || name.ends_with(".csv") || name.starts_with("verification") {
            assert_eq!(found, *bytes, "{name}");
        }
    }
}
