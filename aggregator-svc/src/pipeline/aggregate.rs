//! Running the aggregator component: `process-input` once per bucket, `handle-timer-callback` once per timer.
//!
//! The actions are committed together with the fact that they were obtained. Guest faults are tried `MAX_GUEST_FAULTS`
//! times more and then end the event, as `MAX_DEATHS` deaths of engine-svc do; a limit ends it at once; everything else waits
//! for engine-svc to recover.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rusqlite::Connection;
use wavs_ipc::Json;
use wavs_ipc::contract::engine::{Action, AggregatorCall, World};
use wavs_ipc::contract::job::RunId;
use wavs_store::{Durability, StoreError, fault};
use wavs_types::{B256, EventId, EvmAddress, ServiceId};

use super::callback;
use super::core::{AggregatorWork, Core};
use super::execute::LEDGER_REST;
use super::lane::{Due, Handler};
use super::quarantine::{self, Culprit};
use super::run::{self, AggregatorInput, Ran, Run};
use super::schedule::Next;
use super::trial;
use super::verdict::{self, Verdict};
use crate::clock;
use crate::ledger::buckets::{self, BucketRow};
use crate::ledger::due::{DueQuery, DueRow};
use crate::ledger::executions::{self, Execution};
use crate::ledger::targets::{self, MAX_TARGETS, NewTarget};
use crate::ledger::timers::{self, MAX_DELAY_SECS};
use crate::ledger::tries::Tries;
use crate::ledger::{Ending, State, events};
use crate::metrics::Of;

/// The handler of the aggregate lane.
pub struct Aggregate(pub Arc<Core>);

impl Handler<AggregatorWork> for Aggregate {
    fn run(&self, _: ServiceId, work: AggregatorWork) -> BoxFuture<'static, Next> {
        let core = Arc::clone(&self.0);
        Box::pin(async move {
            if core.ledger.is_stuck() {
                return Next::After(LEDGER_REST);
            }
            let next = match work {
                AggregatorWork::Input(event_id, digest) => process_input(&core, event_id, digest).await,
                AggregatorWork::Timer(id) => fire_timer(&core, id).await,
                AggregatorWork::Callback(id) => callback::deliver(&core, id).await,
            };
            next.unwrap_or_else(|cause| {
                tracing::error!(%cause, "an event could not be processed because of the ledger; it is tried again");
                Next::After(LEDGER_REST)
            })
        })
    }

    fn refill(&self, wanted: DueQuery) -> BoxFuture<'static, Option<Vec<Due<AggregatorWork>>>> {
        let core = Arc::clone(&self.0);
        Box::pin(async move { core.ledger.read(move |conn| due(conn, &wanted)).await.ok() })
    }
}

fn due(conn: &Connection, wanted: &DueQuery) -> rusqlite::Result<Vec<Due<AggregatorWork>>> {
    let inputs = buckets::due_inputs(conn, wanted)?.into_iter().map(|row| Due {
        service: row.service_id,
        work: AggregatorWork::Input(row.event_id, row.digest),
        at: clock::instant_of(row.next_ms),
    });
    let named = |rows: Vec<DueRow>, work: fn(i64) -> AggregatorWork| {
        rows.into_iter().map(move |row| Due {
            service: row.service_id,
            work: work(row.id),
            at: clock::instant_of(row.next_ms),
        })
    };
    let timers = named(timers::all_armed(conn, wanted)?, AggregatorWork::Timer);
    let callbacks = named(targets::due_callbacks(conn, wanted)?, AggregatorWork::Callback);
    Ok(inputs.chain(timers).chain(callbacks).collect())
}

async fn process_input(core: &Core, event_id: EventId, digest: B256) -> Result<Next, StoreError> {
    let bucket = match core.buckets.take(&(event_id, digest)) {
        Some(bucket) => Some(bucket),
        None => {
            core.ledger
                .read(move |conn| buckets::load(conn, &event_id, &digest))
                .await?
        }
    };
    let Some(bucket) = bucket else {
        return Ok(Next::Done);
    };
    if !bucket.due || bucket.terminal {
        return Ok(Next::Done);
    }
    if clock::now_ms() >= bucket.deadline_ms {
        let ending = match quarantine_of(core, &bucket) {
            Some(text) => Ending::failed("quarantined", text),
            None => Ending {
                state: State::Expired,
                reason: "collect_ttl",
                detail: "no actions were obtained in time".to_owned(),
            },
        };
        return fail_input(core, event_id, digest, ending, None, None).await;
    }
    let run = CallId {
        event_id,
        digest,
        tag: b"input",
        row: 0,
        tries: bucket.tries,
    };
    let Ran {
        result,
        execution,
        culprit,
        alone: _alone,
    } = match call(core, &bucket, run, AggregatorCall::ProcessInput).await {
        Called::Ran(ran) => ran,
        Called::Paused => return Ok(Next::Done),
        Called::Removed(ending) => return fail_input(core, event_id, digest, ending, None, None).await,
    };
    let fault = match result {
        Ok(actions) => return take_actions(core, &bucket, event_id, digest, None, actions, execution).await,
        Err(fault) => fault,
    };
    match verdict::of(fault, bucket.tries) {
        Verdict::Final(ending) => fail_input(core, event_id, digest, ending, execution, culprit).await,
        Verdict::Wait(delay) => Ok(Next::After(delay)),
        Verdict::Again { vain, delay } => {
            let next_ms = clock::ms_after(delay);
            quarantine::commit(core, culprit, move |tx| {
                executions::record_some(tx, execution.as_deref())?;
                buckets::input_again(tx, &event_id, &digest, vain, next_ms)
            })
            .await?;
            Ok(Next::After(delay))
        }
    }
}

