-- Who set each excluded selector and path, and when; those that were taken out stay for a while, so that they can be put back.
CREATE TABLE exclusions (
    project BIGINT NOT NULL,
    -- selector or path.
    kind TEXT NOT NULL,
    entry TEXT NOT NULL,
    set_by TEXT NOT NULL,
    set_at BIGINT NOT NULL,
    -- Empty while it holds.
    removed_by TEXT NOT NULL,
    removed_at BIGINT,
    PRIMARY KEY (project, kind, entry)
);
