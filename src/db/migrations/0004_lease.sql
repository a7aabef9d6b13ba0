-- Addresses that the DHCP server gave: one row an address, at most as many as the pools have.
CREATE TABLE lease (
    address   TEXT PRIMARY KEY,
    client    TEXT NOT NULL,
    mac       TEXT NOT NULL,
    host_name TEXT,
    state     TEXT NOT NULL,
    since_ms  BIGINT NOT NULL,
    until_ms  BIGINT NOT NULL
);
