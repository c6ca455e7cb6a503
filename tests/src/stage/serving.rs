//! `chaperone serve` as a process of its own, for tests that kill it or read what it logs.

use anyhow::{Result, ensure};
use std::process::{Child, Command, ExitStatus};

/// `chaperone serve` as a process. It is killed with the test that did not wait for its end.
pub struct Serving {
    pub(super) child: Child,
    pub(super) log: Option<std::thread::JoinHandle<String>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serving {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `KILL` or `TERM`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let id = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-s", signal, &id]).status()?.success(), "no signal was sent");
        Ok(())
    }

    /// Waits for its end: how it ended, and what it logged.
    pub fn ended(mut self) -> Result<(ExitStatus, String)> {
        let status = tokio::task::block_in_place(|| self.child.wait())?;
        let log = self.log.take().and_then(|log| log.join().ok());
        Ok((status, log.unwrap_or_default()))
    }
}
