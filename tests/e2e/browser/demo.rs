//! The console of `chaperone demo`: what a newcomer opens first.

use chaperone_tests::browser::Browser;
use chaperone_tests::process::run;
use chaperone_tests::tools;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What the demo prints for a newcomer to paste.
struct Printed {
    child: std::process::Child,
    lines: Vec<String>,
}

impl Drop for Printed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Printed {
    fn start() -> Self {
        let mut demo = Command::new(tools::chaperone().unwrap());
        demo.args(["demo", "--postgres-bin"]).arg(tools::postgres_bin().unwrap());
        demo.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = demo.spawn().unwrap();
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap().starts_with("Ctrl-C") {
                break;
            }
        }
        Self { child, lines }
    }

    /// The first line that has a word, without what is around it.
    fn with(&self, word: &str) -> &str {
        self.lines
            .iter()
            .find(|line| line.contains(word))
            .unwrap_or_else(|| panic!("{word}: {:?}", self.lines))
            .trim()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn carol_signs_in_at_the_demos_console_and_approves_what_bob_asks_for() {
    let Some(tools) = tools::browser() else { return };
    let demo = tokio::task::spawn_blocking(Printed::start).await.unwrap();
    let folder = demo.with("cd /").trim_start_matches("cd ").to_owned();
    let console = demo.with("/console").to_owned();
    let bob = std::fs::read_to_string(format!("{folder}/bob.token")).unwrap();
    let mut ask = Command::new(tools::chaperone().unwrap());
    ask.args(["request", "shop", "--reason", "the weekly report"]).env("CHAPERONE_TOKEN", bob);
    ask.env("CHAPERONE_GATEWAY", console.trim_end_matches("/console"));
    ask.env("CHAPERONE_CA", format!("{folder}/gateway.pem"));
    run(&mut ask, "").unwrap();

    let browser = Browser::start(&tools).await.unwrap();
    browser.open(&console).await.unwrap();
    browser.until("Sign in as").await.unwrap();
    browser.follow("Carol").await.unwrap();
    browser.until("Sign out").await.unwrap();
    browser.open(&format!("{console}/approvals")).await.unwrap();
    browser.until("the weekly report").await.unwrap();
    browser.click("a[href*='/approvals/req_']").await.unwrap();
    browser.click("button.approve").await.unwrap();
    browser.until("Approved.").await.unwrap();
}
