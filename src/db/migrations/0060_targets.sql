-- What administrators say of a Mac. `address`: where it spoke from last; `text`: everything that a search looks through, in
-- lower case, in a table of its own so that a search reads little.
ALTER TABLE device ADD COLUMN hostname TEXT NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE device ADD COLUMN address TEXT NOT NULL DEFAULT '';
CREATE INDEX device_seen ON device (seen_ms, id);
CREATE INDEX device_first_seen ON device (first_seen_ms);
CREATE INDEX device_known ON device (known);
CREATE INDEX device_hostname ON device (hostname);

CREATE TABLE device_text (
    device BIGINT PRIMARY KEY REFERENCES device (id),
    text   TEXT NOT NULL
);

-- A tag in lower case, and as it was typed.
CREATE TABLE device_tag (
    device   BIGINT NOT NULL REFERENCES device (id),
    tag      TEXT NOT NULL,
    spelling TEXT NOT NULL,
    PRIMARY KEY (device, tag)
);
CREATE INDEX device_tag_tag ON device_tag (tag, device);

-- Two Macs that cannot both be right: `shared` is what they have in common. Once an administrator has said that both are,
-- `distinct_ms` says when.
CREATE TABLE device_conflict (
    device      BIGINT NOT NULL REFERENCES device (id),
    other       BIGINT NOT NULL REFERENCES device (id),
    shared      TEXT NOT NULL,
    found_ms    BIGINT NOT NULL,
    distinct_ms BIGINT,
    PRIMARY KEY (device, other)
);
CREATE INDEX device_conflict_other ON device_conflict (other);

-- Inventories that differed from the one before, the newest few of each Mac.
CREATE TABLE device_inventory (
    device BIGINT NOT NULL REFERENCES device (id),
    at_ms  BIGINT NOT NULL,
    facts  TEXT NOT NULL,
    PRIMARY KEY (device, at_ms)
);

-- `members` is the number of rows in collection_member, kept by whoever changes them; `stale`: its members are being judged anew.
CREATE TABLE collection (
    id          BIGINT PRIMARY KEY,
    folded      TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    rule        TEXT,
    priority    BIGINT NOT NULL,
    members     BIGINT NOT NULL,
    stale       BOOLEAN NOT NULL,
    created_ms  BIGINT NOT NULL,
    changed_ms  BIGINT NOT NULL
);

CREATE TABLE collection_direct (
    collection BIGINT NOT NULL REFERENCES collection (id),
    device     BIGINT NOT NULL REFERENCES device (id),
    PRIMARY KEY (collection, device)
);
CREATE INDEX collection_direct_device ON collection_direct (device);

-- Collections in collections; `role` is include or exclude.
CREATE TABLE collection_part (
    collection BIGINT NOT NULL REFERENCES collection (id),
    other      BIGINT NOT NULL REFERENCES collection (id),
    role       TEXT NOT NULL,
    PRIMARY KEY (collection, other)
);

CREATE TABLE collection_member (
    collection BIGINT NOT NULL REFERENCES collection (id),
    device     BIGINT NOT NULL REFERENCES device (id),
    PRIMARY KEY (collection, device)
);
CREATE INDEX collection_member_device ON collection_member (device);

-- Local times as they were typed; empty: none.
ALTER TABLE deployment ADD COLUMN starts TEXT NOT NULL DEFAULT '';
ALTER TABLE deployment ADD COLUMN expires TEXT NOT NULL DEFAULT '';
ALTER TABLE deployment ADD COLUMN zone TEXT NOT NULL DEFAULT 'UTC';
ALTER TABLE deployment ADD COLUMN imaging_window TEXT NOT NULL DEFAULT '';
ALTER TABLE deployment ADD COLUMN paused BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE deployment ADD COLUMN rerun TEXT NOT NULL DEFAULT 'if-failed';
ALTER TABLE deployment ADD COLUMN independent BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE deployment ADD COLUMN countdown BIGINT;
