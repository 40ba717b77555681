//! From a manager or a URI to a document that may be registered.

use std::time::Duration;

use wavs_ipc::contract::trigger_feed::ResolveService;
use wavs_ipc::{ErrorCode, WireError};
use wavs_types::{
    ChainConfig, ChainKey, Component, Finding, Level, ServiceDocument, ServiceId, ServiceManager, Trigger,
};

use super::Registry;

/// Reading the URI on chain, and fetching with one retry.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(90);

/// A document that may be registered.
pub(super) struct Candidate {
    pub(super) document: ServiceDocument,
    pub(super) uri: Option<String>,
    /// Pointer and text of each warning.
    pub(super) warnings: Vec<(String, String)>,
}

impl Registry {
    /// Fetches the document that `manager` names, or the one at `uri`, and checks it.
    pub(super) async fn resolve(&self, manager: &ServiceManager, uri: Option<String>) -> Result<Candidate, WireError> {
        let chain = self.chain_of(manager)?;
        let request = ResolveService {
            manager: manager.clone(),
            chain,
            uri,
        };
        let resolved = self
            .inner
            .feed
            .call(RESOLVE_DEADLINE, |client, cx| async move {
                client.resolve_service(cx, request).await
            })
            .await?;
        self.check(manager.service_id(), &resolved.document, Some(resolved.uri))
    }

    /// The configuration of a manager's chain.
    pub(super) fn chain_of(&self, manager: &ServiceManager) -> Result<wavs_ipc::Json<ChainConfig>, WireError> {
        let chains = self.directory().chains();
        chains
            .get(manager.chain())
            .map(|chain| chain.encoded.clone())
            .ok_or_else(|| {
                let text = format!(
                    "Could not get chain config for chain {}: add it to the configuration",
                    manager.chain()
                );
                WireError::never(ErrorCode::ChainNotConfigured, text)
            })
    }

