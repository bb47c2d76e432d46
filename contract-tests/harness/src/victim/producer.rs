//! The submitting half of a victim: jobs of many kinds, in batches, each written down before it is submitted.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use taskport_abstraction::backend::{Backend, Cancellation, Submission};
use taskport_abstraction::options::{ConcurrencyLimit, Idempotency, OnConflict, Start, Unique};
use taskport_abstraction::{
    Backoff, Call, Error, IntoCall, JobId, JobOptions, JobState, QueueName, RetryPolicy,
};
use taskport_checker::{Event, Line, Operation, State};
use taskport_worker::ShutdownController;
use tokio::time::sleep;

use super::consumer::event_of;
use super::settings::{Kind, Produce};
use super::{TRY_EVERY, Victim, can_pass, is_stopping, later, tasks};

/// How often a submit is repeated while the store cannot take it.
const TRIES_MAX: u32 = 2_000;
const ATTEMPTS_MAX: u32 = 500;
const POISON_ATTEMPTS_MAX: u32 = 2;
/// How many bounded jobs of one producer run at once.
const AT_ONCE_MAX: u32 = 4;
/// The queue of jobs with limits. A queue that holds any hands out all of its jobs in another way.
pub(super) const BOUNDED: &str = "bounded";
/// The queue that no worker serves.
const UNSERVED: &str = "unserved";

/// What distinguishes the id that is offered second under an idempotency key.
pub(crate) const SECOND_OFFER: &str = "-again";

/// One job, as it is to be submitted.
#[derive(Debug, Clone)]
struct Job {
    key: String,
    kind: Kind,
    submission: Submission,
    not_before_us: Option<u64>,
    /// The ordering key, and the place under it.
    order: Option<(String, u64)>,
}

