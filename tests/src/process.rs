//! Running a program to its end, with a limit.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long any client may take. It is there to end a hang, not to measure: a hundred times what one takes.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How often an unfinished program is looked at.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub status: ExitStatus,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

impl Ran {
    /// Standard output of a program that succeeded; else an error with everything that it wrote.
    pub fn success(self) -> Result<String> {
        if !self.status.success() {
            bail!("{}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr);
        }
        Ok(self.stdout)
    }
}

/// Runs a program with `input` as its standard input. One that is not done after [`LIMIT`] is killed: an error.
///
/// It waits: inside a runtime with several threads, the others take over what this one carries.
pub fn run(command: &mut Command, input: &str) -> Result<Ran> {
    match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => {
            tokio::task::block_in_place(|| run_watched(command, input, "", |_| ()))
        }
        _ => run_watched(command, input, "", |_| ()),
    }
}

/// As [`run`], and calls `seen` with the process id when the program has written `sign` to its standard error.
pub fn run_watched(
    command: &mut Command,
    input: &str,
    sign: &str,
    seen: impl FnOnce(u32) + Send + 'static,
) -> Result<Ran> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = input.to_owned();
    // Each pipe has a thread, or a program that fills one while we wait on another would never end.
    let writer = thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(input.as_bytes())));
    let stdout = thread::spawn(move || read_all(stdout));
    let (process, sign) = (child.id(), sign.to_owned());
    let stderr = thread::spawn(move || read_watched(stderr, &sign, || seen(process)));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(POLL_EVERY);
    };
    let join = |text: thread::JoinHandle<String>| text.join().unwrap_or_default();
    let (stdout, stderr) = (join(stdout), join(stderr));
    // A program may end without reading its input.
    let _ = writer.join();
    match status {
        Some(status) => Ok(Ran { status, stdout, stderr }),
        None => bail!("{program} did not end within {LIMIT:?}\nstdout: {stdout}\nstderr: {stderr}"),
    }
}

fn read_watched(pipe: Option<impl Read>, sign: &str, seen: impl FnOnce()) -> String {
    let (mut bytes, mut seen) = (Vec::new(), Some(seen).filter(|_| !sign.is_empty()));
    let Some(mut pipe) = pipe else { return String::new() };
    let mut buffer = [0; 4096];
    // What came before an error is still worth showing.
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if String::from_utf8_lossy(&bytes).contains(sign)
            && let Some(seen) = seen.take()
        {
            seen();
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What came before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
