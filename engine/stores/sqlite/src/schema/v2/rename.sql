-- Version 1 had the tables of base.sql under names without `taskport_`.

ALTER TABLE jobs RENAME TO taskport_jobs;
ALTER TABLE names RENAME TO taskport_names;
ALTER TABLE queues RENAME TO taskport_queues;
ALTER TABLE keys RENAME TO taskport_keys;
ALTER TABLE workers RENAME TO taskport_workers;
ALTER TABLE definitions RENAME TO taskport_definitions;
ALTER TABLE runs RENAME TO taskport_runs;
ALTER TABLE run_inputs RENAME TO taskport_run_inputs;
ALTER TABLE run_steps RENAME TO taskport_run_steps;

DROP INDEX jobs_id;
DROP INDEX jobs_ready;
DROP INDEX jobs_timers;
DROP INDEX jobs_expiring;
DROP INDEX jobs_dead;
DROP INDEX jobs_steps;
DROP INDEX keys_until;
DROP INDEX runs_id;
DROP INDEX runs_due;
DROP INDEX run_steps_version;

-- The steps of jobs had short keys too, which a graph of many steps uses once each. In a column for numbers, a step called
-- `7` would become one.
ALTER TABLE taskport_jobs RENAME COLUMN step TO step_key;
ALTER TABLE taskport_jobs ADD COLUMN step TEXT;
UPDATE taskport_jobs SET step = (SELECT text FROM taskport_names WHERE key = step_key) WHERE run IS NOT NULL;
ALTER TABLE taskport_jobs DROP COLUMN step_key;

CREATE TABLE taskport_schema (version INTEGER NOT NULL);
INSERT INTO taskport_schema (version) VALUES (1);
