//! Trigger definitions: the condition of a workflow as written in its document. What a trigger delivers is in `trigger_data`.

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

use crate::{B256, EvmAddress, chain_key::ChainKey, cosmos_address::CosmosAddress};

/// The condition under which a workflow runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A log of one contract with one topic0.
    EvmContractEvent {
        /// The emitting contract.
        address: EvmAddress,
        /// Its chain.
        chain: ChainKey,
        /// The first topic, which is the hash of the event's signature.
        event_hash: B256,
    },
    /// An event of one CosmWasm contract.
    CosmosContractEvent {
        /// The emitting contract.
        address: CosmosAddress,
        /// Its chain.
        chain: ChainKey,
        /// The event type without the `wasm-` prefix.
        event_type: String,
    },
    /// Every n-th block of a chain.
    BlockInterval {
        /// The chain.
        chain: ChainKey,
        /// Distance between two runs in blocks.
        n_blocks: NonZeroU32,
        /// Anchor of the interval; absent means the first block that this operator sees.
        start_block: Option<NonZeroU64>,
        /// Last block of the window.
        end_block: Option<NonZeroU64>,
    },
    /// A schedule in UTC.
    Cron {
        /// Six or seven fields, seconds first.
        schedule: String,
        /// Slots must be later than this; nanoseconds since the Unix epoch.
        start_time: Option<u64>,
        /// Slots must not be later than this; nanoseconds since the Unix epoch.
        end_time: Option<u64>,
    },
    /// A commit, identity or account event of the AT Protocol.
    AtProtoEvent {
        /// A namespaced id, `prefix.*`, `identity` or `account`.
        collection: String,
        /// Only this repository, when given.
        repo_did: Option<String>,
        /// Only this action, when given.
        action: Option<AtProtoAction>,
    },
    /// A new block of a hypercore feed.
    HypercoreAppend {
        /// The public key of the feed, exactly as written: its text is part of event ids.
        feed_key: String,
    },
    /// Fires only by injection.
    Manual,
}

/// What happened to an AT Protocol record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtProtoAction {
    /// The record is new.
    Create,
    /// The record was replaced.
    Update,
    /// The record is gone.
    Delete,
}

impl AtProtoAction {
    /// The text form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Trigger {
    /// The label of this kind in metrics and logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EvmContractEvent { .. } => "evm_contract_event",
            Self::CosmosContractEvent { .. } => "cosmos_contract_event",
            Self::BlockInterval { .. } => "block_interval",
            Self::Cron { .. } => "cron",
            // The label predates the tag of the document form, which has one more underscore.
            Self::AtProtoEvent { .. } => "atproto_event",
            Self::HypercoreAppend { .. } => "hypercore_append",
            Self::Manual => "manual",
        }
    }

    /// The chain that is watched, for the kinds that watch one.
    #[must_use]
    pub fn chain(&self) -> Option<&ChainKey> {
        match self {
            Self::EvmContractEvent { chain, .. }
            | Self::CosmosContractEvent { chain, .. }
            | Self::BlockInterval { chain, .. } => Some(chain),
            Self::Cron { .. } | Self::AtProtoEvent { .. } | Self::HypercoreAppend { .. } | Self::Manual => None,
        }
    }
}
