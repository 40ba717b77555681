//! The quota on the files of a service.
//!
//! Guests write to the disk through the operating system, so what a service uses is counted from outside: before, during
//! and after a run that may use files. Files that were removed while a run holds them open count like the others. A service above
//! its quota may still run, read and delete; a run that adds to it is ended. Between two counts a run can write more than the
//! quota, by as much as the disk takes in that time.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;
use wavs_service::config::GuestLimits;

use crate::limits::{Exceeded, SERVICE_DEPTH};

/// Time between two counts during a run, and the part of its time that a run may be counted.
const PERIOD: Duration = Duration::from_millis(500);
const COUNTING: u32 = 10;
/// Bytes of one block as the system counts them (POSIX `st_blocks`).
const BLOCK: u64 = 512;
/// The files that this process has open.
const OPEN: &str = "/proc/self/fd";
/// What the system puts behind the name of a file that is open and has none any more (proc_pid_fd(5)).
const DELETED: &str = " (deleted)";

/// What the directory of a service holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Usage {
    bytes: u64,
    files: u64,
}

/// Why a run may not go on with its files.
#[derive(Debug)]
pub(crate) enum FileFault {
    /// The run has used more than it may.
    Exceeded(Exceeded),
    /// What it uses cannot be told.
    Uncounted(io::Error),
}

/// The quota as it applies to one run.
#[derive(Debug)]
pub(crate) struct FileQuota {
    directory: PathBuf,
    limit: Usage,
    start: Usage,
}

impl FileQuota {
    /// Counts what is there before the run.
    ///
    /// # Errors
    /// When the directory cannot be counted.
    pub(crate) async fn start(directory: PathBuf, limits: &GuestLimits) -> Result<Self, FileFault> {
        let limit = Usage {
            bytes: limits.files,
            files: limits.file_count,
        };
        Self::with_limit(directory, limit).await
    }

    async fn with_limit(directory: PathBuf, limit: Usage) -> Result<Self, FileFault> {
        let mut quota = Self {
            directory,
            limit,
            start: Usage::default(),
        };
        // The system names open files by their real paths.
        match tokio::fs::canonicalize(&quota.directory).await {
            Ok(path) => quota.directory = path,
            // Nobody has made it yet.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(quota),
            Err(cause) => return Err(FileFault::Uncounted(cause)),
        }
        quota.start = quota.count().await?;
        Ok(quota)
    }

    /// Waits until the run may not go on.
    pub(crate) async fn fault(&self) -> FileFault {
        let mut rest = PERIOD;
        loop {
            tokio::time::sleep(rest).await;
            let begun = Instant::now();
            if let Err(fault) = self.check().await {
                return fault;
            }
            rest = PERIOD.max(begun.elapsed() * COUNTING);
        }
    }

    /// Whether the run has used no more than it may.
    ///
    /// # Errors
    /// [`FileFault`].
    pub(crate) async fn check(&self) -> Result<(), FileFault> {
        let found = self.count().await?;
        let grown = |at: u64, start: u64, limit: u64| at > limit && at > start;
        let exceeded = if grown(found.bytes, self.start.bytes, self.limit.bytes) {
            Exceeded::FileBytes {
                asked: found.bytes,
                limit: self.limit.bytes,
            }
        } else if grown(found.files, self.start.files, self.limit.files) {
            Exceeded::FileCount {
                limit: self.limit.files,
            }
        } else {
            return Ok(());
        };
        Err(FileFault::Exceeded(exceeded))
    }

