//! `service apply`: from a document file to a running service in one step that can be repeated. What is done already is left alone.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};
use url::Url;
use wavs_types::{B256, ServiceDigest, ServiceDocument, ServiceId, ServiceManager};

use super::deploy::{parse, read_back, register, set_uri};
use crate::deployments;
use crate::failure::{Exit, Failure};
use crate::node::Node;
use crate::service_file::read_bytes;
use crate::session::Session;

/// Distance of two questions to the node whether it has the new version.
const POLL: Duration = Duration::from_millis(500);

/// `service apply [-f FILE] [--set-uri]`
#[derive(Debug, Args)]
#[command(after_help = "\
Stores the document on the node (dev endpoint), points the manager contract to it with --set-uri, and registers the service.
A service that is registered already is updated by the node when the contract points to the new document, so an update needs
--set-uri too. Run again, it changes nothing.

Example:
  wavs-cli service -f gas-watch.json apply --set-uri")]
pub(super) struct ApplyArgs {
    /// Call setServiceURI on the manager contract, with your evm_credential
    #[arg(long)]
    set_uri: bool,
    /// Address of the node as others reach it; the document's address begins with it [default: the endpoint]
    #[arg(long, value_name = "URL")]
    public_endpoint: Option<Url>,
    /// How long to wait for a registered service to take the new version
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u32,
}

/// What happened to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Registered,
    Updated,
    Unchanged,
}

#[derive(Serialize)]
struct Applied<'a> {
    service_id: ServiceId,
    hash: ServiceDigest,
    service_uri: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_hash: Option<B256>,
    outcome: Outcome,
}

impl ApplyArgs {
    pub(super) async fn run(self, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        let document = parse(&read_bytes(path)?)?;
        let hash = document.digest();
        let manager = &document.service().manager;
        let node = session.node()?;
        let before = registered(&node, manager).await?;
        let uri = self.document_uri(hash, &node);
        let (outcome, tx_hash) = if before == Some(hash) {
            (Outcome::Unchanged, None)
        } else {
            if before.is_some() && !self.set_uri {
                let detail = "the node has another version of this service; --set-uri points the manager contract to the new one";
                return Err(Failure::new(Exit::Conflict, "already-registered", detail));
            }
            store(&node, &document).await?;
            let tx_hash = match self.set_uri {
                true => Some(set_uri(manager, &uri, session).await?),
                false => None,
            };
            let outcome = match before {
                Some(_) => {
                    self.wait_for(&node, manager, hash).await?;
                    Outcome::Updated
                }
                None => {
                    register(&node, manager).await?;
                    self.confirm(&node, manager, hash).await?;
                    Outcome::Registered
                }
            };
            (outcome, tx_hash)
        };
        if session.config.save_deployment {
            deployments::record(&session.config.data, &document)?;
        }
        let service_id = document.service().id();
        let result = Applied {
            service_id,
            hash,
            service_uri: &uri,
            tx_hash,
            outcome,
        };
        session.result(&result, |style| {
            let word = match outcome {
                Outcome::Registered => "registered",
                Outcome::Updated => "updated",
                Outcome::Unchanged => "unchanged",
            };
            let mut pairs = vec![
                ("Service", service_id.to_string()),
                ("Result", word.to_owned()),
                ("Hash", hash.to_string()),
            ];
            pairs.push(("URI", uri.clone()));
            pairs.extend(tx_hash.map(|hash| ("Transaction", hash.to_string())));
            style.pairs(&pairs)
        })
    }

    fn document_uri(&self, hash: ServiceDigest, node: &Node) -> String {
        let hash = hash.to_string();
        match &self.public_endpoint {
            None => node.url(&["dev", "services", &hash]).to_string(),
            Some(base) => format!("{}/dev/services/{hash}", base.as_str().trim_end_matches('/')),
        }
    }

    /// A new registration follows the contract, which may still point elsewhere.
    async fn confirm(&self, node: &Node, manager: &ServiceManager, hash: ServiceDigest) -> Result<(), Failure> {
        match registered(node, manager).await? {
            Some(found) if found != hash => {
                let detail = format!(
                    "the service is registered, but its manager contract points to another document ({found}); run again with --set-uri"
                );
                Err(Failure::new(Exit::Conflict, "other-document", detail))
            }
            _ => Ok(()),
        }
    }

    async fn wait_for(&self, node: &Node, manager: &ServiceManager, hash: ServiceDigest) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(self.wait.into());
        let mut polls = interval(POLL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() <= end {
            polls.tick().await;
            if registered(node, manager).await? == Some(hash) {
                return Ok(());
            }
        }
        let detail = format!(
            "the manager contract points to the new document, but the node did not take it within {} s; `service status` may tell why",
            self.wait
        );
        Err(Failure::failed("update-pending", detail))
    }
}

/// Stores the document without registering it; the node must compute the same hash.
async fn store(node: &Node, document: &ServiceDocument) -> Result<(), Failure> {
    let body = document.raw().to_vec();
    let answer = node
        .post_bytes(&["dev", "services"], "application/json", body)
        .await?
        .json()?;
    let hash = answer.get("hash").and_then(Value::as_str).unwrap_or_default();
    if hash.parse() == Ok(document.digest()) {
        return Ok(());
    }
    let detail = format!(
        "the node computed the hash `{hash}` for this document, expected {}; are both of one version?",
        document.digest()
    );
    Err(Failure::failed("hash-mismatch", detail))
}

/// The hash of the version that the node has, if it has the service.
async fn registered(node: &Node, manager: &ServiceManager) -> Result<Option<ServiceDigest>, Failure> {
    match read_back(node, manager).await {
        Ok(answer) => Ok(Some(parse(&answer.body)?.digest())),
        Err(failure) if failure.exit() == Exit::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}
