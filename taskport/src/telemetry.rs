//! What this process says of itself: a page of metrics for Prometheus, and spans for OpenTelemetry.
//!
//! Metrics are always counted, which costs a few additions for each job. [`Taskport::metrics`] gives the page,
//! [`Taskport::serve_metrics`] serves it, and so does a worker with `[worker] metrics` or `--metrics`. Each metric, with
//! its labels and its unit, is in `specs/metrics.md`.

#[cfg(feature = "otel")]
mod export;
mod probe;
mod process;
#[cfg(feature = "metrics")]
mod server;
#[cfg_attr(not(feature = "otel"), path = "telemetry/no_spans.rs")]
pub(crate) mod spans;
mod submits;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use taskport_abstraction::{Backend, Clock};
use taskport_worker::metrics::Page;
use taskport_worker::metrics::{self, WorkerMetrics};
pub use taskport_worker::metrics::{Kind, Metric};

#[cfg(feature = "otel")]
pub use self::export::SpanExport;
use self::probe::Probe;
#[cfg(feature = "metrics")]
pub use self::server::{MetricsOptions, MetricsServer};
pub(crate) use self::submits::{SubmitMetrics, Submitted};
use crate::Taskport;

/// Every metric the page can hold.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    [metrics::METRICS, submits::METRICS, probe::METRICS, process::METRICS, EXPORT_METRICS]
        .into_iter()
        .flatten()
}

/// What the clones of one [`Taskport`] and its workers count.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) workers: Arc<WorkerMetrics>,
    pub(crate) submits: SubmitMetrics,
    probe: Probe,
}

impl Telemetry {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            workers: Arc::new(WorkerMetrics::new(clock)),
            submits: SubmitMetrics::default(),
            probe: Probe::default(),
        }
    }
}

impl Taskport {
    /// The page of metrics as Prometheus reads it, for a program that serves it itself.
    ///
    /// # Limits
    /// Each backend is asked at most once a second and has two seconds to answer; without an answer, its queues are left
    /// out and `taskport_backend_up` is 0. Series beyond a limit are joined into one called `other`
    /// (`specs/metrics.md`).
    pub async fn metrics(&self) -> String {
        let telemetry = &self.inner().telemetry;
        let seen = telemetry.probe.look(self.all_backends()).await;
        let mut page = Page::default();
        telemetry.workers.write(&mut page);
        telemetry.submits.write(&mut page);
        probe::write(&seen, &*self.inner().clock, &mut page);
        process::write(&mut page);
        for (metric, counter) in EXPORT_METRICS.iter().zip([&SPANS_EXPORTED, &EXPORT_FAILURES]) {
            page.metric(metric).add(&[], counter.load(Ordering::Relaxed));
        }
        page.into_text()
    }

    fn all_backends(&self) -> Vec<Arc<dyn Backend>> {
        self.backends().cloned().collect()
    }
}

/// Spans leave a process by one way, whatever handles it has open.
static SPANS_EXPORTED: AtomicU64 = AtomicU64::new(0);
static EXPORT_FAILURES: AtomicU64 = AtomicU64::new(0);

const EXPORT_METRICS: &[Metric] = &[
    Metric {
        name: "taskport_spans_exported_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Spans the OpenTelemetry collector has taken.",
    },
    Metric {
        name: "taskport_span_export_failures_total",
        kind: Kind::Counter,
        labels: &[],
        help: "Batches of spans the OpenTelemetry collector has not taken; they are lost.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SPEC: &str = include_str!("../../specs/metrics.md");
    const DASHBOARD: &str = include_str!("../../ops/grafana/taskport.json");

    // proves R-401
    #[test]
    fn every_metric_is_in_the_table_of_the_spec() {
        let listed: Vec<String> = SPEC
            .lines()
            .filter(|line| line.starts_with("| `") && line.matches('|').count() == 6)
            .map(|line| line.splitn(5, '|').take(4).collect::<Vec<_>>().join("|").trim().to_owned())
            .collect();
        let expected: Vec<String> = all()
            .map(|metric| {
                let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
                let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
                format!("| `{}` | {} | {labels}", metric.name, metric.kind.as_str())
            })
            .collect();
        assert_eq!(listed, expected);
    }

    #[test]
    fn names_say_their_unit_and_what_only_grows() {
        let mut seen = BTreeSet::new();
        for Metric { name, kind, help, .. } in all() {
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("taskport_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{help}");
        }
    }

    /// The words of an expression that name a metric.
    fn metrics_in(expression: &str) -> impl Iterator<Item = &str> {
        expression
            .split(|char: char| !(char.is_ascii_alphanumeric() || char == '_'))
            .filter(|word| word.starts_with("taskport_") || word.starts_with("process_"))
    }

    fn strings<'j>(key: &str, json: &'j serde_json::Value, found: &mut Vec<&'j str>) {
        match json {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        serde_json::Value::String(text) if name == key => found.push(text),
                        other => strings(key, other, found),
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| strings(key, item, found)),
            _ => {}
        }
    }

    // proves R-411
    #[test]
    fn the_dashboard_asks_only_for_metrics_there_are() {
        let known: BTreeSet<String> = all()
            .flat_map(|metric| match metric.kind {
                Kind::Histogram => {
                    ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", metric.name)).to_vec()
                }
                Kind::Counter | Kind::Gauge => vec![metric.name.to_owned()],
            })
            .collect();
        let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
        let mut expressions = Vec::new();
        for key in ["expr", "query", "definition"] {
            strings(key, &dashboard, &mut expressions);
        }
        let asked: BTreeSet<&str> =
            expressions.iter().flat_map(|expression| metrics_in(expression)).collect();
        assert!(asked.len() > 15, "{asked:?}");
        for metric in asked {
            assert!(known.contains(metric), "{metric} is no metric");
        }
    }
}
