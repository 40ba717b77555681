//! The service document as typed data. Field order here is the canonical order: serialising with `serde_json` writes the
//! canonical form, so no field may be moved, skipped or renamed. Rules beyond the shape are in `validate`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    EvmAddress,
    chain_key::ChainKey,
    cosmos_address::CosmosAddress,
    digest::{ComponentDigest, ServiceId},
    signature_kind::SignatureKind,
    trigger::Trigger,
    workflow_id::WorkflowId,
};

/// A service: what its operators run, and the contract that owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Free text for humans, at most 256 bytes.
    pub name: String,
    /// The workflows, sorted by id. May be empty.
    pub workflows: BTreeMap<WorkflowId, Workflow>,
    /// Whether triggers are executed.
    pub status: ServiceStatus,
    /// The contract that points to this document; it gives the service its identity.
    pub manager: ServiceManager,
}

/// Whether a service executes its triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceStatus {
    /// Triggers are executed.
    Active,
    /// Triggers keep their position but are dropped.
    Paused,
}

/// The contract that names the operators and the document of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceManager {
    /// A contract on an EVM chain.
    Evm {
        /// The chain it lives on.
        chain: ChainKey,
        /// Its address.
        address: EvmAddress,
    },
    /// A contract on a Cosmos chain.
    Cosmos {
        /// The chain it lives on.
        chain: ChainKey,
        /// Its address.
        address: CosmosAddress,
    },
}

/// One trigger, the component that it runs, and what happens to the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workflow {
    /// When to run.
    pub trigger: Trigger,
    /// What to run.
    pub component: Component,
    /// Where results go.
    pub submit: Submit,
}

/// A WASM component and the terms on which it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Where to get the wasm file.
    pub source: ComponentSource,
    /// What the component asks to be allowed.
    pub permissions: Permissions,
    /// Fuel per run; absent means not metered, except by the operator's own cap.
    pub fuel_limit: Option<u64>,
    /// Seconds per run; absent means the node's default.
    pub time_limit_seconds: Option<u64>,
    /// Values the component can read.
    pub config: BTreeMap<String, String>,
    /// Names of the operator's variables that the component may read.
    pub env_keys: BTreeSet<String>,
}

/// Where the wasm file of a component comes from. The digest decides what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentSource {
    /// Any supported URI.
    Download {
        /// `http`, `https` or `ipfs`.
        uri: String,
        /// Expected SHA-256.
        digest: ComponentDigest,
    },
    /// A package of a wasm registry.
    Registry {
        /// Expected SHA-256.
        digest: ComponentDigest,
        /// Registry host; absent means the default registry.
        domain: Option<String>,
        /// Semantic version; absent means the highest.
        version: Option<String>,
        /// `namespace:name`.
        package: String,
    },
    /// Already in the node's component store.
    Digest(ComponentDigest),
}

/// What a component asks for. Every member defaults to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// Hosts for outgoing HTTP requests.
    #[serde(default)]
    pub allowed_http_hosts: AllowedHosts,
    /// A directory of its own.
    #[serde(default)]
    pub file_system: bool,
    /// TCP and UDP sockets.
    #[serde(default)]
    pub raw_sockets: bool,
    /// Name lookups by the guest itself.
    #[serde(default)]
    pub dns_resolution: bool,
}

/// Hosts that a component may send HTTP requests to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllowedHosts {
    /// Any, subject to the operator's address policy.
    All,
    /// None at all.
    #[default]
    None,
    /// Those that match one of the patterns, in the order of the document.
    Only(Vec<String>),
}

/// What happens to the result of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "a service has few workflows, and nearly all of them submit"
)]
pub enum Submit {
    /// Nothing; the component works by its side effects.
    None,
    /// It is signed, exchanged between operators and submitted.
    Aggregator(AggregatorSubmit),
}

/// How results are signed and brought on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatorSubmit {
    /// The aggregator component, which decides where a signed result goes.
    pub component: Component,
    /// What exactly is signed, and how.
    pub signature_kind: SignatureKind,
}

impl Service {
    /// The identity of the service, which is that of its manager.
    #[must_use]
    pub fn id(&self) -> ServiceId {
        self.manager.service_id()
    }
}

impl ServiceManager {
    /// The chain of the contract.
    #[must_use]
    pub fn chain(&self) -> &ChainKey {
        match self {
            Self::Evm { chain, .. } | Self::Cosmos { chain, .. } => chain,
        }
    }

    /// The identity of the service that this contract manages.
    #[must_use]
    pub fn service_id(&self) -> ServiceId {
        ServiceId::of(self)
    }
}

impl Workflow {
    /// The aggregator part of `submit`, if results are submitted at all.
    #[must_use]
    pub fn aggregator(&self) -> Option<&AggregatorSubmit> {
        match &self.submit {
            Submit::None => None,
            Submit::Aggregator(aggregator) => Some(aggregator),
        }
    }
}

impl ComponentSource {
    /// The digest that the file must have.
    #[must_use]
    pub fn digest(&self) -> ComponentDigest {
        match self {
            Self::Download { digest, .. } | Self::Registry { digest, .. } | Self::Digest(digest) => *digest,
        }
    }
}
