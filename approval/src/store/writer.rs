//! The one writer: takes all commands that wait, runs them in one transaction, undoes alone what a command that refuses has
//! written, and answers after the commit. One commit for many commands is what carries thousands of holds that arrive at once.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use holdgate_protocol::{
    Hash,
    merkle::{Frontier, Node},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Command, Connection, Later, Shared, Store, StoreError, feed, ledger, opening::Opening, policy, sql::values,
    tail::Told,
};
use crate::policy::Published;

/// Commands in one transaction.
const BATCH: usize = 256;

/// How long a command may wait for its turn. Commands know the time at which they were asked, and judge by it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The writer's transaction: queries run on it, and it knows the ends of the feed and of the ledger.
pub struct Tx {
    connection: Connection,
    pub(super) head: Head,
    pub(super) appended: Appended,
    pub(super) opening: Opening,
    /// Whether something was deleted that must not stay in the files either.
    pub(super) erases: bool,
    undo: Undo,
    /// Whether a statement failed of which it is not known whose it was: nothing of the transaction may stay.
    broken: bool,
}

/// How what a command has written is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// It has written nothing: what it appended or opened is forgotten.
    Nothing,
    Savepoint,
    /// It is alone, and needs no savepoint, which would have to remember each page that a large command changes.
    Transaction,
}

/// How far a transaction was when a command began.
struct Mark {
    head: Head,
    erases: bool,
    opened: usize,
    entries: usize,
    nodes: usize,
    told: usize,
    waits: usize,
}

/// What a transaction has appended to ledger and feed and not written yet. Nobody reads either inside a transaction.
#[derive(Default)]
pub(super) struct Appended {
    pub(super) entries: Vec<ledger::Entry>,
    pub(super) nodes: Vec<(Node, Hash)>,
    pub(super) told: Vec<Told>,
    /// How many entries of each kind were written.
    kinds: BTreeMap<String, u64>,
    /// How long holds that were decided had waited, in seconds.
    waits: Vec<u64>,
    /// Up to which number the feed was forgotten.
    pub(super) pruned: u64,
}

/// What the next entry goes on from.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) feed: u64,
    pub(super) tree: Frontier,
    pub(super) policy: Option<Arc<Published>>,
}

impl Tx {
    fn new(connection: Connection, policy: Option<Arc<Published>>) -> Self {
        let head = Head { feed: 0, tree: Frontier::default(), policy };
        let (appended, opening) = Default::default();
        Tx { connection, head, appended, opening, erases: false, undo: Undo::Nothing, broken: false }
    }

    /// Writes what was opened in this transaction, and sees to it that a refusal undoes what is written from here on. Commands
    /// that only open call it before they look for what others may have opened, or write anything themselves.
    pub async fn flush(&mut self) -> Result<(), StoreError> {
        let begun = self.begin_to_write().await;
        // What others have opened is lost, and not with the command alone.
        self.broken |= begun.is_err();
        begun
    }

    async fn begin_to_write(&mut self) -> Result<(), StoreError> {
        self.write_opened().await?;
        if self.undo == Undo::Nothing {
            statement(self, "SAVEPOINT command").await?;
            self.undo = Undo::Savepoint;
        }
        Ok(())
    }

    fn mark(&self) -> Mark {
        let Appended { entries, nodes, told, waits, .. } = &self.appended;
        Mark {
            head: self.head.clone(),
            erases: self.erases,
            opened: self.opening.len(),
            entries: entries.len(),
            nodes: nodes.len(),
            told: told.len(),
            waits: waits.len(),
        }
    }

    /// Goes back to where a command began that refused.
    fn forget_since(&mut self, mark: Mark) {
        (self.head, self.erases) = (mark.head, mark.erases);
        self.opening.truncate(mark.opened);
        self.appended.entries.truncate(mark.entries);
        self.appended.nodes.truncate(mark.nodes);
        self.appended.told.truncate(mark.told);
        self.appended.waits.truncate(mark.waits);
    }

    /// The newest number of the feed.
    pub fn seq(&self) -> u64 {
        self.head.feed
    }

    /// Counts a hold that was decided after so many seconds.
    pub fn count_wait(&mut self, seconds: u64) {
        self.appended.waits.push(seconds);
    }

    /// The policy in force inside this transaction.
    pub fn policy(&self) -> Option<Arc<Published>> {
        self.head.policy.clone()
    }
}

impl Deref for Tx {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// A command whose type is forgotten.
pub(super) trait Job: Send {
    /// Whether it only opens ([`Command::OPENS`]).
    fn opens(&self) -> bool;

    /// Runs it; says whether what it wrote stays.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> Later<'a, bool>;

    /// Gives the answer, now that the transaction is through or lost.
    fn finish(self: Box<Self>, committed: bool);
}

struct Queued<C: Command> {
    command: Option<C>,
    /// When it was given to the writer.
    since: Instant,
    answer: Option<Answer<C>>,
    reply: oneshot::Sender<Answer<C>>,
}

/// What a command comes to.
type Answer<C> = Result<<C as Command>::Answer, <C as Command>::Error>;

pub(super) fn queued<C: Command>(command: C) -> (Box<dyn Job>, oneshot::Receiver<Answer<C>>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Queued { command: Some(command), since: Instant::now(), answer: None, reply }), answer)
}

