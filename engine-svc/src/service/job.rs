//! One job on its way to a run: its document decoded, its rights and limits decided.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use wavs_ipc::contract::engine::{AggregatorCall, RunContext};
use wavs_ipc::{ErrorCode, WireError};
use wavs_types::{Component, ComponentSource, ServiceId, Workflow, WorkflowId};

use crate::egress::{GuestEgress, HttpPermission};
use crate::host::{Determinism, EventSource, FileQuota, GuestState, RunLog, RunSetup};
use crate::kv::{GuestKv, Mark};
use crate::limits::RunLimits;
use crate::node::Node;
use crate::runtime::{Call, Finished, Prepared, Terms, Variant, run};

/// A job that only waits for its component and a slot.
pub(super) struct Job {
    pub(super) source: ComponentSource,
    limits: RunLimits,
    setup: RunSetup,
}

impl Job {
    /// A run of the operator component.
    pub(super) fn operator(
        node: &Node,
        context: RunContext,
        event: EventSource,
        time: Duration,
    ) -> Result<Self, WireError> {
        let call = call_digest(&"run")?;
        Self::new(node, context, event, time, call, |workflow| Some(&workflow.component))
    }

    /// A run of the aggregator component.
    pub(super) fn aggregator(
        node: &Node,
        context: RunContext,
        event: EventSource,
        time: Duration,
        call: &AggregatorCall,
    ) -> Result<Self, WireError> {
        Self::new(node, context, event, time, call_digest(call)?, |workflow| {
            workflow.aggregator().map(|aggregator| &aggregator.component)
        })
    }

    fn new(
        node: &Node,
        context: RunContext,
        event: EventSource,
        time: Duration,
        call: [u8; 32],
        select: impl FnOnce(&Workflow) -> Option<&Component>,
    ) -> Result<Self, WireError> {
        let inner = &node.inner;
        let RunContext {
            run,
            mode,
            service_id,
            service_digest,
            service,
            workflow_id,
            chains,
            env,
        } = context;
        let service = inner.documents.get(service_digest, &service)?;
        let missing = |what: &str| {
            let detail = format!(
                "workflow {workflow_id} of service {service_id} {what}; send the document that the job belongs to"
            );
            WireError::never(ErrorCode::NotFound, detail)
        };
        let workflow = service
            .workflows
            .get(&workflow_id)
            .ok_or_else(|| missing("is not in its document"))?
            .clone();
        let component = select(&workflow)
            .ok_or_else(|| missing("has no aggregator component"))?
            .clone();
        let chains = inner.chains.get(chains)?;
        let grant = inner.settings.grant(&service_id);
        let egress = GuestEgress {
            http: HttpPermission::from(&component.permissions.allowed_http_hosts),
            raw_sockets: component.permissions.raw_sockets,
            listen: grant.listen,
            addresses: grant.addresses,
            names: inner.names.service(service_id),
            chains: Arc::clone(&chains.endpoints),
        };
        let directory = component
            .permissions
            .file_system
            .then(|| inner.settings.files_dir().join(service_id.to_string()));
        let log = RunLog::new(
            inner.logs.clone(),
            run,
            service_id,
            workflow_id.clone(),
            component.source.digest(),
            &inner.settings.caps.guest,
        );
        let determinism = mode.deterministic.then(|| Determinism {
            event: event.id(&service_id, &workflow_id),
            time,
        });
        let kv = inner.kv.service(&service_id);
        let kv = if mode.transactional {
            GuestKv::transactional(kv, Mark { run, call })
        } else {
            GuestKv::Immediate(kv)
        };
        let setup = RunSetup {
            service_id,
            service,
            workflow_id,
            workflow,
            chains,
            config: component.config.clone(),
            env: env.into_iter().filter(|(key, _)| visible(&component, key)).collect(),
            event,
            egress,
            dns: component.permissions.dns_resolution,
            directory,
            kv,
            log: Arc::new(log),
            descriptors: inner.descriptors.clone(),
            memory: inner.memory.clone(),
            determinism,
        };
        Ok(Self {
            limits: inner
                .settings
                .caps
                .effective(&component, grant.caps, mode.deterministic),
            source: component.source,
            setup,
        })
    }

    /// Which code the run needs.
    pub(super) fn variant(&self) -> Variant {
        Variant::of(self.limits.fuel.is_some(), self.setup.determinism.is_some())
    }

    pub(super) fn service_id(&self) -> &ServiceId {
        &self.setup.service_id
    }

    pub(super) fn workflow_id(&self) -> &WorkflowId {
        &self.setup.workflow_id
    }

    /// Runs on the guest threads. Time counts from here.
    pub(super) async fn run(self, prepared: &Prepared, call: Call, siblings: Arc<AtomicUsize>) -> Finished {
        let started = Instant::now();
        let limits = self.limits;
        match self.setup.kv.finished().await {
            Ok(None) => {}
            Ok(Some(kept)) => return Finished::repeated(&kept),
            Err(cause) => return Finished::host_fault(cause.to_string()),
        }
        let directory = self.setup.directory.clone();
        let state = match GuestState::new(self.setup, &limits, started + limits.time.value) {
            Ok(state) => state,
            Err(cause) => return Finished::host_fault(cause.to_string()),
        };
        let files = match directory {
            None => None,
            Some(path) => match FileQuota::start(path, &limits.guest).await {
                Ok(quota) => Some(quota),
                Err(fault) => return Finished::failed(fault.into()),
            },
        };
        let terms = Terms {
            limits,
            started,
            files,
            siblings,
        };
        run(prepared, call, state, terms).await
    }
}

/// Names a call among those of a job.
fn call_digest(call: &impl Serialize) -> Result<[u8; 32], WireError> {
    let bytes = postcard::to_stdvec(call).map_err(|cause| WireError::internal(cause.to_string()))?;
    Ok(Sha256::digest(bytes).into())
}

/// Whether a component may see a variable at all. The caller sends no other; this holds even if it errs.
fn visible(component: &Component, key: &str) -> bool {
    key.starts_with("WAVS_ENV") && component.env_keys.contains(key)
}
