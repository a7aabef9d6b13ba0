-- Receipts that the appliance has still to sign are few, however many there are.
CREATE INDEX receipt_unsigned ON receipt (run, assignment) WHERE countersignature IS NULL;
