-- Times are Unix seconds. Hashes are written as on the wire (`sha-256:` and hex).

CREATE TABLE persons (
    id            TEXT PRIMARY KEY NOT NULL,
    name          TEXT NOT NULL,
    password_hash TEXT
) STRICT;

CREATE TABLE links (
    iss    TEXT NOT NULL,
    sub    TEXT NOT NULL,
    person TEXT NOT NULL REFERENCES persons (id),
    PRIMARY KEY (iss, sub)
) STRICT;

CREATE TABLE groups (
    id   TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE members (
    grp    TEXT NOT NULL REFERENCES groups (id),
    person TEXT NOT NULL REFERENCES persons (id),
    PRIMARY KEY (grp, person)
) STRICT;

CREATE TABLE eligibility (
    person      TEXT NOT NULL REFERENCES persons (id),
    role        TEXT NOT NULL,
    scope       TEXT NOT NULL,
    valid_from  INTEGER,
    valid_until INTEGER,
    granted_by  TEXT NOT NULL,
    granted_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX eligibility_by_person ON eligibility (person);

CREATE TABLE sessions (
    token_hash   TEXT PRIMARY KEY NOT NULL,
    person       TEXT NOT NULL REFERENCES persons (id),
    signed_in_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE gateways (
    credential_hash TEXT PRIMARY KEY NOT NULL,
    grp             TEXT NOT NULL,
    added_at        INTEGER NOT NULL,
    retired_at      INTEGER
) STRICT;

CREATE TABLE publishers (
    credential_hash TEXT PRIMARY KEY NOT NULL,
    name            TEXT NOT NULL,
    added_at        INTEGER NOT NULL
) STRICT;

CREATE TABLE bundles (
    rev          TEXT PRIMARY KEY NOT NULL,
    id           TEXT NOT NULL,
    serial       INTEGER NOT NULL UNIQUE,
    signed       TEXT NOT NULL,
    publisher    TEXT NOT NULL,
    published_at INTEGER NOT NULL
) STRICT;

CREATE TABLE suspended (
    iss   TEXT NOT NULL,
    sub   TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (iss, sub)
) STRICT;

CREATE TABLE holds (
    id               TEXT PRIMARY KEY NOT NULL,
    grp              TEXT NOT NULL,
    agent            TEXT NOT NULL,
    agent_key        TEXT NOT NULL,
    digest           TEXT NOT NULL,
    components       TEXT NOT NULL,
    requirement      TEXT NOT NULL,
    requirement_hash TEXT NOT NULL,
    rules            TEXT NOT NULL,
    policy_id        TEXT NOT NULL,
    policy_rev       TEXT NOT NULL REFERENCES bundles (rev),
    policy_serial    INTEGER NOT NULL,
    method           TEXT NOT NULL,
    authority        TEXT NOT NULL,
    path             TEXT NOT NULL,
    query            TEXT,
    agent_reason     TEXT,
    idempotency_key  TEXT,
    opened_at        INTEGER NOT NULL,
    state            TEXT NOT NULL
        CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'cancelled', 'used')),
    cause            TEXT,
    since            INTEGER NOT NULL,
    -- The deadline of an open state: decide_by while pending, use_by while approved, else the time of the end.
    deadline         INTEGER NOT NULL,
    used_attempt     TEXT,
    grant_text       TEXT,
    grant_expires_at INTEGER,
    CHECK ((state = 'used') = (used_attempt IS NOT NULL))
) STRICT;
-- The join key of protocol.md: at most one open hold has it.
CREATE UNIQUE INDEX holds_open ON holds (grp, agent_key, digest, requirement_hash)
    WHERE state IN ('pending', 'approved');
CREATE INDEX holds_due ON holds (deadline) WHERE state IN ('pending', 'approved');
CREATE INDEX holds_by_state ON holds (state, deadline, id);

-- What the gateway captured stands apart, so that it can go after its retention and the hold can stay.
CREATE TABLE captures (
    hold    TEXT PRIMARY KEY NOT NULL REFERENCES holds (id),
    request BLOB NOT NULL
) STRICT;

CREATE TABLE attempts (
    grp         TEXT NOT NULL,
    attempt     TEXT NOT NULL,
    hold        TEXT REFERENCES holds (id),
    asked_at    INTEGER,
    detached_at INTEGER,
    PRIMARY KEY (grp, attempt)
) STRICT;

CREATE TABLE decisions (
    number       INTEGER PRIMARY KEY,
    hold         TEXT NOT NULL REFERENCES holds (id),
    person       TEXT NOT NULL REFERENCES persons (id),
    verdict      TEXT NOT NULL CHECK (verdict IN ('approve', 'deny')),
    role         TEXT NOT NULL,
    roles        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    signed_in_at INTEGER NOT NULL,
    decided_at   INTEGER NOT NULL,
    UNIQUE (hold, person)
) STRICT;

CREATE TABLE outcomes (
    hold        TEXT NOT NULL REFERENCES holds (id),
    attempt     TEXT NOT NULL,
    forwarded   INTEGER NOT NULL,
    status      INTEGER,
    reported_at INTEGER NOT NULL,
    PRIMARY KEY (hold, attempt)
) STRICT;

-- What gateways are told. Without a group an item is for all of them.
CREATE TABLE feed (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    grp  TEXT,
    item TEXT NOT NULL
) STRICT;

CREATE TABLE ledger (
    seq        INTEGER PRIMARY KEY NOT NULL,
    time       INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    hold       TEXT,
    decided_by TEXT CHECK (decided_by IN ('policy', 'model', 'human', 'timeout')),
    data       TEXT NOT NULL,
    prev       TEXT NOT NULL,
    hash       TEXT NOT NULL
) STRICT;
CREATE INDEX ledger_by_hold ON ledger (hold);

CREATE TRIGGER ledger_keeps_rows BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_keeps_all BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- INSERT OR REPLACE deletes without a delete trigger; a number that is taken is refused before that.
CREATE TRIGGER ledger_goes_on BEFORE INSERT ON ledger
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM ledger)
BEGIN SELECT RAISE(ABORT, 'the ledger goes on without a gap'); END;

-- The same for decisions: REPLACE would take the place of one with the same number, or of the same person on the hold.
CREATE TRIGGER decisions_go_on BEFORE INSERT ON decisions
WHEN EXISTS (SELECT 1 FROM decisions
             WHERE number = NEW.number OR (hold = NEW.hold AND person = NEW.person))
BEGIN SELECT RAISE(ABORT, 'a decision is not replaced'); END;
CREATE TRIGGER decisions_keep_rows BEFORE UPDATE ON decisions
BEGIN SELECT RAISE(ABORT, 'a decision is not changed'); END;
CREATE TRIGGER decisions_keep_all BEFORE DELETE ON decisions
BEGIN SELECT RAISE(ABORT, 'a decision is not deleted'); END;
