//! `cargo xtask bench`: what the node costs, measured on real processes, a real chain and real contracts in one run.
//!
//! It measures and does not judge: a missed target is a row in the table, not a failure. Figures of different machines do not
//! compare, so the ratios to what the same machine does without the node are printed beside them.

mod bed;
mod burst;
mod catch_up;
mod figure;
mod latency;
mod memory;
mod network;
mod progress;
mod recovery;
mod services;
mod stages;
mod starts;
mod stats;
mod throughput;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use e2e::anvil::Anvil;
use e2e::node::Node;

use crate::shell::{self, Profile};
use bed::Bed;
use figure::{Figure, Report, percentiles, ratio};
use latency::{Landing, Observer};
use progress::Step;
use stats::Sample;

/// The most that an event should take to its result, in milliseconds.
const RESULT_TARGET_MS: f64 = 30.0;
/// Events that come first and are not counted: they compile components and fill caches.
const WARM_EVENTS: u32 = 20;
/// How long the node may take to note that the last result is in a block.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// Measure latency, throughput, memory and start times of the release binaries
///
/// Builds the release binaries, starts a local chain and the five processes, and prints one table. Progress goes to the
/// standard error. Other work on the machine spoils the figures.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    part: Option<Part>,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Lone events that are fired for the latency
    #[arg(long, global = true, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    events: u32,
    /// Use the release binaries as they are
    #[arg(long, global = true)]
    skip_build: bool,
    /// Use the development binaries, to try the benchmark itself: the figures mean nothing
    #[arg(long, global = true)]
    dev: bool,
}

/// A part that is measured by itself.
#[derive(Debug, Clone, Subcommand)]
enum Part {
    /// Measure the start of the processes, lone events and memory
    Latency,
    /// Measure how fast many events of one block land
    Burst,
    /// Measure how many events a second are run, signed and aggregated
    Throughput,
    /// Measure how long a killed process keeps others waiting
    Recovery,
    /// Measure how fast a node that was down takes in what it missed
    CatchUp,
    /// Measure what a registered service costs while nothing happens
    Services,
    /// Compare the engine with bare wasmtime and with a naive host
    Engine {
        /// Measure only what hostile guests with this in their name do to a neighbour; "" is all of them
        #[arg(long, value_name = "TEXT")]
        beside: Option<String>,
    },
    /// Measure what it costs several operators to agree on an event and to land it once
    Network {
        /// Sizes of the networks
        #[arg(long, value_delimiter = ',', default_value = "3,7,15", value_parser = clap::value_parser!(u32).range(2..=15))]
        operators: Vec<u32>,
    },
}

