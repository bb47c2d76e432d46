//! The spans of submits and attempts, as OpenTelemetry's conventions for messaging describe them.
//!
//! They are spans of `tracing`, so that what a handler opens by itself becomes their child.

use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use taskport_abstraction::backend::{Delivery, Submission, Verdict};
use taskport_abstraction::options::TraceContext;
use taskport_abstraction::{BackendName, Error, QueueName, TaskName};
use taskport_worker::AttemptSpans;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const SYSTEM: &str = "taskport";

/// The span of one submit of one job of `task`, or of many jobs.
pub(crate) fn submit_span(backend: &BackendName, task: Option<&TaskName>) -> Span {
    let span = tracing::info_span!(
        target: "taskport::submit",
        "submit",
        otel.name = task.map_or_else(|| "submit".to_owned(), |task| format!("submit {task}")),
        otel.kind = "producer",
    );
    for (key, value) in [
        ("messaging.system", SYSTEM),
        ("messaging.operation.name", "submit"),
        ("messaging.operation.type", "send"),
        ("taskport.backend", backend.as_str()),
    ] {
        span.set_attribute(key, value.to_owned());
    }
    if let Some(task) = task {
        span.set_attribute("taskport.task", task.as_str().to_owned());
    }
    span
}

/// Says in the span of a submit what is sent.
pub(crate) fn note_sent(span: &Span, batch: &[&Submission]) {
    if let [one] = batch {
        let queue = one.options.queue.clone().unwrap_or_else(QueueName::default_queue);
        span.set_attribute("messaging.message.id", one.id.as_str().to_owned());
        span.set_attribute("messaging.destination.name", queue.as_str().to_owned());
    } else {
        span.set_attribute("messaging.batch.message_count", i64::try_from(batch.len()).unwrap_or(i64::MAX));
    }
}

/// Says in the span of a submit that it failed, or one of its jobs did. The message may quote an argument (I7).
pub(crate) fn note_failed(span: &Span, error: &Error) {
    let code = error.code().to_string();
    span.set_attribute("error.type", code.clone());
    span.set_status(Status::error(code));
}

/// The context of the span that is current, where somebody collects it.
pub(crate) fn current_trace() -> Option<TraceContext> {
    let context = Span::current().context();
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return None;
    }
    let text = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8() & 1);
    TraceContext::new(text).ok()
}

/// The span a trace context names.
fn parent(trace: &TraceContext) -> Option<SpanContext> {
    let mut parts = trace.as_str().split('-').skip(1);
    let trace_id = TraceId::from_hex(parts.next()?).ok()?;
    let span_id = SpanId::from_hex(parts.next()?).ok()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    let sampled = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    let context = SpanContext::new(trace_id, span_id, sampled, true, TraceState::default());
    context.is_valid().then_some(context)
}

/// What adds to the spans of attempts on a backend.
pub(crate) fn attempt_spans(backend: &BackendName) -> Option<Arc<dyn AttemptSpans>> {
    Some(Arc::new(ProcessSpans { backend: backend.clone() }))
}

/// Makes the span of each attempt go on where its submit ended.
#[derive(Debug)]
struct ProcessSpans {
    backend: BackendName,
}

impl AttemptSpans for ProcessSpans {
    fn start(&self, span: &Span, delivery: &Delivery) {
        span.record("otel.name", format!("process {}", delivery.call.task));
        span.record("otel.kind", "consumer");
        for (key, value) in [
            ("messaging.system", SYSTEM),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", delivery.queue.as_str()),
            ("messaging.message.id", delivery.lease.job.as_str()),
            ("taskport.backend", self.backend.as_str()),
            ("taskport.task", delivery.call.task.as_str()),
        ] {
            span.set_attribute(key, value.to_owned());
        }
        span.set_attribute("taskport.attempt", i64::from(delivery.attempt));
        if let Some(submit) = delivery.options.trace.as_ref().and_then(parent) {
            // Without an OpenTelemetry layer there is nothing to set.
            let _set = span.set_parent(Context::new().with_remote_span_context(submit.clone()));
            span.add_link(submit);
        }
    }

    fn end(&self, span: &Span, verdict: &Verdict) {
        let (verdict, failure) = match verdict {
            Verdict::Ack(_) => ("ack", None),
            Verdict::Retry { failure, .. } => ("retry", Some(failure)),
            Verdict::Reject(failure) => ("reject", Some(failure)),
            Verdict::Cancelled(_) => ("cancelled", None),
            Verdict::Release => ("release", None),
        };
        span.add_event("settle", vec![KeyValue::new("taskport.verdict", verdict)]);
        if let Some(failure) = failure {
            // The message of a failure may quote an argument (I7); its kind does not.
            span.set_attribute("error.type", failure.kind.as_str());
            span.set_status(Status::error(failure.kind.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_trace_context_names_a_parent() {
        let check = |text: &str, expected: Option<(&str, bool)>| {
            let found = parent(&TraceContext::new(text).unwrap());
            let found = found.map(|span| (span.span_id().to_string(), span.is_sampled()));
            assert_eq!(found, expected.map(|(id, sampled)| (id.to_owned(), sampled)), "{text}");
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        check(&format!("00-{trace}-00f067aa0ba902b7-01"), Some(("00f067aa0ba902b7", true)));
        check(&format!("00-{trace}-00f067aa0ba902b7-00"), Some(("00f067aa0ba902b7", false)));
        check(&format!("00-{trace}-0000000000000000-01"), None);
        check("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None);
    }
}
