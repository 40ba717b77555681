//! `cargo xtask chaos`: kills random processes of a node of release binaries while events flow, and counts what became of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use e2e::chaos::{Mode, Outcome, Plan, Progress, Ran};
use indicatif::{ProgressBar, ProgressStyle};

use crate::guests::target_dir;
use crate::shell::{self, Profile};

/// How often the progress is shown.
const SHOW: Duration = Duration::from_millis(200);

/// Kill random processes while events flow, and count what became of the events
///
/// A random process is killed with SIGKILL every 200 to 800 ms. Then every event must be at the handler exactly once with
/// exactly one signature, no transaction may have been sent in vain, nothing may be left to do, and every file must be whole.
/// Ends with an error otherwise; the node's files and its log are kept then.
#[derive(Debug, Args)]
pub(crate) struct Chaos {
    /// Events that are emitted
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    events: u64,
    /// What all random numbers follow from; several run one after the other
    #[arg(long = "seed", default_values_t = [1])]
    seeds: Vec<u64>,
    /// Who restarts the processes; under systemd the supervisor is killed too (needs root)
    #[arg(long, value_enum, default_values_t = [Restarter::Run])]
    mode: Vec<Restarter>,
    /// Mean milliseconds between two transactions that emit events
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pace_ms: u64,
    /// Milliseconds between two blocks; without it each transaction gets a block at once
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    block_ms: Option<u64>,
    /// Also write the outcome to this file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Use the development build instead of the release build
    #[arg(long)]
    dev: bool,
    /// Use the binaries as they are
    #[arg(long)]
    skip_build: bool,
}

/// Who restarts the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Restarter {
    /// `wavs`
    Run,
    /// systemd, on a machine of its own
    Systemd,
}

impl From<Restarter> for Mode {
    fn from(restarter: Restarter) -> Self {
        match restarter {
            Restarter::Run => Self::Run,
            Restarter::Systemd => Self::Systemd,
        }
    }
}

impl Chaos {
    /// Runs every seed in every mode.
    pub(crate) fn run(self, root: &Path) -> Result<String> {
        let profile = if self.dev { Profile::Dev } else { Profile::Release };
        let binaries = if self.skip_build {
            shell::node_dir(profile)?
        } else {
            shell::build_node(profile)?
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcomes = runtime.block_on(async {
            tokio::select! {
                outcomes = self.all(root, &binaries) => outcomes,
                // Dropping what was started ends it.
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            }
        })?;
        if let Some(file) = &self.json {
            let json = serde_json::to_string_pretty(&outcomes)?;
            std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
        let text = outcomes.iter().map(table).collect::<Vec<_>>().join("\n\n");
        if failed > 0 {
            writeln!(std::io::stdout(), "{text}")?;
            bail!("{failed} of {} runs went wrong", outcomes.len());
        }
        Ok(text)
    }

    async fn all(&self, root: &Path, binaries: &Path) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for mode in self.mode.iter().map(|mode| Mode::from(*mode)) {
            for seed in &self.seeds {
                let evidence = target_dir(root).join("chaos").join(format!("{}-{seed}", mode.as_str()));
                let plan = Plan {
                    mode,
                    events: self.events,
                    seed: *seed,
                    pace: Duration::from_millis(self.pace_ms),
                    block_time: self.block_ms.map(Duration::from_millis),
                    binaries: Some(binaries.to_owned()),
                    evidence: evidence.clone(),
                };
                match with_progress(&plan).await? {
                    Ran::Done(outcome) => {
                        if !outcome.passed() {
                            eprintln!("the node's files and its log are in {}", evidence.display());
                        }
                        outcomes.push(*outcome);
                    }
                    Ran::Skipped(missing) => bail!("the mode {} cannot run here: {missing}", mode.as_str()),
                }
            }
        }
        Ok(outcomes)
    }
}

async fn with_progress(plan: &Plan) -> Result<Ran> {
    let template = "{spinner} {msg} {wide_bar} {pos}/{len} {elapsed}";
    let bar = ProgressBar::new(plan.events * 2).with_style(ProgressStyle::with_template(template)?);
    let title = format!("{}, seed {}", plan.mode.as_str(), plan.seed);
    if !std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        eprintln!("{title}");
    }
    let progress = Arc::new(Progress::default());
    let show = async {
        let mut shows = tokio::time::interval(SHOW);
        loop {
            shows.tick().await;
            let (emitted, landed, kills) = progress.now();
            bar.set_position(emitted + landed);
            bar.set_message(format!("{title}: {emitted} emitted, {kills} kills, {landed} landed"));
        }
    };
    let ran = tokio::select! {
        ran = plan.run(progress.clone()) => ran,
        () = show => bail!("the progress ended"),
    };
    bar.finish_and_clear();
    ran
}

/// One run as text: the processes, and what was counted.
fn table(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["process", "kills", "recovery p50", "recovery p99", "measured"]);
    let time = |time: Option<f64>| time.map_or("—".to_owned(), |time| format!("{time:.0} ms"));
    for process in &outcome.processes {
        table.add_row([
            process.process.to_owned(),
            process.kills.to_string(),
            time(process.recovery_p50_ms),
            time(process.recovery_p99_ms),
            process.measured.to_string(),
        ]);
    }
    let findings = &outcome.findings;
    let mut text = format!(
        "{}, seed {}: {} events, {} kills, {:.0} s: {}\n{table}\n\
         landed {}, lost {}, duplicated {}, wrong signatures {}, unfinished {}, reverted transactions {}, \
         damaged files {} of {}",
        outcome.mode,
        outcome.seed,
        outcome.events,
        outcome.kills(),
        outcome.seconds,
        if outcome.passed() { "passed" } else { "FAILED" },
        findings.landed,
        findings.lost.len(),
        findings.duplicated.len(),
        findings.signatures.len(),
        findings.unfinished.len(),
        findings.reverted,
        findings.damaged.len(),
        findings.files,
    );
    let numbers = |what: &str, numbers: &[u64]| {
        numbers
            .iter()
            .map(|number| format!("\n{what} {number}"))
            .collect::<String>()
    };
    text.push_str(&numbers("lost: event", &findings.lost));
    text.push_str(&numbers("duplicated: event", &findings.duplicated));
    for line in findings
        .signatures
        .iter()
        .chain(&findings.unfinished)
        .chain(&findings.damaged)
    {
        text.push_str(&format!("\n{line}"));
    }
    text
}
