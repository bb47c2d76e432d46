-- The indexes of the tables of version 1, whichever way a file came by them.
CREATE UNIQUE INDEX taskport_jobs_id ON taskport_jobs (id);
-- What a claim walks. Jobs of one position go by `seq`.
CREATE INDEX taskport_jobs_ready ON taskport_jobs (queue, position) WHERE state = 2;
-- What time calls for. Blocked jobs wait for something else.
CREATE INDEX taskport_jobs_timers ON taskport_jobs (due_at) WHERE state < 5 AND state <> 2 AND state <> 1;
CREATE INDEX taskport_jobs_expiring ON taskport_jobs (expires_at) WHERE expires_at IS NOT NULL AND state < 3;
-- Dead letters and their like. Succeeded jobs are found by id only.
CREATE INDEX taskport_jobs_dead ON taskport_jobs (state) WHERE state > 5;
-- The jobs of runs; -1 stands for no place in a list.
CREATE UNIQUE INDEX taskport_jobs_steps ON taskport_jobs (run, step, step_index) WHERE run IS NOT NULL;
CREATE INDEX taskport_keys_until ON taskport_keys (until) WHERE until IS NOT NULL;
CREATE UNIQUE INDEX taskport_runs_id ON taskport_runs (id);
CREATE INDEX taskport_runs_due ON taskport_runs (due_at) WHERE state = 3 AND due_at IS NOT NULL;
-- What another process changed since a version; a run of many steps is never read as a whole for it.
CREATE INDEX taskport_run_steps_version ON taskport_run_steps (run, version);
