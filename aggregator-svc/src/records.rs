//! The `Records` contract: what the ledger has on record, and the decisions about dead letters.

use std::sync::Arc;

use tarpc::context::Context;
use wavs_ipc::contract::records::{
    DeadLetter, DeadLetterQuery, ExecutionQuery, ExecutionView, HistoryEntry, QuorumQuery, QuorumView,
    Records as RecordsContract, RetryDeadLetters, ServiceProgress, TransactionQuery, TransactionView,
};
use wavs_ipc::{ErrorCode, WireError};
use wavs_store::Durability;
use wavs_types::ServiceId;

use crate::clock;
use crate::ledger::dead_letters::{self, Deadlines, Due};
use crate::ledger::{counters, executions, history, outbox, quorums};
use crate::pipeline::core::{AggregatorWork, Core};
use crate::pipeline::runs::Kind;
use crate::registry::ledger_failed;

/// Serves the contract.
#[derive(Clone)]
pub struct RecordsService {
    core: Arc<Core>,
}

impl RecordsService {
    /// A server over the ledger.
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn read<T, F>(&self, query: F) -> Result<T, WireError>
    where
        F: FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        self.core.ledger.read(query).await.map_err(ledger_failed)
    }

    /// Wakes the lane that a row is for.
    fn wake(&self, due: Due) {
        match due {
            Due::Job(service, job) => self.core.execute.push(service, job, None),
            Due::Input(service, event_id, digest) => {
                self.core
                    .aggregate
                    .push(service, AggregatorWork::Input(event_id, digest), None);
            }
            Due::Target(service, target) => self.core.submit.push(service, target, None),
        }
    }
}

fn no_dead_letter(job: u128) -> WireError {
    let text = format!(
        "job {} is not among the dead letters: it did not fail, or it was retried or dropped already",
        ulid::Ulid(job)
    );
    WireError::never(ErrorCode::NotFound, text)
}

impl RecordsContract for RecordsService {
    async fn executions(self, _: Context, query: ExecutionQuery) -> Result<Vec<ExecutionView>, WireError> {
        self.read(move |conn| executions::list(conn, &query)).await
    }

    async fn dead_letters(self, _: Context, query: DeadLetterQuery) -> Result<Vec<DeadLetter>, WireError> {
        self.read(move |conn| dead_letters::list(conn, &query)).await
    }

    async fn retry_dead_letters(self, _: Context, request: RetryDeadLetters) -> Result<u32, WireError> {
        let (core, job) = (Arc::clone(&self.core), request.job);
        let retried = self
            .core
            .ledger
            .write(Durability::Process, move |tx| {
                let deadlines = |service: &ServiceId| {
                    core.directory.get(service).map(|_| Deadlines {
                        collect_ms: clock::ms_after(core.settings.collect_ttl(service)),
                        submit_ms: clock::ms_after(core.settings.submit_ttl(service)),
                    })
                };
                let max_waiting = core.settings.max_waiting();
                dead_letters::retry(tx, &request, deadlines, max_waiting, clock::now_us())
            })
            .await
            .map_err(ledger_failed)?;
        if retried.jobs == 0 && retried.beyond > 0 {
            let text = format!(
                "{} jobs, half of jobs.max_stored, wait for their runs, and no more may; retry when fewer wait",
                self.core.settings.max_waiting()
            );
            return Err(WireError::backoff(ErrorCode::Busy, text));
        }
        if let Some(job) = job.filter(|_| retried.jobs == 0) {
            if retried.orphans == 0 {
                return Err(no_dead_letter(job));
            }
            let text = format!(
                "conflict: the service of job {} is not registered; register it again, then retry",
                ulid::Ulid(job)
            );
            return Err(WireError::never(ErrorCode::Conflict, text));
        }
        tracing::info!(
            jobs = retried.jobs,
            skipped = retried.orphans + retried.beyond,
            "dead letters are tried again"
        );
        for due in retried.due {
            self.wake(due);
        }
        Ok(retried.jobs)
    }

    async fn drop_dead_letter(self, _: Context, job: u128) -> Result<(), WireError> {
        let dropped = self
            .core
            .ledger
            .write(Durability::Process, move |tx| {
                dead_letters::dismiss(tx, job, clock::now_ms())
            })
            .await
            .map_err(ledger_failed)?;
        if dropped { Ok(()) } else { Err(no_dead_letter(job)) }
    }

    async fn quorums(self, _: Context, query: QuorumQuery) -> Result<Vec<QuorumView>, WireError> {
        self.read(move |conn| quorums::list(conn, &query)).await
    }

    async fn transactions(self, _: Context, query: TransactionQuery) -> Result<Vec<TransactionView>, WireError> {
        self.read(move |conn| outbox::list(conn, &query)).await
    }

    async fn history(
        self,
        _: Context,
        service_id: ServiceId,
        before: Option<u64>,
        max: u32,
    ) -> Result<Vec<HistoryEntry>, WireError> {
        self.read(move |conn| history::list(conn, &service_id, before, max))
            .await
    }

    async fn progress(self, _: Context, service_id: ServiceId) -> Result<ServiceProgress, WireError> {
        let entry = self.core.directory.get(&service_id).ok_or_else(|| {
            let text =
                format!("Service ID {service_id} has not been set on the http server: it is not registered here");
            WireError::never(ErrorCode::NotFound, text)
        })?;
        let (workflows, received, last_update) = self
            .read(move |conn| {
                Ok((
                    counters::of_service(conn, &service_id)?,
                    counters::received(conn, &service_id)?,
                    history::last_update(conn, &service_id)?,
                ))
            })
            .await?;
        let jobs = entry.runs.under_way(Kind::Operator);
        let running = jobs + entry.runs.under_way(Kind::Aggregator);
        let waiting = received.saturating_sub(jobs);
        let runs = entry.is_running() && !entry.room.is_full();
        let (pending, held) = if runs { (waiting, 0) } else { (0, waiting) };
        Ok(ServiceProgress {
            workflows,
            pending,
            running,
            held,
            last_update,
        })
    }
}
