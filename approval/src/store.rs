//! Where everything is kept. SQL stands in the module of one database only; the rest of the service calls the
//! functions that this module hands on, so that a second database is a second module with the same functions.

mod sqlite;

pub use sqlite::{
    Connection, Guard, Store, Tx, access, attempts, audit, default_url, feed, holds, idempotency, ledger, people,
    policy, quotas,
};

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
    #[error("`{path}` cannot be made: {error}")]
    File { path: String, error: std::io::Error },
    #[error("the writer has stopped")]
    Stopped,
    #[error("`{url}` is not a database of this version; use `sqlite:FILE`{hint}")]
    Scheme { url: String, hint: &'static str },
}

/// Work of one writer: it reads and writes in one transaction, and its answer is given after the commit.
///
/// An error undoes all that the command wrote.
pub trait Command: Send + 'static {
    type Answer: Send + 'static;
    type Error: From<StoreError> + Send + 'static;

    fn run(self, tx: &mut Tx) -> impl Future<Output = Result<Self::Answer, Self::Error>> + Send;
}
