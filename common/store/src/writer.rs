//! The one writer and its group commit.
//!
//! A dedicated thread owns the write connection. It takes all closures that wait, runs them in one SQL transaction, each in
//! its own savepoint so that one failure does not undo the others, commits once, and only then answers every caller.
//! A commit that reaches the disk costs milliseconds; sharing it keeps hundreds of jobs a second possible.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::StoreError;
use crate::fault;
use crate::health::Health;

/// Closures that wait for the writer thread. When the queue is full, callers of [`Writer::write`] wait.
const QUEUE: usize = 1024;

/// Most closures in one commit, so that a burst does not delay its first answer without limit.
const MAX_BATCH: usize = 256;

/// What an answered write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// A kill of the process at any moment. Takes microseconds.
    Process,
    /// Loss of power as well: the disk has confirmed the commit. Takes milliseconds.
    Power,
}

/// Hands closures to the writer thread. Clones share it.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    health: watch::Receiver<Health>,
}

struct Job {
    durability: Durability,
    work: Work,
}

/// Runs in the shared transaction, or learns why there is none.
type Work = Box<dyn FnOnce(Result<&Transaction<'_>, Undone>) -> Ran + Send>;

/// A closure that has run but is not committed yet.
struct Ran {
    /// Whether its changes are to stay.
    keep: bool,
    answer: Answer,
}

/// Tells the caller, given how the commit went.
type Answer = Box<dyn FnOnce(Result<(), Undone>) + Send>;

/// Why a whole batch took no effect.
#[derive(Clone)]
enum Undone {
    /// The transaction could not be begun or committed.
    Failed(Arc<rusqlite::Error>),
    /// SQLite undid the transaction because of one statement in it.
    ByAnother,
}

impl From<rusqlite::Error> for Undone {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Failed(Arc::new(cause))
    }
}

impl From<Undone> for StoreError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Failed(cause) => Self::commit(&cause),
            Undone::ByAnother => Self::RolledBack,
        }
    }
}

