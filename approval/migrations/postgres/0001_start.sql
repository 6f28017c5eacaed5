-- Times are Unix seconds. Hashes are written as on the wire (`sha-256:` and hex). Texts are compared byte by byte.

CREATE TABLE persons (
    id            TEXT COLLATE "C" PRIMARY KEY,
    name          TEXT NOT NULL,
    password_hash TEXT
);

CREATE TABLE links (
    iss    TEXT COLLATE "C" NOT NULL,
    sub    TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL REFERENCES persons (id),
    PRIMARY KEY (iss, sub)
);

CREATE TABLE groups (
    id   TEXT COLLATE "C" PRIMARY KEY,
    name TEXT NOT NULL
);

CREATE TABLE members (
    grp    TEXT COLLATE "C" NOT NULL REFERENCES groups (id),
    person TEXT COLLATE "C" NOT NULL REFERENCES persons (id),
    PRIMARY KEY (grp, person)
);

CREATE TABLE eligibility (
    person      TEXT COLLATE "C" NOT NULL REFERENCES persons (id),
    role        TEXT COLLATE "C" NOT NULL,
    scope       TEXT COLLATE "C" NOT NULL,
    valid_from  BIGINT,
    valid_until BIGINT,
    granted_by  TEXT NOT NULL,
    granted_at  BIGINT NOT NULL
);
CREATE INDEX eligibility_by_person ON eligibility (person);

CREATE TABLE sessions (
    token_hash   TEXT COLLATE "C" PRIMARY KEY,
    person       TEXT COLLATE "C" NOT NULL REFERENCES persons (id),
    signed_in_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL
);

CREATE TABLE gateways (
    credential_hash TEXT COLLATE "C" PRIMARY KEY,
    grp             TEXT COLLATE "C" NOT NULL,
    added_at        BIGINT NOT NULL,
    retired_at      BIGINT,
    -- Which one is the newest, also of two that were added in one second.
    number          BIGINT NOT NULL
);

CREATE TABLE publishers (
    credential_hash TEXT COLLATE "C" PRIMARY KEY,
    name            TEXT NOT NULL,
    added_at        BIGINT NOT NULL
);

CREATE TABLE bundles (
    rev          TEXT COLLATE "C" PRIMARY KEY,
    id           TEXT NOT NULL,
    serial       BIGINT NOT NULL UNIQUE,
    signed       TEXT NOT NULL,
    publisher    TEXT NOT NULL,
    published_at BIGINT NOT NULL
);

CREATE TABLE suspended (
    iss   TEXT COLLATE "C" NOT NULL,
    sub   TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (iss, sub)
);

CREATE TABLE holds (
    id               TEXT COLLATE "C" PRIMARY KEY,
    grp              TEXT COLLATE "C" NOT NULL,
    agent            TEXT NOT NULL,
    agent_key        TEXT COLLATE "C" NOT NULL,
    digest           TEXT COLLATE "C" NOT NULL,
    components       TEXT NOT NULL,
    requirement      TEXT NOT NULL,
    requirement_hash TEXT COLLATE "C" NOT NULL,
    rules            TEXT NOT NULL,
    policy_id        TEXT NOT NULL,
    policy_rev       TEXT COLLATE "C" NOT NULL REFERENCES bundles (rev),
    policy_serial    BIGINT NOT NULL,
    method           TEXT NOT NULL,
    authority        TEXT NOT NULL,
    path             TEXT NOT NULL,
    query            TEXT,
    agent_reason     TEXT,
    idempotency_key  TEXT,
    -- How the agent of the hold's first try asked to be answered (RFC 7240).
    asked_async      BOOLEAN NOT NULL DEFAULT false,
    asked_wait       BIGINT,
    opened_at        BIGINT NOT NULL,
    state            TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('pending', 'approved', 'denied', 'expired', 'cancelled', 'used')),
    cause            TEXT,
    since            BIGINT NOT NULL,
    -- The deadline of an open state: decide_by while pending, use_by while approved, else the time of the end.
    deadline         BIGINT NOT NULL,
    used_attempt     TEXT,
    grant_text       TEXT,
    grant_expires_at BIGINT,
    CHECK ((state = 'used') = (used_attempt IS NOT NULL))
);
-- The join key of protocol.md: at most one open hold has it.
CREATE UNIQUE INDEX holds_open ON holds (grp, agent_key, digest, requirement_hash)
    WHERE state IN ('pending', 'approved');
CREATE INDEX holds_due ON holds (deadline) WHERE state IN ('pending', 'approved');
CREATE INDEX holds_by_state ON holds (state, deadline, id);
-- A denial is found by its join key while it cools down.
CREATE INDEX holds_denied ON holds (grp, agent_key, digest, requirement_hash, since) WHERE state = 'denied';

-- What the gateway captured stands apart, so that it can go after its retention and the hold can stay.
CREATE TABLE captures (
    hold    TEXT COLLATE "C" PRIMARY KEY REFERENCES holds (id),
    request BYTEA NOT NULL
);

CREATE TABLE attempts (
    grp         TEXT COLLATE "C" NOT NULL,
    attempt     TEXT COLLATE "C" NOT NULL,
    hold        TEXT COLLATE "C" REFERENCES holds (id),
    asked_at    BIGINT,
    detached_at BIGINT,
    -- When it was last heard of: it is kept for a while after that.
    heard_at    BIGINT NOT NULL,
    PRIMARY KEY (grp, attempt)
);
CREATE INDEX attempts_by_time ON attempts (heard_at);
-- Who may still wait on a hold.
CREATE INDEX attempts_waiting ON attempts (hold, asked_at) WHERE detached_at IS NULL;

