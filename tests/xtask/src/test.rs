//! `cargo xtask test`: what a change must pass, in one profile and one build.

use crate::setup::{self, TestTools, disks};
use crate::workspace::{Workspace, say, works};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What is built once and tested.
const TARGETS: [&str; 4] = ["--workspace", "--lib", "--bins", "--tests"];

pub(crate) fn run(workspace: &Workspace, mut arguments: Vec<String>) -> Result<ExitCode> {
    let count = arguments.len();
    arguments.retain(|argument| argument != "--quick");
    let quick = arguments.len() < count;

    let mut steps = Steps::default();
    let tools = steps.time("set-up", || setup::for_tests(workspace))?;
    if !quick {
        steps.run("format", workspace.cargo(["fmt", "--all", "--check"]));
        let mut clippy = workspace.cargo(["clippy", "--quiet", "--workspace", "--all-targets"]);
        clippy.args(["--", "--deny", "warnings"]);
        steps.run("clippy", clippy);
    }
    let mut build = workspace.cargo(["build", "--quiet"]);
    build.args(TARGETS);
    if steps.run("build", build) == Outcome::Passed {
        if arguments.is_empty() {
            steps.run("doc tests", workspace.cargo(["test", "--quiet", "--workspace", "--doc"]));
        }
        let scratch = steps.time("PostgreSQL", || Scratch::start(workspace, &tools))?;
        let mut tests = with_tools(tests(workspace, &arguments), workspace, &tools);
        tests.env("CHAPERONE_TEST_POSTGRES", &scratch.url);
        steps.run("tests", tests);
        drop(scratch);
        if arguments.is_empty() {
            steps.run("fuzz", fuzz(workspace));
        }
    }
    for (missing, what) in [
        (tools.postgres_with_tls.is_none(), "tests of a target with TLS: no PostgreSQL server here has it"),
        (
            tools.node_modules.is_none(),
            "the test of node-postgres, and axe-core's look at the console: see `node` above",
        ),
        (tools.azurite.is_none(), "recordings in Azure Blob Storage: see `azurite` above"),
        (tools.pgjdbc.is_none(), "the test of pgjdbc: see above"),
        (tools.browser.is_none(), "tests of the console in a browser: see `browser` above"),
        (tools.disks.is_none(), "tests of a disk that fails: nothing can be mounted here; they need root"),
        (tools.servers.is_none(), "PostgreSQL 13 to 17 as targets: see `servers` above"),
        (
            tools.regression.is_none(),
            "the comparison of sql-guard with PostgreSQL's parser: its tests could not be fetched",
        ),
    ] {
        if missing {
            say("left out", what);
        }
    }
    Ok(steps.summary())
}

/// Takes the pictures of the console that the documentation shows: a test that writes files, which no test run includes.
pub(crate) fn screenshots(workspace: &Workspace) -> Result<ExitCode> {
    const NAME: &str = "pictures_of_the_console";
    let mut steps = Steps::default();
    let tools = steps.time("set-up", || setup::for_tests(workspace))?;
    if tools.browser.is_none() {
        bail!("there is no browser to take pictures of: see above");
    }
    let mut build = workspace.cargo(["build", "--quiet"]);
    build.args(TARGETS);
    if steps.run("build", build) == Outcome::Passed {
        let only: &[&str] = match works(&mut workspace.cargo(["nextest", "--version"])) {
            true => &["--run-ignored", "only", NAME],
            false => &[NAME, "--", "--ignored"],
        };
        let mut command = tests(workspace, &only.iter().map(ToString::to_string).collect::<Vec<_>>());
        command.env("CHAPERONE_SCREENSHOTS", workspace.root.join("host/docs/screenshots"));
        steps.run("pictures", with_tools(command, workspace, &tools));
    }
    Ok(steps.summary())
}

/// nextest where it is, since it runs the tests of all packages at once; else cargo's own.
fn tests(workspace: &Workspace, arguments: &[String]) -> Command {
    let mut command = if works(&mut workspace.cargo(["nextest", "--version"])) {
        workspace.cargo(["nextest", "run", "--config-file", "tests/nextest.toml", "--no-fail-fast"])
    } else {
        workspace.cargo(["test", "--no-fail-fast"])
    };
    command.args(TARGETS).args(arguments);
    command
}

