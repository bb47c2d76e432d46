-- What upkeep remembers, in one row: when somebody last walked over what has ended, how often keys that others may remember
-- were given up, and how often everything was replaced by a backup.
CREATE TABLE taskport_upkeep (walked_at INTEGER NOT NULL, keys_given_up INTEGER NOT NULL, restored INTEGER NOT NULL);
INSERT INTO taskport_upkeep (walked_at, keys_given_up, restored) VALUES (0, 0, 0);
-- Whether any run still has a definition.
CREATE INDEX taskport_runs_definition ON taskport_runs (definition_hash);
