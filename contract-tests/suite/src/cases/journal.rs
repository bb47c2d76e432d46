//! What jobs say while they run.

use taskport_abstraction::journal::{JournalEntry, LogLevel, Note};
use taskport_abstraction::{JobId, JobState, Payload, WithOptions, codes};

use super::cases;
use crate::fixture::{Fixture, eventually};
use crate::kit::{echo, saying};

cases! { "journal":
    others_read_the_log_of_a_running_job needs [Logs],
    others_see_a_partial_result_before_the_end needs [PartialResults],
    another_process_reads_the_log_of_a_running_job needs [Logs, MultiProcess],
    nothing_said_before_the_end_is_lost needs [Logs, Results],
    what_a_failed_attempt_said_stays needs [Logs, RetryFixed],
    what_an_attempt_said_before_it_was_handed_back_stays needs [Logs, Release, Drain],
    a_journal_is_read_in_pages needs [Logs],
    a_job_that_says_nothing_has_an_empty_journal needs [Logs],
    a_job_that_is_not_known_has_no_journal needs [Logs],
    a_deleted_job_leaves_nothing_said needs [Logs, JobDelete, Durable],
}

async fn entries(f: &Fixture, job: &JobId, after: u64, len: usize) -> Vec<JournalEntry> {
    f.backend().journal().unwrap().entries(job, after, len).await.unwrap()
}

/// The journal once it has so many entries.
async fn until_said(f: &Fixture, job: &JobId, len: usize) -> Vec<JournalEntry> {
    eventually(&format!("{job} has said {len} things"), async || {
        let said = entries(f, job, 0, 1_000).await;
        if said.len() >= len { Ok(said) } else { Err(format!("{} entries", said.len())) }
    })
    .await
}

fn line(attempt: u32, line: u64) -> Note {
    Note::Log { level: LogLevel::Info, message: format!("attempt {attempt} line {line}") }
}

fn notes(entries: &[JournalEntry]) -> Vec<Note> {
    entries.iter().map(|entry| entry.note.clone()).collect()
}

// proves R-460
async fn others_read_the_log_of_a_running_job(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(saying(3, Some("g"), 0)).await;
    let said = until_said(&f, &id, 4).await;
    assert_eq!(notes(&said[..3]), [line(1, 1), line(1, 2), line(1, 3)]);
    assert!(said.iter().map(|entry| entry.number).eq(1..=4) && said.iter().all(|entry| entry.attempt == 1));
    assert!(said.is_sorted_by_key(|entry| entry.at));
    assert_eq!(f.status(&id).await.state, JobState::Running);
    f.stage().open_gate("g");
    f.outcome(&id).await;
}

// proves R-461
async fn others_see_a_partial_result_before_the_end(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(saying(2, Some("g"), 0)).await;
    let said = until_said(&f, &id, 3).await;
    assert_eq!(said[2].note, Note::Partial(Payload::json(r#"{"lines":2}"#)));
    assert_eq!(f.status(&id).await.state, JobState::Running);
    f.stage().open_gate("g");
    f.outcome(&id).await;
}

async fn another_process_reads_the_log_of_a_running_job(f: Fixture) {
    let other = f.second_handle().await;
    let _worker = f.worker_of(&other, &["default"], 1);
    let id = f.submit(saying(1, Some("g"), 0)).await;
    assert_eq!(until_said(&f, &id, 2).await[0].note, line(1, 1));
    f.stage().open_gate("g");
    f.outcome(&id).await;
}

// proves R-462
async fn nothing_said_before_the_end_is_lost(f: Fixture) {
    let _worker = f.worker(4);
    let mut jobs = Vec::new();
    for receipt in f.submit_all((0..100).map(|_| saying(20, None, 0))).await {
        jobs.push(receipt.unwrap().job.id);
    }
    for job in jobs {
        f.outcome(&job).await;
        let said = entries(&f, &job, 0, 1_000).await;
        assert_eq!(said.len(), 21, "{job}");
        assert!((1..=20).all(|number| said[number as usize - 1].note == line(1, number)), "{job}");
    }
}

// proves R-463
async fn what_a_failed_attempt_said_stays(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(saying(1, None, 1).backoff("fixed(1ms)".parse().unwrap())).await;
    f.outcome(&id).await;
    let said = entries(&f, &id, 0, 1_000).await;
    let attempts: Vec<(u64, u32)> = said.iter().map(|entry| (entry.number, entry.attempt)).collect();
    assert_eq!(attempts, [(1, 1), (2, 1), (3, 2), (4, 2)]);
    assert_eq!(said[2].note, line(2, 1));
}

async fn what_an_attempt_said_before_it_was_handed_back_stays(f: Fixture) {
    let worker = f.worker(1);
    let id = f.submit(saying(1, Some("never"), 0)).await;
    f.until_state(&id, JobState::Running).await;
    until_said(&f, &id, 2).await;
    worker.abort().await;
    assert_eq!(f.status(&id).await.state, JobState::Queued);
    assert_eq!(entries(&f, &id, 0, 1_000).await.len(), 2);
}

async fn a_journal_is_read_in_pages(f: Fixture) {
    let _worker = f.worker(1);
    let id = f.submit(saying(5, None, 0)).await;
    f.outcome(&id).await;
    let (first, second) = (entries(&f, &id, 0, 4).await, entries(&f, &id, 4, 4).await);
    assert!(first.iter().chain(&second).map(|entry| entry.number).eq(1..=6));
    assert!(entries(&f, &id, 6, 4).await.is_empty());
}

async fn a_job_that_says_nothing_has_an_empty_journal(f: Fixture) {
    let id = f.submit(echo(1)).await;
    assert!(entries(&f, &id, 0, 10).await.is_empty());
}

async fn a_job_that_is_not_known_has_no_journal(f: Fixture) {
    let error = f.backend().journal().unwrap().entries(&f.new_id(), 0, 10).await.unwrap_err();
    assert_eq!(error.code(), &codes::JOB_NOT_FOUND);
}

// proves R-465
async fn a_deleted_job_leaves_nothing_said(mut f: Fixture) {
    let worker = f.worker(1);
    let id = f.submit(saying(3, None, 0)).await;
    f.outcome(&id).await;
    worker.drain().await;
    f.admin().delete(std::slice::from_ref(&id)).await.remove(0).unwrap();
    // A program that knows nothing of the job may keep the next one in its place.
    f.restart().await;
    let next = f.submit(echo(1)).await;
    assert!(entries(&f, &next, 0, 10).await.is_empty());
}
