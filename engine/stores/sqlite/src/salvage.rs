//! Rows of jobs that no version of the store writes. Whoever meets one gets a job that cannot run instead of an error, so
//! that the engine ends it as a dead letter and its neighbors go on.

use bytes::Bytes;
use rusqlite::{Connection, Row};
use taskport_abstraction::codes::{self, Code};
use taskport_abstraction::options::Priority;
use taskport_abstraction::{
    ContentType, Error, JobId, JobState, LeaseToken, Payload, QueueName, Result, TaskName, Timestamp,
};
use taskport_engine::record::JobRecord;

use crate::error::InStore;
use crate::names::{Names, id_text};
use crate::rows::{blob, get, job_state, line_place, moment, unsigned};

/// Stands for the options: no document, so the job ends as undecodable when it is claimed.
const UNREADABLE: &[u8] = b"the row is malformed";

/// Whether an error is about what a row holds, and not about the disk under it.
pub(crate) fn is_malformed(error: &Error) -> bool {
    const OF_THE_DISK: [&Code; 4] =
        [&codes::STORE_BUSY, &codes::STORE_FULL, &codes::STORE_IO, &codes::STORE_OPEN];
    !OF_THE_DISK.contains(&error.code())
}

/// What can be read of the row, with the rest left out.
///
/// # Errors
/// Where not even the row's number and its queue can be read.
pub(crate) fn job(row: &Row<'_>, connection: &Connection, names: &mut Names) -> Result<JobRecord> {
    let seq: i64 = get(row, 0)?;
    let id = id_text(row.get_ref(1).during("read")?).and_then(JobId::new);
    let task = get(row, 2).and_then(|key| names.text(connection, key)).and_then(TaskName::new);
    let arguments = blob(row, 27).ok().flatten().unwrap_or_default();
    Ok(JobRecord {
        seq,
        id: id.or_else(|_| JobId::new(format!("malformed-row-{seq}")))?,
        task: task.or_else(|_| TaskName::new("malformed"))?,
        queue: QueueName::new(names.text(connection, get(row, 3)?)?)?,
        state: get(row, 4).and_then(job_state).unwrap_or(JobState::Failed),
        priority: get(row, 5).and_then(Priority::new).unwrap_or(Priority::DEFAULT),
        position: get(row, 6).unwrap_or_default(),
        due_at: moment(row, 7).unwrap_or_default(),
        held_by: get(row, 28).unwrap_or_default(),
        line: line_place(row).unwrap_or_default(),
        expires_at: moment(row, 8).unwrap_or_default(),
        attempt: get(row, 9).unwrap_or_default(),
        token: LeaseToken(unsigned(row, 10).unwrap_or_default()),
        worker: None,
        cancel_requested: get(row, 12).unwrap_or_default(),
        submitted_at: Timestamp::from_micros(get(row, 13).unwrap_or_default()),
        started_at: moment(row, 14).unwrap_or_default(),
        finished_at: moment(row, 15).unwrap_or_default(),
        progress: None,
        tags: get(row, 21).unwrap_or_default(),
        options: Some(Bytes::from_static(UNREADABLE)),
        failure: blob(row, 23).unwrap_or_default(),
        result: None,
        arguments: Payload { content_type: ContentType::Json, bytes: arguments },
        step: None,
    })
}
