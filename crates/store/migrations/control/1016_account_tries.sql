-- How often passwords and codes of an account may still be tried, counted for all processes together.
CREATE TABLE account_tries (
    -- Keyed hash of the address, whether there is such an account or not.
    hash BYTEA PRIMARY KEY,
    -- When all its tries are back, in milliseconds since 1970: each try moves it a minute on.
    whole_at BIGINT NOT NULL
);
CREATE INDEX account_tries_by_time ON account_tries (whole_at);
