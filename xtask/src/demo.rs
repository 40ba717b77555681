//! `cargo xtask demo`: the main job, for real, from nothing to a result read back from the chain.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use comfy_table::{Table, presets};
use console::style;
use e2e::anvil::Anvil;
use e2e::contracts::Contracts;
use e2e::node::{Node, NodeConfig};
use e2e::scenario::{self, Landed, Scenario};
use e2e::service::{self, Component};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::shell::{self, Profile};

mod network;

/// Show the main job: chain, contracts, node, service, one event, and its result on the chain
///
/// Builds everything, starts a local chain and the five processes, deploys the example contracts, uploads the example
/// components, registers a service, fires an event, and reads the result back from the handler contract.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after the first result; the exit code is not zero if it did not land
    #[arg(long)]
    once: bool,
    /// The number that the service squares
    #[arg(long, default_value_t = 12)]
    number: u32,
    /// How many operators run a node each; with more than one, two thirds of them have to sign a result
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=15))]
    operators: u32,
    /// Use optimised binaries, which take minutes longer to build
    #[arg(long)]
    release: bool,
    /// Use the binaries that are there
    #[arg(long)]
    skip_build: bool,
}

impl Demo {
    /// Runs the demo.
    pub(crate) fn run(self, _root: &Path) -> Result<String> {
        let profile = if self.release { Profile::Release } else { Profile::Dev };
        let binaries = if self.skip_build {
            shell::node_dir(profile)?
        } else {
            say(&style("Building the node").bold())?;
            shell::build_node(profile)?
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        if self.operators > 1 {
            return runtime.block_on(network::show(self.operators, self.number, &binaries));
        }
        runtime.block_on(async {
            let scenario = tokio::select! {
                scenario = self.show(&binaries) => scenario?,
                // Dropping what was started ends it.
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
            };
            if !self.once {
                stay(&scenario).await?;
            }
            let status = scenario.node.stop().await?;
            scenario.chain.stop().await?;
            Ok(format!("The node stopped with {status}."))
        })
    }

    async fn show(&self, binaries: &Path) -> Result<Scenario> {
        let mut stages = Stages::default();
        stages
            .run("get anvil, a local EVM chain", async { e2e::tools::anvil() })
            .await?;
        let chain = stages.run("start the chain", Anvil::start()).await?;
        let contracts = stages
            .run(
                "deploy manager, handler and trigger contracts",
                Contracts::deploy(&chain),
            )
            .await?;
        let mut config = NodeConfig::for_chains(&[&chain]);
        config.binaries = Some(binaries.to_owned());
        let node = stages.run("start the five processes", Node::start(&config)).await?;
        let component = stages
            .run(
                "upload the component `square`",
                node.upload(&scenario::prebuilt("square")),
            )
            .await?;
        let aggregator = stages
            .run(
                "upload the aggregator component",
                node.upload(&scenario::prebuilt("aggregator")),
            )
            .await?;
        let key = chain.chain_key();
        let workflow = service::workflow(
            &service::new_trigger(&key, contracts.trigger),
            &Component::new(&component),
            Some(&service::submit_to(&aggregator, &key, contracts.handler)),
        );
        let document = service::service(&key, contracts.manager, &[("default", workflow)]);
        let signer = stages
            .run("publish the service document and opt in", async {
                let uri = node.host_document(&document).await?;
                contracts.set_service_uri(&uri).await?;
                node.add_service(&key, contracts.manager).await?;
                scenario::signer(&node, &key, contracts.manager).await
            })
            .await?;
        stages
            .run("register the operator's signing key", contracts.register(signer, 100))
            .await?;
        let services = node.get("/services").await?;
        let service_id = services["service_ids"][0]
            .as_str()
            .context("the node lists no service")?
            .to_owned();
        let scenario = Scenario {
            node,
            contracts,
            chain,
            component,
            aggregator,
            service_id,
            signer,
        };

        let input = format!("{{\"x\":{}}}", self.number);
        let landed = stages
            .run(
                "fire an event and wait for its result",
                scenario.fire_and_land(input.as_bytes()),
            )
            .await?;
        stages.print()?;
        self.report(&scenario, &input, &landed)?;
        Ok(scenario)
    }

    fn report(&self, scenario: &Scenario, input: &str, landed: &Landed) -> Result<()> {
        let result = String::from_utf8_lossy(&landed.data);
        say(&format!(
            "\n{} {input}  {}  {} {}",
            style("event").dim(),
            style("──▶").dim(),
            style("result read from the handler contract:").dim(),
            style(&result).green().bold(),
        ))?;
        say(&format!(
            "      event id {}, transaction {}\n",
            landed.event_id, landed.transaction
        ))?;
        timeline(&landed.job)?;
        let expected = format!("{{\"y\":{}}}", u64::from(self.number).pow(2));
        anyhow::ensure!(result == expected, "the result on chain is {result}, not {expected}");
        say(&format!("\n{}", style("Where to look next").bold()))?;
        let rows = [
            (
                "jobs with their timelines",
                format!("curl {}", scenario.node.url("/v1/jobs")),
            ),
            (
                "the five processes",
                format!("curl {}", scenario.node.url("/v1/processes")),
            ),
            ("metrics", format!("curl {}", scenario.node.url("/metrics"))),
            ("the node's log and data", scenario.node.dir().display().to_string()),
            ("the chain", scenario.chain.http()),
            ("trigger contract", scenario.contracts.trigger.to_string()),
            ("how it works", "ARCHITECTURE.md".to_owned()),
        ];
        for (what, place) in rows {
            say(&format!("  {what:<26} {place}"))?;
        }
        Ok(())
    }
}

/// Keeps the node up until Ctrl-C.
async fn stay(scenario: &Scenario) -> Result<()> {
    say(&format!(
        "\nThe node stays up. {}",
        style("Press Ctrl-C to stop it.").bold()
    ))?;
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    let count = scenario.contracts.result_count().await?;
    say(&format!("\nStopping; {count} results are on the chain."))
}

/// The stages so far, with their times.
#[derive(Debug, Default)]
struct Stages(Vec<(String, Duration)>);

impl Stages {
    async fn run<T>(&mut self, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let spinner = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}")?);
        spinner.set_message(name.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        let started = Instant::now();
        let result = work.await;
        let took = started.elapsed();
        spinner.finish_and_clear();
        let mark = if result.is_ok() {
            style("✓").green()
        } else {
            style("✗").red()
        };
        say(&format!(
            "{mark} {name} {}",
            style(format!("({})", milliseconds(took))).dim()
        ))?;
        self.0.push((name.to_owned(), took));
        result.with_context(|| format!("could not {name}"))
    }

    fn print(&self) -> Result<()> {
        let total: Duration = self.0.iter().map(|(_, took)| *took).sum();
        say(&style(format!("  in all {}", milliseconds(total))).dim())
    }
}

/// The way of the job through the processes, as the node recorded it.
fn timeline(job: &Value) -> Result<()> {
    let steps: Vec<(String, u64)> = job["timeline"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|step| Some((step["step"].as_str()?.to_owned(), step["at_us"].as_u64()?)))
        .collect();
    let Some((_, first)) = steps.first().cloned() else {
        return Ok(());
    };
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_header(["stage", "after", "took"]);
    let mut previous = first;
    for (state, at) in steps {
        let ms = |from: u64| format!("{:.1} ms", (at.saturating_sub(from)) as f64 / 1_000.0);
        table.add_row([state, ms(first), ms(previous)]);
        previous = at;
    }
    say(&table)
}

fn milliseconds(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

fn say(text: &dyn std::fmt::Display) -> Result<()> {
    writeln!(std::io::stdout(), "{text}").context("cannot write to the standard output")
}
