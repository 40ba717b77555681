//! Running the operator component of a job, at least once, until it gives a result or fails for good.
//!
//! The attempt number is in the ledger before engine-svc is called: the first rides in the intake commit, each further one
//! is committed with the reason for the repeat. After `MAX_DEATHS` deaths of engine-svc, the last of them in runs by itself
//! ([`trial`]), the job is over and its component is blamed ([`quarantine`](super::quarantine)), so that it cannot crash
//! engine-svc for ever.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use wavs_ipc::Json;
use wavs_ipc::contract::engine::World;
use wavs_ipc::contract::job::{Response, RunId};
use wavs_store::{Durability, StoreError};
use wavs_types::{ServiceId, TriggerAction, Workflow};

use super::backoff::{Backoff, by_age};
use super::core::{AggregatorWork, Core};
use super::lane::{Due, Handler};
use super::quarantine::{self, Culprit, MAX_DEATHS};
use super::room;
use super::run::{self, Ran, Run, RunFault};
use super::schedule::Next;
use super::sign::{self, Collecting, Signing};
use super::trial;
use crate::clock;
use crate::keys::history::History;
use crate::ledger::due::DueQuery;
use crate::ledger::executions::{self, Execution};
use crate::ledger::jobs::{self, JobRow, Repeat};
use crate::ledger::{Ending, State};
use crate::registry::directory::Entry;
use crate::registry::standing;

/// Longest wait for engine-svc to have room, or to be there at all.
const BUSY_CAP: Duration = Duration::from_secs(1);
/// Longest wait for a component to be repaired, or let run again.
pub(super) const COMPONENT_CAP: Duration = Duration::from_secs(60);
/// Wait while the ledger cannot be read or written (a full disk); then nothing is run whose outcome could not be stored.
pub(super) const LEDGER_REST: Duration = Duration::from_secs(1);

/// The handler of the execute lane.
pub struct Execute(pub Arc<Core>);

impl Handler<u128> for Execute {
    fn run(&self, _: ServiceId, job: u128) -> BoxFuture<'static, Next> {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            if core.ledger.is_stuck() {
                return Next::After(LEDGER_REST);
            }
            match execute(&core, job).await {
                Ok(next) => next,
                Err(cause) => {
                    tracing::error!(%cause, "a job could not be processed because of the ledger; it is tried again");
                    Next::After(LEDGER_REST)
                }
            }
        })
    }

    fn refill(&self, mut wanted: DueQuery) -> BoxFuture<'static, Option<Vec<Due<u128>>>> {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            wanted.except = room::full(&core).iter().map(|entry| entry.id()).collect();
            let rows = core.ledger.read(move |conn| jobs::executable(conn, &wanted)).await;
            let rows = rows.ok()?;
            let due = |row: jobs::Executable| Due {
                service: row.service_id,
                work: row.job,
                at: clock::instant_of(row.next_ms),
            };
            Some(rows.into_iter().map(due).collect())
        })
    }
}

async fn execute(core: &Core, job: u128) -> Result<Next, StoreError> {
    let (row, action) = match core.jobs.take(&job) {
        Some((row, action)) => (row, Some(action)),
        None => match core.ledger.read(move |conn| jobs::load(conn, job)).await? {
            Some(row) => (row, None),
            None => return Ok(Next::Done),
        },
    };
    if row.state != State::Received {
        return Ok(Next::Done);
    }
    let Some(entry) = core.directory.get(&row.service_id) else {
        return end(
            core,
            &row,
            Ending::skipped("removed", "the service was removed before the job ran"),
            None,
        )
        .await;
    };
    let Some(workflow) = entry.service().workflows.get(&row.workflow_id) else {
        return end(
            core,
            &row,
            Ending::skipped("removed", "the workflow was removed before the job ran"),
            None,
        )
        .await;
    };
    if !entry.is_running() {
        // The lanes are read again when it is resumed, or when it is no longer pending.
        return Ok(Next::Done);
    }
    // Held until what the run led to is committed.
    let _place = if let Some(submit) = workflow.aggregator() {
        let aggregator = submit.component.source.digest();
        if let Some(text) = entry.components.quarantine(&aggregator) {
            // What would be signed could not go on, and would be open for nothing.
            return repeat_or_end(core, &row, RunFault::Quarantined(text), None, None).await;
        }
        match entry.history.get() {
            History::Complete => {}
            History::Unchecked => return wait_for_history(core, &row, &entry).await,
            History::Missing => {
                return end(
                    core,
                    &row,
                    Ending::failed("history_missing", standing::missing(&entry)),
                    None,
                )
                .await;
            }
        }
        let Some(place) = room::enter(core, &entry).await? else {
            // The lane is read again when there is room.
            return Ok(Next::Done);
        };
        Some(place)
    } else {
        None
    };
    let run = Run {
        entry: &entry,
        workflow_id: &row.workflow_id,
        component: &workflow.component,
        id: RunId {
            job: row.job,
            attempt: row.attempt,
        },
    };
    let Ran {
        result,
        execution,
        culprit,
        alone: _alone,
    } = match trial::begin(core, &run, World::Operator, row.deaths).await {
        Ok(admitted) => run::operator(core, run, admitted, Json::from_text(row.action.clone())).await,
        Err(not) => Ran::not(not),
    };
    match result {
        Ok(responses) => conclude(core, &row, action, &entry, workflow, responses, execution).await,
        Err(fault) => repeat_or_end(core, &row, fault, execution, culprit).await,
    }
}

