//! The rules: what one job must not show, and what the jobs of one ordering key must not.

use std::collections::HashMap;

use crate::checker::Hits;
use crate::job::{Attempt, Job};
use crate::line::State;
use crate::verdict::{Rule, Verdict};

/// What a rule has to know besides the job.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) hits: HashMap<u32, Hits>,
    pub(crate) drained_us: Option<u64>,
    pub(crate) clock_bound_us: u64,
}

/// Says what is wrong with a job, if it is.
type Check = fn(&Job, &Context) -> Option<String>;

const CHECKS: &[(Rule, Check)] = &[
    (Rule::Lost, lost),
    (Rule::Ghosts, ghost),
    (Rule::Double, double),
    (Rule::NotApplied, not_applied),
    (Rule::Early, early),
    (Rule::Cancelled, cancelled),
    (Rule::Stuck, stuck),
    (Rule::Disagreeing, disagreeing),
];

/// Judges one job by itself.
pub(crate) fn judge(key: &str, job: &Job, context: &Context, examples_max: usize, verdict: &mut Verdict) {
    let acknowledged = job.submits.ok > 0;
    let starts = job.starts();
    verdict.jobs += u64::from(acknowledged);
    verdict.attempted += u64::from(job.submits.invoked > 0);
    verdict.recovered += u64::from(!acknowledged && starts > 0 && job.submits.possible() > 0);

    let repeats = starts.saturating_sub(1);
    let causes = causes(job, context);
    let explained = repeats.min(causes);
    verdict.starts += u64::from(starts);
    verdict.repeats += u64::from(repeats);
    verdict.explained += u64::from(explained);
    if repeats > explained {
        let why = format!("{starts} starts, {causes} causes for another one");
        verdict.add(Rule::Unexplained, u64::from(repeats - explained), key, why, examples_max);
    }
    for (rule, check) in CHECKS {
        if let Some(why) = check(job, context) {
            verdict.add(*rule, 1, key, why, examples_max);
        }
    }
}

/// Judges the jobs of each ordering key: their first starts come in the order of their places. A job whose submit was
/// never acknowledged has no certain place.
pub(crate) fn judge_order(jobs: &HashMap<String, Box<Job>>, examples_max: usize, verdict: &mut Verdict) {
    let mut places: Vec<_> = jobs
        .iter()
        .filter(|(_, job)| job.submits.ok > 0)
        .filter_map(|(key, job)| {
            let (order, sequence) = job.order?;
            Some((order, sequence, first_start_us(job)?, key.as_str()))
        })
        .collect();
    places.sort_unstable();
    for same in places.chunk_by(|a, b| a.0 == b.0) {
        let mut latest = same[0];
        for place in same {
            if place.2 < latest.2 {
                let why = format!("started at {} us, before {} at {} us", place.2, latest.3, latest.2);
                verdict.add(Rule::Order, 1, place.3, why, examples_max);
            } else {
                latest = *place;
            }
        }
    }
}

/// How many more starts than one the history explains.
fn causes(job: &Job, context: &Context) -> u32 {
    let last = job.started().max_by_key(|attempt| (attempt.token, attempt.first_start_us));
    let excused = job
        .started()
        .filter(|attempt| !last.is_some_and(|last| std::ptr::eq(*attempt, last)))
        .filter(|attempt| excuses_next(attempt, context))
        .count();
    u32::try_from(excused)
        .unwrap_or(u32::MAX)
        .saturating_add(job.faults)
        .saturating_add(job.requeues.possible())
}

/// Whether the history says why another attempt may follow this one.
fn excuses_next(attempt: &Attempt, context: &Context) -> bool {
    let unanswered = attempt.settles.invoked > attempt.settles.ok + attempt.settles.failed;
    let hit =
        context.hits.get(&attempt.process).is_some_and(|hits| attempt.first_start_us <= Some(hits.last_us));
    attempt.excuses_next || unanswered || (hit && attempt.settles.ok == 0)
}

