-- Who may do what. `domain` is empty for the appliance's own accounts, else the name of the directory that an account comes from;
-- `name` in lower case. `password` is an Argon2id hash (PHC string); none for accounts of a directory.
CREATE TABLE account (
    id           BIGINT PRIMARY KEY,
    domain       TEXT NOT NULL,
    name         TEXT NOT NULL,
    full_name    TEXT NOT NULL,
    role         TEXT NOT NULL,
    password     TEXT,
    disabled     BOOLEAN NOT NULL,
    created_ms   BIGINT NOT NULL,
    signed_in_ms BIGINT,
    checked_ms   BIGINT,
    UNIQUE (domain, name)
);

-- Technicians who signed in at a Mac: good for one start of its runner. `token` is a digest.
CREATE TABLE technician (
    token       TEXT PRIMARY KEY,
    account     BIGINT NOT NULL REFERENCES account (id),
    device      BIGINT NOT NULL,
    receipt_key TEXT NOT NULL,
    began_ms    BIGINT NOT NULL,
    expires_ms  BIGINT NOT NULL
);

-- People who signed in over the network, on the page or by the command line. `token` is a digest.
CREATE TABLE sign_in (
    token    TEXT PRIMARY KEY,
    account  BIGINT NOT NULL REFERENCES account (id),
    how      TEXT NOT NULL,
    address  TEXT NOT NULL,
    began_ms BIGINT NOT NULL,
    used_ms  BIGINT NOT NULL,
    ends_ms  BIGINT NOT NULL
);
CREATE INDEX sign_in_account ON sign_in (account);

-- Tokens for programs. `token` is a digest; `areas` a JSON list, empty for everything that the role may.
CREATE TABLE api_token (
    id         BIGINT PRIMARY KEY,
    account    BIGINT NOT NULL REFERENCES account (id),
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    areas      TEXT NOT NULL,
    token      TEXT NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    used_ms    BIGINT,
    used_from  TEXT,
    UNIQUE (account, name)
);

-- The one-time code that makes the first owner, as a digest. At most one row.
CREATE TABLE setup_code (
    id         BIGINT PRIMARY KEY,
    token      TEXT NOT NULL,
    expires_ms BIGINT NOT NULL
);

-- Secrets of the appliance itself (the directory's bind password), sealed with a key that is not in the database.
CREATE TABLE sealed_setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
