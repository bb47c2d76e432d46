//! Declares tasks, submits calls, runs a worker and reads the results.
//!
//! `cargo run --package taskport-examples --example quickstart`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::time::Duration;

use taskport::prelude::*;
use taskport::{JobState, ShutdownController};

/// Greets somebody.
#[task(max_attempts = 5, backoff = "exponential(1s, max 5m, jitter)", timeout = "30s")]
async fn greet(name: String, #[default(1)] times: u32) -> TaskResult<String> {
    Ok(vec![format!("hello {name}!"); times as usize].join(" "))
}

/// Counts the words of a file. A plain function that waits for the disk runs on the blocking pool.
#[task(blocking, queue = "files")]
fn count_words(path: std::path::PathBuf) -> std::io::Result<usize> {
    Ok(std::fs::read_to_string(path)?.split_whitespace().count())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = write_config(folder.path())?;

    // The functions themselves need no backend.
    assert_eq!(greet::run("Ada".into(), 2).await.ok(), Some("hello Ada! hello Ada!".into()));

    let port = Taskport::open(config, registry![greet, count_words]).await?;

    // Ok means that the job is on disk. Nothing has run yet: there is no worker.
    let job = port.submit(greet("Ada".into()).arg_times(2)).await?;
    assert_eq!(job.status().await?.state, JobState::Queued);

    // Many calls in one transaction, each with its own options.
    let names = ["Grace", "Edsger", "Barbara"];
    let calls = names.map(|name| greet(name.into()).priority(7).tag("crowd"));
    let crowd = port.submit_many(calls).await.into_iter().collect::<Result<Vec<_>, _>>()?;

    let text = folder.path().join("text.txt");
    std::fs::write(&text, "three little words")?;
    let words = port.submit(count_words(text).delay(Duration::from_millis(20))).await?;

    // The worker usually is another process: the same program with `port.run_worker()`, or `taskport worker`.
    let stop = ShutdownController::new();
    let worker = tokio::spawn(port.worker().run_until(stop.handle()));

    assert_eq!(job.result().await?, "hello Ada! hello Ada!");
    assert_eq!(words.result().await?, 3);
    for (name, greeting) in names.iter().zip(wait_all(&crowd).await) {
        assert_eq!(greeting?, format!("hello {name}!"));
    }
    println!("{} jobs ended well", 2 + crowd.len());

    // A call that no compiler has seen is checked before anything is sent.
    let unchecked = Call::dynamic("greet", &["Ada"], &[("time".into(), 2.into())]);
    let refused = port.submit(unchecked).await.expect_err("`greet` has no parameter `time`");
    println!("refused: {refused}");

    stop.drain();
    worker.await??;
    Ok(port.close().await?)
}

/// A program of yours has this file beside it: `taskport init` writes one.
fn write_config(folder: &Path) -> std::io::Result<std::path::PathBuf> {
    let file = folder.join("taskport.toml");
    let url = format!("sqlite://{}", folder.join("taskport.db").display());
    std::fs::write(&file, format!("[backends.main]\nkind = \"native\"\nurl = \"{url}\"\n"))?;
    Ok(file)
}
