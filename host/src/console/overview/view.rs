//! Which numbers are plotted.

use super::super::pages::{Page, Renewed, Room};
use super::super::policy::view::time;
use super::super::roles::{May, Watch};
use super::super::words;
use super::Span;
use super::plot::Plot;
use crate::metrics::history::Sample;
use chaperone_core::Timestamp;
use chaperone_hooks::Hook;
use maud::{Markup, html};
use std::time::Duration;

pub(super) fn overview(
    may: &May<Watch>,
    span: Span,
    (from, to): (Timestamp, Timestamp),
    samples: &[Sample],
    last: Option<&Sample>,
) -> Page {
    let body = html! {
        div.head {
            h1 { "Overview" }
            nav aria-label="How far back" {
                @for one in Span::ALL {
                    a.button.plain href={ "/console/overview?span=" (one.word()) } aria-current=[(one == span).then_some("true")] { (one.word()) } " "
                }
            }
        }
        @match last {
            None => (words::empty("No numbers yet.", html! {
                "This gateway keeps a sample every ten seconds, for six hours. They begin when it starts; for longer, let a monitoring system read "
                code { "listen.metrics" } "."
            })),
            Some(last) => {
                (tiles(samples, last))
                div.plots { @for plot in plots((from, to), samples) { (plot) } }
            },
        }
    };
    Page::of(may, Room::Overview, Renewed::Not, "Overview", body)
}

/// The last sample, and what was decided in the whole span.
fn tiles(samples: &[Sample], last: &Sample) -> Markup {
    let decided = samples.iter().fold(crate::session::Decisions::default(), |all, one| all.and(one.decided));
    let waiting = last.waiting.map_or("–".to_owned(), |count| count.to_string());
    html! {
        dl.tiles {
            div.tile { dt { "Live sessions" } dd { (last.live) } }
            div.tile { dt { "Waiting for people" } dd { (waiting) } }
            div.tile { dt { "Allowed" } dd { (decided.allowed) } }
            div.tile { dt { "Held" } dd { (decided.held) } }
            div.tile { dt { "Refused" } dd { (decided.refused) } }
        }
    }
}

fn plots((from, to): (Timestamp, Timestamp), samples: &[Sample]) -> Vec<Markup> {
    let at: Vec<Timestamp> = samples.iter().map(|sample| sample.at).collect();
    let all = |value: fn(&Sample) -> Option<f64>| samples.iter().map(value).collect::<Vec<_>>();
    let plot = |id, title, series, say| Plot { id, title, from, to, at: &at, series, say }.draw();
    let hooks = Hook::ALL.into_iter().enumerate().map(|(number, hook)| {
        let of = |sample: &Sample| sample.hooks.get(number).copied().flatten().map(|time| time.as_secs_f64());
        (hook.as_str(), samples.iter().map(of).collect())
    });
    vec![
        plot("sessions", "Sessions", vec![("live", all(|one| Some(one.live as f64)))], count),
        plot(
            "decisions",
            "Decisions",
            vec![
                ("allowed", all(|one| Some(one.decided.allowed as f64))),
                ("refused", all(|one| Some(one.decided.refused as f64))),
                ("held", all(|one| Some(one.decided.held as f64))),
            ],
            count,
        ),
        plot(
            "holds",
            "Waiting for people",
            vec![("waiting", all(|one| one.waiting.map(|count| count as f64)))],
            count,
        ),
        plot("hooks", "Plugins, p99 of each hook", hooks.collect(), seconds),
    ]
}

fn count(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn seconds(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { time(Duration::try_from_secs_f64(value).ok()) }
}
