//! The workflow: scan, one job for each file, merge, report.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::tasks;
use crate::abstraction::{
    Backoff, QueueName, RetryPolicy, StepDefinition, StepId, TaskName, WorkflowDefinition,
};
use crate::{RegistryBuilder, Result, registry};

/// The name of the workflow.
pub(super) const WORKFLOW: &str = "demo_documents";
/// The line in which every job of the pipeline waits.
pub(super) const QUEUE: &str = "demo";
/// The steps, in order.
const STEPS: [&str; 4] = ["scan", "analyze", "merge", "report"];
/// How many files are in work or wait for a worker at once, whatever the length of the listing.
const FILES_AT_ONCE: u32 = 2_048;
/// A worker that is killed uses up an attempt of every job it holds, so a job is given more of them than a run of
/// bad luck can use up.
const ATTEMPTS_MAX: u32 = 25;

/// What a run starts from.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Input {
    /// The directory to scan.
    pub(super) root: PathBuf,
    /// At most so many of its files.
    pub(super) files_max: u32,
    /// What not to scan.
    pub(super) excluded: PathBuf,
    /// Where the report goes.
    pub(super) directory: PathBuf,
}

/// The tasks and the workflow.
pub(super) fn registry() -> RegistryBuilder {
    registry![tasks::scan, tasks::analyze, tasks::merge, tasks::report; workflow]
}

fn workflow() -> Result<WorkflowDefinition> {
    let [scan, analyze, merge, report] = STEPS;
    Ok(WorkflowDefinition::new(WORKFLOW)
        .step(
            step(scan, tasks::scan::NAME)?
                .arg("root", "$input.root")
                .arg("files_max", "$input.files_max")
                .arg("excluded", "$input.excluded"),
        )
        .step(
            step(analyze, tasks::analyze::NAME)?
                .map("$steps.scan.output.files")
                .arg("root", "$input.root")
                .arg("path", "$item")
                .concurrency(FILES_AT_ONCE)
                .continue_on_failure(),
        )
        .step(
            step(merge, tasks::merge::NAME)?
                .arg("listed", "$steps.scan.output.listed")
                .arg("left_out", "$steps.scan.output.left_out")
                .after(StepId::new(analyze)?),
        )
        .step(
            step(report, tasks::report::NAME)?
                .arg("directory", "$input.directory")
                .arg("summary", "$steps.merge.output"),
        ))
}

fn step(id: &str, task: &str) -> Result<StepDefinition> {
    let retry = RetryPolicy {
        attempts_max: ATTEMPTS_MAX,
        backoff: Backoff::Fixed { delay: Duration::from_millis(50) },
        age_max: None,
    };
    let step = StepDefinition::new(StepId::new(id)?, TaskName::new(task)?);
    Ok(step.queue(QueueName::new(QUEUE)?).retry(retry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipeline_passes_the_checks_of_a_start() {
        let registry = registry().build().unwrap();
        assert_eq!(registry.tasks().count(), STEPS.len());
        assert!(registry.workflow(WORKFLOW).is_ok());
    }
}
