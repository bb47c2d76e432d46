//! The rows of gates and batches, and the moves of jobs that have to do with them.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use taskport_abstraction::{BatchId, JobState, LeaseToken, QueueName, Result, Timestamp};
use taskport_engine::record::{BatchRecord, GateName, GateRecord, JobRecord};
use taskport_engine::state;
use taskport_engine::store::{Grant, LimitRows, ReadBatches};

use crate::store::{MemoryReader, MemoryStore, ready};
use crate::tables::Tables;

impl LimitRows for MemoryStore {
    fn gate(&mut self, name: &GateName) -> Result<Option<GateRecord>> {
        Ok(self.with(|tables| tables.gates.get(tables.gate_ids.get(name)?).cloned()))
    }

    fn gates(&mut self, after: i64, max: usize) -> Result<Vec<GateRecord>> {
        let above = (Bound::Excluded(after), Bound::Unbounded);
        Ok(self.with(|tables| tables.gates.range(above).map(|(_, gate)| gate).take(max).cloned().collect()))
    }

    fn due_gates(&mut self, now: Timestamp, max: usize) -> Result<Vec<GateRecord>> {
        Ok(self.with(|tables| {
            let due = tables.gates.values().filter(|gate| gate.wake_at.is_some_and(|moment| moment <= now));
            let mut due: Vec<GateRecord> = due.cloned().collect();
            due.sort_by_key(|gate| (gate.wake_at, gate.id));
            due.truncate(max);
            due
        }))
    }

    fn gate_id_max(&mut self) -> Result<i64> {
        Ok(self.with(|tables| tables.gates.last_key_value().map_or(0, |(id, _)| *id)))
    }

    fn put_gate(&mut self, gate: &GateRecord) -> Result<()> {
        self.with(|tables| tables.set_gate(gate.id, Some(gate.clone())));
        Ok(())
    }

    fn delete_gate(&mut self, id: i64) -> Result<()> {
        self.with(|tables| tables.set_gate(id, None));
        Ok(())
    }

    fn held(&mut self, gate: i64, max: usize) -> Result<Vec<JobRecord>> {
        Ok(self.with(|tables| {
            let held: Vec<_> = tables.held.get(&gate).into_iter().flatten().collect();
            let queues: BTreeSet<_> = held.iter().map(|(queue, ..)| queue).collect();
            let first = queues.into_iter().flat_map(|queue| {
                let of_queue = held.iter().filter(move |(other, ..)| other == queue);
                of_queue.take(max).map(|(.., seq)| *seq)
            });
            let mut jobs: Vec<JobRecord> = first.filter_map(|seq| tables.jobs.get(&seq)).cloned().collect();
            jobs.sort_by_key(|job| (job.position, job.seq));
            jobs
        }))
    }

    fn line_waits(&mut self, key: &str) -> Result<Option<bool>> {
        Ok(self.with(|tables| line(tables, key).next_back().map(JobRecord::is_in_line)))
    }

    fn next_in_line(&mut self, key: &str) -> Result<Option<JobRecord>> {
        Ok(self.with(|tables| line(tables, key).find(|job| job.is_in_line()).cloned()))
    }

    fn ready(&mut self, queue: &QueueName, now: Timestamp, max: usize) -> Result<Vec<JobRecord>> {
        Ok(self.with(|tables| {
            let in_time = |job: &&JobRecord| job.expires_at.is_none_or(|moment| moment > now);
            let jobs = ready(tables, queue).filter_map(|seq| tables.jobs.get(&seq));
            jobs.filter(in_time).take(max).cloned().collect()
        }))
    }

    fn lease(&mut self, jobs: &mut [JobRecord], grant: &Grant<'_>) -> Result<()> {
        self.with(|tables| {
            let worker: Arc<str> = grant.worker.into();
            for job in jobs {
                job.state = JobState::Running;
                job.attempt += 1;
                job.token = LeaseToken(job.token.0 + 1);
                job.worker = Some(worker.clone());
                job.started_at = Some(grant.now);
                job.due_at = Some(grant.until);
                job.progress = None;
                tables.set_job(job.seq, Some(job.clone()));
            }
        });
        Ok(())
    }

    fn move_job(&mut self, job: &JobRecord) -> Result<()> {
        self.with(|tables| {
            if let Some(known) = tables.jobs.get(&job.seq) {
                let moved = JobRecord {
                    state: job.state,
                    position: job.position,
                    due_at: job.due_at,
                    held_by: job.held_by,
                    ..known.clone()
                };
                tables.set_job(job.seq, Some(moved));
            }
        });
        Ok(())
    }

    fn job_at(&mut self, seq: i64) -> Result<Option<JobRecord>> {
        Ok(self.with(|tables| tables.jobs.get(&seq).cloned()))
    }

    fn waiting_after(&mut self, queue: &QueueName, after: i64, max: usize) -> Result<Vec<JobRecord>> {
        Ok(self.with(|tables| {
            let above = tables.jobs.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, job)| job);
            above.filter(|job| has_place(job, queue)).take(max).cloned().collect()
        }))
    }

    fn reposition_by_age(&mut self, queue: &QueueName, ageing: Duration) -> Result<()> {
        self.with(|tables| {
            let waiting = tables.jobs.values().filter(|job| has_place(job, queue));
            let moved = waiting.map(|job| JobRecord {
                position: state::aged_position(job.submitted_at, job.priority, ageing),
                ..job.clone()
            });
            let moved: Vec<JobRecord> = moved.collect();
            for job in moved {
                tables.set_job(job.seq, Some(job));
            }
        });
        Ok(())
    }

    fn due_queues(&mut self, now: Timestamp, max: usize) -> Result<Vec<QueueName>> {
        Ok(self.with(|tables| {
            let has_come = |moment: Timestamp| moment <= now;
            let due = tables.queues.values().filter(|queue| queue.pace.wake_at.is_some_and(has_come));
            due.map(|queue| queue.name.clone()).take(max).collect()
        }))
    }

    fn insert_batch(&mut self, batch: &BatchRecord) -> Result<()> {
        self.with(|tables| tables.set_batch(batch.id.clone(), Some(batch.clone())));
        Ok(())
    }

    fn put_batch(&mut self, batch: &BatchRecord) -> Result<()> {
        self.insert_batch(batch)
    }
}

impl ReadBatches for MemoryStore {
    fn batch(&mut self, id: &BatchId) -> Result<Option<BatchRecord>> {
        Ok(self.with(|tables| tables.batches.get(id).cloned()))
    }
}

impl ReadBatches for MemoryReader {
    fn batch(&mut self, id: &BatchId) -> Result<Option<BatchRecord>> {
        Ok(self.with(|tables| tables.batches.get(id).cloned()))
    }
}

/// The jobs of a line, in their order.
fn line<'a>(tables: &'a Tables, key: &str) -> impl DoubleEndedIterator<Item = &'a JobRecord> {
    tables.lines.get(key).into_iter().flatten().filter_map(|(_, seq)| tables.jobs.get(seq))
}

/// Whether a job waits in a queue and has a place there, which one in a line has not.
pub(crate) fn has_place(job: &JobRecord, queue: &QueueName) -> bool {
    job.queue == *queue && job.state.is_waiting() && !job.is_in_line()
}

/// The earliest moment at which a gate or a queue is to be looked at.
pub(crate) fn next_due(tables: &Tables) -> Option<Timestamp> {
    let gates = tables.gates.values().filter_map(|gate| gate.wake_at);
    gates.chain(tables.queues.values().filter_map(|queue| queue.pace.wake_at)).min()
}
