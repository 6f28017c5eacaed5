//! SQLite: how a test comes to a database, and what is tested of it alone.

use std::{path::Path, str::FromStr as _, time::Duration};

use holdgate_approval::store::{Command, StoreError, Tx, default_url};

use serde_json::Value;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, migrate::Migrator, sqlite::SqliteConnectOptions};

use crate::{
    process::{http, made, run, serve},
    retention::{HOUR, count, kept_for},
    support::{NOW, World},
};

/// What the database itself refuses: to change, delete or replace what is recorded.
pub const FORGERIES: &[&str] = &[
    "UPDATE ledger SET data = '{}' WHERE seq = 1",
    "DELETE FROM ledger WHERE seq = 1",
    "INSERT OR REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 1",
    "INSERT INTO ledger SELECT seq + 1000, time, kind, hold, decided_by, data FROM ledger WHERE seq = 1",
    "UPDATE ledger_nodes SET hash = zeroblob(32)",
    "DELETE FROM ledger_nodes WHERE level = 0",
    "INSERT OR REPLACE INTO ledger_nodes SELECT level, idx, zeroblob(32) FROM ledger_nodes WHERE idx = 0",
    "UPDATE decisions SET reason = 'x'",
    "INSERT OR REPLACE INTO decisions SELECT * FROM decisions",
    "INSERT OR REPLACE INTO decisions (number, hold, person, verdict, role, roles, reason, signed_in_at, decided_at)
     SELECT 1000, hold, person, 'approve', role, roles, reason, signed_in_at, decided_at FROM decisions
     WHERE verdict = 'deny'",
    "INSERT OR REPLACE INTO decisions (number, hold, person, verdict, role, roles, reason, signed_in_at, decided_at)
     SELECT number, hold, 'bob', verdict, role, roles, reason, signed_in_at, decided_at FROM decisions",
    "UPDATE withdrawals SET reason = 'x'",
    "DELETE FROM withdrawals",
    "INSERT OR REPLACE INTO withdrawals SELECT * FROM withdrawals",
    // A denial is final.
    "INSERT INTO withdrawals (decision, reason, signed_in_at, withdrawn_at)
     SELECT number, '', 1, 1 FROM decisions WHERE verdict = 'deny'",
];

/// How eligibility came to its scopes.
pub const AUTHORITY: &str = include_str!("../../migrations/sqlite/0008_authority.sql");

/// What a serving process has in its data folder.
pub const FILES: &[&str] = &["holdgate.db", "holdgate.db-wal", "holdgate.db-shm", "serve.lock"];

/// Takes away what guards the ledger, as somebody can who has the whole of the database.
pub const UNGUARD: &[&str] = &[
    "DROP TRIGGER ledger_keeps_rows",
    "DROP TRIGGER ledger_keeps_all",
    "DROP TRIGGER ledger_nodes_keep_rows",
    "DROP TRIGGER ledger_nodes_keep_all",
];

/// The migrations, and the last one before the ledger was a tree.
pub const BEFORE_THE_TREE: (&str, &str) = ("migrations/sqlite", "0003");

/// Makes a database of an earlier version.
pub async fn make(url: &str, migrations: Migrator, rows: &str) {
    let options = SqliteConnectOptions::from_str(url).unwrap().create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    migrations.run(&mut connection).await.unwrap();
    connection.execute(AssertSqlSafe(rows)).await.unwrap();
}

/// Lets the commit itself fail.
pub const BROKEN: &[&str] =
    &["PRAGMA defer_foreign_keys = ON", "INSERT INTO captures (hold, request) VALUES ('nowhere', x'00')"];

