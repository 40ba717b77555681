//! From a log to the occurrences that it means for this node.

use alloy::primitives::Bytes;
use alloy::rpc::types::Log;
use alloy::sol;
use alloy::sol_types::SolEvent;
use wavs_types::{B256, ChainKey, EvmAddress, LogData, ServiceId, TriggerData};

use crate::watch::{EvmView, Route, SERVICE_URI_UPDATED};

sol! {
    event ServiceURIUpdated(string serviceURI);
}

/// A log with everything that identifies it. Pending logs lack some of it and are never used.
#[derive(Debug, Clone)]
pub(crate) struct MinedLog {
    pub address: EvmAddress,
    pub topics: Vec<B256>,
    pub data: Bytes,
    pub transaction_hash: B256,
    pub transaction_index: u64,
    pub block_hash: B256,
    pub block_number: u64,
    pub log_index: u64,
    /// Seconds since the Unix epoch, where the provider says it.
    pub block_timestamp: Option<u64>,
    /// True when a reorganisation took the log out of the chain.
    pub removed: bool,
}

/// What a log means.
#[derive(Debug)]
pub(crate) struct Meaning<'a> {
    /// The service whose manager announced this URI; `Err` when the announcement does not decode.
    pub service_uri: Option<(ServiceId, Result<String, String>)>,
    /// The routes that fire, in firing order.
    pub routes: &'a [Route],
}

impl MinedLog {
    /// Takes a log of the RPC interface; `None` when it is not mined.
    pub(crate) fn new(log: Log) -> Option<Self> {
        Some(Self {
            address: log.inner.address,
            topics: log.inner.data.topics().to_vec(),
            transaction_hash: log.transaction_hash?,
            transaction_index: log.transaction_index?,
            block_hash: log.block_hash?,
            block_number: log.block_number?,
            log_index: log.log_index?,
            block_timestamp: log.block_timestamp,
            removed: log.removed,
            data: log.inner.data.data,
        })
    }

    /// Durable identity of the occurrence.
    pub(crate) fn source_key(&self, chain: &ChainKey) -> String {
        format!("{chain}/{}/{}", self.block_hash, self.log_index)
    }

    /// What the log means for a chain's routes and managers. A log without topics means nothing.
    pub(crate) fn meaning<'a>(&self, view: &'a EvmView) -> Meaning<'a> {
        let Some(topic) = self.topics.first() else {
            return Meaning {
                service_uri: None,
                routes: &[],
            };
        };
        let manager = view
            .managers
            .get(&self.address)
            .filter(|_| *topic == SERVICE_URI_UPDATED);
        let service_uri = manager.map(|service_id| {
            let decoded = ServiceURIUpdated::decode_raw_log(self.topics.iter().copied(), &self.data);
            (
                *service_id,
                decoded.map(|event| event.serviceURI).map_err(|cause| cause.to_string()),
            )
        });
        let routes = view.routes.get(&(self.address, *topic)).map_or(&[][..], Vec::as_slice);
        Meaning { service_uri, routes }
    }

    /// The payload of a trigger.
    pub(crate) fn trigger_data(&self, chain: &ChainKey, block_timestamp: Option<u64>) -> TriggerData {
        TriggerData::EvmContractEvent {
            chain: chain.clone(),
            contract_address: self.address,
            log_data: LogData {
                topics: self.topics.clone(),
                data: self.data.clone(),
            },
            tx_hash: self.transaction_hash,
            block_number: self.block_number,
            log_index: self.log_index,
            block_hash: self.block_hash,
            block_timestamp,
            tx_index: self.transaction_index,
        }
    }
}
