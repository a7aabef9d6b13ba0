-- Who did what. A row is never changed and never removed: `prev` names the hash of the row before it, so that none but the
-- last can go without breaking the reference, and no two rows can follow on the same one. Triggers that refuse it
-- altogether are written in the words of each database, see `src/db/append_only`.
CREATE TABLE audit (
    number       BIGINT PRIMARY KEY,
    at_ms        BIGINT NOT NULL,
    who          TEXT NOT NULL,
    how          TEXT NOT NULL,
    address      TEXT,
    action       TEXT NOT NULL,
    object       TEXT NOT NULL,
    before_value TEXT,
    after_value  TEXT,
    prev         TEXT UNIQUE REFERENCES audit (hash),
    hash         TEXT NOT NULL UNIQUE
);
CREATE INDEX audit_who ON audit (who, number);
CREATE INDEX audit_object ON audit (object, number);
