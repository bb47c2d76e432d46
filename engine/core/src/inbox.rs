//! The form in which a job waits for the engine to take it from somebody else's transaction.

use bytes::Bytes;
use taskport_abstraction::backend::Submission;
use taskport_abstraction::options::Start;
use taskport_abstraction::{
    BackendName, Error, JobId, JobOptions, JobState, JobStatus, Payload, QueueName, RawCall, Result,
    TaskName, Timestamp, codes,
};

use crate::config::EngineConfig;
use crate::stored;

/// A job as the user's transaction left it.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRecord {
    /// The store's key of it, which grows. 0 where the store has yet to choose.
    pub seq: i64,
    /// The id it is to have.
    pub id: JobId,
    /// The task it calls.
    pub task: TaskName,
    /// Its options in their stored form, where they are not the default.
    pub options: Option<Bytes>,
    /// Its arguments.
    pub arguments: Payload,
    /// When it was submitted, by the clock of whoever did.
    pub submitted_at: Timestamp,
}

/// A job for another backend.
#[derive(Debug, Clone, PartialEq)]
pub struct OutgoingRecord {
    /// The job.
    pub job: InboxRecord,
    /// The backend.
    pub target: BackendName,
    /// How often it has been tried.
    pub attempt: u32,
    /// When it is due, or its lease lapses; nothing where the backend refused it for good.
    pub due_at: Option<Timestamp>,
    /// Why it has not been handed on.
    pub reason: Option<String>,
}

impl InboxRecord {
    /// The row of a job submitted at `now`. Delays and periods become points in time, since the engine may see the row
    /// much later.
    ///
    /// # Errors
    /// `InvalidInput` (E-004) and `PayloadTooLarge` (E-006) for what no job may ask.
    pub fn new(submission: &Submission, now: Timestamp) -> Result<Self> {
        let mut options = submission.options.clone();
        options.validate()?;
        for moment in [&mut options.start, &mut options.expiry] {
            *moment = moment.map(|moment| Start::At(moment.resolve(now)));
        }
        let options = stored::OptionsCodec::default().encode(&options)?;
        let (given, max) =
            (options.as_ref().map_or(0, Bytes::len), EngineConfig::default().options_bytes_max);
        if given > max {
            let message = format!("the options have {given} bytes, and the limit is {max}");
            return Err(Error::new(&codes::PAYLOAD_TOO_LARGE, "submit", message));
        }
        Ok(Self {
            seq: 0,
            id: submission.id.clone(),
            task: submission.call.task.clone(),
            options,
            arguments: submission.call.arguments.clone(),
            submitted_at: now,
        })
    }

    /// The job's options.
    ///
    /// # Errors
    /// `Corrupt`: E-032 for a version this program does not know, E-033 for what is no stored form.
    pub(crate) fn options(&self) -> Result<JobOptions> {
        self.options
            .as_ref()
            .map_or_else(|| Ok(JobOptions::default()), |bytes| stored::decode(bytes, "options"))
    }

    /// What is to be submitted.
    ///
    /// # Errors
    /// As [`options`](Self::options).
    pub(crate) fn submission(&self) -> Result<Submission> {
        let call = RawCall { task: self.task.clone(), arguments: self.arguments.clone() };
        Ok(Submission { id: self.id.clone(), call, options: self.options()? })
    }

    /// The job as others see it until the engine has taken it.
    pub(crate) fn status(self) -> JobStatus {
        let options = self.options().unwrap_or_default();
        let start = options.start.map(|start| start.resolve(self.submitted_at));
        let not_before = start.filter(|moment| *moment > self.submitted_at);
        JobStatus {
            id: self.id,
            task: self.task,
            queue: options.queue.clone().unwrap_or_else(QueueName::default_queue),
            state: if not_before.is_some() { JobState::Scheduled } else { JobState::Queued },
            attempt: 0,
            options,
            arguments: self.arguments,
            submitted_at: Some(self.submitted_at),
            not_before,
            started_at: None,
            finished_at: None,
            outcome: None,
            progress: None,
            worker: None,
            cancel_requested: false,
            step: None,
        }
    }
}
