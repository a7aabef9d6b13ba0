-- Steps of runs that have ended: times that can be compared between runs.
CREATE TABLE run_step (
    run        BIGINT NOT NULL REFERENCES run (id),
    number     BIGINT NOT NULL,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL,
    started_ms BIGINT,
    ended_ms   BIGINT,
    tries      BIGINT NOT NULL,
    exit_code  BIGINT,
    PRIMARY KEY (run, number)
);
CREATE INDEX run_step_name ON run_step (name, run);

-- When events, log and steps of a run were removed because it was old. Its line in lists and its receipts stay.
ALTER TABLE run ADD COLUMN forgotten_ms BIGINT;
