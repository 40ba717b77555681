//! Taking triggers and notices over from trigger-svc: pull, commit, acknowledge.
//!
//! A batch and the position behind it are one commit, so that nothing is taken twice and nothing acknowledged is lost.
//! Intake waits a moment while `jobs.max_queue` jobs are in memory; if that does not help, the jobs of some services take long, and
//! what comes is only stored, so that the others go on. Half of `jobs.max_stored` jobs may wait in the ledger. Beyond that the service
//! with the most gives up those that it would run last ([`surplus`]): they become dead letters, which can be retried. A lone service
//! keeps nobody out, so it is held back instead; what comes then waits on trigger-svc's disk.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use ulid::Generator;
use wavs_ipc::contract::trigger_feed::{
    MAX_PULL_ITEMS, MAX_PULL_WAIT_MS, SpoolBatch, SpoolBody, SpoolCursor, SpoolItem, TriggerFeedClient,
};
use wavs_ipc::{Reconnecting, WireError};
use wavs_store::{Durability, fault};
use wavs_types::{ServiceId, TriggerAction};

use super::core::Core;
use super::execute::LEDGER_REST;
use super::share::surplus;
use crate::clock;
use crate::ledger::jobs::{self, JobRow, NewJob};
use crate::ledger::{Ending, counters, meta, signed};
use crate::registry::directory::Entry;

/// Triggers that wait for one held service; later ones are dropped and counted.
const MAX_HELD: u64 = 10_000;
/// Deadline of a pull: its wait, and time for the answer.
const PULL_DEADLINE: Duration = Duration::from_secs(30);
/// How long intake waits for room in memory before it only stores what comes.
const ROOM_PATIENCE: Duration = Duration::from_millis(250);
/// Rest of a lone service while as many jobs wait as may.
const WAITING_REST: Duration = Duration::from_millis(250);
/// Rest after a failed pull; the connection has a back-off of its own.
const PULL_REST: Duration = Duration::from_millis(100);
/// Deadline of an acknowledgement. A lost one is made up for by the next.
const ACK_DEADLINE: Duration = Duration::from_secs(5);

/// The reason of jobs that were given up.
const BACKLOG_FULL: &str = "backlog_full";

/// A notice about a service that the registry has to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriNotice {
    /// The service.
    pub service_id: ServiceId,
    /// The URI as announced.
    pub uri: String,
}

/// Takes triggers over until `stop`.
pub async fn run(
    core: Arc<Core>,
    feed: Reconnecting<TriggerFeedClient>,
    notices: mpsc::Sender<UriNotice>,
    stop: CancellationToken,
) {
    let mut intake = Intake {
        core,
        feed,
        notices,
        ulids: Generator::new(),
        only_stores: false,
        waiting: u64::MAX,
    };
    // A pull or a commit may be dropped at any moment: what was not committed is pulled again.
    let _ = stop.run_until_cancelled(intake.run()).await;
}

struct Intake {
    core: Arc<Core>,
    feed: Reconnecting<TriggerFeedClient>,
    notices: mpsc::Sender<UriNotice>,
    ulids: Generator,
    /// There was no room in memory, and none came soon.
    only_stores: bool,
    /// As many jobs wait in the ledger at most, but for those that are retried; not known before it is asked.
    waiting: u64,
}

impl Intake {
    async fn run(&mut self) {
        let mut cursor = loop {
            match self.core.ledger.read(meta::spool_cursor).await {
                Ok(cursor) => break cursor,
                Err(cause) => self.ledger_failed(&cause).await,
            }
        };
        loop {
            self.room().await;
            if self.core.ledger.is_stuck() {
                tokio::time::sleep(LEDGER_REST).await;
                continue;
            }
            match self.pull(cursor).await {
                Ok(batch) if batch.items.is_empty() => {}
                Ok(batch) => cursor = self.take(batch).await,
                Err(error) => {
                    tracing::debug!(%error, "triggers could not be pulled; trying again");
                    self.core.metrics.link_errors.with(&["trigger"]).inc();
                    tokio::time::sleep(PULL_REST).await;
                }
            }
        }
    }

    /// Waits until there is room for a batch: in memory, or at least in the ledger. There several services make room for each other.
    async fn room(&mut self) {
        let max_queue = self.core.settings.max_queue;
        if self.core.execute.depth() < max_queue {
            self.only_stores = false;
        } else if !self.only_stores {
            let room = self.core.execute.room(max_queue);
            self.only_stores = tokio::time::timeout(ROOM_PATIENCE, room).await.is_err();
        }
        let max_waiting = self.core.settings.max_waiting();
        while self.waiting >= max_waiting && self.is_alone() {
            match self.core.ledger.read(counters::backlog).await {
                Ok(waiting) if waiting >= max_waiting => tokio::time::sleep(WAITING_REST).await,
                Ok(waiting) => self.waiting = waiting,
                Err(cause) => self.ledger_failed(&cause).await,
            }
        }
    }

    /// Whether no service could be kept out by another.
    fn is_alone(&self) -> bool {
        self.core.directory.services().len() <= 1
    }

