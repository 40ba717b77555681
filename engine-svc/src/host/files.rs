//! The quota on the files of a service.
//!
//! Guests write to the disk through the operating system, so what a service uses is counted from outside: before, during
//! and after a run that may use files. A service above its quota may still run, read and delete; a run that adds to it is
//! ended. Between two counts a run can write more than the quota, by as much as the disk takes in that time.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::limits::{Exceeded, SERVICE_FILES};

/// Time between two counts during a run.
const PERIOD: Duration = Duration::from_millis(500);
/// Bytes of one block as the system counts them (POSIX `st_blocks`).
const BLOCK: u64 = 512;

/// What the directory of a service holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Usage {
    bytes: u64,
    files: u64,
}

/// The quota as it applies to one run.
#[derive(Debug)]
pub(crate) struct FileQuota {
    directory: PathBuf,
    limit: Usage,
    start: Usage,
}

impl FileQuota {
    /// Counts what is there before the run. All files may come to `bytes`.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) async fn start(directory: PathBuf, bytes: u64) -> io::Result<Self> {
        let limit = Usage {
            bytes,
            files: SERVICE_FILES,
        };
        Self::with_limit(directory, limit).await
    }

    async fn with_limit(directory: PathBuf, limit: Usage) -> io::Result<Self> {
        let mut quota = Self {
            directory,
            limit,
            start: Usage::default(),
        };
        quota.start = quota.count().await?;
        Ok(quota)
    }

    /// Waits until the run has used more than it may.
    pub(crate) async fn exceeded(&self) -> Exceeded {
        let mut ticks = interval_at(Instant::now() + PERIOD, PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(exceeded) = self.check().await {
                return exceeded;
            }
        }
    }

    /// What the run has used more than it may, if anything.
    pub(crate) async fn check(&self) -> Option<Exceeded> {
        // A directory that cannot be counted now is counted the next time.
        let found = self.count().await.ok()?;
        let grown = |at: u64, start: u64, limit: u64| at > limit && at > start;
        if grown(found.bytes, self.start.bytes, self.limit.bytes) {
            return Some(Exceeded::Files {
                what: "bytes",
                asked: found.bytes,
                limit: self.limit.bytes,
            });
        }
        grown(found.files, self.start.files, self.limit.files).then_some(Exceeded::Files {
            what: "files",
            asked: found.files,
            limit: self.limit.files,
        })
    }

    async fn count(&self) -> io::Result<Usage> {
        let directory = self.directory.clone();
        // A guest that makes more files than it may does not make the count endless.
        let enough = self.limit.files.max(self.start.files).saturating_add(1);
        tokio::task::spawn_blocking(move || {
            let mut usage = Usage::default();
            add(&directory, enough, &mut usage).map(|()| usage)
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// Adds what is beneath `directory`, up to `enough` files. Sparse files count with what they occupy.
fn add(directory: &Path, enough: u64, usage: &mut Usage) -> io::Result<()> {
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // Removed by the guest meanwhile.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(cause),
        };
        for entry in entries {
            let entry = entry?;
            if usage.files >= enough {
                return Ok(());
            }
            let Ok(metadata) = entry.metadata() else { continue };
            usage.files += 1;
            usage.bytes += metadata.blocks().saturating_mul(BLOCK);
            if metadata.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_run_that_adds_beyond_the_quota_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let limit = Usage {
            bytes: 64 << 10,
            files: 4,
        };
        let quota = || FileQuota::with_limit(path.clone(), limit);
        let first = quota().await.unwrap();
        fs::create_dir(path.join("deep")).unwrap();
        fs::write(path.join("deep/one"), vec![1; 40 << 10]).unwrap();
        assert_eq!(first.check().await, None);
        fs::write(path.join("two"), vec![1; 40 << 10]).unwrap();
        let exceeded = first.check().await.unwrap();
        assert!(exceeded.to_string().contains("bytes"), "{exceeded}");
        assert_eq!(first.exceeded().await, exceeded);

        // The next run may clean up, but not add.
        let second = quota().await.unwrap();
        assert_eq!(second.check().await, None);
        fs::write(path.join("three"), vec![1; 40 << 10]).unwrap();
        assert!(second.check().await.is_some());
        fs::remove_file(path.join("two")).unwrap();
        fs::remove_file(path.join("three")).unwrap();
        assert_eq!(second.check().await, None);

        let many = quota().await.unwrap();
        for n in 0..10 {
            fs::write(path.join(n.to_string()), "").unwrap();
        }
        assert!(many.check().await.unwrap().to_string().contains("files"));
    }
}