    async fn count(&self) -> Result<Usage, FileFault> {
        let directory = self.directory.clone();
        // A guest that makes more files than it may does not make the count endless. What is there may be more than the limit, as
        // a run is stopped only after it went beyond.
        let enough = self
            .limit
            .files
            .saturating_mul(2)
            .max(self.start.files.saturating_add(1));
        let counted = tokio::task::spawn_blocking(move || {
            let mut usage = Usage::default();
            let opened = openat(CWD, &directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            match opened {
                Ok(opened) => add(opened, 0, enough, &mut usage)?,
                Err(Errno::NOENT) => {}
                Err(cause) => return Err(io::Error::from(cause).into()),
            }
            usage.bytes += removed_but_open(&directory)?;
            Ok(usage)
        });
        counted.await.map_err(io::Error::other)?
    }
}

impl From<io::Error> for FileFault {
    fn from(cause: io::Error) -> Self {
        Self::Uncounted(cause)
    }
}

impl From<Errno> for FileFault {
    fn from(cause: Errno) -> Self {
        Self::Uncounted(cause.into())
    }
}

/// Adds what is in `directory` and beneath, up to `enough` files. Sparse files count with what they occupy. It goes by open
/// directories, because a guest can nest them deeper than any path reaches.
fn add(directory: OwnedFd, depth: usize, enough: u64, usage: &mut Usage) -> Result<(), FileFault> {
    if depth > SERVICE_DEPTH {
        return Err(FileFault::Exceeded(Exceeded::FileDepth));
    }
    let mut entries = Dir::read_from(&directory)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if usage.files >= enough {
            return Ok(());
        }
        // What cannot be seen any more was removed meanwhile.
        let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        usage.files += 1;
        usage.bytes += occupied(&stat);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&directory, name, flags, Mode::empty()) {
            Ok(opened) => add(opened, depth + 1, enough, usage)?,
            // Removed, or replaced by something else, meanwhile.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(())
}

fn occupied(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default().saturating_mul(BLOCK)
}

/// Bytes of the files beneath `directory` that have no name any more and are held open by runs.
fn removed_but_open(directory: &Path) -> io::Result<u64> {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for entry in fs::read_dir(OPEN)? {
        let path = entry?.path();
        // Closed meanwhile, or nothing that has a path.
        let Ok(target) = fs::read_link(&path) else { continue };
        let removed = target.to_str().is_some_and(|target| target.ends_with(DELETED));
        if !removed || !target.starts_with(directory) {
            continue;
        }
        if let Ok(metadata) = fs::metadata(&path)
            && seen.insert((metadata.dev(), metadata.ino()))
        {
            bytes += metadata.blocks().saturating_mul(BLOCK);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Usage = Usage {
        bytes: 64 << 10,
        files: 4,
    };

    /// The same with room for directories, each of which takes a block.
    const ROOMY: Usage = Usage {
        bytes: 1 << 20,
        files: 1_000,
    };

    /// What the quota says of the run, in words.
    async fn told(quota: &FileQuota) -> String {
        match quota.check().await {
            Ok(()) => "fine".to_owned(),
            Err(FileFault::Exceeded(exceeded)) => exceeded.to_string(),
            Err(FileFault::Uncounted(cause)) => panic!("{cause}"),
        }
    }

    async fn quota(path: &Path) -> FileQuota {
        FileQuota::with_limit(path.to_owned(), LIMIT).await.unwrap()
    }

    #[tokio::test]
    async fn only_a_run_that_adds_beyond_the_quota_is_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let first = quota(path).await;
        fs::create_dir(path.join("deep")).unwrap();
        fs::write(path.join("deep/one"), vec![1; 40 << 10]).unwrap();
        assert_eq!(told(&first).await, "fine");
        fs::write(path.join("two"), vec![1; 40 << 10]).unwrap();
        assert!(told(&first).await.contains("bytes"));
        assert!(matches!(
            first.fault().await,
            FileFault::Exceeded(Exceeded::FileBytes { .. })
        ));

        // The next run may clean up, but not add.
        let second = quota(path).await;
        assert_eq!(told(&second).await, "fine");
        fs::write(path.join("three"), vec![1; 40 << 10]).unwrap();
        assert!(told(&second).await.contains("bytes"));
        fs::remove_file(path.join("two")).unwrap();
        fs::remove_file(path.join("three")).unwrap();
        assert_eq!(told(&second).await, "fine");

        let many = quota(path).await;
        for n in 0..6 {
            fs::write(path.join(n.to_string()), "").unwrap();
        }
        assert!(told(&many).await.contains("files and directories"));
        // What was too much before the run is not its fault.
        assert_eq!(told(&quota(path).await).await, "fine");
    }

    #[tokio::test]
    async fn files_without_a_name_count_while_they_are_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let quota = quota(path).await;
        let held = fs::File::create(path.join("hidden")).unwrap();
        fs::remove_file(path.join("hidden")).unwrap();
        std::io::Write::write_all(&mut &held, &[1; 80 << 10]).unwrap();
        assert!(told(&quota).await.contains("bytes"));
        drop(held);
        assert_eq!(told(&quota).await, "fine");
    }

    #[tokio::test]
    async fn directories_that_no_path_reaches_are_no_hiding_place() {
        let directory = tempfile::tempdir().unwrap();
        let quota = FileQuota::with_limit(directory.path().to_owned(), ROOMY).await.unwrap();
        let name = "x".repeat(255);
        let mut at = openat(CWD, directory.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..20 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = openat(&at, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        assert_eq!(told(&quota).await, "fine");
        let file = openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        std::io::Write::write_all(&mut fs::File::from(file), &vec![1; 2 << 20]).unwrap();
        assert!(told(&quota).await.contains("bytes"));

        for _ in 0..SERVICE_DEPTH {
            rustix::fs::mkdirat(&at, "x", Mode::RWXU).unwrap();
            at = openat(&at, "x", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        assert!(told(&quota).await.contains("deeper than"));
        // Nor may the next run begin, which could not be counted.
        let refused = FileQuota::with_limit(directory.path().to_owned(), ROOMY).await;
        assert!(matches!(refused, Err(FileFault::Exceeded(Exceeded::FileDepth))));
    }
}
