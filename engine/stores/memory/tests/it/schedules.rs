//! Schedules on both stores: which ticks fire, whatever the clock and the processes do.

use std::time::Duration;

use proptest::prelude::*;
use taskport_abstraction::backend::{JobFilter, PageRequest};
use taskport_abstraction::schedule::{CatchUp, Put, ScheduleDefinition, ScheduleRule};
use taskport_abstraction::{JobId, JobOptions, Payload, RawCall, ScheduleName, Timestamp, codes};
use taskport_engine::schedule::{LATE_MAX, Ticks};
use taskport_engine::{Engine, EngineConfig, Store};

use crate::world::{World, memory, open, sqlite};

fn name() -> ScheduleName {
    ScheduleName::new("s").unwrap()
}

fn every(seconds: u64, catch_up: CatchUp) -> ScheduleDefinition {
    ScheduleDefinition {
        name: name(),
        rule: ScheduleRule::Every { period: Duration::from_secs(seconds), anchor: None },
        call: RawCall { task: "t".parse().unwrap(), arguments: Payload::json("[[],{}]") },
        options: JobOptions::default(),
        catch_up,
        jitter: Duration::ZERO,
        starts_at: None,
        ends_at: None,
    }
}

/// The ticks whose jobs stand in the store, oldest first. They are deleted, so that only the engine's own account can
/// keep a tick from firing again.
fn take_fired<S: Store>(engine: &mut Engine<S>, now: Timestamp) -> Vec<Timestamp> {
    let page = PageRequest { after: None, len: 1_000 };
    let jobs = engine.reader().unwrap().jobs(&JobFilter::default(), &page).unwrap().items;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id.clone()).collect();
    let mut tx = engine.begin(now).unwrap();
    for answer in tx.cancel(&ids) {
        answer.unwrap();
    }
    for answer in tx.delete(&ids) {
        answer.unwrap();
    }
    tx.commit().unwrap();
    let mut ticks: Vec<Timestamp> =
        jobs.iter().map(|job| job.options.metadata["tick"].parse().unwrap()).collect();
    ticks.sort();
    ticks
}

