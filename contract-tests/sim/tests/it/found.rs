//! What the simulation has found in the engine, told as short as it can be.

use std::time::Duration;

use taskport_abstraction::backend::{Delivery, Settlement, Verdict};
use taskport_abstraction::{
    Failure, FailureKind, JobId, JobOptions, JobState, Payload, QueueName, RawCall, Timestamp, codes,
};
use taskport_engine::{Claim, Engine, EngineConfig, NewJob};
use taskport_store_memory::MemoryStore;

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn submit(engine: &mut Engine<MemoryStore>, id: &str) {
    let call = RawCall { task: "t".parse().unwrap(), arguments: Payload::json("[[],{}]") };
    let new = NewJob { id: id.parse().unwrap(), call, options: JobOptions::default(), step: None };
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
