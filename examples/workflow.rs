//! A graph of steps with a fan-out, started by one process and finished by another.
//!
//! `cargo run --package taskport-examples --example workflow`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use taskport::abstraction::backend::{RunStatus, StepState};
use taskport::config::Config;
use taskport::prelude::*;
use taskport::{RegistryBuilder, Result, ShutdownController};

/// Lists the files of a folder, by name.
#[task(blocking)]
fn list_files(folder: PathBuf) -> std::io::Result<Vec<PathBuf>> {
    let mut files =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// What is counted in one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counted {
    file: PathBuf,
    words: usize,
}

/// Counts the words of a file.
#[task(blocking, max_attempts = 1)]
fn count(file: PathBuf) -> std::io::Result<Counted> {
    let words = std::fs::read_to_string(&file)?.split_whitespace().count();
    Ok(Counted { file, words })
}

/// What the run is for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Census {
    files: usize,
    words: usize,
}

/// Adds up what the step before counted, without holding all of it in memory.
#[task]
async fn merge(ctx: &TaskContext) -> TaskResult<Census> {
    let mut census = Census { files: 0, words: 0 };
    ctx.upstream_each("count", |_, counted: Counted| {
        census.files += 1;
        census.words += counted.words;
    })
    .await?;
    Ok(census)
}

/// Says that there is nothing to count.
#[task]
async fn complain(folder: PathBuf) -> TaskResult<()> {
    Err(TaskError::fatal(format!("{} is empty", folder.display())))
}

/// The graph. The same as YAML is a file that `taskport run census.yaml` takes.
fn census() -> Result<WorkflowDefinition> {
    let step =
        |id: &str, task: &str| Ok::<_, taskport::Error>(StepDefinition::new(id.parse()?, task.parse()?));
    Ok(WorkflowDefinition::new("census")
        .step(step("list", list_files::NAME)?.arg("folder", "$input.folder"))
        .step(
            step("empty", complain::NAME)?
                .arg("folder", "$input.folder")
                .when("size(steps.list.output) == 0")
                .after("list".parse()?),
        )
        .step(
            step("count", count::NAME)?
                .map("$steps.list.output")
                .concurrency(4)
                .arg("file", "$item")
                .continue_on_failure(),
        )
        .step(step("merge", merge::NAME)?.after("count".parse()?))
        .output("$steps.merge.output"))
}

fn tasks() -> RegistryBuilder {
    registry![list_files, count, merge, complain; census]
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let texts = folder.path().join("texts");
    std::fs::create_dir(&texts)?;
    for (name, bytes) in [("a.txt", "one two".as_bytes()), ("b.txt", b"three"), ("c.bin", &[0xff, 0xfe])] {
        std::fs::write(texts.join(name), bytes)?;
    }

    // The first process starts the run and ends.
    let port = open(folder.path()).await?;
    let input = HashMap::from([("folder", &texts)]);
    let run = port.run("census", &input).await?;
    let id = run.id().clone();
    port.close().await?;

    // The second one finds it where it was.
    let port = open(folder.path()).await?;
    let stop = ShutdownController::new();
    let worker = tokio::spawn(port.worker().run_until(stop.handle()));
    let run = port.existing_run(id);
    let status = run.progress(|_| {}).await?;
    print_steps(&status);

    assert_eq!(run.wait::<Census>().await?, Census { files: 2, words: 3 });
    let states: Vec<_> = status.steps.iter().map(|step| (step.id.as_str(), step.state)).collect();
    let expected = [
        ("list", StepState::Succeeded),
        ("empty", StepState::Skipped),
        ("count", StepState::Failed), // One file of three was no text; the run went on without it.
        ("merge", StepState::Succeeded),
    ];
    assert_eq!(states, expected);
    assert_eq!((status.steps[2].succeeded, status.steps[2].failed), (2, 1));

    stop.drain();
    worker.await??;
    Ok(port.close().await?)
}

async fn open(folder: &Path) -> anyhow::Result<Taskport> {
    let url = format!("sqlite://{}", folder.join("taskport.db").display());
    let config = Config::from_toml(&format!("[backends.main]\nkind = \"native\"\nurl = \"{url}\""))?;
    Ok(Taskport::builder().config(config).registry(tasks()).open().await?)
}

fn print_steps(status: &RunStatus) {
    for step in &status.steps {
        let seconds = match (step.started_at, step.finished_at) {
            (Some(started), Some(finished)) => finished.since(started).as_secs_f64(),
            _ => 0.0,
        };
        println!("{:<6} {:?} {}/{} in {seconds:.3} s", step.id, step.state, step.succeeded, step.total);
    }
}
