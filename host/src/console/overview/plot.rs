//! A plot of a few series over time: lines in SVG without a text in it, words and numbers around it in HTML, and all of it as a
//! table.

use super::super::words::moment;
use chaperone_core::Timestamp;
use maud::{Markup, html};

/// What is plotted.
pub(super) struct Plot<'a> {
    /// A word, for the page's ids.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// The first and the last moment of the axis.
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// When each value was taken.
    pub(super) at: &'a [Timestamp],
    /// At most three, each with a value for each moment, or none.
    pub(super) series: Vec<(&'static str, Vec<Option<f64>>)>,
    /// A value in words.
    pub(super) say: fn(f64) -> String,
}

/// The classes of the series, in order.
const CLASSES: [&str; 3] = ["s1", "s2", "s3"];

impl Plot<'_> {
    pub(super) fn draw(&self) -> Markup {
        let most =
            self.series.iter().flat_map(|(_, values)| values.iter().flatten()).copied().fold(0.0, f64::max);
        let top = nice(most);
        let name = format!("plot-{}", self.id);
        html! {
            figure.plot {
                figcaption {
                    h2 id=(name) { (self.title) }
                    @for ((word, _), class) in self.series.iter().zip(CLASSES) {
                        span.key {
                            svg viewBox="0 0 24 8" aria-hidden="true" { path.line.(class) d="M0 4H24" {} }
                            (word)
                        }
                    }
                }
                div.frame {
                    div.scale aria-hidden="true" { span { ((self.say)(top)) } span { ((self.say)(top / 2.0)) } span { ((self.say)(0.0)) } }
                    svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label=(self.summary()) {
                        path.grid d="M0 0H100M0 50H100M0 100H100" {}
                        @for ((_, values), class) in self.series.iter().zip(CLASSES) {
                            path.line.(class) d=(self.path(values, top)) {}
                        }
                    }
                    div.times aria-hidden="true" { span { (clock(self.from)) } span { (clock(self.to)) " UTC" } }
                }
                (self.table(&name))
            }
        }
    }

    /// What a plot says to who does not see it; the table has the rest.
    fn summary(&self) -> String {
        let series = self.series.iter().map(|(word, values)| {
            let last = values.iter().rev().flatten().next();
            let most = values.iter().flatten().copied().fold(f64::NAN, f64::max);
            match last {
                Some(last) => format!("{word}: last {}, most {}", (self.say)(*last), (self.say)(most)),
                None => format!("{word}: nothing"),
            }
        });
        format!("{}. {}.", self.title, series.collect::<Vec<_>>().join("; "))
    }

    /// A line that is broken where there is no value. A value alone is a short line, or it could not be seen.
    fn path(&self, values: &[Option<f64>], top: f64) -> String {
        let mut path = String::new();
        let mut open = false;
        let points = self.at.iter().zip(values);
        for (number, (at, value)) in points.enumerate() {
            let Some(value) = value else {
                open = false;
                continue;
            };
            let (x, y) = (self.across(*at), 100.0 - 100.0 * value / top);
            let alone = !open && values.get(number + 1).is_none_or(Option::is_none);
            if alone {
                path.push_str(&format!("M{:.2} {y:.2}H{x:.2}", (x - 0.8).max(0.0)));
            } else {
                path.push_str(&format!("{}{x:.2} {y:.2}", if open { 'L' } else { 'M' }));
            }
            open = true;
        }
        path
    }

    /// Where a moment is, from 0 to 100.
    fn across(&self, at: Timestamp) -> f64 {
        let seconds = |at: Timestamp| at.as_millisecond() as f64;
        let length = (seconds(self.to) - seconds(self.from)).max(1.0);
        (100.0 * (seconds(at) - seconds(self.from)) / length).clamp(0.0, 100.0)
    }

    fn table(&self, name: &str) -> Markup {
        html! {
            details {
                summary { "Numbers" span.unseen { " of " (self.title) } }
                div.scroll tabindex="0" role="region" aria-labelledby=(name) {
                    table {
                        caption.unseen { (self.title) }
                        thead { tr {
                            th scope="col" { "Until" }
                            @for (word, _) in &self.series { th.number scope="col" { (word) } }
                        } }
                        tbody {
                            @for (number, at) in self.at.iter().enumerate().rev() {
                                tr {
                                    td { (moment(*at)) }
                                    @for (_, values) in &self.series {
                                        td.number { (values.get(number).copied().flatten().map_or("–".to_owned(), self.say)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Hours and minutes in UTC.
fn clock(at: Timestamp) -> String {
    moment(at).get(11..16).unwrap_or_default().to_owned()
}

/// The next of 1, 2, 5, 10, 20, … that is not smaller; 1 for nothing.
fn nice(most: f64) -> f64 {
    if most <= 0.0 || !most.is_finite() {
        return 1.0;
    }
    let unit = 10_f64.powf(most.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * unit >= most);
    step.unwrap_or(10.0) * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::at;

    #[test]
    fn the_scale_ends_at_a_round_number_that_holds_all() {
        for (most, top) in
            [(0.0, 1.0), (1.0, 1.0), (1.5, 2.0), (3.0, 5.0), (7.0, 10.0), (11.0, 20.0), (0.03, 0.05)]
        {
            assert!((nice(most) - top).abs() < 1e-9, "{most}: {}", nice(most));
        }
        assert!((nice(f64::NAN) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_goes_through_its_values_and_breaks_where_there_are_none() {
        let times: Vec<Timestamp> = (0..5).map(|second| at(second * 25)).collect();
        let values = vec![Some(0.0), Some(10.0), None, Some(5.0), None];
        let series = vec![("a <b>", values.clone())];
        let say = |value: f64| format!("{value}");
        let plot = Plot { id: "x", title: "T", from: at(0), to: at(100), at: &times, series, say };
        assert_eq!(plot.path(&values, 10.0), "M0.00 100.00L25.00 0.00M74.20 50.00H75.00");
        assert_eq!(plot.summary(), "T. a <b>: last 5, most 10.");
        let drawn = plot.draw().into_string();
        assert!(!drawn.contains("<b>") && !drawn.contains("style="), "{drawn}");
        assert_eq!(drawn.matches("<tr>").count(), 6, "every value is in the table: {drawn}");
    }
}
