//! Where the text of a credential comes from.
//!
//! A value is the secret itself (`plain:` in front stops interpretation), or names its place: `file:PATH`, `env:NAME`, `credential:NAME`
//! (a file in the directory that systemd prepares).

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use super::sources::Sources;
use crate::secret::Secret;

/// Largest secret in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// Finds the secret that `text` stands for. `base` is where a relative path starts. Neither error nor warning contains the secret.
pub(crate) fn resolve(
    text: &str,
    base: &Path,
    sources: &Sources,
    warnings: &mut Vec<String>,
) -> Result<Secret, String> {
    if let Some(value) = text.strip_prefix("plain:") {
        return Ok(Secret::new(value.to_owned()));
    }
    if let Some(path) = text.strip_prefix("file:") {
        return read(&sources.path(path, base), warnings);
    }
    if let Some(name) = text.strip_prefix("env:") {
        let value = sources
            .variable(name)
            .ok_or_else(|| format!("the environment variable {name} is not set"))?;
        return Ok(Secret::new(value.to_owned()));
    }
    if let Some(name) = text.strip_prefix("credential:") {
        let directory = sources
            .variable("CREDENTIALS_DIRECTORY")
            .ok_or("credential: works under systemd only (CREDENTIALS_DIRECTORY is not set)")?;
        return read_prepared(&Path::new(directory).join(name));
    }
    if text.starts_with("keystore:") {
        return Err("keystore files are not supported by this version; use file:, credential: or env:".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}

/// A credential that is not configured, from the directory that systemd prepares.
pub(crate) fn implicit(key: &str, sources: &Sources) -> Option<Result<Secret, String>> {
    let directory = Path::new(sources.variable("CREDENTIALS_DIRECTORY")?);
    let path = [format!("wavs.{key}"), key.to_owned()]
        .map(|name| directory.join(name))
        .into_iter()
        .find(|path| path.is_file())?;
    Some(read_prepared(&path))
}

/// A file that systemd prepared. It opens it to the one user of the process by an access list, whose mask shows as the permissions
/// of the group; so the mode says nothing about the group here.
fn read_prepared(path: &Path) -> Result<Secret, String> {
    read(path, &mut Vec::new())
}

fn read(path: &Path, warnings: &mut Vec<String>) -> Result<Secret, String> {
    let failed = |cause: std::io::Error| format!("cannot read {}: {cause}", path.display());
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o004 != 0 {
        return Err(format!(
            "{} can be read by everybody on this machine; run chmod 600 on it",
            path.display()
        ));
    }
    if mode & 0o040 != 0 {
        warnings.push(format!(
            "{} holds a secret and can be read by its group; run chmod 600 on it",
            path.display()
        ));
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(MAX_SECRET).read_to_string(&mut text).map_err(failed)?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(value.strip_suffix('\r').unwrap_or(value).to_owned()))
}
