-- Which credential of a group is the newest, also of two that were added in one second.
ALTER TABLE gateways ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
UPDATE gateways SET number = rowid;
