//! PostgreSQL, which several instances of the service may share.

use std::{path::Path, str::FromStr as _, time::Duration};

use sqlx::{
    ConnectOptions as _, Executor as _, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::Mutex;

use super::{Connection, Later, Store, StoreError, sql::values};

/// Readers that may be at work at once in one instance.
const READERS: u32 = 8;

/// How long is waited for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// The pause before somebody listens anew, after the connection was lost.
const PAUSE: Duration = Duration::from_millis(500);

/// The lock of whoever writes: the words "Holdgate" in ASCII. It lasts as long as the transaction, and is the database's own.
const WRITER: &str = "SELECT pg_advisory_xact_lock(5219122283486049381)";

/// Where instances tell each other that something is new.
const CHANNEL: &str = "holdgate";

/// What holds for a writer. An answer means that the commit is on the disk; a writer that hangs inside its transaction, or
/// waits for one that does, gives up.
const SESSION: &str = "SET synchronous_commit = on; SET lock_timeout = '20s';
                       SET idle_in_transaction_session_timeout = '15s'; SET statement_timeout = '60s'";

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
        let mut connection = options.connect().await?;
        // It takes a lock of its own: instances that start at once do so one after the other.
        sqlx::migrate!("./migrations/postgres").run(&mut connection).await?;
        Ok(Postgres { options, readers, listener: Mutex::new(None) })
    }
}

impl Store for Postgres {
    fn writer(&self) -> Later<'_, Result<Connection, StoreError>> {
        Box::pin(async {
            let mut connection = self.options.connect().await?;
            connection.execute(SESSION).await?;
            Ok(Connection::new(connection))
        })
    }

    fn reader(&self) -> Later<'_, Result<Connection, StoreError>> {
        Box::pin(async { Ok(Connection::new(self.readers.acquire().await?)) })
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
                None => match self.listener().await {
                    // What came before somebody listened was not heard: look once.
                    Ok(listener) => return *place = Some(listener),
                    Err(error) => {
                        tracing::warn!(%error, "news of other instances cannot be listened for; they are looked for each second");
                        return tokio::time::sleep(PAUSE).await;
                    }
                },
            };
            if listener.recv().await.is_err() {
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
    async fn listener(&self) -> Result<PgListener, StoreError> {
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT);
        let mut listener = PgListener::connect_with(&pool.connect_lazy_with(self.options.clone())).await?;
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }
}
