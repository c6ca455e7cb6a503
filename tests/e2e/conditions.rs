//! Grants with hours and with networks, with a psql that is in when they end.

use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::process::Ran;
use chaperone_tests::stage::{ASKERS, Serving, Setting, Stage, TENANT, first_id, object_id};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The grants of agents and of askers, up to where conditions go.
const GRANT: &str = "to: \"group:agents\", ";
const APPROVED: &str = "to: \"group:askers\", ";

const NOT_NOW: &str = "access to this target is granted to you, but not now or not from here";

/// A time zone whose clocks show noon at this moment, as the whole of a database (RFC 9636: version 2, one type of local time,
/// no transitions). Hours are told in minutes; with offsets in seconds they end whenever a test wants, far from midnight.
fn zone_with_noon_at(folder: &Path, noon: Timestamp) {
    let offset = 12 * 3600 - i32::try_from(noon.as_second().rem_euclid(24 * 3600)).unwrap();
    let (sign, seconds) = (if offset > 0 { "-" } else { "" }, offset.abs());
    let mut file = Vec::new();
    for _ in ["with 32 bits", "with 64 bits"] {
        file.extend(b"TZif2");
        file.extend([0; 15]);
        // Indicators of universal and of standard time, leap seconds, transitions, types, bytes of their names.
        file.extend([0_u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat());
        file.extend(offset.to_be_bytes());
        file.extend(b"\0\0LMT\0");
    }
    // POSIX counts to the west.
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    file.extend(format!("\nLMT{sign}{hours:02}:{minutes:02}:{:02}\n", seconds % 60).bytes());
    std::fs::create_dir_all(folder.join("Test")).unwrap();
    std::fs::write(folder.join("Test/Noon"), file).unwrap();
}

/// A gateway process whose grant to agents has hours that are over at this moment.
async fn until(stage: &mut Stage, noon: Timestamp) -> Serving {
    zone_with_noon_at(&stage.path("zoneinfo"), noon);
    let mut command = Command::new(chaperone_tests::tools::chaperone().unwrap());
    command.env("TZDIR", stage.path("zoneinfo"));
    stage.serve_by(command).await.unwrap()
}

/// psql in a session that goes on until it is cut. It is in if it has shown a 7.
async fn stays(stage: &Stage, token: &str) -> Ran {
    let psql = stage.psql(token).unwrap();
    tokio::task::spawn_blocking(move || psql.run("select 7;\nselect pg_sleep(600);\n"))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_is_cut_when_the_hours_of_its_grant_are_over_and_gets_in_no_more() {
    let (mut stage, _) = Stage::prepare(Setting::default()).await.unwrap();
    let hours = "hours: { from: \"06:00\", to: \"12:00\", zone: Test/Noon }, ";
    for grant in [GRANT, APPROVED] {
        stage.edit(grant, &format!("{grant}{hours}")).unwrap();
    }
    let (agent, asker) = (stage.agent().unwrap(), stage.token(CallerKind::Agent, ASKERS, 2).unwrap());
    let (operator, request) = (stage.approver().unwrap(), ["request", "shop", "--reason", "x"]);
    let is_refused = |stage: &Stage, token: &str| {
        let when = "It is granted: mon-sun 06:00-12:00 Test/Noon.";
        let again = stage.psql(token).unwrap().run("select 7").unwrap();
        assert!(again.stderr.contains(NOT_NOW) && again.stderr.contains(when), "{}", again.stderr);
        let asked = stage.chaperone(token, &request).unwrap();
        assert!(asked.stderr.to_lowercase().contains(NOT_NOW), "{}", asked.stderr);
        assert!(asked.stderr.contains(when) && asked.stdout.is_empty(), "{}", asked.stderr);
        let why = stage.chaperone(token, &["explain", "--target", "shop", "--live"]).unwrap();
        assert_eq!(why.status.code(), Some(1), "{}", why.stderr);
        let hours = "it is not in its hours, mon-sun 06:00-12:00 Test/Noon";
        assert!(why.stdout.contains(hours), "{}", why.stdout);
    };
    // A machine that does other things may be too late for the first; then it has more time.
    for seconds in [8, 40] {
        let noon = Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap();
        let serving = until(&mut stage, noon).await;
        // A window that the policy opens closes with the hours, and so does one that people have approved.
        let opened = stage.chaperone(&agent, &request).unwrap().stdout;
        let asked = stage.chaperone(&asker, &request).unwrap().stdout;
        // What is asked for now, to the second as long as the hours, would outlast them by then.
        let later = Timestamp::now() + Duration::from_secs(1);
        stage.until("a second", |_| Ok(Timestamp::now() >= later)).await.unwrap();
        let approved =
            first_id(&asked, "req_").map(|id| stage.chaperone(&operator, &["approve", &id]).unwrap());
        let (by_policy, by_people) = tokio::join!(stays(&stage, &agent), stays(&stage, &asker));
        if [&by_policy, &by_people].iter().any(|cut| cut.stdout != "7\n") && seconds < 40 {
            continue;
        }
        assert!(
            opened.contains("win_") && approved.is_some_and(|ran| ran.status.success()),
            "{opened} {asked}"
        );
        let parts = ["when your window on shop closes", "FATAL:  your window on this target closed"];
        for (number, cut) in [(1, &by_policy), (2, &by_people)] {
            assert_eq!(cut.stdout, "7\n", "{}", cut.stderr);
            assert!(parts.iter().all(|part| cut.stderr.contains(part)), "{parts:?}: {}", cut.stderr);
            let is_sealed = |stage: &Stage| Ok(!stage.recorded_of(number)?[0].end().is_empty());
            stage.until("the recording's end", is_sealed).await.unwrap();
            let end: Value = serde_json::from_str(&stage.recorded_of(number).unwrap()[0].end()).unwrap();
            assert_eq!(end["reason"], "window-closed", "{end}");
            let ended: Timestamp = end["ended"].as_str().unwrap().parse().unwrap();
            // A window is a whole number of seconds long: what is left of the hours in whole seconds.
            let late = ended.duration_since(noon).as_secs_f64();
            assert!((-1.0..20.0).contains(&late), "{late} s after the hours were over");
        }
        is_refused(&stage, &agent);
        is_refused(&stage, &asker);
        serving.signal("TERM").unwrap();
        assert!(serving.ended().unwrap().0.success());
        return;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_gets_in_from_the_networks_of_its_grant_and_explain_says_which() {
    let (mut stage, _) = Stage::prepare(Setting::default()).await.unwrap();
    let (elsewhere, here) = ("networks: [10.0.0.0/8, \"2001:db8::/32\"], ", "networks: 127.0.0.0/8, ");
    stage.edit(GRANT, &format!("{GRANT}{elsewhere}")).unwrap();
    let serving = stage.serve().await.unwrap();
    let (agent, operator) = (stage.agent().unwrap(), stage.approver().unwrap());
    let reload = || stage.chaperone(&operator, &["reload"]).unwrap().success().unwrap();
    let who = format!("test/{TENANT}/{}", object_id(1));
    let explain = |token: &str, more: &[&str]| {
        let said = stage.chaperone(token, &[&["explain", "--target", "shop"], more].concat()).unwrap();
        (said.status.code(), said.stdout)
    };
    let from = |address| {
        let (by_gateway, by_file) = (
            explain(&operator, &["--who", &who, "--group", "agents", "--from", address, "--live"]),
            explain("", &["--who", &who, "--group", "agents", "--from", address]),
        );
        assert_eq!(by_gateway, by_file);
        by_file
    };
    let is_refused = || {
        let when = "It is granted: from 10.0.0.0/8, 2001:db8::/32.";
        let refused = stage.psql(&agent).unwrap().run("select 7").unwrap();
        assert!(refused.stderr.contains(NOT_NOW) && refused.stderr.contains(when), "{}", refused.stderr);
        let asked = stage.chaperone(&agent, &["request", "shop", "--reason", "x"]).unwrap();
        assert!(asked.stderr.to_lowercase().contains(NOT_NOW), "{}", asked.stderr);
        assert!(asked.stderr.contains(when) && !asked.stdout.contains("win_"), "{}", asked.stderr);
        let (code, why) = explain(&agent, &["--live"]);
        assert!(why.contains("127.0.0.1 is not in its networks"), "{why}");
        assert_eq!(code, Some(1));
    };
    is_refused();
    let (code, why) = from("127.0.0.1");
    assert!(code == Some(1) && why.contains("127.0.0.1 is not in its networks"), "{why}");
    assert!(why.contains("but not now or not from there"), "{why}");
    for address in ["10.1.2.3", "2001:db8::1"] {
        let (code, why) = from(address);
        assert!(code == Some(0) && why.contains("it means them"), "{why}");
    }

    stage.edit(elsewhere, here).unwrap();
    reload();
    let (code, why) = explain(&agent, &["--live"]);
    assert!(code == Some(0) && why.contains("it means them"), "{why}");
    stage.open_window(&agent, None).unwrap();
    assert_eq!(stage.psql(&agent).unwrap().run("select 7").unwrap().success().unwrap(), "7\n");

    // Its network is taken away while it is in, and then its window is of no use either.
    let (cut, ()) = tokio::join!(stays(&stage, &agent), async {
        stage.until("a session", |stage| Ok(stage.backends("psql")? == 1)).await.unwrap();
        stage.edit(here, elsewhere).unwrap();
        reload();
    });
    let said = "FATAL:  the policy that let you onto this target was changed";
    assert!(cut.stderr.contains(said), "{} {}", cut.stdout, cut.stderr);
    is_refused();
    serving.signal("TERM").unwrap();
    assert!(serving.ended().unwrap().0.success());
}
