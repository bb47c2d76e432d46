use std::fmt::Write;
use std::ops::Deref;

use serde_json::Value;
use taskport_abstraction::{IntoCall, JobOptions, JobStatus, RawCall};

/// The jobs of a [`TestPort`](super::TestPort) at one moment, oldest first.
#[derive(Debug, Clone)]
pub struct Jobs(Vec<JobStatus>);

impl Jobs {
    pub(super) const fn new(jobs: Vec<JobStatus>) -> Self {
        Self(jobs)
    }

    /// The jobs that have not ended and are this call: the same task, equal arguments, and every option the call sets.
    ///
    /// # Panics
    /// Where the call itself is wrong, such as by a priority of 12.
    #[track_caller]
    pub fn enqueued<C: IntoCall>(&self, call: C) -> Vec<&JobStatus> {
        let (_, call, options) =
            call.into_call().into_raw().unwrap_or_else(|error| panic!("no job can be this call: {error}"));
        self.0.iter().filter(|job| !job.state.is_terminal() && is_call(job, &call, &options)).collect()
    }

    /// Fails the test unless a job that has not ended is this call. See [`enqueued`](Self::enqueued).
    ///
    /// # Panics
    /// Where there is none, with the jobs there are.
    #[track_caller]
    pub fn assert_enqueued<C: IntoCall>(&self, call: C) {
        let call = call.into_call();
        let task = call.task().clone();
        assert!(!self.enqueued(call).is_empty(), "no job of `{task}` that is this call waits; {self}");
    }

    /// Fails the test where a job that has not ended is this call.
    ///
    /// # Panics
    /// Where there is one, with the jobs there are.
    #[track_caller]
    pub fn assert_not_enqueued<C: IntoCall>(&self, call: C) {
        let call = call.into_call();
        let task = call.task().clone();
        assert!(self.enqueued(call).is_empty(), "a job of `{task}` that is this call waits; {self}");
    }

    /// The jobs of one task, whatever their arguments and state.
    pub fn of_task(&self, task: &str) -> Vec<&JobStatus> {
        self.0.iter().filter(|job| job.task.as_str() == task).collect()
    }
}

impl Deref for Jobs {
    type Target = [JobStatus];

    fn deref(&self) -> &[JobStatus] {
        &self.0
    }
}

impl std::fmt::Display for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there are no jobs");
        }
        f.write_str("the jobs are:")?;
        for job in &self.0 {
            let mut arguments = String::new();
            // Test data of the reader's own: this is the one place that shows arguments.
            write!(arguments, "{}", String::from_utf8_lossy(&job.arguments.bytes))?;
            write!(f, "\n  {} {} in `{}`: {arguments}", job.state, job.task, job.queue)?;
        }
        Ok(())
    }
}

fn is_call(job: &JobStatus, call: &RawCall, asked: &JobOptions) -> bool {
    let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let mut options = asked.clone();
    options.or(&job.options);
    job.task == call.task
        && document(&job.arguments.bytes) == document(&call.arguments.bytes)
        && options == job.options
}