CREATE TABLE decisions (
    number       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hold         TEXT COLLATE "C" NOT NULL REFERENCES holds (id),
    person       TEXT COLLATE "C" NOT NULL REFERENCES persons (id),
    verdict      TEXT NOT NULL CHECK (verdict IN ('approve', 'deny')),
    role         TEXT NOT NULL,
    roles        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    signed_in_at BIGINT NOT NULL,
    decided_at   BIGINT NOT NULL,
    UNIQUE (hold, person)
);

CREATE TABLE outcomes (
    hold        TEXT COLLATE "C" NOT NULL REFERENCES holds (id),
    attempt     TEXT COLLATE "C" NOT NULL,
    forwarded   BOOLEAN NOT NULL,
    status      BIGINT,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (hold, attempt)
);

-- What gateways are told. Without a group an item is for all of them.
CREATE TABLE feed (
    seq  BIGINT PRIMARY KEY,
    grp  TEXT COLLATE "C",
    item TEXT NOT NULL
);

-- Agents' own names for their requests, each with the hold that the request came to.
CREATE TABLE idempotency_keys (
    grp       TEXT COLLATE "C" NOT NULL,
    agent_key TEXT COLLATE "C" NOT NULL,
    key       TEXT COLLATE "C" NOT NULL,
    hold      TEXT COLLATE "C" NOT NULL REFERENCES holds (id),
    PRIMARY KEY (grp, agent_key, key)
);
CREATE INDEX idempotency_by_hold ON idempotency_keys (hold);

-- How many open holds an agent, owner or rule has, and how many were opened for it in each minute of the last hour.
CREATE TABLE quota_open (
    subject TEXT COLLATE "C" NOT NULL CHECK (subject IN ('agent', 'owner', 'rule')),
    name    TEXT COLLATE "C" NOT NULL,
    holds   BIGINT NOT NULL CHECK (holds >= 0),
    PRIMARY KEY (subject, name)
);
CREATE TABLE quota_opened (
    subject TEXT COLLATE "C" NOT NULL CHECK (subject IN ('agent', 'owner', 'rule')),
    name    TEXT COLLATE "C" NOT NULL,
    minute  BIGINT NOT NULL,
    holds   BIGINT NOT NULL,
    PRIMARY KEY (subject, name, minute)
);
-- How often an agent joined pending holds in each minute of the last hour.
CREATE TABLE quota_joined (
    name   TEXT COLLATE "C" NOT NULL,
    minute BIGINT NOT NULL,
    joins  BIGINT NOT NULL,
    PRIMARY KEY (name, minute)
);

-- Audit records of gateways, a batch a row; the ledger keeps the hash of `records`.
CREATE TABLE audit_batches (
    grp         TEXT COLLATE "C" NOT NULL,
    vm_epoch    TEXT COLLATE "C" NOT NULL,
    from_seq    BIGINT NOT NULL,
    to_seq      BIGINT NOT NULL,
    dropped     BIGINT NOT NULL,
    hash        TEXT NOT NULL,
    records     TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (grp, vm_epoch, from_seq)
);
CREATE INDEX audit_batches_by_time ON audit_batches (received_at);

-- Numbers without a record. `received`: inside a batch; else the batch itself has not come.
CREATE TABLE audit_gaps (
    grp        TEXT COLLATE "C" NOT NULL,
    vm_epoch   TEXT COLLATE "C" NOT NULL,
    from_seq   BIGINT NOT NULL,
    to_seq     BIGINT NOT NULL,
    missing    BIGINT NOT NULL,
    dropped    BIGINT NOT NULL,
    received   BOOLEAN NOT NULL,
    noticed_at BIGINT NOT NULL,
    PRIMARY KEY (grp, vm_epoch, from_seq)
);
CREATE INDEX audit_gaps_by_time ON audit_gaps (noticed_at);

-- The last number that came of each VM. It outlives the batches, so that a VM that was silent for long is not told to have
-- lost what was deleted.
CREATE TABLE audit_ends (
    grp      TEXT COLLATE "C" NOT NULL,
    vm_epoch TEXT COLLATE "C" NOT NULL,
    last_seq BIGINT NOT NULL,
    PRIMARY KEY (grp, vm_epoch)
);

CREATE TABLE ledger (
    seq        BIGINT PRIMARY KEY,
    time       BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    hold       TEXT COLLATE "C",
    decided_by TEXT CHECK (decided_by IN ('policy', 'model', 'human', 'timeout')),
    data       TEXT NOT NULL,
    prev       TEXT NOT NULL,
    hash       TEXT NOT NULL
);
CREATE INDEX ledger_by_hold ON ledger (hold);

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0];
END $$;
CREATE TRIGGER ledger_keeps_rows BEFORE UPDATE OR DELETE ON ledger
    FOR EACH ROW EXECUTE FUNCTION refuse('the ledger is append-only');
CREATE TRIGGER ledger_keeps_all BEFORE TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the ledger is append-only');
CREATE FUNCTION ledger_goes_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM ledger) THEN
        RAISE EXCEPTION 'the ledger goes on without a gap';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_goes_on BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION ledger_goes_on();
CREATE TRIGGER decisions_keep_rows BEFORE UPDATE OR DELETE ON decisions
    FOR EACH ROW EXECUTE FUNCTION refuse('a decision is neither changed nor deleted');
CREATE TRIGGER decisions_keep_all BEFORE TRUNCATE ON decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a decision is neither changed nor deleted');
