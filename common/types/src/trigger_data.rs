//! What a trigger delivers to a component, in the JSON form that operators exchange. Variant and field order are the JSON
//! order; the order that is hashed is written down separately, in `salt`.

use serde::{Deserialize, Serialize};

use crate::{
    B256, Bytes, EvmAddress,
    chain_key::ChainKey,
    cosmos_address::CosmosAddress,
    digest::ServiceId,
    salt,
    trigger::{AtProtoAction, Trigger},
    workflow_id::WorkflowId,
};

/// One occurrence of a trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TriggerData {
    /// An event of a CosmWasm contract.
    CosmosContractEvent {
        /// The emitting contract.
        contract_address: CosmosAddress,
        /// Its chain.
        chain: ChainKey,
        /// Type without the `wasm-` prefix, and all attributes in order.
        event: CosmosEvent,
        /// Height of the block.
        block_height: u64,
        /// 0-based position among all events of the block.
        event_index: u64,
    },
    /// A log of an EVM contract.
    EvmContractEvent {
        /// The chain key of the trigger definition.
        chain: ChainKey,
        /// The emitting contract.
        contract_address: EvmAddress,
        /// Topics and data.
        log_data: LogData,
        /// The transaction.
        tx_hash: B256,
        /// The block's number.
        block_number: u64,
        /// Position of the log in the block.
        log_index: u64,
        /// The block's hash.
        block_hash: B256,
        /// The block's time in seconds; its presence is part of the event id.
        block_timestamp: Option<u64>,
        /// Position of the transaction in the block.
        tx_index: u64,
    },
    /// A block of the interval.
    BlockInterval {
        /// The chain.
        chain: ChainKey,
        /// Height that fired.
        block_height: u64,
    },
    /// A slot of the schedule.
    Cron {
        /// The scheduled slot, never the local clock; nanoseconds since the Unix epoch.
        trigger_time: u64,
    },
    /// An event of the AT Protocol.
    AtProtoEvent {
        /// Position in the relay's stream; not hashed.
        sequence: i64,
        /// The relay's time in microseconds since the Unix epoch; not hashed.
        timestamp: i64,
        /// The repository's DID.
        repo: String,
        /// The collection.
        collection: String,
        /// The record key.
        rkey: String,
        /// What happened.
        action: AtProtoAction,
        /// Content id of the record.
        cid: Option<String>,
        /// The record itself.
        record: Option<serde_json::Value>,
        /// Revision of the repository.
        rev: Option<String>,
        /// Position among the operations of one commit.
        op_index: Option<u32>,
    },
    /// A block of a hypercore feed.
    HypercoreAppend {
        /// The key as written in the definition.
        feed_key: String,
        /// Position in the feed.
        index: u64,
        /// The block's bytes.
        data: Vec<u8>,
    },
    /// Bytes given by whoever injected the trigger.
    Raw(Vec<u8>),
}

/// Topics and data of an EVM log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogData {
    /// Up to four topics; the first is the event's hash.
    pub topics: Vec<B256>,
    /// The unindexed arguments.
    pub data: Bytes,
}

/// An event of a CosmWasm contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosmosEvent {
    /// The type without the `wasm-` prefix.
    #[serde(rename = "type")]
    pub event_type: String,
    /// All attributes in order, the contract address included.
    pub attributes: Vec<CosmosAttribute>,
}

/// One attribute of a Cosmos event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosmosAttribute {
    /// Its name, not necessarily unique.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Which workflow a trigger belongs to, with its definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerConfig {
    /// The service.
    pub service_id: ServiceId,
    /// The workflow in it.
    pub workflow_id: WorkflowId,
    /// The definition that matched.
    pub trigger: Trigger,
}

/// A trigger that fired: the input of one execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggerAction {
    /// Whose trigger it is.
    pub config: TriggerConfig,
    /// What it delivers.
    pub data: TriggerData,
}

impl TriggerData {
    /// The bytes that stand for this occurrence in an event id when the component gives no salt of its own.
    #[must_use]
    pub fn salt(&self) -> Vec<u8> {
        salt::encode(self)
    }

    /// The chain that the occurrence comes from, for the kinds that come from one.
    #[must_use]
    pub fn chain(&self) -> Option<&ChainKey> {
        match self {
            Self::CosmosContractEvent { chain, .. }
            | Self::EvmContractEvent { chain, .. }
            | Self::BlockInterval { chain, .. } => Some(chain),
            Self::Cron { .. } | Self::AtProtoEvent { .. } | Self::HypercoreAppend { .. } | Self::Raw(_) => None,
        }
    }
}
