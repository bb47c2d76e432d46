//! Runs attempts one after another, each in place for as long as it does not wait.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use taskport_abstraction::backend::Verdict;
use taskport_abstraction::{Executor, Failure, FailureKind};
use tokio::time::Instant;

use super::in_hand::{InHand, Started};

/// How long and how often a lane runs attempts before it lets other tasks of its thread run.
const TURN: Duration = Duration::from_micros(200);
const TURN_LEN_MAX: usize = 64;

/// Runs attempts until it is dropped.
pub(super) async fn run(in_hand: Arc<InHand>, executor: Arc<dyn Executor>) {
    loop {
        let mut next = Some(in_hand.next().await);
        let (mut turn, mut len) = (Instant::now(), 0);
        while let Some(started) = next {
            next = step(&in_hand, executor.as_ref(), started).await;
            len += 1;
            if len == TURN_LEN_MAX || turn.elapsed() > TURN {
                tokio::task::yield_now().await;
                (turn, len) = (Instant::now(), 0);
            }
        }
    }
}

/// Polls one attempt once. One that has to wait becomes a task of its own.
async fn step(in_hand: &Arc<InHand>, executor: &dyn Executor, started: Started) -> Option<Started> {
    let Started { key, attempt } = started;
    let mut unfinished = Unfinished { in_hand: Some(in_hand.clone()), key };
    let mut attempt = executor.execute(attempt);
    match poll_fn(|cx| Poll::Ready(attempt.as_mut().poll(cx))).await {
        Poll::Ready(verdict) => {
            unfinished.in_hand = None;
            in_hand.finish_and_next(key, verdict)
        }
        Poll::Pending => {
            let task = tokio::spawn(async move { unfinished.finish(attempt.await) });
            in_hand.can_abort(key, task.abort_handle());
            in_hand.try_next()
        }
    }
}

/// An attempt under way. It ends even where what polls it does not get that far.
struct Unfinished {
    in_hand: Option<Arc<InHand>>,
    key: u64,
}

impl Unfinished {
    fn finish(mut self, verdict: Verdict) {
        if let Some(in_hand) = self.in_hand.take() {
            in_hand.finish(self.key, verdict);
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Has no effect on an attempt that was handed back.
        if let Some(in_hand) = &self.in_hand {
            let failure = Failure::new(FailureKind::WorkerLost, "the executor dropped the attempt");
            in_hand.finish(self.key, Verdict::Retry { failure, after: None });
        }
    }
}
