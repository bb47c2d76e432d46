-- Schedules. What is due is found by `next_at`, which one that rests has not.
CREATE TABLE taskport_schedules (
    name TEXT PRIMARY KEY,
    definition BLOB NOT NULL,
    arguments_type TEXT,
    arguments BLOB NOT NULL,
    paused INTEGER NOT NULL,
    paused_reason TEXT,
    next_at INTEGER,
    settled_until INTEGER,
    last_at INTEGER,
    last_job,
    fired INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    problem TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
CREATE INDEX taskport_schedules_next ON taskport_schedules (next_at) WHERE next_at IS NOT NULL;
