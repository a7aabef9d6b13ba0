-- Types and expressions are those that SQLite and PostgreSQL share: BIGINT, TEXT, BOOLEAN; digests and JSON are TEXT;
-- numbers come from `counter`, so that none is ever given twice.

CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE image (
    id           BIGINT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    last_version BIGINT NOT NULL
);

CREATE TABLE image_version (
    image       BIGINT NOT NULL REFERENCES image (id),
    version     BIGINT NOT NULL,
    manifest    TEXT NOT NULL,
    size        BIGINT NOT NULL,
    imported_ms BIGINT NOT NULL,
    facts       TEXT NOT NULL,
    PRIMARY KEY (image, version)
);
CREATE INDEX image_version_manifest ON image_version (manifest);

CREATE TABLE sequence (
    id   BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE sequence_revision (
    sequence BIGINT NOT NULL REFERENCES sequence (id),
    revision BIGINT NOT NULL,
    yaml     TEXT NOT NULL,
    saved_ms BIGINT NOT NULL,
    PRIMARY KEY (sequence, revision)
);

CREATE TABLE deployment (
    id         BIGINT PRIMARY KEY,
    sequence   BIGINT NOT NULL REFERENCES sequence (id),
    collection TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    UNIQUE (sequence, collection, purpose)
);

CREATE TABLE device (
    id            BIGINT PRIMARY KEY,
    serial        TEXT,
    uuid          TEXT,
    known         BOOLEAN NOT NULL,
    boot          TEXT NOT NULL,
    facts         TEXT NOT NULL,
    first_seen_ms BIGINT NOT NULL,
    seen_ms       BIGINT NOT NULL
);
CREATE INDEX device_serial ON device (serial);
CREATE INDEX device_uuid ON device (uuid);

-- Hints: a dongle's address appears with every Mac that it was plugged into.
CREATE TABLE device_mac (
    device  BIGINT NOT NULL REFERENCES device (id),
    mac     TEXT NOT NULL,
    seen_ms BIGINT NOT NULL,
    PRIMARY KEY (device, mac)
);
CREATE INDEX device_mac_mac ON device_mac (mac);

CREATE TABLE session (
    token       TEXT PRIMARY KEY,
    device      BIGINT NOT NULL REFERENCES device (id),
    receipt_key TEXT NOT NULL,
    boot        TEXT NOT NULL,
    expires_ms  BIGINT NOT NULL
);

CREATE TABLE run (
    id          BIGINT PRIMARY KEY,
    device      BIGINT NOT NULL REFERENCES device (id),
    deployment  BIGINT NOT NULL,
    sequence    TEXT NOT NULL,
    revision    BIGINT NOT NULL,
    token       TEXT UNIQUE,
    receipt_key TEXT NOT NULL,
    step        BIGINT NOT NULL,
    steps       BIGINT NOT NULL,
    progress    TEXT,
    started_ms  BIGINT NOT NULL,
    ended_ms    BIGINT,
    outcome     TEXT,
    message     TEXT
);
CREATE INDEX run_device ON run (device);
CREATE UNIQUE INDEX run_active ON run (device) WHERE outcome IS NULL;

-- What a run needs while it goes on.
CREATE TABLE run_image (
    run      BIGINT NOT NULL REFERENCES run (id),
    manifest TEXT NOT NULL,
    image    TEXT NOT NULL,
    version  BIGINT NOT NULL,
    PRIMARY KEY (run, manifest, image, version)
);

-- The run is the fold of its rows of kind `state`, in order; rows of kind `log` are lines of its log. A row is never changed.
CREATE TABLE run_event (
    run    BIGINT NOT NULL REFERENCES run (id),
    number BIGINT NOT NULL,
    at_ms  BIGINT NOT NULL,
    kind   TEXT NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (run, number)
);

CREATE TABLE receipt (
    run        BIGINT NOT NULL REFERENCES run (id),
    assignment BIGINT NOT NULL,
    receipt    TEXT NOT NULL,
    signature  TEXT NOT NULL,
    public_key TEXT NOT NULL,
    PRIMARY KEY (run, assignment)
);

CREATE TABLE client_event (
    id       BIGINT PRIMARY KEY,
    mac      TEXT NOT NULL,
    at_ms    BIGINT NOT NULL,
    stage    TEXT NOT NULL,
    answered BOOLEAN NOT NULL,
    detail   TEXT NOT NULL
);
CREATE INDEX client_event_mac ON client_event (mac, id);
