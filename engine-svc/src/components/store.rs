//! The content-addressed store: `<data>/engine/ca/aa/bb/<hex>`.
//!
//! A file gets its name only after its bytes are on disk and hashed, so readers see whole components or none. The hash is
//! checked again on every read; a file that does not match is moved aside. All functions block.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wavs_ipc::contract::engine::StoredComponent;
use wavs_types::ComponentDigest;

use super::error::ComponentError;

/// What the store has of a component.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Its bytes.
    Intact(Vec<u8>),
    /// Bytes that were not its own, and are now moved aside.
    Damaged,
    /// Nothing.
    Absent,
}

/// The store.
#[derive(Debug)]
pub(crate) struct ContentStore {
    root: PathBuf,
    next: AtomicU64,
}

impl ContentStore {
    /// Opens the store below `root` and removes what an earlier process left half-written.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        let store = Self::at(root);
        match fs::remove_dir_all(store.incoming()) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => {}
        }
        fs::create_dir_all(store.incoming())?;
        Ok(store)
    }

    /// The store below `root`, which another process has opened.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self {
            root,
            next: AtomicU64::new(0),
        }
    }

    /// Whether there is a file for a component. Whether it is intact shows when it is read.
    pub(crate) fn contains(&self, digest: &ComponentDigest) -> bool {
        self.path(digest).is_file()
    }

    /// Reads a component and moves it aside when it is damaged.
    pub(crate) fn read(&self, digest: &ComponentDigest) -> Result<Stored, ComponentError> {
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Stored::Absent),
            Err(cause) => return Err(storage(&path, &cause)),
        };
        let found = ComponentDigest::of(&bytes);
        if found == *digest {
            return Ok(Stored::Intact(bytes));
        }
        tracing::error!(%digest, %found, "a stored component is damaged; it is moved aside and will be fetched again");
        self.quarantine(&path).map_err(|cause| storage(&path, &cause))?;
        Ok(Stored::Damaged)
    }

    /// Stores `bytes` under their digest. Storing what is there already changes nothing.
    pub(crate) fn insert(&self, bytes: &[u8]) -> Result<ComponentDigest, ComponentError> {
        let digest = ComponentDigest::of(bytes);
        let path = self.reserve();
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(bytes)?;
            self.adopt(&path, &file, &digest)
        };
        write().map(|()| digest).map_err(|cause: io::Error| {
            let _ = fs::remove_file(&path);
            storage(&path, &cause)
        })
    }

    /// Removes a component; a missing one is no error.
    pub(crate) fn remove(&self, digest: &ComponentDigest) -> Result<(), ComponentError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(storage(&path, &cause)),
            _ => Ok(()),
        }
    }

    /// A new path for a file that is being received. Processes that share the store never get the same.
    pub(crate) fn reserve(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.incoming().join(format!("{}-{number}", std::process::id()))
    }

    /// Gives the received file at `path`, whose content has `digest`, its place in the store.
    pub(crate) fn adopt(&self, path: &Path, file: &File, digest: &ComponentDigest) -> io::Result<()> {
        file.sync_all()?;
        let target = self.path(digest);
        let directory = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory)?;
        fs::rename(path, &target)?;
        // Without this the name may be lost with the power although the bytes are not, and so may a directory above it
        // that was made for it.
        let holders = directory
            .ancestors()
            .take_while(|holder| holder.starts_with(&self.root));
        for holder in holders {
            File::open(holder)?.sync_all()?;
        }
        Ok(())
    }

    /// All components, ascending by digest.
    pub(crate) fn list(&self) -> Result<Vec<StoredComponent>, ComponentError> {
        let mut found = Vec::new();
        let failed = |cause: io::Error| storage(&self.root, &cause);
        for first in directories(&self.root).map_err(failed)? {
            for second in directories(&first).map_err(failed)? {
                for entry in fs::read_dir(&second).map_err(failed)? {
                    let entry = entry.map_err(failed)?;
                    let digest = entry.file_name().to_str().and_then(|name| name.parse().ok());
                    if let Some(digest) = digest {
                        found.push(StoredComponent {
                            digest,
                            bytes: entry.metadata().map_err(failed)?.len(),
                        });
                    }
                }
            }
        }
        found.sort_by_key(|component| component.digest);
        Ok(found)
    }

    fn path(&self, digest: &ComponentDigest) -> PathBuf {
        let hex = digest.to_string();
        self.root.join(&hex[..2]).join(&hex[2..4]).join(hex)
    }

    fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    fn quarantine(&self, path: &Path) -> io::Result<()> {
        let directory = self.root.join("quarantine");
        fs::create_dir_all(&directory)?;
        match path.file_name() {
            // A second damaged file of the same name replaces the first, which bounds the directory.
            Some(name) => fs::rename(path, directory.join(name)),
            None => Ok(()),
        }
    }
}

/// The two-digit directories below `path`.
fn directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().len() == 2 && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn storage(path: &Path, cause: &io::Error) -> ComponentError {
    ComponentError::Storage(format!("{}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_found_listed_and_kept_apart_from_what_is_half_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path().to_owned()).unwrap();
        let digest = store.insert(b"one").unwrap();
        assert_eq!(store.insert(b"one").unwrap(), digest);
        let other = store.insert(b"two").unwrap();
        fs::write(store.reserve(), b"half").unwrap();
        let store = ContentStore::open(directory.path().to_owned()).unwrap();
        assert_eq!(fs::read_dir(store.incoming()).unwrap().count(), 0);
        assert_eq!(store.read(&digest).unwrap(), Stored::Intact(b"one".to_vec()));
        let mut expected = vec![digest, other];
        expected.sort();
        assert_eq!(
            store
                .list()
                .unwrap()
                .iter()
                .map(|entry| entry.digest)
                .collect::<Vec<_>>(),
            expected
        );
        let hex = digest.to_string();
        assert!(directory.path().join(&hex[..2]).join(&hex[2..4]).join(&hex).is_file());
    }

    #[test]
    fn a_damaged_file_is_moved_aside_and_lookups_make_no_directories() {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(directory.path().to_owned()).unwrap();
        let digest = store.insert(b"good").unwrap();
        fs::write(store.path(&digest), b"evil").unwrap();
        assert_eq!(store.read(&digest).unwrap(), Stored::Damaged);
        assert_eq!(store.read(&digest).unwrap(), Stored::Absent);
        assert!(!store.path(&digest).exists());
        assert!(directory.path().join("quarantine").join(digest.to_string()).is_file());
        let unknown = ComponentDigest::new([9; 32]);
        assert_eq!(store.read(&unknown).unwrap(), Stored::Absent);
        assert!(!directory.path().join("09").exists());
    }
}
