//! Processes are killed at random while events flow, and afterwards everything is counted.
//!
//! [`Plan::run`] starts a chain and a node, emits events at a random pace, kills random processes with SIGKILL at random
//! moments, waits until everything is done, and answers an [`Outcome`]. All randomness comes from the seed, so a run that went
//! wrong can be repeated; what the machine makes of it is not the same twice, of course.

mod dice;
mod outcome;
mod recovery;
mod stage;
mod victim;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

pub use outcome::{Outcome, Victim};

use dice::Dice;
use recovery::Recoveries;
use stage::Stage;

use crate::audit::Audit;

/// How long the node may take, after the last kill, until everything is done.
const SETTLE_LIMIT: Duration = Duration::from_secs(240);
/// Who restarts the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `wavs` itself. It is not killed: its processes would go with it.
    Run,
    /// systemd, on a machine of its own. The supervisor is killed as well.
    Systemd,
}

impl Mode {
    /// As on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Systemd => "systemd",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Who restarts the processes.
    pub mode: Mode,
    /// Events that are emitted.
    pub events: u64,
    /// What all random numbers follow from.
    pub seed: u64,
    /// Mean time between two transactions that emit events.
    pub pace: Duration,
    /// The chain's time between blocks; none for a block per transaction.
    pub block_time: Option<Duration>,
    /// Directory of the binaries; that of the running program when absent.
    pub binaries: Option<PathBuf>,
    /// Where the node's files stay when something went wrong.
    pub evidence: PathBuf,
}

/// How far a run is.
#[derive(Debug, Default)]
pub struct Progress {
    emitted: AtomicU64,
    landed: AtomicU64,
    kills: AtomicU64,
}

impl Progress {
    /// Events emitted, results landed, and processes killed so far.
    #[must_use]
    pub fn now(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.emitted), read(&self.landed), read(&self.kills))
    }
}

impl Plan {
    /// Runs it and counts.
    ///
    /// # Errors
    /// When the chain or the node cannot be started, or cannot be looked at. What went wrong in the node is in the outcome.
    pub async fn run(&self, progress: Arc<Progress>) -> Result<Ran> {
        let stage = match Stage::set(self).await? {
            Ok(stage) => stage,
            Err(missing) => return Ok(Ran::Skipped(missing)),
        };
        let began = Instant::now();
        let mut recoveries = Recoveries::new(stage.url("")).await?;
        tokio::select! {
            emitted = self.emit(&stage, &progress) => emitted?,
            killed = self.kill(&stage, &mut recoveries, &progress) => return Err(killed.err().context("the kills ended")?),
        }
        let kills = recoveries.finish().await;

        let audit = Audit::new(&stage.contracts, stage.data_dir(), self.events);
        let landed = |landed| progress.landed.store(landed, Ordering::Relaxed);
        let settled = audit.settle(&stage.chain, SETTLE_LIMIT, landed).await;
        let findings = audit.all().await.context("cannot count what happened")?;
        let outcome = Outcome::new(self, kills, findings, began.elapsed());
        if settled.is_err() || !outcome.passed() {
            stage.keep(&self.evidence).context("cannot keep the evidence")?;
        }
        stage.end().await?;
        Ok(Ran::Done(Box::new(outcome)))
    }

    async fn emit(&self, stage: &Stage, progress: &Progress) -> Result<()> {
        let mut dice = Dice::events(self.seed);
        let mut emitted = 0;
        while emitted < self.events {
            let count = dice.burst().min(self.events - emitted);
            stage.contracts.emit(count, b"chaos").await?;
            emitted += count;
            progress.emitted.store(emitted, Ordering::Relaxed);
            tokio::time::sleep(dice.gap(self.pace)).await;
        }
        Ok(())
    }

    /// Kills until it is dropped.
    async fn kill(&self, stage: &Stage, recoveries: &mut Recoveries, progress: &Progress) -> Result<()> {
        let mut dice = Dice::kills(self.seed);
        let victims = victim::of(self.mode);
        loop {
            tokio::time::sleep(dice.between_kills()).await;
            let victim = dice.pick(victims);
            let killed = Instant::now();
            // One that is down already is spared: there is nothing to kill.
            if victim.kill(stage.parent()?)? {
                recoveries.watch(victim, killed);
                progress.kills.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// What a run came to.
#[derive(Debug)]
pub enum Ran {
    /// It ran.
    Done(Box<Outcome>),
    /// This machine cannot run it; the text says why.
    Skipped(&'static str),
}
