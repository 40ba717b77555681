//! `service manager …`: the contract that owns the service.

use std::path::Path;

use clap::Subcommand;
use serde::Serialize;
use wavs_types::{ChainKey, CosmosAddress, EvmAddress, ServiceManager};

use crate::failure::Failure;
use crate::service_file::{ServiceFile, set, tree_of};
use crate::session::Session;

/// The kinds of managers.
#[derive(Debug, Subcommand)]
pub(in crate::commands) enum ManagerCommand {
    /// A contract on an EVM chain
    #[command(
        after_help = "Example:\n  wavs-cli service manager set-evm --chain evm:31337 --address 0x5fbdb2315678afecb367f032d93f642f64180aa3"
    )]
    SetEvm {
        /// The chain, such as evm:31337
        #[arg(long)]
        chain: ChainKey,
        /// The contract
        #[arg(long)]
        address: EvmAddress,
    },
    /// A contract on a Cosmos chain
    SetCosmos {
        /// The chain, such as cosmos:pion-1
        #[arg(long)]
        chain: ChainKey,
        /// The contract, in bech32
        #[arg(long)]
        address: CosmosAddress,
    },
}

#[derive(Serialize)]
struct ManagerResult<'a, A> {
    chain: &'a ChainKey,
    address: A,
    file_path: &'a Path,
}

impl ManagerCommand {
    pub(in crate::commands) fn run(self, path: &Path, session: &mut Session<'_>) -> Result<(), Failure> {
        let manager = match self {
            Self::SetEvm { chain, address } => ServiceManager::Evm { chain, address },
            Self::SetCosmos { chain, address } => ServiceManager::Cosmos { chain, address },
        };
        let family = match &manager {
            ServiceManager::Evm { .. } => "evm",
            ServiceManager::Cosmos { .. } => "cosmos",
        };
        let namespace = manager.chain().namespace();
        if matches!(namespace, "evm" | "cosmos") && namespace != family {
            return Err(Failure::usage(format!(
                "{} is not a chain of family {family}; use one of {family}: or dev:",
                manager.chain()
            )));
        }
        let mut file = ServiceFile::read(path)?;
        set(file.root(), "manager", tree_of(&manager)?);
        file.write()?;
        let text = |address: &str| format!("manager is {address} on {} in {}", manager.chain(), path.display());
        match &manager {
            ServiceManager::Evm { chain, address } => session.result(
                &ManagerResult {
                    chain,
                    address,
                    file_path: path,
                },
                |_| text(&address.to_checksum(None)),
            ),
            ServiceManager::Cosmos { chain, address } => session.result(
                &ManagerResult {
                    chain,
                    address,
                    file_path: path,
                },
                |_| text(address.as_str()),
            ),
        }
    }
}
