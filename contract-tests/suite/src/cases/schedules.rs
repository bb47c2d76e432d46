//! Schedules: rules that submit jobs again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use taskport_abstraction::backend::{JobFilter, PageRequest};
use taskport_abstraction::schedule::{
    CatchUp, Put, ScheduleDefinition, ScheduleRule, ScheduleStatus, Schedules,
};
use taskport_abstraction::{
    Clock, IntoCall, JobState, JobStatus, ScheduleName, SystemClock, Timestamp, WithOptions, codes,
};

use super::cases;
use crate::fixture::{Fixture, eventually, refused};
use crate::kit::echo;
use crate::process::WorkerProcess;

cases! { "schedules":
    a_schedule_submits_a_job_at_each_tick needs [Schedules, ScheduleInterval, Metadata, JobList],
    a_cron_expression_ticks_by_the_clock needs [ScheduleCron, Schedules, JobList],
    a_time_zone_decides_what_the_clock_shows needs [ScheduleTimeZone, ScheduleCron],
    several_processes_fire_a_tick_once needs [Schedules, MultiProcess, ScheduleInterval, JobList],
    a_schedule_put_again_is_the_same_schedule needs [Schedules],
    a_schedule_removed_fires_no_more needs [Schedules],
    what_cannot_tick_is_refused needs [Schedules, ScheduleCron],
    ticks_of_a_rest_are_caught_up_as_asked needs [ScheduleCatchUp, Durable, JobList],
    jitter_delays_each_job_within_its_span needs [ScheduleJitter, JobList],
    a_paused_schedule_fires_nothing needs [SchedulePause, JobList],
    a_trigger_submits_beside_the_ticks needs [ScheduleTrigger, SchedulePause],
    a_backfill_submits_each_tick_of_a_span_once needs [ScheduleBackfill, JobList],
}

const PERIOD: Duration = Duration::from_millis(100);

fn name(text: &str) -> ScheduleName {
    ScheduleName::new(text).unwrap()
}

fn schedule(text: &str, rule: ScheduleRule) -> ScheduleDefinition {
    let (_, call, options) = echo(text).tag(text).into_call().into_raw().unwrap();
    ScheduleDefinition {
        name: name(text),
        rule,
        call,
        options,
        catch_up: CatchUp::Latest,
        jitter: Duration::ZERO,
        starts_at: None,
        ends_at: None,
    }
}

fn every(period: Duration) -> ScheduleRule {
    ScheduleRule::Every { period, anchor: None }
}

fn cron(expression: &str, time_zone: Option<&str>) -> ScheduleRule {
    ScheduleRule::Cron { expression: expression.to_owned(), time_zone: time_zone.map(str::to_owned) }
}

fn schedules(f: &Fixture) -> &dyn Schedules {
    f.backend().schedules().unwrap()
}

async fn status(f: &Fixture, text: &str) -> ScheduleStatus {
    schedules(f).get(&name(text)).await.unwrap().unwrap_or_else(|| panic!("there is no schedule {text}"))
}

async fn until_fired(f: &Fixture, text: &str, count: u64) -> ScheduleStatus {
    eventually(&format!("{text} has fired {count} times"), async || {
        let status = status(f, text).await;
        if status.fired >= count { Ok(status) } else { Err(format!("{} times", status.fired)) }
    })
    .await
}

/// The jobs of a schedule's ticks, oldest tick first.
async fn jobs(f: &Fixture, text: &str) -> Vec<(Timestamp, JobStatus)> {
    let all = f.list(JobFilter { tag: Some(text.to_owned()), ..JobFilter::default() }).await;
    let of_tick = all.into_iter().filter_map(|job| {
        assert_eq!(job.options.metadata.get("schedule").map(|name| &**name), Some(text));
        let tick = job.options.metadata.get("tick")?.parse().unwrap();
        Some((tick, job))
    });
    let mut jobs: Vec<_> = of_tick.collect();
    jobs.sort_by_key(|(tick, _)| *tick);
    jobs
}

/// Whether each tick is one `period` after the one before.
fn without_gap(jobs: &[(Timestamp, JobStatus)], period: Duration) -> bool {
    jobs.windows(2).all(|pair| pair[0].0 + period == pair[1].0)
}

