-- The roles in which an approval counts no more, for good: its person was suspended, or an eligibility of theirs was ended. Where
-- none is left, its person may decide anew.
CREATE TABLE lost_approvals (
    decision INTEGER NOT NULL REFERENCES decisions (number),
    role     TEXT NOT NULL,
    lost_at  INTEGER NOT NULL,
    PRIMARY KEY (decision, role)
) STRICT, WITHOUT ROWID;
INSERT INTO lost_approvals (decision, role, lost_at)
    SELECT d.number, r.value, coalesce(p.suspended_at, p.resumed_at)
    FROM decisions d JOIN persons p ON p.id = d.person, json_each(d.roles) r
    WHERE d.verdict = 'approve' AND (p.suspended_at IS NOT NULL OR d.decided_at <= p.resumed_at);
ALTER TABLE persons DROP COLUMN resumed_at;
CREATE TRIGGER lost_approvals_keep_rows BEFORE UPDATE ON lost_approvals
BEGIN SELECT RAISE(ABORT, 'what is lost stays lost'); END;
CREATE TRIGGER lost_approvals_keep_all BEFORE DELETE ON lost_approvals
BEGIN SELECT RAISE(ABORT, 'what is lost stays lost'); END;

DROP TRIGGER decisions_go_on;
CREATE TRIGGER decisions_go_on BEFORE INSERT ON decisions
WHEN EXISTS (SELECT 1 FROM decisions d
             WHERE d.number = NEW.number
                OR (d.hold = NEW.hold AND d.person = NEW.person
                    AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision = d.number)
                    AND EXISTS (SELECT 1 FROM json_each(d.roles) r
                                WHERE r.value NOT IN (SELECT role FROM lost_approvals WHERE decision = d.number))))
BEGIN SELECT RAISE(ABORT, 'a decision is not replaced'); END;

-- Credentials of publishers can be taken back.
ALTER TABLE publishers ADD COLUMN retired_at INTEGER;
