-- What all instances share. There is one row; before it, no keys were made yet.
CREATE TABLE keyring (
    number   BIGINT PRIMARY KEY CHECK (number = 1),
    -- Rises with each change of this table and of `keys`.
    version  BIGINT NOT NULL,
    -- A known text, sealed: it opens with the data key, and with no other.
    proof    BYTEA NOT NULL,
    -- What makes the state that clients hand back, sealed.
    states   BYTEA NOT NULL,
    -- The policy authors' public keys, a JWKS.
    authors  TEXT NOT NULL,
    -- Which database it is: a copy is another one.
    identity TEXT NOT NULL
);

CREATE TABLE keys (
    kid        TEXT COLLATE "C" PRIMARY KEY,
    purpose    TEXT COLLATE "C" NOT NULL CHECK (purpose IN ('grant', 'ledger')),
    number     BIGINT NOT NULL UNIQUE,
    public_jwk TEXT NOT NULL,
    -- The private half, sealed; gone once the key is retired.
    sealed     BYTEA,
    added_at   BIGINT NOT NULL,
    signs_from BIGINT NOT NULL,
    retires_at BIGINT
);

-- With which data key a capture is sealed; empty: it was kept before captures were sealed.
ALTER TABLE captures ADD COLUMN sealed_with TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX captures_by_key ON captures (sealed_with);
