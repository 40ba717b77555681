//! The effective configuration for people: the keys of the reference node in its order, then ours, without any secret.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use wavs_types::{ChainConfig, ChainKey, redacted_url};

use super::keys::KEYS;
use super::kind::Kind;
use super::layer::Layer;
use super::node::NodeConfig;

/// What a secret that is set looks like.
const REDACTED: &str = "<redacted>";

/// A view that can be served and printed. It serialises with its keys in a fixed order.
#[derive(Clone, PartialEq)]
pub struct RedactedConfig {
    members: Vec<(String, Node)>,
}

#[derive(Clone, PartialEq)]
enum Node {
    Leaf(Value),
    Table(Vec<(String, Node)>),
}

impl RedactedConfig {
    pub(super) fn new(layer: &Layer, node: &NodeConfig) -> Self {
        let mut view = Self { members: Vec::new() };
        // First the fixed keys in their order, also those without a value; then what the user named.
        for key in KEYS {
            let path = key.path.split('.').map(str::to_owned).collect::<Vec<_>>();
            match path.as_slice() {
                [first, ..] if first == "chains" => view.put(&["chains".to_owned()], chains(&node.chains)),
                path if path.iter().any(|segment| segment == "*") => {}
                // A table stands where the built-in value is a leaf; its members follow, the place in the order is this one.
                path if layer
                    .entries
                    .keys()
                    .any(|other| other.len() > path.len() && other.starts_with(path)) =>
                {
                    view.put(path, Node::Table(Vec::new()));
                }
                path => {
                    let set = layer.entries.get(path).map(|entry| entry.value.clone());
                    let built_in = || {
                        key.default
                            .and_then(|default| key.kind.parse(default).ok())
                            .unwrap_or(Value::Null)
                    };
                    view.put(path, Node::Leaf(redact(key.kind, set.unwrap_or_else(built_in))));
                }
            }
        }
        for (path, entry) in &layer.entries {
            let named = super::keys::find(path).filter(|key| key.path.contains('*') && !key.path.starts_with("chains"));
            if let Some(key) = named {
                view.put(path, Node::Leaf(redact(key.kind, entry.value.clone())));
            }
        }
        view.set_effective(node);
        view
    }

    /// The same with other chains: the live table of the node.
    #[must_use]
    pub fn with_chains(mut self, live: &BTreeMap<ChainKey, ChainConfig>) -> Self {
        self.put(&["chains".to_owned()], chains(live));
        self
    }

    /// Values that are computed or come from elsewhere than the key itself.
    fn set_effective(&mut self, node: &NodeConfig) {
        self.put(
            &["data".to_owned()],
            Node::Leaf(Value::from(node.data_dir.display().to_string())),
        );
        // Clients know one text here; several gateways are a comma list, as in the configuration.
        let gateways: Vec<_> = node
            .trigger
            .fetch
            .ipfs_gateways
            .iter()
            .map(|url| redacted_url(url))
            .collect();
        self.put(
            &["ipfs_gateway".to_owned()],
            Node::Leaf(Value::from(gateways.join(","))),
        );
        let found = [
            ("signing_mnemonic", node.aggregator.signing_mnemonic.is_some()),
            (
                "aggregator_cosmos_credential",
                node.aggregator.cosmos_credential.is_some(),
            ),
            ("aggregator_evm_credential", node.aggregator.evm_credential.is_some()),
            ("bearer_token", node.http.bearer_token.is_some()),
        ];
        for (name, set) in found {
            self.put(
                &[name.to_owned()],
                Node::Leaf(if set { Value::from(REDACTED) } else { Value::Null }),
            );
        }
    }

    fn put(&mut self, path: &[String], node: Node) {
        put(&mut self.members, path, node);
    }
}

/// Puts `node` at `path`, in place if there is something already, else behind the others.
fn put(members: &mut Vec<(String, Node)>, path: &[String], node: Node) {
    let Some((name, rest)) = path.split_first() else { return };
    let at = members
        .iter()
        .position(|(member, _)| member == name)
        .unwrap_or_else(|| {
            members.push((name.clone(), Node::Table(Vec::new())));
            members.len() - 1
        });
    let slot = &mut members[at].1;
    if rest.is_empty() {
        *slot = node;
        return;
    }
    if let Node::Leaf(_) = slot {
        *slot = Node::Table(Vec::new());
    }
    if let Node::Table(table) = slot {
        put(table, rest, node);
    }
}

fn redact(kind: Kind, value: Value) -> Value {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        (Kind::Credential, Value::String(text)) if text.is_empty() => Value::Null,
        (Kind::Credential, _) => Value::from(REDACTED),
        (Kind::Url, Value::String(url)) => Value::from(redacted_url(&url)),
        // Lists hold addresses too, such as gateways with a key in the path.
        (Kind::List, Value::Array(items)) => items
            .into_iter()
            .map(|item| item.as_str().map_or(Value::Null, |text| Value::from(list_item(text))))
            .collect(),
        // The only tables are tokens.
        (Kind::Tables, Value::Array(items)) => items.into_iter().map(token).collect(),
        (_, value) => value,
    }
}

fn list_item(text: &str) -> String {
    if text.contains("://") {
        redacted_url(text)
    } else {
        text.to_owned()
    }
}

fn token(item: Value) -> Value {
    let Value::Object(members) = item else {
        return Value::from(REDACTED);
    };
    let shown = |(name, value): (String, Value)| {
        let value = if name == "name" || name == "scope" {
            value
        } else {
            Value::from(REDACTED)
        };
        (name, value)
    };
    members.into_iter().map(shown).collect()
}

/// The chain table in the shape of the API: namespace, then id.
fn chains(chains: &BTreeMap<ChainKey, ChainConfig>) -> Node {
    let table = |namespace: &str| {
        let of_namespace = chains.iter().filter(|(key, _)| key.namespace() == namespace);
        let member = |(key, config): (&ChainKey, &ChainConfig)| {
            let value = serde_json::to_value(config.redacted()).unwrap_or(Value::Null);
            (key.id().to_owned(), Node::Leaf(value))
        };
        (namespace.to_owned(), Node::Table(of_namespace.map(member).collect()))
    };
    Node::Table(["cosmos", "evm", "dev"].map(table).into())
}

impl Serialize for RedactedConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        table(&self.members, serializer)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf(value) => value.serialize(serializer),
            Self::Table(members) => table(members, serializer),
        }
    }
}

fn table<S: Serializer>(members: &[(String, Node)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(members.len()))?;
    for (name, node) in members {
        map.serialize_entry(name, node)?;
    }
    map.end()
}
