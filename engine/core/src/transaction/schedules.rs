//! Schedules: what somebody may ask of them, and how their ticks become jobs.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use taskport_abstraction::options::{OnConflict, duration_micros};
use taskport_abstraction::schedule::{CatchUp, Put, ScheduleDefinition, ScheduleRule, ScheduleStatus};
use taskport_abstraction::{
    Error, JobId, JobOptions, RawCall, Result, ScheduleName, TaskName, Timestamp, codes,
};

use super::{Enqueued, Transaction};
use crate::record::ScheduleRecord;
use crate::schedule::{self, LATE_MAX, Ticks};
use crate::store::Store;
use crate::stored;

/// How many ticks one transaction looks at.
const TICKS_MAX: usize = 10_000;
/// The largest number of jobs of one backfill.
const BACKFILL_MAX: usize = 10_000;
/// The largest number of bytes of a problem or the reason of a pause.
const TEXT_BYTES_MAX: usize = 1_024;

impl<S: Store> Transaction<'_, S> {
    /// Creates a schedule, or changes the one of its name, which then keeps its account and its pause. Ticks that have
    /// come fire by the old rule, and no tick before now fires by the new one.
    ///
    /// # Errors
    /// `InvalidInput`: E-050 for a rule that cannot be read or never ticks, E-004 for an option; `PayloadTooLarge`
    /// (E-006); those of the store.
    pub fn put_schedule(&mut self, definition: &ScheduleDefinition) -> Result<Put> {
        let ticks = schedule::check(definition)?;
        let (given, max) = (definition.call.arguments.len(), self.engine.config.payload_bytes_max);
        if given > max {
            let message = format!("the arguments have {given} bytes, and the limit is {max}");
            return Err(Error::new(&codes::PAYLOAD_TOO_LARGE, "put schedule", message));
        }
        let stored = encode(definition)?;
        let found = self.store(|store| store.schedule(&definition.name))?;
        let now = self.now;
        let (mut record, put) = match found {
            None => (ScheduleRecord::new(definition, stored, now), Put::Created),
            Some(found) if found.definition == stored && found.arguments == definition.call.arguments => {
                return Ok(Put::Unchanged);
            }
            Some(mut found) => {
                self.settle_ticks(&mut found, &mut Budget::default())?;
                found.definition = stored;
                found.arguments = definition.call.arguments.clone();
                found.problem = None;
                found.updated_at = now;
                (found, Put::Updated)
            }
        };
        if !record.paused {
            record.next_at = ticks.next(record.settled_until.unwrap_or(now).max(now));
        }
        self.keep_schedule(&record)?;
        Ok(put)
    }

    /// Removes a schedule. Jobs it has submitted stay.
    ///
    /// # Errors
    /// `NotFound` (E-051); those of the store.
    pub fn remove_schedule(&mut self, name: &ScheduleName) -> Result<()> {
        self.find_schedule(name, "remove schedule")?;
        self.changes.schedules_changed = true;
        self.store(|store| store.delete_schedule(name))
    }

    /// Stops a schedule from firing, once the ticks that have come have fired.
    ///
    /// # Errors
    /// `NotFound` (E-051); `InvalidInput` (E-004) where the reason is too long; those of the store.
    pub fn pause_schedule(&mut self, name: &ScheduleName, reason: Option<&str>) -> Result<()> {
        if reason.is_some_and(|reason| reason.len() > TEXT_BYTES_MAX) {
            let message = format!("the reason has more than {TEXT_BYTES_MAX} bytes");
            return Err(Error::new(&codes::BAD_OPTION, "pause schedule", message));
        }
        let mut record = self.find_schedule(name, "pause schedule")?;
        self.settle_ticks(&mut record, &mut Budget::default())?;
        record.paused = true;
        record.paused_reason = reason.map(str::to_owned);
        record.next_at = None;
        self.keep_schedule(&record)
    }

    /// Lets a schedule fire again, from its next tick after now. Does nothing to one that fires.
    ///
    /// # Errors
    /// `NotFound` (E-051); `InvalidInput` (E-050) where its rule cannot be read any more; those of the store.
    pub fn resume_schedule(&mut self, name: &ScheduleName) -> Result<()> {
        let mut record = self.find_schedule(name, "resume schedule")?;
        if !record.paused && record.next_at.is_some() {
            return Ok(());
        }
        let ticks = Ticks::of(&definition(&record)?)?;
        record.paused = false;
        record.paused_reason = None;
        record.problem = None;
        record.next_at = ticks.next(record.settled_until.unwrap_or(self.now).max(self.now));
        self.keep_schedule(&record)
    }

    /// Submits the schedule's job now under `id`, paused or not, beside its ticks and outside its account.
    ///
    /// # Errors
    /// `NotFound` (E-051); those of a submit.
    pub fn trigger_schedule(&mut self, name: &ScheduleName, id: JobId) -> Result<JobId> {
        let record = self.find_schedule(name, "trigger schedule")?;
        let job = schedule::job_of_trigger(&definition(&record)?, id);
        Ok(self.enqueue_one(job)?.id)
    }

    /// Submits a job for each tick from `from` up to but not including `until`, unless it has fired; returns the jobs in
    /// order.
    ///
    /// # Errors
    /// `NotFound` (E-051); `InvalidInput` (E-004) where the span ends after now or has more than `max` ticks: then
    /// nothing was submitted; those of a submit.
    pub fn backfill_schedule(
        &mut self,
        name: &ScheduleName,
        from: Timestamp,
        until: Timestamp,
        max: usize,
    ) -> Result<Vec<JobId>> {
        let mut record = self.find_schedule(name, "backfill schedule")?;
        let definition = definition(&record)?;
        let ticks = span(&Ticks::of(&definition)?, (from, until), max, self.now)?;
        let mut jobs = Vec::new();
        for tick in ticks {
            let job = schedule::job_of_tick(&definition, tick)?;
            let submitted = self.enqueue_one(job).map_err(|error| {
                // What was submitted has the id of its tick, and is found again.
                if jobs.is_empty() {
                    error
                } else {
                    error.hint("repeat it: what was submitted stays one job")
                }
            })?;
            if !submitted.existing {
                jobs.push(submitted.id);
            }
        }
        record.fired += jobs.len() as u64;
        self.keep_schedule(&record)?;
        Ok(jobs)
    }

    /// Fires every schedule whose tick has come, at most `max` jobs at once; `true` says that there may be more.
    pub(super) fn fire_schedules(&mut self, max: usize) -> Result<bool> {
        let now = self.now;
        let mut due = self.store(|store| store.due_schedules(now, max))?;
        let mut budget = Budget { jobs: max, ..Budget::default() };
        let mut more = due.len() == max;
        for record in &mut due {
            self.settle_ticks(record, &mut budget)?;
            more |= record.next_at.is_some_and(|next| next <= now);
            self.keep_schedule(record)?;
        }
        Ok(more)
    }

    /// Lets the ticks that have come fire or count as missed, as far as the budget goes. A schedule whose definition
    /// cannot be read comes to rest and says so.
    fn settle_ticks(&mut self, record: &mut ScheduleRecord, budget: &mut Budget) -> Result<()> {
        if record.next_at.is_none_or(|next| next > self.now) {
            return Ok(());
        }
        let read = definition(record).and_then(|definition| Ok((Ticks::of(&definition)?, definition)));
        match read {
            Ok((ticks, definition)) => {
                for tick in catch_up(record, &ticks, definition.catch_up, self.now, budget) {
                    self.fire(record, &definition, tick)?;
                }
            }
            Err(error) => {
                record.next_at = None;
                record.problem = Some(shown(&error));
            }
        }
        Ok(())
    }

    fn fire(
        &mut self,
        record: &mut ScheduleRecord,
        definition: &ScheduleDefinition,
        tick: Timestamp,
    ) -> Result<()> {
        let job = schedule::job_of_tick(definition, tick)?;
        let id = job.id.clone();
        let replaces =
            job.options.idempotency.as_ref().is_some_and(|key| key.on_conflict == OnConflict::Replace);
        match self.enqueue_one(job) {
            // It has fired before, and the clock or the file has been set back since.
            Ok(Enqueued { id: known, existing: true }) if known == id => {}
            Ok(Enqueued { id: holder, existing: true }) if !replaces => {
                record.missed += 1;
                record.problem = Some(format!("job `{holder}` holds the key of this schedule's jobs"));
            }
            Ok(Enqueued { id, .. }) => {
                record.fired += 1;
                record.last_at = Some(tick);
                record.last_job = Some(id);
                record.problem = None;
            }
            Err(error) => {
                if self.broken.is_some() {
                    return Err(error);
                }
                record.missed += 1;
                record.problem = Some(shown(&error));
            }
        }
        Ok(())
    }

    fn find_schedule(&mut self, name: &ScheduleName, operation: &'static str) -> Result<ScheduleRecord> {
        self.store(|store| store.schedule(name))?.ok_or_else(|| {
            Error::new(&codes::SCHEDULE_NOT_FOUND, operation, format!("there is no schedule `{name}`"))
                .hint("`taskport schedule list` names the schedules")
        })
    }

    fn keep_schedule(&mut self, record: &ScheduleRecord) -> Result<()> {
        if let Some(next) = record.next_at {
            self.engine.wake_at(next);
        }
        self.changes.schedules_changed = true;
        self.store(|store| store.put_schedule(record))
    }
}

