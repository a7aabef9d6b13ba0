-- Of the inventory, what is asked of all Macs at once: the model, and the bytes of the largest disk that sequences may touch (0:
-- none). NULL: the inventory was kept before these columns were there.
ALTER TABLE device ADD COLUMN model TEXT;
ALTER TABLE device ADD COLUMN largest_disk BIGINT;
CREATE INDEX device_model ON device (known, model, largest_disk);
