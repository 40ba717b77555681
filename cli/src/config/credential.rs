//! Where the text of a credential comes from: the value itself (`plain:` stops interpretation), or `file:PATH`, `env:NAME`,
//! `credential:NAME` (a file in the directory that systemd prepares).

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Surroundings;
use crate::failure::{Exit, Failure};

/// Largest secret in bytes; what follows is not read.
const MAX_SECRET: u64 = 64 * 1024;
/// Where systemd puts credentials.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A credential as configured. It is read only when a command uses it, and is never printed.
#[derive(Clone)]
pub struct Credential {
    key: &'static str,
    source: Source,
}

/// A secret in memory; wiped when dropped, without `Debug` or serde.
pub struct Secret(Zeroizing<String>);

/// Why a credential cannot be read. No text contains the secret.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {detail}")]
pub struct CredentialError {
    key: &'static str,
    detail: String,
}

#[derive(Clone)]
enum Source {
    Plain(Zeroizing<String>),
    File(PathBuf),
    Missing(String),
}

impl Credential {
    /// Interprets the text of `key`; a relative path starts at `base`.
    pub(super) fn parse(key: &'static str, text: &str, base: &Path, surroundings: &Surroundings) -> Self {
        let plain = |text: &str| Source::Plain(Zeroizing::new(text.to_owned()));
        let source = match text.split_once(':') {
            Some(("plain", rest)) => plain(rest),
            Some(("file", path)) => Source::File(surroundings.path(path, base)),
            Some(("env", name)) => surroundings.variable(name).map_or_else(
                || Source::Missing(format!("the environment variable {name} is not set")),
                plain,
            ),
            Some(("credential", name)) => surroundings.variable(DIRECTORY).map_or_else(
                || {
                    Source::Missing(format!(
                        "credential: needs {DIRECTORY}, which is not set; use file: or env:"
                    ))
                },
                |directory| Source::File(Path::new(directory).join(name)),
            ),
            Some(("keystore", _)) => {
                Source::Missing("keystore: is not supported by this version; use file:, env: or credential:".to_owned())
            }
            _ => plain(text),
        };
        Self { key, source }
    }

    /// A credential that is not configured, from the directory that systemd prepares.
    pub(super) fn implicit(key: &'static str, surroundings: &Surroundings) -> Option<Self> {
        let directory = Path::new(surroundings.variable(DIRECTORY)?);
        let names = [format!("wavs.{key}"), key.to_owned()];
        let path = names
            .map(|name| directory.join(name))
            .into_iter()
            .find(|path| path.is_file())?;
        Some(Self {
            key,
            source: Source::File(path),
        })
    }

    /// A credential in a file.
    pub(super) fn in_file(key: &'static str, path: PathBuf) -> Self {
        Self {
            key,
            source: Source::File(path),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the place it names has nothing, or a file that everybody can read.
    pub fn read(&self) -> Result<Secret, CredentialError> {
        match &self.source {
            Source::Plain(text) => Ok(Secret(text.clone())),
            Source::Missing(detail) => Err(CredentialError {
                key: self.key,
                detail: detail.clone(),
            }),
            Source::File(path) => read(path).map_err(|detail| CredentialError { key: self.key, detail }),
        }
    }
}

impl Secret {
    /// Shows the value to the code that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        Self::new(Exit::Usage, "credential", error.to_string())
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    let failed = |cause: std::io::Error| format!("cannot read {}: {cause}", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o004 != 0 {
        return Err(format!(
            "{} can be read by everybody on this machine; run chmod 600 on it",
            path.display()
        ));
    }
    if mode & 0o040 != 0 {
        tracing::warn!(
            "{} holds a secret and can be read by its group; run chmod 600 on it",
            path.display()
        );
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(MAX_SECRET).read_to_string(&mut text).map_err(failed)?;
    let value = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret(Zeroizing::new(
        value.strip_suffix('\r').unwrap_or(value).to_owned(),
    )))
}
