//! PostgreSQL: how a test comes to a database, and what is tested of it alone.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use holdgate_approval::store::{Command, StoreError, Tx};
use sqlx::{Connection as _, Executor as _, PgConnection, migrate::Migrator};
use tokio::sync::Mutex;

use crate::support::World;

/// What the database itself refuses: to change, delete or replace what is recorded.
pub const FORGERIES: &[&str] = &[
    "UPDATE ledger SET data = '{}' WHERE seq = 1",
    "DELETE FROM ledger WHERE seq = 1",
    "TRUNCATE ledger",
    "INSERT INTO ledger SELECT * FROM ledger WHERE seq = 1",
    "INSERT INTO ledger SELECT * FROM ledger WHERE seq = 1 ON CONFLICT (seq) DO UPDATE SET data = '{}'",
    "INSERT INTO ledger SELECT seq + 1000, time, kind, hold, decided_by, data FROM ledger WHERE seq = 1",
    "UPDATE ledger_nodes SET hash = hash",
    "DELETE FROM ledger_nodes WHERE level = 0",
    "TRUNCATE ledger_nodes",
    "INSERT INTO ledger_nodes SELECT * FROM ledger_nodes WHERE idx = 0",
    "UPDATE decisions SET reason = 'x'",
    "DELETE FROM decisions",
    "TRUNCATE decisions CASCADE",
    // A second decision beside one that stands.
    "INSERT INTO decisions (hold, person, verdict, role, roles, reason, signed_in_at, decided_at)
     SELECT hold, person, 'approve', role, roles, reason, signed_in_at, decided_at FROM decisions WHERE verdict = 'deny'",
    "UPDATE withdrawals SET reason = 'x'",
    "DELETE FROM withdrawals",
    "TRUNCATE withdrawals",
    "INSERT INTO withdrawals SELECT * FROM withdrawals ON CONFLICT (decision) DO UPDATE SET reason = 'x'",
    // A denial is final.
    "INSERT INTO withdrawals (decision, reason, signed_in_at, withdrawn_at)
     SELECT number, '', 1, 1 FROM decisions WHERE verdict = 'deny'",
];

/// How eligibility came to its scopes.
pub const AUTHORITY: &str = include_str!("../../migrations/postgres/0005_authority.sql");

/// What a serving process has in its data folder.
pub const FILES: &[&str] = &[];

/// Takes away what guards the ledger, as somebody can who has the whole of the database.
pub const UNGUARD: &[&str] =
    &["ALTER TABLE ledger DISABLE TRIGGER USER", "ALTER TABLE ledger_nodes DISABLE TRIGGER USER"];

/// The migrations, and the last one before the ledger was a tree.
pub const BEFORE_THE_TREE: (&str, &str) = ("migrations/postgres", "0001");

/// Makes a database of an earlier version.
pub async fn make(url: &str, migrations: Migrator, rows: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    migrations.run(&mut connection).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(rows)).await.unwrap();
}

/// Lets the commit itself fail.
pub const BROKEN: &[&str] = &[
    "ALTER TABLE captures ALTER CONSTRAINT captures_hold_fkey DEFERRABLE INITIALLY DEFERRED",
    "INSERT INTO captures (hold, request) VALUES ('nowhere', '')",
];

/// Makes the database refuse to change one hold.
pub fn refusing(hold: &str) -> Vec<String> {
    vec![format!(
        "CREATE TRIGGER broken BEFORE UPDATE ON holds FOR EACH ROW WHEN (NEW.id = '{hold}')
         EXECUTE FUNCTION refuse('no')"
    )]
}

static MADE: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::const_new(None);

/// The database that belongs to a data folder; a new one at first.
pub async fn url(folder: &Path) -> String {
    let server = std::env::var("HOLDGATE_TEST_POSTGRES_URL").unwrap_or_default();
    assert!(!server.is_empty(), "HOLDGATE_TEST_POSTGRES_URL names no server: `cargo xtask postgres` starts one");
    let mut made = MADE.lock().await;
    if let Some(url) = made.as_ref().and_then(|known| known.get(folder)) {
        return url.clone();
    }
    let mut admin = PgConnection::connect(&server).await.unwrap();
    let known = match &mut *made {
        Some(known) => known,
        none => {
            drop_left_ones(&mut admin).await;
            none.insert(HashMap::new())
        }
    };
    let name = format!("holdgate_test_{}_{}", std::process::id(), known.len());
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let (address, _) = server.rsplit_once('/').unwrap();
    let url = format!("{address}/{name}");
    known.insert(folder.to_owned(), url.clone());
    url
}

/// Says which database belongs to a data folder.
pub async fn use_at(folder: &Path, url: &str) {
    MADE.lock().await.get_or_insert_with(HashMap::new).insert(folder.to_owned(), url.to_owned());
}

/// All that is kept, as text.
pub async fn everything(world: &World) -> Vec<Vec<u8>> {
    let mut connection = PgConnection::connect(&world.url).await.unwrap();
    let sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'";
    let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
    let mut rows = Vec::new();
    for table in tables {
        let sql = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
        rows.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(&mut connection).await.unwrap());
    }
    rows.into_iter().map(String::into_bytes).collect()
}

/// Drops the databases of test processes that are gone.
async fn drop_left_ones(admin: &mut PgConnection) {
    let sql = "SELECT datname FROM pg_database WHERE datname LIKE 'holdgate_test_%'";
    let names: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut *admin).await.unwrap();
    for name in names {
        let process = name.split('_').nth(2).unwrap();
        if !Path::new("/proc").join(process).exists() {
            let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            admin.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        }
    }
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

/// Backs a database up with `pg_dump` and restores it with `pg_restore` into another; gives its address.
pub async fn backed_up(world: &World, folder: &Path) -> String {
    let refused = world.service.store.copy(&folder.join("backup.db")).await.unwrap_err();
    assert!(refused.to_string().contains("pg_dump --format=custom"), "{refused}");
    let programs = std::env::var_os("HOLDGATE_POSTGRES_BIN").map_or("/usr/lib/postgresql/15/bin".into(), PathBuf::from);
    let run = async |program: &str, arguments: &[&str]| {
        let output = tokio::process::Command::new(programs.join(program)).args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let file = folder.join("backup.dump");
    let file = file.to_str().unwrap();
    run("pg_dump", &["--format=custom", "--file", file, &world.url]).await;
    let url = url(folder).await;
    run("pg_restore", &["--no-owner", "--exit-on-error", "--dbname", &url, file]).await;
    url
}
