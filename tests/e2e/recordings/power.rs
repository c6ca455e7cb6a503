//! Durable recordings on a disk that loses its power, or does not answer.

use super::{LOAD, logs_statements, marks, recorded_marks, script, statuses};
use chaperone::recorder::{Ending, Status};
use chaperone_tests::disk::Disk;
use chaperone_tests::raw::{Out, Wire, errors, rows, shape};
use chaperone_tests::stage::{Setting, Stage};

/// A gateway whose recordings are on a disk of their own.
async fn on_a_disk_of_its_own() -> Option<(Stage, Disk)> {
    let recording = "{ directory: recordings, durable: yes }".into();
    let (mut stage, _) = Stage::prepare(Setting { recording, ..logs_statements() }).await.unwrap();
    let disk = Disk::mount(&stage.recordings(), 64).unwrap()?;
    stage.restart().await.unwrap();
    Some((stage, disk))
}

#[tokio::test(flavor = "multi_thread")]
async fn power_loss_takes_nothing_that_the_target_has_seen() {
    let Some((mut stage, disk)) = on_a_disk_of_its_own().await else { return };
    let token = stage.agent_with_window().unwrap();
    let serving = stage.serve().await.unwrap();
    let load = tokio::spawn(script(stage.driver_environment(&token), LOAD));
    let busy = |stage: &Stage| {
        let count = stage.real("select count(*) from orders where item like 'mark-%'")?;
        Ok(count.trim().parse::<u32>()? > 300)
    };
    stage.until("a load", busy).await.unwrap();
    disk.cut_power().unwrap();
    // Nothing runs any more.
    assert_eq!(load.await.unwrap().unwrap().trim(), "gone");
    serving.signal("KILL").unwrap();
    let (_, log) = serving.ended().unwrap();
    assert!(log.contains("the recording cannot be written"), "{log}");
    disk.unmount().unwrap();
    disk.mount_again().unwrap();

    stage.restart().await.unwrap();
    assert_eq!(statuses(&stage), vec![Status::Intact(Ending::Interrupted); 4]);
    let (server, recorded) = (marks(&stage.postgres.log()), recorded_marks(&stage));
    assert!(server.len() > 300, "only {} statements reached the server", server.len());
    let lost: Vec<&String> = server.difference(&recorded).collect();
    assert!(lost.is_empty(), "{lost:?} reached the server, and their recording was lost");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_does_not_answer_nothing_runs_and_sessions_end_when_they_have_to() {
    let Some((mut stage, disk)) = on_a_disk_of_its_own().await else { return };
    let token = stage.agent().unwrap();
    let window = stage.open_window(&token, None).unwrap();
    let mut wire = Wire::connect(&stage, &token).await.unwrap();
    assert_eq!(rows(&wire.query("select 7").await.unwrap()), ["7"]);
    disk.freeze().unwrap();
    wire.send(
        Out::new()
            .query("insert into orders (customer_id, item, total, status) values (1, 'mark-1-1', 1, 'open')"),
    )
    .await
    .unwrap();
    // A newcomer waits on the same thread, and keeps nobody either.
    let psql = stage.psql(&token).unwrap();
    let newcomer = tokio::task::spawn_blocking(move || psql.run("select 8"));
    // Operators get in, and what they end ends: the session waits for its disk, and is told.
    let operator = stage.approver().unwrap();
    stage.chaperone(&operator, &["revoke", &window]).unwrap().success().unwrap();
    let mut said = Vec::new();
    while let Some(message) = wire.next().await.unwrap() {
        said.push(message);
    }
    assert_eq!(shape(&said), "E:57P01", "{}", errors(&said));
    assert_eq!(marks(&stage.postgres.log()).len(), 0, "it ran before it was recorded");
    disk.thaw().unwrap();
    // Its window has been taken away meanwhile.
    let newcomer = newcomer.await.unwrap().unwrap();
    assert!(newcomer.stderr.contains("FATAL"), "{newcomer:?}");
    stage.open_window(&token, None).unwrap();
    assert_eq!(stage.psql(&token).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    stage.stop().await;
    assert!(statuses(&stage).iter().all(|status| *status == Status::Intact(Ending::Sealed)));
    assert_eq!(marks(&stage.postgres.log()).len(), 0);
}
