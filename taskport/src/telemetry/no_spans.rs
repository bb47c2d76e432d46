//! What stands for the spans in a build without them.

use std::sync::Arc;

use taskport_abstraction::backend::Submission;
use taskport_abstraction::options::TraceContext;
use taskport_abstraction::{BackendName, Error, TaskName};
use taskport_worker::AttemptSpans;
use tracing::Span;

pub(crate) fn submit_span(_: &BackendName, _: Option<&TaskName>) -> Span {
    Span::none()
}

pub(crate) fn note_sent(_: &Span, _: &[&Submission]) {}

pub(crate) fn note_failed(_: &Span, _: &Error) {}

pub(crate) fn current_trace() -> Option<TraceContext> {
    None
}

pub(crate) fn attempt_spans(_: &BackendName) -> Option<Arc<dyn AttemptSpans>> {
    None
}
