-- A decision has a reason code where the hold asks for one, and tells whether it was by the escalation. An approval can be
-- withdrawn while others are missing; then its person may decide again, so that a person has one decision that stands.
CREATE TABLE decisions_that_stand (
    number       INTEGER PRIMARY KEY,
    hold         TEXT NOT NULL REFERENCES holds (id),
    person       TEXT NOT NULL REFERENCES persons (id),
    verdict      TEXT NOT NULL CHECK (verdict IN ('approve', 'deny')),
    role         TEXT NOT NULL,
    roles        TEXT NOT NULL,
    escalated    INTEGER NOT NULL DEFAULT 0,
    reason       TEXT NOT NULL,
    code         TEXT,
    signed_in_at INTEGER NOT NULL,
    decided_at   INTEGER NOT NULL
) STRICT;
INSERT INTO decisions_that_stand (number, hold, person, verdict, role, roles, reason, signed_in_at, decided_at)
    SELECT number, hold, person, verdict, role, roles, reason, signed_in_at, decided_at FROM decisions;
DROP TABLE decisions;
ALTER TABLE decisions_that_stand RENAME TO decisions;
CREATE INDEX decisions_by_person ON decisions (hold, person);

CREATE TABLE withdrawals (
    decision     INTEGER PRIMARY KEY NOT NULL REFERENCES decisions (number),
    reason       TEXT NOT NULL,
    signed_in_at INTEGER NOT NULL,
    withdrawn_at INTEGER NOT NULL
) STRICT;

-- REPLACE would take the place of one with the same number without a delete trigger.
CREATE TRIGGER decisions_go_on BEFORE INSERT ON decisions
WHEN EXISTS (SELECT 1 FROM decisions d
             WHERE d.number = NEW.number
                OR (d.hold = NEW.hold AND d.person = NEW.person
                    AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision = d.number)))
BEGIN SELECT RAISE(ABORT, 'a decision is not replaced'); END;
CREATE TRIGGER decisions_keep_rows BEFORE UPDATE ON decisions
BEGIN SELECT RAISE(ABORT, 'a decision is not changed'); END;
CREATE TRIGGER decisions_keep_all BEFORE DELETE ON decisions
BEGIN SELECT RAISE(ABORT, 'a decision is not deleted'); END;

CREATE TRIGGER withdrawals_go_on BEFORE INSERT ON withdrawals
WHEN EXISTS (SELECT 1 FROM withdrawals WHERE decision = NEW.decision)
  OR (SELECT verdict FROM decisions WHERE number = NEW.decision) IS NOT 'approve'
BEGIN SELECT RAISE(ABORT, 'an approval is withdrawn once'); END;
CREATE TRIGGER withdrawals_keep_rows BEFORE UPDATE ON withdrawals
BEGIN SELECT RAISE(ABORT, 'a withdrawal is not changed'); END;
CREATE TRIGGER withdrawals_keep_all BEFORE DELETE ON withdrawals
BEGIN SELECT RAISE(ABORT, 'a withdrawal is not deleted'); END;
