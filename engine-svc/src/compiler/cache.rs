//! Compiled code on disk: `<engine.cache_dir>/<digest>.<variant>.<fingerprint>.cwasm`, each file followed by its MAC.
//!
//! The compile host writes, engine-svc only reads. A file gets its name after it is complete; it is not flushed to the disk,
//! because a torn one fails its MAC and is compiled again. Beyond the size limit the files that were unused for the longest
//! time are removed, and those of other builds are removed at the start of the host. All functions block.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wasmtime::Engine;
use wasmtime::component::Component;
use wavs_types::ComponentDigest;

use super::code;
use super::compat::fingerprint;
use super::mac::{MAC_BYTES, MacKey};
use crate::runtime::Variant;

/// Bytes of all files. The file that was unused for the longest time is removed first; its component is compiled again when
/// it is needed.
pub(super) const MAX_BYTES: u64 = 4 << 30;
/// The ending of the files.
const ENDING: &str = ".cwasm";
/// The ending of files that are being written.
const HALF: &str = ".new";
/// The file of the key.
const KEY: &str = "key";

/// The directory and its key.
#[derive(Clone)]
pub(crate) struct CodeCache {
    directory: PathBuf,
    key: MacKey,
}

/// A file whose MAC was checked.
pub(super) struct Verified(PathBuf);

/// What a look into the cache found.
pub(crate) enum Lookup {
    /// Code, ready to be linked.
    Code(Component),
    /// No file.
    Absent,
    /// A file that is not what this node wrote. It must be replaced.
    Damaged,
    /// Intact code that this process cannot hold: it asks for more than one instance may have.
    Misfit(String),
}

impl Verified {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl CodeCache {
    /// Opens the directory; makes it and the key when they are missing.
    ///
    /// # Errors
    /// When the directory cannot be made or belongs to another user, or the key cannot be used. Rights of others are taken away.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let found = fs::metadata(&directory)?;
        if found.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::other(
                "the directory of compiled code belongs to another user, who could put code there; give it to the user of engine-svc",
            ));
        }
        if found.mode() & 0o077 != 0 {
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        }
        let key = MacKey::load_or_create(&directory.join(KEY))?;
        Ok(Self { directory, key })
    }

    /// Loads the code of a component, if it is there and intact.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn load(&self, engine: &Engine, digest: &ComponentDigest, variant: Variant) -> io::Result<Lookup> {
        let name = name(digest, variant, &fingerprint(engine));
        let Some(verified) = self.verified(&name)? else {
            let there = self.directory.join(&name).try_exists()?;
            return Ok(if there { Lookup::Damaged } else { Lookup::Absent });
        };
        match code::map(engine, &verified) {
            Ok(component) => Ok(Lookup::Code(component)),
            Err(cause) if cause.is::<io::Error>() => Err(io::Error::other(format!("{cause:#}"))),
            Err(cause) => {
                // The name carries the fingerprint and the MAC is right, so the code is what the compiler made of it;
                // another compilation would end here again.
                tracing::warn!(%digest, file = name, cause = %format!("{cause:#}"), "compiled code does not fit into the pool");
                Ok(Lookup::Misfit(format!("{cause:#}")))
            }
        }
    }

    /// Whether intact code is there.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn contains(&self, digest: &ComponentDigest, variant: Variant, compat: &str) -> io::Result<bool> {
        Ok(self.verified(&name(digest, variant, compat))?.is_some())
    }

    /// Stores code and removes old files beyond the size limit.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn insert(
        &self,
        digest: &ComponentDigest,
        variant: Variant,
        compat: &str,
        code: &[u8],
    ) -> io::Result<()> {
        let name = name(digest, variant, compat);
        let half = self.directory.join(format!("{name}{HALF}"));
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&half)?;
            file.write_all(code)?;
            file.write_all(&self.key.seal(&name, code))?;
            fs::rename(&half, self.directory.join(&name))
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&half);
        })?;
        self.evict(MAX_BYTES, &name)
    }

    /// Removes what no engine of this build can load, and what was left half-written.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(super) fn collect(&self, compats: &[String]) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let current = compats
                .iter()
                .any(|compat| name.ends_with(&format!(".{compat}{ENDING}")));
            if name.ends_with(HALF) || (name.ends_with(ENDING) && !current) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The file, if its MAC is right. Marks it as used.
    fn verified(&self, name: &str) -> io::Result<Option<Verified>> {
        let path = self.directory.join(name);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let Some(length) = file.metadata()?.len().checked_sub(MAC_BYTES as u64) else {
            return Ok(None);
        };
        if !self.key.verify(name, &mut file, length)? {
            return Ok(None);
        }
        // Only the order of eviction depends on it.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(Verified(path)))
    }

    /// Removes the files that were unused for the longest time until `limit` bytes are left, but never `keep`.
    fn evict(&self, limit: u64, keep: &str) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(ENDING) {
                let metadata = entry.metadata()?;
                files.push((metadata.modified()?, metadata.len(), name));
            }
        }
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        files.sort();
        for (_, bytes, name) in files {
            if total <= limit {
                break;
            }
            if name != keep {
                fs::remove_file(self.directory.join(name))?;
                total -= bytes;
            }
        }
        Ok(())
    }
}

