//! Jobs that come with a transaction of the user's own, for this backend or, by way of the outbox, for another.

use std::time::Duration;

use taskport_abstraction::backend::{Backend, Cancellation};
use taskport_abstraction::outbox::{Handover, HandoverEnd, Outbox, OutboxStats, Outgoing, SqlValue};
use taskport_abstraction::{Error, FailureKind, JobState, WithOptions, codes};

use super::cases;
use crate::fixture::{Fixture, eventually};
use crate::kit::echo;

cases! { "transaction":
    a_job_is_taken_when_the_transaction_commits needs [TransactionalEnqueue, Results],
    a_job_of_a_transaction_rolled_back_was_never_there needs [TransactionalEnqueue],
    a_committed_job_is_known_at_once needs [TransactionalEnqueue, Status],
    many_jobs_of_one_transaction_are_all_taken needs [TransactionalEnqueue, Totals],
    a_repeated_statement_is_one_job needs [TransactionalEnqueue, SubmitSameId, Totals],
    a_committed_job_can_be_cancelled_before_it_is_taken needs [TransactionalEnqueue, CancelWaiting],
    a_delay_counts_from_the_statement needs [TransactionalEnqueue, Delay],
    options_come_along needs [TransactionalEnqueue, Tags, Priority],
    a_taken_key_makes_a_job_of_a_transaction_a_dead_letter needs [TransactionalEnqueue, UniqueWhileLive],
    what_cannot_be_taken_becomes_a_dead_letter needs [TransactionalEnqueue, UndecodableKept],
    absorbing_takes_what_is_there_at_once needs [TransactionalEnqueue, Totals],
    a_job_for_another_backend_waits_in_the_outbox needs [Outbox],
    an_outgoing_job_of_a_transaction_rolled_back_was_never_there needs [Outbox],
    a_lapsed_hand_over_is_tried_again needs [Outbox],
    a_hand_over_repeated_after_a_crash_is_one_job needs [Outbox, SubmitSameId, Totals],
    a_failed_hand_over_waits_for_its_time needs [Outbox],
    what_a_target_refuses_is_kept_until_somebody_acts needs [Outbox],
}

// proves R-450
async fn a_job_is_taken_when_the_transaction_commits(f: Fixture) {
    let _worker = f.worker(1);
    let (id, statement) = f.statement(echo("mine"), None);
    f.commit(&[statement]);
    assert_eq!(f.result::<String>(&id).await, "mine");
}

// proves R-451
async fn a_job_of_a_transaction_rolled_back_was_never_there(f: Fixture) {
    let (id, statement) = f.statement(echo(1), None);
    f.roll_back(&[statement]);
    let _worker = f.worker(1);
    let next = f.submit(echo(2)).await;
    f.outcome(&next).await;
    assert!(f.find(&id).await.is_none());
    assert_eq!(f.stage().started(), [2]);
}

// proves R-452
async fn a_committed_job_is_known_at_once(f: Fixture) {
    let (id, statement) = f.statement(echo(1), None);
    assert!(f.find(&id).await.is_none());
    f.commit(&[statement]);
    for _ in 0..20 {
        assert_eq!(f.status(&id).await.state, JobState::Queued);
    }
}

async fn many_jobs_of_one_transaction_are_all_taken(f: Fixture) {
    let statements: Vec<_> = (0..2_500).map(|number| f.statement(echo(number), None).1).collect();
    f.commit(&statements);
    until_submitted(&f, 2_500).await;
}

async fn until_submitted(f: &Fixture, jobs: u64) {
    eventually(&format!("{jobs} jobs are taken"), async || {
        let queues = f.admin().queues().await.unwrap();
        let submitted: u64 = queues.iter().map(|queue| queue.counts.submitted).sum();
        if submitted == jobs { Ok(()) } else { Err(format!("{submitted}")) }
    })
    .await;
}

// proves R-453
async fn a_repeated_statement_is_one_job(f: Fixture) {
    let (id, statement) = f.statement(echo(1), None);
    f.commit(&[statement.clone(), statement.clone()]);
    until_submitted(&f, 1).await;
    f.commit(&[statement]);
    let last = f.statement(echo(2), None);
    f.commit(&[last.1]);
    until_submitted(&f, 2).await;
    assert_eq!(f.status(&id).await.state, JobState::Queued);
}