    async fn pull(&self, after: SpoolCursor) -> Result<SpoolBatch, WireError> {
        let room = self.core.settings.max_queue.saturating_sub(self.core.execute.depth());
        let max = match u32::try_from(room) {
            _ if self.only_stores => MAX_PULL_ITEMS,
            Ok(room) => room.clamp(1, MAX_PULL_ITEMS),
            Err(_) => MAX_PULL_ITEMS,
        };
        self.feed
            .call(PULL_DEADLINE, |client, cx| async move {
                client.pull(cx, after, max, MAX_PULL_WAIT_MS).await
            })
            .await
    }

    /// Commits a batch, wakes what it concerns, and acknowledges it.
    async fn take(&mut self, batch: SpoolBatch) -> SpoolCursor {
        let cursor = SpoolCursor {
            spool: batch.spool,
            seq: batch.items.last().map_or(0, |item| item.seq),
        };
        let items: Vec<Arrival> = batch.items.into_iter().map(|item| self.look_at(item)).collect();
        let items = Arc::new(items);
        let max_waiting = if self.is_alone() {
            // What a batch adds beyond the limit is waited for before the next one.
            u64::MAX
        } else {
            self.core.settings.max_waiting()
        };
        let stored = loop {
            let items = Arc::clone(&items);
            match self
                .core
                .ledger
                .write(Durability::Process, move |tx| store(tx, &items, cursor, max_waiting))
                .await
            {
                Ok(stored) => break stored,
                Err(cause) => self.ledger_failed(&cause).await,
            }
        };
        if items.iter().any(|item| matches!(item, Arrival::Orphaned(_))) {
            self.core.jobs.clear();
        }
        self.waiting = stored.waiting;
        for (service_id, jobs) in &stored.given_up {
            self.gave_up(service_id, jobs);
        }
        for (row, action) in stored.executable {
            let (job, service_id, bytes) = (row.job, row.service_id, row.action.len());
            // When there is room the rows are read again, also those that were committed meanwhile.
            let entry = self.core.directory.get(&service_id);
            if !entry.is_some_and(|entry| entry.room.is_full()) {
                self.core.jobs.give(job, (row, action), 2 * bytes);
                self.core.execute.push(service_id, job, None);
            }
        }
        // Resuming reads the rows again, but it may have done so before these were there.
        if items.iter().any(|item| self.is_resumed(item)) {
            self.core.execute.reload();
        }
        self.core.progressed();
        for item in items.iter() {
            if let Arrival::Notice(notice) = item {
                // The registry also reads every URI again from time to time, so a full queue only delays the update.
                if self.notices.try_send(notice.clone()).is_err() {
                    tracing::warn!(service_id = %notice.service_id, "too many service updates wait; this one is picked up by the periodic check");
                }
            }
        }
        let feed = self.feed.clone();
        tokio::spawn(async move {
            let acked = feed
                .call(ACK_DEADLINE, |client, cx| async move { client.ack(cx, cursor).await })
                .await;
            if let Err(error) = acked {
                tracing::debug!(%error, "an acknowledgement was lost; the next one covers it");
            }
        });
        cursor
    }

    /// Tells of jobs that became dead letters because too many wait, and forgets their rows in memory.
    fn gave_up(&self, service_id: &ServiceId, jobs: &[u128]) {
        for job in jobs {
            self.core.jobs.take(job);
        }
        self.core
            .metrics
            .dead_letters
            .with(&[BACKLOG_FULL])
            .add(jobs.len() as u64);
        tracing::warn!(%service_id, jobs = jobs.len(), reason = BACKLOG_FULL, "half of jobs.max_stored jobs wait, and this service has the most of them: its last ones became dead letters; retry them when fewer wait");
    }

    /// Turns an item into what is to be stored for it.
    fn look_at(&mut self, item: SpoolItem) -> Arrival {
        let seen_us = item.seen_at_ns / 1_000;
        match item.body {
            SpoolBody::Orphaned { source_key } => Arrival::Orphaned(source_key),
            SpoolBody::ServiceUri { service_id, uri, .. } => Arrival::Notice(UriNotice { service_id, uri }),
            SpoolBody::Trigger {
                source_key,
                action,
                event_id,
                injection,
            } => {
                let parsed: TriggerAction = match action.decode() {
                    Ok(parsed) => parsed,
                    Err(error) => {
                        tracing::error!(%error, source_key, "trigger-svc delivered a trigger that cannot be read; dropped");
                        self.core.metrics.dropped.with(&["unreadable"]).inc();
                        return Arrival::Nothing;
                    }
                };
                let service_id = parsed.config.service_id;
                let Some(entry) = self.core.directory.get(&service_id) else {
                    self.core.metrics.dropped.with(&["removed"]).inc();
                    return Arrival::Nothing;
                };
                // Within one millisecond the generator counts up; if it overflows, a fresh id is still unique.
                let job = self.ulids.generate().unwrap_or_else(|_| ulid::Ulid::generate()).0;
                let (workflow_id, trigger_kind) = (
                    parsed.config.workflow_id.clone(),
                    parsed.config.trigger.kind().to_owned(),
                );
                Arrival::Job {
                    skip: skip(&entry, &parsed),
                    held: entry.is_held(),
                    parsed: Box::new(parsed),
                    job: Box::new(NewJob {
                        job,
                        service_id,
                        workflow_id,
                        service_digest: entry.digest(),
                        trigger_kind,
                        source_key,
                        injection,
                        action: action.into_text(),
                        event_id,
                        seen_us,
                    }),
                }
            }
        }
    }

