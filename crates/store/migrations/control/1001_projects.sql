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
    -- Sealed: an address may hold a credential, too.
    body BYTEA NOT NULL,
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

-- Which installation this is: bound into everything that is sealed.
CREATE TABLE installation (
    id TEXT PRIMARY KEY
);

-- Wrapped keys: the root secret and the keys of projects (0 is the installation itself) by the key-encryption key, which is
-- never here; the keys of days by their project's key. Backups leave this table out: a key that is gone is gone from them, too.
CREATE TABLE keys (
    project BIGINT NOT NULL,
    -- root, project or day.
    kind TEXT NOT NULL,
    -- A version, or a day since 1970.
    number BIGINT NOT NULL,
    -- The id of the key-encryption key, or the version of the project's key.
    wrapped_by TEXT NOT NULL,
    made BIGINT NOT NULL,
    -- From when on it seals.
    seals_from BIGINT NOT NULL,
    wrapped BYTEA NOT NULL,
    PRIMARY KEY (project, kind, number)
);
CREATE INDEX keys_by_wrapper ON keys (wrapped_by, project);

-- Every administrative act and every use of the key provider, each chained to the one before with a keyed hash.
CREATE TABLE audit (
    number BIGINT PRIMARY KEY,
    time BIGINT NOT NULL,
    actor TEXT NOT NULL,
    act TEXT NOT NULL,
    project TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Never captured text, an e-mail address or a secret.
    detail TEXT NOT NULL,
    chain BYTEA NOT NULL
);
-- The end of the chain: one row, which two writers on PostgreSQL take one after the other.
CREATE TABLE audit_end (
    id BIGINT PRIMARY KEY,
    number BIGINT NOT NULL,
    chain BYTEA
);
INSERT INTO audit_end (id, number, chain) VALUES (0, 0, NULL);

-- What the site's own systems may ask: a token is stored as a keyed hash only.
CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    project BIGINT NOT NULL,
    -- erase, export or keys.
    scope TEXT NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    made BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

-- Keys that one person asked to destroy although something needs them, until a second one agrees.
CREATE TABLE key_requests (
    key TEXT PRIMARY KEY,
    asked_by TEXT NOT NULL,
    made BIGINT NOT NULL
);