impl ScheduleRecord {
    fn new(definition: &ScheduleDefinition, stored: Bytes, now: Timestamp) -> Self {
        Self {
            name: definition.name.clone(),
            definition: stored,
            arguments: definition.call.arguments.clone(),
            paused: false,
            paused_reason: None,
            next_at: None,
            settled_until: None,
            last_at: None,
            last_job: None,
            fired: 0,
            missed: 0,
            problem: None,
            created_at: now,
            updated_at: now,
        }
    }
}

/// What one transaction may do about schedules.
struct Budget {
    jobs: usize,
    ticks: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { jobs: TICKS_MAX, ticks: TICKS_MAX }
    }
}

/// Takes the ticks that have come out of the schedule's future and returns those that are to fire, in order. Where the
/// budget ends first, the rest stays for the next transaction, and the account is right at any time.
fn catch_up(
    record: &mut ScheduleRecord,
    ticks: &Ticks,
    policy: CatchUp,
    now: Timestamp,
    budget: &mut Budget,
) -> VecDeque<Timestamp> {
    let keep = match policy {
        CatchUp::All { max } => max as usize,
        CatchUp::Latest | CatchUp::Skip => 1,
    };
    let mut kept = VecDeque::new();
    let mut next = record.next_at;
    while let Some(tick) = next.filter(|tick| *tick <= now && budget.ticks > 0) {
        if kept.len() == keep {
            kept.pop_front();
            record.missed += 1;
        }
        kept.push_back(tick);
        next = ticks.next(tick);
        budget.ticks -= 1;
    }
    let mut settled = kept.back().copied();
    if next.is_some_and(|tick| tick <= now) {
        // Newer ticks may yet take the places of these.
        next = kept.front().copied().or(next);
        settled = None;
        kept.clear();
    } else if policy == CatchUp::Skip && settled.is_some_and(|tick| now.since(tick) > LATE_MAX) {
        kept.clear();
        record.missed += 1;
    } else if kept.len() > budget.jobs {
        next = kept.get(budget.jobs).copied();
        kept.truncate(budget.jobs);
        settled = kept.back().copied();
    }
    budget.jobs -= kept.len();
    record.settled_until = settled.max(record.settled_until);
    record.next_at = next;
    kept
}

