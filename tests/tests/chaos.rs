//! Processes killed at random while events flow: a short run in each mode. `cargo xtask chaos` has the long ones.

use std::sync::Arc;
use std::time::Duration;

use e2e::chaos::{Mode, Plan, Progress, Ran};

async fn every_event_lands_once(mode: Mode, seed: u64, block_time: Option<Duration>) {
    let evidence = std::env::temp_dir().join(format!("wavs-chaos-{}-{seed}-{}", mode.as_str(), std::process::id()));
    let plan = Plan {
        mode,
        events: 40,
        seed,
        pace: Duration::from_millis(150),
        block_time,
        binaries: None,
        evidence: evidence.clone(),
    };
    match plan.run(Arc::new(Progress::default())).await.unwrap() {
        Ran::Done(outcome) => {
            assert!(
                outcome.passed(),
                "{outcome:#?}\nthe node's files are in {}",
                evidence.display()
            );
            assert!(outcome.kills() > 0, "{outcome:#?}");
        }
        Ran::Skipped(missing) => eprintln!("skipped: {missing}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_lands_once_while_wavs_restarts_what_is_killed() {
    every_event_lands_once(Mode::Run, 1, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_lands_once_while_transactions_wait_for_blocks() {
    every_event_lands_once(Mode::Run, 2, Some(Duration::from_secs(1))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_lands_once_while_systemd_restarts_what_is_killed() {
    every_event_lands_once(Mode::Systemd, 3, None).await;
}
