//! The key that tells code which this node compiled from code that somebody put there.
//!
//! Loading a file of compiled code is executing it. The key is made once per installation and readable by this user only;
//! the MAC covers the name of the file too, so that no file can stand in for another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a MAC.
pub(super) const MAC_BYTES: usize = 32;
/// Bytes of the key.
const KEY_BYTES: usize = 32;
/// What the MAC is for, so that the key cannot be used for anything else by accident.
const PURPOSE: &[u8] = b"wavs compiled code 1";
/// Bytes read at a time: small enough for the cache of a core.
const CHUNK: usize = 128 << 10;

/// The key. Not printable.
#[derive(Clone)]
pub(crate) struct MacKey([u8; KEY_BYTES]);

impl MacKey {
    /// Reads the key at `path`, or makes one when there is none or what is there is no key. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(super) fn load_or_create(path: &Path) -> io::Result<Self> {
        match Self::load(path) {
            Ok(Some(key)) => return Ok(key),
            // All that it could vouch for is made again from the components.
            Ok(None) => tracing::warn!(
                file = %path.display(),
                "the key of compiled code is damaged and is replaced; the components are compiled again"
            ),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
        let key = Self(rand::random());
        let half = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&half)?;
        file.write_all(&key.0)?;
        file.sync_all()?;
        fs::rename(&half, path)?;
        // Else a loss of power may leave the name without the bytes, or neither, beside code that was sealed with them.
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(key)
    }

    /// Reads the key at `path`; absent when the file is no key. Blocks.
    fn load(path: &Path) -> io::Result<Option<Self>> {
        let mut key = Vec::new();
        File::open(path)?.take(KEY_BYTES as u64 + 1).read_to_end(&mut key)?;
        Ok(key.try_into().ok().map(Self))
    }

    /// The MAC of `code` as the content of the file `name`.
    pub(super) fn seal(&self, name: &str, code: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = self.begin(name, code.len() as u64);
        mac.update(code);
        mac.finalize().into_bytes().into()
    }

    /// Whether `content` is `length` bytes of code followed by their MAC for the file `name`. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn verify(&self, name: &str, content: &mut impl Read, length: u64) -> io::Result<bool> {
        let mut mac = self.begin(name, length);
        let mut buffer = vec![0; CHUNK];
        let mut left = length;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            content.read_exact(&mut buffer[..room])?;
            mac.update(&buffer[..room]);
            left -= room as u64;
        }
        let mut found = [0; MAC_BYTES];
        content.read_exact(&mut found)?;
        Ok(mac.verify_slice(&found).is_ok())
    }

    fn begin(&self, name: &str, length: u64) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(PURPOSE);
        mac.update(&(name.len() as u64).to_le_bytes());
        mac.update(name.as_bytes());
        mac.update(&length.to_le_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_any_change_of_name_or_content_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = MacKey::load_or_create(&path).unwrap();
        assert_eq!(MacKey::load_or_create(&path).unwrap().0, key.0);
        let code = vec![7; CHUNK + 5];
        let mut content = code.clone();
        content.extend(key.seal("a.cwasm", &code));
        let verify = |name: &str, content: &[u8]| {
            let length = (content.len() - MAC_BYTES) as u64;
            key.verify(name, &mut &content[..], length).unwrap()
        };
        assert!(verify("a.cwasm", &content));
        assert!(!verify("b.cwasm", &content));
        for at in [0, CHUNK, content.len() - 1] {
            let mut changed = content.clone();
            changed[at] ^= 1;
            assert!(!verify("a.cwasm", &changed), "{at}");
        }
        assert!(!verify("a.cwasm", &content[1..]));
    }

    #[test]
    fn what_is_no_key_is_replaced_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for damaged in [vec![], vec![1; KEY_BYTES - 1], vec![1; KEY_BYTES + 1]] {
            fs::write(&path, &damaged).unwrap();
            let key = MacKey::load_or_create(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), key.0);
            assert_eq!(MacKey::load_or_create(&path).unwrap().0, key.0);
        }
    }
}
