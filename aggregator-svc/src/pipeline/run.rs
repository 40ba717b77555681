//! One call to engine-svc, and what its end means for the row that it was made for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wavs_ipc::contract::engine::{
    AggregatorCall, AggregatorJob, AggregatorOutcome, OperatorJob, OperatorOutcome, RunContext,
};
use wavs_ipc::contract::job::{GuestError, Response, RunId};
use wavs_ipc::{ErrorCode, Json, Retry, WireError};
use wavs_types::{Component, EventId, TriggerAction, WorkflowId};

use super::core::Core;
use crate::registry::directory::Entry;

/// Time on top of the execution limit: waiting for a slot, instantiation, the way there and back.
const CALL_MARGIN: Duration = Duration::from_secs(10);

/// Why a call did not give the guest's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunFault {
    /// The guest did wrong.
    Guest(GuestError),
    /// Nothing was started: engine-svc is busy, restarting or not there.
    NotStarted(String),
    /// The component cannot be used now.
    Component(String),
    /// The machine of engine-svc failed, without effect.
    Host(String),
    /// engine-svc died or stopped answering; whether the guest ran is unknown.
    Death(String),
    /// The request will never work.
    Refused(String),
}

impl From<WireError> for RunFault {
    fn from(error: WireError) -> Self {
        let WireError { code, retry, detail } = error;
        match (retry, code) {
            (Retry::Ambiguous, _) => Self::Death(detail),
            (_, ErrorCode::Component | ErrorCode::Fetch) => Self::Component(detail),
            (
                Retry::Backoff,
                ErrorCode::Busy
                | ErrorCode::Draining
                | ErrorCode::Unavailable
                | ErrorCode::Transport
                | ErrorCode::Deadline,
            ) => Self::NotStarted(detail),
            (Retry::Backoff, _) => Self::Host(detail),
            (Retry::Never, _) => Self::Refused(detail),
        }
    }
}

/// Names a run: which service and workflow, as of the document in force.
pub struct Run<'a> {
    /// The service.
    pub entry: &'a Arc<Entry>,
    /// The workflow.
    pub workflow_id: &'a WorkflowId,
    /// The component to run.
    pub component: &'a Component,
    /// Recognised by engine-svc when repeated.
    pub id: RunId,
}

/// Runs the operator component.
pub async fn operator(core: &Core, run: Run<'_>, action: Json<TriggerAction>) -> Result<Vec<Response>, RunFault> {
    let context = context(core, &run);
    let job = OperatorJob { context, action };
    let started = Instant::now();
    let result = call(
        core,
        &run,
        |client, cx| async move { client.run_operator(cx, job).await },
    )
    .await
    .and_then(|outcome: OperatorOutcome| outcome.result.map_err(RunFault::Guest));
    observe(core, "operator", started, result.as_ref().err());
    result
}

/// The input of an aggregator component.
pub struct AggregatorInput {
    /// The trigger.
    pub action: Json<TriggerAction>,
    /// The response that was signed.
    pub response: Response,
    /// The event.
    pub event_id: EventId,
    /// Which export to call.
    pub call: AggregatorCall,
}

/// Runs an export of the aggregator component.
pub async fn aggregator(
    core: &Core,
    run: Run<'_>,
    input: AggregatorInput,
) -> Result<Vec<wavs_ipc::contract::engine::Action>, RunFault> {
    let AggregatorInput {
        action,
        response,
        event_id,
        call: export,
    } = input;
    let context = context(core, &run);
    let job = AggregatorJob {
        context,
        action,
        response,
        event_id,
        call: export,
    };
    let started = Instant::now();
    let result = call(
        core,
        &run,
        |client, cx| async move { client.run_aggregator(cx, job).await },
    )
    .await
    .and_then(|outcome: AggregatorOutcome| outcome.result.map_err(RunFault::Guest));
    observe(core, "aggregator", started, result.as_ref().err());
    result
}

async fn call<T, F, Fut>(core: &Core, run: &Run<'_>, call: F) -> Result<T, RunFault>
where
    F: FnOnce(wavs_ipc::contract::engine::EngineClient, wavs_ipc::Context) -> Fut,
    Fut: Future<Output = Result<Result<T, WireError>, wavs_ipc::tarpc::client::RpcError>>,
{
    let closed = |_| RunFault::NotStarted("the process is stopping".to_owned());
    let _own = run.entry.runs.acquire().await.map_err(closed)?;
    let _slot = core.engine_slots.acquire().await.map_err(closed)?;
    let limit = core
        .settings
        .execution_limit(&run.entry.id(), run.component.time_limit_seconds);
    let result = core.engine.call(limit + CALL_MARGIN, call).await;
    if result.as_ref().is_err_and(|error| error.code == ErrorCode::Transport) {
        core.metrics.link_errors.with(&["engine"]).inc();
    }
    result.map_err(RunFault::from)
}

fn context(core: &Core, run: &Run<'_>) -> RunContext {
    let id = run.entry.id();
    let visible = core.settings.grants.get(&id).and_then(|grant| grant.chains.as_ref());
    let chains = core.directory.chains();
    RunContext {
        run: run.id,
        service_id: id,
        service_digest: run.entry.digest(),
        service: run.entry.encoded.clone(),
        workflow_id: run.workflow_id.clone(),
        chains: chains
            .iter()
            .filter(|(key, _)| visible.is_none_or(|visible| visible.contains(key)))
            .map(|(key, chain)| (key.clone(), chain.encoded.clone()))
            .collect(),
        env: core.variables.of(&core.settings, &id, run.component),
    }
}

fn observe(core: &Core, kind: &str, started: Instant, fault: Option<&RunFault>) {
    let outcome = match fault {
        None => "ok",
        Some(RunFault::Guest(error)) => error.class.as_str(),
        // Nothing ran, so there is no time to observe.
        Some(RunFault::NotStarted(_) | RunFault::Refused(_)) => return,
        Some(RunFault::Component(_)) => "component_fault",
        Some(RunFault::Host(_)) => "host_fault",
        Some(RunFault::Death(_)) => "ambiguous",
    };
    core.metrics
        .execution_seconds
        .with(&[kind, outcome])
        .observe(started.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wire_error_has_its_class() {
        use ErrorCode as E;
        let class = |error: WireError| match RunFault::from(error) {
            RunFault::Guest(_) => "guest",
            RunFault::NotStarted(_) => "not_started",
            RunFault::Component(_) => "component",
            RunFault::Host(_) => "host",
            RunFault::Death(_) => "death",
            RunFault::Refused(_) => "refused",
        };
        for (error, expected) in [
            (WireError::backoff(E::Busy, ""), "not_started"),
            (WireError::backoff(E::Draining, ""), "not_started"),
            (WireError::backoff(E::Transport, ""), "not_started"),
            (WireError::backoff(E::Component, ""), "component"),
            (WireError::never(E::Component, ""), "component"),
            (WireError::backoff(E::Fetch, ""), "component"),
            (WireError::backoff(E::Internal, ""), "host"),
            (WireError::ambiguous(E::Transport, ""), "death"),
            (WireError::ambiguous(E::Deadline, ""), "death"),
            (WireError::never(E::Invalid, ""), "refused"),
        ] {
            assert_eq!(class(error.clone()), expected, "{error:?}");
        }
    }
}
