-- Sending again: dead letters that a person wants tried once more, replays of what is stored, and how delivery went.
ALTER TABLE dead_letters ADD COLUMN time BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dead_letters ADD COLUMN attempts BIGINT NOT NULL DEFAULT 1;
-- 1 from when a person wants it sent again until it was.
ALTER TABLE dead_letters ADD COLUMN retry BIGINT NOT NULL DEFAULT 0;
CREATE INDEX dead_letters_retry ON dead_letters (project, destination, number) WHERE retry = 1;

CREATE TABLE replays (
    project BIGINT NOT NULL,
    destination TEXT NOT NULL,
    -- From 1 for each destination.
    id BIGINT NOT NULL,
    made BIGINT NOT NULL,
    -- Events that were received from then on, and before then, in milliseconds since 1970.
    received_from BIGINT NOT NULL,
    received_to BIGINT NOT NULL,
    -- The numbers that those can have.
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    -- Up to which number it is carried out.
    done BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    dead BIGINT NOT NULL,
    -- open, done or stopped.
    state TEXT NOT NULL,
    PRIMARY KEY (project, destination, id)
);

-- What went to a destination in an hour, for a week.
CREATE TABLE deliveries (
    project BIGINT NOT NULL,
    destination TEXT NOT NULL,
    hour BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    dead BIGINT NOT NULL,
    filtered BIGINT NOT NULL,
    PRIMARY KEY (project, destination, hour)
);

-- The newest failures of each destination.
CREATE TABLE delivery_failures (
    project BIGINT NOT NULL,
    destination TEXT NOT NULL,
    id BIGINT NOT NULL,
    time BIGINT NOT NULL,
    -- Sealed: it may name an address.
    reason BYTEA NOT NULL,
    PRIMARY KEY (project, destination, id)
);
