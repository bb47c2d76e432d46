//! Runs of workflows: carries out in a transaction what the machine of [`workflow`](crate::workflow) answers to the
//! end of a job, a cancel or the passing of time.
//!
//! A run's machine is kept between transactions. What it changed is written before the operation returns, and a
//! transaction that comes to nothing takes the machine with it. Where another process may have moved the run on, the
//! run's version is compared first, and only the steps above it are read again.

mod live;
mod read;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::de::IgnoredAny;
use taskport_abstraction::backend::{Cancellation, RunRequest};
use taskport_abstraction::job::StepRef;
use taskport_abstraction::options::TraceContext;
use taskport_abstraction::{Error, Failure, FailureKind, JobState, Outcome, Result, RunId, StepId, codes};

pub(crate) use self::live::RunCache;
use self::live::{Live, StoredValues};
use crate::record::RunRecord;
use crate::store::Store;
use crate::stored;
use crate::transaction::{NewJob, StepEnded, Transaction};
use crate::workflow::{Effect, Event, JobEnd, StepJob, job_id};

/// How many runs one tick moves on at most.
const TICK_RUNS_MAX: usize = 4;
/// How many jobs of a run are read at once to be cancelled.
const CANCEL_PAGE_LEN: usize = 1_000;

/// What is known of a run.
enum Known {
    Live(Box<Live>),
    Ended(JobState),
    Missing,
}

