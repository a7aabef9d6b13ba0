-- Variables of devices (owner: number of the device) and collections (owner: its name). `name` in lower case, `spelling` as
-- typed; the value of a secret one is sealed with a key that is not in the database.
CREATE TABLE variable (
    scope    TEXT NOT NULL,
    owner    TEXT NOT NULL,
    name     TEXT NOT NULL,
    spelling TEXT NOT NULL,
    value    TEXT NOT NULL,
    secret   BOOLEAN NOT NULL,
    PRIMARY KEY (scope, owner, name)
);
