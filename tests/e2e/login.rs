//! `chaperone login`: the device flow against the local issuer, and what is kept of it.

use chaperone::demo::issuer::{Account, GroupsClaim};
use chaperone_core::identity::CallerKind;
use chaperone_tests::process::{Ran, run};
use chaperone_tests::stage::{ASKERS, DBAS, Setting, SignIn, Stage, TENANT, first_id, object_id};
use chaperone_tests::tools;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

async fn stage() -> Stage {
    let stage = Stage::start(Setting { sign_in: SignIn::Here, ..Setting::default() }).await.unwrap();
    stage.issuer.admit(Account {
        name: "Carol".into(),
        object_id: object_id(9),
        groups: GroupsClaim::Listed(vec![DBAS.into()]),
        kind: CallerKind::Human,
    });
    stage
}

/// The command line of somebody who has named no token.
fn command(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = Command::new(tools::chaperone().unwrap());
    command
        .args(arguments)
        .env_remove("CHAPERONE_TOKEN")
        .env("XDG_CONFIG_HOME", stage.path("config"))
        .env("CHAPERONE_GATEWAY", format!("https://{}", stage.api))
        .env("CHAPERONE_CA", stage.path("gateway.pem"))
        .env("NO_COLOR", "1");
    command
}

fn chaperone(stage: &Stage, arguments: &[&str]) -> Ran {
    run(&mut command(stage, arguments), "").unwrap()
}

fn kept(stage: &Stage) -> PathBuf {
    stage.path("config").join(format!("chaperone/logins/127.0.0.1_{}.json", stage.api.port()))
}

fn read(stage: &Stage) -> Value {
    serde_json::from_slice(&std::fs::read(kept(stage)).unwrap()).unwrap()
}

/// Signs Carol in; what the command printed.
async fn login(stage: &Stage) -> String {
    let (status, said) = try_login(stage).await;
    assert!(status.success(), "{said}");
    said
}

async fn try_login(stage: &Stage) -> (ExitStatus, String) {
    let mut command = command(stage, &["login"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    let page = tokio::task::block_in_place(|| {
        loop {
            let line = lines.next().unwrap().unwrap();
            said.push_str(&format!("{line}\n"));
            if let Some(page) = line.strip_prefix("Or open ") {
                break page.trim_end_matches('.').to_owned();
            }
        }
    });
    stage.issuer_page(&format!("{page}&as={}", object_id(9))).await.unwrap();
    tokio::task::block_in_place(|| {
        lines.map_while(Result::ok).for_each(|line| said.push_str(&format!("{line}\n")));
        (child.wait().unwrap(), said)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_on_the_command_line_and_the_token_is_renewed() {
    let mut stage = stage().await;
    let without = chaperone(&stage, &["approvals"]);
    assert!(without.stderr.contains("sign in with `chaperone login`"), "{}", without.stderr);
    // Nearly over from the start, so that the next command renews it.
    stage.issuer.set_lifetime(Duration::from_secs(90));
    let said = login(&stage).await;
    assert!(said.contains("and enter the code") && said.contains("it is renewed by itself"), "{said}");
    assert_eq!(std::fs::metadata(kept(&stage)).unwrap().permissions().mode() & 0o777, 0o600);
    let first = read(&stage);
    stage.issuer.set_lifetime(Duration::from_secs(3600));

    let agent = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let asked = stage.chaperone(&agent, &["request", "shop", "--reason", "x", "--json"]).unwrap();
    let asked = first_id(&asked.success().unwrap(), "req_").unwrap();
    let listed = chaperone(&stage, &["approvals", "--json"]).success().unwrap();
    assert!(listed.contains(&asked), "{listed}");
    let second = read(&stage);
    assert_ne!(first["access_token"], second["access_token"]);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    chaperone(&stage, &["approve", &asked]).success().unwrap();
    assert_eq!(read(&stage), second, "it is not renewed before its time");
    // It is an approver's: it opens nothing.
    let opened = chaperone(&stage, &["request", "shop", "--reason", "x"]);
    assert!(opened.stderr.contains("This token is for approving"), "{}", opened.stderr);

    let out = chaperone(&stage, &["logout"]).success().unwrap();
    assert!(out.contains("is forgotten"), "{out}");
    assert!(!kept(&stage).exists());
    assert!(chaperone(&stage, &["logout"]).success().unwrap().contains("You were not signed in"));
    let without = chaperone(&stage, &["approvals"]);
    assert!(without.stderr.contains("there is no token"), "{}", without.stderr);

    // What the gateway does not take is not kept.
    let carol = format!("{TENANT}/{}", object_id(9));
    let operator = stage.person(8).unwrap();
    stage.chaperone(&operator, &["deny", "object", &carol, "--reason", "gone"]).unwrap().success().unwrap();
    let (status, said) = try_login(&stage).await;
    assert_eq!((status.code(), kept(&stage).exists()), (Some(1), false), "{said}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_token_is_for_its_gateway_and_its_owner_alone() {
    let mut stage = stage().await;
    login(&stage).await;
    chaperone(&stage, &["approvals"]).success().unwrap();
    // The same gateway by another name is another to whoever holds a token.
    let mut other = command(&stage, &["approvals"]);
    other.env("CHAPERONE_GATEWAY", format!("https://localhost:{}", stage.api.port()));
    let other = run(&mut other, "").unwrap();
    assert!(other.stderr.contains("there is no token"), "{}", other.stderr);
    // Nor if its file has the right name.
    let place = kept(&stage);
    let renamed = place.with_file_name(format!("localhost_{}.json", stage.api.port()));
    std::fs::copy(&place, &renamed).unwrap();
    let mut other = command(&stage, &["approvals"]);
    other.env("CHAPERONE_GATEWAY", format!("https://localhost:{}", stage.api.port()));
    let other = run(&mut other, "").unwrap();
    assert!(other.stderr.contains("there is no token"), "{}", other.stderr);
    // A token that is named counts, and not the one that is kept.
    let mut named = command(&stage, &["approvals"]);
    named.env("CHAPERONE_TOKEN", "nonsense");
    let named = run(&mut named, "").unwrap();
    assert!(named.stderr.contains("not a token"), "{}", named.stderr);
    for mode in [0o640, 0o604, 0o620, 0o644] {
        std::fs::set_permissions(&place, PermissionsExt::from_mode(mode)).unwrap();
        let open = chaperone(&stage, &["approvals"]);
        assert!(open.stderr.contains("others than you can read or change it"), "{mode:o}: {}", open.stderr);
        assert_eq!(open.status.code(), Some(2));
    }
    std::fs::set_permissions(&place, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&place, "{}").unwrap();
    let damaged = chaperone(&stage, &["approvals"]);
    assert!(damaged.stderr.contains("it is not what was written"), "{}", damaged.stderr);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_to_sign_in_is_told_only_where_it_is_configured() {
    let mut stage = Stage::start(Setting::default()).await.unwrap();
    let refused = chaperone(&stage, &["login"]);
    assert!(refused.stderr.contains("does not say where to sign in"), "{}", refused.stderr);
    assert!(!kept(&stage).exists());
    stage.stop().await;
}
