//! The rules of a service document beyond its shape, as far as the document alone can tell. Rules that need the clock take
//! it as an argument; rules that need the chain table, the component store or the operator's policy belong to their owners.
//! Nothing stops at the first finding, so that one reply names everything that is wrong.

mod atproto;
mod component;
mod schedule;
mod trigger;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    document::ServiceDocument,
    json_tree::escape,
    service::{Service, ServiceManager, Workflow},
    signature_kind::SignatureKind,
    workflow_id::WorkflowId,
};

/// Most workflows of one service; a document with more is refused.
pub const MAX_WORKFLOWS: usize = 256;
/// Longest name of a service in bytes; a longer one is refused.
pub const MAX_NAME_BYTES: usize = 256;
/// Most variables that one component may ask for; a component with more is refused.
pub const MAX_ENV_KEYS: usize = 64;
/// Most bytes of keys and values in the config of one component; a larger one is refused.
pub const MAX_CONFIG_BYTES: usize = 64 << 10;

/// One thing that is wrong or doubtful in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whether it keeps the document from being used.
    pub level: Level,
    /// JSON pointer (RFC 6901) to the place.
    pub pointer: String,
    /// A stable name of the rule.
    pub code: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The document is refused.
    Error,
    /// The document is used, and the finding is reported.
    Warning,
}

impl ServiceDocument {
    /// Everything that the document alone tells, in document order.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.service().findings()
    }
}

impl Service {
    /// Everything that the document alone tells, in document order.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        check_name(&self.name, &mut findings);
        check_workflow_ids(self, &mut findings);
        for (id, workflow) in &self.workflows {
            check_workflow(workflow, &workflow_pointer(id), &mut findings);
        }
        check_manager(&self.manager, &mut findings);
        findings.0
    }

    /// Windows and schedules that can never fire any more at `now`, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn schedule_findings(&self, now: u64) -> Vec<Finding> {
        let mut findings = Findings::default();
        for (id, workflow) in &self.workflows {
            let at = format!("{}/trigger", workflow_pointer(id));
            schedule::check_future(&workflow.trigger, now, &at, &mut findings);
        }
        findings.0
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at `{}`: {}", self.code, self.pointer, self.detail)
    }
}

/// Collects findings.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, pointer: impl Into<String>, code: &str, detail: impl Into<String>) {
        self.add(Level::Error, pointer, code, detail);
    }

    fn warning(&mut self, pointer: impl Into<String>, code: &str, detail: impl Into<String>) {
        self.add(Level::Warning, pointer, code, detail);
    }

    fn add(&mut self, level: Level, pointer: impl Into<String>, code: &str, detail: impl Into<String>) {
        self.0.push(Finding {
            level,
            pointer: pointer.into(),
            code: code.to_owned(),
            detail: detail.into(),
        });
    }
}

fn workflow_pointer(id: &WorkflowId) -> String {
    format!("/workflows/{}", escape(id.as_str()))
}

fn check_name(name: &str, findings: &mut Findings) {
    if name.is_empty() {
        findings.warning(
            "/name",
            "name-empty",
            "the service has no name; give it one that humans recognise",
        );
    }
    if name.len() > MAX_NAME_BYTES {
        let detail = format!("the name has {} bytes, the limit is {MAX_NAME_BYTES}", name.len());
        findings.error("/name", "name-too-long", detail);
    }
}

fn check_workflow_ids(service: &Service, findings: &mut Findings) {
    if service.workflows.len() > MAX_WORKFLOWS {
        let detail = format!(
            "{} workflows, the limit is {MAX_WORKFLOWS}; split the service",
            service.workflows.len()
        );
        findings.error("/workflows", "too-many-workflows", detail);
    }
    let ids: Vec<_> = service.workflows.keys().collect();
    for (position, id) in ids.iter().enumerate() {
        if !id.is_portable() {
            let detail = format!("`{id}` contains numerals beyond ASCII; use [a-z0-9_-] to be understood everywhere");
            findings.warning(workflow_pointer(id), "workflow-id-not-ascii", detail);
        }
        // The ids are sorted, so those that start with this one follow it without a gap.
        for longer in ids[position + 1..]
            .iter()
            .take_while(|other| other.as_str().starts_with(id.as_str()))
        {
            let detail =
                format!("`{id}` is a prefix of `{longer}`, so a salt can give both the same event id; rename one");
            findings.warning(workflow_pointer(longer), "workflow-id-prefix", detail);
        }
    }
}

fn check_workflow(workflow: &Workflow, at: &str, findings: &mut Findings) {
    trigger::check(&workflow.trigger, &format!("{at}/trigger"), findings);
    component::check(&workflow.component, &format!("{at}/component"), findings);
    if let Some(aggregator) = workflow.aggregator() {
        let at = format!("{at}/submit/aggregator");
        component::check(&aggregator.component, &format!("{at}/component"), findings);
        check_signature_kind(aggregator.signature_kind, &format!("{at}/signature_kind"), findings);
    }
}

fn check_signature_kind(kind: SignatureKind, at: &str, findings: &mut Findings) {
    if kind.prefix.is_none() {
        let detail =
            "no prefix: stock service managers on EVM chains verify eip191 only and will refuse these signatures";
        findings.warning(format!("{at}/prefix"), "signature-prefix-none", detail);
    }
}

fn check_manager(manager: &ServiceManager, findings: &mut Findings) {
    let (family, at) = match manager {
        ServiceManager::Evm { .. } => ("evm", "/manager/evm/chain"),
        ServiceManager::Cosmos { .. } => ("cosmos", "/manager/cosmos/chain"),
    };
    trigger::check_family(manager.chain(), family, at, findings);
}
