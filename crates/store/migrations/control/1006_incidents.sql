-- What may be the beginning of an attack, for two hours: refused sign-ins and acts, exports, reads of samples and of the audit log.
CREATE TABLE signals (
    time BIGINT NOT NULL,
    -- sign_in, export, read, refuse, own_role, key or country.
    kind TEXT NOT NULL,
    project TEXT NOT NULL,
    -- account:7, token:desk, os:root; of an address without an account a keyed hash.
    actor TEXT NOT NULL,
    -- A keyed hash of the network, which changes each day; of a new country its code.
    origin TEXT NOT NULL,
    amount BIGINT NOT NULL
);
CREATE INDEX signals_by_time ON signals (time);

CREATE TABLE incidents (
    id BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    -- Empty where it is of the installation.
    project TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Sealed.
    text BYTEA NOT NULL,
    -- open, triaged or resolved.
    state TEXT NOT NULL,
    -- The account that sees to it; 0 for nobody.
    owner BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    acknowledge_by BIGINT NOT NULL,
    resolve_by BIGINT NOT NULL,
    -- 0 until it is.
    triaged BIGINT NOT NULL,
    resolved BIGINT NOT NULL,
    -- The newest signal of it.
    last BIGINT NOT NULL,
    version BIGINT NOT NULL,
    -- Notices that were raised of it: 1 of its opening, 2 and 3 of the deadlines that passed.
    told BIGINT NOT NULL
);
-- Also when two processes open it at the same moment.
CREATE UNIQUE INDEX incidents_unresolved ON incidents (kind, project, subject) WHERE state <> 'resolved';

CREATE TABLE incident_notes (
    incident BIGINT NOT NULL,
    number BIGINT NOT NULL,
    time BIGINT NOT NULL,
    actor TEXT NOT NULL,
    -- open, own, triage, note or resolve.
    act TEXT NOT NULL,
    -- Sealed.
    text BYTEA NOT NULL,
    PRIMARY KEY (incident, number)
);

-- From where an account has signed in before.
CREATE TABLE account_countries (
    account BIGINT NOT NULL,
    -- Keyed hash of account and country.
    country BYTEA NOT NULL,
    last BIGINT NOT NULL,
    PRIMARY KEY (account, country)
);

-- To whom a project's notices go.
CREATE TABLE notice_channels (
    project BIGINT PRIMARY KEY,
    version BIGINT NOT NULL,
    -- Sealed: addresses of webhooks and their secrets.
    body BYTEA NOT NULL
);