fn lost(job: &Job, _: &Context) -> Option<String> {
    if job.submits.ok == 0 {
        return None;
    }
    if job.states.len() == 0 {
        return Some("acknowledged, and not read back".to_owned());
    }
    if job.states.contains(State::Missing) {
        return Some("acknowledged, and the backend does not know it".to_owned());
    }
    let is_done = job.attempts.iter().any(|attempt| attempt.ends > 0);
    (job.states.contains(State::Succeeded) && !is_done).then(|| "succeeded without its effect".to_owned())
}

fn ghost(job: &Job, _: &Context) -> Option<String> {
    let is_known = job.submits.ok > 0 || !job.attempts.is_empty() || job.states.exists();
    if job.submits.invoked == 0 && is_known {
        return Some("nobody attempted to submit it".to_owned());
    }
    let stray = job.attempts.iter().find(|attempt| attempt.ends > attempt.starts)?;
    Some(format!("an effect under token {} ended more often than it started", stray.token))
}

fn double(job: &Job, _: &Context) -> Option<String> {
    if job.two_ids {
        return Some("its submits were acknowledged with different ids".to_owned());
    }
    let allowed = 1 + job.requeues.possible();
    if job.outcomes > allowed {
        return Some(format!("{} outcomes, {allowed} allowed", job.outcomes));
    }
    let last = job.started().map(|attempt| attempt.token).max()?;
    let under = |token: u64| format!("its outcome is under token {token}, its last start under {last}");
    if let Some(token) = job.result_token.filter(|token| *token != last) {
        return Some(under(token));
    }
    // After a requeue the first outcome is rightly older than the last start.
    job.outcome_token.filter(|token| *token < last && job.requeues.possible() == 0).map(under)
}

fn not_applied(job: &Job, _: &Context) -> Option<String> {
    let refused = job.submits.invoked > 0 && job.submits.possible() == 0 && job.submits.ok == 0;
    let exists = job.starts() > 0 || job.states.exists();
    (refused && exists).then(|| "every submit was refused as not applied, and it is there".to_owned())
}

fn early(job: &Job, context: &Context) -> Option<String> {
    let not_before = job.not_before_us?;
    // Whoever asks for an ended job to run again has it run at once.
    let requeued =
        |attempt: &&Attempt| job.requeued_us.is_some_and(|requeued| Some(requeued) <= attempt.first_start_us);
    let started = job.started().filter(|attempt| !requeued(attempt));
    let started = started.filter_map(|attempt| attempt.first_start_wall_us).min()?;
    let is_early = started.saturating_add(context.clock_bound_us) < not_before;
    is_early.then(|| format!("started {} us before its time", not_before - started))
}

fn cancelled(job: &Job, context: &Context) -> Option<String> {
    let cancelled = job.cancelled_us?;
    // A process that was paused between its lease and its handler starts late, and its outcome is refused.
    let woke = |attempt: &Attempt, at: u64| {
        context.hits.get(&attempt.process).is_some_and(|hits| hits.first_us <= at)
    };
    let started = job.started().find_map(|attempt| {
        let at = attempt.last_start_us?;
        let requeued = job.requeued_us.is_some_and(|requeued| requeued <= at);
        (at > cancelled && !requeued && !woke(attempt, at)).then_some(at)
    })?;
    Some(format!("started {} us after it was cancelled", started - cancelled))
}

fn stuck(job: &Job, context: &Context) -> Option<String> {
    if job.states.waits() {
        return Some("read back as not ended".to_owned());
    }
    let drained = context.drained_us?;
    let late = job.started().any(|attempt| attempt.last_start_us > Some(drained));
    late.then(|| "started after the queues were drained".to_owned())
}

fn disagreeing(job: &Job, _: &Context) -> Option<String> {
    (job.states.len() > 1).then(|| format!("read back in {} different states", job.states.len()))
}

fn first_start_us(job: &Job) -> Option<u64> {
    job.started().filter_map(|attempt| attempt.first_start_us).min()
}
