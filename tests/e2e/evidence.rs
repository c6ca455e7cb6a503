//! A bundle for an audit, of what real clients did through a gateway: it is complete, says what was done, and can be checked.

use chaperone::recorder::{Library, session_of};
use chaperone_tests::process::{Ran, run};
use chaperone_tests::raw::{Out, Wire, rows};
use chaperone_tests::sources::read;
use chaperone_tests::stage::{Setting, Stage, files, first_id, object_id};
use chaperone_tests::tools;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Markup, a formula and what hides, as an agent may write them.
pub(crate) const EVIL: &str = "select 1 as \"=1+1\", '<script>alert(1)</script>' /* \u{202e} */";

/// What an agent did: asked for masked columns, tried to drop a table, wrote what is more than text, and had a DELETE approved.
/// Gives the hold's id.
pub(crate) async fn story(stage: &Stage) -> String {
    let token = stage.agent_with_window().unwrap();
    let psql = || stage.psql(&token).unwrap();
    let masked = psql().run("select ssn, name from customers where id = 2").unwrap().success().unwrap();
    assert!(masked.starts_with("[redacted]|"), "{masked}");
    assert!(psql().run("drop table customers").unwrap().stderr.contains("ddl.drop"));
    psql().run(EVIL).unwrap().success().unwrap();
    psql().run("=HYPERLINK(\"http://evil.example\")").unwrap();
    let waiting = psql();
    let waiting =
        tokio::task::spawn_blocking(move || waiting.run("delete from orders where item = 'kept-nowhere'"));
    let (approver, mut hold) = (stage.approver().unwrap(), None);
    let held = |stage: &Stage| {
        hold = first_id(&stage.chaperone(&approver, &["approvals", "--json"])?.success()?, "hold_");
        Ok(hold.is_some())
    };
    stage.until("a held statement", held).await.unwrap();
    let hold = hold.unwrap();
    stage.chaperone(&approver, &["approve", &hold, "--comment", "go on"]).unwrap().success().unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().success().unwrap(), "");
    stage.until("sealed recordings", |stage| Ok(sealed(stage).len() == 5)).await.unwrap();
    hold
}

/// The sealed recordings, oldest first.
pub(crate) fn sealed(stage: &Stage) -> Vec<PathBuf> {
    let mut paths = Library::new(stage.recordings()).paths(usize::MAX).unwrap();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "chrec"));
    paths.reverse();
    paths
}

/// Runs what the documentation has, in the stage's folder, with `chaperone` on the path.
fn shell(stage: &Stage, script: &str) -> Ran {
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = tools::chaperone().unwrap().parent().unwrap().display().to_string();
    let mut bash = Command::new("bash");
    bash.args(["-e", "-s"]).current_dir(stage.folder.path()).env("PATH", format!("{folder}:{path}"));
    bash.env("CHAPERONE_CONFIG", stage.path("chaperone.yaml")).env("NO_COLOR", "1");
    run(&mut bash, script).unwrap()
}

