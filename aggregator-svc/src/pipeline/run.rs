//! One call to engine-svc, and what its end means for the row that it was made for.

use std::sync::Arc;
use std::time::Instant;

use wavs_ipc::contract::engine::{
    AggregatorCall, AggregatorJob, AggregatorOutcome, OperatorJob, OperatorOutcome, RunContext,
};
use wavs_ipc::contract::job::{GuestError, Response, RunId, Usage};
use wavs_ipc::contract::records::GuestKind;
use wavs_ipc::{ErrorCode, Json, Retry, WireError};
use wavs_service::config::CALL_MARGIN;
use wavs_types::{Component, EventId, TriggerAction, WorkflowId};

use super::core::Core;
use super::quarantine::{self, Culprit};
use super::runs::UnderWay;
use super::trial::{Admitted, Alone, NotRun};
use crate::clock;
use crate::ledger::executions::{Execution, Purpose};
use crate::registry::directory::Entry;

/// Longest error text in the record of a run; the rest is cut, the row of the job has all of it.
const MAX_ERROR_CHARS: usize = 1_000;

/// Why a call did not give the guest's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunFault {
    /// The guest did wrong.
    Guest(GuestError),
    /// Nothing was started: engine-svc is busy, restarting or not there.
    NotStarted(String),
    /// Nothing was started, because the call has to wait for others that may be what engine-svc dies of.
    Later(String),
    /// The component cannot be used now.
    Component(String),
    /// The component is not run because engine-svc dies of it.
    Quarantined(String),
    /// The machine of engine-svc failed, without effect.
    Host(String),
    /// engine-svc died or stopped answering; whether the guest ran is unknown.
    Death(String),
    /// engine-svc was stopped during the run.
    Interrupted(String),
    /// The request will never work.
    Refused(String),
}

