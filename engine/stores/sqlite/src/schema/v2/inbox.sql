-- Jobs submitted in other programs' transactions, and those on their way to other backends. Whatever driver writes here,
-- the checks see to it that the engine can read it: a mistake fails in the user's transaction, not after it. Types are
-- checked rather than declared STRICT, which SQLite before 3.37 could not open the whole file for.

CREATE TABLE taskport_inbox (
    seq INTEGER PRIMARY KEY,
    id NOT NULL CHECK (
        (typeof(id) = 'blob' AND length(id) = 16)
        OR (typeof(id) = 'text' AND length(id) BETWEEN 1 AND 255 AND id NOT GLOB '*[^!-~]*')
    ),
    task TEXT NOT NULL CHECK (length(task) BETWEEN 1 AND 255 AND task NOT GLOB '*[^!-~]*'),
    options BLOB CHECK (typeof(options) IN ('null', 'blob')),
    arguments_type TEXT,
    arguments BLOB NOT NULL CHECK (typeof(arguments) = 'blob'),
    submitted_at INTEGER NOT NULL CHECK (typeof(submitted_at) = 'integer')
);
CREATE UNIQUE INDEX taskport_inbox_id ON taskport_inbox (id);

-- `due_at` is nothing where the target refused the job for good. A number is never given twice, since it is what a lease
-- is settled by.
CREATE TABLE taskport_outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id NOT NULL CHECK (
        (typeof(id) = 'blob' AND length(id) = 16)
        OR (typeof(id) = 'text' AND length(id) BETWEEN 1 AND 255 AND id NOT GLOB '*[^!-~]*')
    ),
    target TEXT NOT NULL CHECK (
        length(target) BETWEEN 1 AND 64 AND target GLOB '[a-z]*' AND target NOT GLOB '*[^a-z0-9_]*'
        AND target NOT GLOB '*__*' AND target NOT GLOB '*_'
    ),
    task TEXT NOT NULL CHECK (length(task) BETWEEN 1 AND 255 AND task NOT GLOB '*[^!-~]*'),
    options BLOB CHECK (typeof(options) IN ('null', 'blob')),
    arguments_type TEXT,
    arguments BLOB NOT NULL CHECK (typeof(arguments) = 'blob'),
    submitted_at INTEGER NOT NULL CHECK (typeof(submitted_at) = 'integer'),
    attempt INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER,
    reason TEXT
);
CREATE UNIQUE INDEX taskport_outbox_id ON taskport_outbox (id, target);
CREATE INDEX taskport_outbox_due ON taskport_outbox (due_at) WHERE due_at IS NOT NULL;
