-- What a person is eligible for: with a scope (JSON, what is null is not limited), and looked at again from time to time.
-- A text that was a policy's id, or `*`, keeps its meaning.
CREATE TABLE eligibility_with_scope (
    number       BIGINT PRIMARY KEY NOT NULL,
    person       TEXT COLLATE "C" NOT NULL REFERENCES persons (id),
    role         TEXT COLLATE "C" NOT NULL,
    scope        TEXT NOT NULL,
    valid_from   BIGINT,
    valid_until  BIGINT,
    granted_by   TEXT NOT NULL,
    granted_at   BIGINT NOT NULL,
    certified_at BIGINT NOT NULL,
    ended_at     BIGINT,
    ended_by     TEXT
);
INSERT INTO eligibility_with_scope
    (number, person, role, scope, valid_from, valid_until, granted_by, granted_at, certified_at)
    SELECT row_number() OVER (ORDER BY granted_at, person, role), person, role,
           json_build_object('rules', NULL, 'groups', NULL, 'agents', NULL, 'policy', nullif(scope, '*'))::text,
           valid_from, valid_until, granted_by, granted_at, granted_at
    FROM eligibility;
DROP TABLE eligibility;
ALTER TABLE eligibility_with_scope RENAME TO eligibility;
CREATE INDEX eligibility_by_person ON eligibility (person) WHERE ended_at IS NULL;

-- Since when a person may do nothing; and when that ended: what they approved before counts no more.
ALTER TABLE persons ADD COLUMN suspended_at BIGINT;
ALTER TABLE persons ADD COLUMN resumed_at BIGINT;

CREATE INDEX decisions_of_person ON decisions (person);

-- Gateway groups whose credentials are refused.
CREATE TABLE suspended_groups (
    grp   TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    since BIGINT NOT NULL
);

-- Changes of authority that wait for a second person, and what became of them.
CREATE TABLE changes (
    number      BIGINT PRIMARY KEY NOT NULL,
    change      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    proposed_by TEXT COLLATE "C" NOT NULL REFERENCES persons (id),
    proposed_at BIGINT NOT NULL,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'confirmed', 'rejected')),
    closed_by   TEXT COLLATE "C" REFERENCES persons (id),
    closed_at   BIGINT,
    CHECK ((state = 'open') = (closed_at IS NULL))
);

-- How often an agent was denied in each minute of the last hour, and when its suspension was proposed for that.
CREATE TABLE agent_denials (
    name    TEXT COLLATE "C" NOT NULL,
    minute  BIGINT NOT NULL,
    denials BIGINT NOT NULL,
    PRIMARY KEY (name, minute)
);
CREATE TABLE proposed_suspensions (
    name        TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    proposed_at BIGINT NOT NULL
);