async fn a_committed_job_can_be_cancelled_before_it_is_taken(f: Fixture) {
    let (id, statement) = f.statement(echo(1), None);
    f.commit(&[statement]);
    let answer = f.backend().cancel(std::slice::from_ref(&id)).await.remove(0);
    assert_eq!(answer.unwrap(), Cancellation::Cancelled);
    assert_eq!(f.failure(&id).await.kind, FailureKind::Cancelled);
}

// proves R-454
async fn a_delay_counts_from_the_statement(f: Fixture) {
    let (id, statement) = f.statement(echo(1).delay(Duration::from_secs(3_600)), None);
    f.commit(&[statement]);
    let before = f.status(&id).await;
    f.transactional().absorb().await.unwrap();
    let after = f.status(&id).await;
    for status in [&before, &after] {
        assert_eq!(status.state, JobState::Scheduled);
        let (start, submitted) = (status.not_before.unwrap(), status.submitted_at.unwrap());
        assert_eq!(start.since(submitted), Duration::from_secs(3_600));
    }
    assert_eq!((before.submitted_at, before.not_before), (after.submitted_at, after.not_before));
}

async fn options_come_along(f: Fixture) {
    let (id, statement) = f.statement(echo(1).tag("a").priority(7), None);
    f.commit(&[statement]);
    f.transactional().absorb().await.unwrap();
    let options = f.status(&id).await.options;
    assert_eq!(options.tags, ["a".into()]);
    assert_eq!(options.priority.unwrap().level(), 7);
}

// proves R-455
async fn a_taken_key_makes_a_job_of_a_transaction_a_dead_letter(f: Fixture) {
    f.submit(echo(1).idempotency_key("k")).await;
    let (id, statement) = f.statement(echo(2).idempotency_key("k"), None);
    f.commit(&[statement]);
    let failure = f.failure(&id).await;
    assert!(failure.message.contains("E-009"), "{failure}");
    assert_eq!(f.status(&id).await.state, JobState::Failed);
}

// proves R-455
async fn what_cannot_be_taken_becomes_a_dead_letter(f: Fixture) {
    let (id, mut statement) = f.statement(echo(1).tag("a"), None);
    let options = statement.parameters.iter().position(
        |value| matches!(value, SqlValue::Blob(bytes) if bytes.starts_with(b"{") && bytes.windows(4).any(|w| w == b"tags")),
    );
    statement.parameters[options.unwrap()] = SqlValue::Blob(b"{\"v\":99,\"value\":{}}".as_slice().into());
    f.commit(&[statement]);
    assert_eq!(f.failure(&id).await.kind, FailureKind::Undecodable);
    // It stands in nobody's way.
    let (next, statement) = f.statement(echo(2), None);
    f.commit(&[statement]);
    let _worker = f.worker(1);
    assert_eq!(f.result::<i64>(&next).await, 2);
}

async fn absorbing_takes_what_is_there_at_once(f: Fixture) {
    let (_, statement) = f.statement(echo(1), None);
    f.commit(&[statement]);
    f.transactional().absorb().await.unwrap();
    let queues = f.admin().queues().await.unwrap();
    assert_eq!(queues.iter().map(|queue| queue.counts.submitted).sum::<u64>(), 1);
}

fn outbox(f: &Fixture) -> &dyn Outbox {
    f.transactional().outbox()
}

async fn fetch(f: &Fixture, lease_for: Duration) -> Vec<Outgoing> {
    outbox(f).fetch(10, lease_for).await.unwrap()
}

async fn settle(f: &Fixture, outgoing: &Outgoing, end: HandoverEnd) {
    let handover = Handover { receipt: outgoing.receipt, end };
    outbox(f).settle(vec![handover]).await.remove(0).unwrap();
}

async fn stats(f: &Fixture) -> (u64, u64) {
    let OutboxStats { waiting, refused } = outbox(f).stats().await.unwrap();
    (waiting, refused)
}

const MINUTE: Duration = Duration::from_secs(60);

// proves R-456
async fn a_job_for_another_backend_waits_in_the_outbox(f: Fixture) {
    let (id, statement) = f.statement(echo(1).priority(3), Some("another"));
    f.commit(&[statement]);
    assert_eq!(stats(&f).await, (1, 0));
    let fetched = fetch(&f, MINUTE).await;
    assert_eq!(fetched.len(), 1);
    assert_eq!((fetched[0].target.as_str(), fetched[0].attempt), ("another", 1));
    assert_eq!(fetched[0].submission.id, id);
    assert_eq!(fetched[0].submission.options.priority.unwrap().level(), 3);
    assert!(fetch(&f, MINUTE).await.is_empty(), "one lease at a time");
    for _ in 0..2 {
        settle(&f, &fetched[0], HandoverEnd::Taken).await;
    }
    assert_eq!(stats(&f).await, (0, 0));
    assert!(f.find(&id).await.is_none(), "it is no job of this backend");
}