impl Writer {
    pub(crate) fn start(connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (told, health) = watch::channel(Health::Working);
        let thread = Thread {
            connection,
            synchronous: None,
            health: told,
            suspect: false,
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || thread.run(queue))
            .map_err(|source| StoreError::Prepare {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self { jobs, health })
    }

    /// Whether writes reach the disk. Changes with the commit that tells.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Runs `change` in a transaction and answers after it is committed with at least `durability`.
    /// An error from `change` undoes exactly its own statements. A change that was queued is executed even if the caller goes away.
    ///
    /// # Errors
    /// What `change` returns; [`StoreError::Full`] and the other store errors when the commit fails, in which case nothing was changed.
    pub async fn write<T, E, F>(&self, durability: Durability, change: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job = Job {
            durability,
            work: Box::new(move |transaction| run(transaction, change, sender)),
        };
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        receiver.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }
}

/// Runs one closure and keeps its result back until the commit.
fn run<T, E, F>(transaction: Result<&Transaction<'_>, Undone>, change: F, caller: oneshot::Sender<Result<T, E>>) -> Ran
where
    F: FnOnce(&Transaction<'_>) -> Result<T, E>,
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let result = match transaction {
        Ok(transaction) => {
            catch_unwind(AssertUnwindSafe(|| change(transaction))).unwrap_or_else(|_| Err(StoreError::Panicked.into()))
        }
        Err(undone) => Err(StoreError::from(undone).into()),
    };
    Ran {
        keep: result.is_ok(),
        answer: Box::new(move |committed| {
            // The error of the closure tells more than that of the commit. A caller that went away needs no answer.
            let _ = caller.send(result.and_then(|value| {
                committed
                    .map(|()| value)
                    .map_err(|undone| StoreError::from(undone).into())
            }));
        }),
    }
}

/// Runs a statement that is the same for every change; kept prepared, because parsing it costs more than running it.
fn step(transaction: &Transaction<'_>, sql: &'static str) -> rusqlite::Result<()> {
    transaction.prepare_cached(sql)?.execute([]).map(drop)
}

struct Thread {
    connection: Connection,
    /// The `synchronous` setting in force; it survives commits, so it is only changed when the next batch needs another.
    synchronous: Option<Durability>,
    health: watch::Sender<Health>,
    /// A commit met an I/O error. What the kernel kept of the write-ahead log is not known then, so it is copied into the
    /// database and flushed before anything else is written behind it.
    suspect: bool,
}

impl Thread {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        loop {
            let Some(first) = queue.blocking_recv() else {
                return;
            };
            batch.push(first);
            while batch.len() < MAX_BATCH {
                let Ok(next) = queue.try_recv() else { break };
                batch.push(next);
            }
            self.serve(&mut batch);
        }
    }

    fn serve(&mut self, batch: &mut Vec<Job>) {
        let durability = batch
            .iter()
            .map(|job| job.durability)
            .max()
            .unwrap_or(Durability::Process);
        let mut answers = Vec::with_capacity(batch.len());
        let committed = self.commit(durability, batch, &mut answers);
        fault::point("writer.committed");
        self.note(&committed);
        let committed = committed.map(|_| ());
        if let Err(undone) = &committed {
            tracing::error!(writes = answers.len() + batch.len(), error = %StoreError::from(undone.clone()), "database commit failed");
            answers.extend(batch.drain(..).map(|job| (job.work)(Err(undone.clone())).answer));
        }
        for answer in answers {
            answer(committed.clone());
        }
        fault::point("writer.answered");
    }

    /// Tells what a commit says about the disk. A damaged file stays damaged, whatever still works.
    fn note(&mut self, committed: &Result<bool, Undone>) {
        let health = match committed {
            Ok(true) => Some(Health::Working),
            // A lone change failed by itself, so that nothing was tried.
            Ok(false) => None,
            Err(Undone::Failed(cause)) => Health::of(cause),
            // SQLite undoes a transaction by itself when it has no room or no answer from the disk.
            Err(Undone::ByAnother) => Some(Health::Failing("a transaction was undone".to_owned())),
        };
        let Some(health) = health else { return };
        self.suspect |= matches!(health, Health::Failing(_));
        self.health.send_if_modified(|told| {
            let changes = *told != health && !matches!(told, Health::Damaged(_));
            if changes {
                *told = health;
            }
            changes
        });
    }

    /// Brings everything that is in the write-ahead log to the database and to the disk.
    fn settle(&mut self) -> Result<(), Undone> {
        if !self.suspect {
            return Ok(());
        }
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
            .map(|busy| self.suspect = busy)
            .map_err(Undone::from)
    }

    /// Runs the batch in one transaction and commits it; false: there was nothing to commit. Jobs that were not run stay in
    /// `batch`.
    fn commit(
        &mut self,
        durability: Durability,
        batch: &mut Vec<Job>,
        answers: &mut Vec<Answer>,
    ) -> Result<bool, Undone> {
        self.settle()?;
        self.set_synchronous(durability)?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let alone = batch.len() == 1;
        for job in batch.drain(..) {
            // A lone change needs no savepoint: its failure undoes the whole transaction.
            if !alone {
                step(&transaction, "SAVEPOINT change")?;
            }
            let ran = (job.work)(Ok(&transaction));
            fault::point("writer.ran");
            answers.push(ran.answer);
            // Some failures, such as a full disk, make SQLite undo the whole transaction on its own.
            if transaction.is_autocommit() {
                return Err(Undone::ByAnother);
            }
            match (alone, ran.keep) {
                (true, true) => {}
                (true, false) => return transaction.rollback().map(|()| false).map_err(Undone::from),
                (false, true) => step(&transaction, "RELEASE change")?,
                (false, false) => {
                    step(&transaction, "ROLLBACK TO change")?;
                    step(&transaction, "RELEASE change")?;
                }
            }
        }
        fault::point("writer.before_commit");
        transaction.commit().map(|()| true).map_err(Undone::from)
    }

    fn set_synchronous(&mut self, durability: Durability) -> Result<(), Undone> {
        if self.synchronous == Some(durability) {
            return Ok(());
        }
        let level = match durability {
            Durability::Process => "NORMAL",
            Durability::Power => "FULL",
        };
        self.connection.pragma_update(None, "synchronous", level)?;
        self.synchronous = Some(durability);
        Ok(())
    }
}
