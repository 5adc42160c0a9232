-- What people changed on the site and nobody has published yet: one draft for each name, element or group.
CREATE TABLE drafts (
    project BIGINT NOT NULL,
    -- The id of what it is about.
    subject TEXT NOT NULL,
    -- When it was saved, in milliseconds; a later draft of the same subject has a higher one.
    version BIGINT NOT NULL,
    account BIGINT NOT NULL,
    -- Sealed: what is to change, and what it was when it was drafted.
    body BYTEA NOT NULL,
    PRIMARY KEY (project, subject)
);
