-- What all instances share. There is one row; before it, no keys were made yet.
CREATE TABLE keyring (
    number   INTEGER PRIMARY KEY CHECK (number = 1),
    -- Rises with each change of this table and of `keys`.
    version  INTEGER NOT NULL,
    -- A known text, sealed: it opens with the data key, and with no other.
    proof    BLOB NOT NULL,
    -- What makes the state that clients hand back, sealed.
    states   BLOB NOT NULL,
    -- The policy authors' public keys, a JWKS.
    authors  TEXT NOT NULL,
    -- Which database it is: a copy is another one.
    identity TEXT NOT NULL
) STRICT;

CREATE TABLE keys (
    kid        TEXT PRIMARY KEY,
    purpose    TEXT NOT NULL CHECK (purpose IN ('grant', 'ledger')),
    number     INTEGER NOT NULL UNIQUE,
    public_jwk TEXT NOT NULL,
    -- The private half, sealed; gone once the key is retired.
    sealed     BLOB,
    added_at   INTEGER NOT NULL,
    signs_from INTEGER NOT NULL,
    retires_at INTEGER
) STRICT;

-- With which data key a capture is sealed; empty: it was kept before captures were sealed.
ALTER TABLE captures ADD COLUMN sealed_with TEXT NOT NULL DEFAULT '';
CREATE INDEX captures_by_key ON captures (sealed_with);
