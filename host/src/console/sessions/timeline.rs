//! Sessions on one line of time each: when they were, and where something was refused or held. For the eye; the list has the same in words.

use super::super::words::moment;
use chaperone_core::Timestamp;
use maud::{Markup, html};

/// Room for one session, in units of the drawing.
const LANE: usize = 12;
/// The width of the drawing.
const WIDTH: f64 = 1000.0;

/// One session.
pub(super) struct Lane {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// When something was refused or held.
    pub(super) marks: Vec<Timestamp>,
}

/// All of them, the first on top.
pub(super) fn draw(lanes: &[Lane]) -> Markup {
    let (Some(from), Some(to)) =
        (lanes.iter().map(|lane| lane.from).min(), lanes.iter().map(|lane| lane.to).max())
    else {
        return html! {};
    };
    let length = (millis(to) - millis(from)).max(1.0);
    let across = |at: Timestamp| (WIDTH * (millis(at) - millis(from)) / length).clamp(0.0, WIDTH);
    let height = LANE * lanes.len();
    html! {
        figure.timeline {
            svg viewBox=(format!("0 0 1000 {height}")) preserveAspectRatio="none" role="img" aria-label=(format!("{} sessions from {} to {}; the list has them in words", lanes.len(), moment(from), moment(to))) {
                @for (number, lane) in lanes.iter().enumerate() {
                    @let (left, right) = (across(lane.from), across(lane.to));
                    @let left = left.min(WIDTH - 4.0);
                    rect.lane x=(format!("{left:.1}")) y=(number * LANE + 2) width=(format!("{:.1}", (right - left).max(4.0))) height=(LANE - 4) {}
                    @for mark in &lane.marks {
                        rect.notable x=(format!("{:.1}", across(*mark).min(WIDTH - 3.0))) y=(number * LANE + 1) width="3" height=(LANE - 2) {}
                    }
                }
            }
            figcaption.small.quiet { span { (moment(from)) } span { (moment(to)) } }
        }
    }
}

fn millis(at: Timestamp) -> f64 {
    at.as_millisecond() as f64
}