async fn a_schedule_submits_a_job_at_each_tick(f: Fixture) {
    let _worker = f.worker(2);
    let rule = schedule("often", every(PERIOD));
    assert_eq!(schedules(&f).put(rule.clone()).await.unwrap(), Put::Created);
    let seen = until_fired(&f, "often", 5).await;
    assert_eq!(seen.definition, rule);
    schedules(&f).pause(&rule.name, None).await.unwrap();
    let seen = status(&f, "often").await;
    let jobs = jobs(&f, "often").await;
    assert_eq!(jobs.len() as u64, seen.fired);
    assert_eq!(jobs.len() as u64 + seen.missed, 1 + count(jobs[0].0, jobs[jobs.len() - 1].0));
    let (last, job) = jobs.last().unwrap();
    assert_eq!((seen.last_at, seen.last_job.as_ref()), (Some(*last), Some(&job.id)));
    for (tick, job) in &jobs {
        assert!(job.submitted_at.unwrap() >= *tick, "never early");
        assert_eq!(f.result::<String>(&job.id).await, "often");
    }
}

fn count(first: Timestamp, last: Timestamp) -> u64 {
    u64::try_from(last.since(first).as_micros() / PERIOD.as_micros()).unwrap()
}

async fn a_cron_expression_ticks_by_the_clock(f: Fixture) {
    schedules(&f).put(schedule("seconds", cron("* * * * * *", None))).await.unwrap();
    until_fired(&f, "seconds", 2).await;
    let jobs = jobs(&f, "seconds").await;
    assert!(jobs.iter().all(|(tick, _)| tick.as_micros() % 1_000_000 == 0), "{jobs:?}");
    assert!(without_gap(&jobs, Duration::from_secs(1)), "{jobs:?}");
}

async fn a_time_zone_decides_what_the_clock_shows(f: Fixture) {
    // It is half past nine in the evening in Greenwich when it is three in Kolkata, all year round.
    schedules(&f).put(schedule("east", cron("0 3 * * *", Some("Asia/Kolkata")))).await.unwrap();
    schedules(&f).put(schedule("utc", cron("0 3 * * *", None))).await.unwrap();
    for (text, expected) in [("east", "T21:30:00Z"), ("utc", "T03:00:00Z")] {
        let next = status(&f, text).await.next_at.unwrap().to_string();
        assert!(next.ends_with(expected), "{text}: {next}");
    }
}

async fn several_processes_fire_a_tick_once(f: Fixture) {
    let (second, third) = (f.second_handle().await, f.second_handle().await);
    let mut process = WorkerProcess::start(&f);
    // Put by one, and fired by whoever is first.
    second.schedules().unwrap().put(schedule("shared", every(PERIOD))).await.unwrap();
    let fired = until_fired(&f, "shared", 10).await.fired;
    process.kill();
    second.close().await.unwrap();
    until_fired(&f, "shared", fired + 10).await;
    third.schedules().unwrap().pause(&name("shared"), None).await.unwrap();
    let seen = status(&f, "shared").await;
    let jobs = jobs(&f, "shared").await;
    let ticks: BTreeSet<Timestamp> = jobs.iter().map(|(tick, _)| *tick).collect();
    assert_eq!((ticks.len(), jobs.len() as u64), (jobs.len(), seen.fired), "each tick has one job");
    let span = 1 + count(jobs[0].0, jobs[jobs.len() - 1].0);
    assert_eq!(seen.fired + seen.missed, span, "each tick has fired or is counted as missed");
    third.close().await.unwrap();
}