/// Submits jobs until there are enough, or until it is told to stop.
pub(crate) async fn run(victim: &Arc<Victim>, shutdown: &ShutdownController) -> Result<(), Error> {
    let Some(produce) = &victim.settings.produce else { return Ok(()) };
    let mut rng = Rng::with_seed(produce.seed);
    let mut submitted = 0;
    while !is_stopping(shutdown) && produce.jobs.is_none_or(|jobs| submitted < jobs) {
        if victim.waiting(false).await.is_ok_and(|waiting| waiting > produce.backlog) {
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        let left = produce.jobs.map_or(u64::MAX, |jobs| jobs - submitted);
        let len = rng.usize(1..=produce.batch).min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut batch = Vec::with_capacity(len);
        let place = submitted;
        for _ in 0..len {
            let key = format!("{}-{submitted:06}", victim.settings.name);
            batch.extend(draw(victim, produce, &mut rng, key, place)?);
            submitted += 1;
        }
        submit(victim, &batch, shutdown).await?;
        meddle(victim, &batch, &mut rng).await;
    }
    Ok(())
}

/// Submits a batch and repeats what the store could not take.
async fn submit(victim: &Victim, batch: &[Job], shutdown: &ShutdownController) -> Result<(), Error> {
    let mut left: Vec<&Job> = batch.iter().collect();
    for _ in 0..TRIES_MAX {
        let asked: Vec<Line> = left.iter().map(|job| asks(victim, job)).collect();
        victim.history.write(&asked);
        let answers = victim.backend.submit(left.iter().map(|job| job.submission.clone()).collect()).await;
        let answered = left.iter().zip(&answers).map(|(job, answer)| {
            let mut line = victim.history.about(Operation::Submit, event_of(answer), &job.key);
            line.id = answer.as_ref().ok().map(|receipt| receipt.job.id.as_str().to_owned());
            line
        });
        victim.history.write(&answered.collect::<Vec<_>>());
        let mut again = Vec::new();
        for (job, answer) in left.into_iter().zip(answers) {
            match answer {
                Ok(_) => {}
                Err(error) if can_pass(&error) => again.push(job),
                Err(error) => return Err(error),
            }
        }
        if again.is_empty() || is_stopping(shutdown) {
            return Ok(());
        }
        left = again;
        sleep(TRY_EVERY).await;
    }
    Ok(())
}

fn asks(victim: &Victim, job: &Job) -> Line {
    let mut line = victim.history.about(Operation::Submit, Event::Invoke, &job.key);
    line.not_before_us = job.not_before_us;
    line.order = job.order.as_ref().map(|(key, _)| key.clone());
    line.sequence = job.order.as_ref().map(|(_, place)| *place);
    line
}

/// Cancels what is to be cancelled and runs doomed jobs again.
async fn meddle(victim: &Victim, batch: &[Job], rng: &mut Rng) {
    let of = |kind: Kind| batch.iter().filter(move |job| job.kind == kind).collect::<Vec<_>>();
    let jobs = of(Kind::Cancelled);
    if !jobs.is_empty() {
        record(victim, &jobs, Operation::Cancel, |_| (Event::Invoke, None));
        let answers = victim.backend.cancel(&ids(&jobs)).await;
        record(victim, &jobs, Operation::Cancel, |index| {
            answers.get(index).map_or((Event::Info, None), |answer| (event_of(answer), state_of(answer)))
        });
    }
    let jobs = of(Kind::Doomed);
    if !jobs.is_empty()
        && rng.bool()
        && let Some(admin) = victim.backend.admin()
    {
        sleep(Duration::from_millis(20)).await;
        record(victim, &jobs, Operation::Requeue, |_| (Event::Invoke, None));
        let answers = admin.requeue(&ids(&jobs)).await;
        record(victim, &jobs, Operation::Requeue, |index| {
            (answers.get(index).map_or(Event::Info, event_of), None)
        });
    }
}

fn record(victim: &Victim, jobs: &[&Job], op: Operation, what: impl Fn(usize) -> (Event, Option<State>)) {
    let lines = jobs.iter().enumerate().map(|(index, job)| {
        let (event, state) = what(index);
        let mut line = victim.history.about(op, event, &job.key);
        line.state = state;
        line
    });
    victim.history.write(&lines.collect::<Vec<_>>());
}

fn ids(jobs: &[&Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.submission.id.clone()).collect()
}

fn state_of(answer: &Result<Cancellation, Error>) -> Option<State> {
    match answer.as_ref().ok()? {
        Cancellation::Cancelled | Cancellation::AlreadyEnded(JobState::Cancelled) => Some(State::Cancelled),
        Cancellation::Requested => Some(State::Running),
        Cancellation::AlreadyEnded(JobState::Succeeded) => Some(State::Succeeded),
        Cancellation::AlreadyEnded(JobState::Expired) => Some(State::Expired),
        Cancellation::AlreadyEnded(_) => Some(State::Failed),
    }
}

/// The submissions of one job: two where it is submitted twice. `place` says how many jobs the producer has been
/// answered for.
fn draw(
    victim: &Victim,
    produce: &Produce,
    rng: &mut Rng,
    key: String,
    place: u64,
) -> Result<Vec<Job>, Error> {
    let kind = pick(&produce.mix, rng);
    let call = call_of(kind, key.clone(), rng).into_call();
    let mut options = JobOptions { retry: Some(policy_of(kind)), ..JobOptions::default() };
    let (mut not_before_us, mut order) = (None, None);
    match kind {
        Kind::Later => {
            let start = later(&victim.clock, Duration::from_millis(rng.u64(50..600)));
            not_before_us = u64::try_from(start.as_micros()).ok();
            options.start = Some(Start::At(start));
        }
        Kind::Expiring => {
            options.queue = Some(QueueName::new(UNSERVED)?);
            options.expiry = Some(Start::In(Duration::from_millis(rng.u64(20..300))));
        }
        Kind::Unique => {
            let (unique, on_conflict) = (Unique::Forever, OnConflict::Keep);
            options.idempotency = Some(Idempotency { key: key.as_str().into(), unique, on_conflict });
        }
        Kind::Ordered => {
            options.queue = Some(QueueName::new(BOUNDED)?);
            let line = victim.settings.name.clone();
            options.ordering_key = Some(line.as_str().into());
            order = Some((line, place));
        }
        Kind::Bounded => {
            options.queue = Some(QueueName::new(BOUNDED)?);
            let key = victim.settings.name.as_str().into();
            options.concurrency = Some(ConcurrencyLimit { key, max: AT_ONCE_MAX });
        }
        _ => {}
    }
    let (_, call, _) = call.into_raw()?;
    let id = JobId::new(key.as_str())?;
    let job = Job { submission: Submission { id, call, options }, key, kind, not_before_us, order };
    let mut jobs = vec![job.clone()];
    match kind {
        Kind::Twice => jobs.push(job),
        Kind::Unique => {
            // Under its key it is the same job, whatever id is offered.
            let id = JobId::new(format!("{}{SECOND_OFFER}", job.key))?;
            jobs.push(Job { submission: Submission { id, ..job.submission.clone() }, ..job });
        }
        _ => {}
    }
    Ok(jobs)
}

fn call_of(kind: Kind, key: String, rng: &mut Rng) -> Call<()> {
    match kind {
        Kind::Slow | Kind::Cancelled => tasks::takes(key, rng.u64(5..60)).into_call(),
        Kind::Long => tasks::takes(key, 2_000).into_call(),
        Kind::Flaky => tasks::flaky(key, rng.u32(2..4)).into_call(),
        Kind::Doomed => tasks::doomed(key).into_call(),
        Kind::Panics => tasks::panics(key).into_call(),
        Kind::Aborts => tasks::aborts(key).into_call(),
        Kind::AbortsChild => tasks::aborts_child(key).into_call(),
        Kind::Loops => tasks::loops(key).into_call(),
        Kind::Hogs => tasks::hogs(key).into_call(),
        _ => tasks::plain(key).into_call(),
    }
}

/// So many attempts that no fault uses them up, but for poison, which is to use them up.
fn policy_of(kind: Kind) -> RetryPolicy {
    use Kind::{Aborts, AbortsChild, Hogs, Loops, Panics};
    let is_poison = matches!(kind, Panics | Aborts | AbortsChild | Loops | Hogs);
    RetryPolicy {
        attempts_max: if is_poison { POISON_ATTEMPTS_MAX } else { ATTEMPTS_MAX },
        backoff: Backoff::Fixed { delay: Duration::from_millis(20) },
        age_max: None,
    }
}

fn pick(mix: &[(Kind, u32)], rng: &mut Rng) -> Kind {
    let total: u32 = mix.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.u32(0..total.max(1));
    for (kind, weight) in mix {
        if at < *weight {
            return *kind;
        }
        at -= weight;
    }
    Kind::Plain
}
