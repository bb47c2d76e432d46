//! One line of a history, as it is written and read.

use serde::{Deserialize, Serialize};

/// The version of the format that this crate writes and reads.
pub const VERSION: u16 = 1;

/// One line of a history or of the effect ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The version of the format.
    pub v: u16,
    /// When, by the monotonic clock that all processes of the run share.
    pub at_us: u64,
    /// When, by the wall clock of the process: since the Unix epoch.
    pub wall_us: u64,
    /// Who: a name that no other process of the run ever has, not even its successor after a restart.
    pub process: String,
    /// What it is about.
    pub op: Operation,
    /// Asked, answered, or done.
    pub event: Event,
    /// The job, by the key its submitter chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The job, by the id the backend acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Which attempt; for the reader, not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The lease token. Where the backend has none, it is left out, and leases are not told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<u64>,
    /// `submit`: the job may not start earlier, by the wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before_us: Option<u64>,
    /// `submit`: the ordering key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// `submit`: the place under the ordering key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// `settle`: how the attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// `read` and `cancel`: the state that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// `fault`: the process that was hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A client hands a job in.
    Submit,
    /// A client gives a job up.
    Cancel,
    /// Somebody has an ended job run again.
    Requeue,
    /// A worker says how an attempt ended.
    Settle,
    /// The controller reads a job back after the end.
    Read,
    /// The controller waits until nothing is left to do.
    Drain,
    /// The nemesis breaks something.
    Fault,
    /// The effect ledger: a handler runs.
    Effect,
}

/// What a line says about its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It is about to be asked for.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen.
    Fail,
    /// Nobody knows whether it happened.
    Info,
    /// The handler starts; `effect` only.
    Start,
    /// The handler is done; `effect` only.
    End,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The job has its result.
    Succeeded,
    /// The job failed for good.
    Failed,
    /// The job stopped because it was asked to.
    Cancelled,
    /// Another attempt follows.
    Retry,
    /// The attempt was handed back.
    Release,
}

impl Outcome {
    /// Whether the job ends with it.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Retry | Self::Release)
    }
}

/// The state of a job, as it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for its time.
    Scheduled,
    /// Waits for others.
    Blocked,
    /// May start.
    Queued,
    /// Under a lease.
    Running,
    /// Waits for its next attempt.
    Retrying,
    /// Ended with a result.
    Succeeded,
    /// Ended for good without one.
    Failed,
    /// Ended by a cancel.
    Cancelled,
    /// Ended because its time was over.
    Expired,
    /// The backend does not know the job.
    Missing,
}

impl Line {
    /// A line with nothing but what every line has.
    #[must_use]
    pub fn new(process: impl Into<String>, op: Operation, event: Event, at_us: u64, wall_us: u64) -> Self {
        Self {
            v: VERSION,
            at_us,
            wall_us,
            process: process.into(),
            op,
            event,
            key: None,
            id: None,
            attempt: None,
            token: None,
            not_before_us: None,
            order: None,
            sequence: None,
            outcome: None,
            state: None,
            target: None,
        }
    }

    /// Reads one line and checks that it makes sense.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            v: u16,
        }
        let line: Self =
            serde_json::from_slice(text).map_err(|error| match serde_json::from_slice(text) {
                Ok(Version { v }) if v != VERSION => unknown(v),
                _ => format!("not a line of a history: {error}"),
            })?;
        line.check()?;
        Ok(line)
    }

    fn check(&self) -> Result<(), String> {
        if self.v != VERSION {
            return Err(unknown(self.v));
        }
        let is_effect = self.op == Operation::Effect;
        if is_effect != matches!(self.event, Event::Start | Event::End) {
            return Err("start and end are events of an effect, and its only ones".to_owned());
        }
        let lacks = match self.op {
            Operation::Drain | Operation::Fault => None,
            _ if self.key.is_none() => Some("key"),
            Operation::Settle if self.outcome.is_none() => Some("outcome"),
            Operation::Read if self.event == Event::Ok && self.state.is_none() => Some("state"),
            Operation::Submit if self.order.is_some() && self.sequence.is_none() => Some("sequence"),
            _ => None,
        };
        lacks.map_or(Ok(()), |field| Err(format!("the line lacks `{field}`")))
    }
}

fn unknown(version: u16) -> String {
    format!("version {version} of the format is unknown, {VERSION} is known")
}
