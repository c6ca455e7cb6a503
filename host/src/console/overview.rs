//! The gateway's numbers over the last hours, as plots and as tables.
//!
//! Drawn here as SVG from the samples that this process keeps ([`crate::metrics::history`]), so that no library and no data of a
//! page's own are needed. Numbers and fixed words only, like the metrics that they come from.

use super::Console;
use super::pages::Page;
use super::roles::{May, Watch};
use crate::metrics::history::{Sample, thinned};
use axum::extract::{Query, State};
use chaperone_core::Timestamp;
use serde::Deserialize;

mod plot;
mod view;

/// How far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum Span {
    #[serde(rename = "15m")]
    Quarter,
    #[default]
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "6h")]
    Six,
}

impl Span {
    const ALL: [Span; 3] = [Span::Quarter, Span::Hour, Span::Six];

    fn word(self) -> &'static str {
        match self {
            Span::Quarter => "15m",
            Span::Hour => "1h",
            Span::Six => "6h",
        }
    }

    fn seconds(self) -> i64 {
        match self {
            Span::Quarter => 15 * 60,
            Span::Hour => 60 * 60,
            Span::Six => 6 * 60 * 60,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    span: Span,
}

/// Points of one plot: more than a screen tells apart is work for nobody.
const POINTS: usize = 120;

/// `GET /console/overview`.
pub(super) async fn show(
    State(console): State<Console>,
    may: May<Watch>,
    choice: Result<Query<Choice>, axum::extract::rejection::QueryRejection>,
) -> Page {
    let span = choice.map(|Query(choice)| choice.span).unwrap_or_default();
    let from = Timestamp::from_second(may.now.as_second() - span.seconds()).unwrap_or(Timestamp::MIN);
    let samples: Vec<Sample> = console.history.since(from);
    view::overview(&may, span, (from, may.now), &thinned(&samples, POINTS), samples.last())
}
