//! The `Engine` contract: runs and prefetches for aggregator-svc.

use wavs_ipc::contract::engine::{
    AggregatorJob, AggregatorOutcome, Engine, OperatorJob, OperatorOutcome, Prefetch, World,
};
use wavs_ipc::contract::job::Usage;
use wavs_ipc::{Context, ErrorCode, WireError};

use super::job::Job;
use crate::host::{self, EventSource};
use crate::metrics::Kind;
use crate::node::Node;
use crate::runtime::{Busy, Call, Failure, Finished, Returned, Variant};

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
            Err(Failure::Guest(error)) => Err(error),
            Err(Failure::Host(cause)) => return Err(WireError::internal(cause)),
            Err(Failure::Conflict(cause)) => return Err(WireError::backoff(ErrorCode::Busy, cause)),
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
            Err(Failure::Guest(error)) => Err(error),
            Err(Failure::Host(cause)) => return Err(WireError::internal(cause)),
            Err(Failure::Conflict(cause)) => return Err(WireError::backoff(ErrorCode::Busy, cause)),
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

impl Node {
    /// Gets the component ready, waits for a slot, and runs the job on the guest threads.
    async fn finish(&self, job: Job, kind: Kind, call: Call) -> Result<Finished, WireError> {
        let inner = &self.inner;
        let world = match kind {
            Kind::Operator => World::Operator,
            Kind::Aggregator => World::Aggregator,
        };
        let prepared = inner
            .library
            .get(job.source.clone(), world, job.variant())
            .await
            .inspect_err(|cause| {
                tracing::warn!(service_id = %job.service_id(), %cause, "a run has no component");
                inner.metrics.error("component_fault");
            })?;
        let digest = job.source.digest();
        let (service, workflow) = (*job.service_id(), job.workflow_id().clone());
        let slot = inner.slots.acquire(service).await.map_err(|full| {
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
            let result = Err(Failure::Host(format!("the host failed during the run: {cause}")));
            Finished { result, usage: Usage::default() }
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
