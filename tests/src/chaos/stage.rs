//! Where a run happens: a chain, and a node that either mode restarts, with one service.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Mode, Plan};
use crate::anvil::{Anvil, Mining};
use crate::contracts::Contracts;
use crate::machine::{Boot, Machine};
use crate::node::{Node, NodeConfig};
use crate::scenario::{Parts, Scenario};

/// A crash loop is what a run is, so neither counts restarts nor waits longer each time.
const RESTARTS: &str = "restart_max = 1000000\nrestart_delay_max_ms = 250\n";

/// Everything that runs.
pub(super) struct Stage {
    /// The node, or what stands in for it while systemd runs the real one. Before the chain, so that it ends first.
    node: Node,
    machine: Option<Box<Machine>>,
    /// The contracts.
    pub(super) contracts: Contracts,
    /// The chain.
    pub(super) chain: Anvil,
}

impl Stage {
    /// Starts everything; the inner error is why this machine cannot.
    pub(super) async fn set(plan: &Plan) -> Result<Result<Self, &'static str>> {
        let mining = plan.block_time.map_or(Mining::Instant, Mining::Every);
        let chain = Anvil::options().mining(mining).start().await?;
        let mut config = NodeConfig::for_chains(&[&chain]);
        let mut machine = None;
        match plan.mode {
            Mode::Run => {
                for process in ["trigger", "engine", "aggregator", "p2p"] {
                    config.toml.push_str(&format!("[wavs.process.{process}]\n{RESTARTS}\n"));
                }
                config.binaries.clone_from(&plan.binaries);
            }
            Mode::Systemd => {
                let booted = match Machine::boot(&[&chain], plan.binaries.as_deref())? {
                    Boot::Booted(machine) => machine,
                    Boot::Missing(missing) => return Ok(Err(missing)),
                };
                booted.all_run("the target does not come up").await?;
                config = booted.stand_in()?;
                machine = Some(booted);
            }
        }
        let contracts = Contracts::deploy(&chain).await?;
        let landing = |parts: &Parts<'_>| vec![("default", parts.landing(&parts.operator()))];
        let scenario = Scenario::start_with(chain, contracts, &config, "echo", landing).await?;
        Ok(Ok(Self {
            node: scenario.node,
            machine,
            contracts: scenario.contracts,
            chain: scenario.chain,
        }))
    }

    /// The URL of a path of the API.
    pub(super) fn url(&self, path: &str) -> String {
        self.node.url(path)
    }

    /// The process whose children are killed.
    pub(super) fn parent(&self) -> Result<u32> {
        match &self.machine {
            Some(machine) => machine.first_process(),
            None => self.node.supervisor().context("the node has ended"),
        }
    }

    /// The node's data directory.
    pub(super) fn data_dir(&self) -> PathBuf {
        match &self.machine {
            Some(machine) => machine.data_dir(),
            None => self.node.dir().join("data"),
        }
    }

    /// Copies the node's files and its log, for whoever looks for the cause.
    pub(super) fn keep(&self, evidence: &Path) -> Result<()> {
        std::fs::create_dir_all(evidence)?;
        let log = match &self.machine {
            Some(machine) => machine.text("journalctl -u 'wavs-*' -o cat --no-pager")?,
            None => self.node.log(),
        };
        std::fs::write(evidence.join("node.log"), log)?;
        copy(&self.data_dir(), &evidence.join("data"))
    }

    /// Stops the node.
    pub(super) async fn end(self) -> Result<()> {
        match self.machine {
            // Ends with everything beneath it.
            Some(machine) => drop(machine),
            None => {
                let status = self.node.stop().await?;
                anyhow::ensure!(status.success(), "the node ended with {status}");
            }
        }
        self.chain.stop().await
    }
}

/// Copies the regular files beneath a directory; sockets have nothing to tell.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
