-- Where the person of a session signed in, and by which client; neither with a local account.
ALTER TABLE sessions ADD COLUMN iss TEXT;
ALTER TABLE sessions ADD COLUMN client TEXT;
