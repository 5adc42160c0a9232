-- Changing calls that carried an idempotency key: what each was answered, for whoever sends it again within a day.
CREATE TABLE idempotency_keys (
    -- Keyed hash of whoever sent it and the key.
    hash BYTEA PRIMARY KEY,
    project BIGINT NOT NULL,
    -- Keyed hash of the call: method, address, body.
    request BYTEA NOT NULL,
    -- Sealed; NULL while the call is being carried out.
    answer BYTEA,
    made BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (made);
CREATE INDEX idempotency_keys_by_project ON idempotency_keys (project);
