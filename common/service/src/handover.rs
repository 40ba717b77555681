//! The configuration of one child, from the supervisor to it.
//!
//! The supervisor writes one JSON document into an anonymous memory file and passes the descriptor under the name `config`. Secrets travel beside the
//! configuration in a member of their own and only to the process that may hold them: what a process may hold is what its
//! configuration type has fields for. Nothing of it appears in arguments, environment or on a disk.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::{self, NodeConfig, ProcessConfig, TelemetryConfig};
use crate::process::ProcessName;
use crate::sandbox::Strictness;
use crate::secret::Secret;

/// Name of the descriptor in LISTEN_FDNAMES.
pub const DESCRIPTOR: &str = "config";

/// Largest document in bytes. Chains, overrides and grants of a large node need a few hundred kilobytes.
const MAX_DOCUMENT: u64 = 8 * 1024 * 1024;

/// What a child is told.
pub struct Handover<C> {
    /// The directory under which all processes keep their state.
    pub data_dir: PathBuf,
    /// The process's own part, with its secrets.
    pub config: C,
    /// How it logs.
    pub telemetry: TelemetryConfig,
    /// Whether it may start where the kernel lacks a protection.
    pub sandbox: Strictness,
}

/// Why a hand-over failed.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The memory file cannot be made or written.
    #[error("cannot write the configuration of {process} into a memory file: {source}")]
    Write {
        /// For whom it was.
        process: ProcessName,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The inherited descriptor cannot be read.
    #[error("cannot read the inherited configuration: {0}")]
    Read(std::io::Error),
    /// The document is not what this process expects.
    #[error(
        "the inherited configuration is not for this version of {process} ({cause}); start all programs from one release"
    )]
    Shape {
        /// Who reads it.
        process: ProcessName,
        /// What is wrong. The text of the document is not repeated, since it holds secrets.
        cause: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Document<C> {
    process: ProcessName,
    version: String,
    data_dir: PathBuf,
    telemetry: TelemetryConfig,
    sandbox: Strictness,
    config: C,
    secrets: Vec<(String, Plain)>,
}

impl<C: ProcessConfig> Handover<C> {
    /// The part of `node` that belongs to the process of `C`.
    #[must_use]
    pub fn of(node: &NodeConfig) -> Self {
        Self {
            data_dir: node.data_dir.clone(),
            config: C::of(node),
            telemetry: node.telemetry_of(C::PROCESS),
            sandbox: node.strictness_of(C::PROCESS),
        }
    }

    /// The document. Its memory is wiped when it is dropped.
    ///
    /// # Errors
    /// [`HandoverError::Write`] if a value has no JSON form.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, HandoverError> {
        let secrets = self
            .config
            .secrets()
            .into_iter()
            .map(|(name, secret)| (name, Plain(secret.clone())));
        let document = Document {
            process: C::PROCESS,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: self.data_dir.clone(),
            telemetry: self.telemetry.clone(),
            sandbox: self.sandbox,
            config: &self.config,
            secrets: secrets.collect(),
        };
        let failed = |cause: serde_json::Error| HandoverError::Write {
            process: C::PROCESS,
            source: cause.into(),
        };
        // Room from the start: a buffer that grows would leave unwiped copies behind.
        let mut size = Length(0);
        serde_json::to_writer(&mut size, &document).map_err(failed)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(size.0));
        serde_json::to_writer(&mut *bytes, &document).map_err(failed)?;
        Ok(bytes)
    }

    /// Tells the document from another one of this process, but for the log level, which can be changed without a restart.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn fingerprint(mut self) -> Result<u64, HandoverError> {
        self.telemetry.log_level.clear();
        Ok(config::fingerprint(&self.to_bytes()?))
    }

    /// The document in an anonymous memory file, positioned at its start, ready to be passed on.
    ///
    /// # Errors
    /// [`HandoverError::Write`] when the kernel refuses.
    pub fn to_descriptor(&self) -> Result<OwnedFd, HandoverError> {
        let bytes = self.to_bytes()?;
        let failed = |source: std::io::Error| HandoverError::Write {
            process: C::PROCESS,
            source,
        };
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut file = memfd_create(c"wavs-config", flags)
            .map(File::from)
            .map_err(|errno| failed(errno.into()))?;
        file.write_all(&bytes)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .map_err(failed)?;
        // The parent may keep the file for the next start of the child, so no child may be able to change it.
        let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(|errno| failed(errno.into()))?;
        Ok(file.into())
    }

    /// Reads the document on the child's side.
    ///
    /// # Errors
    /// When the descriptor cannot be read, or the document is for another process or version.
    pub fn read(descriptor: OwnedFd) -> Result<Self, HandoverError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
        let mut file = File::from(descriptor);
        // A memory file that was read by an earlier child stands at its end; a pipe cannot be rewound and need not.
        let _ = file.seek(SeekFrom::Start(0));
        file.take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .map_err(HandoverError::Read)?;
        Self::from_bytes(&bytes)
    }

    /// Reads the document.
    ///
    /// # Errors
    /// [`HandoverError::Shape`] when it is for another process or version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HandoverError> {
        let shape = |cause: String| HandoverError::Shape {
            process: C::PROCESS,
            cause,
        };
        let document: Document<C> = serde_json::from_slice(bytes).map_err(|cause| {
            shape(format!(
                "{:?} error at line {} column {}",
                cause.classify(),
                cause.line(),
                cause.column()
            ))
        })?;
        if document.process != C::PROCESS {
            return Err(shape(format!("it is for {}", document.process)));
        }
        if document.version != env!("CARGO_PKG_VERSION") {
            return Err(shape(format!("it comes from version {}", document.version)));
        }
        let mut config = document.config;
        for (name, Plain(secret)) in document.secrets {
            if !config.put_secret(&name, secret) {
                return Err(shape(format!("it has no use for the secret {name}")));
            }
        }
        Ok(Self {
            data_dir: document.data_dir,
            config,
            telemetry: document.telemetry,
            sandbox: document.sandbox,
        })
    }
}

/// A secret on its way: the only type that writes one out.
struct Plain(Secret);

impl Serialize for Plain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|value| Self(Secret::new(value)))
    }
}

/// Counts what is written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