async fn conclude(
    core: &Core,
    row: &JobRow,
    action: Option<TriggerAction>,
    entry: &Entry,
    workflow: &Workflow,
    responses: Vec<Response>,
    execution: Option<Box<Execution>>,
) -> Result<Next, StoreError> {
    if responses.is_empty() {
        return leave(core, row, entry, State::NoOutput, execution).await;
    }
    let Some(submit) = workflow.aggregator() else {
        return leave(core, row, entry, State::Executed, execution).await;
    };
    let action = match action.map_or_else(|| serde_json::from_slice(&row.action), Ok) {
        Ok(action) => action,
        Err(cause) => {
            return end(
                core,
                row,
                Ending::failed("host_fault", format!("the stored trigger cannot be read: {cause}")),
                execution,
            )
            .await;
        }
    };
    match sign::sign(core, row, entry, submit, &action, responses, execution).await? {
        Signing::Collecting(events) => {
            core.peers.wake();
            for Collecting {
                event_id,
                digest,
                opened,
            } in events
            {
                if let Some(bucket) = opened {
                    let bytes = bucket.action.len() + bucket.response.payload.len();
                    core.buckets.give((event_id, digest), bucket, bytes);
                }
                core.aggregate
                    .push(row.service_id, AggregatorWork::Input(event_id, digest), None);
            }
        }
        Signing::Refused(ending) => dead_letter(core, row, &ending),
        Signing::Gone => {}
    }
    core.progressed();
    Ok(Next::Done)
}

/// The chain has not said yet whether the key is new, or only new here.
async fn wait_for_history(core: &Core, row: &JobRow, entry: &Entry) -> Result<Next, StoreError> {
    let age = Duration::from_micros(clock::now_us().saturating_sub(row.created_us));
    if age <= core.settings.collect_ttl(&row.service_id) {
        return Ok(Next::After(by_age(age, COMPONENT_CAP)));
    }
    let detail = format!(
        "the chain of the service manager did not say in time whether key {} is registered",
        entry.pin.1
    );
    end(core, row, Ending::failed("history_unchecked", detail), None).await
}

async fn repeat_or_end(
    core: &Core,
    row: &JobRow,
    fault: RunFault,
    execution: Option<Box<Execution>>,
    culprit: Option<Culprit>,
) -> Result<Next, StoreError> {
    let age = Duration::from_micros(clock::now_us().saturating_sub(row.created_us));
    match fault {
        RunFault::Guest(error) => end(core, row, Ending::failed(error.class.as_str(), error.detail), execution).await,
        RunFault::NotStarted(_) | RunFault::Later(_) => Ok(Next::After(by_age(age, BUSY_CAP))),
        RunFault::Interrupted(detail) => {
            let delay = by_age(age, BUSY_CAP);
            again(core, row, Repeat::Interrupted, detail, delay, execution).await
        }
        RunFault::Component(detail) if age > core.settings.collect_ttl(&row.service_id) => {
            end(core, row, Ending::failed("component_fault", detail), execution).await
        }
        RunFault::Component(detail) => {
            let delay = by_age(age, COMPONENT_CAP);
            again(core, row, Repeat::NotStarted, detail, delay, execution).await
        }
        RunFault::Quarantined(detail) if age > core.settings.collect_ttl(&row.service_id) => {
            end(core, row, Ending::failed("quarantined", detail), execution).await
        }
        RunFault::Quarantined(detail) => hold(core, row, detail, by_age(age, COMPONENT_CAP)).await,
        RunFault::Host(detail) if row.faults >= core.settings.retry_max => {
            end(core, row, Ending::failed("host_fault", detail), execution).await
        }
        RunFault::Host(detail) => {
            let delay = Backoff::HOST.after(row.faults + 1);
            again(core, row, Repeat::HostFault, detail, delay, execution).await
        }
        RunFault::Death(detail) => died(core, row, detail, execution, culprit).await,
        RunFault::Refused(detail) => end(core, row, Ending::failed("host_fault", detail), execution).await,
    }
}

