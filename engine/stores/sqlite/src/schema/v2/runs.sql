-- Which steps of one job each started in a transaction of their run: their places as little-endian numbers of 4 bytes.
CREATE TABLE taskport_run_starts (
    run INTEGER NOT NULL,
    version INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    steps BLOB NOT NULL,
    PRIMARY KEY (run, version)
) WITHOUT ROWID;
