//! `cargo xtask demo --operators N`: several nodes gather signatures over the real network and land an event with one
//! transaction; then one operator is killed, and the next event lands all the same.

use std::path::Path;

use anyhow::{Result, ensure};
use comfy_table::{Table, presets};
use console::style;
use e2e::cluster::{Cluster, ClusterConfig, Delivery};
use serde_json::Value;

use super::{Stages, say};

/// Shows the network of operators.
pub(super) async fn show(operators: u32, number: u32, binaries: &Path) -> Result<String> {
    let work = async {
        let mut stages = Stages::default();
        let mut config = ClusterConfig::of(operators, 250);
        config.binaries = Some(binaries.to_owned());
        let name = format!("start a chain and {operators} nodes of five processes, opt in, register, and connect them");
        let mut cluster = stages.run(&name, Cluster::start(&config)).await?;
        peers(&cluster).await?;

        let first = event(&mut stages, &cluster, number).await?;
        if operators < 3 {
            return finish(&cluster, &[first]).await;
        }
        let last = cluster.operators.len() - 1;
        stages
            .run(&format!("kill operator {}", last + 1), cluster.kill(last))
            .await?;
        let second = event(&mut stages, &cluster, number + 1).await?;
        finish(&cluster, &[first, second]).await
    };
    tokio::select! {
        shown = work => shown,
        // Dropping what was started ends it.
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    }
}

/// Fires an event, waits for its result at every operator, and checks it.
async fn event(stages: &mut Stages, cluster: &Cluster, number: u32) -> Result<Delivery> {
    let input = format!("{{\"x\":{number}}}");
    let name = format!("fire {input} and wait until every running operator knows where it landed");
    let delivery = stages.run(&name, cluster.fire_and_land(input.as_bytes())).await?;
    let result = cluster.contracts.result(delivery.event_id).await?.unwrap_or_default();
    let result = String::from_utf8_lossy(&result);
    say(&format!(
        "    {} {}, event {}, transaction {}",
        style("result read from the handler contract:").dim(),
        style(&result).green().bold(),
        delivery.event_id,
        delivery.transaction
    ))?;
    let expected = format!("{{\"y\":{}}}", u64::from(number).pow(2));
    ensure!(result == expected, "the result on chain is {result}, not {expected}");
    Ok(delivery)
}

async fn finish(cluster: &Cluster, deliveries: &[Delivery]) -> Result<String> {
    let transactions = cluster.transactions().await?;
    let (events, sent) = (deliveries.len(), transactions.len());
    say(&format!("\n{events} events took {sent} transactions to the handler."))?;
    Ok("The nodes stopped.".to_owned())
}

/// Who is connected to whom.
async fn peers(cluster: &Cluster) -> Result<()> {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_header(["operator", "peer id", "connected operators"]);
    for operator in cluster.running() {
        let node = operator.node()?;
        let status = node.get("/p2p/status").await?;
        let peers = node.get("/v1/p2p/peers").await?;
        let known = peers["items"].as_array().into_iter().flatten().filter(|peer| {
            peer["operators"]
                .as_array()
                .is_some_and(|operators: &Vec<Value>| !operators.is_empty())
        });
        table.add_row([
            operator.signer.to_string(),
            status["local_peer_id"].as_str().unwrap_or_default().to_owned(),
            known.count().to_string(),
        ]);
    }
    say(&table)
}