async fn a_schedule_put_again_is_the_same_schedule(f: Fixture) {
    let first = schedule("daily", cron("0 3 * * *", None));
    assert_eq!(schedules(&f).put(first.clone()).await.unwrap(), Put::Created);
    assert_eq!(schedules(&f).put(first.clone()).await.unwrap(), Put::Unchanged);
    let other = ScheduleDefinition { rule: cron("0 4 * * *", None), ..first };
    assert_eq!(schedules(&f).put(other.clone()).await.unwrap(), Put::Updated);
    schedules(&f).put(schedule("other", cron("0 3 * * *", None))).await.unwrap();
    let mut page = schedules(&f).list(PageRequest { after: None, len: 1 }).await.unwrap();
    assert_eq!(page.items.pop().unwrap().definition, other);
    let rest = schedules(&f).list(PageRequest { after: page.next, len: 10 }).await.unwrap();
    assert_eq!(rest.items.len(), 1);
    assert!(rest.next.is_none());
}

async fn a_schedule_removed_fires_no_more(f: Fixture) {
    schedules(&f).put(schedule("gone", every(PERIOD))).await.unwrap();
    until_fired(&f, "gone", 1).await;
    schedules(&f).remove(&name("gone")).await.unwrap();
    assert!(schedules(&f).get(&name("gone")).await.unwrap().is_none());
    let after = f.list(JobFilter::default()).await.len();
    let later = f.submit(echo(1).delay(PERIOD * 3)).await;
    f.until_state(&later, JobState::Queued).await;
    assert_eq!(f.list(JobFilter::default()).await.len(), after + 1);
    let missing = refused(schedules(&f).remove(&name("gone")).await);
    assert_eq!(missing.code(), &codes::SCHEDULE_NOT_FOUND);
}

async fn what_cannot_tick_is_refused(f: Fixture) {
    let rules = [
        cron("0 0 30 2 *", None),
        cron("61 * * * *", None),
        cron("0 3 * * *", Some("Europe/Berln")),
        every(Duration::ZERO),
    ];
    for rule in rules {
        let error = refused(schedules(&f).put(schedule("bad", rule)).await);
        assert_eq!(error.code(), &codes::BAD_SCHEDULE, "{error}");
        assert!(!error.message().is_empty());
    }
    let mut late = schedule("bad", every(PERIOD));
    late.options.start = Some(taskport_abstraction::options::Start::At(SystemClock.now()));
    assert_eq!(refused(schedules(&f).put(late).await).code(), &codes::BAD_OPTION);
    assert!(schedules(&f).get(&name("bad")).await.unwrap().is_none(), "nothing was changed");
    for missing in [
        refused(schedules(&f).pause(&name("bad"), None).await),
        refused(schedules(&f).resume(&name("bad")).await),
        refused(schedules(&f).trigger(&name("bad")).await),
    ] {
        assert_eq!(missing.code(), &codes::SCHEDULE_NOT_FOUND);
    }
}

async fn ticks_of_a_rest_are_caught_up_as_asked(mut f: Fixture) {
    // Few ticks, so that the rest is long in terms of the period and the work after it is not.
    let period = Duration::from_millis(500);
    let policies = [("latest", CatchUp::Latest), ("all", CatchUp::All { max: 2 })];
    for (text, catch_up) in policies {
        let rule = ScheduleDefinition { catch_up, ..schedule(text, every(period)) };
        schedules(&f).put(rule).await.unwrap();
        until_fired(&f, text, 1).await;
    }
    f.backend().close().await.unwrap();
    // Time itself has to pass.
    tokio::time::sleep(period * 5).await;
    f.restart().await;
    for (text, _) in policies {
        schedules(&f).pause(&name(text), None).await.unwrap();
        let seen = status(&f, text).await;
        let jobs = jobs(&f, text).await;
        let gap = jobs.windows(2).map(|pair| pair[1].0.since(pair[0].0)).max().unwrap();
        assert!(seen.missed >= 2 && gap >= period * 2, "{text}: {seen:?}");
        let span = 1 + jobs[jobs.len() - 1].0.since(jobs[0].0).as_micros() / period.as_micros();
        assert_eq!(u128::from(seen.fired + seen.missed), span, "{text}: every tick is in the account");
        let after_gap = jobs.iter().rev().zip(jobs.iter().rev().skip(1));
        let run = 1 + after_gap.take_while(|(later, earlier)| earlier.0 + period == later.0).count();
        assert!(run >= if text == "all" { 2 } else { 1 }, "{text}: {jobs:?}");
    }
}

