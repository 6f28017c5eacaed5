//! The one writer: takes all commands that wait, runs them in one transaction with a savepoint each, and answers after
//! the commit. One commit for many commands is what carries thousands of holds that arrive at once.

use std::{
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::Arc,
};

use holdgate_protocol::Hash;
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot, watch};

use super::{feed, ledger, policy};
use crate::{
    policy::Published,
    store::{Command, StoreError},
};

/// Commands in one transaction.
const BATCH: usize = 256;

/// The writer's transaction: queries run on it, and it knows the ends of the feed and of the ledger.
pub struct Tx {
    connection: SqliteConnection,
    pub(super) head: Head,
    pub(super) appended: Appended,
    /// Whether something was deleted that must not stay in the log either.
    pub(super) erases: bool,
}

/// What a transaction has appended to ledger and feed and not written yet. Nobody reads either inside a transaction.
#[derive(Default)]
pub(super) struct Appended {
    pub(super) entries: Vec<ledger::Entry>,
    pub(super) told: Vec<feed::Told>,
}

/// What the next entry goes on from.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) feed: u64,
    pub(super) ledger: u64,
    pub(super) ledger_hash: Hash,
    pub(super) policy: Option<Arc<Published>>,
}

impl Tx {
    /// The newest number of the feed.
    pub fn seq(&self) -> u64 {
        self.head.feed
    }

    /// The policy in force inside this transaction.
    pub fn policy(&self) -> Option<Arc<Published>> {
        self.head.policy.clone()
    }
}

impl Deref for Tx {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

/// A command whose type is forgotten.
pub(super) trait Job: Send {
    /// Runs it; says whether what it wrote stays.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

    /// Gives the answer, now that the transaction is through or lost.
    fn finish(self: Box<Self>, committed: bool);
}

struct Queued<C: Command> {
    command: Option<C>,
    answer: Option<Answer<C>>,
    reply: oneshot::Sender<Answer<C>>,
}

/// What a command comes to.
type Answer<C> = Result<<C as Command>::Answer, <C as Command>::Error>;

pub(super) fn queued<C: Command>(command: C) -> (Box<dyn Job>, oneshot::Receiver<Answer<C>>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Queued { command: Some(command), answer: None, reply }), answer)
}

impl<C: Command> Job for Queued<C> {
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async move {
            let Some(command) = self.command.take() else { return false };
            let answer = command.run(tx).await;
            let stays = answer.is_ok();
            self.answer = Some(answer);
            stays
        })
    }

    fn finish(self: Box<Self>, committed: bool) {
        let lost = || Err(C::Error::from(StoreError::Stopped));
        let answer = match self.answer {
            // A refusal wrote nothing: it stands whether or not the others were committed.
            Some(Err(error)) => Err(error),
            Some(Ok(answer)) if committed => Ok(answer),
            _ => lost(),
        };
        // Whoever asked may have gone; the work is done all the same.
        let _ = self.reply.send(answer);
    }
}

/// Runs commands until the last sender is gone.
pub(super) async fn run(
    connection: SqliteConnection,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    news: watch::Sender<u64>,
    policies: watch::Sender<Option<Arc<Published>>>,
) {
    let head = Head { feed: 0, ledger: 0, ledger_hash: Hash::of(b""), policy: policies.borrow().clone() };
    let mut tx = Tx { connection, head, appended: Appended::default(), erases: false };
    let mut jobs = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut jobs, BATCH).await > 0 {
        let committed = transaction(&mut tx, &mut jobs).await;
        if let Err(error) = &committed {
            tracing::error!(%error, commands = jobs.len(), "a transaction was lost");
            // The connection may be inside a transaction still, or outside already.
            let _ = statement(&mut tx, "ROLLBACK").await;
        }
        if committed.is_ok() {
            news.send_if_modified(|seq| std::mem::replace(seq, tx.head.feed) != tx.head.feed);
            policies.send_if_modified(|known| {
                let newer = known.as_ref().map(|p| p.reference.rev) != tx.head.policy.as_ref().map(|p| p.reference.rev);
                if newer {
                    known.clone_from(&tx.head.policy);
                }
                newer
            });
        }
        if std::mem::take(&mut tx.erases)
            && let Err(error) = statement(&mut tx, "PRAGMA wal_checkpoint(TRUNCATE)").await
        {
            tracing::warn!(%error, "what was deleted stays in the log until it is brought into the database");
        }
        jobs.drain(..).for_each(|job| job.finish(committed.is_ok()));
    }
}

/// One transaction for all jobs; a job that refuses is undone alone.
async fn transaction(tx: &mut Tx, jobs: &mut [Box<dyn Job>]) -> Result<(), sqlx::Error> {
    statement(tx, "BEGIN IMMEDIATE").await?;
    tx.appended = Appended::default();
    // The command line may have written since: the ends are read afresh under the lock.
    tx.head.feed = feed::head(tx).await.map_err(protocol)?;
    (tx.head.ledger, tx.head.ledger_hash) = ledger::head(tx).await.map_err(protocol)?;
    let known = tx.head.policy.as_ref().map(|published| &published.reference).cloned();
    if policy::reference_in_force(tx).await.map_err(protocol)? != known {
        tx.head.policy = policy::in_force(tx).await.map_err(protocol)?.map(Arc::new);
    }
    if let [job] = jobs {
        // Alone it needs no savepoint, which would have to remember each page that a large command changes.
        let before = tx.head.clone();
        if !job.run(tx).await {
            (tx.head, tx.erases) = (before, false);
            return statement(tx, "ROLLBACK").await;
        }
        return commit(tx).await;
    }
    for job in jobs {
        let (before, entries, told) = (tx.head.clone(), tx.appended.entries.len(), tx.appended.told.len());
        statement(tx, "SAVEPOINT command").await?;
        if !job.run(tx).await {
            statement(tx, "ROLLBACK TO command").await?;
            tx.head = before;
            tx.appended.entries.truncate(entries);
            tx.appended.told.truncate(told);
        }
        statement(tx, "RELEASE command").await?;
    }
    commit(tx).await
}

async fn commit(tx: &mut Tx) -> Result<(), sqlx::Error> {
    tx.write_entries().await.map_err(protocol)?;
    tx.write_told().await.map_err(protocol)?;
    statement(tx, "COMMIT").await
}

async fn statement(tx: &mut Tx, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(&mut tx.connection).await.map(|_| ())
}

fn protocol(error: StoreError) -> sqlx::Error {
    match error {
        StoreError::Database(error) => error,
        other => sqlx::Error::Protocol(other.to_string()),
    }
}