impl From<WireError> for RunFault {
    fn from(error: WireError) -> Self {
        let WireError { code, retry, detail } = error;
        match (retry, code) {
            (Retry::Ambiguous, ErrorCode::Draining) => Self::Interrupted(detail),
            // A panic of the host costs one run, not the process.
            (Retry::Ambiguous, ErrorCode::Internal) => Self::Host(detail),
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

/// The end of a call, with what is to be recorded about the run; nothing if none was started.
pub struct Ran<T> {
    /// What the guest returned, or why it did not.
    pub result: Result<T, RunFault>,
    /// The run, to be committed with what it leads to.
    pub execution: Option<Box<Execution>>,
    /// What engine-svc died of, if it did and that is known; to be committed as well.
    pub culprit: Option<Culprit>,
    /// To be held until that is done.
    pub alone: Option<Alone>,
}

impl<T> Ran<T> {
    /// A call that was not made.
    pub fn not(NotRun { fault, culprit }: NotRun) -> Self {
        Self {
            result: Err(fault),
            execution: None,
            culprit,
            alone: None,
        }
    }
}

/// Runs the operator component.
pub async fn operator(
    core: &Core,
    run: Run<'_>,
    Admitted { slot, alone }: Admitted<'_>,
    action: Json<TriggerAction>,
) -> Ran<Vec<Response>> {
    let context = context(core, &run);
    let job = OperatorJob { context, action };
    let started = Instant::now();
    let outcome = call(core, &run, slot, |client, cx| async move {
        client.run_operator(cx, job).await
    })
    .await;
    let (result, usage) = match outcome {
        Ok(OperatorOutcome { result, usage }) => (result.map_err(RunFault::Guest), Some(usage)),
        Err(fault) => (Err(fault), None),
    };
    let sizes = result.as_ref().map_or((0, 0), |responses| {
        let bytes = responses.iter().map(|response| response.payload.len() as u64).sum();
        (responses.len(), bytes)
    });
    let purpose = Purpose::Job(run.id.job);
    let execution = observe(core, &run, purpose, "run", started, result.as_ref().err(), usage, sizes);
    ended(core, &run, alone, result, execution).await
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
    Admitted { slot, alone }: Admitted<'_>,
    input: AggregatorInput,
) -> Ran<Vec<wavs_ipc::contract::engine::Action>> {
    let AggregatorInput {
        action,
        response,
        event_id,
        call: export,
    } = input;
    let context = context(core, &run);
    let name = match &export {
        AggregatorCall::ProcessInput => "process-input",
        AggregatorCall::Timer => "handle-timer-callback",
        AggregatorCall::Submitted(_) => "handle-submit-callback",
    };
    let job = AggregatorJob {
        context,
        action,
        response,
        event_id,
        call: export,
    };
    let started = Instant::now();
    let outcome = call(core, &run, slot, |client, cx| async move {
        client.run_aggregator(cx, job).await
    })
    .await;
    let (result, usage) = match outcome {
        Ok(AggregatorOutcome { result, usage }) => (result.map_err(RunFault::Guest), Some(usage)),
        Err(fault) => (Err(fault), None),
    };
    let sizes = (result.as_ref().map_or(0, Vec::len), 0);
    let purpose = Purpose::Event(event_id);
    let execution = observe(core, &run, purpose, name, started, result.as_ref().err(), usage, sizes);
    ended(core, &run, alone, result, execution).await
}

/// Makes the call. The component takes part in a death meanwhile.
async fn call<T, F, Fut>(core: &Core, run: &Run<'_>, slot: UnderWay<'_>, call: F) -> Result<T, RunFault>
where
    F: FnOnce(wavs_ipc::contract::engine::EngineClient, wavs_ipc::Context) -> Fut,
    Fut: Future<Output = Result<Result<T, WireError>, wavs_ipc::tarpc::client::RpcError>>,
{
    let limit = core
        .settings
        .execution_limit(&run.entry.id(), run.component.time_limit_seconds);
    let (connection, result) = core.engine.call_on(limit + CALL_MARGIN, call).await;
    drop(slot);
    if result.as_ref().is_err_and(|error| error.code == ErrorCode::Transport) {
        core.metrics.link_errors.with(&["engine"]).inc();
    }
    let result = result.map_err(RunFault::from);
    if let Err(RunFault::Death(_)) = &result {
        run.entry.components.died(&run.component.source.digest(), connection);
    }
    result
}

fn context(core: &Core, run: &Run<'_>) -> RunContext {
    let id = run.entry.id();
    let visible = core.settings.grants.get(&id).and_then(|grant| grant.chains.as_ref());
    let chains = core.directory.chains();
    RunContext {
        run: run.id,
        mode: core.settings.mode(&id),
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

/// A run with what is learnt from it, if it was that of a suspect: what engine-svc died of, or that the component is less to be
/// suspected.
async fn ended<T>(
    core: &Core,
    run: &Run<'_>,
    alone: Option<Alone>,
    result: Result<T, RunFault>,
    execution: Option<Box<Execution>>,
) -> Ran<T> {
    let fault = result.as_ref().err();
    let is_harmless = matches!(fault, None | Some(RunFault::Guest(_)));
    if is_harmless && alone.as_ref().is_some_and(Alone::is_proof) {
        quarantine::survived(core, run).await;
    }
    let culprit = fault
        .filter(|_| alone.as_ref().is_some_and(Alone::is_sole))
        .and_then(|fault| Culprit::of(run, fault));
    Ran {
        result,
        execution,
        culprit,
        alone,
    }
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(MAX_ERROR_CHARS).collect()
}

/// Counts a run in the metrics and describes it for the record. Nothing ran, nothing is said.
#[expect(clippy::too_many_arguments, reason = "each is one fact about the run")]
fn observe(
    core: &Core,
    run: &Run<'_>,
    purpose: Purpose,
    call: &'static str,
    started: Instant,
    fault: Option<&RunFault>,
    usage: Option<Usage>,
    (responses, response_bytes): (usize, u64),
) -> Option<Box<Execution>> {
    let (outcome, error) = match fault {
        None => ("ok", None),
        Some(RunFault::Guest(error)) => (error.class.as_str(), Some(&error.detail)),
        Some(RunFault::NotStarted(_) | RunFault::Later(_) | RunFault::Quarantined(_)) => return None,
        Some(RunFault::Refused(detail)) => ("refused", Some(detail)),
        Some(RunFault::Component(detail)) => ("component_fault", Some(detail)),
        Some(RunFault::Host(detail)) => ("host_fault", Some(detail)),
        Some(RunFault::Death(detail)) => ("ambiguous", Some(detail)),
        Some(RunFault::Interrupted(detail)) => ("interrupted", Some(detail)),
    };
    let waited = started.elapsed();
    if outcome != "refused" {
        let kind = match purpose {
            Purpose::Job(_) => GuestKind::Operator,
            Purpose::Event(_) => GuestKind::Aggregator,
        };
        core.metrics
            .execution_seconds
            .with(&[kind.as_str(), outcome])
            .observe(waited.as_secs_f64());
    }
    Some(Box::new(Execution {
        service_id: run.entry.id(),
        workflow_id: run.workflow_id.clone(),
        component: run.component.source.digest(),
        purpose,
        call,
        attempt: run.id.attempt,
        outcome,
        error: error.map(|text| cut(text)),
        ended_us: clock::now_us(),
        waited_us: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX),
        duration_us: usage.map(|usage| usage.duration_us),
        fuel: usage.and_then(|usage| usage.fuel),
        memory_peak: usage.map(|usage| usage.memory_peak),
        responses: u32::try_from(responses).unwrap_or(u32::MAX),
        response_bytes,
    }))
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
            RunFault::Later(_) => "later",
            RunFault::Component(_) => "component",
            RunFault::Quarantined(_) => "quarantined",
            RunFault::Host(_) => "host",
            RunFault::Death(_) => "death",
            RunFault::Interrupted(_) => "interrupted",
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
            (WireError::ambiguous(E::Draining, ""), "interrupted"),
            (WireError::ambiguous(E::Internal, ""), "host"),
            (WireError::never(E::Invalid, ""), "refused"),
        ] {
            assert_eq!(class(error.clone()), expected, "{error:?}");
        }
    }
}
