//! What the simulation has found in the engine, told as short as it can be.

use std::time::Duration;

use taskport_abstraction::backend::{Delivery, Settlement, Verdict, WorkerLoad};
use taskport_abstraction::options::{ConcurrencyLimit, RateLimit, Start};
use taskport_abstraction::{
    Failure, FailureKind, JobId, JobOptions, JobState, Payload, QueueName, RawCall, Timestamp, codes,
};
use taskport_engine::{Claim, Engine, EngineConfig, NewJob, NewWorker};
use taskport_store_memory::MemoryStore;

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

// A heartbeat after the clock was set back moves the end of the worker forward in time.
#[test]
fn a_process_wakes_in_time_after_its_clock_was_set_back() {
    let mut engine = Engine::open(MemoryStore::new(), EngineConfig::default(), NOW).unwrap();
    let worker = NewWorker {
        name: "w".into(),
        host: "h".to_owned(),
        pid: 1,
        queues: Vec::new(),
        tasks: Vec::new(),
        slots: 1,
        lease_for: Duration::from_secs(30),
    };
    let mut tx = engine.begin(NOW).unwrap();
    tx.register_worker(worker).unwrap();
    tx.commit().unwrap();
    let forgotten_at = engine.next_due().unwrap().unwrap();
    let hour_us = 3_600_000_000;
    let mut tx = engine.begin(Timestamp::from_micros(NOW.as_micros() - hour_us)).unwrap();
    assert!(tx.heartbeat("w", WorkerLoad { running: 0, slots: 1 }).unwrap());
    tx.commit().unwrap();
    assert_eq!(engine.next_due().unwrap().unwrap().as_micros(), forgotten_at.as_micros() - hour_us);
}

#[test]
fn a_gate_that_opens_while_the_clock_is_back_leaves_nobody_behind() {
    let mut engine = Engine::open(MemoryStore::new(), EngineConfig::default(), NOW).unwrap();
    let later = NOW + Duration::from_secs(10);
    let slot = || JobOptions {
        concurrency: Some(ConcurrencyLimit { key: "k".into(), max: 1 }),
        ..JobOptions::default()
    };
    submit_with(&mut engine, "a", slot());
    let a = claim(&mut engine);
    submit_with(&mut engine, "b", JobOptions { start: Some(Start::At(later)), ..slot() });
    submit_with(&mut engine, "c", slot());
    let work = |engine: &mut Engine<MemoryStore>| {
        let mut tx = engine.begin(later).unwrap();
        tx.tick().unwrap();
        let queues = [QueueName::default_queue()];
        let lease_for = Duration::from_secs(30);
        let claimed = tx.claim(&Claim { worker: "w", queues: &queues, max: 1, lease_for }).unwrap();
        tx.commit().unwrap();
        claimed.into_iter().map(|delivery| delivery.lease.job.to_string()).collect::<Vec<_>>()
    };
    assert!(work(&mut engine).is_empty(), "b is due and finds the slot taken");
    let settlement = Settlement { lease: a.lease, verdict: Verdict::Ack(Payload::json("1")) };
    let mut tx = engine.begin(NOW).unwrap();
    tx.settle(&[settlement]).remove(0).unwrap();
    tx.cancel(&["b".parse().unwrap()]).remove(0).unwrap();
    tx.commit().unwrap();
    assert_eq!(work(&mut engine), ["c"]);
}

