-- Captures that are under way, and for some time those that are finished. `resume` is unique among those that can be gone on with.
CREATE TABLE capture (
    id         BIGINT PRIMARY KEY,
    resume     TEXT NOT NULL UNIQUE,
    image      TEXT NOT NULL,
    note       TEXT NOT NULL,
    source     TEXT NOT NULL,
    size       BIGINT NOT NULL,
    used       BIGINT NOT NULL,
    actor      TEXT NOT NULL,
    run        BIGINT,
    number     BIGINT,
    started_ms BIGINT NOT NULL,
    heard_ms   BIGINT NOT NULL,
    version    BIGINT,
    manifest   TEXT,
    added      BIGINT
);
CREATE INDEX capture_run ON capture (run, number);
