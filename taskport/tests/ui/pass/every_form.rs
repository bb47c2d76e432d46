#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, missing_debug_implementations)]
//! Every form of a task compiles without a warning, whatever its crate forbids.

use std::num::ParseIntError;

use taskport::{TaskContext, TaskError, TaskResult, WithOptions, registry, task};

/// Has a module's name in front.
pub mod inner {
    use taskport::task;

    /// Is called from elsewhere.
    #[task]
    pub(crate) fn visible(_words: Vec<String>) {}
}

#[task]
fn nothing() {}

/// Counts.
#[task(
    name = "words.count",
    queue = "reports",
    priority = 9,
    max_attempts = 3,
    backoff = "linear(1s, max 5s)",
    max_age = "1h",
    timeout = "30s",
    soft_timeout = "25s",
    tags = ["a", "b"],
    idempotent,
)]
pub async fn count(
    ctx: &TaskContext,
    /// The text.
    mut text: String,
    #[default] r#type: Option<String>,
    #[default(String::from("en"))] language: String,
) -> TaskResult<usize> {
    text.push_str(&language);
    ctx.progress(1.0, r#type.as_deref());
    Ok(text.len())
}

#[task(blocking, detach_on_timeout, timeout = "1m")]
fn parse(text: String) -> Result<u32, ParseIntError> {
    text.parse()
}

#[task(isolated, timeout = "1m")]
async fn fail() -> std::result::Result<(), TaskError> {
    Err(TaskError::fatal("always"))
}

#[task(name = "billing.charge", remote)]
async fn charge(customer: String, #[default] cents: i64) -> u64;

#[cfg(any())]
#[task]
fn left_out() {}

#[task]
#[cfg(any())]
fn left_out() {}

fn main() {
    let call = count("x".into()).arg_language("de".into()).priority(3);
    let calls = (call.arg_type(None), charge("c".into()), inner::visible(Vec::new()));
    drop(calls);
    drop((parse("1".into()), nothing(), fail()));
    drop(registry![count, inner::visible, parse, nothing, fail, charge]);
}