async fn jitter_delays_each_job_within_its_span(f: Fixture) {
    let jitter = Duration::from_secs(3_600);
    let rule = ScheduleDefinition { jitter, ..schedule("spread", every(PERIOD)) };
    schedules(&f).put(rule).await.unwrap();
    until_fired(&f, "spread", 4).await;
    let jobs = jobs(&f, "spread").await;
    let delays: BTreeSet<_> = jobs.iter().map(|(tick, job)| job.not_before.unwrap().since(*tick)).collect();
    assert_eq!(delays.len(), jobs.len(), "no two are alike: {delays:?}");
    assert!(delays.iter().all(|delay| *delay < jitter));
}

async fn a_paused_schedule_fires_nothing(f: Fixture) {
    schedules(&f).put(schedule("rests", every(PERIOD))).await.unwrap();
    until_fired(&f, "rests", 1).await;
    schedules(&f).pause(&name("rests"), Some("holiday")).await.unwrap();
    let paused = status(&f, "rests").await;
    assert_eq!((paused.paused, paused.paused_reason.as_deref()), (true, Some("holiday")));
    assert_eq!(paused.next_at, None);
    let later = f.submit(echo(1).delay(PERIOD * 5)).await;
    f.until_state(&later, JobState::Queued).await;
    let still = status(&f, "rests").await;
    assert_eq!((still.fired, still.missed), (paused.fired, paused.missed));
    schedules(&f).resume(&name("rests")).await.unwrap();
    let on = until_fired(&f, "rests", paused.fired + 2).await;
    assert_eq!((on.paused, on.paused_reason), (false, None));
    let jobs = jobs(&f, "rests").await;
    let rest = jobs.windows(2).map(|pair| pair[1].0.since(pair[0].0)).max().unwrap();
    assert!(rest >= PERIOD * 5, "no tick of the rest has fired: {rest:?}");
}

async fn a_trigger_submits_beside_the_ticks(f: Fixture) {
    let _worker = f.worker(1);
    schedules(&f).put(schedule("by-hand", cron("0 0 1 1 *", None))).await.unwrap();
    schedules(&f).pause(&name("by-hand"), None).await.unwrap();
    let jobs = [
        schedules(&f).trigger(&name("by-hand")).await.unwrap(),
        schedules(&f).trigger(&name("by-hand")).await.unwrap(),
    ];
    assert_ne!(jobs[0], jobs[1]);
    for job in &jobs {
        assert_eq!(f.result::<String>(job).await, "by-hand");
        let metadata = f.status(job).await.options.metadata;
        assert_eq!(metadata.get("schedule").map(|name| &**name), Some("by-hand"));
        assert!(!metadata.contains_key("tick"));
    }
    assert_eq!(status(&f, "by-hand").await.fired, 0);
}

async fn a_backfill_submits_each_tick_of_a_span_once(f: Fixture) {
    let hour = Duration::from_secs(3_600);
    schedules(&f).put(schedule("hourly", every(hour))).await.unwrap();
    let until = Timestamp::from_micros(SystemClock.now().as_micros() / 3_600_000_000 * 3_600_000_000);
    let from = Timestamp::from_micros(until.as_micros() - 5 * 3_600_000_000);
    let too_many = refused(schedules(&f).backfill(&name("hourly"), from, until, 4).await);
    assert_eq!(too_many.code(), &codes::BAD_OPTION);
    assert!(jobs(&f, "hourly").await.is_empty(), "then nothing was submitted");
    let filled = schedules(&f).backfill(&name("hourly"), from, until, 5).await.unwrap();
    let jobs = jobs(&f, "hourly").await;
    assert_eq!(filled, jobs.iter().map(|(_, job)| job.id.clone()).collect::<Vec<_>>());
    assert_eq!((jobs[0].0, jobs.len()), (from, 5));
    assert!(without_gap(&jobs, hour));
    assert!(schedules(&f).backfill(&name("hourly"), from, until, 5).await.unwrap().is_empty());
    let future = refused(schedules(&f).backfill(&name("hourly"), from, until + hour * 2, 50).await);
    assert_eq!(future.code(), &codes::BAD_OPTION);
}
