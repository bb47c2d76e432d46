//! Every form of a task compiles without a warning, whatever its crate forbids.
#![forbid(unsafe_code)]
#![deny(
    warnings,
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations
)]

use std::num::ParseIntError;

use taskport::{RegistryBuilder, TaskContext, TaskError, TaskResult, WithOptions, registry, task};

/// Has a module's name in front.
pub(crate) mod inner {
    use taskport::task;

    /// Is called from elsewhere.
    #[task(name = "inner.visible")]
    pub(crate) fn visible(words: Vec<String>) {
        drop(words);
    }
}

#[task(name = "forms.quiet")]
fn quiet() {}

/// Counts.
#[task(
    name = "forms.count",
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
pub(crate) async fn count(
    ctx: &TaskContext,
    /// The text.
    mut text: String,
    #[default] r#type: Option<String>,
    #[default(String::from("en"))] language: String,
) -> TaskResult<usize> {
    std::future::ready(()).await;
    text.push_str(&language);
    ctx.progress(1.0, r#type.as_deref());
    Ok(text.len())
}

#[task(name = "forms.parse", blocking, detach_on_timeout, timeout = "1m")]
fn parse(text: String) -> Result<u32, ParseIntError> {
    text.parse()
}

#[task(name = "forms.refuse", isolated, timeout = "1m")]
fn refuse() -> std::result::Result<(), TaskError> {
    Err(TaskError::fatal("always"))
}

#[task(name = "forms.charge", remote)]
async fn charge(customer: String, #[default] cents: i64) -> u64;

#[cfg(any())]
#[task]
fn left_out() {}

#[task]
#[cfg(any())]
fn left_out() {}

fn all() -> RegistryBuilder {
    #[task(name = "forms.inside")]
    fn inside() {}

    registry![count, inner::visible, parse, quiet, refuse, charge, inside]
}

#[test]
fn every_form_is_a_task() {
    let call = count("x".into()).arg_language("de".into()).priority(3);
    drop((call.arg_type(None), charge("c".into()), inner::visible(Vec::new())));
    drop((parse("1".into()), quiet(), refuse()));
    assert_eq!(all().build().expect("every form passes the checks").tasks().count(), 7);
}