    /// Parses a document and checks everything that can be checked before its components are fetched.
    pub(super) fn check(&self, service_id: ServiceId, raw: &[u8], uri: Option<String>) -> Result<Candidate, WireError> {
        let document = ServiceDocument::parse(raw).map_err(|cause| {
            let finding = Finding {
                level: Level::Error,
                pointer: cause.pointer().unwrap_or_default().to_owned(),
                code: "invalid-shape".to_owned(),
                detail: cause.to_string(),
            };
            invalid(&[finding])
        })?;
        let manager = &document.service().manager;
        if manager.service_id() != service_id {
            let text = format!(
                "the document names manager {} on {}, which is service {}, not {service_id}: correct the document or ask for its own manager",
                address(manager),
                manager.chain(),
                manager.service_id()
            );
            return Err(WireError::never(ErrorCode::ManagerMismatch, text));
        }
        let mut findings = document.findings();
        self.check_chains(&document, &mut findings);
        self.check_variables(service_id, &document, &mut findings);
        self.check_limits(service_id, &document, &mut findings);
        let (errors, warnings): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| finding.level == Level::Error);
        if !errors.is_empty() {
            return Err(invalid(&errors));
        }
        for warning in &warnings {
            tracing::warn!(%service_id, pointer = warning.pointer, code = warning.code, detail = warning.detail, "a service document has a doubtful entry");
        }
        let warnings = warnings
            .into_iter()
            .map(|finding| (finding.pointer, finding.detail))
            .collect();
        Ok(Candidate {
            document,
            uri,
            warnings,
        })
    }

    fn check_chains(&self, document: &ServiceDocument, findings: &mut Vec<Finding>) {
        let service = document.service();
        let manager_family = match &service.manager {
            ServiceManager::Evm { .. } => "evm",
            ServiceManager::Cosmos { .. } => "cosmos",
        };
        self.check_chain(
            service.manager.chain(),
            Some(manager_family),
            "/manager".to_owned(),
            false,
            findings,
        );
        for (id, workflow) in &service.workflows {
            let family = match &workflow.trigger {
                Trigger::EvmContractEvent { .. } => Some("evm"),
                Trigger::CosmosContractEvent { .. } => Some("cosmos"),
                _ => None,
            };
            if let Some(chain) = workflow.trigger.chain() {
                let may_wait = self.core().settings.allow_pending_chains;
                self.check_chain(chain, family, format!("/workflows/{id}/trigger"), may_wait, findings);
            }
        }
    }

    fn check_chain(
        &self,
        chain: &ChainKey,
        family: Option<&str>,
        pointer: String,
        may_wait: bool,
        findings: &mut Vec<Finding>,
    ) {
        let chains = self.directory().chains();
        let (level, code, detail) = match chains.get(chain) {
            None if may_wait => (
                Level::Warning,
                "chain-not-configured",
                format!("chain {chain} is not configured; the workflow waits for it"),
            ),
            None => (
                Level::Error,
                "chain-not-configured",
                format!("chain {chain} is not configured here; add it to the configuration"),
            ),
            Some(known) if family.is_some_and(|family| family != known.config.family()) => {
                let text = format!(
                    "chain {chain} is of the {} family, which does not fit here",
                    known.config.family()
                );
                (Level::Error, "chain-family", text)
            }
            Some(_) => return,
        };
        findings.push(Finding {
            level,
            pointer,
            code: code.to_owned(),
            detail,
        });
    }

    fn check_variables(&self, service_id: ServiceId, document: &ServiceDocument, findings: &mut Vec<Finding>) {
        let settings = &self.core().settings;
        for (place, component) in components(document) {
            let names = component.env_keys.iter();
            for name in names.filter(|name| !crate::variables::granted(settings, &service_id, name)) {
                findings.push(Finding {
                    level: Level::Warning,
                    pointer: format!("{place}/env_keys"),
                    code: "env-not-granted".to_owned(),
                    detail: format!("variable {name} is not granted to this service and will not be passed"),
                });
            }
        }
    }

    /// Operators with other caps may come to other results where a run needs what it asks for.
    fn check_limits(&self, service_id: ServiceId, document: &ServiceDocument, findings: &mut Vec<Finding>) {
        let settings = &self.core().settings;
        let seconds = settings.execution_limit(&service_id, None).as_secs();
        let fuel = settings.fuel_cap(&service_id);
        for (place, component) in components(document) {
            let asked = [
                ("time_limit_seconds", component.time_limit_seconds, Some(seconds)),
                ("fuel_limit", component.fuel_limit, fuel),
            ];
            for (key, asked, cap) in asked {
                if let (Some(asked), Some(cap)) = (asked, cap)
                    && asked > cap
                {
                    findings.push(Finding {
                        level: Level::Warning,
                        pointer: format!("{place}/{key}"),
                        code: "limit-capped".to_owned(),
                        detail: format!(
                            "the component asks for {asked} and this node gives its runs {cap}; raise the cap of the node or grant more to the service, or its operators may not agree"
                        ),
                    });
                }
            }
        }
    }
}

/// The components of a document with their places in it.
fn components(document: &ServiceDocument) -> impl Iterator<Item = (String, &Component)> {
    document.service().workflows.iter().flat_map(|(id, workflow)| {
        let operator = (format!("/workflows/{id}/component"), &workflow.component);
        let aggregator = workflow.aggregator().map(|submit| {
            let place = format!("/workflows/{id}/submit/aggregator/component");
            (place, &submit.component)
        });
        std::iter::once(operator).chain(aggregator)
    })
}

fn invalid(errors: &[Finding]) -> WireError {
    let text = serde_json::to_string(errors).unwrap_or_else(|cause| cause.to_string());
    WireError::never(ErrorCode::InvalidService, text)
}

fn address(manager: &ServiceManager) -> String {
    match manager {
        ServiceManager::Evm { address, .. } => address.to_string(),
        ServiceManager::Cosmos { address, .. } => address.as_str().to_owned(),
    }
}