impl<C: Command> Job for Queued<C> {
    fn opens(&self) -> bool {
        C::OPENS
    }

    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> Later<'a, bool> {
        Box::pin(async move {
            // Whoever asked may have gone: what nobody hears of is not done, such as an approval that is used up.
            let Some(command) = self.command.take().filter(|_| !self.reply.is_closed()) else { return false };
            let late = self.since.elapsed() >= PATIENCE;
            let answer = if late { Err(StoreError::Late.into()) } else { command.run(tx).await };
            let stays = answer.is_ok();
            self.answer = Some(answer);
            stays
        })
    }

    fn finish(self: Box<Self>, committed: bool) {
        let lost = || Err(C::Error::from(StoreError::Lost));
        let answer = match self.answer {
            // A refusal wrote nothing: it stands whether or not the others were committed.
            Some(Err(error)) => Err(error),
            Some(Ok(answer)) if committed => Ok(answer),
            _ => lost(),
        };
        // Whoever asked may have gone since.
        let _ = self.reply.send(answer);
    }
}

/// Runs commands until the last sender is gone.
pub(super) async fn run(
    store: Arc<dyn Store>,
    connection: Connection,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    shared: Arc<Shared>,
) {
    let mut present = Some(Tx::new(connection, shared.policy.borrow().clone()));
    let mut jobs = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut jobs, BATCH).await > 0 {
        let begun = Instant::now();
        let open = match present.take() {
            Some(tx) => Ok(tx),
            None => store.writer().await.map(|connection| Tx::new(connection, shared.policy.borrow().clone())),
        };
        let committed = match open {
            Err(error) => Err(error),
            Ok(mut tx) => match transaction(&*store, &mut tx, &mut jobs).await {
                Ok(()) => {
                    told(&shared, &mut tx).await;
                    present = Some(tx);
                    Ok(())
                }
                // The connection may be inside the transaction still: with it ends what it has left, and a new one is opened.
                Err(error) => Err(error),
            },
        };
        shared.meters.transaction(begun.elapsed());
        if let Err(error) = &committed {
            tracing::error!(%error, commands = jobs.len(), "a transaction was lost");
        }
        jobs.drain(..).for_each(|job| job.finish(committed.is_ok()));
        if let Some(tx) = present.as_mut().filter(|tx| tx.erases) {
            erase(&*store, tx).await;
        }
    }
}

/// Lets readers know what was committed.
async fn told(shared: &Shared, tx: &mut Tx) {
    let Appended { told, pruned, kinds, waits, .. } = std::mem::take(&mut tx.appended);
    kinds.iter().for_each(|(kind, count)| shared.meters.event(kind, *count));
    waits.into_iter().for_each(|seconds| shared.meters.decided(seconds));
    let known = told.first().map_or(tx.head.feed, |first| first.seq - 1);
    if known > shared.tail.head() {
        // Another process wrote in between.
        if let Err(error) = shared.catch_up(&mut tx.connection).await {
            tracing::error!(%error, "what another process wrote could not be read");
        }
    } else {
        shared.tail.add(known, told, tx.head.feed);
    }
    shared.tail.forget(pruned);
    shared.put_in_force(tx.head.policy.clone());
}

async fn erase(store: &dyn Store, tx: &mut Tx) {
    match store.erase(&mut tx.connection).await {
        // Otherwise it is tried again after the next commit.
        Ok(done) => tx.erases = !done,
        Err(error) => tracing::warn!(%error, "what was deleted stays in the log until it is brought into the database"),
    }
}

/// One transaction for all jobs; a job that refuses is undone alone.
async fn transaction(store: &dyn Store, tx: &mut Tx, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    store.begin(tx).await?;
    (tx.appended, tx.opening, tx.broken) = Default::default();
    // Another process may have written since: the ends are read afresh under the lock.
    tx.head.feed = feed::head(tx).await?;
    tx.look_at_ledger().await?;
    let known = tx.head.policy.as_ref().map(|published| &published.reference).cloned();
    if policy::reference_in_force(tx).await? != known {
        tx.head.policy = policy::in_force(tx).await?.map(Arc::new);
    }
    let alone = jobs.len() == 1;
    for job in jobs {
        let mark = tx.mark();
        tx.undo = if alone { Undo::Transaction } else { Undo::Nothing };
        if !job.opens() {
            tx.flush().await?;
        }
        let stays = job.run(tx).await;
        if tx.broken {
            return Err(StoreError::Lost);
        }
        if !stays {
            tx.forget_since(mark);
        }
        match (tx.undo, stays) {
            (Undo::Nothing | Undo::Transaction, true) => {}
            // Where it was the database that refused, PostgreSQL takes no further statement, and ends in silence with nothing kept.
            (Undo::Nothing, false) => statement(tx, "SELECT 1").await?,
            (Undo::Transaction, false) => return statement(tx, "ROLLBACK").await,
            (Undo::Savepoint, stays) => {
                if !stays {
                    statement(tx, "ROLLBACK TO command").await?;
                }
                statement(tx, "RELEASE command").await?;
            }
        }
        if tx.undo != Undo::Nothing {
            tx.opening.forget();
        }
    }
    commit(store, tx).await
}

async fn commit(store: &dyn Store, tx: &mut Tx) -> Result<(), StoreError> {
    tx.write_opened().await?;
    for entry in &tx.appended.entries {
        *tx.appended.kinds.entry(entry.kind.clone()).or_default() += 1;
    }
    tx.write_entries().await?;
    tx.write_told().await?;
    if !tx.appended.told.is_empty() {
        store.announce(tx).await?;
    }
    statement(tx, "COMMIT").await
}

async fn statement(tx: &mut Tx, sql: &'static str) -> Result<(), StoreError> {
    tx.execute(sql, values![]).await.map(|_| ())
}
