//! Trigger definitions and what they deliver.

use wavs_ipc::contract::job::Response;
use wavs_types::{Trigger, TriggerAction, TriggerData};

use super::address;
use crate::bindings::aggregator::wavs::aggregator::input::AggregatorInput;
use crate::bindings::operator::wavs::operator::input as wit_input;
use crate::bindings::operator::wavs::operator::output::WasmResponse;
use crate::bindings::operator::wavs::types::{
    chain as wit_chain, core as wit_core, events as wit, service as wit_service,
};

/// The input of an operator component.
pub(crate) fn trigger_action(action: TriggerAction) -> wit_input::TriggerAction {
    wit_input::TriggerAction {
        config: wit_input::TriggerConfig {
            service_id: action.config.service_id.to_string(),
            workflow_id: action.config.workflow_id.as_str().to_owned(),
            trigger: trigger(&action.config.trigger),
        },
        data: data(action.data),
    }
}

/// The input of an aggregator component.
pub(crate) fn aggregator_input(action: TriggerAction, response: Response) -> AggregatorInput {
    AggregatorInput {
        trigger_action: trigger_action(action),
        operator_response: WasmResponse {
            payload: response.payload,
            ordering: response.ordering,
            event_id_salt: response.event_id_salt,
        },
    }
}

pub(super) fn trigger(trigger: &Trigger) -> wit_service::Trigger {
    use wit_service::Trigger as Wit;
    match trigger {
        Trigger::EvmContractEvent {
            address,
            chain,
            event_hash,
        } => Wit::EvmContractEvent(wit_service::TriggerEvmContractEvent {
            address: address::evm(address),
            chain: chain.as_str().to_owned(),
            event_hash: event_hash.to_vec(),
        }),
        Trigger::CosmosContractEvent {
            address,
            chain,
            event_type,
        } => Wit::CosmosContractEvent(wit_service::TriggerCosmosContractEvent {
            address: address::cosmos(address),
            chain: chain.as_str().to_owned(),
            event_type: event_type.clone(),
        }),
        Trigger::BlockInterval {
            chain,
            n_blocks,
            start_block,
            end_block,
        } => Wit::BlockInterval(wit_service::TriggerBlockInterval {
            chain: chain.as_str().to_owned(),
            n_blocks: n_blocks.get(),
            start_block: start_block.map(Into::into),
            end_block: end_block.map(Into::into),
        }),
        Trigger::Cron {
            schedule,
            start_time,
            end_time,
        } => Wit::Cron(wit_service::TriggerCron {
            schedule: schedule.clone(),
            start_time: start_time.map(|nanos| wit_core::Timestamp { nanos }),
            end_time: end_time.map(|nanos| wit_core::Timestamp { nanos }),
        }),
        Trigger::AtProtoEvent {
            collection,
            repo_did,
            action,
        } => Wit::AtprotoEvent(wit_service::TriggerAtprotoEvent {
            collection: collection.clone(),
            repo_did: repo_did.clone(),
            action: action.map(|action| action.as_str().to_owned()),
        }),
        Trigger::HypercoreAppend { feed_key } => Wit::HypercoreAppend(wit_service::TriggerHypercoreAppend {
            feed_key: feed_key.clone(),
        }),
        Trigger::Manual => Wit::Manual,
    }
}

fn data(data: TriggerData) -> wit::TriggerData {
    use wit::TriggerData as Wit;
    match data {
        TriggerData::EvmContractEvent {
            chain,
            contract_address,
            log_data,
            tx_hash,
            block_number,
            log_index,
            block_hash,
            block_timestamp,
            tx_index,
        } => Wit::EvmContractEvent(wit::TriggerDataEvmContractEvent {
            chain: chain.as_str().to_owned(),
            log: wit_chain::EvmEventLog {
                address: address::evm(&contract_address),
                data: wit_chain::EvmEventLogData {
                    topics: log_data.topics.iter().map(|topic| topic.to_vec()).collect(),
                    data: log_data.data.to_vec(),
                },
                tx_hash: tx_hash.to_vec(),
                block_number,
                log_index,
                block_hash: block_hash.to_vec(),
                block_timestamp,
                tx_index,
            },
        }),
        TriggerData::CosmosContractEvent {
            contract_address,
            chain,
            event,
            block_height,
            event_index,
        } => Wit::CosmosContractEvent(wit::TriggerDataCosmosContractEvent {
            contract_address: address::cosmos(&contract_address),
            chain: chain.as_str().to_owned(),
            event: wit_chain::CosmosEvent {
                ty: event.event_type,
                attributes: event
                    .attributes
                    .into_iter()
                    .map(|attribute| (attribute.key, attribute.value))
                    .collect(),
            },
            event_index,
            block_height,
        }),
        TriggerData::BlockInterval { chain, block_height } => Wit::BlockInterval(wit::TriggerDataBlockInterval {
            chain: chain.as_str().to_owned(),
            block_height,
        }),
        TriggerData::Cron { trigger_time } => Wit::Cron(wit::TriggerDataCron {
            trigger_time: wit_core::Timestamp { nanos: trigger_time },
        }),
        TriggerData::AtProtoEvent {
            sequence,
            timestamp,
            repo,
            collection,
            rkey,
            action,
            cid,
            record,
            rev,
            op_index,
        } => {
            Wit::AtprotoEvent(wit::TriggerDataAtprotoEvent {
                sequence,
                timestamp,
                repo,
                collection,
                rkey,
                action: action.as_str().to_owned(),
                cid,
                // A JSON value displays as compact text.
                record_data: record.map(|record| record.to_string()),
                rev,
                op_index,
            })
        }
        TriggerData::HypercoreAppend { feed_key, index, data } => {
            Wit::HypercoreAppend(wit::TriggerDataHypercoreAppend { feed_key, index, data })
        }
        TriggerData::Raw(bytes) => Wit::Raw(bytes),
    }
}