/// Makes the database refuse to change one hold.
pub fn refusing(hold: &str) -> Vec<String> {
    vec![format!(
        "CREATE TRIGGER broken BEFORE UPDATE ON holds WHEN NEW.id = '{hold}' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )]
}

/// The database that belongs to a data folder.
pub async fn url(folder: &Path) -> String {
    default_url(folder)
}

/// All that is kept, as it lies there.
pub async fn everything(world: &World) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(world.folder.path()).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.to_string_lossy().contains("holdgate.db"))
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

struct Pragma(&'static str);

impl Command for Pragma {
    type Answer = String;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<String, StoreError> {
        let sql = format!("SELECT CAST({0} AS TEXT) AS value FROM pragma_{0}", self.0);
        tx.one(sql, vec![]).await?.text("value")
    }
}

#[tokio::test]
async fn a_commit_is_on_the_disk_before_the_answer() {
    let world = World::new().await;
    // 2 is FULL: the log is synchronised at each commit.
    for (pragma, value) in [("synchronous", "2"), ("journal_mode", "wal"), ("foreign_keys", "1")] {
        assert_eq!(world.service.store.write(Pragma(pragma)).await.unwrap(), value, "{pragma}");
    }
}

#[tokio::test]
async fn quotas_of_an_older_database_count_what_is_open() {
    let world = crate::limits::world_with_many_subjects().await;
    let migration = include_str!("../../migrations/sqlite/0002_limits.sql");
    let counted: Vec<&str> = migration.split("INSERT INTO quota_open\n").skip(1).collect();
    assert_eq!(counted.len(), 3);
    let mut rows = 0;
    for select in counted {
        let select = select.split(';').next().unwrap();
        let wrong = format!("SELECT count(*) AS n FROM ({select} EXCEPT SELECT subject, name, holds FROM quota_open)");
        assert_eq!(world.number(wrong).await, 0, "{select}");
        rows += world.number(format!("SELECT count(*) AS n FROM ({select})")).await;
    }
    assert_eq!(rows, 7, "two agents, two owners, three rules");
}

#[tokio::test]
async fn what_was_captured_is_on_the_disk_no_more() {
    let world = kept_for(&["captures=1h"]).await;
    let mut ask = world.ask(&["one"], "a");
    ask.request.fields.push(("x-note".into(), "once upon a time".repeat(500)));
    let (_, opened) = world.open(&ask).await;
    let is_there = || {
        let files =
            std::fs::read_dir(world.folder.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        let mut files = files.collect::<Vec<_>>().into_iter();
        files.any(|bytes| bytes.windows(32).any(|part| part == b"once upon a timeonce upon a time"))
    };
    assert!(!is_there(), "what is sealed is never there in plain");
    let (sealed, part) = (database_bytes(&world, &opened.hold).await, 64);
    let is_there = || {
        let files =
            std::fs::read_dir(world.folder.path()).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.collect::<Vec<_>>().iter().any(|bytes| bytes.windows(part).any(|some| some == &sealed[200..200 + part]))
    };
    world.sign_in("alice").await.decide(&opened.hold, "deny").await;
    assert!(is_there());
    world.clock.advance(HOUR);
    assert_eq!(count(&world, "captures").await, 0);
    // The answer comes before the file is cleared.
    let cleared = async || {
        while is_there() {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cleared()).await.expect("it goes from the files");
    assert_eq!(world.service.now(), NOW + HOUR);
}

async fn database_bytes(world: &World, hold: &str) -> Vec<u8> {
    let sql = format!("SELECT request FROM captures WHERE hold = '{hold}'");
    world.service.store.read().await.unwrap().one(sql, vec![]).await.unwrap().bytes("request").unwrap()
}

#[tokio::test]
async fn one_data_folder_is_served_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let serving = serve(&data).await;
    let second = ["serve", "--gateways", "127.0.0.1:0", "--people", "127.0.0.1:0"];
    let (code, output, error) = run(&data, &second, "").await;
    assert_eq!((code, output.as_str(), error.lines().count()), (1, "", 1), "{error}");
    assert!(error.contains("is served by another process already; stop that one first"), "{error}");
    assert_eq!(http(&serving.people, "GET", "/healthz", "", &Value::Null).await.0, 200);
}

/// Statements in one transaction.
pub struct Sql(pub Vec<String>);

impl Command for Sql {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        for sql in self.0 {
            tx.execute(sql, vec![]).await?;
        }
        Ok(())
    }
}

/// Backs a database up and restores the backup into a folder; gives its address.
pub async fn backed_up(world: &World, folder: &Path) -> String {
    let file = folder.join("backup.db");
    world.service.store.copy(&file).await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(matches!(world.service.store.copy(&file).await, Err(StoreError::Taken { .. })));
    std::fs::rename(file, folder.join("holdgate.db")).unwrap();
    default_url(folder)
}

#[tokio::test]
async fn a_backup_is_made_and_restored_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let data = made(folder.path()).await;
    let serving = serve(&data).await;
    let backup = folder.path().join("backup.db");
    let (code, _, error) = run(&data, &["backup", "--to", backup.to_str().unwrap()], "").await;
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = run(&data, &["backup", "--to", backup.to_str().unwrap()], "").await;
    assert!(code == 1 && error.contains("is there already; name another file"), "{error}");
    let (code, _, error) = run(&data, &["restored"], "").await;
    assert!(code == 1 && error.contains("is served by another process already"), "{error}");
    drop(serving);
    let new = folder.path().join("restored");
    std::fs::create_dir(&new).unwrap();
    std::fs::copy(&backup, new.join("holdgate.db")).unwrap();
    std::fs::copy(data.join("data.key"), new.join("data.key")).unwrap();
    let (code, _, error) = run(&new, &["serve", "--gateways", "127.0.0.1:0", "--people", "127.0.0.1:0"], "").await;
    assert!(code == 1 && error.contains("run `holdgate-approval restored` first"), "{error}");
    let (code, output, error) = run(&new, &["restored"], "").await;
    assert!(code == 0 && output.starts_with("holds that were cancelled: 0"), "{error}");
    let serving = serve(&new).await;
    assert_eq!(http(&serving.people, "GET", "/healthz", "", &Value::Null).await.0, 200);
}
