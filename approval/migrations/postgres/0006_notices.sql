-- Up to which entry of the ledger it was followed: what is due was planned, and who is told was written down.
CREATE TABLE followed (
    name TEXT COLLATE "C" PRIMARY KEY,
    seq  BIGINT NOT NULL
);
INSERT INTO followed SELECT 'ledger', coalesce(max(seq), 0) FROM ledger;

-- What is to be looked at when its time comes. A row goes with the entry that it makes in the ledger.
CREATE TABLE hold_marks (
    hold TEXT COLLATE "C" NOT NULL REFERENCES holds (id),
    kind TEXT NOT NULL CHECK (kind IN ('remind', 'escalate', 'outcome')),
    due  BIGINT NOT NULL,
    PRIMARY KEY (hold, kind)
);
CREATE INDEX hold_marks_due ON hold_marks (due);

-- What others are told, each named by its entry of the ledger, and to whom it goes.
CREATE TABLE notices (
    entry   BIGINT PRIMARY KEY,
    name    TEXT COLLATE "C" NOT NULL,
    event   TEXT NOT NULL,
    hold    TEXT COLLATE "C" REFERENCES holds (id),
    made_at BIGINT NOT NULL,
    body    TEXT NOT NULL
);
CREATE TABLE deliveries (
    hook    TEXT COLLATE "C" NOT NULL,
    notice  BIGINT NOT NULL REFERENCES notices (entry),
    state   TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    tries   BIGINT NOT NULL,
    -- When it is tried next; once it has ended, when that was.
    due     BIGINT NOT NULL,
    error   TEXT,
    PRIMARY KEY (hook, notice)
);
CREATE INDEX deliveries_by_state ON deliveries (state, hook, notice);
CREATE INDEX deliveries_by_notice ON deliveries (notice);

-- Which instance delivers to a hook, and until when nobody tries.
CREATE TABLE hooks (
    id           TEXT COLLATE "C" PRIMARY KEY,
    lease_by     TEXT,
    lease_until  BIGINT NOT NULL,
    paused_until BIGINT NOT NULL
);

-- When a person first looked at a hold.
CREATE TABLE views (
    hold     TEXT COLLATE "C" NOT NULL REFERENCES holds (id),
    person   TEXT COLLATE "C" NOT NULL REFERENCES persons (id),
    first_at BIGINT NOT NULL,
    PRIMARY KEY (hold, person)
);

-- What figures are made of.
CREATE INDEX holds_by_age ON holds (state, opened_at);
CREATE INDEX decisions_by_time ON decisions (decided_at);
