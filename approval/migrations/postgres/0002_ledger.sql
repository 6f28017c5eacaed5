-- The entries are the leaves of a Merkle tree (RFC 6962) instead of a chain. Its nodes follow when the service opens the database.
ALTER TABLE ledger DROP COLUMN prev;
ALTER TABLE ledger DROP COLUMN hash;

-- The complete subtrees: the index-th of 2^level leaves.
CREATE TABLE ledger_nodes (
    level BIGINT NOT NULL,
    idx   BIGINT NOT NULL,
    hash  BYTEA NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, idx)
);
CREATE TRIGGER ledger_nodes_keep_rows BEFORE UPDATE OR DELETE ON ledger_nodes
    FOR EACH ROW EXECUTE FUNCTION refuse('the ledger is append-only');
CREATE TRIGGER ledger_nodes_keep_all BEFORE TRUNCATE ON ledger_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the ledger is append-only');

-- What was signed, from time to time.
CREATE TABLE checkpoints (
    origin    TEXT NOT NULL,
    size      BIGINT NOT NULL,
    note      TEXT NOT NULL,
    signed_at BIGINT NOT NULL,
    PRIMARY KEY (origin, size)
);

-- Which entry corrects which, so that the link is found from both ends. The ledger itself has it too.
CREATE TABLE corrections (
    corrects BIGINT NOT NULL,
    seq      BIGINT NOT NULL,
    PRIMARY KEY (corrects, seq)
);

-- The ledger has SHA-256(salt || request): without the salt it says nothing of a request that is gone.
ALTER TABLE captures ADD COLUMN salt BYTEA;
