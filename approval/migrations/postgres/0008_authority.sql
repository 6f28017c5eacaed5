-- The roles in which an approval counts no more, for good: its person was suspended, or an eligibility of theirs was ended. Where
-- none is left, its person may decide anew.
CREATE TABLE lost_approvals (
    decision BIGINT NOT NULL REFERENCES decisions (number),
    role     TEXT COLLATE "C" NOT NULL,
    lost_at  BIGINT NOT NULL,
    PRIMARY KEY (decision, role)
);
INSERT INTO lost_approvals (decision, role, lost_at)
    SELECT d.number, r.role, coalesce(p.suspended_at, p.resumed_at)
    FROM decisions d JOIN persons p ON p.id = d.person, json_array_elements_text(d.roles::json) AS r (role)
    WHERE d.verdict = 'approve' AND (p.suspended_at IS NOT NULL OR d.decided_at <= p.resumed_at);
ALTER TABLE persons DROP COLUMN resumed_at;
CREATE TRIGGER lost_approvals_keep_rows BEFORE UPDATE OR DELETE ON lost_approvals
    FOR EACH ROW EXECUTE FUNCTION refuse('what is lost stays lost');
CREATE TRIGGER lost_approvals_keep_all BEFORE TRUNCATE ON lost_approvals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what is lost stays lost');

CREATE OR REPLACE FUNCTION decisions_go_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM decisions d WHERE d.hold = NEW.hold AND d.person = NEW.person
               AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision = d.number)
               AND EXISTS (SELECT 1 FROM json_array_elements_text(d.roles::json) AS r (role)
                           WHERE r.role NOT IN (SELECT l.role FROM lost_approvals l WHERE l.decision = d.number))) THEN
        RAISE EXCEPTION 'a decision is not replaced';
    END IF;
    RETURN NEW;
END $$;

-- Credentials of publishers can be taken back.
ALTER TABLE publishers ADD COLUMN retired_at BIGINT;
