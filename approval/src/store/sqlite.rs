//! SQLite: WAL, a hold is on the disk before the answer (`synchronous = FULL`), one writer and a few readers.

use std::{fs, path::Path, str::FromStr as _, time::Duration};

use sqlx::{
    ConnectOptions as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Connection, Later, Store, StoreError, sql::values};

/// Readers that may be at work at once.
const READERS: u32 = 4;

/// How long is waited for another process to end its transaction.
const BUSY: Duration = Duration::from_secs(10);

/// The writer's cache: 64 MiB, in KiB below zero as SQLite has it. With the usual 2 MiB a transaction of thousands of decisions
/// writes pages out and reads them again before it is through.
const WRITER_CACHE: &str = "-65536";

/// Pages in the log after which they are brought into the database: 64 MiB. Transactions of thousands of decisions change the
/// same pages one after the other; with the usual 4 MiB each of them would bring over what the next changes again.
const CHECKPOINT: &str = "16384";

/// How long taking deleted bytes out of the log may keep the writer, in milliseconds. Later ones are taken with them.
const ERASE: &str = "PRAGMA busy_timeout = 200";

/// The identity of a database that is no copy.
const ORIGINAL: &str = "original";

pub(super) struct Sqlite {
    options: SqliteConnectOptions,
    readers: SqlitePool,
}

impl Sqlite {
    pub(super) async fn open(url: &str, create: bool) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            // Bodies that are deleted after their time are overwritten too.
            .pragma("secure_delete", "ON")
            .disable_statement_logging();
        if create {
            make_file(options.get_filename())?;
        }
        let readers =
            SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(options.clone().read_only(true));
        let sqlite = Sqlite { options, readers };
        sqlite.migrate().await?;
        Ok(sqlite)
    }

    /// Brings the database to this version. Processes that start at once do so one after the other. The lock comes before the
    /// connection: of two that switch a new file to WAL at once, SQLite refuses one without waiting.
    async fn migrate(&self) -> Result<(), StoreError> {
        let _alone = lock_beside(self.options.get_filename()).await?;
        let mut connection = self.options.connect().await?;
        sqlx::migrate!("./migrations/sqlite").run(&mut connection).await?;
        Ok(())
    }
}

impl Store for Sqlite {
    fn writer(&self) -> Later<'_, Result<Connection, StoreError>> {
        Box::pin(async {
            let options = self.options.clone().create_if_missing(false);
            let options = options.pragma("cache_size", WRITER_CACHE).pragma("wal_autocheckpoint", CHECKPOINT);
            // Savepoints keep what they may have to restore; by default they do so in a file.
            Ok(Connection::new(options.pragma("temp_store", "MEMORY").connect().await?))
        })
    }

    fn reader(&self) -> Later<'_, Result<Connection, StoreError>> {
        Box::pin(async { Ok(Connection::new(self.readers.acquire().await?)) })
    }

    fn begin<'a>(&'a self, connection: &'a mut Connection) -> Later<'a, Result<(), StoreError>> {
        Box::pin(async { connection.execute("BEGIN IMMEDIATE", values![]).await.map(|_| ()) })
    }

    fn announce<'a>(&'a self, _connection: &'a mut Connection) -> Later<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    fn erase<'a>(&'a self, connection: &'a mut Connection) -> Later<'a, Result<bool, StoreError>> {
        Box::pin(async {
            connection.execute(ERASE, values![]).await?;
            let busy = connection.one("PRAGMA wal_checkpoint(TRUNCATE)", values![]).await;
            connection.execute("PRAGMA busy_timeout = 10000", values![]).await?;
            Ok(busy?.int("busy")? == 0)
        })
    }

    fn heard(&self) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn identity<'a>(&'a self, _connection: &'a mut Connection) -> Later<'a, Result<String, StoreError>> {
        Box::pin(async { Ok(ORIGINAL.to_owned()) })
    }

    fn copy<'a>(&'a self, to: &'a Path) -> Later<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if to.exists() {
                return Err(StoreError::Taken { path: to.display().to_string() });
            }
            let part = to.with_added_extension("part");
            // What a backup that was cut off has left.
            let _ = fs::remove_file(&part);
            make_file(&part)?;
            let name = part.to_str().ok_or(StoreError::Taken { path: part.display().to_string() })?;
            self.reader().await?.execute("VACUUM INTO $1", values![name]).await?;
            let mut copy = SqliteConnectOptions::new().filename(&part).synchronous(SqliteSynchronous::Full);
            copy = copy.journal_mode(SqliteJournalMode::Delete).disable_statement_logging();
            let mut copy = Connection::new(copy.connect().await?);
            copy.execute("UPDATE keyring SET identity = $1", values!["copy"]).await?;
            drop(copy);
            fs::rename(&part, to).map_err(|error| named(to, error))
        })
    }
}

/// Makes a database file that only its owner reads. SQLite gives the files beside it the same mode.
fn make_file(path: &Path) -> Result<(), StoreError> {
    match open_private(path, |options| options.create_new(true)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(named(path, error)),
        _ => Ok(()),
    }
}

/// Holds a file beside the database until it is dropped.
async fn lock_beside(path: &Path) -> Result<fs::File, StoreError> {
    let path = path.with_extension("lock");
    let locked = tokio::task::spawn_blocking(move || {
        let file = open_private(&path, |options| options.create(true).truncate(false));
        file.and_then(|file| file.lock().map(|()| file)).map_err(|error| named(&path, error))
    });
    locked.await.map_err(|_| StoreError::Stopped)?
}

fn open_private(
    path: &Path,
    how: impl FnOnce(&mut fs::OpenOptions) -> &mut fs::OpenOptions,
) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    how(&mut options).open(path)
}

fn named(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::File { path: path.display().to_string(), error }
}
