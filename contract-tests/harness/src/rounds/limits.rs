//! Arguments and results at their limit, one byte beside it, and far beyond.

use anyhow::{Context, Result, bail};
use taskport::config::Config;
use taskport::prelude::*;
use taskport_abstraction::{JobState, Outcome};
use tokio::runtime::Runtime;

use super::Ground;
use crate::arena::{Figures, Judged};
use crate::victim;

const LIMIT: usize = 1 << 20;
const HUGE: usize = 64 << 20;

/// Submits calls of every size, and runs jobs with results of every size.
pub(super) fn run(ground: &Ground<'_>) -> Result<Judged> {
    let mut problems = Vec::new();
    let jobs = Runtime::new()?.block_on(async {
        let text = format!(
            "[backends.main]\nkind = \"native\"\nurl = \"sqlite://{}\"\npayload_bytes_max = {LIMIT}\nresult_bytes_max = {LIMIT}",
            ground.dir.join("limits.db").display(),
        );
        let config = Config::from_toml(&text)?;
        let port = Taskport::builder().config(config).registry(victim::echo_registry()).open().await?;
        let sizes = async {
            let mut jobs = 0;
            for bytes in [LIMIT - 1, LIMIT, LIMIT + 1, HUGE] {
                jobs += arguments_of(&port, bytes, &mut problems).await?;
                jobs += result_of(&port, bytes, &mut problems).await?;
            }
            anyhow::Ok(jobs)
        };
        let jobs = tokio::select! {
            jobs = sizes => jobs?,
            ended = port.worker().run() => bail!("the worker ended: {ended:?}"),
        };
        port.close().await?;
        Ok(jobs)
    })?;
    let faults = [("oversize", 8)].into();
    Ok(Judged {
        figures: Figures { jobs, faults: 8, ..Figures::default() },
        faults,
        problems,
        examples: Vec::new(),
    })
}

/// A call whose arguments have exactly so many bytes is taken up to the limit, and refused by both sizes beyond.
async fn arguments_of(port: &Taskport, bytes: usize, problems: &mut Vec<String>) -> Result<u64> {
    let (_, call, _) = victim::echo_call(String::new()).into_raw()?;
    let padding = "x".repeat(bytes - call.arguments.len());
    match port.submit(victim::echo_call(padding)).await {
        Ok(job) if bytes <= LIMIT => {
            job.result().await.context("a job within the limits")?;
            Ok(1)
        }
        Ok(_) => {
            problems.push(format!("arguments of {bytes} bytes were taken, over the limit of {LIMIT}"));
            Ok(1)
        }
        Err(error) => {
            let told = error.to_string();
            let good = bytes > LIMIT
                && error.code().to_string() == "E-006"
                && told.contains(&bytes.to_string())
                && told.contains(&LIMIT.to_string());
            if !good {
                problems.push(format!("arguments of {bytes} bytes: {told}"));
            }
            Ok(0)
        }
    }
}

/// A job whose result has exactly so many bytes succeeds up to the limit, and is dead beyond, at its first attempt.
async fn result_of(port: &Taskport, bytes: usize, problems: &mut Vec<String>) -> Result<u64> {
    let job = port.submit(victim::echo_result_call(bytes)).await?;
    let ended = job.result().await;
    let status = job.status().await?;
    let expected = if bytes <= LIMIT { JobState::Succeeded } else { JobState::Failed };
    if status.state != expected || status.attempt != 1 {
        problems.push(format!("a result of {bytes} bytes: {} at attempt {}", status.state, status.attempt));
    }
    match (&ended, &status.outcome) {
        (Ok(_), _) => {}
        (Err(_), Some(Outcome::Failure(failure))) if failure.kind.as_str() == "result_too_large" => {}
        (Err(error), outcome) => bail!("a result of {bytes} bytes: {error}, {outcome:?}"),
    }
    Ok(1)
}
