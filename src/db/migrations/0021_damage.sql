-- What is wrong with the stored chunks of a version, in one line. Nothing: as far as is known, all is well.
ALTER TABLE image_version ADD COLUMN damage TEXT;
