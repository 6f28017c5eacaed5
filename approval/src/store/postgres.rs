//! PostgreSQL, which several instances of the service may share.

use std::{io, path::Path, str::FromStr as _, time::Duration};

use sqlx::{
    ConnectOptions as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{sync::Mutex, time::timeout};

use super::{
    Connection, Later, Store, StoreError,
    sql::{Row, Run, Statement, Value, values},
};

/// Readers that may be at work at once in one instance.
const READERS: u32 = 8;

/// How long is waited for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The pause before somebody listens anew, after the connection was lost.
const PAUSE: Duration = Duration::from_millis(500);

/// How long is waited for the answer to a statement. The server ends those that take longer than 30 seconds: one that has not said so by
/// then is gone, be it without a word.
const SILENCE: Duration = Duration::from_secs(40);

/// The lock of whoever writes: the words "Holdgate" in ASCII. It lasts as long as the transaction, and is the database's own.
const WRITER: &str = "SELECT pg_advisory_xact_lock(5219122283486049381)";

/// Where instances tell each other that something is new.
const CHANNEL: &str = "holdgate";

/// What holds for a writer. An answer means that the commit is on the disk; a writer that hangs inside its transaction, or
/// waits for one that does, gives up.
const SESSION: &str = "SET synchronous_commit = on; SET lock_timeout = '20s';
                       SET idle_in_transaction_session_timeout = '15s'; SET statement_timeout = '30s'";

/// The server's own number, that of the database and that of a table: `pg_restore` makes another database or another table.
const IDENTITY: &str =
    "SELECT system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
                        || '/' || 'keyring'::regclass::oid AS identity FROM pg_control_system()";

pub(super) struct Postgres {
    options: PgConnectOptions,
    readers: PgPool,
    listener: Mutex<Option<PgListener>>,
}

impl Postgres {
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)?.application_name("holdgate-approval");
        let options = options.options([("client_min_messages", "warning")]).disable_statement_logging();
        let pool = PgPoolOptions::new().max_connections(READERS).acquire_timeout(CONNECT);
        let readers = pool.connect_lazy_with(options.clone().options([("default_transaction_read_only", "on")]));
        let mut connection = connect(&options).await?;
        // It takes a lock of its own: instances that start at once do so one after the other.
        sqlx::migrate!("./migrations/postgres").run(&mut connection).await?;
        Ok(Postgres { options, readers, listener: Mutex::new(None) })
    }
}

impl Store for Postgres {
    fn writer(&self) -> Later<'_, Result<Connection, StoreError>> {
        Box::pin(async {
            let mut connection = connect(&self.options).await?;
            answered(CONNECT, sqlx::raw_sql(SESSION).execute(&mut connection)).await?;
            Ok(Connection::new(Patient::new(connection, drop)))
        })
    }

    fn reader(&self) -> Later<'_, Result<Connection, StoreError>> {
        Box::pin(async {
            let connection = self.readers.acquire().await?;
            // Given back, it would be asked whether it is well, and take up room until it answers.
            Ok(Connection::new(Patient::new(connection, |connection| drop(connection.detach()))))
        })
    }

    fn begin<'a>(&'a self, connection: &'a mut Connection) -> Later<'a, Result<(), StoreError>> {
        Box::pin(async {
            connection.execute("BEGIN", values![]).await?;
            connection.execute(WRITER, values![]).await.map(|_| ())
        })
    }

    fn announce<'a>(&'a self, connection: &'a mut Connection) -> Later<'a, Result<(), StoreError>> {
        Box::pin(async { connection.execute("NOTIFY holdgate", values![]).await.map(|_| ()) })
    }

    fn erase<'a>(&'a self, _connection: &'a mut Connection) -> Later<'a, Result<bool, StoreError>> {
        // Its own vacuum does so.
        Box::pin(async { Ok(true) })
    }

    fn heard(&self) -> Later<'_, ()> {
        Box::pin(async {
            let mut place = self.listener.lock().await;
            let listener = match &mut *place {
                Some(listener) => listener,
                None => match answered(SILENCE, self.listener()).await {
                    // What came before somebody listened was not heard: look once.
                    Ok(listener) => return *place = Some(listener),
                    Err(error) => {
                        tracing::warn!(%error, "news of other instances cannot be listened for; they are looked for each second");
                        return tokio::time::sleep(PAUSE).await;
                    }
                },
            };
            // Where nothing is heard for long, the connection may be gone: whoever looks once more loses nothing.
            if !matches!(timeout(SILENCE, listener.recv()).await, Ok(Ok(_))) {
                *place = None;
            }
        })
    }

    fn identity<'a>(&'a self, connection: &'a mut Connection) -> Later<'a, Result<String, StoreError>> {
        Box::pin(async { connection.one(IDENTITY, values![]).await?.text("identity") })
    }

    fn copy<'a>(&'a self, _to: &'a Path) -> Later<'a, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError::OwnTools) })
    }
}

impl Postgres {
    async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT);
        let mut listener = PgListener::connect_with(&pool.connect_lazy_with(self.options.clone())).await?;
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    Ok(answered(CONNECT, options.connect()).await?)
}

/// What a server answers in time. A host that vanishes closes no connection.
async fn answered<T>(limit: Duration, asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(limit, asked).await.unwrap_or_else(|_| Err(sqlx::Error::Io(silent())))
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server does not answer")
}

/// A connection that is given up where the server falls silent, or where nobody waits for its answer any more.
struct Patient<C> {
    connection: Option<C>,
    /// Whether a statement has no answer yet.
    asked: bool,
    abandon: fn(C),
}

impl<C> Patient<C> {
    fn new(connection: C, abandon: fn(C)) -> Self {
        Patient { connection: Some(connection), asked: false, abandon }
    }

    /// The connection for one more statement.
    fn ask(&mut self) -> Result<&mut C, sqlx::Error> {
        let free = self.connection.as_mut().filter(|_| !self.asked);
        self.asked = true;
        free.ok_or_else(|| sqlx::Error::Io(silent()))
    }

    fn heard<T>(&mut self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        self.asked = matches!(&answer, Err(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::TimedOut);
        answer
    }
}

impl<C> Drop for Patient<C> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take_if(|_| self.asked) {
            (self.abandon)(connection);
        }
    }
}

impl<C: Run> Run for Patient<C> {
    fn rows<'a>(&'a mut self, sql: Statement, values: Vec<Value<'a>>) -> Later<'a, Result<Vec<Row>, sqlx::Error>> {
        Box::pin(async move {
            let answer = answered(SILENCE, self.ask()?.rows(sql, values)).await;
            self.heard(answer)
        })
    }

    fn execute<'a>(&'a mut self, sql: Statement, values: Vec<Value<'a>>) -> Later<'a, Result<u64, sqlx::Error>> {
        Box::pin(async move {
            let answer = answered(SILENCE, self.ask()?.execute(sql, values)).await;
            self.heard(answer)
        })
    }
}
