//! Somebody who uses the command line for the first time: what it says to each mistake, and that it says what to do.

use chaperone::demo::issuer::{GroupsClaim, TokenSpec};
use chaperone_core::Timestamp;
use chaperone_core::identity::CallerKind;
use chaperone_tests::process::{Ran, run};
use chaperone_tests::stage::{ASKERS, AUDIENCE, DBAS, Setting, Stage, first_id, object_id};

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

/// What was typed and what came of it, without what differs from run to run.
fn told(stage: &Stage, arguments: &[&str], ran: &Ran) -> String {
    let quoted = |word: &&str| match word {
        word if word.len() > 100 => format!("'{}…'", &word[..5]),
        word if word.contains(' ') || word.is_empty() => format!("'{word}'"),
        word => (*word).to_owned(),
    };
    let line = arguments.iter().map(quoted).collect::<Vec<_>>().join(" ");
    let code = ran.status.code().unwrap();
    let mut text = format!("$ chaperone {line}\n{}{}({code})\n\n", ran.stdout, ran.stderr);
    for (varies, instead) in [
        (stage.api.to_string(), "API"),
        (stage.address.to_string(), "POSTGRES"),
        (stage.folder.path().display().to_string(), "FOLDER"),
    ] {
        text = text.replace(&varies, instead);
    }
    for prefix in ["req_", "win_"] {
        // Those that do not exist are written with zeros, and stay.
        while let Some(id) = ids(&text, prefix).into_iter().find(|id| !id.contains("00000000")) {
            text = text.replace(&id, &format!("{prefix}…"));
        }
    }
    text
}

fn ids(text: &str, prefix: &str) -> Vec<String> {
    let starts = text.match_indices(prefix).map(|(at, _)| at);
    starts.filter_map(|at| first_id(&text[at..], prefix)).filter(|id| id.len() > 30).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_told_what_to_do() {
    let mut stage = with_tickets().await;
    let (agent, approver) = (stage.agent().unwrap(), stage.approver().unwrap());
    let asker = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let both = GroupsClaim::Listed(vec![ASKERS.to_owned(), DBAS.to_owned()]);
    let spec = TokenSpec::new(CallerKind::Human, &object_id(3), AUDIENCE, Timestamp::now()).groups(both);
    let own = stage.issuer.token(&spec).unwrap();
    let ask = |token: &str| {
        let asked =
            stage.chaperone(token, &["request", "shop", "--reason", "why", "--ticket", "INC-7"]).unwrap();
        first_id(&asked.success().unwrap(), "req_").unwrap()
    };
    let (of_agent, of_person) = (ask(&asker), ask(&own));
    let window = stage.open_window(&agent, None).unwrap();
    stage.chaperone(&agent, &["revoke", &window]).unwrap().success().unwrap();
    let key = ["request", "shop", "--ticket", "INC-8", "--idempotency-key", "k1", "--reason"];
    stage.chaperone(&asker, &[&key[..], &["first"]].concat()).unwrap().success().unwrap();
    let long = "x".repeat(501);
    let (nothing, no_window) =
        ("req_00000000000000000000000000000001", "win_00000000000000000000000000000001");
    let postgres = format!("https://{}", stage.address);
    let plain = format!("http://{}", stage.api);

    let mut all = String::new();
    let told_of: [(&str, &[&str]); 46] = [
        (&agent, &["request", "nowhere", "--reason", "why"]),
        (&agent, &["request", "shop"]),
        (&agent, &["request", "shop", "--reason", ""]),
        (&agent, &["request", "shop", "--reason", "why", "--duration", "1h"]),
        (&agent, &["request", "shop", "--reason", "why", "--duration", "15"]),
        (&agent, &["request", "shop", "--reason", "why", "--idempotency-key", "job 7"]),
        (&asker, &["request", "shop", "--reason", "for INC-7"]),
        (&asker, &["request", "shop", "--reason", "why", "--ticket", " "]),
        (&asker, &[&key[..], &["second"]].concat()),
        (&asker, &["approve", &of_agent]),
        (&own, &["approve", &of_person]),
        (&approver, &["approve", nothing]),
        (&approver, &["approve", no_window]),
        (&approver, &["approve", "nonsense"]),
        (&approver, &["approve", "../windows"]),
        (&approver, &["reject", &of_agent, "--comment", &long]),
        (&approver, &["reject", &of_agent]),
        (&approver, &["approve", &of_agent]),
        (&agent, &["revoke", no_window]),
        (&agent, &["revoke", &window]),
        (&agent, &["revoke", &window, "--reason", &long]),
        (&agent, &["revoke", "hold_1"]),
        (&agent, &["renew", "ses_1"]),
        (&agent, &["reload"]),
        (&agent, &["denials"]),
        (&approver, &["deny"]),
        (&approver, &["deny", "person", "t/x", "--reason", "why"]),
        (&approver, &["deny", "object", "nobody", "--reason", "why"]),
        (&approver, &["deny", "object", "t/x", "--reason", " "]),
        (&approver, &["deny", "object", "t/x", "--reason", "why", "--duration", "3"]),
        (&approver, &["deny", "object", "t t/x", "--reason", "why"]),
        (&agent, &["deny", "object", "t/x", "--reason", "why"]),
        (&agent, &["lift", "deny_00000000000000000000000000000001"]),
        (&approver, &["preserve", "--reason", "case 7"]),
        (&approver, &["preserve", "--target", "shop", "--principal", "corp/t/o", "--reason", "case 7"]),
        (&approver, &["preserve", "--target", "shop", "--reason", " "]),
        (&approver, &["preserve", "ses_00000000000000000000000000000001", "--reason", "case 7"]),
        (&agent, &["preserve", "--target", "shop", "--reason", "case 7"]),
        (&agent, &["preservations"]),
        (&approver, &["release", &window]),
        (&approver, &["release", "keep_00000000000000000000000000000001"]),
        ("nonsense", &["windows"]),
        (&agent, &["windows", "--token-file", "/nowhere/token"]),
        (&agent, &["windows", "--gateway", "https://127.0.0.1:1"]),
        (&agent, &["windows", "--gateway", &postgres]),
        (&agent, &["windows", "--gateway", &plain]),
    ];
    for (token, arguments) in told_of {
        let ran = stage.chaperone(token, arguments).unwrap();
        all.push_str(&told(&stage, arguments, &ran));
    }
    // A machine on which nobody has signed in, and one that does not know the gateway's authority.
    for variable in ["CHAPERONE_TOKEN", "CHAPERONE_CA"] {
        let mut command = stage.command(&agent, &["windows"]).unwrap();
        command.env_remove(variable).env("HOME", stage.folder.path()).env_remove("XDG_CONFIG_HOME");
        let ran = run(&mut command, "").unwrap();
        all.push_str(&told(&stage, &["windows", "(without", &format!("{variable})")], &ran));
    }
    stage.stop().await;
    let down = stage.chaperone(&agent, &["request", "shop", "--reason", "why"]).unwrap();
    all.push_str(&told(&stage, &["request", "shop", "--reason", "why", "(the gateway is down)"], &down));
    insta::assert_snapshot!(all);
}
