-- Whether a person has decided on a hold is asked for each decision. With the person alone in the index, PostgreSQL reads all that they
-- ever decided as long as it knows nothing of the table.
DROP INDEX decisions_of_person;
CREATE INDEX decisions_of_person ON decisions (person, hold);
