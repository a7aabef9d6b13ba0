-- Messages to whoever stands in front of a Mac, kept until they are acknowledged and a while longer; and the keyboard layout
-- that a person chose there last.
CREATE TABLE technician_message (
    id              BIGINT PRIMARY KEY,
    device          BIGINT NOT NULL,
    text            TEXT NOT NULL,
    sender          TEXT NOT NULL,
    sent_ms         BIGINT NOT NULL,
    acknowledged_ms BIGINT
);
CREATE INDEX technician_message_device ON technician_message (device, id);

CREATE TABLE device_keyboard (
    device BIGINT PRIMARY KEY,
    layout TEXT NOT NULL
);
