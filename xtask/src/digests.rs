//! Digest files in the form of `sha256sum`, so that anyone can check the committed artefacts without this program.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use sha2::{Digest, Sha256};

/// Name of the digest file in a directory of artefacts.
pub(crate) const FILE: &str = "SHA256SUMS";

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Write the digests of all files with that extension.
pub(crate) fn record(dir: &Path, extension: &str) -> anyhow::Result<()> {
    let text: String = digests(dir, extension)?
        .iter()
        .map(|(name, digest)| format!("{digest}  {name}\n"))
        .collect();
    let file = dir.join(FILE);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Compare the files with that extension with the recorded digests, and return how many there are.
pub(crate) fn verify(dir: &Path, extension: &str) -> anyhow::Result<usize> {
    let file = dir.join(FILE);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut recorded = BTreeMap::new();
    for line in text.lines() {
        let (digest, name) = line
            .split_once("  ")
            .with_context(|| format!("{}: bad line {line:?}", file.display()))?;
        recorded.insert(name.to_owned(), digest.to_owned());
    }
    let found = digests(dir, extension)?;
    ensure!(!found.is_empty(), "{} holds no .{extension} file", dir.display());
    for (name, digest) in &found {
        match recorded.remove(name) {
            Some(expected) if expected == *digest => {}
            Some(expected) => {
                bail!("{name} has the digest {digest}, but {FILE} records {expected}: rebuild it or restore the file")
            }
            None => bail!("{name} is not in {FILE}: rebuild, or delete the file"),
        }
    }
    if let Some(name) = recorded.keys().next() {
        bail!(
            "{FILE} records {name}, which does not exist in {}: rebuild it",
            dir.display()
        );
    }
    Ok(found.len())
}

/// Files of a directory with that extension, sorted by name.
pub(crate) fn files(dir: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", dir.display()))?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn digests(dir: &Path, extension: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut digests = BTreeMap::new();
    for path in files(dir, extension)? {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        digests.insert(name, sha256(&bytes));
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_a_loss_and_an_addition_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("a.wasm"), b"abc").unwrap();
        fs::write(path("notes.txt"), b"ignored").unwrap();
        record(dir.path(), "wasm").unwrap();
        assert_eq!(
            fs::read_to_string(path(FILE)).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.wasm\n"
        );
        assert_eq!(verify(dir.path(), "wasm").unwrap(), 1);

        fs::write(path("b.wasm"), b"").unwrap();
        assert!(
            verify(dir.path(), "wasm")
                .unwrap_err()
                .to_string()
                .contains("b.wasm is not in")
        );
        fs::remove_file(path("b.wasm")).unwrap();

        fs::write(path("a.wasm"), b"abd").unwrap();
        assert!(
            verify(dir.path(), "wasm")
                .unwrap_err()
                .to_string()
                .contains("has the digest")
        );

        fs::write(path("a.wasm"), b"abc").unwrap();
        fs::write(path("c.wasm"), b"c").unwrap();
        record(dir.path(), "wasm").unwrap();
        fs::remove_file(path("c.wasm")).unwrap();
        assert!(
            verify(dir.path(), "wasm")
                .unwrap_err()
                .to_string()
                .contains("does not exist")
        );
    }
}