async fn an_outgoing_job_of_a_transaction_rolled_back_was_never_there(f: Fixture) {
    let (_, statement) = f.statement(echo(1), Some("another"));
    f.roll_back(&[statement]);
    assert!(fetch(&f, MINUTE).await.is_empty());
    assert_eq!(stats(&f).await, (0, 0));
}

async fn a_lapsed_hand_over_is_tried_again(f: Fixture) {
    let (_, statement) = f.statement(echo(1), Some("another"));
    f.commit(&[statement]);
    assert_eq!(fetch(&f, Duration::from_millis(1)).await.len(), 1);
    let again = eventually("the lease lapses", async || {
        fetch(&f, MINUTE).await.pop().ok_or("nothing is due".to_owned())
    })
    .await;
    assert_eq!(again.attempt, 2);
}

async fn hand_over(to: &dyn Backend, outgoing: &Outgoing) -> bool {
    to.submit(vec![outgoing.submission.clone()]).await.remove(0).unwrap().existing
}

// proves R-457
async fn a_hand_over_repeated_after_a_crash_is_one_job(mut f: Fixture) {
    let target = f.another_backend().await;
    let (id, statement) = f.statement(echo(1), Some("another"));
    f.commit(&[statement]);
    let first = fetch(&f, Duration::from_millis(1)).await.remove(0);
    assert!(!hand_over(&*target, &first).await);
    // Whoever handed it over is gone before it could say so.
    f.restart().await;
    let again = eventually("the lease lapses", async || {
        fetch(&f, MINUTE).await.pop().ok_or("nothing is due".to_owned())
    })
    .await;
    assert!(hand_over(&*target, &again).await, "the repeat is the same job");
    settle(&f, &again, HandoverEnd::Taken).await;
    assert_eq!(stats(&f).await, (0, 0));
    let queues = target.admin().unwrap().queues().await.unwrap();
    assert_eq!(queues.iter().map(|queue| queue.counts.submitted).sum::<u64>(), 1);
    assert!(target.get(&[id]).await.unwrap().remove(0).is_some());
}

async fn a_failed_hand_over_waits_for_its_time(f: Fixture) {
    let (id, statement) = f.statement(echo(1), Some("another"));
    f.commit(&[statement]);
    let fetched = fetch(&f, MINUTE).await.remove(0);
    let why = Error::new(&codes::STORE_BUSY, "submit", "not now");
    settle(&f, &fetched, HandoverEnd::Again(Duration::from_secs(3_600), why)).await;
    assert!(fetch(&f, MINUTE).await.is_empty());
    assert_eq!(stats(&f).await, (1, 0));
    let listed = outbox(&f).list(0, 10).await.unwrap().remove(0);
    assert_eq!((&listed.job, listed.attempt), (&id, 1));
    assert!(listed.reason.unwrap().contains("not now") && listed.due_at.is_some());
    outbox(&f).retry(std::slice::from_ref(&id)).await.remove(0).unwrap();
    assert_eq!(fetch(&f, MINUTE).await.remove(0).attempt, 2);
}

// proves R-458
async fn what_a_target_refuses_is_kept_until_somebody_acts(f: Fixture) {
    let (id, statement) = f.statement(echo(1), Some("another"));
    f.commit(&[statement]);
    let fetched = fetch(&f, MINUTE).await.remove(0);
    settle(&f, &fetched, HandoverEnd::Refused(Error::new(&codes::UNKNOWN_TASK, "submit", "who?"))).await;
    assert_eq!(stats(&f).await, (0, 1));
    assert!(fetch(&f, MINUTE).await.is_empty());
    let listed = outbox(&f).list(0, 10).await.unwrap().remove(0);
    assert!(listed.due_at.is_none() && listed.reason.unwrap().contains("E-001"));
    outbox(&f).delete(std::slice::from_ref(&id)).await.remove(0).unwrap();
    assert_eq!(stats(&f).await, (0, 0));
    let gone = outbox(&f).delete(&[id]).await.remove(0).unwrap_err();
    assert_eq!(gone.code(), &codes::JOB_NOT_FOUND);
}
