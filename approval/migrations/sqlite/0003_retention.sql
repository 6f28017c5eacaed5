-- When an attempt was last heard of: it is kept for a while after that.
ALTER TABLE attempts ADD COLUMN heard_at INTEGER NOT NULL DEFAULT 0;
UPDATE attempts SET heard_at = max(coalesce(asked_at, 0), coalesce(detached_at, 0));
CREATE INDEX attempts_by_time ON attempts (heard_at);

-- Who may still wait on a hold.
CREATE INDEX attempts_waiting ON attempts (hold, asked_at) WHERE detached_at IS NULL;

-- How often an agent joined pending holds in each minute of the last hour.
CREATE TABLE quota_joined (
    name   TEXT NOT NULL,
    minute INTEGER NOT NULL,
    joins  INTEGER NOT NULL,
    PRIMARY KEY (name, minute)
) STRICT, WITHOUT ROWID;

-- The last number that came of each VM. It outlives the batches, so that a VM that was silent for long is not told to have
-- lost what was deleted.
CREATE TABLE audit_ends (
    grp      TEXT NOT NULL,
    vm_epoch TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (grp, vm_epoch)
) STRICT, WITHOUT ROWID;
INSERT INTO audit_ends SELECT grp, vm_epoch, max(to_seq) FROM audit_batches GROUP BY grp, vm_epoch;
CREATE INDEX audit_batches_by_time ON audit_batches (received_at);
