//! Somebody who uses the command line for the first time.

use chaperone_core::identity::CallerKind;
use chaperone_tests::stage::{ASKERS, Setting, Stage, first_id};

/// A gateway where approvers are asked, and have to see a ticket.
async fn with_tickets() -> Stage {
    let (mut stage, file) = Stage::prepare(Setting::default()).await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("when: approved,").count(), 1);
    let text = text.replace("when: approved,", "when: approved, ticket: required,");
    std::fs::write(&file, text).unwrap();
    stage.restart().await.unwrap();
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_asked_for_named_and_shown() {
    let mut stage = with_tickets().await;
    let asker = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let approver = stage.approver().unwrap();
    let ask = ["request", "shop", "--reason", "mend an order", "--json"];
    let without = stage.chaperone(&asker, &ask).unwrap();
    assert!(
        !without.status.success() && without.stdout.contains("--ticket 'the ticket'"),
        "{}",
        without.stdout
    );
    assert!(!stage.chaperone(&approver, &["approvals"]).unwrap().success().unwrap().contains("req_"));

    let key = ["--ticket", "INC-4711", "--idempotency-key", "job-7"];
    let asked = stage.chaperone(&asker, &[&ask[..], &key].concat()).unwrap().success().unwrap();
    let id = first_id(&asked, "req_").unwrap();
    // A script that does not know whether it was heard.
    let again = stage.chaperone(&asker, &[&ask[..], &key].concat()).unwrap().success().unwrap();
    assert_eq!(first_id(&again, "req_").unwrap(), id);
    // As wide as the table wants: nothing is broken into lines.
    let listed = stage.command(&approver, &["approvals"]).unwrap().env("COLUMNS", "500").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap().replace("\n", " ");
    assert_eq!(listed.matches("req_").count(), 1, "{listed}");
    assert!(listed.contains("INC-4711"), "{listed}");
    let listed = stage.chaperone(&approver, &["approvals", "--json"]).unwrap().success().unwrap();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["approvals"][0]["matter"]["ticket"], "INC-4711");

    let approved = stage.chaperone(&approver, &["approve", &id, "--json"]).unwrap().success().unwrap();
    assert!(approved.contains("\"ticket\": \"INC-4711\""), "{approved}");
    assert_eq!(stage.psql(&asker).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");
    // The same key once more, with its window open, and when that is over: never another one.
    let open = stage.chaperone(&asker, &[&ask[..4], &key].concat()).unwrap().success().unwrap();
    let window = first_id(&open, "win_").unwrap();
    stage.chaperone(&asker, &["revoke", &window, "--reason", "done"]).unwrap().success().unwrap();
    let over = stage.chaperone(&asker, &[&ask[..4], &key].concat()).unwrap();
    assert!(over.stdout.contains(&format!("its window {window} is over")), "{}", over.stdout);
    assert_eq!(over.status.code(), Some(1));
    stage.stop().await;
}
