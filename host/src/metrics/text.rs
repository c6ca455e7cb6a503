//! Prometheus' text format, version 0.0.4, written.
//!
//! Source: "Exposition formats" of the Prometheus documentation. A metric is a HELP line, a TYPE line, and a line for each set of labels. In
//! a label's value backslash, double quote and line feed are escaped; names are ours and need nothing.

use std::fmt::{Display, Write};

/// The answer's media type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a number does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, and begins anew with the process.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Counts of measured values, by how large they were.
    Histogram,
}

/// A text that grows metric by metric.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a metric; its samples follow.
    pub fn metric(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Samples<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Samples { name, out: &mut self.0 }
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.0
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Samples<'a> {
    name: &'static str,
    out: &'a mut String,
}

impl Samples<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: &[(&'static str, &str)], value: impl Display) -> &mut Self {
        self.line("", labels, value);
        self
    }

    /// A histogram: how many values were at most each bound, the bounds rising; then their sum, and how many there were.
    pub fn histogram(
        &mut self,
        labels: &[(&'static str, &str)],
        buckets: impl IntoIterator<Item = (f64, u64)>,
        sum: f64,
        count: u64,
    ) -> &mut Self {
        let bounds = buckets.into_iter().map(|(bound, under)| (bound.to_string(), under));
        for (bound, under) in bounds.chain([("+Inf".to_owned(), count)]) {
            self.line("_bucket", &[labels, &[("le", &bound)]].concat(), under);
        }
        self.line("_sum", labels, sum);
        self.line("_count", labels, count);
        self
    }

    fn line(&mut self, suffix: &str, labels: &[(&'static str, &str)], value: impl Display) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        for (number, (name, label)) in labels.iter().enumerate() {
            let open = if number == 0 { '{' } else { ',' };
            let _ = write!(self.out, "{open}{name}=\"");
            escape(label, self.out);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

fn escape(label: &str, out: &mut String) {
    for character in label.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn metrics_are_written_as_the_format_says() {
        let mut text = Text::default();
        text.metric("calls_total", Kind::Counter, "Calls.")
            .sample(&[("plugin", "guard"), ("hook", "sql-check")], 3)
            .sample(&[("plugin", "mask"), ("hook", "column-mask")], 0.25);
        text.metric("live", Kind::Gauge, "Sessions.").sample(&[], 7);
        assert_eq!(
            text.finish(),
            "# HELP calls_total Calls.\n\
             # TYPE calls_total counter\n\
             calls_total{plugin=\"guard\",hook=\"sql-check\"} 3\n\
             calls_total{plugin=\"mask\",hook=\"column-mask\"} 0.25\n\
             # HELP live Sessions.\n\
             # TYPE live gauge\n\
             live 7\n"
        );
    }

    #[test]
    fn a_histogram_ends_with_all_that_was_measured() {
        let mut text = Text::default();
        let buckets = [(0.000001024, 1), (0.5, 3)];
        text.metric("seconds", Kind::Histogram, "Calls.").histogram(&[("hook", "check")], buckets, 2.5, 4);
        assert_eq!(
            text.finish(),
            "# HELP seconds Calls.\n\
             # TYPE seconds histogram\n\
             seconds_bucket{hook=\"check\",le=\"0.000001024\"} 1\n\
             seconds_bucket{hook=\"check\",le=\"0.5\"} 3\n\
             seconds_bucket{hook=\"check\",le=\"+Inf\"} 4\n\
             seconds_sum{hook=\"check\"} 2.5\n\
             seconds_count{hook=\"check\"} 4\n"
        );
    }

    #[test]
    fn a_label_cannot_forge_a_line_or_another_label() {
        let mut text = Text::default();
        text.metric("x", Kind::Gauge, "X.").sample(&[("plugin", "a\"} 1\nforged{b=\"\\")], 2);
        assert_eq!(text.finish().lines().nth(2), Some(r#"x{plugin="a\"} 1\nforged{b=\"\\"} 2"#));
    }

    /// Reads a value as a scraper does: up to the first quote that is not escaped.
    fn unescape(text: &str) -> Option<(String, &str)> {
        let mut value = String::new();
        let mut rest = text.chars();
        loop {
            match rest.next()? {
                '"' => return Some((value, rest.as_str())),
                '\n' => return None,
                '\\' => value.push(match rest.next()? {
                    'n' => '\n',
                    other @ ('\\' | '"') => other,
                    _ => return None,
                }),
                other => value.push(other),
            }
        }
    }

    proptest! {
        #[test]
        fn any_label_is_read_back_as_it_was(label in "[\\\\\"\n a-c\u{e9}\u{202e}]{0,12}") {
            let mut text = Text::default();
            text.metric("x", Kind::Gauge, "X.").sample(&[("l", &label)], 1);
            let text = text.finish();
            let line = text.split_once("gauge\n").unwrap().1;
            let (value, rest) = unescape(line.strip_prefix("x{l=\"").unwrap()).unwrap();
            prop_assert_eq!((value, rest), (label, "} 1\n"));
        }
    }
}
