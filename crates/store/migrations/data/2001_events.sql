-- What the worker writes in its one transaction, and what readers keep of their own progress.
CREATE TABLE worker (
    id BIGINT PRIMARY KEY,
    journal_offset BIGINT NOT NULL,
    -- Which data folder's journal the offset speaks of; empty until the first opening.
    journal TEXT NOT NULL
);
INSERT INTO worker (id, journal_offset, journal) VALUES (0, 0, '');

-- When upkeep last ran, in milliseconds since 1970: a clock that has jumped since is not believed.
CREATE TABLE clock (
    id BIGINT PRIMARY KEY,
    seen BIGINT NOT NULL,
    -- The notice of the jump that is not decided yet; 0 when there is none.
    notice BIGINT NOT NULL
);
INSERT INTO clock (id, seen, notice) VALUES (0, 0, 0);

-- Event numbers given so far.
CREATE TABLE progress (
    project BIGINT PRIMARY KEY,
    last_number BIGINT NOT NULL
);

CREATE TABLE frames (
    project BIGINT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    day BIGINT NOT NULL,
    -- Number of the newest erasure that is carried out in it: higher each time that it is rewritten.
    ledger BIGINT NOT NULL,
    -- Whose events it holds: keyed hashes only.
    filter BYTEA NOT NULL,
    -- Sealed.
    body BYTEA NOT NULL,
    PRIMARY KEY (project, first)
);
-- With the ranges, so that whoever looks for frames to merge reads no body.
CREATE INDEX frames_by_day ON frames (project, day, first, last);

-- Days that have a table of seen ids, `seen_<day>`; 0 is the table of ids whose own time is more than a day ahead.
CREATE TABLE seen_days (
    day BIGINT PRIMARY KEY
);

CREATE TABLE state (
    project BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    key BIGINT NOT NULL,
    expires BIGINT,
    -- Sealed.
    body BYTEA NOT NULL,
    PRIMARY KEY (project, kind, key)
);
CREATE INDEX state_by_expiry ON state (expires);

CREATE TABLE counts (
    project BIGINT NOT NULL,
    name BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    events BIGINT NOT NULL,
    -- Numbers of the newest events, at most 20, newest first, 12 hexadecimal digits each: the samples. The events themselves
    -- stay in their frames, so that retention and erasure cover them. Here, because a row of its own for each costs the most
    -- of what the worker writes.
    newest TEXT NOT NULL,
    PRIMARY KEY (project, name, hour)
);

-- What was decided of texts that wait for a crowd: hashes only.
CREATE TABLE rulings (
    project BIGINT NOT NULL,
    key BIGINT NOT NULL,
    ruling BIGINT NOT NULL,
    -- From which on it holds.
    journal_offset BIGINT NOT NULL,
    PRIMARY KEY (project, key)
);
CREATE INDEX rulings_by_offset ON rulings (journal_offset);

-- The privacy report.
CREATE TABLE withheld (
    project BIGINT NOT NULL,
    week BIGINT NOT NULL,
    field TEXT NOT NULL,
    rule TEXT NOT NULL,
    side TEXT NOT NULL,
    items BIGINT NOT NULL,
    PRIMARY KEY (project, week, field, rule, side)
);

CREATE TABLE outcomes (
    project BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    items BIGINT NOT NULL,
    PRIMARY KEY (project, outcome)
);

CREATE TABLE quarantine (
    project BIGINT NOT NULL,
    subject TEXT NOT NULL,
    day BIGINT NOT NULL,
    -- Sealed.
    body BYTEA NOT NULL,
    PRIMARY KEY (project, subject)
);

CREATE TABLE notices (
    id BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    project TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- Sealed: it may name a control by what it says.
    text BYTEA NOT NULL,
    state TEXT NOT NULL,
    count BIGINT NOT NULL,
    first BIGINT NOT NULL,
    last BIGINT NOT NULL
);

-- The ledger of what was erased. Of a person only a keyed hash stays. Backups leave it out: it has copies of its own, and a
-- backup that is restored is erased again by it.
CREATE TABLE erasures (
    number BIGINT PRIMARY KEY,
    project BIGINT NOT NULL,
    -- visitor, user, or all for the whole dataset.
    kind TEXT NOT NULL,
    person BYTEA NOT NULL,
    -- What happened or was received up to then is erased.
    made BIGINT NOT NULL,
    -- The project's last event number then.
    through BIGINT NOT NULL,
    request TEXT NOT NULL,
    -- open until every frame is rewritten, then done.
    state TEXT NOT NULL,
    -- 1 once the worker has forgotten the person.
    forgotten BIGINT NOT NULL,
    -- Sealed; gone when the worker and every destination were told.
    id BYTEA
);
CREATE INDEX erasures_by_project ON erasures (project, state, number);
CREATE INDEX erasures_by_request ON erasures (request);

-- What became of a request at a destination: open, told or cannot.
CREATE TABLE erase_messages (
    project BIGINT NOT NULL,
    destination TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (project, destination, request)
);

CREATE TABLE cursors (
    project BIGINT NOT NULL,
    destination TEXT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (project, destination)
);

CREATE TABLE dead_letters (
    project BIGINT NOT NULL,
    destination TEXT NOT NULL,
    number BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (project, destination, number)
);
