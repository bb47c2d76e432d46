use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use taskport_abstraction::backend::Verdict;
use taskport_abstraction::{Error, TaskError, TaskName};

/// What is to go wrong in a [`TestPort`](super::TestPort), in the order in which it was asked for.
#[derive(Debug, Default)]
pub struct Faults {
    planned: Mutex<Planned>,
}

#[derive(Debug, Default)]
struct Planned {
    submits: VecDeque<Error>,
    attempts: HashMap<String, VecDeque<AttemptFault>>,
}

/// What becomes of one attempt.
#[derive(Debug, Clone)]
pub(super) enum AttemptFault {
    /// The handler is not called, and this is its answer.
    Fails(Verdict),
    /// The handler is called, and its worker dies before it can tell.
    IsLost,
}

impl Faults {
    /// Refuses the next submit with `error`. Where its certainty is `MaybeApplied`, the jobs are taken all the same, as
    /// where the reply was lost.
    pub fn fail_submit(&self, error: Error) {
        self.planned().submits.push_back(error);
    }

    /// Ends the next `times` attempts of `task` with `error`, in place of calling its handler.
    pub fn fail_attempts(&self, task: &str, times: usize, error: TaskError) {
        let verdict = match error {
            TaskError::Retry { after, failure } => Verdict::Retry { failure, after },
            TaskError::Error(failure) => Verdict::Retry { failure, after: None },
            TaskError::Fatal(failure) => Verdict::Reject(failure),
        };
        self.plan(task, times, &AttemptFault::Fails(verdict));
    }

    /// Lets the worker die at the end of the next `times` attempts of `task`: the handler has run, nobody knows, and the
    /// job runs again once the lease has lapsed. Shows whether a task can be repeated.
    pub fn lose_workers(&self, task: &str, times: usize) {
        self.plan(task, times, &AttemptFault::IsLost);
    }

    fn plan(&self, task: &str, times: usize, fault: &AttemptFault) {
        let mut planned = self.planned();
        planned.attempts.entry(task.to_owned()).or_default().extend(vec![fault.clone(); times]);
    }

    pub(super) fn next_submit(&self) -> Option<Error> {
        self.planned().submits.pop_front()
    }

    pub(super) fn next_attempt(&self, task: &TaskName) -> Option<AttemptFault> {
        self.planned().attempts.get_mut(task.as_str())?.pop_front()
    }

    fn planned(&self) -> std::sync::MutexGuard<'_, Planned> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
