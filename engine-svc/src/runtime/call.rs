//! One call of one export in a fresh store.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use wasmtime::Store;
use wavs_ipc::contract::engine::{Action, AggregatorCall};
use wavs_ipc::contract::job::{Response, Usage};

use super::failure::{Failure, TimeUp};
use super::linkers::{Exports, Prepared};
use super::turns::Turns;
use crate::bindings::aggregator::wavs::aggregator::input::AggregatorInput;
use crate::bindings::operator::wavs::operator::input::TriggerAction;
use crate::host::{self, FileQuota, GuestState};
use crate::limits::{Exceeded, RunLimits};

/// Bytes of memory whose release takes longer than a turn of a guest.
const MUCH_MEMORY: u64 = 4 << 20;

/// What is called, with its arguments.
pub(crate) enum Call {
    Operator(Box<TriggerAction>),
    Aggregator(Box<AggregatorInput>, AggregatorCall),
}

/// What came back, checked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Returned {
    Responses(Vec<Response>),
    Actions(Vec<Action>),
}

/// The end of a run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) result: Result<Returned, Failure>,
    pub(crate) usage: Usage,
}

impl Finished {
    /// A run that was made before, and whose result was kept.
    pub(crate) fn repeated(kept: &[u8]) -> Self {
        let result = postcard::from_bytes(kept)
            .map_err(|cause| Failure::Host(format!("the result of an earlier attempt cannot be read: {cause}")));
        Self {
            result,
            usage: Usage::default(),
        }
    }

    /// A run that this machine could not begin or finish.
    pub(crate) fn host_fault(cause: String) -> Self {
        Self::failed(Failure::Host(cause))
    }

    /// A run that failed before its guest did anything.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self {
            result: Err(failure),
            usage: Usage::default(),
        }
    }
}

/// The terms of a run.
pub(crate) struct Terms {
    pub(crate) limits: RunLimits,
    /// Time counts from here.
    pub(crate) started: Instant,
    /// The quota on files, for runs that may use them.
    pub(crate) files: Option<FileQuota>,
    /// Runs of the same service at the moment: they share the turns of one.
    pub(crate) siblings: Arc<AtomicUsize>,
}

/// Runs `call` until it returns, fails, or a limit ends it. Must be polled on the guest executor.
pub(crate) async fn run(prepared: &Prepared, call: Call, state: GuestState, terms: Terms) -> Finished {
    let Terms {
        limits,
        started,
        files,
        siblings,
    } = terms;
    // A run whose guest never gives way would be over before any clock is looked at.
    if started.elapsed() >= limits.time.value {
        return Finished::failed(Exceeded::Time(limits.time).into());
    }
    let mut store = match store(prepared, state, &limits, started, siblings) {
        Ok(store) => store,
        Err(cause) => {
            return Finished::host_fault(format!("cannot make a store for the run: {cause:#}"));
        }
    };
    let ended = {
        let run = timeout_at(started + limits.time.value, invoke(&mut store, prepared, call, &limits));
        match &files {
            None => Ok(run.await),
            Some(quota) => tokio::select! {
                biased;
                ended = run => Ok(ended),
                fault = quota.fault() => Err(fault),
            },
        }
    };
    let mut outcome = match ended {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failure::of(&TimeUp.into(), store.data(), &limits)),
        Err(fault) => Err(fault.into()),
    };
    let duration = started.elapsed();
    // A short run is over before the first count.
    if let (Ok(_), Some(quota)) = (&outcome, &files)
        && let Err(fault) = quota.check().await
    {
        outcome = Err(fault.into());
    }
    if let Ok(returned) = &outcome
        && let Err(cause) = commit(store.data_mut(), returned).await
    {
        outcome = Err(cause);
    }
    store.data().log().finish();
    prepared.metrics.denied(&store.data().denials);
    let fuel = limits
        .fuel
        .map(|limit| limit.value.saturating_sub(store.get_fuel().unwrap_or(0)));
    let usage = Usage {
        duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        fuel,
        memory_peak: store.data().limiter.peak() as u64,
    };
    if usage.memory_peak > MUCH_MEMORY {
        // The kernel takes it back page by page. Meanwhile this thread would run nobody else.
        let _ = tokio::task::spawn_blocking(move || drop(store)).await;
    }
    Finished { result: outcome, usage }
}

/// Stores what the run kept back. Its success is the last thing that can be known about it, so this comes last.
async fn commit(state: &mut GuestState, returned: &Returned) -> Result<(), Failure> {
    if !state.kv.is_transactional() {
        return Ok(());
    }
    let result =
        postcard::to_stdvec(returned).map_err(|cause| Failure::Host(format!("cannot keep the result: {cause}")))?;
    Ok(state.kv.commit(result).await?)
}

fn store(
    prepared: &Prepared,
    state: GuestState,
    limits: &RunLimits,
    started: Instant,
    siblings: Arc<AtomicUsize>,
) -> wasmtime::Result<Store<GuestState>> {
    let engine = match &prepared.exports {
        Exports::Operator(pre) => pre.engine(),
        Exports::Aggregator(pre) => pre.engine(),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(limits.guest.hostcall);
    store.set_max_component_handles(limits.guest.handles);
    if let Some(fuel) = limits.fuel {
        store.set_fuel(fuel.value)?;
    }
    let limit = limits.time.value;
    store.set_epoch_deadline(1);
    let turns = Turns {
        started,
        limit,
        siblings,
        since: Arc::default(),
    };
    store.epoch_deadline_callback(move |_| turns.next_epoch());
    Ok(store)
}

async fn invoke(
    store: &mut Store<GuestState>,
    prepared: &Prepared,
    call: Call,
    limits: &RunLimits,
) -> Result<Returned, Failure> {
    let returned = match (&prepared.exports, call) {
        (Exports::Operator(pre), Call::Operator(action)) => {
            let result = match pre.instantiate_async(&mut *store).await {
                Ok(world) => world.call_run(&mut *store, &action).await,
                Err(cause) => Err(cause),
            };
            result.map(|result| result.map(|found| host::responses(found, &limits.guest).map(Returned::Responses)))
        }
        (Exports::Aggregator(pre), Call::Aggregator(input, call)) => {
            let result = match pre.instantiate_async(&mut *store).await {
                Ok(world) => match call {
                    AggregatorCall::ProcessInput => world.call_process_input(&mut *store, &input).await,
                    AggregatorCall::Timer => world.call_handle_timer_callback(&mut *store, &input).await,
                    AggregatorCall::Submitted(result) => world
                        .call_handle_submit_callback(
                            &mut *store,
                            &input,
                            host::tx_result(result).as_ref().map_err(String::as_str),
                        )
                        .await
                        .map(|result| result.map(|()| Vec::new())),
                },
                Err(cause) => Err(cause),
            };
            result.map(|result| result.map(|found| host::actions(found, &limits.guest).map(Returned::Actions)))
        }
        (Exports::Operator(_), Call::Aggregator(..)) | (Exports::Aggregator(_), Call::Operator(_)) => {
            return Err(Failure::Host(
                "the component was prepared for the other world; this is a bug".into(),
            ));
        }
    };
    match returned {
        Err(cause) => Err(Failure::of(&cause, store.data(), limits)),
        Ok(Err(text)) => Err(Failure::returned(&text)),
        Ok(Ok(Err(cause))) => Err(cause.into()),
        Ok(Ok(Ok(returned))) => Ok(returned),
    }
}
