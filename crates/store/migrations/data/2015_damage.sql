-- What upkeep and the worker met that does not open, so that it can be named until it is restored or gone.
CREATE TABLE damaged_frames (
    project BIGINT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    day BIGINT NOT NULL,
    -- When it was met first, in milliseconds since 1970.
    since BIGINT NOT NULL,
    -- 1 where it holds an erasure open, which is told once.
    holds BIGINT NOT NULL,
    PRIMARY KEY (project, first)
);

-- Rows of what was learned that were taken out of `state`, as they were: what they stood for is learned anew.
CREATE TABLE damaged_state (
    project BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    key BIGINT NOT NULL,
    -- When it would have been forgotten, in days since 1970.
    expires BIGINT NOT NULL,
    since BIGINT NOT NULL,
    -- Sealed, and damaged.
    body BYTEA NOT NULL,
    PRIMARY KEY (project, kind, key)
);
