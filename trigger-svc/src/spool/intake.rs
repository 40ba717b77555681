//! Writes of sources: what was seen must not be lost, so they wait while the spool has reached its quota or the disk is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{error, info};
use wavs_store::{Durability, StoreError, Transaction};

use super::{Spool, SpoolError};

/// Pause before a write that found no room on the disk is tried again.
const DISK_PAUSE: Duration = Duration::from_secs(1);

impl Spool {
    /// Commits `change`. While the disk is full the write is repeated: the caller stops reading meanwhile, and nothing is
    /// recorded by half.
    ///
    /// # Errors
    /// When the database fails for another reason.
    pub(super) async fn intake<T, F>(&self, change: F) -> Result<T, SpoolError>
    where
        F: Fn(&Transaction<'_>) -> Result<T, SpoolError> + Send + Sync + 'static,
        T: Send + 'static,
    {
        let change = Arc::new(change);
        let mut held_up = None;
        loop {
            let attempt = Arc::clone(&change);
            let writer = self.database.writer();
            match writer.write(Durability::Process, move |tx| attempt(tx)).await {
                // Another write of the same commit met the full disk.
                Err(SpoolError::Store(StoreError::RolledBack)) => {}
                Err(full) if full.is_full() => {
                    if held_up.is_none() {
                        error!(path = %self.database.path().display(), "the disk is full; sources stand still until there is room");
                        held_up = Some(Waiting::new(&self.without_disk));
                    }
                }
                done => {
                    if held_up.is_some() && done.is_ok() {
                        info!("the disk has room again; sources go on");
                    }
                    return done;
                }
            }
            tokio::time::sleep(DISK_PAUSE).await;
        }
    }

    /// Waits until less than the quota waits for aggregator-svc.
    pub(super) async fn wait_for_room(&self) -> Result<(), SpoolError> {
        let mut waiting = None;
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            if !self.is_full().await? {
                return Ok(());
            }
            waiting.get_or_insert_with(|| Waiting::new(&self.without_room));
            room.await;
        }
    }

    /// How many writes a full disk holds up now.
    pub(crate) fn waiting_for_disk(&self) -> u64 {
        self.without_disk.load(Ordering::Relaxed)
    }

    /// How many writes the quota holds up now.
    pub(crate) fn waiting_for_room(&self) -> u64 {
        self.without_room.load(Ordering::Relaxed)
    }
}

/// Counts a write as held up for as long as it lives, also when its source is cancelled.
struct Waiting(Arc<AtomicU64>);

impl Waiting {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
