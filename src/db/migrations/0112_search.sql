-- Pages of lists, last seen first, along an index; and names as they are looked for.
CREATE INDEX device_known_seen ON device (known, seen_ms, id);
DROP INDEX device_known;
CREATE INDEX device_serial_upper ON device (UPPER(serial));
CREATE INDEX device_hostname_lower ON device (LOWER(hostname));
