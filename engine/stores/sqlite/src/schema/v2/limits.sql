-- Fair shares, ordering keys, concurrency limits, rates and batches.

-- What the keys of jobs have to pass. Kinds: 0 share, 1 slots, 2 tokens. `queue` is 0 where the gate is of all queues.
CREATE TABLE taskport_gates (
    gate INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    key TEXT NOT NULL,
    inside INTEGER NOT NULL,
    held INTEGER NOT NULL,
    max INTEGER NOT NULL,
    period INTEGER NOT NULL,
    mark INTEGER NOT NULL,
    wake_at INTEGER
);
CREATE UNIQUE INDEX taskport_gates_key ON taskport_gates (key, kind, queue);
CREATE INDEX taskport_gates_wake ON taskport_gates (wake_at) WHERE wake_at IS NOT NULL;

-- What holds a job back: a gate, or -1 for those before it in its line. Jobs that gates hold back go by queue first, since
-- nobody may serve one of their queues.
ALTER TABLE taskport_jobs ADD COLUMN held_by INTEGER;
CREATE INDEX taskport_jobs_parked ON taskport_jobs (held_by, queue, position) WHERE held_by > 0;

-- The ordering key of a job that has not ended, and its place in the line. Nothing else is kept of a line. The state is left
-- out of the condition, so that a claim does not write the index.
ALTER TABLE taskport_jobs ADD COLUMN line TEXT;
ALTER TABLE taskport_jobs ADD COLUMN line_place INTEGER;
CREATE INDEX taskport_jobs_lines ON taskport_jobs (line, line_place) WHERE line IS NOT NULL;

ALTER TABLE taskport_queues ADD COLUMN concurrency_max INTEGER;
ALTER TABLE taskport_queues ADD COLUMN rate_count INTEGER;
ALTER TABLE taskport_queues ADD COLUMN rate_period INTEGER;
ALTER TABLE taskport_queues ADD COLUMN ageing INTEGER;
ALTER TABLE taskport_queues ADD COLUMN gated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE taskport_queues ADD COLUMN virtual_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE taskport_queues ADD COLUMN bucket INTEGER NOT NULL DEFAULT 0;
ALTER TABLE taskport_queues ADD COLUMN wake_at INTEGER;
CREATE INDEX taskport_queues_wake ON taskport_queues (wake_at) WHERE wake_at IS NOT NULL;

CREATE TABLE taskport_batches (
    id TEXT PRIMARY KEY,
    total INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    submitted_at INTEGER NOT NULL,
    finished_at INTEGER
) WITHOUT ROWID;

-- The jobs that follow a batch: at most one at its success (1) and one at its end (0).
CREATE TABLE taskport_batch_callbacks (
    batch TEXT NOT NULL,
    on_success INTEGER NOT NULL,
    id NOT NULL,
    task TEXT NOT NULL,
    arguments_type TEXT,
    arguments BLOB NOT NULL,
    options BLOB,
    PRIMARY KEY (batch, on_success)
) WITHOUT ROWID;
