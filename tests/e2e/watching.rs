//! `approvals watch`: what waits is shown as it is asked and as it ends, to people and to programs.

use chaperone_core::identity::CallerKind;
use chaperone_tests::stage::{ASKERS, Setting, Stage, first_id};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A command that goes on, and its lines.
struct Watching(Child, Receiver<String>);

impl Watching {
    fn start(stage: &Stage, token: &str, more: &[&str]) -> Self {
        let arguments = [&["approvals", "watch"], more].concat();
        let mut command = stage.command(token, &arguments).unwrap();
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (lines, told) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        Watching(child, told)
    }

    /// The next line. A busy machine may take its time.
    fn line(&self) -> String {
        self.1.recv_timeout(Duration::from_secs(60)).expect("nothing was shown")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_sees_what_is_asked_and_how_it_ends() {
    let stage = Stage::start(Setting::default()).await.unwrap();
    let operator = stage.approver().unwrap();
    let (people, programs) =
        (Watching::start(&stage, &operator, &[]), Watching::start(&stage, &operator, &["--json"]));
    assert_eq!(people.line(), "Watching what waits for you; Ctrl-C ends it.");
    let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    assert_eq!(event(&programs.line())["event"], "ready");

    let asker = stage.token(CallerKind::Agent, ASKERS, 2).unwrap();
    let asked = stage.chaperone(&asker, &["request", "shop", "--reason", "why\u{202e} not", "--json"]);
    let refused = asked.unwrap();
    assert!(refused.stderr.is_empty() && refused.stdout.contains("reason-invalid"), "{}", refused.stdout);
    let asked = stage.chaperone(&asker, &["request", "shop", "--reason", "a report", "--json"]).unwrap();
    let id = first_id(&asked.success().unwrap(), "req_").unwrap();
    let (first, second) = (people.line(), people.line());
    assert!(first.starts_with(&id) && first.contains("on shop") && first.ends_with("a report"), "{first}");
    assert!(second.contains(&format!("chaperone approve {id}")), "{second}");
    let told = event(&programs.line());
    assert_eq!((&told["event"], &told["data"]["id"]), (&"asked".into(), &id.clone().into()));

    stage.chaperone(&operator, &["approve", &id]).unwrap().success().unwrap();
    assert_eq!(people.line(), format!("{id}  approved"));
    let told = event(&programs.line());
    assert_eq!((&told["event"], &told["data"]["window"]["state"]), (&"settled".into(), &"open".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_watch_is_told_so_and_does_not_wait() {
    let stage = Stage::start(Setting::default()).await.unwrap();
    let refused = stage.chaperone("no.token.atall", &["approvals", "watch"]).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    let mut command = stage.command("no.token.atall", &["approvals", "watch"]).unwrap();
    command.env("CHAPERONE_GATEWAY", "https://127.0.0.1:1");
    let unreachable = command.output().unwrap();
    assert_eq!(unreachable.status.code(), Some(3), "{}", String::from_utf8_lossy(&unreachable.stderr));
}