/// Ticks until there is nothing more to do at once.
fn settle<S: Store>(engine: &mut Engine<S>, now: Timestamp) {
    loop {
        let mut tx = engine.begin(now).unwrap();
        let more = tx.tick().unwrap();
        tx.commit().unwrap();
        if !more {
            return;
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Back(u64),
    Restart,
    Pause,
    Resume,
    Change(u64),
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![
        6 => (0_u64..200).prop_map(Step::Pass),
        2 => (0_u64..20_000).prop_map(Step::Pass),
        2 => (0_u64..4_000).prop_map(Step::Back),
        1 => Just(Step::Restart),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => (30_u64..120).prop_map(Step::Change),
    ];
    proptest::collection::vec((0_usize..2, step), 1..40)
}

fn policy() -> impl Strategy<Value = CatchUp> {
    prop_oneof![Just(CatchUp::Latest), Just(CatchUp::Skip), (1_u32..400).prop_map(|max| CatchUp::All { max }),]
}

/// What must fire, told by looking at the ticks alone.
struct Model {
    ticks: Ticks,
    policy: CatchUp,
    settled: Timestamp,
    next_from: Option<Timestamp>,
    fired: u64,
    missed: u64,
}

impl Model {
    fn due(&mut self, now: Timestamp) -> Vec<Timestamp> {
        let Some(from) = self.next_from else { return Vec::new() };
        let due: Vec<Timestamp> = self.ticks.after(from).take_while(|tick| *tick <= now).collect();
        let Some(last) = due.last().copied() else { return Vec::new() };
        let kept = match self.policy {
            CatchUp::All { max } => due.len().min(max as usize),
            CatchUp::Skip if now.since(last) > LATE_MAX => 0,
            CatchUp::Skip | CatchUp::Latest => 1,
        };
        self.settled = self.settled.max(last);
        self.next_from = Some(last);
        self.fired += kept as u64;
        self.missed += (due.len() - kept) as u64;
        due[due.len() - kept..].to_vec()
    }
}

/// Runs the steps on engines that share one store, each step on one of them, against the model.
fn check<S: Store>(
    mut engines: Vec<Engine<S>>,
    policy: CatchUp,
    steps: Vec<(usize, Step)>,
    restart: impl Fn(Timestamp) -> Option<Engine<S>>,
) {
    let mut now = Timestamp::from_micros(1_790_000_000_000_000);
    let mut rule = every(60, policy);
    let mut tx = engines[0].begin(now).unwrap();
    assert_eq!(tx.put_schedule(&rule).unwrap(), Put::Created);
    tx.commit().unwrap();
    let mut model = Model {
        ticks: Ticks::of(&rule).unwrap(),
        policy,
        settled: Timestamp::default(),
        next_from: Some(now),
        fired: 0,
        missed: 0,
    };
    for (which, step) in steps {
        let which = which % engines.len();
        match step {
            Step::Pass(seconds) => now = now + Duration::from_secs(seconds),
            Step::Back(seconds) => {
                now = Timestamp::from_micros(now.as_micros() - i64::try_from(seconds * 1_000_000).unwrap());
            }
            Step::Restart => {
                if let Some(engine) = restart(now) {
                    engines[which] = engine;
                }
            }
            Step::Pause | Step::Resume | Step::Change(_) => {}
        }
        let expected = model.due(now);
        let engine = &mut engines[which];
        settle(engine, now);
        let mut tx = engine.begin(now).unwrap();
        match step {
            Step::Pause => {
                tx.pause_schedule(&name(), None).unwrap();
                model.next_from = None;
            }
            Step::Resume => {
                tx.resume_schedule(&name()).unwrap();
                model.next_from = model.next_from.or(Some(now.max(model.settled)));
            }
            Step::Change(seconds) if rule.rule != every(seconds, policy).rule => {
                rule = every(seconds, policy);
                assert_eq!(tx.put_schedule(&rule).unwrap(), Put::Updated);
                model.ticks = Ticks::of(&rule).unwrap();
                model.next_from = model.next_from.map(|_| now.max(model.settled));
            }
            _ => assert_eq!(tx.put_schedule(&rule).unwrap(), Put::Unchanged),
        }
        tx.commit().unwrap();
        assert_eq!(take_fired(engine, now), expected, "after {step:?} at {now}");
        let seen = engine.reader().unwrap().schedule(&name()).unwrap().unwrap();
        assert_eq!((seen.fired, seen.missed), (model.fired, model.missed));
        let next = model.next_from.and_then(|from| model.ticks.next(from));
        assert_eq!(seen.next_at, next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    // proves
    #[test]
    fn ticks_fire_as_the_model_says_in_memory(policy in policy(), steps in steps()) {
        check(vec![memory().engine], policy, steps, |_| None);
    }

    // proves
    #[test]
    fn ticks_fire_as_the_model_says_with_two_engines_on_one_file(policy in policy(), steps in steps()) {
        let (directory, world) = sqlite();
        let another = |now| Some(Engine::open(open(&directory), EngineConfig::default(), now).unwrap());
        let second = another(world.now).unwrap();
        check(vec![world.engine, second], policy, steps, another);
    }
}

// proves R-448
#[test]
fn a_long_rest_is_settled_in_bounded_steps_and_exactly() {
    let config = EngineConfig { tick_jobs_max: 7, ..EngineConfig::default() };
    let mut world = World::configured(taskport_store_memory::MemoryStore::new(), config);
    let rule = every(1, CatchUp::All { max: 20 });
    world.commit(|tx| tx.put_schedule(&rule).unwrap());
    world.pass(Duration::from_secs(100_000));
    let (mut rounds, mut most) = (0, 0);
    loop {
        let mut tx = world.engine.begin(world.now).unwrap();
        let more = tx.tick().unwrap();
        tx.commit().unwrap();
        let seen = world.engine.reader().unwrap().schedule(&name()).unwrap().unwrap();
        let round = seen.fired - most;
        assert!(round <= 7, "one transaction fires at most its share: {round}");
        (rounds, most) = (rounds + 1, seen.fired);
        if !more {
            assert_eq!((seen.fired, seen.fired + seen.missed), (20, 100_000));
            break;
        }
    }
    assert!(rounds >= 10, "no transaction looks at more than 10,000 ticks: {rounds} transactions");
    let ticks = take_fired(&mut world.engine, world.now);
    assert_eq!(ticks.last(), Some(&world.now), "the newest are those that fire");
}

// proves R-449
#[test]
fn a_refused_job_is_a_missed_tick_and_the_schedule_goes_on() {
    let mut world = memory();
    let mut rule = every(60, CatchUp::Latest);
    // Each tag is fine by itself; all together are more than a job's options may hold, which only the submit knows.
    rule.options.tags = (0..64).map(|at| format!("{at:0>1024}").into()).collect();
    rule.options.metadata =
        (0..32).map(|at| (format!("{at:0>1024}").into(), "x".repeat(1_024).into())).collect();
    world.commit(|tx| tx.put_schedule(&rule).unwrap());
    for missed in 1..=3 {
        world.pass(Duration::from_secs(60));
        world.commit(|_| ());
        let seen = world.engine.reader().unwrap().schedule(&name()).unwrap().unwrap();
        assert_eq!((seen.fired, seen.missed), (0, missed));
        assert!(seen.problem.unwrap().contains("E-006"));
        assert!(seen.next_at.unwrap() > world.now);
    }
}

// proves R-449
#[test]
fn one_job_at_a_time_by_an_idempotency_key() {
    use taskport_abstraction::options::{Idempotency, OnConflict, Unique};
    let mut world = memory();
    let mut rule = every(60, CatchUp::Latest);
    rule.options.idempotency =
        Some(Idempotency { key: "s".into(), unique: Unique::WhileLive, on_conflict: OnConflict::Ignore });
    world.commit(|tx| tx.put_schedule(&rule).unwrap());
    world.pass(Duration::from_secs(60));
    world.commit(|_| ());
    world.pass(Duration::from_secs(60));
    world.commit(|_| ());
    let seen = world.engine.reader().unwrap().schedule(&name()).unwrap().unwrap();
    assert_eq!((seen.fired, seen.missed), (1, 1));
    assert!(seen.problem.unwrap().contains(seen.last_job.unwrap().as_str()));
    assert_eq!(take_fired(&mut world.engine, world.now).len(), 1);
    world.pass(Duration::from_secs(60));
    world.commit(|_| ());
    let seen = world.engine.reader().unwrap().schedule(&name()).unwrap().unwrap();
    assert_eq!((seen.fired, seen.problem), (2, None));
}

// proves R-449
#[test]
fn a_backfilled_tick_does_not_fire_again_and_a_fired_one_is_not_filled() {
    let mut world = memory();
    world.commit(|tx| tx.put_schedule(&every(60, CatchUp::Latest)).unwrap());
    world.pass(Duration::from_secs(60));
    world.commit(|_| ());
    let until = world.now;
    let from = Timestamp::from_micros(until.as_micros() - 300_000_000);
    let (jobs, _) = world.commit(|tx| tx.backfill_schedule(&name(), from, until, 10).unwrap());
    assert_eq!(jobs.len(), 4, "five ticks, of which one has fired");
    let (again, _) = world.commit(|tx| tx.backfill_schedule(&name(), from, until, 10).unwrap());
    assert!(again.is_empty());
    let (future, _) =
        world.commit(|tx| tx.backfill_schedule(&name(), from, until + Duration::from_secs(1), 10));
    assert_eq!(future.unwrap_err().code(), &codes::BAD_OPTION);
}
