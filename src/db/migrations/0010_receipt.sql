-- The appliance's own word on a receipt that it keeps.
ALTER TABLE receipt ADD COLUMN kept_ms BIGINT;
ALTER TABLE receipt ADD COLUMN countersignature TEXT;
ALTER TABLE receipt ADD COLUMN countersigned_by TEXT;
