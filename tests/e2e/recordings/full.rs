//! A recording that cannot be written any more, as on a disk that is full: nothing runs unrecorded, and nothing is shown.

use super::{logs_statements, marks, recorded_marks, statuses};
use chaperone::recorder::{Ending, EventKind, Status};
use chaperone_tests::raw::{Message, Out, Wire, errors, rows, shape};
use chaperone_tests::stage::{Recorded, Stage};
use chaperone_tests::tools;
use std::process::Command;

/// The most that a file of the gateway may hold, in the blocks of 512 bytes in which `ulimit` counts.
const FULL_AT_BLOCKS: u64 = 8192;

/// A gateway whose recordings cannot grow any more at some point, as on a disk that is full: write(2) fails with EFBIG
/// over the limit, because the signal that would kill the process is ignored.
fn on_a_small_disk() -> Command {
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {FULL_AT_BLOCKS}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(tools::chaperone().unwrap());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_runs_unrecorded() {
    let mut stage = Stage::start(logs_statements()).await.unwrap();
    let token = stage.agent().unwrap();
    let window = stage.open_window(&token, None).unwrap();
    let serving = stage.serve_by(on_a_small_disk()).await.unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    let mut last = Vec::new();
    // Statements are always recorded whole: these are 60 kB each.
    let filling = "f".repeat(60_000);
    for n in 0..1000 {
        let insert = "insert into orders (customer_id, item, total, status) values (1, 'mark-0";
        last = wire.query(&format!("{insert}-{n}', 1, 'open') -- {filling}")).await.unwrap();
        if shape(&last) != "C ZI" {
            break;
        }
    }
    assert_eq!(shape(&last), "E:58000", "the session goes on");
    assert!(errors(&last).contains("the session's recording cannot be written"), "{}", errors(&last));
    assert!(wire.next().await.unwrap().is_none());
    // Operators get in all the same, and so do sessions as long as there is room for them.
    let operator = stage.approver().unwrap();
    let gone = |stage: &Stage| {
        let listed = stage.chaperone(&operator, &["sessions", "--live", "--json"])?.success()?;
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        Ok(listed["live"].as_array().is_some_and(Vec::is_empty))
    };
    stage.until("an end in the list of sessions", gone).await.unwrap();
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    stage.chaperone(&operator, &["revoke", &window]).unwrap().success().unwrap();
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(status.success() && log.contains("the recording cannot be written"), "{status} {log}");

    // With room again, what is there is recovered; what ran is exactly what was recorded.
    stage.restart().await.unwrap();
    let statuses = statuses(&stage);
    assert_eq!(statuses.iter().filter(|one| **one == Status::Intact(Ending::Interrupted)).count(), 1);
    assert_eq!(statuses.iter().filter(|one| **one == Status::Intact(Ending::Sealed)).count(), 1);
    let ran = marks(&stage.real("select item from orders where item like 'mark-%'").unwrap());
    assert!(ran.len() > 10, "the disk was full before anything ran");
    assert_eq!(marks(&stage.postgres.log()), ran);
    assert_eq!(recorded_marks(&stage), ran);
    stage.stop().await;
}

/// What is left of a recording's room before a request, in bytes: enough for the request, too little for its answer.
const ROOM: usize = 3000;

/// What the longest statement that fills a recording has, in bytes.
const FILLING: usize = 60_000;

/// The open recording: how long it is when `count` results are in it.
async fn settled(stage: &Stage, count: usize) -> usize {
    let open = |one: &Recorded| one.path.extension().is_some_and(|extension| extension == "open");
    let all_there = |stage: &Stage| {
        let there = |one: &Recorded| open(one) && one.of(EventKind::Result).len() == count;
        Ok(stage.recorded()?.iter().any(there))
    };
    stage.until("the results in the recording", all_there).await.unwrap();
    let newest = stage.recorded().unwrap().into_iter().find(open).unwrap();
    // The file's own length has room in it that is reserved.
    usize::try_from(chaperone::recorder::verify(&newest.path).unwrap().bytes).unwrap()
}

/// Fills the recording of a new session until there is [`ROOM`] left. Statements are always recorded whole.
async fn fill(stage: &Stage, wire: &mut Wire) {
    let full = usize::try_from(FULL_AT_BLOCKS * 512).unwrap() - ROOM;
    let mut count = 0;
    let mut length = 0;
    // What a statement takes beside its text, when nothing else waits to be written.
    let mut beside = 0;
    while length + 1000 < full {
        let text = match count {
            0 | 1 => 1000,
            _ if full - length > 2 * FILLING => FILLING,
            _ => full - length - beside,
        };
        let sql = format!("select 1 --{}", "f".repeat(text - "select 1 --".len()));
        assert_eq!(shape(&wire.query(&sql).await.unwrap()), "T D C ZI");
        count += 1;
        let before = length;
        // The long ones need not be waited for one by one.
        length = match text {
            FILLING => length + FILLING,
            _ => settled(stage, count).await,
        };
        if count == 2 {
            beside = length - before - text;
        }
        if text == FILLING && full - length <= 2 * FILLING {
            length = settled(stage, count).await;
        }
    }
    assert!(full.abs_diff(length) < 100, "there are {length} bytes and not {full}");
}

/// Everything up to the end of the connection, without another request.
async fn last_words(wire: &mut Wire) -> Vec<Message> {
    let mut said = Vec::new();
    while let Some(message) = wire.next().await.unwrap() {
        said.push(message);
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_recorded_is_not_shown() {
    let mut stage = Stage::start(logs_statements()).await.unwrap();
    let token = stage.agent_with_window().unwrap();
    // Over what may wait to be written with the next request, and under it.
    stage
        .real("update customers set name = repeat('L', 20000) where id = 1; update customers set name = repeat('S', 5000) where id = 2")
        .unwrap();
    let serving = stage.serve_by(on_a_small_disk()).await.unwrap();

    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    fill(&stage, &mut wire).await;
    let from = wire.seen.len();
    wire.send(Out::new().query("select ssn, name from customers where id = 1 /* mark-1-1 */")).await.unwrap();
    let said = last_words(&mut wire).await;
    // The target has answered, and that is as far as it got.
    assert!(stage.postgres.log().contains("mark-1-1"), "it did not run: {}", shape(&said));
    assert!(rows(&said).is_empty() && shape(&said).ends_with("E:58000"), "{}", shape(&said));
    assert!(errors(&said).contains("the session's recording cannot be written"), "{}", errors(&said));
    let seen = String::from_utf8_lossy(&wire.seen[from..]);
    assert!(!seen.contains("LL") && !seen.contains("[redacted]"), "a part of the row was shown");

    // A short answer may be shown before it is written. That it cannot be, is seen at once and not at the next request.
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    fill(&stage, &mut wire).await;
    wire.send(Out::new().query("select name from customers where id = 2 /* mark-2-2 */")).await.unwrap();
    let said = last_words(&mut wire).await;
    assert!(shape(&said).ends_with("E:58000"), "{}", shape(&said));

    // The gateway goes on.
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    serving.signal("TERM").unwrap();
    let (status, log) = serving.ended().unwrap();
    assert!(
        status.success() && log.matches("the recording cannot be written").count() == 2,
        "{status} {log}"
    );

    // With room again, what was recorded before is there and verifies: the requests, and not their answers.
    stage.restart().await.unwrap();
    let mut statuses = statuses(&stage);
    statuses.sort_by_key(|status| *status == Status::Intact(Ending::Sealed));
    let interrupted = Status::Intact(Ending::Interrupted);
    assert_eq!(statuses, [interrupted.clone(), interrupted, Status::Intact(Ending::Sealed)]);
    assert_eq!(recorded_marks(&stage).into_iter().collect::<Vec<_>>(), ["mark-1-1", "mark-2-2"]);
    for recorded in stage.recorded().unwrap() {
        let rows = recorded.of(EventKind::Rows).join("");
        assert!(
            !rows.contains("LL") && !rows.contains("SS"),
            "half an answer is in {}",
            recorded.path.display()
        );
    }
    stage.stop().await;
}