    /// Whether an item was to be held, and its service runs by now.
    fn is_resumed(&self, item: &Arrival) -> bool {
        let Arrival::Job { job, held: true, .. } = item else {
            return false;
        };
        let entry = self.core.directory.get(&job.service_id);
        entry.is_some_and(|entry| entry.is_running())
    }

    async fn ledger_failed(&self, cause: &wavs_store::StoreError) {
        tracing::error!(%cause, "intake is stopped by the ledger; triggers wait in trigger-svc");
        tokio::time::sleep(LEDGER_REST).await;
    }
}

/// What an item of the spool comes to.
enum Arrival {
    Job {
        job: Box<NewJob>,
        parsed: Box<TriggerAction>,
        skip: Option<Ending>,
        held: bool,
    },
    Orphaned(String),
    Notice(UriNotice),
    Nothing,
}

/// Why a trigger is stored but not run.
fn skip(entry: &Entry, action: &TriggerAction) -> Option<Ending> {
    if entry.is_paused() && !entry.is_held() {
        return Some(Ending::skipped(
            "paused",
            "the service was paused when the trigger came",
        ));
    }
    (!entry.service().workflows.contains_key(&action.config.workflow_id))
        .then(|| Ending::skipped("removed", "the service has no such workflow any more"))
}

/// What a batch led to.
struct Stored {
    /// Jobs that are to be run.
    executable: Vec<(JobRow, TriggerAction)>,
    /// Jobs of this batch or before that were given up, by service.
    given_up: Vec<(ServiceId, Vec<u128>)>,
    /// Jobs that wait now.
    waiting: u64,
}

/// Stores a batch and the position behind it. As many jobs as there are then more than `max_waiting` are given up.
fn store(tx: &Connection, items: &[Arrival], cursor: SpoolCursor, max_waiting: u64) -> rusqlite::Result<Stored> {
    let now_us = clock::now_us();
    let before = counters::backlog(tx)?;
    let mut executable = Vec::new();
    for item in items {
        match item {
            Arrival::Orphaned(source_key) => {
                jobs::orphan(tx, source_key, now_us)?;
            }
            Arrival::Job {
                job,
                parsed,
                skip,
                held,
            } => {
                if !jobs::insert(tx, job, now_us)? {
                    continue;
                }
                fault::point("intake.stored");
                if let Some(ending) = skip {
                    jobs::end(tx, job.job, ending, now_us)?;
                } else if job.injection.is_none() && signed::any(tx, &job.event_id)? {
                    // The job was forgotten after its retention, the signature never is.
                    let detail = format!("event {} was signed before", job.event_id);
                    jobs::end(tx, job.job, &Ending::skipped("duplicate", detail), now_us)?;
                } else if *held {
                    if counters::received(tx, &job.service_id)? > MAX_HELD {
                        let detail = format!("the service is held, and {MAX_HELD} triggers wait for it already");
                        jobs::end(tx, job.job, &Ending::skipped("paused", detail), now_us)?;
                    }
                } else {
                    executable.push((JobRow::stored(job, now_us), TriggerAction::clone(parsed)));
                }
            }
            Arrival::Notice(_) | Arrival::Nothing => {}
        }
    }
    // What was too much before (the limit may be a new one) does not cost this batch.
    let excess = counters::backlog(tx)?.saturating_sub(max_waiting.max(before));
    let given_up = give_up(tx, excess, max_waiting, now_us)?;
    let gone: HashSet<u128> = given_up.iter().flat_map(|(_, jobs)| jobs).copied().collect();
    executable.retain(|(row, _)| !gone.contains(&row.job));
    meta::set_spool_cursor(tx, cursor)?;
    fault::point("intake.cursor");
    Ok(Stored {
        executable,
        given_up,
        waiting: counters::backlog(tx)?,
    })
}

/// Ends so many waiting jobs, always of the service with the most.
fn give_up(
    tx: &Connection,
    excess: u64,
    max_waiting: u64,
    now_us: u64,
) -> rusqlite::Result<Vec<(ServiceId, Vec<u128>)>> {
    let detail = format!(
        "{max_waiting} jobs, half of jobs.max_stored, wait for their runs, and this service has the most of them; retry when fewer wait"
    );
    let ending = Ending::failed(BACKLOG_FULL, detail);
    let mut given_up = Vec::new();
    for (service, count) in surplus(counters::waiting(tx)?, excess) {
        given_up.push((service, jobs::give_up(tx, &service, count, &ending, now_us)?));
        fault::point("intake.given_up");
    }
    Ok(given_up)
}