/// Keeps a job until its component may run again.
async fn hold(core: &Core, row: &JobRow, detail: String, delay: Duration) -> Result<Next, StoreError> {
    let (job, next_ms) = (row.job, clock::ms_after(delay));
    core.ledger
        .write(Durability::Process, move |tx| {
            jobs::repeat(tx, job, Repeat::NotStarted, &detail, next_ms, clock::now_us())
        })
        .await?;
    Ok(Next::After(delay))
}

async fn again(
    core: &Core,
    row: &JobRow,
    why: Repeat,
    detail: String,
    delay: Duration,
    execution: Option<Box<Execution>>,
) -> Result<Next, StoreError> {
    repeated(row, &detail);
    let (job, next_ms) = (row.job, clock::ms_after(delay));
    core.ledger
        .write(Durability::Process, move |tx| {
            executions::record_some(tx, execution.as_deref())?;
            jobs::repeat(tx, job, why, &detail, next_ms, clock::now_us())
        })
        .await?;
    Ok(Next::After(delay))
}

async fn leave(
    core: &Core,
    row: &JobRow,
    entry: &Entry,
    state: State,
    execution: Option<Box<Execution>>,
) -> Result<Next, StoreError> {
    let (job, digest) = (row.job, entry.digest());
    core.ledger
        .write(Durability::Process, move |tx| {
            executions::record_some(tx, execution.as_deref())?;
            jobs::leave_received(tx, job, state, &digest, None, clock::now_us())
        })
        .await?;
    core.progressed();
    Ok(Next::Done)
}

async fn end(core: &Core, row: &JobRow, ending: Ending, execution: Option<Box<Execution>>) -> Result<Next, StoreError> {
    dead_letter(core, row, &ending);
    let job = row.job;
    core.ledger
        .write(Durability::Process, move |tx| {
            executions::record_some(tx, execution.as_deref())?;
            jobs::end(tx, job, &ending, clock::now_us())
        })
        .await?;
    core.progressed();
    Ok(Next::Done)
}

/// engine-svc died during a run, or so it seems: the job is run again, or over.
async fn died(
    core: &Core,
    row: &JobRow,
    detail: String,
    execution: Option<Box<Execution>>,
    culprit: Option<Culprit>,
) -> Result<Next, StoreError> {
    let (job, is_over) = (row.job, row.deaths + 1 >= MAX_DEATHS);
    let delay = Backoff::DEATH.after(row.deaths + 1);
    let next_ms = clock::ms_after(delay);
    let ending = Ending::failed("quarantined", quarantine::text(&detail));
    if is_over {
        dead_letter(core, row, &ending);
    } else {
        repeated(row, &detail);
    }
    quarantine::commit(core, culprit, move |tx| {
        executions::record_some(tx, execution.as_deref())?;
        if !is_over {
            return jobs::repeat(tx, job, Repeat::Death, &detail, next_ms, clock::now_us());
        }
        jobs::count_death(tx, job)?;
        jobs::end(tx, job, &ending, clock::now_us())?;
        Ok(())
    })
    .await?;
    if is_over {
        core.progressed();
        return Ok(Next::Done);
    }
    Ok(Next::After(delay))
}

fn repeated(row: &JobRow, cause: &str) {
    tracing::warn!(service_id = %row.service_id, workflow_id = %row.workflow_id, job_id = %ulid::Ulid(row.job), attempt = row.attempt, cause, "a run has to be repeated");
}

fn dead_letter(core: &Core, row: &JobRow, ending: &Ending) {
    if ending.state == State::Failed {
        core.metrics.dead_letters.with(&[ending.reason]).inc();
        tracing::warn!(service_id = %row.service_id, workflow_id = %row.workflow_id, job_id = %ulid::Ulid(row.job), reason = ending.reason, detail = ending.detail, "a job failed");
    }
}
