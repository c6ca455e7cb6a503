//! A recording's events told to people and to programs, for the fuzz targets.

use super::lines;
use super::people::Teller;
use crate::recorder::Event;
use crate::story::Decoder;

/// What `chaperone replay` shows of events: to people, and the lines for programs.
pub fn tell(events: &[Event]) -> (String, Vec<String>) {
    let (mut decoder, mut story) = (Decoder::default(), Teller::default());
    let (mut shown, mut told_lines, mut last_us) = (String::new(), Vec::new(), 0);
    for event in events {
        last_us = event.at_us;
        let Some(told) = decoder.read(event) else { continue };
        told_lines.push(lines::line(&told));
        shown.push_str(&story.tell(&told));
    }
    shown.push_str(&story.finish(last_us));
    (shown, told_lines)
}
