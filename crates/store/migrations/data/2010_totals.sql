-- Sums of `counts`, so that a page of ten thousand names reads ten thousand rows and not millions: hour 0 has all events of a
-- name that are kept, name 0 all events of an hour.
CREATE TABLE totals (
    project BIGINT NOT NULL,
    name BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    events BIGINT NOT NULL,
    PRIMARY KEY (project, name, hour)
);
INSERT INTO totals (project, name, hour, events)
    SELECT project, name, 0, CAST(SUM(events) AS BIGINT) FROM counts GROUP BY project, name;
INSERT INTO totals (project, name, hour, events)
    SELECT project, 0, hour, CAST(SUM(events) AS BIGINT) FROM counts GROUP BY project, hour;
-- Retention asks for what is old each few seconds.
CREATE INDEX counts_by_hour ON counts (project, hour);
