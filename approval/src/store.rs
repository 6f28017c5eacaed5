//! Where everything is kept: SQLite inside the process, or PostgreSQL for several.
//!
//! The statements stand once, in SQL that both understand (`sql.rs` runs them). What a database does in its own way is
//! behind the trait [`Store`]: how it is opened, how a writer keeps others out, and how processes hear of each other.

pub mod access;
pub mod agents;
pub mod attempts;
pub mod audit;
pub mod changes;
pub mod directory;
pub mod feed;
pub mod figures;
pub mod holds;
pub mod idempotency;
pub mod keys;
pub mod ledger;
pub mod list;
pub mod marks;
pub mod notices;
pub mod opening;
pub mod people;
pub mod policy;
mod postgres;
pub mod quotas;
pub mod seen;
mod sql;
mod sqlite;
mod tail;
mod writer;

use std::{path::Path, sync::Arc};

use holdgate_protocol::ledger::MAX_LINE;
use tokio::sync::{mpsc, watch};

pub use sql::{Connection, Later, Row, Statement, Value};
pub use tail::Tail;
pub use writer::Tx;

use crate::{meters::Meters, policy::Published, sealing::SealError};

/// A database. Both pass the same tests: all of `tests/service` runs on each.
pub trait Store: Send + Sync + 'static {
    /// Opens a connection for a writer.
    fn writer(&self) -> Later<'_, Result<Connection, StoreError>>;

    /// Lends a connection for reading.
    fn reader(&self) -> Later<'_, Result<Connection, StoreError>>;

    /// Begins a transaction that overlaps with no other writer's, in this process or in any other.
    fn begin<'a>(&'a self, connection: &'a mut Connection) -> Later<'a, Result<(), StoreError>>;

    /// Tells other processes that something is new, when the transaction commits.
    fn announce<'a>(&'a self, connection: &'a mut Connection) -> Later<'a, Result<(), StoreError>>;

    /// Takes out of the files what was deleted, after the commit. `false`: not yet, since somebody reads it still.
    fn erase<'a>(&'a self, connection: &'a mut Connection) -> Later<'a, Result<bool, StoreError>>;

    /// Waits until another process says that something is new. A database without such news never comes back: it is looked at
    /// each second.
    fn heard(&self) -> Later<'_, ()>;

    /// What tells this database from a copy of it.
    fn identity<'a>(&'a self, connection: &'a mut Connection) -> Later<'a, Result<String, StoreError>>;

    /// Writes a copy of the database to a new file, while others go on writing.
    fn copy<'a>(&'a self, to: &'a Path) -> Later<'a, Result<(), StoreError>>;
}

/// Why the store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("the database answered: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database could not be brought to this version: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("`{0}` in the database is not what this version writes")]
    Corrupt(&'static str),
    #[error("a value could not be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("`{path}` cannot be made or locked: {error}")]
    File { path: String, error: std::io::Error },
    #[error("a text contains the character NUL, which cannot be kept")]
    Nul,
    #[error(
        "the entry `{kind}` of the ledger would have {bytes} bytes; there is room for {MAX_LINE}: change less at once, or use shorter names"
    )]
    TooLong { kind: &'static str, bytes: usize },
    #[error("what is sealed in the database cannot be opened: {0}")]
    Sealed(#[from] SealError),
    #[error("no key signs grants; make one with `holdgate-approval key rotate grant`")]
    NoGrantKey,
    #[error("`{path}` is there already; name another file")]
    Taken { path: String },
    #[error(
        "PostgreSQL is backed up with its own tools: `pg_dump --format=custom --file=FILE \"$HOLDGATE_DATABASE_URL\"`"
    )]
    OwnTools,
    #[error("the transaction was lost; nothing that it wrote stays, unless the commit itself was what was cut off")]
    Lost,
    #[error("what is counted cannot be set up: {0}")]
    Meters(#[from] prometheus::Error),
    #[error("the writer was busy for too long; nothing was done")]
    Late,
    #[error("the writer has stopped")]
    Stopped,
    #[error("`{url}` is no database of this service; use `sqlite:FILE` or `postgres://USER@HOST/NAME`")]
    Scheme { url: String },
}

/// Work of one writer: it reads and writes in one transaction, and its answer is given after the commit.
///
/// An error undoes all that the command wrote.
pub trait Command: Send + 'static {
    type Answer: Send + 'static;
    type Error: From<StoreError> + Send + 'static;

    /// Whether all that it writes as a rule are new holds ([`Tx::open`]), so that it needs no savepoint. Before it writes anything
    /// else, it calls [`Tx::flush`].
    const OPENS: bool = false;

    fn run(self, tx: &mut Tx) -> impl Future<Output = Result<Self::Answer, Self::Error>> + Send;
}

/// Commands that may wait for the writer; further ones wait to be let in.
const QUEUE: usize = 4096;

