//! Chromium and ChromeDriver, as Debian has them: the machine's, or installed by CI.
//!
//! Without them, only the tests in a browser are left out.

use super::debian;
use crate::workspace::say;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The browser and what leads it; `None` when they cannot be used, which is said.
pub(super) fn chromium() -> Option<(PathBuf, PathBuf)> {
    have().map_err(|error| say("browser", format!("left out: {error:#}"))).ok()
}

fn have() -> Result<(PathBuf, PathBuf)> {
    debian::have_for_ci("chromium", "chromium")?;
    debian::have_for_ci("chromedriver", "chromium-driver")?;
    let find =
        |name: &str| debian::find(name).with_context(|| format!("{name} is installed, but not to be found"));
    let (browser, driver) = (find("chromium")?, find("chromedriver")?);
    say("browser", format!("{} with {}", browser.display(), driver.display()));
    Ok((browser, driver))
}
