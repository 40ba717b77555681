//! The `Engine` contract: runs and prefetches for aggregator-svc.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use wavs_ipc::contract::engine::{
    AggregatorJob, AggregatorOutcome, Engine, OperatorJob, OperatorOutcome, Prefetch, World,
};
use wavs_ipc::contract::job::GuestError;
use wavs_ipc::{Context, ErrorCode, WireError};

use super::job::Job;
use crate::host::{self, EventSource};
use crate::metrics::Kind;
use crate::node::Node;
use crate::runtime::{Busy, Call, Failure, Finished, Prepared, Returned, Variant};

/// Longest wait of a job for its component, and again for a slot. Both together are less than what callers allow beyond the time
/// of a run, so that they hear of it before they take this process for dead.
const PATIENCE: Duration = Duration::from_secs(4);

impl Engine for Node {
    async fn run_operator(self, _: Context, job: OperatorJob) -> Result<OperatorOutcome, WireError> {
        let action = job.action.decode()?;
        let time = host::trigger_time(&action.data);
        let event = EventSource::Trigger(action.data.clone());
        let call = Call::Operator(Box::new(host::trigger_action(action)));
        let job = Job::operator(&self, job.context, event, time)?;
        let Finished { result, usage } = self.finish(job, Kind::Operator, call).await?;
        let result = match result {
            Ok(Returned::Responses(responses)) => Ok(responses),
            Ok(Returned::Actions(_)) => {
                return Err(WireError::internal("an operator run ended with actions; this is a bug"));
            }
            Err(failure) => Err(verdict(failure)?),
        };
        Ok(OperatorOutcome { result, usage })
    }

    async fn run_aggregator(self, _: Context, job: AggregatorJob) -> Result<AggregatorOutcome, WireError> {
        let action = job.action.decode()?;
        let time = host::trigger_time(&action.data);
        let input = host::aggregator_input(action, job.response);
        let event = EventSource::Fixed(job.event_id);
        let run = Job::aggregator(&self, job.context, event, time, &job.call)?;
        let call = Call::Aggregator(Box::new(input), job.call);
        let Finished { result, usage } = self.finish(run, Kind::Aggregator, call).await?;
        let result = match result {
            Ok(Returned::Actions(actions)) => Ok(actions),
            Ok(Returned::Responses(_)) => {
                return Err(WireError::internal(
                    "an aggregator run ended with responses; this is a bug",
                ));
            }
            Err(failure) => Err(verdict(failure)?),
        };
        Ok(AggregatorOutcome { result, usage })
    }

    async fn prefetch(self, _: Context, request: Prefetch) -> Result<(), WireError> {
        let source = request.source.decode()?;
        let variant = Variant::of(request.metered, request.deterministic);
        let digest = source.digest();
        match self.inner.library.get(source, request.world, variant).await {
            Ok(_) => Ok(()),
            Err(cause) => {
                tracing::warn!(%digest, world = ?request.world, %cause, "a component cannot be prepared");
                self.inner.metrics.error("component_fault");
                Err(cause.into())
            }
        }
    }
}

/// What the guest did wrong, or the error of the call when it was not the guest.
fn verdict(failure: Failure) -> Result<GuestError, WireError> {
    match failure {
        Failure::Guest(error) => Ok(error),
        Failure::Host(cause) => Err(WireError::internal(cause)),
        Failure::Conflict(cause) => Err(WireError::backoff(ErrorCode::Busy, cause)),
    }
}

impl Node {
    /// The component of a job, linked. Getting it ready goes on when the job does not wait for it.
    async fn component(&self, job: &Job, world: World) -> Result<Arc<Prepared>, WireError> {
        let (node, source, variant) = (self.clone(), job.source.clone(), job.variant());
        let mut prepared = Box::pin(async move { node.inner.library.get(source, world, variant).await });
        match timeout(PATIENCE, &mut prepared).await {
            Ok(prepared) => prepared.map_err(|cause| {
                tracing::warn!(service_id = %job.service_id(), %cause, "a run has no component");
                self.inner.metrics.error("component_fault");
                cause.into()
            }),
            Err(_) => {
                tokio::spawn(prepared);
                let detail = format!(
                    "component {} is still being fetched or compiled; try again later",
                    job.source.digest()
                );
                Err(WireError::backoff(ErrorCode::Busy, detail))
            }
        }
    }

    /// Gets the component ready, waits for a slot, and runs the job on the guest threads.
    async fn finish(&self, job: Job, kind: Kind, call: Call) -> Result<Finished, WireError> {
        let inner = &self.inner;
        let world = match kind {
            Kind::Operator => World::Operator,
            Kind::Aggregator => World::Aggregator,
        };
        let prepared = self.component(&job, world).await?;
        let digest = job.source.digest();
        let (service, workflow) = (*job.service_id(), job.workflow_id().clone());
        let slot = timeout(PATIENCE, inner.slots.acquire(service)).await.map_err(|_| {
            inner.metrics.queue_full();
            let detail = format!("no slot became free for a run of service {service}; try again later");
            WireError::backoff(ErrorCode::Busy, detail)
        })?;
        let slot = slot.map_err(|full| {
            inner.metrics.queue_full();
            WireError::backoff(ErrorCode::Busy, full.to_string())
        })?;
        let ticking = inner.ticker.running();
        let siblings = slot.siblings();
        let run = async move {
            // Ends with the run, however it ends.
            let _ticking = ticking;
            job.run(&prepared, call, siblings).await
        };
        let habit = inner.habits.of(service, digest);
        let run = inner.executor.spawn(Busy::new(run, slot, habit));
        let finished = run.await.unwrap_or_else(|cause| {
            // A panic inside a host function ends this run alone; otherwise the process is stopping.
            tracing::error!(service_id = %service, workflow_id = %workflow, panic = cause.is_panic(), %cause, "the host failed during a run");
            Finished::host_fault(format!("the host failed during the run: {cause}"))
        });
        inner.metrics.finished(kind, &service, &workflow, &finished);
        match &finished.result {
            Ok(_) => {
                tracing::debug!(service_id = %service, workflow_id = %workflow, usage = ?finished.usage, "a run returned");
            }
            Err(failure) => tracing::warn!(service_id = %service, workflow_id = %workflow, ?failure, "a run failed"),
        }
        Ok(finished)
    }
}