impl Bench {
    /// Measures everything and answers the report.
    pub(crate) fn run(self, _root: &Path) -> Result<String> {
        if let Some(Part::Engine { beside }) = &self.part {
            // wasmtime belongs to the engine alone, so its benchmark is a target of that package and prints for itself.
            let mut arguments = vec![
                "bench",
                "--locked",
                "--package",
                "wavs-engine",
                "--bench",
                "engine",
                "--",
            ];
            arguments.extend(self.json.then_some("--json"));
            if let Some(beside) = beside {
                arguments.extend(["--beside", beside]);
            }
            shell::cargo(&arguments)?;
            return Ok(String::new());
        }
        let profile = if self.dev { Profile::Dev } else { Profile::Release };
        let binaries = if self.skip_build {
            shell::node_dir(profile)?
        } else {
            shell::build_node(profile)?
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut report = Report::new();
        let outcome = runtime.block_on(async {
            tokio::select! {
                outcome = self.measure(&binaries, &mut report) => outcome,
                // Dropping what was started ends it.
                _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            }
        });
        // What was measured before a failure is not lost.
        match outcome {
            Err(_) if self.json => eprintln!("{}", report.json()?),
            Err(_) => eprintln!("{}", report.table()),
            Ok(()) if self.json => return report.json(),
            Ok(()) => return Ok(report.table()),
        }
        outcome.map(|()| String::new())
    }

    async fn measure(&self, binaries: &Path, report: &mut Report) -> Result<()> {
        match &self.part {
            Some(Part::Engine { .. }) => Ok(()),
            Some(Part::Network { operators }) => network::figures(binaries, operators, self.events, report).await,
            Some(Part::CatchUp) => {
                report.add(catch_up::figures(binaries).await?);
                Ok(())
            }
            Some(_) => self.on_one_node(binaries, report).await,
            None => {
                self.on_one_node(binaries, report).await?;
                report.add(catch_up::figures(binaries).await?);
                Ok(())
            }
        }
    }

    async fn on_one_node(&self, binaries: &Path, report: &mut Report) -> Result<()> {
        let wanted = |part: fn(&Part) -> bool| self.part.as_ref().is_none_or(part);
        let latency = wanted(|part| matches!(part, Part::Latency));
        let chain = Anvil::start().await?;
        if latency {
            report.add([starts::starts(&chain, binaries).await?]);
        }
        let node = Node::start(&bed::config(&chain, binaries)).await?;
        if latency {
            report.add([memory::idle("idle after start, PSS of all", &node).await?]);
        }
        let bed = Bed::new(chain, node).await?;
        if latency {
            report.add(self.latency(&bed).await?);
            report.add([memory::idle("idle with a service that worked, PSS of all", &bed.node).await?]);
        }
        if wanted(|part| matches!(part, Part::Burst)) {
            report.add(burst::figures(&bed).await?);
        }
        if wanted(|part| matches!(part, Part::Throughput)) {
            report.add(throughput::figures(&bed).await?);
            report.add(memory::growth(&bed).await?);
        }
        if wanted(|part| matches!(part, Part::Services)) {
            report.add(services::figures(&bed).await?);
        }
        if wanted(|part| matches!(part, Part::Recovery)) {
            report.add(recovery::figures(&bed).await?);
            // A node that is fast after a kill but works no more would be a poor one.
            Observer::connect(&bed)
                .await?
                .fire(1, &Step::new("an event after the kills", 1)?)
                .await?;
        }
        bed.node.stop().await?;
        bed.chain.stop().await
    }

    async fn latency(&self, bed: &Bed) -> Result<Vec<Figure>> {
        let mut observer = Observer::connect(bed).await?;
        let step = Step::new("lone events", u64::from(WARM_EVENTS + self.events))?;
        observer.fire(WARM_EVENTS, &step).await?;
        let landings = observer.fire(self.events, &step).await?;
        drop(step);

        let sample = |time: &dyn Fn(&Landing) -> Option<Duration>| {
            Sample::new(
                landings
                    .iter()
                    .filter_map(|landing| time(landing).map(starts::milliseconds)),
            )
        };
        let bare = sample(&|landing| Some(landing.bare));
        let broadcast = sample(&|landing| landing.broadcast);
        let result = sample(&|landing| Some(landing.result));
        let mut gas = String::new();
        if let Some(last) = landings.last() {
            let (of_event, of_result) = observer.gas(last).await?;
            gas = format!("sent until heard of; {of_event} gas, a result's {of_result}");
        }
        let times = |sample: &Sample| {
            let times = ratio(sample.p50(), bare.p50()).unwrap_or_default();
            format!("{times:.1} times a bare transaction, {} events", sample.count())
        };
        let [bare_p50, bare_p99] = percentiles("bare transaction on this chain", &bare);
        let [broadcast_p50, broadcast_p99] = percentiles("event mined to transaction broadcast", &broadcast);
        let [result_p50, result_p99] = percentiles("event mined to result mined", &result);
        let mut figures = vec![
            bare_p50.note(gas),
            bare_p99,
            broadcast_p50.note(times(&broadcast)),
            broadcast_p99,
            result_p50.target(RESULT_TARGET_MS).note(times(&result)),
            result_p99.note(format!(
                "{} above {RESULT_TARGET_MS} ms",
                result.above(RESULT_TARGET_MS)
            )),
        ];
        figures.extend(stages::figures(&landings, &settled_jobs(bed).await?)?);
        Ok(figures)
    }
}

/// All jobs, once the node has noted that the newest one is done.
async fn settled_jobs(bed: &Bed) -> Result<Vec<serde_json::Value>> {
    let newest = format!("/v1/jobs?service_id={}&workflow_id=default&limit=1", bed.service_id);
    let is_settled = |jobs: &serde_json::Value| {
        jobs["items"][0]["timeline"]
            .as_array()
            .is_some_and(|steps| steps.iter().any(|step| step["step"] == "mined"))
    };
    bed.node.wait_for(&newest, SETTLE_LIMIT, is_settled).await?;
    bed.jobs().await
}