/// The commands of the documentation, in their order.
fn documented() -> Vec<String> {
    let page = read(Path::new("host/docs/evidence.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_gets_evidence_that_says_what_was_done_and_can_be_checked_as_documented() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let hold = story(&stage).await;
    // One that still runs, with what it has done so far.
    let token = stage.agent_with_window().unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(rows(&wire.query("select name from customers where id = 1").await.unwrap()), ["Ada Abbott"]);
    let answered = |stage: &Stage| Ok(stage.recorded()?.len() == 6);
    stage.until("a sixth recording", answered).await.unwrap();
    let blocks = documented();
    let [export, verify, listed, signed] = blocks.as_slice() else { panic!("{} blocks", blocks.len()) };
    let said = shell(&stage, export);
    assert!(said.status.success(), "{} {}", said.stdout, said.stderr);
    assert!(
        said.stdout.contains("6 of 6 recordings verify") && said.stdout.contains("1 sessions still run"),
        "{}",
        said.stdout
    );

    let bundle = stage.path("evidence");
    let page = text(&bundle.join("summary.html"));
    let operations = text(&bundle.join("operations.csv"));
    for part in ["[redacted]", "Ada Abbott"] {
        assert!(
            !page.contains(part) && !operations.contains(part),
            "rows are in the recordings alone: {part}"
        );
    }
    for part in
        [&object_id(1), &object_id(9), &hold, "win_", "req_", "ddl.drop", "ssn", "guard", "mask", "shop"]
    {
        assert!(page.contains(part), "the page lacks {part}");
        assert!(operations.contains(part), "the table lacks {part}");
    }
    assert!(page.contains("approved by") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!page.contains("<script") && page.contains("U+202E"), "{page}");
    assert!(
        operations.contains("<U+202E>") && operations.contains(",\"'=HYPERLINK(\"\"http"),
        "{operations}"
    );
    // Plugins by what proves which they were: as the recordings have it.
    let head = json(&stage.recorded().unwrap()[0].head());
    for plugin in head["plugins"].as_array().unwrap() {
        let digest = plugin["digest"].as_str().unwrap();
        assert!(page.contains(digest) && operations.contains(&format!("sha256:{digest}")), "{plugin}");
    }
    for path in sealed(&stage) {
        let copy = bundle.join("recordings").join(path.file_name().unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(copy).unwrap());
    }
    // The archive is read by what everybody has.
    let zipped =
        "import zipfile; z = zipfile.ZipFile('shop.zip'); assert z.testzip() is None; print(*z.namelist())";
    let zipped = shell(&stage, &format!("python3 -c \"{zipped}\""));
    assert!(zipped.success().unwrap().contains("shop/summary.html"));

    // As documented; the one that still runs is told as such by whoever looks at its copy alone.
    let verified = shell(&stage, verify);
    assert_eq!(verified.status.code(), Some(4), "{}", verified.stdout);
    assert!(
        verified.stdout.contains("5 of 6 recordings verify") && verified.stdout.contains("unsealed"),
        "{}",
        verified.stdout
    );
    let checked = shell(&stage, listed).success().unwrap();
    assert!(checked.ends_with("files are as listed\n"), "{checked}");
    // What stands in the bundle itself is the same.
    let readme = text(&bundle.join("README.txt"));
    let lines = listed.lines().skip(1).filter(|line| !line.trim().is_empty());
    for line in lines.map(str::trim) {
        assert!(readme.contains(line), "README.txt lacks {line}");
    }
    assert!(readme.contains(signed.lines().nth(1).unwrap().split(" > ").next().unwrap()));
    let openssl = Command::new("openssl").arg("version").output().is_ok();
    if openssl {
        assert!(shell(&stage, signed).success().unwrap().contains("Signature Verified Successfully"));
    } else {
        eprintln!("no openssl: the signature of the manifest is checked by the unit tests alone");
    }
    // Changed afterwards, by whomever.
    std::fs::write(bundle.join("operations.csv"), operations.replace("ddl.drop", "ddl.none")).unwrap();
    std::fs::write(bundle.join("more.txt"), "x").unwrap();
    let checked = shell(&stage, listed).success().unwrap();
    assert!(checked.contains("wrong: ['operations.csv'] not listed: ['more.txt']"), "{checked}");
    let manifest = text(&bundle.join("manifest.json"));
    std::fs::write(bundle.join("manifest.json"), manifest.replace("\"failed\": 0", "\"failed\": 1")).unwrap();
    assert!(!openssl || !shell(&stage, signed).status.success());
    wire.send(Out::new().message(b'X', b"")).await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_was_changed_is_in_the_evidence_and_fails_it() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    story(&stage).await;
    stage.stop().await;
    let paths = sealed(&stage);
    let (folder, key) = (stage.recordings(), stage.path("recording-key.pub.pem"));
    let export = |more: &[&str], out: &str| {
        let place = [
            "export",
            "--recordings",
            folder.to_str().unwrap(),
            "--public-key",
            key.to_str().unwrap(),
            "--json",
        ];
        let out = ["--out".to_owned(), stage.path(out).display().to_string()];
        let out = [out[0].as_str(), out[1].as_str()];
        stage.chaperone("", &[&place[..], &out, more].concat()).unwrap()
    };
    let session = session_of(&paths[1]).unwrap().to_string();
    let before = export(&["--from", "2026-01-01"], "before");
    assert_eq!(
        (before.status.code(), &json(&before.stdout)["verified"]),
        (Some(0), &true.into()),
        "{}",
        before.stdout
    );
    let mut bytes = std::fs::read(&paths[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // Read-only by its owner's wish; whoever changes it does not ask.
    std::fs::remove_file(&paths[1]).unwrap();
    std::fs::write(&paths[1], &bytes).unwrap();
    for given in [&["--from", "2026-01-01"][..], &["--session", &session]] {
        let out = if given[0] == "--from" { "all" } else { "one" };
        let ran = export(given, out);
        let told = json(&ran.stdout);
        assert_eq!((ran.status.code(), &told["failed"]), (Some(4), &1.into()), "{told}");
        let report = json(&text(&stage.path(out).join("verification.json")));
        let rows = report["recordings"].as_array().unwrap();
        let row = rows.iter().find(|row| row["session"] == session.as_str()).unwrap();
        assert_eq!(row["status"], "damaged");
        assert!(row["damage"]["at_byte"].is_number(), "{row}");
        assert_eq!(std::fs::read(stage.path(out).join(row["path"].as_str().unwrap())).unwrap(), bytes);
        assert!(text(&stage.path(out).join("summary.html")).contains("Not everything verifies"));
    }
    // A name that is taken, and a wrong key: nobody's signature counts then.
    assert_eq!(export(&["--from", "2026-01-01"], "all").status.code(), Some(2));
    let other = stage.path("other.pem");
    let made = stage.chaperone("", &["recording-key", "--new", stage.path("new.pem").to_str().unwrap()]);
    std::fs::write(&other, made.unwrap().success().unwrap()).unwrap();
    let given = [
        "export",
        "--recordings",
        folder.to_str().unwrap(),
        "--public-key",
        other.to_str().unwrap(),
        "--from",
        "2026-01-01",
        "--json",
        "--out",
    ];
    let out = stage.path("untrusted").display().to_string();
    let told = json(&stage.chaperone("", &[&given[..], &[&out]].concat()).unwrap().stdout);
    assert_eq!(told["failed"], 5, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_of_encrypted_recordings_is_summarised_with_their_key_alone() {
    let recording = "{ directory: recordings, encryption_key: \"file:disk.key\" }".to_owned();
    let (mut stage, _) = Stage::prepare(Setting { recording, ..Setting::default() }).await.unwrap();
    std::fs::write(stage.path("disk.key"), "01".repeat(31) + "ff\n").unwrap();
    stage.restart().await.unwrap();
    let hold = story(&stage).await;
    stage.stop().await;
    let (folder, key) = (stage.recordings(), stage.path("recording-key.pub.pem"));
    let export = |config: &Path, out: &Path| {
        let given = [
            "--from",
            "2026-01-01",
            "--json",
            "--recordings",
            folder.to_str().unwrap(),
            "--public-key",
            key.to_str().unwrap(),
        ];
        let more = ["--config", config.to_str().unwrap(), "--out", out.to_str().unwrap()];
        json(&stage.chaperone("", &[&["export"][..], &given, &more].concat()).unwrap().success().unwrap())
    };
    let (locked, open) = (stage.path("locked"), stage.path("open"));
    let told = export(Path::new("none"), &locked);
    assert_eq!(
        (&told["unread"], &told["verified"], &told["signed_by"]),
        (&5.into(), &true.into(), &Value::Null)
    );
    for (name, bytes) in files(&locked).unwrap() {
        for words in ["customers", &hold, &object_id(1), "ddl.drop"] {
            assert!(
                !bytes.windows(words.len()).any(|window| window == words.as_bytes()),
                "{words} is in {name}"
            );
        }
    }
    let told = export(&stage.path("chaperone.yaml"), &open);
    assert_eq!((&told["unread"], &told["verified"]), (&0.into(), &true.into()), "{told}");
    assert!(told["signed_by"].is_string() && text(&open.join("summary.html")).contains(&hold));
    for path in sealed(&stage) {
        let copy = open.join("recordings").join(path.file_name().unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(copy).unwrap(), "it stays encrypted");
    }
}
