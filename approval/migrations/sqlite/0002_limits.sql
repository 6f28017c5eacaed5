-- How the agent of a hold's first try asked to be answered (RFC 7240).
ALTER TABLE holds ADD COLUMN asked_async INTEGER NOT NULL DEFAULT 0;
ALTER TABLE holds ADD COLUMN asked_wait INTEGER;

-- A denial is found by its join key while it cools down.
CREATE INDEX holds_denied ON holds (grp, agent_key, digest, requirement_hash, since) WHERE state = 'denied';

-- Agents' own names for their requests, each with the hold that the request came to.
CREATE TABLE idempotency_keys (
    grp       TEXT NOT NULL,
    agent_key TEXT NOT NULL,
    key       TEXT NOT NULL,
    hold      TEXT NOT NULL REFERENCES holds (id),
    PRIMARY KEY (grp, agent_key, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_hold ON idempotency_keys (hold);

-- How many open holds an agent, owner or rule has, and how many were opened for it in each minute of the last hour.
CREATE TABLE quota_open (
    subject TEXT NOT NULL CHECK (subject IN ('agent', 'owner', 'rule')),
    name    TEXT NOT NULL,
    holds   INTEGER NOT NULL CHECK (holds >= 0),
    PRIMARY KEY (subject, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE quota_opened (
    subject TEXT NOT NULL CHECK (subject IN ('agent', 'owner', 'rule')),
    name    TEXT NOT NULL,
    minute  INTEGER NOT NULL,
    holds   INTEGER NOT NULL,
    PRIMARY KEY (subject, name, minute)
) STRICT, WITHOUT ROWID;

-- What is open already counts.
INSERT INTO quota_open
SELECT 'agent', json_array(coalesce(agent ->> '$.act[0].iss', agent ->> '$.iss'),
                           coalesce(agent ->> '$.act[0].sub', agent ->> '$.sub')) AS name, count(*)
FROM holds WHERE state IN ('pending', 'approved') GROUP BY name;
INSERT INTO quota_open
SELECT 'owner', iif(agent ->> '$.owner' GLOB 'group/*', agent ->> '$.owner',
                    json_array(agent ->> '$.iss', agent ->> '$.owner')) AS name, count(*)
FROM holds WHERE state IN ('pending', 'approved') AND agent ->> '$.owner' IS NOT NULL GROUP BY name;
INSERT INTO quota_open
SELECT 'rule', rule.value ->> '$.id' AS name, count(*)
FROM holds, json_each(holds.rules) AS rule WHERE state IN ('pending', 'approved') GROUP BY name;

-- Audit records of gateways, a batch a row; the ledger keeps the hash of `records`.
CREATE TABLE audit_batches (
    grp         TEXT NOT NULL,
    vm_epoch    TEXT NOT NULL,
    from_seq    INTEGER NOT NULL,
    to_seq      INTEGER NOT NULL,
    dropped     INTEGER NOT NULL,
    hash        TEXT NOT NULL,
    records     TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (grp, vm_epoch, from_seq)
) STRICT;

-- Numbers without a record. `received`: inside a batch; else the batch itself has not come.
CREATE TABLE audit_gaps (
    grp        TEXT NOT NULL,
    vm_epoch   TEXT NOT NULL,
    from_seq   INTEGER NOT NULL,
    to_seq     INTEGER NOT NULL,
    missing    INTEGER NOT NULL,
    dropped    INTEGER NOT NULL,
    received   INTEGER NOT NULL,
    noticed_at INTEGER NOT NULL,
    PRIMARY KEY (grp, vm_epoch, from_seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_gaps_by_time ON audit_gaps (noticed_at);
