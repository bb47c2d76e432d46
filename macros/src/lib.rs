//! The `#[task]` attribute: nothing but syntax. What it expands to lives in `taskport-registry`, reached through
//! `taskport::private`, so that a user's crate depends on `taskport` alone.

mod expand;
mod function;
mod options;

use proc_macro::TokenStream;

use self::function::Function;
use self::options::Options;

/// Makes a function a task.
///
/// ```text
/// /// Renders a report.
/// #[task(queue = "reports", max_attempts = 5, backoff = "exponential(1s, max 5m, jitter)", timeout = "30s")]
/// async fn render(ctx: &TaskContext, title: String, #[default(7)] pages: u32) -> TaskResult<PathBuf> { … }
/// ```
///
/// The name then stands for two things:
///
/// - the function `render(title)` makes a call, to be submitted. Where parameters have a `#[default]`, it makes a
///   `RenderCall`, whose `.arg_pages(3)` sets one that is not to have its default; else a `Call<PathBuf>`;
/// - the type `render` has `render::NAME`, `render::definition()` and `render::run(&ctx, title, pages)`, which is the
///   function as it was written and needs no backend.
///
/// # Parameters
/// The first may be `ctx: &TaskContext`. All others are owned, named values that implement serde's traits; those with
/// `#[default]` (the type's own) or `#[default(expression)]` may be left out of a call and stand last. Where a type
/// implements `schemars::JsonSchema`, the manifest describes it. A doc comment on a parameter becomes its description.
///
/// # Result
/// Nothing, a value, or a `Result` of a value and any error that turns into a `TaskError`. The value is owned and
/// implements serde's traits.
///
/// # Options
/// | option | meaning |
/// | --- | --- |
/// | `name = "billing.charge"` | the name calls use; left out, the function's own, whatever module it is in |
/// | `queue = "reports"` | the line its jobs wait in |
/// | `priority = 7` | 0 to 9, 9 first |
/// | `max_attempts = 5` | the largest number of attempts, the first included |
/// | `backoff = "exponential(1s, max 5m, jitter)"` | the delay before each next attempt; also `linear(5s, max 1m)`, `fixed(5s)` |
/// | `max_age = "1h"` | no attempt starts later than this after the submit |
/// | `timeout = "30s"` | an attempt that takes longer is stopped |
/// | `soft_timeout = "25s"` | an attempt that takes longer is asked to stop, through its context |
/// | `concurrency = 2` | at most so many of its jobs run at once, over all workers |
/// | `rate_limit = "100/1m"` | its jobs start at this rate, over all workers |
/// | `tags = ["nightly"]` | words to find its jobs by |
/// | `blocking` | a plain function runs on the blocking pool |
/// | `isolated` | each attempt runs in a child process that can be killed at its limits |
/// | `remote` | declared here, implemented elsewhere: the function has no body |
/// | `idempotent` | running it twice does no harm |
/// | `detach_on_timeout` | a `blocking` attempt past its `timeout` is left behind on its thread |
///
/// Every value is checked when the program is compiled.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = Function::parse(item.into()).and_then(|function| {
        let options = Options::parse(options.into())?;
        options.check_against(&function)?;
        Ok(expand::expand(&function, &options))
    });
    expanded.unwrap_or_else(|error| error.into_compile_error()).into()
}
