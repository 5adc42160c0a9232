-- Passkeys of people, and the questions that wait for one.
CREATE TABLE passkeys (
    number BIGINT PRIMARY KEY,
    account BIGINT NOT NULL,
    -- Keyed hash of the credential's id: no two accounts have the same.
    hash BYTEA NOT NULL UNIQUE,
    -- How often it was used, as far as the authenticator counts: one that counts backwards is a copy.
    counter BIGINT NOT NULL,
    made BIGINT NOT NULL,
    used BIGINT NOT NULL,
    -- Sealed: the credential's id, its public key and what the person calls it.
    about BYTEA NOT NULL
);
CREATE INDEX passkeys_by_account ON passkeys (account);

-- Of each session the newest challenge, for one answer.
CREATE TABLE challenges (
    session BIGINT PRIMARY KEY,
    challenge BYTEA NOT NULL,
    made BIGINT NOT NULL
);
