//! What callers hand to the engine's threads, and how they are answered.

use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::backend::{Delivery, Settlement, Verdict};
use taskport_abstraction::{Error, QueueName, Result, StepId};
use taskport_engine::Claim;
use tokio::sync::oneshot;

use crate::mailbox::Mailbox;
use crate::verbs::{Look, Write};

/// What the writer is asked for.
pub(crate) enum Letter {
    /// Something to do in the next transaction.
    Request(Box<dyn Request>),
    /// A worker that waits for jobs.
    Claim(Claimer),
}

/// What the reader is asked for.
pub(crate) type Question = Box<dyn FnOnce(&mut dyn Look) + Send>;

/// Something to do in a transaction, and to answer when that has ended.
pub(crate) trait Request: Send {
    /// Does it.
    fn run(&mut self, transaction: &mut dyn Write);
    /// Answers, once the transaction is durable or has failed.
    fn answer(self: Box<Self>, failed: Option<&Error>);
}

/// A request, and where its answer will arrive.
pub(crate) fn ask<T: Send + 'static>(
    work: impl FnOnce(&mut dyn Write) -> T + Send + 'static,
) -> (Letter, oneshot::Receiver<Result<T>>) {
    let (reply, answer) = oneshot::channel();
    (Letter::Request(Box::new(Asked { work: Some(work), done: None, reply })), answer)
}

/// A request somebody waits for.
struct Asked<T, W> {
    work: Option<W>,
    done: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, W> Request for Asked<T, W>
where
    T: Send,
    W: FnOnce(&mut dyn Write) -> T + Send,
{
    fn run(&mut self, transaction: &mut dyn Write) {
        self.done = self.work.take().map(|work| work(transaction));
    }

    fn answer(self: Box<Self>, failed: Option<&Error>) {
        // A caller that has gone away needs no answer.
        let _gone = match (failed, self.done) {
            (Some(error), _) => self.reply.send(Err(error.clone())),
            (None, Some(done)) => self.reply.send(Ok(done)),
            (None, None) => Ok(()),
        };
    }
}

/// Jobs that were claimed for a caller who had gone, to be handed back.
struct HandBack(Vec<Settlement>);

impl Request for HandBack {
    fn run(&mut self, transaction: &mut dyn Write) {
        transaction.settle(&self.0);
    }

    fn answer(self: Box<Self>, failed: Option<&Error>) {
        if let Some(error) = failed {
            tracing::warn!(jobs = self.0.len(), %error, "claimed jobs were not handed back; their leases will lapse");
        }
    }
}

/// Which jobs a worker waits for.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The worker's name.
    pub worker: Arc<str>,
    /// The queues, in order of preference.
    pub queues: Arc<[QueueName]>,
    /// How many jobs at most.
    pub max: usize,
    /// How long the leases last.
    pub lease_for: Duration,
}

/// A worker that waits for jobs.
#[derive(Debug)]
pub(crate) struct Claimer {
    pub(crate) request: ClaimRequest,
    pub(crate) reply: oneshot::Sender<Result<Grant>>,
}

impl Claimer {
    pub(crate) fn claim(&self, transaction: &mut dyn Write) -> Result<Vec<Leased>> {
        let ClaimRequest { worker, queues, max, lease_for } = &self.request;
        let deliveries = transaction.claim(&Claim { worker, queues, max: *max, lease_for: *lease_for })?;
        let leased = deliveries.into_iter().map(|delivery| {
            // A run that has ended leaves its last attempts nothing to read.
            let results = delivery.step.as_ref().and_then(|step| transaction.upstream(step).ok());
            Leased { delivery, results }
        });
        Ok(leased.collect())
    }
}

/// One job for a worker, and how many results there are of each step it may read.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) delivery: Delivery,
    pub(crate) results: Option<StepResults>,
}

/// How many results there are of each of some steps.
pub(crate) type StepResults = Arc<[(StepId, u64)]>;

/// Jobs on their way to a worker. Dropped before they arrive, they are handed back without using up an attempt.
#[derive(Debug)]
pub(crate) struct Grant {
    jobs: Vec<Leased>,
    mailbox: Arc<Mailbox<Letter>>,
}

impl Grant {
    pub(crate) fn new(jobs: Vec<Leased>, mailbox: &Arc<Mailbox<Letter>>) -> Self {
        Self { jobs, mailbox: mailbox.clone() }
    }

    /// The jobs, now the worker's.
    pub(crate) fn accept(mut self) -> Vec<Leased> {
        std::mem::take(&mut self.jobs)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let release = |job: Leased| Settlement { lease: job.delivery.lease, verdict: Verdict::Release };
        let batch = self.jobs.drain(..).map(release).collect();
        // After the close the leases lapse, and the jobs run again all the same.
        let _closed = self.mailbox.send_back("release", Letter::Request(Box::new(HandBack(batch))));
    }
}
