//! Disks that are full, read-only or broken under a running gateway: sessions end and are refused in plain words, nothing that was
//! recorded is damaged, operators get in, and with a disk that works again so does the gateway, without a restart.

use super::super::metrics::scrape;
use super::{logs_statements, marks, recorded_marks, statuses};
use chaperone::gateway::run as gateway;
use chaperone::recorder::{Ending, EventKind, Library, Reader, Status, verify};
use chaperone_core::identity::CallerKind;
use chaperone_tests::disk::Disk;
use chaperone_tests::raw::{Wire, errors, shape};
use chaperone_tests::stage::{ASKERS, Setting, Stage, first_id};

/// A gateway whose recordings are on a disk of their own.
async fn on_a_disk(setting: Setting) -> Option<(Stage, Disk)> {
    let (mut stage, _) = Stage::prepare(setting).await.unwrap();
    let disk = Disk::mount(&stage.recordings(), 64).unwrap()?;
    stage.restart().await.unwrap();
    Some((stage, disk))
}

/// A session that was recorded and sealed before anything went wrong.
async fn sealed_before(stage: &Stage, token: &str) {
    assert_eq!(stage.psql(token).unwrap().run("select 6").unwrap().success().unwrap(), "6\n");
    let sealed = |stage: &Stage| Ok(statuses(stage) == [Status::Intact(Ending::Sealed)]);
    stage.until("a sealed recording", sealed).await.unwrap();
}

/// Statements until one of them ends the session, which has to say why.
async fn until_it_ends(wire: &mut Wire) {
    // Statements are always recorded whole: these are 60 kB each.
    let filling = "f".repeat(60_000);
    let mut last = Vec::new();
    for n in 0..2000 {
        let insert = "insert into orders (customer_id, item, total, status) values (1, 'mark-0";
        last = wire.query(&format!("{insert}-{n}', 1, 'open') -- {filling}")).await.unwrap();
        if shape(&last) != "C ZI" {
            break;
        }
    }
    assert_eq!(shape(&last), "E:58000", "the session goes on");
    assert!(errors(&last).contains("the session's recording cannot be written"), "{}", errors(&last));
}

async fn nobody_gets_in(stage: &Stage, token: &str, why: &str) {
    let refused = stage.psql(token).unwrap().run("select 1").unwrap();
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    assert!(refused.stderr.contains("Tell the operator"), "{}", refused.stderr);
}

