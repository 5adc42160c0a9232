-- What people set: projects, their settings, their destinations. On PostgreSQL both folders of migrations share one database.
CREATE TABLE projects (
    number BIGINT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    created BIGINT NOT NULL,
    version BIGINT NOT NULL,
    settings TEXT NOT NULL,
    -- With which version each excluded selector came.
    since TEXT NOT NULL
);

CREATE TABLE destinations (
    project BIGINT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    -- Sealed.
    secret BYTEA,
    PRIMARY KEY (project, name)
);

-- Raised with every change, so that other processes notice within their next look.
CREATE TABLE control_version (
    id BIGINT PRIMARY KEY,
    version BIGINT NOT NULL
);
INSERT INTO control_version (id, version) VALUES (0, 1);
-- Project numbers are never used again, so that a late row of a removed project can belong to no other.
INSERT INTO control_version (id, version) VALUES (1, 0);
