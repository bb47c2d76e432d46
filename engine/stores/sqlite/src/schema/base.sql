-- What a new file begins with. Every name begins with `taskport_`, so that the tables can live in another program's
-- database. States: 0 scheduled, 1 blocked, 2 queued, 3 running, 4 retrying, 5 succeeded, 6 failed, 7 cancelled,
-- 8 expired. Comparisons instead of lists keep the conditions of the indexes cheap: SQLite builds a table for each list of
-- more than two. Times are microseconds since 1970 in UTC. Ids that are lower-case UUIDs are 16 bytes, others are text.

-- Queues, tasks and workers by a short key, each written once.
CREATE TABLE taskport_names (key INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);

CREATE TABLE taskport_jobs (
    seq INTEGER PRIMARY KEY,
    id NOT NULL,
    task INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    state INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    position INTEGER NOT NULL,
    due_at INTEGER,
    expires_at INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0,
    worker INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    submitted_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    run INTEGER,
    step TEXT,
    step_index INTEGER,
    progress REAL,
    progress_message TEXT,
    tags TEXT,
    options BLOB,
    failure BLOB,
    result_type INTEGER,
    result BLOB,
    arguments_type INTEGER,
    arguments BLOB NOT NULL
);

CREATE TABLE taskport_queues (
    name INTEGER PRIMARY KEY,
    job_order INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    paused_reason TEXT,
    submitted INTEGER NOT NULL,
    scheduled INTEGER NOT NULL,
    blocked INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    running INTEGER NOT NULL,
    retrying INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    expired INTEGER NOT NULL
);

-- Idempotency keys; one without `until` stands for its job as long as that lives.
CREATE TABLE taskport_keys (key TEXT PRIMARY KEY, job NOT NULL, until INTEGER) WITHOUT ROWID;

CREATE TABLE taskport_workers (
    name TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    queues TEXT NOT NULL,
    tasks TEXT NOT NULL,
    lease_for INTEGER NOT NULL,
    running INTEGER NOT NULL,
    slots INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    forget_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Definitions of workflows by their SHA-256, each written once.
CREATE TABLE taskport_definitions (hash BLOB PRIMARY KEY, definition BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE taskport_runs (
    seq INTEGER PRIMARY KEY,
    id NOT NULL,
    workflow TEXT NOT NULL,
    definition_hash BLOB NOT NULL,
    trace TEXT,
    state INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    deadline INTEGER,
    due_at INTEGER,
    version INTEGER NOT NULL,
    finished_at INTEGER,
    failure BLOB,
    output_type TEXT,
    output BLOB
);

-- Apart from the runs, whose rows are written with every step that ends.
CREATE TABLE taskport_run_inputs (run INTEGER PRIMARY KEY, input_type TEXT, input BLOB NOT NULL);

CREATE TABLE taskport_run_steps (
    run INTEGER NOT NULL,
    step INTEGER NOT NULL,
    state INTEGER NOT NULL,
    total INTEGER NOT NULL,
    submitted INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    data BLOB,
    version INTEGER NOT NULL,
    PRIMARY KEY (run, step)
) WITHOUT ROWID;

-- One row: the version of all that is named `taskport_`. The header of the file belongs to whoever made it.
CREATE TABLE taskport_schema (version INTEGER NOT NULL);
INSERT INTO taskport_schema (version) VALUES (1);
