//! Watching whether the ledger can be written. While it cannot, nothing new is taken, run, signed or sent; reads go on, the
//! status says why, and a small write is tried from time to time, so that everything goes on by itself when there is room.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wavs_service::StatusBoard;
use wavs_store::{Durability, Health};

use super::{Ledger, meta};
use crate::clock;

/// The part of the process that the status names.
const PART: &str = "ledger";
/// Time between two attempts to write while writes fail.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the status how the ledger is, and tries to write while it cannot be written, until `stop`.
pub async fn run(ledger: Ledger, status: StatusBoard, stop: CancellationToken) {
    let _ = stop.run_until_cancelled(watch(ledger, status)).await;
}

async fn watch(ledger: Ledger, status: StatusBoard) {
    let mut health = ledger.database().writer().health();
    status.recover(PART);
    loop {
        let now = health.borrow_and_update().clone();
        let Some(trouble) = now.trouble() else {
            if health.changed().await.is_err() {
                return;
            }
            continue;
        };
        tracing::error!(
            trouble,
            "the ledger cannot be written: nothing is taken, signed or sent"
        );
        status.degrade(PART, format!("nothing is taken, signed or sent: {trouble}"));
        if matches!(now, Health::Damaged(_)) {
            // Nothing that this process does could make it better.
            return;
        }
        while health.borrow_and_update().trouble().is_some() {
            tokio::time::sleep(PROBE_INTERVAL).await;
            // The outcome is in the health.
            let _ = ledger
                .write(Durability::Power, |tx| meta::probe(tx, clock::now_us()))
                .await;
        }
        tracing::info!("the ledger can be written again");
        status.recover(PART);
    }
}
