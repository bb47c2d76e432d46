//! The text form that Prometheus reads, version 0.0.4.

use std::fmt::{Display, Write};

/// One metric: what its page says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, which ends in its unit, and in `_total` where it only grows.
    pub name: &'static str,
    /// What its number means.
    pub kind: Kind,
    /// What its series are told apart by.
    pub labels: &'static [&'static str],
    /// One line for people.
    pub help: &'static str,
}

/// What the number of a metric means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the process lives.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many values were at most so large, and their sum.
    Histogram,
}

impl Kind {
    /// The word on the page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A page under construction. Each metric is begun once.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// What HTTP says of the page.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a metric. Its samples follow, each with other label values.
    pub fn metric<'p>(&'p mut self, metric: &'p Metric) -> Samples<'p> {
        let Metric { name, kind, help, .. } = metric;
        let _infallible = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        Samples { text: &mut self.text, metric }
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Samples<'p> {
    text: &'p mut String,
    metric: &'p Metric,
}

impl Samples<'_> {
    /// Adds the sample whose labels have these values, in the order of the metric's labels.
    pub fn add(&mut self, values: &[&str], number: impl Display) {
        self.line("", values, None, number);
    }

    /// Adds one line; `suffix` and `bound` are those of a histogram.
    pub(super) fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, number: impl Display) {
        debug_assert_eq!(values.len(), self.metric.labels.len(), "{}", self.metric.name);
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let named = self.metric.labels.iter().copied().zip(values.iter().copied());
        let mut open = '{';
        for (label, value) in named.chain(bound.map(|bound| ("le", bound))) {
            self.text.push(open);
            open = ',';
            self.text.push_str(label);
            self.text.push_str("=\"");
            push_escaped(self.text, value);
            self.text.push('"');
        }
        if open == ',' {
            self.text.push('}');
        }
        let _infallible = writeln!(self.text, " {number}");
    }
}

fn push_escaped(text: &mut String, value: &str) {
    for char in value.chars() {
        match char {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_each_metric_and_escapes_what_its_labels_hold() {
        const LABELED: Metric =
            Metric { name: "a_total", kind: Kind::Counter, labels: &["task", "queue"], help: "Things." };
        const PLAIN: Metric = Metric { name: "b_bytes", kind: Kind::Gauge, labels: &[], help: "Room." };
        let mut page = Page::default();
        page.metric(&LABELED).add(&["x", "q\"\\\n"], 7);
        page.metric(&PLAIN).add(&[], 0.5);
        assert_eq!(
            page.into_text(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{task=\"x\",queue=\"q\\\"\\\\\\n\"} 7\n\
             # HELP b_bytes Room.\n# TYPE b_bytes gauge\nb_bytes 0.5\n"
        );
    }
}
