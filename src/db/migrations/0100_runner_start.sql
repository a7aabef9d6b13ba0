-- Which start of its kernel a runner said hello from: one that was started anew on it takes its run over at once.
ALTER TABLE session ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
