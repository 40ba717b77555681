//! The data directory while a node runs on it: one node at a time, closed to other users.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A data directory that this process has claimed. Dropping it lets go; the kernel does so after any death.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A directory could not be made or closed to others.
    #[error("cannot prepare the directory {path}; create it for this user, or choose another one with --data")]
    Prepare {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lock file could not be opened or locked.
    #[error("cannot lock {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another node has it.
    #[error("another node runs on the data directory {path}; stop it, or choose another directory with --data")]
    Taken {
        /// The data directory.
        path: PathBuf,
    },
}

impl DataDir {
    /// Makes the directory with its `run` part, and claims it.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub fn claim(path: &Path) -> Result<Self, ClaimError> {
        let run = path.join("run");
        for directory in [path, &run, &run.join("uploads")] {
            make_private(directory).map_err(|source| ClaimError::Prepare {
                path: directory.to_owned(),
                source,
            })?;
        }
        Self::attach(path)
    }

    /// Claims a directory that somebody else has made, with the owners and modes that it is to have.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub fn attach(path: &Path) -> Result<Self, ClaimError> {
        let uploads = path.join("run").join("uploads");
        // What is there already stays as it is.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&uploads);
        made.map_err(|source| ClaimError::Prepare { path: uploads, source })?;
        let lock_path = path.join("run").join("wavs.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|source| ClaimError::Lock {
                path: lock_path.clone(),
                source,
            })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ClaimError::Taken { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => {
                return Err(ClaimError::Lock {
                    path: lock_path,
                    source,
                });
            }
        }
        let claimed = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        claimed.clear_uploads().map_err(|source| ClaimError::Prepare {
            path: claimed.uploads(),
            source,
        })?;
        Ok(claimed)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn uploads(&self) -> PathBuf {
        self.path.join("run").join("uploads")
    }

    /// What an earlier node left there belongs to no request any more. The directory itself stays: under systemd the engine's
    /// unit sees it by a mount of its own.
    fn clear_uploads(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.uploads())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let permissions = path.metadata()?.permissions();
    // A directory that existed before may be open to others.
    if permissions.mode() & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_claimed_once_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::claim(&path).unwrap();
        assert_eq!(path.join("run").metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let uploads = || std::os::unix::fs::MetadataExt::ino(&path.join("run/uploads").metadata().unwrap());
        let number = uploads();
        std::fs::create_dir(first.uploads().join("directory")).unwrap();
        std::fs::write(first.uploads().join("left"), "x").unwrap();
        let second = DataDir::claim(&path).unwrap_err();
        assert!(second.to_string().contains("another node runs"), "{second}");
        assert!(first.uploads().join("left").exists(), "a refused node touches nothing");
        drop(first);
        let third = DataDir::claim(&path).unwrap();
        assert_eq!(third.uploads().read_dir().unwrap().count(), 0);
        assert_eq!(uploads(), number, "a mount of the directory stays valid");
    }
}