/// What was left open gets sealed, and sessions are recorded as before.
async fn works_again(stage: &Stage, token: &str) {
    let interrupted = |stage: &Stage| Ok(statuses(stage).contains(&Status::Intact(Ending::Interrupted)));
    stage.until("the session that was cut, sealed", interrupted).await.unwrap();
    assert_eq!(stage.psql(token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    let (server, recorded) = (marks(&stage.postgres.log()), recorded_marks(stage));
    let lost: Vec<&String> = server.difference(&recorded).collect();
    assert!(lost.is_empty(), "{lost:?} ran, and their recording was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_sessions_and_keeps_nobody_from_mending_it() {
    let recording = "{ directory: recordings, space: { warn: 4MiB, refuse: 2MiB } }".into();
    // The state is on the same disk.
    let state = "recordings/state.db".into();
    let setting = Setting { recording, state, ..logs_statements() };
    let Some((mut stage, disk)) = on_a_disk(setting).await else { return };
    let token = stage.agent().unwrap();
    let window = stage.open_window(&token, None).unwrap();
    sealed_before(&stage, &token).await;
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let free = scrape(&stage).await.unwrap()["chaperone_recordings_free_bytes"];
    assert!(free > f64::from(4 << 20), "{free}");

    // Little room: those who are in go on, others are refused.
    let filling = disk.fill(1 << 20).unwrap();
    assert_eq!(shape(&wire.query("select 1").await.unwrap()), "T D C ZI");
    nobody_gets_in(
        &stage,
        &token,
        "FATAL:  there is too little room for recordings, so the session does not start",
    )
    .await;
    // No room.
    until_it_ends(&mut wire).await;
    nobody_gets_in(&stage, &token, "FATAL:  there is too little room").await;
    // Operators see what is, and end it.
    let operator = stage.approver().unwrap();
    let listed = stage.chaperone(&operator, &["sessions", "--live", "--json"]).unwrap().success().unwrap();
    assert!(listed.contains("\"live\""), "{listed}");
    stage.chaperone(&operator, &["revoke", &window]).unwrap().success().unwrap();
    // What is there verifies; the last one ends somewhere, and nobody has sealed it.
    let whole = |stage: &Stage| {
        let mut all = statuses(stage);
        all.sort_by_key(|status| *status == Status::Unsealed);
        Ok(all == [Status::Intact(Ending::Sealed), Status::Unsealed])
    };
    stage.until("one that is sealed and one that nobody seals", whole).await.unwrap();

    std::fs::remove_file(filling).unwrap();
    stage.open_window(&token, None).unwrap();
    works_again(&stage, &token).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_is_mended_without_a_restart() {
    mended_without_a_restart(Disk::turn_read_only).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_is_mended_without_a_restart() {
    mended_without_a_restart(Disk::cut_power).await;
}

async fn mended_without_a_restart(fails: impl Fn(&Disk) -> anyhow::Result<()>) {
    let recording = "{ directory: recordings, durable: yes }".into();
    let Some((mut stage, disk)) = on_a_disk(Setting { recording, ..logs_statements() }).await else { return };
    let token = stage.agent_with_window().unwrap();
    sealed_before(&stage, &token).await;
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let insert = "insert into orders (customer_id, item, total, status) values (1, 'mark-9-9', 1, 'open')";
    assert_eq!(shape(&wire.query(insert).await.unwrap()), "C ZI");
    fails(&disk).unwrap();
    until_it_ends(&mut wire).await;
    nobody_gets_in(&stage, &token, "FATAL:  the session cannot be recorded, so it does not start").await;
    // Operators get in.
    let operator = stage.approver().unwrap();
    stage.chaperone(&operator, &["sessions", "--live", "--json"]).unwrap().success().unwrap();

    // Its last file is closed a moment after the client was told.
    stage.until("a disk that nobody uses", |_| Ok(disk.unmount().is_ok())).await.unwrap();
    disk.mount_again().unwrap();
    works_again(&stage, &token).await;
    assert_eq!(marks(&stage.postgres.log()).len(), 1, "something ran after the disk had failed");
    // The one of before, the one that was cut, and the last.
    stage.stop().await;
    let count = |ending| statuses(&stage).iter().filter(|one| **one == Status::Intact(ending)).count();
    assert_eq!((count(Ending::Sealed), count(Ending::Interrupted), statuses(&stage).len()), (2, 1, 3));
}

fn elsewhere(stage: &Stage) -> Vec<std::path::PathBuf> {
    Library::new(stage.path("elsewhere")).paths(usize::MAX).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_glass_is_broken_by_its_group_alone_while_the_disk_fails_and_loudly() {
    let recording =
        r#"{ directory: recordings, break_glass: { directory: elsewhere, group: "group:agents" } }"#.into();
    let more = "streams: [{ name: file, to: \"file:events.jsonl\", format: jsonl }]\n".into();
    let setting = Setting { recording, more, ..logs_statements() };
    let Some((mut stage, disk)) = on_a_disk(setting).await else { return };
    let token = stage.agent_with_window().unwrap();
    // Another, with a window that people opened, who is not of the group.
    let other = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let asked = stage.chaperone(&other, &["request", "shop", "--reason", "a test", "--json"]).unwrap();
    let request = first_id(&asked.stdout, "req_").unwrap();
    stage.chaperone(&stage.approver().unwrap(), &["approve", &request]).unwrap().success().unwrap();
    sealed_before(&stage, &token).await;
    assert!(elsewhere(&stage).is_empty(), "the other folder is used while the first one works");
    let counted = "chaperone_break_glass_sessions_total";
    assert_eq!(scrape(&stage).await.unwrap()[counted], 0.0);

    disk.cut_power().unwrap();
    nobody_gets_in(&stage, &other, "FATAL:  the session cannot be recorded, so it does not start").await;
    assert!(elsewhere(&stage).is_empty() && !stage.audited().unwrap().contains("break-glass"));
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    let sealed = |stage: &Stage| {
        let statuses: Vec<Status> =
            elsewhere(stage).iter().map(|path| verify(path).unwrap().status).collect();
        Ok(statuses == [Status::Intact(Ending::Sealed)])
    };
    stage.until("a sealed recording in the other folder", sealed).await.unwrap();
    let events = Reader::new(std::fs::File::open(&elsewhere(&stage)[0]).unwrap()).events();
    let warned = events.map(Result::unwrap).find(|event| event.kind == EventKind::Warning).unwrap();
    assert!(String::from_utf8_lossy(&warned.body).contains("recorded elsewhere"), "{warned:?}");
    let audited = stage.audited().unwrap();
    assert_eq!(audited.matches("session.break-glass").count(), 1, "{audited}");
    // It is found and told as everything else, while the disk is still broken.
    let session = elsewhere(&stage)[0].file_stem().unwrap().to_str().unwrap().to_owned();
    let told = |stage: &Stage| {
        let found = stage.chaperone(&stage.approver()?, &["search", "--session", &session, "--json"])?;
        let streamed = std::fs::read_to_string(stage.path("events.jsonl")).unwrap_or_default();
        let ended = format!("\"{session}:end\"");
        Ok(found.success()?.contains("select 7") && streamed.contains(&ended))
    };
    stage.until("a session that is found and streamed", told).await.unwrap();
    assert_eq!(scrape(&stage).await.unwrap()[counted], 1.0);

    // Mended: nobody breaks anything.
    stage.until("a disk that nobody uses", |_| Ok(disk.unmount().is_ok())).await.unwrap();
    disk.mount_again().unwrap();
    assert_eq!(stage.psql(&token).unwrap().run("select 8").unwrap().success().unwrap(), "8\n");
    assert_eq!((elsewhere(&stage).len(), scrape(&stage).await.unwrap()[counted]), (1, 1.0));
    stage.stop().await;
    // There, too, it is named, and would be missed.
    let (folder, key) = (stage.path("elsewhere"), stage.path("recording-key.pub.pem"));
    let verify = ["verify", folder.to_str().unwrap(), "--public-key", key.to_str().unwrap()];
    let said = stage.chaperone("", &verify).unwrap().success().unwrap();
    assert!(said.contains("1 recordings are named and there"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn glass_on_the_same_disk_is_refused() {
    let recording =
        r#"{ directory: recordings, break_glass: { directory: elsewhere, group: "group:agents" } }"#.into();
    let (stage, file) = Stage::prepare(Setting { recording, ..Setting::default() }).await.unwrap();
    let error = gateway::start(chaperone::config::load(&file).unwrap().0).await.err().unwrap();
    assert!(error.what.contains("is on the same disk as `recording.directory`"), "{error}");
    // Both are there now.
    let checked = stage.chaperone("", &["check", file.to_str().unwrap()]).unwrap();
    assert!(!checked.status.success() && checked.stdout.contains("is on the same disk"), "{checked:?}");
}
