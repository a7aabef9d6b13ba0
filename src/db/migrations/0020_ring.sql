-- Where the rings of an image point now. No row: nowhere.
CREATE TABLE image_ring (
    image   BIGINT NOT NULL REFERENCES image (id),
    ring    TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (image, ring)
);
INSERT INTO image_ring (image, ring, version) SELECT image, 'draft', MAX(version) FROM image_version GROUP BY image;

-- Everything that was decided about the versions of an image. A row is never changed.
CREATE TABLE image_event (
    id      BIGINT PRIMARY KEY,
    image   BIGINT NOT NULL REFERENCES image (id),
    at_ms   BIGINT NOT NULL,
    actor   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    ring    TEXT,
    was     BIGINT,
    version BIGINT,
    detail  TEXT NOT NULL
);
CREATE INDEX image_event_image ON image_event (image, id);

-- Which versions are kept, as JSON; nothing: as the settings say.
ALTER TABLE image ADD COLUMN retention TEXT;
