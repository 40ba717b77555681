//! Writes of sources: what was seen must not be lost, so they wait until a full disk has room again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
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
                        held_up = Some(HeldUp::new(self));
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

    /// How many writes a full disk holds up now.
    pub(crate) fn held_up(&self) -> u64 {
        self.held_up.load(Ordering::Relaxed)
    }
}

/// Counts a write as held up for as long as it lives, also when its source is cancelled.
struct HeldUp(Spool);

impl HeldUp {
    fn new(spool: &Spool) -> Self {
        spool.held_up.fetch_add(1, Ordering::Relaxed);
        Self(spool.clone())
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        self.0.held_up.fetch_sub(1, Ordering::Relaxed);
    }
}
