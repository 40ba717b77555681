//! Hostile peers for tests, and what real nodes spend on them.

#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod hostile;
pub mod junk;

use anyhow::{Context as _, Result};
use e2e::node::Node;
use libp2p::Multiaddr;

/// Where a node listens for others.
pub async fn address(node: &Node) -> Result<Multiaddr> {
    let status = node.get("/p2p/status").await?;
    let addresses = status["listen_addresses"].as_array().context("no addresses")?;
    let mut tcp = addresses.iter().filter_map(|address| address.as_str());
    let tcp = tcp
        .find(|address| address.contains("/tcp/"))
        .context("it listens nowhere")?;
    Ok(tcp.parse()?)
}

/// Memory of one of a node's processes, in KiB.
pub async fn resident(node: &Node, process: &str) -> Result<u64> {
    let pid = node.pid(process).await?;
    let status = tokio::fs::read_to_string(format!("/proc/{pid}/status")).await?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no VmRSS")?;
    Ok(number.parse()?)
}
