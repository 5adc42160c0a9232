-- Records of the journal that wait for their project, of which nothing can be made now: its key, or what people decided of it, does not
-- open. They go on by themselves, in this order, once it does.
CREATE TABLE held (
    project BIGINT NOT NULL,
    -- Where the record stood in the journal.
    journal_offset BIGINT NOT NULL,
    place BIGINT NOT NULL,
    -- The day of its receipt, in days since 1970.
    day BIGINT NOT NULL,
    -- Sealed with the installation's own key: the project's may be what does not open.
    body BYTEA NOT NULL,
    PRIMARY KEY (project, journal_offset, place)
);
