// What both databases are tested by: included by `service.rs` (SQLite) and `postgres.rs`.

#[path = "administrators.rs"]
mod administrators;
#[path = "attacks.rs"]
mod attacks;
#[path = "audit.rs"]
mod audit;
#[path = "authority.rs"]
mod authority;
#[path = "auditors.rs"]
mod auditors;
#[path = "backup.rs"]
mod backup;
#[path = "console.rs"]
mod console;
#[path = "decisions.rs"]
mod decisions;
#[path = "encryption.rs"]
mod encryption;
#[path = "feed.rs"]
mod feed;
#[path = "figures.rs"]
mod figures;
#[path = "hold_page.rs"]
mod hold_page;
#[path = "holds.rs"]
mod holds;
#[path = "keys.rs"]
mod keys;
#[path = "kill.rs"]
mod kill;
#[path = "ledger.rs"]
mod ledger;
#[path = "limits.rs"]
mod limits;
#[path = "lists.rs"]
mod lists;
#[path = "load.rs"]
mod load;
#[path = "lots.rs"]
mod lots;
#[path = "marks.rs"]
mod marks;
#[path = "notices.rs"]
mod notices;
#[path = "offboarding.rs"]
mod offboarding;
#[path = "oidc.rs"]
mod oidc;
#[path = "openapi.rs"]
mod openapi;
#[path = "operations.rs"]
mod operations;
#[path = "people.rs"]
mod people;
#[path = "people_page.rs"]
mod people_page;
#[path = "policy.rs"]
mod policy;
#[path = "problems.rs"]
mod problems;
#[path = "process.rs"]
mod process;
#[path = "races.rs"]
mod races;
#[path = "receiver.rs"]
mod receiver;
#[path = "redemptions.rs"]
mod redemptions;
#[path = "retention.rs"]
mod retention;
#[path = "sessions.rs"]
mod sessions;
#[path = "store.rs"]
mod store;
#[path = "support.rs"]
mod support;
#[path = "suspension.rs"]
mod suspension;
#[path = "taken.rs"]
mod taken;
#[path = "table.rs"]
mod table;
#[path = "together.rs"]
mod together;
