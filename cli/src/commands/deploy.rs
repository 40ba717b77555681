//! `deploy-service`: registers on the node what a published document describes.

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use wavs_types::{B256, JsonTree, ServiceDocument, ServiceId, ServiceManager, redacted_url};

use crate::evm::EvmChain;
use crate::failure::{Exit, Failure};
use crate::node::{Answer, Node};
use crate::service_ref::path_of;
use crate::session::Session;
use crate::{deployments, download};

/// `deploy-service --service-uri URI [--set-uri]`
#[derive(Debug, Args)]
#[command(after_help = "\
The document names its manager contract; the node reads the document's address from there. With --set-uri the tool sets it first,
with your key (evm_credential) and the chain's endpoint from your wavs.toml.

Example:
  WAVS_CLI_EVM_CREDENTIAL=file:key.txt wavs-cli deploy-service --service-uri ipfs://bafybeig… --set-uri")]
pub(crate) struct DeployArgs {
    /// Where the document is published: http, https or ipfs
    #[arg(long, alias = "service-url", value_name = "URI")]
    service_uri: String,
    /// Call setServiceURI on the manager contract first
    #[arg(long)]
    set_uri: bool,
}

/// What was deployed.
#[derive(Serialize)]
struct Deployed<'a> {
    service_id: ServiceId,
    service_uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_hash: Option<B256>,
    service: &'a JsonTree,
}

impl DeployArgs {
    pub(super) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let bytes = download::document(&self.service_uri, &session.config).await?;
        let document = parse(&bytes)?;
        let manager = &document.service().manager;
        let node = session.node()?;
        let tx_hash = match self.set_uri {
            true => Some(set_uri(manager, &self.service_uri, session).await?),
            false => None,
        };
        register(&node, manager).await?;
        let answer = read_back(&node, manager).await?;
        let stored = parse(&answer.body)?;
        if session.config.save_deployment {
            deployments::record(&session.config.data, &stored)?;
        }
        let tree = serde_json::from_slice(&answer.body)
            .map_err(|cause| Failure::failed("unexpected-answer", cause.to_string()))?;
        let service_id = stored.service().id();
        let result = Deployed {
            service_id,
            service_uri: &self.service_uri,
            tx_hash,
            service: &tree,
        };
        session.result(&result, |style| {
            let mut pairs = vec![
                ("Service", service_id.to_string()),
                ("Name", stored.service().name.clone()),
            ];
            pairs.push(("URI", redacted_url(&self.service_uri)));
            pairs.extend(tx_hash.map(|hash| ("Transaction", hash.to_string())));
            style.pairs(&pairs)
        })
    }
}

/// Parses a document that the node is to run.
pub(super) fn parse(bytes: &[u8]) -> Result<ServiceDocument, Failure> {
    ServiceDocument::parse(bytes).map_err(|error| {
        Failure::failed(
            "invalid-service",
            format!("{error}; `wavs-cli service validate` lists all that is missing"),
        )
    })
}

/// Points the manager contract to a document, with the user's key.
pub(super) async fn set_uri(manager: &ServiceManager, uri: &str, session: &Session<'_>) -> Result<B256, Failure> {
    match manager {
        ServiceManager::Evm { chain, address } => {
            let chain = EvmChain::connect_with_key(chain, &session.config).await?;
            Ok(chain.set_service_uri(*address, uri).await?)
        }
        ServiceManager::Cosmos { chain, address } => {
            let message = json!({"wavs_set_service_uri": {"service_uri": uri}});
            let detail = format!(
                "this version sends no transactions to Cosmos chains; execute {message} on {} of {chain} with a tool of that chain, \
                 then run this again without --set-uri",
                address.as_str()
            );
            Err(Failure::new(Exit::Usage, "cosmos-unsupported", detail))
        }
    }
}

/// Asks the node to register a service.
pub(super) async fn register(node: &Node, manager: &ServiceManager) -> Result<(), Failure> {
    let body = json!({"service_manager": manager});
    node.send_json(Method::POST, &["services"], &body).await.map(drop)
}

/// The document as the node has it.
pub(super) async fn read_back(node: &Node, manager: &ServiceManager) -> Result<Answer, Failure> {
    let [chain, address] = path_of(manager);
    node.get_raw(&["services", &chain, &address], &[]).await
}

/// A text of an answer, for tables.
pub(super) fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
