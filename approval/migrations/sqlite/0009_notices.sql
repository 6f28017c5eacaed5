-- Up to which entry of the ledger it was followed: what is due was planned, and who is told was written down.
CREATE TABLE followed (
    name TEXT PRIMARY KEY NOT NULL,
    seq  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO followed SELECT 'ledger', coalesce(max(seq), 0) FROM ledger;

-- What is to be looked at when its time comes. A row goes with the entry that it makes in the ledger.
CREATE TABLE hold_marks (
    hold TEXT NOT NULL REFERENCES holds (id),
    kind TEXT NOT NULL CHECK (kind IN ('remind', 'escalate', 'outcome')),
    due  INTEGER NOT NULL,
    PRIMARY KEY (hold, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_marks_due ON hold_marks (due);

-- What others are told, each named by its entry of the ledger, and to whom it goes.
CREATE TABLE notices (
    entry   INTEGER PRIMARY KEY NOT NULL,
    name    TEXT NOT NULL,
    event   TEXT NOT NULL,
    hold    TEXT REFERENCES holds (id),
    made_at INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;
CREATE TABLE deliveries (
    hook    TEXT NOT NULL,
    notice  INTEGER NOT NULL REFERENCES notices (entry),
    state   TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    tries   INTEGER NOT NULL,
    -- When it is tried next; once it has ended, when that was.
    due     INTEGER NOT NULL,
    error   TEXT,
    PRIMARY KEY (hook, notice)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_by_state ON deliveries (state, hook, notice);
CREATE INDEX deliveries_by_notice ON deliveries (notice);

-- Which instance delivers to a hook, and until when nobody tries.
CREATE TABLE hooks (
    id           TEXT PRIMARY KEY NOT NULL,
    lease_by     TEXT,
    lease_until  INTEGER NOT NULL,
    paused_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When a person first looked at a hold.
CREATE TABLE views (
    hold     TEXT NOT NULL REFERENCES holds (id),
    person   TEXT NOT NULL REFERENCES persons (id),
    first_at INTEGER NOT NULL,
    PRIMARY KEY (hold, person)
) STRICT, WITHOUT ROWID;

-- What figures are made of.
CREATE INDEX holds_by_age ON holds (state, opened_at);
CREATE INDEX decisions_by_time ON decisions (decided_at);