/// Why the component of a bucket is not run at all.
fn quarantine_of(core: &Core, bucket: &BucketRow) -> Option<String> {
    let entry = core.directory.get(&bucket.service_id)?;
    let submit = entry.service().workflows.get(&bucket.workflow_id)?.aggregator()?;
    entry.components.quarantine(&submit.component.source.digest())
}

async fn fire_timer(core: &Core, id: i64) -> Result<Next, StoreError> {
    let Some(timer) = core.ledger.read(move |conn| timers::load(conn, id)).await? else {
        return Ok(Next::Done);
    };
    if !timer.armed {
        return Ok(Next::Done);
    }
    let (event_id, digest) = (timer.event_id, timer.digest);
    let Some(bucket) = core
        .ledger
        .read(move |conn| buckets::load(conn, &event_id, &digest))
        .await?
    else {
        return Ok(Next::Done);
    };
    if bucket.terminal {
        return close_timer(core, id, event_id, "cancelled", None, None).await;
    }
    if let Some(at) = clock::instant_of(timer.next_ms) {
        return Ok(Next::After(at.saturating_duration_since(tokio::time::Instant::now())));
    }
    let run = CallId {
        event_id,
        digest,
        tag: b"timer",
        row: id,
        tries: timer.tries,
    };
    let Ran {
        result,
        execution,
        culprit,
        alone: _alone,
    } = match call(core, &bucket, run, AggregatorCall::Timer).await {
        Called::Ran(ran) => ran,
        Called::Paused => return Ok(Next::Done),
        Called::Removed(_) => return close_timer(core, id, event_id, "cancelled", None, None).await,
    };
    let fault = match result {
        Ok(actions) => return take_actions(core, &bucket, event_id, digest, Some(id), actions, execution).await,
        Err(fault) => fault,
    };
    match verdict::of(fault, timer.tries) {
        Verdict::Final(ending) => {
            tracing::warn!(service_id = %bucket.service_id, event_id = %event_id, reason = ending.reason, detail = ending.detail, "a timer callback failed for good");
            close_timer(core, id, event_id, "failed", execution, culprit).await
        }
        Verdict::Wait(delay) => Ok(Next::After(delay)),
        Verdict::Again { vain, delay } => {
            let next_ms = clock::ms_after(delay);
            quarantine::commit(core, culprit, move |tx| {
                executions::record_some(tx, execution.as_deref())?;
                timers::again(tx, id, vain, next_ms)
            })
            .await?;
            Ok(Next::After(delay))
        }
    }
}

/// How a call to the component came out.
pub(super) enum Called {
    Ran(Ran<Vec<Action>>),
    /// Nothing runs for the service now.
    Paused,
    /// There is nothing to call any more.
    Removed(Ending),
}

/// Names one run of an aggregator component; equal for a repeat of the same attempt.
pub(super) struct CallId {
    pub(super) event_id: EventId,
    pub(super) digest: B256,
    pub(super) tag: &'static [u8],
    pub(super) row: i64,
    pub(super) tries: Tries,
}

impl CallId {
    fn run_id(&self) -> RunId {
        let row = self.row.to_be_bytes();
        let parts: [&[u8]; 4] = [self.event_id.as_bytes(), self.digest.as_slice(), self.tag, &row];
        let hash = alloy::primitives::keccak256(parts.concat());
        let job = hash.iter().take(16).fold(0, |id, byte| (id << 8) | u128::from(*byte));
        RunId {
            job,
            attempt: self.tries.attempt.saturating_add(1),
        }
    }
}

pub(super) async fn call(core: &Core, bucket: &BucketRow, id: CallId, export: AggregatorCall) -> Called {
    let gone = |what: &str| Called::Removed(Ending::skipped("removed", format!("the {what} was removed")));
    let Some(entry) = core.directory.get(&bucket.service_id) else {
        return gone("service");
    };
    let workflow = entry.service().workflows.get(&bucket.workflow_id);
    let Some(submit) = workflow.and_then(|workflow| workflow.aggregator()) else {
        return gone("workflow");
    };
    if !entry.is_running() {
        return Called::Paused;
    }
    let run = Run {
        entry: &entry,
        workflow_id: &bucket.workflow_id,
        component: &submit.component,
        id: id.run_id(),
    };
    let input = AggregatorInput {
        action: Json::from_text(bucket.action.clone()),
        response: bucket.response.clone().into(),
        event_id: id.event_id,
        call: export,
    };
    Called::Ran(
        match trial::begin(core, &run, World::Aggregator, id.tries.deaths).await {
            Ok(alone) => run::aggregator(core, run, alone, input).await,
            Err(fault) => Ran::not(fault),
        },
    )
}

