//! `service validate`: everything that is wrong with a document, found before a node has to refuse it.
//!
//! Offline: the shape, the rules of documents, and what is still unset. Online as well: what the node and the chains say about the
//! things that the document names. The node is only read.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use wavs_types::{
    ChainKey, ComponentSource, EvmAddress, Finding, JsonTree, Level, Service, ServiceDocument, ServiceManager, Trigger,
};

use super::chains::health_of;
use crate::evm::EvmChain;
use crate::failure::{Exit, Failure};
use crate::service_file::{ServiceFile, get, get_mut, is_unset, set};
use crate::session::Session;

/// Findings that a node only warns about, but that no author means.
const STRICT: [&str; 3] = ["env-key-prefix", "cron-window-over", "cron-no-slot"];

/// `service validate [--offline]`
#[derive(Debug, Args)]
#[command(after_help = "\
Without --offline the node is asked whether it knows the chains and components, and contracts are looked up on chains that your
wavs.toml has endpoints for. Nothing is changed.

Example:
  wavs-cli service validate --offline && git commit service.json")]
pub(super) struct ValidateArgs {
    /// Look at the document only
    #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    offline: bool,
}

/// What was found.
#[derive(Debug, Default)]
struct Report {
    errors: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ValidateResult<'a> {
    service_name: &'a str,
    errors: &'a [String],
}

impl ValidateArgs {
    pub(super) async fn run(self, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        let file = ServiceFile::read(path)?;
        let mut report = Report::default();
        let service = report.document(file.tree());
        if let (Some(service), false) = (&service, self.offline) {
            report.online(service, session).await?;
        }
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        let name = match get(file.tree(), "name") {
            Some(JsonTree::Text(name)) => name.as_str(),
            _ => "",
        };
        let errors = report.errors.as_slice();
        session.result(
            &ValidateResult {
                service_name: name,
                errors,
            },
            |_| {
                if errors.is_empty() {
                    return format!("{} is valid", path.display());
                }
                let lines: String = errors.iter().map(|error| format!("  {error}\n")).collect();
                let plural = if errors.len() == 1 { "" } else { "s" };
                format!("{} has {} error{plural}:\n{lines}", path.display(), errors.len())
            },
        )?;
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Failure::silent())
        }
    }
}

