//! The bounds of a plugin. Every one has a name, a unit and a reason; reaching one is a fault, never a shrug.

use std::time::Duration;

/// How often the engine's clock ticks. Deadlines are counted in ticks; a running plugin also yields its thread at each.
pub const TICK: Duration = Duration::from_millis(5);

/// The longest text that is handed to a check plugin, in bytes. PostgreSQL itself takes 1 GiB; an agent's statement
/// over a megabyte is data in disguise, and parsing costs memory in proportion.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

/// The most findings one answer may carry.
pub const MAX_FINDINGS: usize = 256;

/// The longest text (detail, reason, hint, rule) that is taken from an answer, in bytes.
pub const MAX_ANSWER_TEXT_BYTES: usize = 4096;

/// The most statements, relations, columns or functions that one answer may name.
pub const MAX_FACTS: usize = 16 * 1024;

/// What one answer may cost the host in memory while it is copied out of the plugin, in bytes. The other bounds of an
/// answer can be checked only afterwards, and a plugin may answer with a thousand texts that are all the same
/// megabyte of its own. The largest honest answer, facts about a megabyte of small statements, needs about half.
/// Masked batches have a bound of their own, from the size of what was asked.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The most mistakes in a configuration that are taken from a plugin.
pub const MAX_CONFIG_PROBLEMS: usize = 64;

/// The most elements of a plugin's tables together; they hold functions, and no plugin has that many.
pub const MAX_TABLE_ELEMENTS: usize = 20_000;

/// A masked value may be longer than the original, but a batch never more than this factor plus [`MASK_SLACK_BYTES`].
pub const MASK_GROWTH: usize = 4;

/// See [`MASK_GROWTH`].
pub const MASK_SLACK_BYTES: usize = 64 * 1024;

/// What one plugin may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For one check, plan or trigger call.
    pub check_deadline: Duration,
    /// For one batch of values.
    pub batch_deadline: Duration,
    /// For `configure`, at load.
    pub configure_deadline: Duration,
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: usize,
    /// Lines that one call may log; more are counted and dropped.
    pub log_lines_per_call: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            check_deadline: Duration::from_millis(50),
            batch_deadline: Duration::from_millis(250),
            configure_deadline: Duration::from_secs(10),
            memory_bytes: 32 << 20,
            log_lines_per_call: 16,
        }
    }
}

/// What a line to operators keeps of a plugin's words: no control characters, which could forge lines in a terminal, and
/// none that turn the direction of what follows; at most `most` characters.
pub(crate) fn plain_line(text: &str, most: usize) -> String {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().take(most).map(|c| if odd(c) { ' ' } else { c }).collect()
}

/// Rounds a deadline up to ticks; at least two, because the first tick may come at once.
pub(crate) fn ticks(deadline: Duration) -> u64 {
    let ticks = deadline.as_millis().div_ceil(TICK.as_millis());
    u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
}
