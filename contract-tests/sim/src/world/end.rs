//! The end of a run: faults heal, everything that waits is worked off, and every job is read back.

use taskport_abstraction::backend::{JobFilter, RunFilter, Settlement};
use taskport_abstraction::{JobId, JobOptions, JobState, Payload, RawCall, Timestamp};
use taskport_checker::{Event, Line, Operation};
use taskport_engine::store::LimitRows as _;
use taskport_engine::{NewJob, Read as _, Store};

use super::{Clock, Failed, World};
use crate::backing::Backing;
use crate::broken::Broken;
use crate::graph::checksum;
use crate::history::{Scribe, state};
use crate::model::{ROWS_MAX, Rows};
use crate::plan::EPOCH;
use crate::process::Hand;
use crate::turn::good_verdict;

/// In how many rounds everything has to have ended.
const ROUNDS_MAX: usize = 5_000;
/// How many jobs a round takes.
const CLAIM_MAX: usize = 16;

/// What a good run leaves.
#[derive(Debug)]
pub(crate) struct End {
    /// The same for two equal runs.
    pub(crate) checksum: u64,
    pub(crate) rows: Rows,
}

impl<B: Backing> World<B> {
    /// Heals the world, drains it, and judges what is left.
    pub(crate) fn end(mut self) -> Result<(End, super::Figures), (Failed, Vec<String>)> {
        match self.finish() {
            Ok(end) => Ok((end, self.figures)),
            Err(failed) => Err((failed, self.words)),
        }
    }

    fn finish(&mut self) -> Result<End, Failed> {
        // What is drawn from here on must not depend on how many steps there were.
        self.rng = fastrand::Rng::with_seed(self.seed ^ u64::MAX);
        self.heal()?;
        self.drain()?;
        self.audit()?;
        let rows = self.rows();
        self.read_back(&rows)?;
        let (least, most) = self.ahead_us;
        let clock_bound_us = u64::try_from(most - least).unwrap_or(0);
        self.history.judge(clock_bound_us, |id| self.model.was_erased(id))?;
        self.figures.runs = rows.runs.len() as u64;
        Ok(End {
            checksum: self.history.checksum() ^ checksum(format!("{:?}", rows.queues).as_bytes()),
            rows,
        })
    }

    /// Clocks agree on the latest time that any of them showed, sleepers wake, queues hand out jobs again.
    fn heal(&mut self) -> Result<(), Failed> {
        for at in 0..self.processes.len() {
            self.now(at);
        }
        let mut clock = Clock::default();
        clock.set(self.ahead_us.1, 0, self.elapsed_us);
        for process in &mut self.processes {
            process.clock = clock;
            process.asleep_until_us = 0;
        }
        let queues = self.plan.queues.clone();
        self.group(0, None, false, |turn, tx| {
            // The checker thinks nothing of a run without a job.
            let call =
                RawCall { task: "plain".parse().expect("a good name"), arguments: Payload::json("[[],{}]") };
            let options = JobOptions { queue: Some(queues[0].clone()), ..JobOptions::default() };
            let id: JobId = "the-last".parse().expect("a good name");
            turn.submit_one(tx, NewJob { id, call, options, step: None })?;
            queues.iter().try_for_each(|queue| turn.resume(tx, queue))
        })?;
        Ok(())
    }

    fn drain(&mut self) -> Result<(), Failed> {
        for round in 0..ROUNDS_MAX {
            let at = round % self.processes.len();
            let settlements: Vec<_> = self.processes[at].hands.iter().map(settlement).collect();
            let (held, queues) = (settlements.len(), self.plan.queues.clone());
            let mut more = false;
            self.group(at, None, false, |turn, tx| {
                more = turn.tick(tx)?;
                turn.settle_all(tx, settlements)?;
                turn.claim_from(tx, &queues, CLAIM_MAX)
            })?;
            let idle = !more && held == 0 && self.processes.iter().all(|process| process.hands.is_empty());
            if idle && !self.pass_to_next()? {
                self.control(Operation::Drain, Event::Ok, None);
                return Ok(());
            }
        }
        Err(Broken::new("stuck", format!("not drained in {ROUNDS_MAX} rounds: {}", self.open())).into())
    }

    /// Lets time pass until something is due. `false` says that everything has ended.
    fn pass_to_next(&mut self) -> Result<bool, Broken> {
        let open = self.open();
        if open.is_empty() {
            return Ok(false);
        }
        let next = self.processes[0].below.peek(Store::next_due);
        let Some(next) = next.filter(|next| *next != Timestamp::MAX) else {
            let gates = self.processes[0].below.peek(|rows| rows.gates(i64::MIN, ROWS_MAX));
            let closed: Vec<_> = gates.into_iter().filter(|gate| gate.held > 0).collect();
            return Err(Broken::new(
                "stuck",
                format!("nothing is ever due, and there are {open}; {closed:?}"),
            ));
        };
        let now = self.now(0);
        self.elapsed_us += i64::try_from(next.since(now).as_micros()).unwrap_or(0);
        Ok(true)
    }

    /// What has not ended, in words.
    fn open(&self) -> String {
        let below = &self.processes[0].below;
        let jobs = below.peek(|rows| rows.jobs(&JobFilter::default(), None, ROWS_MAX));
        let jobs = jobs.into_iter().filter(|job| !job.state.is_terminal());
        let jobs = jobs.map(|job| format!("{} {}", job.state, job.id));
        let running = RunFilter { state: Some(JobState::Running), ..RunFilter::default() };
        let runs = below.peek(|rows| rows.runs(&running, None, ROWS_MAX));
        let runs = runs.into_iter().map(|run| format!("run {}", run.id));
        jobs.chain(runs).take(10).collect::<Vec<_>>().join(", ")
    }

    /// Reads every job back, through a reader and from the rows.
    fn read_back(&mut self, rows: &Rows) -> Result<(), Failed> {
        let ids: Vec<JobId> = self.history.attempted().into_iter().collect();
        let reader = self.processes[0].engine.reader();
        let statuses = reader.and_then(|mut reader| reader.get(&ids));
        let statuses = statuses.map_err(|error| Broken::new("refusal", error.to_string()))?;
        for (id, status) in ids.iter().zip(statuses) {
            let by_reader = status.map(|status| (status.state, None));
            let by_row = rows.jobs.get(id).map(|row| (row.state, Some(row.token.0)));
            for (known, token) in [by_reader, by_row].map(|read| read.unwrap_or((JobState::Unknown, None))) {
                let line = self.control(Operation::Read, Event::Ok, Some(id));
                (line.state, line.token) = (Some(state(known)), token);
            }
        }
        match rows.runs.iter().find(|(run, _)| !run.state.is_terminal()) {
            Some((run, _)) => Err(Broken::new("stuck", format!("{} is {}", run.id, run.state)).into()),
            None => Ok(()),
        }
    }

    fn control(&mut self, op: Operation, event: Event, job: Option<&JobId>) -> &mut Line {
        self.history.pass(u64::try_from(self.elapsed_us).unwrap_or(0));
        let scribe = Scribe { process: "control", wall_us: EPOCH.as_micros() + self.elapsed_us };
        self.history.line(scribe, op, event, job)
    }
}

fn settlement(hand: &Hand) -> Settlement {
    Settlement { lease: hand.delivery.lease.clone(), verdict: good_verdict(&hand.delivery) }
}
