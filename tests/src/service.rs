//! Service documents of the examples.

use alloy::primitives::{Address, keccak256};
use serde_json::{Value, json};

/// A component of a workflow.
#[derive(Debug, Clone)]
pub struct Component {
    /// Digest of its upload.
    pub digest: String,
    /// Its configuration.
    pub config: Vec<(String, String)>,
    /// The environment variables that it asks for.
    pub env_keys: Vec<String>,
    /// Further members of the component object.
    pub more: Value,
}

impl Component {
    /// A component without configuration.
    #[must_use]
    pub fn new(digest: &str) -> Self {
        Self {
            digest: digest.to_owned(),
            config: Vec::new(),
            env_keys: Vec::new(),
            more: json!({}),
        }
    }

    /// Sets a configuration value.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.config.push((key.to_owned(), value.to_string()));
        self
    }

    fn to_json(&self) -> Value {
        let config: serde_json::Map<_, _> = self
            .config
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        let mut component = json!({
            "source": {"digest": self.digest},
            "permissions": {},
            "config": config,
            "env_keys": self.env_keys,
        });
        if let (Some(component), Some(more)) = (component.as_object_mut(), self.more.as_object()) {
            component.extend(more.clone());
        }
        component
    }
}

/// The trigger of the example trigger contract.
#[must_use]
pub fn new_trigger(chain: &str, contract: Address) -> Value {
    let event_hash = keccak256("NewTrigger(bytes)");
    json!({"evm_contract_event": {"chain": chain, "address": contract, "event_hash": event_hash}})
}

/// An aggregator component that submits to `handler`.
#[must_use]
pub fn submit_to(digest: &str, chain: &str, handler: Address) -> Component {
    Component::new(digest)
        .config("chain", chain)
        .config("service_handler", handler)
}

/// One workflow; without an aggregator nothing is submitted.
#[must_use]
pub fn workflow(trigger: &Value, component: &Component, aggregator: Option<&Component>) -> Value {
    let submit = aggregator.map_or(json!("none"), |aggregator| {
        json!({"aggregator": {
            "component": aggregator.to_json(),
            "signature_kind": {"algorithm": "secp256k1", "prefix": "eip191"},
        }})
    });
    json!({"trigger": trigger, "component": component.to_json(), "submit": submit})
}

/// An active service.
#[must_use]
pub fn service(chain: &str, manager: Address, workflows: &[(&str, Value)]) -> Value {
    let workflows: serde_json::Map<_, _> = workflows
        .iter()
        .map(|(id, workflow)| ((*id).to_owned(), workflow.clone()))
        .collect();
    json!({
        "name": "example",
        "workflows": workflows,
        "status": "active",
        "manager": {"evm": {"chain": chain, "address": manager}},
    })
}
