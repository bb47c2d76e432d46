//! What jobs say, as a program follows it.

use futures_util::StreamExt;
use taskport::abstraction::codes;
use taskport::abstraction::journal::{LogLevel, Note};
use taskport::prelude::*;
use taskport::registry;

use crate::kit::{Place, start};

#[task(max_attempts = 1)]
async fn chapters(ctx: &TaskContext, count: u32) -> TaskResult<u32> {
    for chapter in 1..=count {
        ctx.log(LogLevel::Info, format!("chapter {chapter}"));
        ctx.partial(&chapter)?;
    }
    Ok(count)
}

/// Waits for the file, and says so.
#[task(max_attempts = 1)]
async fn patient(ctx: &TaskContext, path: std::path::PathBuf) -> TaskResult<()> {
    ctx.log(LogLevel::Warn, "waiting");
    while !path.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    ctx.log(LogLevel::Info, "done");
    Ok(())
}

async fn open(place: &Place) -> Taskport {
    let tasks = registry![chapters, patient];
    Taskport::builder().config(place.config_with("")).registry(tasks).open().await.unwrap()
}

// proves R-464
#[tokio::test]
async fn following_tells_everything_once_and_ends_with_the_job() {
    let place = Place::new();
    let port = open(&place).await;
    let job = port.submit(chapters(600)).await.unwrap();
    let mut said = job.follow(0).unwrap();
    let worker = start(port.worker());
    let mut numbers = Vec::new();
    while let Some(entry) = said.next().await {
        numbers.push(entry.unwrap().number);
    }
    // The worker holds 1,000 notes at once and says how many it left out.
    assert!(numbers.len() > 1_000 && numbers.len() <= 1_200, "{}", numbers.len());
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64));
    assert_eq!(job.journal(numbers.len() as u64, 10).await.unwrap(), []);
    worker.stop().await;
}

#[tokio::test]
async fn following_tells_what_is_said_while_the_job_runs() {
    let place = Place::new();
    let port = open(&place).await;
    let worker = start(port.worker());
    let file = place.path().join("go");
    let job = port.submit(patient(file.clone())).await.unwrap();
    let mut said = job.follow(0).unwrap();
    let first = said.next().await.unwrap().unwrap();
    assert_eq!(first.note, Note::Log { level: LogLevel::Warn, message: "waiting".into() });
    assert!(job.status().await.unwrap().finished_at.is_none());
    std::fs::write(file, "").unwrap();
    assert_eq!(said.next().await.unwrap().unwrap().number, 2);
    assert!(said.next().await.is_none());
    worker.stop().await;
}

#[tokio::test]
async fn following_a_job_that_is_not_there_says_so() {
    let place = Place::new();
    let port = open(&place).await;
    let nobody = port.job(&"main:nobody".parse().unwrap()).unwrap();
    let told: Vec<_> = nobody.follow(0).unwrap().collect().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].as_ref().unwrap_err().code(), &codes::JOB_NOT_FOUND);
}
