-- What jobs say while they run. `job` is the job's `seq`. `level` is 0 debug, 1 info, 2 warn, 3 error for a line of the
-- log, and nothing for a partial result.

CREATE TABLE taskport_journal (
    job INTEGER NOT NULL,
    number INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    said_at INTEGER NOT NULL,
    level INTEGER,
    body_type TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;

-- Whoever deletes a job, and in whatever way: a later job may get its number.
CREATE TRIGGER taskport_jobs_journal AFTER DELETE ON taskport_jobs BEGIN
    DELETE FROM taskport_journal WHERE job = old.seq;
END;
