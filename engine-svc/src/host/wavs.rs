//! The `host` interface of both worlds. They differ in `get-event-id` alone.

use std::str::FromStr;

use wavs_types::{ChainConfig, ChainKey, EventId};

use super::convert;
use super::state::{EventSource, GuestState};
use crate::bindings::operator::wavs::types::chain::{CosmosChainConfig, EvmChainConfig};
use crate::bindings::operator::wavs::types::core::LogLevel;
use crate::bindings::operator::wavs::types::service::{ServiceAndWorkflowId, WorkflowAndWorkflowId};
use crate::bindings::{aggregator, operator};

impl GuestState {
    fn evm_chain(&self, key: &str) -> Option<EvmChainConfig> {
        let key = ChainKey::from_str(key).ok()?;
        match self.run.chains.by_key.get(&key)? {
            ChainConfig::Evm(config) => Some(convert::evm_config(key.id(), config)),
            ChainConfig::Cosmos(_) => None,
        }
    }

    fn cosmos_chain(&self, key: &str) -> Option<CosmosChainConfig> {
        let key = ChainKey::from_str(key).ok()?;
        match self.run.chains.by_key.get(&key)? {
            ChainConfig::Cosmos(config) => Some(convert::cosmos_config(key.id(), config)),
            ChainConfig::Evm(_) => None,
        }
    }

    fn config(&self, key: &str) -> Option<String> {
        self.run.config.get(key).cloned()
    }

    fn message(&self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Error => tracing::Level::ERROR,
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Info => tracing::Level::INFO,
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Trace => tracing::Level::TRACE,
        };
        self.run.log.message(level, message);
    }

    fn service(&self) -> ServiceAndWorkflowId {
        ServiceAndWorkflowId {
            service: convert::service(&self.run.service),
            workflow_id: self.run.workflow_id.as_str().to_owned(),
        }
    }

    fn workflow(&self) -> WorkflowAndWorkflowId {
        WorkflowAndWorkflowId {
            workflow: convert::workflow(&self.run.workflow),
            workflow_id: self.run.workflow_id.as_str().to_owned(),
        }
    }

    fn event_id(&self, salt: Option<&[u8]>) -> Vec<u8> {
        let id = match &self.run.event {
            EventSource::Trigger(data) => {
                EventId::for_response(&self.run.service_id, &self.run.workflow_id, data, salt)
            }
            EventSource::Fixed(id) => *id,
        };
        id.as_bytes().to_vec()
    }
}

impl operator::host::Host for GuestState {
    fn get_evm_chain_config(&mut self, chain_key: String) -> Option<EvmChainConfig> {
        self.evm_chain(&chain_key)
    }

    fn get_cosmos_chain_config(&mut self, chain_key: String) -> Option<CosmosChainConfig> {
        self.cosmos_chain(&chain_key)
    }

    fn config_var(&mut self, key: String) -> Option<String> {
        self.config(&key)
    }

    fn log(&mut self, level: LogLevel, message: String) {
        self.message(level, &message);
    }

    fn get_service(&mut self) -> ServiceAndWorkflowId {
        self.service()
    }

    fn get_workflow(&mut self) -> WorkflowAndWorkflowId {
        self.workflow()
    }

    fn get_event_id(&mut self, salt: Option<Vec<u8>>) -> Vec<u8> {
        self.event_id(salt.as_deref())
    }
}

impl aggregator::host::Host for GuestState {
    fn get_evm_chain_config(&mut self, chain_key: String) -> Option<EvmChainConfig> {
        self.evm_chain(&chain_key)
    }

    fn get_cosmos_chain_config(&mut self, chain_key: String) -> Option<CosmosChainConfig> {
        self.cosmos_chain(&chain_key)
    }

    fn config_var(&mut self, key: String) -> Option<String> {
        self.config(&key)
    }

    fn log(&mut self, level: LogLevel, message: String) {
        self.message(level, &message);
    }

    fn get_service(&mut self) -> ServiceAndWorkflowId {
        self.service()
    }

    fn get_workflow(&mut self) -> WorkflowAndWorkflowId {
        self.workflow()
    }

    fn get_event_id(&mut self) -> Vec<u8> {
        self.event_id(None)
    }
}
