-- Why an event was refused is sealed: a vendor's words may quote it. What stood there in clear before goes.
ALTER TABLE dead_letters ADD COLUMN sealed BYTEA;
UPDATE dead_letters SET reason = '';
