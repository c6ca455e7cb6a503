//! What a process has used, as Linux tells it.

use anyhow::{Context, Result};
use std::process::Command;
use std::time::Duration;

/// The CPU time of a process until now, user and system, of all its threads, those that have ended included
/// (`proc(5)`, fields 14 and 15 of `stat`). Its grain is a clock tick, usually 10 ms.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks(&stat).with_context(|| format!("{path} is not as proc(5) says"))?;
    let per_second = ticks_per_second()?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Resident memory of a process in bytes (`proc(5)`, `VmRSS` of `status`).
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kilobytes.with_context(|| format!("{path} is not as proc(5) says"))? * 1024)
}

/// How many file descriptors a process has.
pub(crate) fn descriptors(pid: u32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(std::fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?.count())
}

fn ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses, and may hold spaces and parentheses of its own.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn ticks_per_second() -> Result<u64> {
    let output = Command::new("getconf").arg("CLK_TCK").output().context("cannot run getconf")?;
    String::from_utf8_lossy(&output.stdout).trim().parse().context("getconf CLK_TCK is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 700 42 0 0 20 0 3 0 99 1 2";
        for name in ["a", "a b", "a) S 1 (b"] {
            assert_eq!(ticks(&format!("17 ({name}) {rest}")), Some(742), "{name}");
        }
        assert_eq!(ticks("17 (a) S 1"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn our_own_time_is_known() {
        assert!(cpu_time(std::process::id()).is_ok());
        assert!(cpu_time(u32::MAX).is_err());
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
        assert!(descriptors(std::process::id()).unwrap() > 2);
    }
}
