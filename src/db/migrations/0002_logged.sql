-- Of the log of a run: the action that the last lines are of, the number of the line that comes next, bytes in all.
ALTER TABLE run ADD COLUMN log_action BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN log_next BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN log_bytes BIGINT NOT NULL DEFAULT 0;
