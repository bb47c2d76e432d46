//! Runs attempts one after another, each in place for as long as it does not wait.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use taskport_abstraction::backend::Verdict;
use taskport_abstraction::{Executor, Failure, FailureKind};
use tokio::time::Instant;

use super::in_hand::{InHand, Next, Started};

/// How long and how often a lane runs attempts before it lets every other task of its thread run.
const TURN: Duration = Duration::from_micros(200);
const TURN_LEN_MAX: usize = 64;

/// Runs attempts until it is dropped.
pub(super) async fn run(in_hand: Arc<InHand>, executor: Arc<dyn Executor>) {
    loop {
        in_hand.work().await;
        let mut turn = Turn::begin();
        let mut next = in_hand.go_on(false);
        loop {
            next = match next {
                Next::Start(started) => step(&in_hand, executor.as_ref(), started, &mut turn).await,
                Next::GiveWay if turn.over => {
                    in_hand.rest().await;
                    break;
                }
                Next::GiveWay => {
                    give_way().await;
                    in_hand.go_on(false)
                }
                Next::Wait => break,
            };
        }
    }
}

/// What a lane has done since it last let every other task run.
struct Turn {
    began: Instant,
    len: usize,
    over: bool,
}

impl Turn {
    fn begin() -> Self {
        Self { began: Instant::now(), len: 0, over: false }
    }

    /// Counts an attempt. Whether it is the last of the turn.
    fn count(&mut self) -> bool {
        self.len += 1;
        self.over = self.len >= TURN_LEN_MAX || self.began.elapsed() > TURN;
        self.over
    }
}

/// Lets what this task has woken run, and goes on on whichever thread is free first.
pub(super) async fn give_way() {
    let mut given = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls one attempt once. One that has to wait becomes a task of its own.
async fn step(in_hand: &Arc<InHand>, executor: &dyn Executor, started: Started, turn: &mut Turn) -> Next {
    let Started { key, attempt } = started;
    let mut unfinished = Unfinished { in_hand: Some(in_hand.clone()), key };
    let mut attempt = executor.execute(attempt);
    let polled = poll_fn(|cx| Poll::Ready(attempt.as_mut().poll(cx))).await;
    let is_last = turn.count();
    match polled {
        Poll::Ready(verdict) => {
            unfinished.in_hand = None;
            in_hand.finish_and_go_on(key, verdict, is_last)
        }
        Poll::Pending => {
            let task = tokio::spawn(async move { unfinished.finish(attempt.await) });
            in_hand.can_abort(key, task.abort_handle());
            in_hand.go_on(true)
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