impl<S: Store> Transaction<'_, S> {
    /// Starts runs, each with a result in order. A run keeps the definition it started with; a repeated start of one id
    /// is the same run.
    ///
    /// # Errors
    /// `InvalidInput` where the definition has a problem (E-016) or the input is not JSON (E-002); `PayloadTooLarge`
    /// (E-006); `Conflict` (E-048) where the id is that of a run with another definition or input; those of the store.
    pub fn start_runs(&mut self, requests: Vec<RunRequest>) -> Vec<Result<RunId>> {
        requests.into_iter().map(|request| self.start_run(request)).collect()
    }

    fn start_run(&mut self, request: RunRequest) -> Result<RunId> {
        check_input(&request, self.engine.config.payload_bytes_max)?;
        let snapshot = self.engine.runs.snapshot(&request.definition)?;
        let deadline = request.definition.timeout.map(|timeout| self.now + timeout);
        let record = RunRecord {
            seq: 0,
            id: request.id,
            workflow: request.definition.name.as_str().into(),
            definition: snapshot.bytes,
            definition_hash: snapshot.hash,
            input: request.input,
            trace: request.trace.map(|trace| trace.as_str().into()),
            state: JobState::Running,
            cancel_requested: false,
            started_at: self.now,
            deadline,
            due_at: deadline,
            version: 0,
            finished_at: None,
            output: None,
            failure: None,
        };
        let id = record.id.clone();
        if !self.store(|store| store.insert_run(&record))? {
            return self.started_before(&record);
        }
        self.proceed(Live::new(snapshot.plan, record), vec![Event::Advance])?;
        self.run_hooks()?;
        Ok(id)
    }

    fn started_before(&mut self, record: &RunRecord) -> Result<RunId> {
        let known = self.store(|store| store.run(&record.id))?;
        let is_same = known.is_some_and(|known| {
            known.definition_hash == record.definition_hash && known.input == record.input
        });
        if is_same {
            return Ok(record.id.clone());
        }
        let message = format!("run `{}` exists with another definition or input", record.id);
        Err(Error::new(&codes::RUN_CONFLICT, "start run", message)
            .hint("start the new run under an id of its own"))
    }

    /// Cancels a run: steps that wait never start, jobs that wait are cancelled, attempts that run are asked to stop.
    ///
    /// # Errors
    /// `NotFound` (E-017); those of the store.
    pub fn cancel_run(&mut self, id: &RunId) -> Result<Cancellation> {
        match self.find_run(id)? {
            Known::Live(live) => self.proceed(*live, vec![Event::Cancel])?,
            Known::Ended(state) => return Ok(Cancellation::AlreadyEnded(state)),
            Known::Missing => return Err(no_run(id, "cancel run")),
        }
        self.run_hooks()?;
        match self.find_run(id)? {
            Known::Live(live) => {
                self.engine.runs.keep(*live);
                Ok(Cancellation::Requested)
            }
            Known::Ended(_) | Known::Missing => Ok(Cancellation::Cancelled),
        }
    }

    /// What a job of this step may read: of each step it depends on, how many results there are.
    ///
    /// # Errors
    /// `NotFound` (E-017) where the run has ended or is not known; those of the store.
    pub fn upstream(&mut self, step: &StepRef) -> Result<Arc<[(StepId, u64)]>> {
        let missing = || no_run(&step.run, "read upstream");
        let Known::Live(mut live) = self.find_run(&step.run)? else { return Err(missing()) };
        let upstream = live.upstream(&step.step);
        self.engine.runs.keep(*live);
        upstream.ok_or_else(missing)
    }

    /// The run as it stands in this transaction, taken out of the cache.
    fn find_run(&mut self, id: &RunId) -> Result<Known> {
        let kept = self.engine.runs.take(id);
        let since = match kept {
            Some((live, false)) => return Ok(Known::Live(Box::new(live))),
            Some((live, true)) => {
                let version = self.store(|store| store.run_version(id))?;
                if version == Some(live.record.version) {
                    return Ok(Known::Live(Box::new(live)));
                }
                Some(live)
            }
            None => None,
        };
        let Some(record) = self.store(|store| store.run(id))? else { return Ok(Known::Missing) };
        if record.state.is_terminal() {
            return Ok(Known::Ended(record.state));
        }
        let mut live = match since {
            Some(live) => live,
            None => match self.engine.runs.plan(&record) {
                Ok(plan) => Live::new(plan, RunRecord { version: 0, ..record.clone() }),
                Err(error) => return self.bury(record, &error),
            },
        };
        let since = live.record.version;
        let steps = self.store(|store| store.steps(id, since))?;
        live.restore(record, steps);
        Ok(Known::Live(Box::new(live)))
    }

    /// Ends a run whose definition cannot be read.
    fn bury(&mut self, mut record: RunRecord, error: &Error) -> Result<Known> {
        let failure = Failure::new(FailureKind::Undecodable, error.to_string());
        self.end_run(&mut record, Outcome::Failure(failure))?;
        record.version += 1;
        self.store(|store| store.put_run(&record))?;
        self.changes.runs_changed.push(record.id.clone());
        self.cancel_jobs(&record.id)?;
        Ok(Known::Ended(record.state))
    }

    /// Applies events to a run, carries out what follows, writes what changed, and keeps the run unless it has ended.
    fn proceed(&mut self, mut live: Live, events: Vec<Event>) -> Result<()> {
        let mut events = VecDeque::from(events);
        let mut cancels = false;
        while let Some(event) = events.pop_front() {
            for effect in self.apply_event(&mut live, event)? {
                match effect {
                    Effect::SubmitJob(job) => {
                        let (step, index) = (job.step, job.index);
                        if let Some(failure) = self.submit_step(&live, *job)? {
                            events.push_back(Event::JobEnded { step, index, end: JobEnd::Failed(failure) });
                        }
                    }
                    Effect::StepChanged(place) => live.step_changed(place),
                    Effect::CancelOpenJobs => cancels = true,
                    Effect::Finish(outcome) => self.end_run(&mut live.record, outcome)?,
                }
            }
        }
        self.write_run(&mut live)?;
        let id = live.record.id.clone();
        if !live.record.state.is_terminal() {
            self.engine.runs.keep(live);
        }
        if cancels { self.cancel_jobs(&id) } else { Ok(()) }
    }

    fn apply_event(&mut self, live: &mut Live, event: Event) -> Result<Vec<Effect>> {
        let Live { machine, record, .. } = live;
        let plan = machine.plan().clone();
        self.store(|store| {
            machine.apply(event, &mut StoredValues { store, run: &record.id, input: &record.input, plan })
        })
    }

    /// Takes a step's job. Answers with a failure where it is one that no job may be.
    fn submit_step(&mut self, live: &Live, job: StepJob) -> Result<Option<Failure>> {
        let step = live.machine.plan().definition().steps[job.step].id.clone();
        let mut options = job.options;
        options.trace = live.record.trace.as_ref().and_then(|trace| TraceContext::new(trace.clone()).ok());
        let new = NewJob {
            id: job_id(live.id_prefix, job.step, job.index, &job.order_key)?,
            call: job.call,
            options,
            step: Some(StepRef { run: live.record.id.clone(), step, index: job.index }),
        };
        let Err(error) = self.enqueue_one(new) else { return Ok(None) };
        // Where the store has failed, so has the transaction, and nothing is said about the job.
        self.store(|_| Ok(()))?;
        Ok(Some(Failure::new(FailureKind::BadArguments, error.to_string())))
    }

    /// Writes how a run ended into its row.
    fn end_run(&mut self, record: &mut RunRecord, outcome: Outcome) -> Result<()> {
        let (given, max) = match &outcome {
            Outcome::Success(output) => (output.len(), self.engine.config.result_bytes_max),
            Outcome::Failure(_) => (0, 0),
        };
        let outcome = if given > max {
            let message =
                format!("the output has {given} bytes, and the limit is {max}; `output` can name a part");
            Outcome::Failure(Failure::new(FailureKind::ResultTooLarge, message))
        } else {
            outcome
        };
        record.finished_at = Some(self.now);
        match outcome {
            Outcome::Success(output) => {
                record.state = JobState::Succeeded;
                record.output = Some(output);
            }
            Outcome::Failure(failure) => {
                let cancelled = failure.kind == FailureKind::Cancelled;
                record.state = if cancelled { JobState::Cancelled } else { JobState::Failed };
                record.failure = Some(stored::encode(&failure)?);
            }
        }
        Ok(())
    }

    /// Writes what differs of a run and its steps.
    fn write_run(&mut self, live: &mut Live) -> Result<()> {
        let now = self.now;
        let record = &mut live.record;
        record.version += 1;
        record.cancel_requested |= live.machine.is_cancelling();
        record.due_at = match record.state {
            JobState::Running if live.machine.has_more() => Some(now),
            JobState::Running => record.deadline,
            _ => None,
        };
        if let Some(moment) = record.due_at {
            self.engine.wake_at(moment);
        }
        let steps = live.take_changed(now);
        let record = &live.record;
        self.store(|store| store.put_steps(&record.id, &steps))?;
        self.store(|store| store.put_run(record))?;
        if self.changes.runs_changed.last() != Some(&record.id) {
            self.changes.runs_changed.push(record.id.clone());
        }
        Ok(())
    }

    /// Asks every open job of a run to end. The run hears of those that end at once with the next hooks.
    fn cancel_jobs(&mut self, run: &RunId) -> Result<()> {
        loop {
            let jobs = self.store(|store| store.live_jobs_of_run(run, CANCEL_PAGE_LEN))?;
            let last = jobs.len() < CANCEL_PAGE_LEN;
            for job in jobs {
                self.cancel_one(&job.id)?;
            }
            if last {
                return Ok(());
            }
        }
    }
}

