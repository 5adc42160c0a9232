-- 1 once it is written down to whom a notice is sent. What was raised before goes to nobody any more.
ALTER TABLE notices ADD COLUMN told BIGINT NOT NULL DEFAULT 0;
UPDATE notices SET told = 1;

-- Each notice once for each channel: mail:7 (an account), webhook or slack.
CREATE TABLE notice_sends (
    notice BIGINT NOT NULL,
    channel TEXT NOT NULL,
    -- Empty where it is of the installation.
    project TEXT NOT NULL,
    -- waiting, sent, failed or dropped.
    state TEXT NOT NULL,
    tries BIGINT NOT NULL,
    -- When it is tried next, or was ended.
    at BIGINT NOT NULL,
    -- What the last try came to; never an address.
    reason TEXT NOT NULL,
    PRIMARY KEY (notice, channel)
);
CREATE INDEX notice_sends_by_state ON notice_sends (state, at);
