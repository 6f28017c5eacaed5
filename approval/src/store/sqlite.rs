//! SQLite: WAL, a hold is on the disk before the answer (`synchronous = FULL`), one writer and a few readers.

pub mod access;
pub mod attempts;
pub mod audit;
pub mod feed;
pub mod holds;
pub mod idempotency;
pub mod ledger;
pub mod people;
pub mod policy;
pub mod quotas;
mod rows;
mod writer;

use std::{path::Path, str::FromStr as _, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions as _, Sqlite, SqliteConnection,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc, watch};

pub use writer::Tx;

use super::{Command, StoreError};
use crate::policy::Published;

/// The connection on which queries run.
pub type Connection = SqliteConnection;

/// A connection that is lent for reading.
pub type Guard = PoolConnection<Sqlite>;

/// Readers that may be at work at once.
const READERS: u32 = 4;

/// The writer's cache: 64 MiB, in KiB below zero as SQLite has it. With the usual 2 MiB a transaction of thousands of decisions
/// writes pages out and reads them again before it is through.
const WRITER_CACHE: &str = "-65536";

/// Pages in the log after which they are brought into the database: 64 MiB. Transactions of thousands of decisions change the
/// same pages one after the other; with the usual 4 MiB each of them would bring over what the next changes again.
const CHECKPOINT: &str = "16384";

/// Commands that may wait for the writer; further ones wait to be let in.
const QUEUE: usize = 4096;

/// The open database. Clones share it; the writer stops when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    readers: SqlitePool,
    commands: mpsc::Sender<Box<dyn writer::Job>>,
    news: watch::Receiver<u64>,
    policy: watch::Receiver<Option<Arc<Published>>>,
}

impl Store {
    /// Opens the database at `url` (`sqlite:FILE`), which must be there unless `create` is set, and brings it to this
    /// version.
    pub async fn open(url: &str, create: bool) -> Result<Self, StoreError> {
        let scheme = |hint| StoreError::Scheme { url: without_secret(url), hint };
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Err(scheme("; PostgreSQL is not in this version"));
        }
        if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
            return Err(scheme(""));
        }
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            // Bodies that are deleted after their time are overwritten too.
            .pragma("secure_delete", "ON")
            .disable_statement_logging();
        if create {
            make_file(options.get_filename())?;
        }
        let writing = options.clone().pragma("cache_size", WRITER_CACHE).pragma("wal_autocheckpoint", CHECKPOINT);
        // Savepoints keep what they may have to restore; by default they do so in a file.
        let mut writer = writing.pragma("temp_store", "MEMORY").connect().await?;
        sqlx::migrate!("./migrations").run(&mut writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(options.read_only(true));

        let head = feed::head(&mut writer).await?;
        let in_force = policy::in_force(&mut writer).await?.map(Arc::new);
        let (commands, queue) = mpsc::channel(QUEUE);
        let (news, news_of) = watch::channel(head);
        let (policies, policy) = watch::channel(in_force);
        tokio::spawn(writer::run(writer, queue, news, policies));
        Ok(Store { readers, commands, news: news_of, policy })
    }

    /// Runs a command in the writer's next transaction and gives its answer after the commit.
    pub async fn write<C: Command>(&self, command: C) -> Result<C::Answer, C::Error> {
        let (job, answer) = writer::queued(command);
        let stopped = || C::Error::from(StoreError::Stopped);
        self.commands.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Lends a connection for reading.
    pub async fn read(&self) -> Result<Guard, StoreError> {
        Ok(self.readers.acquire().await?)
    }

    /// Tells the newest number of the feed, after each commit that raised it.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.clone()
    }

    /// Tells those who wait for news what another process, such as the command line, has written.
    pub async fn look_around(&self) -> Result<(), StoreError> {
        if feed::head(&mut *self.read().await?).await? == *self.news.borrow() {
            return Ok(());
        }
        // Whatever it does, a transaction of the writer looks at the ends anew, and tells.
        self.write(Nothing).await
    }

    /// The policy in force.
    pub fn policy(&self) -> Option<Arc<Published>> {
        self.policy.borrow().clone()
    }
}

struct Nothing;

impl Command for Nothing {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, _tx: &mut Tx) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Makes a database file that only its owner reads. SQLite gives the files beside it the same mode.
fn make_file(path: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::File { path: path.display().to_string(), error })
        }
        _ => Ok(()),
    }
}

/// The default database of a data folder.
pub fn default_url(data: &Path) -> String {
    format!("sqlite:{}", data.join("holdgate.db").display())
}

/// A database address without the password that may stand in it.
fn without_secret(url: &str) -> String {
    let scheme = url.split(':').next().unwrap_or_default();
    format!("{scheme}:...")
}

/// SQLite's integers are signed; times and serials stay far below the border.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