/// The ticks of a backfill.
fn span(
    ticks: &Ticks,
    (from, until): (Timestamp, Timestamp),
    max: usize,
    now: Timestamp,
) -> Result<Vec<Timestamp>> {
    let bad = |message: String| Error::new(&codes::BAD_OPTION, "backfill schedule", message);
    if until <= from {
        return Err(bad(format!("the span ends at {until}, which is not after its start at {from}")));
    }
    if until > now {
        return Err(bad(format!("the span ends at {until}, and it is {now}"))
            .hint("end it now or earlier; ticks to come fire by themselves"));
    }
    let max = max.min(BACKFILL_MAX);
    let before = Timestamp::from_micros(from.as_micros().saturating_sub(1));
    let found: Vec<Timestamp> = ticks.after(before).take_while(|tick| *tick < until).take(max + 1).collect();
    if found.len() > max {
        return Err(bad(format!("there are more than {max} ticks from {from} to {until}"))
            .hint("fill a shorter span, or several one after the other"));
    }
    Ok(found)
}

/// The stored form of a definition, but for its name and its arguments.
#[derive(Serialize, Deserialize)]
struct StoredDefinition {
    rule: ScheduleRule,
    task: TaskName,
    options: JobOptions,
    catch_up: CatchUp,
    #[serde(with = "duration_micros")]
    jitter: Duration,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
}

fn encode(definition: &ScheduleDefinition) -> Result<Bytes> {
    stored::encode(&StoredDefinition {
        rule: definition.rule.clone(),
        task: definition.call.task.clone(),
        options: definition.options.clone(),
        catch_up: definition.catch_up,
        jitter: definition.jitter,
        starts_at: definition.starts_at,
        ends_at: definition.ends_at,
    })
}

fn definition(record: &ScheduleRecord) -> Result<ScheduleDefinition> {
    let stored: StoredDefinition = stored::decode(&record.definition, "schedule")
        .map_err(|error| error.hint(format!("remove the schedule `{}` and put it again", record.name)))?;
    let call = RawCall { task: stored.task, arguments: record.arguments.clone() };
    Ok(ScheduleDefinition {
        name: record.name.clone(),
        rule: stored.rule,
        call,
        options: stored.options,
        catch_up: stored.catch_up,
        jitter: stored.jitter,
        starts_at: stored.starts_at,
        ends_at: stored.ends_at,
    })
}

/// What a reader sees of a schedule.
///
/// # Errors
/// `Corrupt` where its definition cannot be decoded.
pub(crate) fn status(record: ScheduleRecord) -> Result<ScheduleStatus> {
    Ok(ScheduleStatus {
        definition: definition(&record)?,
        paused: record.paused,
        paused_reason: record.paused_reason,
        next_at: record.next_at,
        last_at: record.last_at,
        last_job: record.last_job,
        fired: record.fired,
        missed: record.missed,
        problem: record.problem,
        created_at: record.created_at,
        updated_at: record.updated_at,
    })
}

fn shown(error: &Error) -> String {
    let mut text = error.to_string();
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
    text
}