fn check_input(request: &RunRequest, max: usize) -> Result<()> {
    let given = request.input.len();
    if given > max {
        let message = format!("the input has {given} bytes, and the limit is {max}");
        return Err(Error::new(&codes::PAYLOAD_TOO_LARGE, "start run", message)
            .hint("pass a reference to large data, such as a path, instead of the data"));
    }
    let json = request.input.as_json()?;
    serde_json::from_slice::<IgnoredAny>(json).map(|_| ()).map_err(|source| {
        Error::new(&codes::BAD_ARGUMENTS, "start run", "the input is not JSON").caused_by(source)
    })
}

fn no_run(id: &RunId, operation: &'static str) -> Error {
    Error::new(&codes::RUN_NOT_FOUND, operation, format!("there is no open run `{id}`"))
}

/// Takes the ends of jobs of steps into their runs, in the transaction in which they ended and in that order.
///
/// What it makes end is handed to the next call, never to this one.
///
/// # Errors
/// Those of the store only; whatever is wrong with a run ends that run.
pub(crate) fn on_steps_ended<S: Store>(tx: &mut Transaction<'_, S>, ended: Vec<StepEnded>) -> Result<()> {
    let mut order = Vec::new();
    let mut by_run: HashMap<RunId, Vec<StepEnded>> = HashMap::new();
    for end in ended {
        let known = by_run.entry(end.step.run.clone()).or_insert_with(|| {
            order.push(end.step.run.clone());
            Vec::new()
        });
        known.push(end);
    }
    for id in order {
        let ends = by_run.remove(&id).unwrap_or_default();
        if let Known::Live(live) = tx.find_run(&id)? {
            let plan = live.machine.plan().clone();
            let event = |ended: StepEnded| {
                let step = plan.place(&ended.step.step)?;
                let end = match ended.outcome {
                    Outcome::Success(_) => JobEnd::Succeeded,
                    Outcome::Failure(failure) => JobEnd::Failed(failure),
                };
                Some(Event::JobEnded { step, index: ended.step.index, end })
            };
            let ends = ends.into_iter().filter_map(event);
            tx.proceed(*live, ends.chain([Event::Advance]).collect())?;
        }
    }
    Ok(())
}

/// Moves on runs that have more to do than fitted a transaction, and ends those that passed their deadline; a few, and
/// says whether there may be more.
///
/// # Errors
/// Those of the store only.
pub(crate) fn tick<S: Store>(tx: &mut Transaction<'_, S>, max: usize) -> Result<bool> {
    let (now, max) = (tx.now, max.min(TICK_RUNS_MAX));
    let due = tx.store(|store| store.due_runs(now, max))?;
    let mut more = due.len() == max;
    for id in due {
        if let Known::Live(live) = tx.find_run(&id)? {
            let overdue = live.record.deadline.is_some_and(|deadline| deadline <= now);
            tx.proceed(*live, vec![if overdue { Event::TimedOut } else { Event::Advance }])?;
            more |= !overdue;
        }
    }
    Ok(more)
}