/// The open database. Clones share it; the writer stops when the last one is dropped.
#[derive(Clone)]
pub struct Database {
    store: Arc<dyn Store>,
    commands: mpsc::Sender<Box<dyn writer::Job>>,
    shared: Arc<Shared>,
}

/// What readers and the writer of one process have in common.
struct Shared {
    tail: Tail,
    meters: Meters,
    policy: watch::Sender<Option<Arc<Published>>>,
}

impl Database {
    /// Opens the database at `url` and brings it to this version. A SQLite file must be there unless `create` is set.
    pub async fn open(url: &str, create: bool) -> Result<Self, StoreError> {
        let store: Arc<dyn Store> = match url.split_once(':') {
            Some(("sqlite", _)) if !url.contains(":memory:") && !url.contains("mode=memory") => {
                Arc::new(sqlite::Sqlite::open(url, create).await?)
            }
            Some(("postgres" | "postgresql", _)) => Arc::new(postgres::Postgres::open(url).await?),
            _ => return Err(StoreError::Scheme { url: without_secret(url) }),
        };
        let mut connection = store.writer().await?;
        ledger::complete(&*store, &mut connection).await?;
        let head = feed::head(&mut connection).await?;
        let policy = policy::in_force(&mut connection).await?.map(Arc::new);
        let shared =
            Arc::new(Shared { tail: Tail::new(head), meters: Meters::new()?, policy: watch::Sender::new(policy) });
        let (commands, queue) = mpsc::channel(QUEUE);
        tokio::spawn(writer::run(store.clone(), connection, queue, shared.clone()));
        Ok(Database { store, commands, shared })
    }

    /// Runs a command in the writer's next transaction and gives its answer after the commit.
    pub async fn write<C: Command>(&self, command: C) -> Result<C::Answer, C::Error> {
        let (job, answer) = writer::queued(command);
        let stopped = || C::Error::from(StoreError::Stopped);
        self.commands.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Lends a connection for reading.
    pub async fn read(&self) -> Result<Connection, StoreError> {
        self.store.reader().await
    }

    /// What tells this database from a copy of it.
    pub async fn identity(&self) -> Result<String, StoreError> {
        self.store.identity(&mut self.read().await?).await
    }

    /// Writes a copy to a new file, while others go on writing.
    pub async fn copy(&self, to: &Path) -> Result<(), StoreError> {
        self.store.copy(to).await
    }

    /// The newest items of the feed, and who waits for more.
    pub fn tail(&self) -> &Tail {
        &self.shared.tail
    }

    /// What this process counts.
    pub fn meters(&self) -> &Meters {
        &self.shared.meters
    }

    /// The policy in force.
    pub fn policy(&self) -> Option<Arc<Published>> {
        self.shared.policy.borrow().clone()
    }

    /// Tells those who wait for news what another process, such as the command line, has written.
    pub async fn look_around(&self) -> Result<(), StoreError> {
        let mut connection = self.read().await?;
        self.shared.catch_up(&mut connection).await?;
        let known = self.policy().map(|known| known.reference.clone());
        if policy::reference_in_force(&mut connection).await? != known {
            self.shared.put_in_force(policy::in_force(&mut connection).await?.map(Arc::new));
        }
        Ok(())
    }

    /// Looks around whenever another process says that there is something new, until it is aborted.
    pub async fn listen(self) {
        loop {
            self.store.heard().await;
            if let Err(error) = self.look_around().await {
                tracing::error!(%error, "what another process wrote could not be read");
            }
        }
    }
}

impl Shared {
    /// Reads the items of the feed that are not in the tail yet.
    async fn catch_up(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let (known, head) = (self.tail.head(), feed::head(connection).await?);
        if head <= known {
            return Ok(());
        }
        let told = feed::told(connection, (known, head), tail::KEPT).await?;
        self.tail.add(known, told, head);
        Ok(())
    }

    /// A policy is followed by one with a higher serial only.
    fn put_in_force(&self, policy: Option<Arc<Published>>) {
        let serial = |policy: &Option<Arc<Published>>| policy.as_ref().map(|policy| policy.reference.serial);
        self.policy.send_if_modified(|known| {
            let newer = serial(&policy) > serial(known);
            if newer {
                known.clone_from(&policy);
            }
            newer
        });
    }
}

/// The default database of a data folder.
pub fn default_url(data: &Path) -> String {
    format!("sqlite:{}", data.join("holdgate.db").display())
}

/// Whether processes on several machines may share the database.
pub fn is_shared(url: &str) -> bool {
    !url.starts_with("sqlite:")
}

/// A database address without the password that may stand in it.
fn without_secret(url: &str) -> String {
    let scheme = url.split(':').next().unwrap_or_default();
    format!("{scheme}:...")
}
