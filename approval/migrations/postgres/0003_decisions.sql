-- A decision has a reason code where the hold asks for one, and tells whether it was by the escalation. An approval can be
-- withdrawn while others are missing; then its person may decide again, so that a person has one decision that stands.
ALTER TABLE decisions DROP CONSTRAINT decisions_hold_person_key;
ALTER TABLE decisions ADD COLUMN escalated BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE decisions ADD COLUMN code TEXT;
CREATE INDEX decisions_by_person ON decisions (hold, person);

CREATE TABLE withdrawals (
    decision     BIGINT PRIMARY KEY REFERENCES decisions (number),
    reason       TEXT NOT NULL,
    signed_in_at BIGINT NOT NULL,
    withdrawn_at BIGINT NOT NULL
);

-- All of it is written under the writer's lock, so that none of these looks past a row that is not committed yet.
CREATE FUNCTION decisions_go_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM decisions d WHERE d.hold = NEW.hold AND d.person = NEW.person
               AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.decision = d.number)) THEN
        RAISE EXCEPTION 'a decision is not replaced';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER decisions_go_on BEFORE INSERT ON decisions FOR EACH ROW EXECUTE FUNCTION decisions_go_on();

CREATE FUNCTION withdrawals_go_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT verdict FROM decisions WHERE number = NEW.decision) IS DISTINCT FROM 'approve' THEN
        RAISE EXCEPTION 'an approval is withdrawn, and nothing else';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER withdrawals_go_on BEFORE INSERT ON withdrawals FOR EACH ROW EXECUTE FUNCTION withdrawals_go_on();
CREATE TRIGGER withdrawals_keep_rows BEFORE UPDATE OR DELETE ON withdrawals
    FOR EACH ROW EXECUTE FUNCTION refuse('a withdrawal is neither changed nor deleted');
CREATE TRIGGER withdrawals_keep_all BEFORE TRUNCATE ON withdrawals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a withdrawal is neither changed nor deleted');
