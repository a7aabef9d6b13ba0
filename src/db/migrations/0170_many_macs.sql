-- Of a hundred thousand Macs one is found without reading the others: sessions of one Mac and those that have ended, and new Macs
-- that nobody knows.
CREATE INDEX session_device ON session (device, expires_ms);
CREATE INDEX session_expires ON session (expires_ms);
CREATE INDEX device_newcomer ON device (known, first_seen_ms);
DROP INDEX device_first_seen;