fn name(digest: &ComponentDigest, variant: Variant, compat: &str) -> String {
    format!("{digest}.{}.{compat}{ENDING}", variant.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Variant = Variant::Epoch;

    fn digest(n: u8) -> ComponentDigest {
        ComponentDigest::new([n; 32])
    }

    fn cache() -> (tempfile::TempDir, CodeCache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(directory.path().join("aot")).unwrap();
        (directory, cache)
    }

    #[test]
    fn changed_and_torn_files_are_not_there() {
        let (_directory, cache) = cache();
        cache.insert(&digest(1), EPOCH, "c", b"code").unwrap();
        assert!(cache.contains(&digest(1), EPOCH, "c").unwrap());
        assert!(!cache.contains(&digest(1), Variant::Metered, "c").unwrap());
        assert!(!cache.contains(&digest(1), EPOCH, "d").unwrap());
        let path = cache.directory.join(name(&digest(1), EPOCH, "c"));
        let whole = fs::read(&path).unwrap();
        // A file under the name of another component is somebody's trick.
        fs::copy(&path, cache.directory.join(name(&digest(2), EPOCH, "c"))).unwrap();
        assert!(!cache.contains(&digest(2), EPOCH, "c").unwrap());
        for content in [&whole[..whole.len() - 1], &whole[..3], b""] {
            fs::write(&path, content).unwrap();
            assert!(!cache.contains(&digest(1), EPOCH, "c").unwrap());
        }
        cache.insert(&digest(1), EPOCH, "c", b"code").unwrap();
        assert!(cache.contains(&digest(1), EPOCH, "c").unwrap());
    }

    #[test]
    fn a_new_key_makes_all_files_foreign() {
        let (directory, cache) = cache();
        cache.insert(&digest(1), EPOCH, "c", b"code").unwrap();
        fs::remove_file(cache.directory.join(KEY)).unwrap();
        let cache = CodeCache::open(directory.path().join("aot")).unwrap();
        assert!(!cache.contains(&digest(1), EPOCH, "c").unwrap());
    }

    #[test]
    fn what_was_unused_for_the_longest_time_goes_first_and_other_builds_at_once() {
        let (_directory, cache) = cache();
        for n in 1..=3 {
            cache.insert(&digest(n), EPOCH, "c", &[n; 100]).unwrap();
            let file = File::options()
                .append(true)
                .open(cache.directory.join(name(&digest(n), EPOCH, "c")));
            let age = std::time::Duration::from_secs(100 - u64::from(n));
            file.unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        // Looking at it is using it.
        assert!(cache.contains(&digest(1), EPOCH, "c").unwrap());
        cache.evict(2 * 132, "").unwrap();
        let there = |n| cache.contains(&digest(n), EPOCH, "c").unwrap();
        assert_eq!([there(1), there(2), there(3)], [true, false, true]);
        cache.evict(0, &name(&digest(3), EPOCH, "c")).unwrap();
        assert_eq!([there(1), there(3)], [false, true]);
        fs::write(cache.directory.join(format!("x{HALF}")), "").unwrap();
        cache.insert(&digest(4), EPOCH, "other", b"code").unwrap();
        cache.collect(&["c".to_owned()]).unwrap();
        assert!(there(3));
        assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), 2);
    }
}
