-- The entries are the leaves of a Merkle tree (RFC 6962) instead of a chain. Its nodes follow when the service opens the database.
ALTER TABLE ledger DROP COLUMN prev;
ALTER TABLE ledger DROP COLUMN hash;

-- The complete subtrees: the index-th of 2^level leaves.
CREATE TABLE ledger_nodes (
    level INTEGER NOT NULL,
    idx   INTEGER NOT NULL,
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER ledger_nodes_keep_rows BEFORE UPDATE ON ledger_nodes
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_nodes_keep_all BEFORE DELETE ON ledger_nodes
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_nodes_go_on BEFORE INSERT ON ledger_nodes
WHEN EXISTS (SELECT 1 FROM ledger_nodes WHERE level = NEW.level AND idx = NEW.idx)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

-- What was signed, from time to time.
CREATE TABLE checkpoints (
    origin    TEXT NOT NULL,
    size      INTEGER NOT NULL,
    note      TEXT NOT NULL,
    signed_at INTEGER NOT NULL,
    PRIMARY KEY (origin, size)
) STRICT, WITHOUT ROWID;

-- Which entry corrects which, so that the link is found from both ends. The ledger itself has it too.
CREATE TABLE corrections (
    corrects INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    PRIMARY KEY (corrects, seq)
) STRICT, WITHOUT ROWID;

-- The ledger has SHA-256(salt || request): without the salt it says nothing of a request that is gone.
ALTER TABLE captures ADD COLUMN salt BLOB;