/// Every target shortly, in a program of its own: its build calls this one in place of the compiler.
fn fuzz(workspace: &Workspace) -> Command {
    let mut command = Command::new(workspace.this_program());
    command.arg("fuzz").current_dir(&workspace.root);
    command
}

/// Tells tests where they find what they run against.
fn with_tools(mut command: Command, workspace: &Workspace, tools: &TestTools) -> Command {
    command
        .env("CHAPERONE_BIN", workspace.programs.join("chaperone"))
        .env("CHAPERONE_POSTGRES_BIN", &tools.postgres)
        .env("CHAPERONE_TEST_PYTHON", &tools.python);
    let folders = [
        ("CHAPERONE_POSTGRES_TLS_BIN", &tools.postgres_with_tls),
        ("CHAPERONE_TEST_NODE_MODULES", &tools.node_modules),
        ("CHAPERONE_TEST_AZURITE", &tools.azurite),
        ("CHAPERONE_TEST_PGJDBC", &tools.pgjdbc),
        ("CHAPERONE_REGRESSION_SQL", &tools.regression),
    ];
    command.envs(folders.into_iter().filter_map(|(name, folder)| Some((name, folder.as_ref()?))));
    for (name, program) in tools.browser.iter().flat_map(|(browser, driver)| {
        [("CHAPERONE_TEST_CHROMIUM", browser), ("CHAPERONE_TEST_CHROMEDRIVER", driver)]
    }) {
        command.env(name, program);
    }
    command.envs(tools.disks.map(|disks::Mountable| ("CHAPERONE_TEST_DISKS", "yes")));
    command.envs(tools.servers.iter().map(|servers| ("CHAPERONE_TEST_SERVERS", servers)));
    command
}

/// A server for tests that need some PostgreSQL and not one of their own. It ends when its standard input does.
struct Scratch {
    server: Child,
    url: String,
}

impl Scratch {
    fn start(workspace: &Workspace, tools: &TestTools) -> Result<Self> {
        let mut server = Command::new(workspace.programs.join("scratch-postgres"))
            .env("CHAPERONE_POSTGRES_BIN", &tools.postgres)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run scratch-postgres")?;
        let mut url = String::new();
        if let Some(stdout) = server.stdout.take() {
            BufReader::new(stdout).read_line(&mut url).context("cannot read from scratch-postgres")?;
        }
        let url = url.trim().to_owned();
        if url.is_empty() {
            let _ = server.wait();
            bail!("the PostgreSQL for the tests did not start");
        }
        Ok(Scratch { server, url })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
}

/// What was done, how it went and how long it took.
#[derive(Default)]
struct Steps(Vec<(&'static str, Outcome, Duration)>);

impl Steps {
    /// A step without which the others make no sense: its error ends the run.
    fn time<T>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let value = step()?;
        self.done(name, Outcome::Passed, start.elapsed());
        Ok(value)
    }

    /// A step whose failure is remembered, so that one run shows every failure.
    fn run(&mut self, name: &'static str, mut command: Command) -> Outcome {
        let start = Instant::now();
        let outcome = match command.status() {
            Ok(status) if status.success() => Outcome::Passed,
            Ok(_) => Outcome::Failed,
            Err(error) => {
                let program = Path::new(command.get_program()).display().to_string();
                eprintln!("error: cannot run {program}: {error}");
                Outcome::Failed
            }
        };
        self.done(name, outcome, start.elapsed());
        outcome
    }

    fn done(&mut self, name: &'static str, outcome: Outcome, took: Duration) {
        let verdict = match outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
        };
        say(name, format!("{verdict} in {:.1} s", took.as_secs_f64()));
        self.0.push((name, outcome, took));
    }

    fn summary(&self) -> ExitCode {
        let names = |wanted: Outcome| -> Vec<&str> {
            self.0.iter().filter(|step| step.1 == wanted).map(|step| step.0).collect()
        };
        let total: Duration = self.0.iter().map(|step| step.2).sum();
        let (passed, failed) = (names(Outcome::Passed), names(Outcome::Failed));
        println!();
        say("passed", passed.join(", "));
        if !failed.is_empty() {
            say("FAILED", failed.join(", "));
        }
        say("time", format!("{:.0} s", total.as_secs_f64()));
        // A line of this form is what a CI reads from any test runner.
        println!("steps: {} passed, {} failed", passed.len(), failed.len());
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
