//! The submitting half of a victim: jobs of many kinds, in batches, each written down before it is submitted.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use taskport_abstraction::backend::{Backend, Cancellation, Submission};
use taskport_abstraction::options::{Idempotency, OnConflict, Start, Unique};
use taskport_abstraction::{Backoff, Error, IntoCall, JobId, JobOptions, JobState, QueueName, RetryPolicy};
use taskport_checker::{Event, Line, Operation, State};
use taskport_worker::ShutdownController;
use tokio::time::sleep;

use super::consumer::event_of;
use super::settings::{Kind, Produce};
use super::{TRY_EVERY, Victim, can_pass, is_stopping, later, tasks};

/// How often a submit is repeated while the store cannot take it.
const TRIES_MAX: u32 = 2_000;
/// So many attempts that no fault uses them up.
const ATTEMPTS_MAX: u32 = 500;
/// What a poison job has.
const POISON_ATTEMPTS_MAX: u32 = 2;
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
        for _ in 0..len {
            let key = format!("{}-{submitted:06}", victim.settings.name);
            batch.extend(draw(victim, produce, &mut rng, key)?);
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

/// The submissions of one job: two where it is submitted twice.
fn draw(victim: &Victim, produce: &Produce, rng: &mut Rng, key: String) -> Result<Vec<Job>, Error> {
    let kind = pick(&produce.mix, rng);
    let mut options = JobOptions {
        retry: Some(RetryPolicy {
            attempts_max: ATTEMPTS_MAX,
            backoff: Backoff::Fixed { delay: Duration::from_millis(20) },
            age_max: None,
        }),
        ..JobOptions::default()
    };
    let poison = RetryPolicy {
        attempts_max: POISON_ATTEMPTS_MAX,
        backoff: Backoff::Fixed { delay: Duration::from_millis(20) },
        age_max: None,
    };
    let mut not_before_us = None;
    let call = {
        let key = key.clone();
        match kind {
            Kind::Plain | Kind::Twice => tasks::plain(key),
            Kind::Unique => {
                options.idempotency = Some(Idempotency {
                    key: key.as_str().into(),
                    unique: Unique::Forever,
                    on_conflict: OnConflict::Keep,
                });
                tasks::plain(key)
            }
            Kind::Slow | Kind::Cancelled => tasks::takes(key, rng.u64(5..60)),
            Kind::Long => tasks::takes(key, 2_000),
            Kind::Later => {
                let start = later(&victim.clock, Duration::from_millis(rng.u64(50..600)));
                not_before_us = u64::try_from(start.as_micros()).ok();
                options.start = Some(Start::At(start));
                tasks::plain(key)
            }
            Kind::Expiring => {
                options.queue = Some(QueueName::new(UNSERVED)?);
                options.expiry = Some(Start::In(Duration::from_millis(rng.u64(20..300))));
                tasks::plain(key)
            }
            Kind::Flaky => tasks::flaky(key, rng.u32(2..4)),
            Kind::Doomed => tasks::doomed(key),
            Kind::Panics | Kind::Aborts | Kind::AbortsChild | Kind::Loops | Kind::Hogs => {
                options.retry = Some(poison);
                match kind {
                    Kind::Panics => tasks::panics(key),
                    Kind::Aborts => tasks::aborts(key),
                    Kind::AbortsChild => tasks::aborts_child(key),
                    Kind::Loops => tasks::loops(key),
                    _ => tasks::hogs(key),
                }
            }
        }
    };
    let (_, call, _) = call.into_call().into_raw()?;
    let id = JobId::new(key.as_str())?;
    let job = Job { submission: Submission { id, call, options }, key, kind, not_before_us };
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
