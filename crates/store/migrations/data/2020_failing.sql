-- Destinations that take nothing now: since when, and how often they were tried. A row goes once something is taken again.
CREATE TABLE failing_destinations (
    project BIGINT NOT NULL,
    destination TEXT NOT NULL,
    -- Milliseconds since 1970.
    since BIGINT NOT NULL,
    times BIGINT NOT NULL,
    PRIMARY KEY (project, destination)
);
