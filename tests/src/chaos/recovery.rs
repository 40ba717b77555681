//! How long each killed process is away: from the kill until it answers the API again.
//!
//! A question to a process that is down waits at its socket, so the answer comes the moment that the process is back. In
//! systemd mode the API may be down itself at that moment; then its outage is in the figure, as it is for whoever asks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::outcome::{Kills, Victim};

/// Time between two questions.
const LOOK: Duration = Duration::from_millis(5);
/// Longest wait for an answer and, at the end, for a process.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an incarnation of a process is told by.
type Mark = Value;

/// Watches the processes that were killed.
#[derive(Debug)]
pub(super) struct Recoveries {
    base: String,
    client: reqwest::Client,
    /// The last incarnation of each that was seen.
    marks: BTreeMap<Victim, Mark>,
    watches: BTreeMap<Victim, JoinHandle<(Mark, Duration)>>,
    kills: BTreeMap<Victim, Kills>,
}

impl Recoveries {
    /// Looks at all processes once.
    pub(super) async fn new(base: String) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let mut marks = BTreeMap::new();
        for victim in Victim::ALL {
            let mark = mark(&client, &base, victim).await;
            marks.insert(
                victim,
                mark.with_context(|| format!("{} does not answer", victim.name()))?,
            );
        }
        Ok(Self {
            base,
            client,
            marks,
            watches: BTreeMap::new(),
            kills: BTreeMap::new(),
        })
    }

    /// Waits, in the background, until a process is back that was killed just now.
    pub(super) fn watch(&mut self, victim: Victim, killed: Instant) {
        self.kills.entry(victim).or_default().count += 1;
        self.collect(victim);
        let (client, base) = (self.client.clone(), self.base.clone());
        let before = self.marks.get(&victim).cloned().unwrap_or_default();
        self.watches.insert(
            victim,
            tokio::spawn(async move {
                let mut looks = tokio::time::interval(LOOK);
                loop {
                    looks.tick().await;
                    if let Some(mark) = mark(&client, &base, victim).await
                        && mark != before
                    {
                        return (mark, killed.elapsed());
                    }
                }
            }),
        );
    }

    /// Takes over what is known of an earlier kill. A process that died again before it was back is counted, not measured.
    fn collect(&mut self, victim: Victim) {
        let Some(watch) = self.watches.remove(&victim) else {
            return;
        };
        if !watch.is_finished() {
            watch.abort();
            return;
        }
        if let Some(Ok((mark, took))) = futures::FutureExt::now_or_never(watch) {
            self.take(victim, mark, took);
        }
    }

    fn take(&mut self, victim: Victim, mark: Mark, took: Duration) {
        self.marks.insert(victim, mark);
        self.kills.entry(victim).or_default().recoveries.push(took);
    }

    /// Waits for those that are still away; one that does not come back is counted and not measured.
    pub(super) async fn finish(mut self) -> BTreeMap<Victim, Kills> {
        for (victim, mut watch) in std::mem::take(&mut self.watches) {
            match tokio::time::timeout(PATIENCE, &mut watch).await {
                Ok(Ok((mark, took))) => self.take(victim, mark, took),
                _ => watch.abort(),
            }
        }
        self.kills
    }
}

/// The present incarnation of a process that answers.
async fn mark(client: &reqwest::Client, base: &str, victim: Victim) -> Option<Mark> {
    let url = format!("{base}/v1/processes/{}", victim.name());
    let row: Value = client.get(url).send().await.ok()?.json().await.ok()?;
    let mark = match victim {
        Victim::Supervisor => &row["pid"],
        _ => &row["ready_at"],
    };
    (!mark.is_null()).then(|| mark.clone())
}