impl Report {
    /// The rules for the document alone. Gives the service if nothing is unset or of the wrong shape.
    fn document(&mut self, tree: &JsonTree) -> Option<Service> {
        let mut filled = tree.clone();
        let unset = fill(&mut filled);
        self.errors.extend(unset.iter().map(|(_, hint)| hint.clone()));
        let text = serde_json::to_vec(&filled).unwrap_or_default();
        let document = match ServiceDocument::parse(&text) {
            Ok(document) => document,
            Err(error) => {
                self.errors.push(error.to_string());
                return None;
            }
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let rules = document.findings();
        // A schedule that does not parse has no slots either; once is enough.
        let wrong = |at: &str| {
            rules
                .iter()
                .any(|rule| rule.level == Level::Error && rule.pointer == at)
        };
        let mut schedules = document.service().schedule_findings(now);
        schedules.retain(|finding| !wrong(&finding.pointer));
        let of_unset = |finding: &Finding| unset.iter().any(|(at, _)| finding.pointer.starts_with(at));
        for finding in rules.iter().chain(&schedules).filter(|finding| !of_unset(finding)) {
            self.add(finding);
        }
        unset.is_empty().then(|| document.into_service())
    }

    fn add(&mut self, finding: &Finding) {
        let strict = STRICT.contains(&finding.code.as_str());
        let list = if finding.level == Level::Error || strict {
            &mut self.errors
        } else {
            &mut self.warnings
        };
        // One line each, also where a parser's message has several.
        list.push(finding.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
    }

    async fn online(&mut self, service: &Service, session: &Session<'_>) -> Result<(), Failure> {
        let node = session.node()?;
        match node.get(&["health"], &[]).await {
            Ok(health) => {
                self.chains(service, &health);
                let services = node.get(&["services"], &[]).await?;
                self.components(service, &services);
            }
            Err(failure) if failure.exit() == Exit::Unreachable => {
                self.errors
                    .push(format!("{failure} (--offline looks at the document only)"));
            }
            Err(failure) => return Err(failure),
        }
        self.contracts(service, session).await;
        Ok(())
    }

    fn chains(&mut self, service: &Service, health: &Value) {
        let mut chains: Vec<&ChainKey> = service
            .workflows
            .values()
            .filter_map(|workflow| workflow.trigger.chain())
            .collect();
        chains.push(service.manager.chain());
        chains.sort();
        chains.dedup();
        for chain in chains {
            match health_of(health, chain.as_str()) {
                ("unknown", _) => self
                    .errors
                    .push(format!("the node has no chain {chain}; add it to its wavs.toml")),
                (_, Some(error)) => self
                    .warnings
                    .push(format!("chain {chain} is unhealthy on the node: {error}")),
                _ => {}
            }
        }
    }

    fn components(&mut self, service: &Service, services: &Value) {
        let stored = services.get("component_digests").and_then(Value::as_array);
        let stored: Vec<&str> = stored.into_iter().flatten().filter_map(Value::as_str).collect();
        for (id, workflow) in &service.workflows {
            let aggregator = workflow.aggregator().map(|aggregator| &aggregator.component);
            for component in [Some(&workflow.component), aggregator].into_iter().flatten() {
                if let ComponentSource::Digest(digest) = &component.source
                    && !stored.contains(&digest.to_string().as_str())
                {
                    self.errors.push(format!(
                        "workflow {id}: the node has no component {digest}; run upload-component"
                    ));
                }
            }
        }
    }

    /// Contracts and block numbers, on the chains that this tool has endpoints for.
    async fn contracts(&mut self, service: &Service, session: &Session<'_>) {
        let mut questions: BTreeMap<&ChainKey, Questions<'_>> = BTreeMap::new();
        for (id, workflow) in &service.workflows {
            match &workflow.trigger {
                Trigger::EvmContractEvent { address, chain, .. } => {
                    questions
                        .entry(chain)
                        .or_default()
                        .contracts
                        .push((format!("trigger of workflow {id}"), address));
                }
                Trigger::BlockInterval {
                    chain,
                    start_block,
                    end_block,
                    ..
                } => {
                    let blocks = [("start_block", start_block), ("end_block", end_block)];
                    let blocks = blocks
                        .into_iter()
                        .filter_map(|(name, block)| Some((format!("{name} of workflow {id}"), (*block)?.get())));
                    questions.entry(chain).or_default().blocks.extend(blocks);
                }
                _ => {}
            }
        }
        match &service.manager {
            ServiceManager::Evm { chain, address } => {
                questions
                    .entry(chain)
                    .or_default()
                    .contracts
                    .push(("manager".to_owned(), address));
            }
            ServiceManager::Cosmos { chain, .. } => {
                self.warnings.push(format!(
                    "this version does not look up contracts on Cosmos chains, here the manager on {chain}"
                ));
            }
        }
        for (key, questions) in questions {
            let Some(config) = session
                .config
                .chains
                .get(key)
                .filter(|config| config.as_evm().is_some())
            else {
                self.warnings.push(format!(
                    "contracts and blocks on {key} were not looked up: the tool has no EVM endpoint for it"
                ));
                continue;
            };
            if let Err(error) = self.ask(key, config, &questions).await {
                self.errors.push(error.to_string());
            }
        }
    }

    async fn ask(
        &mut self,
        key: &ChainKey,
        config: &wavs_types::ChainConfig,
        questions: &Questions<'_>,
    ) -> Result<(), crate::evm::EvmError> {
        let chain = EvmChain::connect(key, config).await?;
        for (what, address) in &questions.contracts {
            if !chain.has_code(**address).await? {
                self.errors
                    .push(format!("{what}: there is no contract at {address} on {key}"));
            }
        }
        if !questions.blocks.is_empty() {
            let head = chain.head().await?;
            let past = questions.blocks.iter().filter(|(_, block)| *block < head);
            self.errors
                .extend(past.map(|(what, block)| format!("{what}: block {block} is past, {key} is at {head}")));
        }
        Ok(())
    }
}

/// What one chain is asked.
#[derive(Default)]
struct Questions<'a> {
    contracts: Vec<(String, &'a EvmAddress)>,
    blocks: Vec<(String, u64)>,
}

/// Puts something harmless where a part is unset, so that the rest can be checked. Gives the pointers to those places, and what to do.
fn fill(tree: &mut JsonTree) -> Vec<(String, String)> {
    let mut unset = Vec::new();
    let text = |text: &str| JsonTree::Text(text.to_owned());
    let put = |tree: &mut JsonTree, name: &str, json: &str| {
        set(tree, name, serde_json::from_str(json).unwrap_or(JsonTree::Null));
    };
    let component = format!(
        r#"{{"source":{{"digest":"{}"}},"permissions":{{}},"config":{{}},"env_keys":[]}}"#,
        "00".repeat(32)
    );
    if is_unset(get(tree, "manager")) {
        let manager = r#"{"evm":{"chain":"evm:1","address":"0x0000000000000000000000000000000000000000"}}"#;
        put(tree, "manager", manager);
        unset.push((
            "/manager".to_owned(),
            "the manager is unset; run `service manager set-evm` or `set-cosmos`".to_owned(),
        ));
    }
    let Some(JsonTree::Object(workflows)) = get_mut(tree, "workflows") else {
        return unset;
    };
    for (id, workflow) in workflows
        .iter_mut()
        .filter(|(_, workflow)| matches!(workflow, JsonTree::Object(_)))
    {
        let hint = |part: &str, command: &str| {
            let detail = format!("workflow {id}: the {part} is unset; run `service workflow {command}`");
            (
                format!(
                    "/workflows/{id}/{}",
                    part.replace("aggregator component", "submit/aggregator/component")
                ),
                detail,
            )
        };
        if is_unset(get(workflow, "trigger")) {
            set(workflow, "trigger", text("manual"));
            unset.push(hint("trigger", &format!("trigger --id {id} set-…")));
        }
        if is_unset(get(workflow, "component")) {
            put(workflow, "component", &component);
            unset.push(hint("component", &format!("component --id {id} set-source-…")));
        }
        if is_unset(get(workflow, "submit")) {
            set(workflow, "submit", text("none"));
            unset.push(hint(
                "submit",
                &format!("submit --id {id} set-aggregator` or `set-none"),
            ));
        }
        let aggregator = get_mut(workflow, "submit").and_then(|submit| get_mut(submit, "aggregator"));
        if let Some(aggregator) = aggregator.filter(|aggregator| is_unset(get(aggregator, "component"))) {
            put(aggregator, "component", &component);
            unset.push(hint(
                "aggregator component",
                &format!("submit --id {id} component set-source-…"),
            ));
        }
    }
    unset
}
