-- What a person is eligible for: with a scope (JSON, what is null is not limited), and looked at again from time to time.
-- A text that was a policy's id, or `*`, keeps its meaning.
CREATE TABLE eligibility_with_scope (
    number       INTEGER PRIMARY KEY NOT NULL,
    person       TEXT NOT NULL REFERENCES persons (id),
    role         TEXT NOT NULL,
    scope        TEXT NOT NULL,
    valid_from   INTEGER,
    valid_until  INTEGER,
    granted_by   TEXT NOT NULL,
    granted_at   INTEGER NOT NULL,
    certified_at INTEGER NOT NULL,
    ended_at     INTEGER,
    ended_by     TEXT
) STRICT;
INSERT INTO eligibility_with_scope
    (number, person, role, scope, valid_from, valid_until, granted_by, granted_at, certified_at)
    SELECT row_number() OVER (ORDER BY rowid), person, role,
           json_object('rules', NULL, 'groups', NULL, 'agents', NULL, 'policy', nullif(scope, '*')),
           valid_from, valid_until, granted_by, granted_at, granted_at
    FROM eligibility;
DROP TABLE eligibility;
ALTER TABLE eligibility_with_scope RENAME TO eligibility;
CREATE INDEX eligibility_by_person ON eligibility (person) WHERE ended_at IS NULL;

-- Since when a person may do nothing; and when that ended: what they approved before counts no more.
ALTER TABLE persons ADD COLUMN suspended_at INTEGER;
ALTER TABLE persons ADD COLUMN resumed_at INTEGER;

CREATE INDEX decisions_of_person ON decisions (person);

-- Gateway groups whose credentials are refused.
CREATE TABLE suspended_groups (
    grp   TEXT PRIMARY KEY NOT NULL,
    since INTEGER NOT NULL
) STRICT;

-- Changes of authority that wait for a second person, and what became of them.
CREATE TABLE changes (
    number      INTEGER PRIMARY KEY NOT NULL,
    change      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    proposed_by TEXT NOT NULL REFERENCES persons (id),
    proposed_at INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('open', 'confirmed', 'rejected')),
    closed_by   TEXT REFERENCES persons (id),
    closed_at   INTEGER,
    CHECK ((state = 'open') = (closed_at IS NULL))
) STRICT;

-- How often an agent was denied in each minute of the last hour, and when its suspension was proposed for that.
CREATE TABLE agent_denials (
    name    TEXT NOT NULL,
    minute  INTEGER NOT NULL,
    denials INTEGER NOT NULL,
    PRIMARY KEY (name, minute)
) STRICT, WITHOUT ROWID;
CREATE TABLE proposed_suspensions (
    name        TEXT PRIMARY KEY NOT NULL,
    proposed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
