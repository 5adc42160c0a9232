-- People: their accounts, what they may do in which project, their sessions and the links that let them in.
CREATE TABLE accounts (
    number BIGINT PRIMARY KEY,
    -- Keyed hash of the e-mail address, by which it is found.
    email_hash BYTEA NOT NULL UNIQUE,
    -- Sealed: e-mail address and name.
    person BYTEA NOT NULL,
    -- Sealed: the argon2id hash, so that a stolen database alone cannot even be guessed at.
    password BYTEA NOT NULL,
    -- Sealed: the secret of the second factor; NULL without one.
    totp BYTEA,
    -- The last step whose code was used, so that none is taken twice.
    totp_step BIGINT NOT NULL,
    -- 1 for Master Admins, who have every right in all projects.
    master BIGINT NOT NULL,
    -- 1 where no second factor is asked for: the demo's account.
    excused BIGINT NOT NULL,
    made BIGINT NOT NULL
);

-- Codes for whoever lost the second factor, each for one time.
CREATE TABLE recovery_codes (
    account BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (account, hash)
);

CREATE TABLE members (
    project BIGINT NOT NULL,
    account BIGINT NOT NULL,
    -- owner, admin, editor or viewer.
    role TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (project, account)
);
CREATE UNIQUE INDEX members_one_owner ON members (project) WHERE role = 'owner';
CREATE INDEX members_by_account ON members (account);

-- Links that are used once: the secret is in the link alone.
CREATE TABLE invitations (
    hash BYTEA PRIMARY KEY,
    -- first (makes the first Master Admin), member, reset or demo.
    kind TEXT NOT NULL,
    -- 0 where it is of the installation.
    project BIGINT NOT NULL,
    role TEXT NOT NULL,
    -- Sealed: the address that is invited; NULL where the person says it.
    person BYTEA,
    made BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

CREATE TABLE sessions (
    number BIGINT PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    account BIGINT NOT NULL,
    -- 1 when every factor that the account has was given; 0 when only the password was.
    whole BIGINT NOT NULL,
    made BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    -- When the person last proved who they are.
    proved BIGINT NOT NULL,
    -- Sealed: the shortened address and the browser, in words.
    about BYTEA NOT NULL
);
CREATE INDEX sessions_by_account ON sessions (account);
