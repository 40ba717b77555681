//! `service workflow trigger …`: when a workflow runs.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;

use alloy::dyn_abi::Specifier;
use alloy::json_abi::Event;
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use wavs_types::{
    AtProtoAction, B256, ChainKey, Component, ComponentDigest, ComponentSource, CosmosAddress, EvmAddress, Level,
    Permissions, Service, ServiceManager, ServiceStatus, Submit, Trigger, Workflow, WorkflowId,
};

use crate::failure::Failure;
use crate::service_file::{ServiceFile, set, tree_of};
use crate::session::Session;

/// The kinds of triggers.
#[derive(Debug, Subcommand)]
#[expect(clippy::enum_variant_names, reason = "the variants are the names of commands")]
pub(super) enum TriggerCommand {
    /// An event of a contract on an EVM chain
    SetEvm {
        /// The contract
        #[arg(long)]
        address: EvmAddress,
        /// The chain, such as evm:31337
        #[arg(long)]
        chain: ChainKey,
        /// The first topic: its 64 hex digits, or the event as text, such as 'Transfer(address,address,uint256)'
        #[arg(long, value_parser = event_hash)]
        event_hash: B256,
    },
    /// An event of a contract on a Cosmos chain
    SetCosmos {
        /// The contract, in bech32
        #[arg(long)]
        address: CosmosAddress,
        /// The chain, such as cosmos:pion-1
        #[arg(long)]
        chain: ChainKey,
        /// The event's type without wasm- in front
        #[arg(long)]
        event_type: String,
    },
    /// Every so many blocks of a chain
    SetBlockInterval {
        /// The chain
        #[arg(long)]
        chain: ChainKey,
        /// Distance of two runs in blocks
        #[arg(long)]
        n_blocks: NonZeroU32,
        /// Anchor of the interval; set it, so that all operators run at the same blocks
        #[arg(long)]
        start_block: Option<NonZeroU64>,
        /// Last block
        #[arg(long)]
        end_block: Option<NonZeroU64>,
    },
    /// A schedule in UTC
    SetCron {
        /// sec min hour day-of-month month day-of-week [year], Sunday = 1
        #[arg(long)]
        schedule: String,
        /// Begin of the window in nanoseconds since 1970
        #[arg(long)]
        start_time: Option<u64>,
        /// End of the window in nanoseconds since 1970
        #[arg(long)]
        end_time: Option<u64>,
    },
    /// Events of the AT Protocol
    SetAtProtocol {
        /// A namespaced id, prefix.*, identity or account
        #[arg(long)]
        collection: String,
        /// Only this repository
        #[arg(long)]
        repo_did: Option<String>,
        /// Only this action
        #[arg(long, value_enum)]
        action: Option<Action>,
    },
    /// New blocks of a hypercore feed
    SetHypercoreAppend {
        /// The feed's public key, 64 hex digits
        #[arg(long)]
        feed_key: String,
    },
    /// Nothing but injected triggers
    SetManual,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Action {
    Create,
    Update,
    Delete,
}

#[derive(Serialize)]
struct TriggerResult<'a> {
    workflow_id: &'a WorkflowId,
    trigger: &'a Trigger,
    file_path: &'a Path,
}

impl TriggerCommand {
    pub(super) fn run(self, id: &WorkflowId, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        let trigger = self.trigger();
        check(&trigger)?;
        let mut file = ServiceFile::read(path)?;
        set(file.workflow(id)?, "trigger", tree_of(&trigger)?);
        file.write()?;
        let result = TriggerResult {
            workflow_id: id,
            trigger: &trigger,
            file_path: path,
        };
        session.result(&result, |_| {
            format!("trigger of workflow {id} is {} in {}", trigger.kind(), path.display())
        })
    }