#[test]
fn a_job_that_finds_a_gate_due_to_open_does_not_keep_it_closed() {
    let mut engine = Engine::open(MemoryStore::new(), EngineConfig::default(), NOW).unwrap();
    let rate = RateLimit { key: "k".into(), count: 1, period: Duration::from_secs(2) };
    let bounded = |id: &str| {
        let call = RawCall { task: "t".parse().unwrap(), arguments: Payload::json("[[],{}]") };
        let options = JobOptions { rate_limit: Some(rate.clone()), ..JobOptions::default() };
        NewJob { id: id.parse().unwrap(), call, options, step: None }
    };
    let mut tx = engine.begin(NOW).unwrap();
    tx.enqueue(vec![bounded("a")]).remove(0).unwrap();
    tx.commit().unwrap();
    claim(&mut engine);
    let mut tx = engine.begin(NOW).unwrap();
    tx.enqueue(vec![bounded("b")]).remove(0).unwrap();
    tx.commit().unwrap();
    let mut tx = engine.begin(NOW + Duration::from_secs(3)).unwrap();
    tx.enqueue(vec![bounded("c")]).remove(0).unwrap();
    tx.tick().unwrap();
    let queues = [QueueName::default_queue()];
    let lease_for = Duration::from_secs(30);
    let given = tx.claim(&Claim { worker: "w", queues: &queues, max: 2, lease_for }).unwrap();
    tx.commit().unwrap();
    assert_eq!(given.iter().map(|delivery| delivery.lease.job.as_str()).collect::<Vec<_>>(), ["b"]);
}

fn submit(engine: &mut Engine<MemoryStore>, id: &str) {
    submit_with(engine, id, JobOptions::default());
}

fn submit_with(engine: &mut Engine<MemoryStore>, id: &str, options: JobOptions) {
    let call = RawCall { task: "t".parse().unwrap(), arguments: Payload::json("[[],{}]") };
    let new = NewJob { id: id.parse().unwrap(), call, options, step: None };
    let mut tx = engine.begin(NOW).unwrap();
    tx.enqueue(vec![new]).remove(0).unwrap();
    tx.commit().unwrap();
}

fn claim(engine: &mut Engine<MemoryStore>) -> Delivery {
    let queues = [QueueName::default_queue()];
    let lease_for = Duration::from_secs(30);
    let mut tx = engine.begin(NOW).unwrap();
    let delivery = tx.claim(&Claim { worker: "w", queues: &queues, max: 1, lease_for }).unwrap().remove(0);
    tx.commit().unwrap();
    delivery
}

#[test]
fn a_lease_of_a_deleted_job_closes_no_newer_one_of_its_id() {
    let mut engine = Engine::open(MemoryStore::new(), EngineConfig::default(), NOW).unwrap();
    submit(&mut engine, "a");
    let older = claim(&mut engine);
    let failure = || Failure::new(FailureKind::Error, "no");
    let settle = |engine: &mut Engine<MemoryStore>, delivery: &Delivery, verdict| {
        let settlement = Settlement { lease: delivery.lease.clone(), verdict };
        let mut tx = engine.begin(NOW).unwrap();
        let answer = tx.settle(&[settlement]).remove(0);
        tx.commit().unwrap();
        answer
    };
    settle(&mut engine, &older, Verdict::Reject(failure())).unwrap();
    submit(&mut engine, "b");
    let id: JobId = "a".parse().unwrap();
    let mut tx = engine.begin(NOW).unwrap();
    tx.delete(std::slice::from_ref(&id)).remove(0).unwrap();
    tx.commit().unwrap();
    submit(&mut engine, "a");
    claim(&mut engine);
    let newer = claim(&mut engine);
    assert_eq!((&newer.lease.job, newer.lease.token), (&older.lease.job, older.lease.token));
    let verdicts = [
        Verdict::Release,
        Verdict::Reject(failure()),
        Verdict::Retry { failure: failure(), after: None },
        Verdict::Cancelled(failure()),
        Verdict::Ack(Payload::json("1")),
    ];
    for verdict in verdicts {
        let answer = settle(&mut engine, &older, verdict.clone());
        assert_eq!(answer.unwrap_err().code(), &codes::LEASE_LOST, "{verdict:?}");
    }
    settle(&mut engine, &newer, Verdict::Ack(Payload::json("2"))).unwrap();
    let status = engine.reader().unwrap().get(&[id]).unwrap().remove(0).unwrap();
    assert_eq!(status.state, JobState::Succeeded);
}
