-- BSDP bindings: which Mac took which image. A dongle's address appears with every model that it was plugged into.
CREATE TABLE binding (
    mac      TEXT NOT NULL,
    system   TEXT NOT NULL,
    arch     TEXT NOT NULL,
    image    BIGINT NOT NULL,
    address  TEXT NOT NULL,
    name     TEXT NOT NULL,
    bound_ms BIGINT NOT NULL,
    seen_ms  BIGINT NOT NULL,
    PRIMARY KEY (mac, system)
);
