-- What a destination's lanes are about to send, written down with where they stand: a try after a crash sends the same events together.
ALTER TABLE cursors ADD COLUMN plan TEXT NOT NULL DEFAULT '';
