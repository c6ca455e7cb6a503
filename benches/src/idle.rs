//! What idle sessions cost: thousands of them are opened by pgbench, each runs one statement, and then sleeps.

use crate::process::{descriptors, resident_bytes};
use crate::route::Route;
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// How long sessions are idle before they are measured: longer than the gateway waits before it takes an idle session's
/// plugins back.
const IDLE: Duration = Duration::from_secs(8);

/// How often the number of sessions is looked at, and how many times at most: five minutes.
const POLL_EVERY: Duration = Duration::from_millis(500);
const POLLS: u32 = 600;

/// Descriptors that the gateway may close by itself meanwhile.
const OWN_DESCRIPTORS: usize = 64;

/// Resident memory of a gateway for each idle session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    pub(crate) sessions: u32,
    /// Right after all were opened, in bytes.
    pub(crate) opened: u64,
    /// When they have been idle for a while, in bytes.
    pub(crate) idle: u64,
}

struct Clients(Child);

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Clients {
    fn still_run(&mut self) -> Result<()> {
        let Some(status) = self.0.try_wait()? else { return Ok(()) };
        let mut said = String::new();
        let stderr = self.0.stderr.take().context("pgbench has no standard error")?;
        std::io::Read::read_to_string(&mut std::io::Read::take(stderr, 2000), &mut said)?;
        bail!("pgbench ended ({status}): {said}")
    }
}

/// Opens `sessions` on a route and measures.
pub(crate) fn measure(route: &Route, gateway: u32, bin_dir: &Path, sessions: u32) -> Result<Idle> {
    let mut script = tempfile::NamedTempFile::new()?;
    script.write_all(b"select 1;\n\\sleep 1800 s\n")?;
    let before = resident_bytes(gateway)?;
    let descriptors_before = descriptors(gateway)?;
    let mut pgbench = route.client(bin_dir, "pgbench");
    pgbench.args(["--no-vacuum", "--jobs", "4", "--transactions", "1"]);
    pgbench.args(["--client", &sessions.to_string()]).arg("--file").arg(script.path());
    let clients = pgbench.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut clients = Clients(clients.spawn().context("cannot run pgbench")?);
    // Each has its client, its target and its recording.
    let wanted = descriptors_before + 3 * usize::try_from(sessions)?;
    let mut polls = 0;
    while descriptors(gateway)? < wanted {
        polls += 1;
        clients.still_run()?;
        if polls > POLLS {
            bail!("only {} of {wanted} descriptors are open", descriptors(gateway)?);
        }
        std::thread::sleep(POLL_EVERY);
    }
    let each = |bytes: u64| bytes.saturating_sub(before) / u64::from(sessions);
    let opened = each(resident_bytes(gateway)?);
    std::thread::sleep(IDLE);
    // The gateway's own connections to the store and the catalog come and go.
    let left = descriptors(gateway)?;
    clients.still_run()?;
    if left + OWN_DESCRIPTORS < wanted {
        bail!("sessions ended while they were idle: {left} of {wanted} descriptors are open");
    }
    Ok(Idle { sessions, opened, idle: each(resident_bytes(gateway)?) })
}
