//! Which CPU each process has while one client alone is measured.
//!
//! One client, its proxy and the server take turns. Left to the kernel on a machine with two CPUs, who shares one with whom changes
//! every few seconds, and waking the other CPU costs more than what is measured: pgbouncer's mean was anything between
//! 80 and 117 µs in one run. So the client and its proxy share the first CPU, as they do on one machine, and the server has the others; on
//! every route alike. With several clients all CPUs are busy, and the kernel is left to it.

use anyhow::{Context, Result, bail};
use std::process::Command;

/// Processes that stay on their CPUs until this is dropped.
pub(crate) struct Places {
    moved: Vec<u32>,
    all: String,
}

/// The CPU of the client and its proxy.
const FIRST: &str = "0";

impl Places {
    /// Puts the proxy, if there is one, and the server with its children in their places; the client starts in its own with
    /// [`Places::first`]. None where there is one CPU only.
    pub(crate) fn take(proxy: Option<u32>, server: u32) -> Result<Option<Self>> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        if cpus < 2 {
            return Ok(None);
        }
        let (last, mut places) = (cpus - 1, Places { moved: Vec::new(), all: format!("0-{}", cpus - 1) });
        if let Some(proxy) = proxy {
            places.put(proxy, FIRST)?;
        }
        let others = format!("1-{last}");
        places.put(server, &others)?;
        for child in children(server)? {
            // One that has ended meanwhile needs no place.
            let _ = places.put(child, &others);
        }
        Ok(Some(places))
    }

    /// A command that starts another on the first CPU.
    pub(crate) fn first(command: &Command) -> Command {
        let mut taskset = Command::new("taskset");
        taskset.args(["--cpu-list", FIRST]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => taskset.env(name, value),
                None => taskset.env_remove(name),
            };
        }
        taskset
    }

    fn put(&mut self, pid: u32, cpus: &str) -> Result<()> {
        self.moved.push(pid);
        set(pid, cpus)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        for pid in &self.moved {
            let _ = set(*pid, &self.all);
        }
    }
}

/// All threads of a process.
fn set(pid: u32, cpus: &str) -> Result<()> {
    let mut taskset = Command::new("taskset");
    taskset.args(["--all-tasks", "--pid", "--cpu-list", cpus]).arg(pid.to_string());
    let output = taskset.output().context("cannot run taskset (util-linux)")?;
    if !output.status.success() {
        bail!("taskset: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The processes that a process has started (`proc(5)`, field 4 of `stat`).
fn children(parent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("cannot read /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        if behind.split_whitespace().nth(1) == Some(parent.to_string().as_str()) {
            found.push(pid);
        }
    }
    Ok(found)
}
