//! The rows of upkeep: outlines of what may be over, and deleting it in bulk.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row, ToSql, params};
use taskport_abstraction::{BatchId, JobId, Result, RunId, Timestamp};
use taskport_engine::store::{BatchOutline, JobOutline, Keeper, RunOutline, Slice, Upkeep};

use crate::error::InStore;
use crate::keeper::SqliteKeeper;
use crate::names::{StoredId, id_text};
use crate::rows::{SqliteReader, blob, get, job_state, moment};
use crate::store::SqliteStore;

/// The columns of an outline, in the order [`outline`] reads them.
macro_rules! outline_columns {
    () => {
        "seq, id, state, run IS NOT NULL, submitted_at, finished_at, options, \
         coalesce(length(arguments), 0) + coalesce(length(result), 0)"
    };
}

/// What another process may have changed so that nothing remembered of it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Generation {
    keys_given_up: i64,
    restored: i64,
}

impl Generation {
    /// Whether everything was replaced in between.
    pub(crate) fn was_restored_since(self, before: Self) -> bool {
        self.restored != before.restored
    }
}

impl SqliteReader {
    /// The present generation.
    pub(crate) fn generation(&self) -> Result<Generation> {
        let sql = "SELECT keys_given_up, restored FROM taskport_upkeep";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let found = statement
            .query_row([], |row| Ok(Generation { keys_given_up: row.get(0)?, restored: row.get(1)? }))
            .optional();
        Ok(found.during("read")?.unwrap_or_default())
    }

    fn select_outlines(
        &mut self,
        sql: &str,
        params: &[&dyn ToSql],
        bytes_max: u64,
    ) -> Result<Vec<JobOutline>> {
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let mut rows = statement.query(params).during("read")?;
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next().during("read")? {
            jobs.push(outline(row)?);
            bytes += get::<u64>(row, 7)?;
            if bytes > bytes_max {
                break;
            }
        }
        Ok(jobs)
    }
}

impl Upkeep for SqliteStore {
    fn walked_at(&mut self) -> Result<Timestamp> {
        let sql = "SELECT walked_at FROM taskport_upkeep";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        let walked: Option<i64> = statement.query_row([], |row| row.get(0)).optional().during("read")?;
        Ok(Timestamp::from_micros(walked.unwrap_or_default()))
    }

    fn put_walked_at(&mut self, moment: Timestamp) -> Result<()> {
        self.execute("UPDATE taskport_upkeep SET walked_at = ?1", [moment.as_micros()])?;
        Ok(())
    }

    fn outlines(&mut self, after: i64, slice: Slice) -> Result<Vec<JobOutline>> {
        let sql = concat!(
            "SELECT ",
            outline_columns!(),
            " FROM taskport_jobs NOT INDEXED WHERE seq > ?1 ORDER BY seq LIMIT ?2"
        );
        self.rows.select_outlines(sql, &[&after, &limit(slice.rows_max)], slice.bytes_max)
    }

    fn outlines_of_run(&mut self, run: &RunId, slice: Slice) -> Result<Vec<JobOutline>> {
        let Some(key) = self.rows.run_keys.find(&self.rows.connection, run)? else { return Ok(Vec::new()) };
        let sql = concat!("SELECT ", outline_columns!(), " FROM taskport_jobs WHERE run = ?1 LIMIT ?2");
        self.rows.select_outlines(sql, &[&key, &limit(slice.rows_max)], slice.bytes_max)
    }

    fn delete_outlined(&mut self, jobs: &[JobOutline]) -> Result<()> {
        for range in jobs.chunk_by(|left, right| left.seq + 1 == right.seq) {
            let (Some(first), Some(last)) = (range.first(), range.last()) else { continue };
            self.execute("DELETE FROM taskport_jobs WHERE seq BETWEEN ?1 AND ?2", [first.seq, last.seq])?;
        }
        Ok(())
    }

    fn run_outlines(&mut self, after: i64, max: usize) -> Result<Vec<RunOutline>> {
        let sql = "SELECT seq, id, state, started_at, finished_at FROM taskport_runs NOT INDEXED \
                   WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        let mut rows = statement.query([after, limit(max)]).during("read")?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            runs.push(RunOutline {
                seq: get(row, 0)?,
                id: RunId::new(id_text(row.get_ref(1).during("read")?)?)?,
                state: job_state(get(row, 2)?)?,
                started_at: Timestamp::from_micros(get(row, 3)?),
                finished_at: moment(row, 4)?,
            });
        }
        Ok(runs)
    }

    fn delete_run(&mut self, run: &RunId) -> Result<()> {
        let sql = "DELETE FROM taskport_runs WHERE id = ?1 RETURNING seq, definition_hash";
        let found: Option<(i64, Vec<u8>)> = {
            let mut statement = self.connection().prepare_cached(sql).during("write")?;
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            statement.query_row([StoredId::new(run.as_str())], read).optional().during("write")?
        };
        let Some((seq, hash)) = found else { return Ok(()) };
        self.execute("DELETE FROM taskport_run_inputs WHERE run = ?1", [seq])?;
        self.execute("DELETE FROM taskport_run_steps WHERE run = ?1", [seq])?;
        self.execute("DELETE FROM taskport_run_starts WHERE run = ?1", [seq])?;
        let sql = "DELETE FROM taskport_definitions WHERE hash = ?1 \
                   AND NOT EXISTS (SELECT 1 FROM taskport_runs WHERE definition_hash = ?1)";
        self.execute(sql, params![hash])?;
        // A later run may get this one's id, or its number.
        self.execute("UPDATE taskport_upkeep SET keys_given_up = keys_given_up + 1", [])?;
        self.rows.run_keys.forget();
        Ok(())
    }

    fn batch_outlines(&mut self, after: Option<&BatchId>, max: usize) -> Result<Vec<BatchOutline>> {
        let sql = "SELECT id, finished_at FROM taskport_batches WHERE id > ?1 ORDER BY id LIMIT ?2";
        let mut statement = self.connection().prepare_cached(sql).during("read")?;
        let after = after.map_or("", BatchId::as_str);
        let mut rows = statement.query(params![after, limit(max)]).during("read")?;
        let mut batches = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            let id = BatchId::new(get::<Arc<str>>(row, 0)?)?;
            batches.push(BatchOutline { id, finished_at: moment(row, 1)? });
        }
        Ok(batches)
    }

    fn delete_batch(&mut self, batch: &BatchId) -> Result<()> {
        self.execute("DELETE FROM taskport_batch_callbacks WHERE batch = ?1", [batch.as_str()])?;
        self.execute("DELETE FROM taskport_batches WHERE id = ?1", [batch.as_str()])?;
        Ok(())
    }

    fn replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    fn keeper(&self) -> Arc<dyn Keeper> {
        Arc::new(SqliteKeeper::new(self.path(), self.options()))
    }
}

fn outline(row: &Row<'_>) -> Result<JobOutline> {
    Ok(JobOutline {
        seq: get(row, 0)?,
        id: JobId::new(id_text(row.get_ref(1).during("read")?)?)?,
        state: job_state(get(row, 2)?)?,
        of_run: get(row, 3)?,
        submitted_at: Timestamp::from_micros(get(row, 4)?),
        finished_at: moment(row, 5)?,
        options: blob(row, 6)?,
    })
}

fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}
