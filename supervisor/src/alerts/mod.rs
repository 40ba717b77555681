//! Active conditions that somebody should look at: `GET /v1/alerts`, and a line in the log when one begins or ends.
//!
//! Every [`PERIOD`] a [`sample`] is taken of what the processes say and count; [`rules`] turns samples into alerts, with a clock that
//! is handed in. Nothing is stored: after a restart of the supervisor, windows begin anew. The names, limits and windows are those of
//! the shipped alert rules for Prometheus.

pub mod rules;
pub mod sample;
mod series;

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::Instant;

use crate::http::api::Api;
use rules::Rules;

/// Time between two samples. Every window and duration of a rule is a multiple of it.
const PERIOD: Duration = Duration::from_secs(10);

/// How soon somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// When there is time.
    Warning,
    /// Now.
    Critical,
}

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Name of the rule.
    pub name: &'static str,
    /// What it is about, such as a process or a chain; empty for the node.
    pub subject: String,
    /// How soon somebody should look.
    pub severity: Severity,
    /// What holds.
    pub detail: String,
    /// Since when.
    pub since: SystemTime,
}

/// Samples and judges until it is dropped.
pub async fn run(api: Api) {
    let epoch = Instant::now();
    let mut rules = Rules::default();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before: Vec<Alert> = Vec::new();
    loop {
        ticks.tick().await;
        let sample = sample::take(&api).await;
        let mut now = rules.judge(&sample, epoch.elapsed());
        for alert in &mut now {
            match before.iter().find(|known| is_same(known, alert)) {
                Some(known) => alert.since = known.since,
                None => {
                    tracing::warn!(alert = alert.name, subject = alert.subject, "{}", alert.detail);
                }
            }
        }
        for ended in before
            .iter()
            .filter(|known| !now.iter().any(|alert| is_same(known, alert)))
        {
            tracing::info!(alert = ended.name, subject = ended.subject, "is over");
        }
        api.set_alerts(now.clone());
        before = now;
    }
}

fn is_same(one: &Alert, other: &Alert) -> bool {
    one.name == other.name && one.subject == other.subject
}