    fn trigger(self) -> Trigger {
        match self {
            Self::SetEvm {
                address,
                chain,
                event_hash,
            } => Trigger::EvmContractEvent {
                address,
                chain,
                event_hash,
            },
            Self::SetCosmos {
                address,
                chain,
                event_type,
            } => Trigger::CosmosContractEvent {
                address,
                chain,
                event_type,
            },
            Self::SetBlockInterval {
                chain,
                n_blocks,
                start_block,
                end_block,
            } => Trigger::BlockInterval {
                chain,
                n_blocks,
                start_block,
                end_block,
            },
            Self::SetCron {
                schedule,
                start_time,
                end_time,
            } => Trigger::Cron {
                schedule,
                start_time,
                end_time,
            },
            Self::SetAtProtocol {
                collection,
                repo_did,
                action,
            } => {
                let action = action.map(|action| match action {
                    Action::Create => AtProtoAction::Create,
                    Action::Update => AtProtoAction::Update,
                    Action::Delete => AtProtoAction::Delete,
                });
                Trigger::AtProtoEvent {
                    collection,
                    repo_did,
                    action,
                }
            }
            Self::SetHypercoreAppend { feed_key } => Trigger::HypercoreAppend { feed_key },
            Self::SetManual => Trigger::Manual,
        }
    }
}

/// Applies the rules of documents to the trigger alone: an error refuses the edit, a warning is logged.
fn check(trigger: &Trigger) -> Result<(), Failure> {
    // The rules look at whole services, so the trigger gets the smallest one around it.
    let id = WorkflowId::default();
    let at = format!("/workflows/{id}/trigger");
    let component = Component {
        source: ComponentSource::Digest(ComponentDigest::new([0; 32])),
        permissions: Permissions::default(),
        fuel_limit: None,
        time_limit_seconds: None,
        config: Default::default(),
        env_keys: Default::default(),
    };
    let workflow = Workflow {
        trigger: trigger.clone(),
        component,
        submit: Submit::None,
    };
    let manager_chain = "evm:1"
        .parse()
        .map_err(|error: wavs_types::ParseChainKeyError| Failure::failed("internal", error.to_string()))?;
    let service = Service {
        name: "check".to_owned(),
        workflows: [(id, workflow)].into(),
        status: ServiceStatus::Active,
        manager: ServiceManager::Evm {
            chain: manager_chain,
            address: EvmAddress::ZERO,
        },
    };
    let mut errors = Vec::new();
    for finding in service
        .findings()
        .into_iter()
        .filter(|finding| finding.pointer.starts_with(&at))
    {
        match finding.level {
            Level::Error => errors.push(finding.detail),
            Level::Warning => tracing::warn!("{}", finding.detail),
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::usage(errors.join("; ")))
    }
}

/// 32 bytes of hex, or the hash of an event's signature.
fn event_hash(text: &str) -> Result<B256, String> {
    let text = text.trim();
    if text.contains('(') {
        let declaration = match text.strip_prefix("event ") {
            Some(_) => text.to_owned(),
            None => format!("event {text}"),
        };
        let event = Event::parse(&declaration).map_err(|error| format!("not an event: {error}"))?;
        // The parser takes any word for the name of a struct, which would give the hash of another event.
        event.resolve().map_err(|error| format!("not an event: {error}"))?;
        return Ok(event.selector());
    }
    let expected = "expected 64 hex digits, or an event such as Transfer(address,address,uint256)";
    text.strip_prefix("0x")
        .unwrap_or(text)
        .parse()
        .map_err(|_| expected.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_hash_is_hex_or_text() {
        let transfer = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
        for text in [
            transfer.to_owned(),
            format!("0x{transfer}"),
            "Transfer(address,address,uint256)".to_owned(),
            "event Transfer(address indexed from, address indexed to, uint value)".to_owned(),
        ] {
            assert_eq!(
                event_hash(&text).map(|hash| format!("{hash:x}")),
                Ok(transfer.to_owned()),
                "{text}"
            );
        }
        for text in ["", "Transfer", "0x12", "Transfer(", "Transfer(nothing)"] {
            assert!(event_hash(text).is_err(), "{text}");
        }
    }
}