/// What a list of actions led to.
#[derive(Default)]
struct Taken {
    targets: Vec<i64>,
    timers: Vec<(i64, u64)>,
}

/// Commits the actions of a run, and that they were obtained, and wakes what they are for.
async fn take_actions(
    core: &Core,
    bucket: &BucketRow,
    event_id: EventId,
    digest: B256,
    timer: Option<i64>,
    actions: Vec<Action>,
    execution: Option<Box<Execution>>,
) -> Result<Next, StoreError> {
    if let Some(entry) = core.directory.get(&bucket.service_id) {
        for _ in &actions {
            let of = Of {
                name: &entry.service().name,
                service: &bucket.service_id,
                workflow: &bucket.workflow_id,
            };
            core.metrics.count(&core.metrics.actions, of);
        }
    }
    let deadline_ms = bucket.deadline_ms;
    let taken = core
        .ledger
        .write(Durability::Process, move |tx| {
            executions::record_some(tx, execution.as_deref())?;
            match timer {
                Some(id) => timers::close(tx, id, "fired")?,
                None if !buckets::input_done(tx, &event_id, &digest)? => return Ok(Taken::default()),
                None => {}
            }
            fault::point("actions.obtained");
            apply(tx, &event_id, &digest, deadline_ms, actions)
        })
        .await?;
    for target in taken.targets {
        core.submit.push(bucket.service_id, target, None);
    }
    for (timer, due_ms) in taken.timers {
        core.aggregate.push(
            bucket.service_id,
            AggregatorWork::Timer(timer),
            clock::instant_of(due_ms),
        );
    }
    Ok(Next::Done)
}

fn apply(
    tx: &Connection,
    event_id: &EventId,
    digest: &B256,
    deadline_ms: u64,
    actions: Vec<Action>,
) -> rusqlite::Result<Taken> {
    let now_us = clock::now_us();
    let mut taken = Taken::default();
    for action in actions {
        let (chain, handler, gas_hint) = match action {
            Action::Timer { delay_secs } => {
                let due_ms = clock::ms_after(Duration::from_secs(delay_secs.min(MAX_DELAY_SECS)));
                match timers::arm(tx, event_id, digest, due_ms)? {
                    Some(id) => taken.timers.push((id, due_ms)),
                    None => {
                        tracing::warn!(%event_id, "a timer was refused: the event has used up its timers, or one is set for the same moment");
                    }
                }
                continue;
            }
            Action::SubmitEvm {
                chain,
                address,
                gas_price,
            } => (chain, EvmAddress::from(address).to_checksum(None), gas_price),
            Action::SubmitCosmos {
                chain,
                address,
                gas_price,
            } => (chain, address, gas_price),
        };
        if targets::of_event(tx, event_id)?.len() >= MAX_TARGETS {
            tracing::warn!(%event_id, %chain, handler, "a submission was refused: the event has {MAX_TARGETS} targets already");
            continue;
        }
        let target = NewTarget {
            event_id: *event_id,
            digest: *digest,
            chain,
            handler,
            gas_hint,
            deadline_ms,
        };
        taken.targets.extend(targets::insert(tx, &target)?);
        fault::point("actions.target");
    }
    let idle = taken.targets.is_empty() && !timers::armed(tx, event_id)? && targets::of_event(tx, event_id)?.is_empty();
    // What another operator signed must not end an event for us, so only our own result does.
    if idle && events::is_own(tx, event_id, digest)? {
        let text = "no_actions: the aggregator component asked for nothing, so there is nothing to submit";
        events::set_state(tx, event_id, State::NoOutput, Some(text), now_us)?;
    } else {
        events::follow_targets(tx, event_id, now_us)?;
    }
    Ok(taken)
}

async fn fail_input(
    core: &Core,
    event_id: EventId,
    digest: B256,
    ending: Ending,
    execution: Option<Box<Execution>>,
    culprit: Option<Culprit>,
) -> Result<Next, StoreError> {
    tracing::warn!(%event_id, %digest, reason = ending.reason, detail = ending.detail, "an event ended without submission");
    if ending.state == State::Failed {
        core.metrics.dead_letters.with(&[ending.reason]).inc();
    }
    quarantine::commit(core, culprit, move |tx| {
        executions::record_some(tx, execution.as_deref())?;
        buckets::input_failed(tx, &event_id, &digest, &ending, clock::now_us())
    })
    .await?;
    Ok(Next::Done)
}

async fn close_timer(
    core: &Core,
    id: i64,
    event_id: EventId,
    state: &'static str,
    execution: Option<Box<Execution>>,
    culprit: Option<Culprit>,
) -> Result<Next, StoreError> {
    quarantine::commit(core, culprit, move |tx| {
        executions::record_some(tx, execution.as_deref())?;
        timers::close(tx, id, state)?;
        events::follow_targets(tx, &event_id, clock::now_us())
    })
    .await?;
    Ok(Next::Done)
}
