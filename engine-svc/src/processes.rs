//! The other processes of engine-svc: starting them, and being one.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::compiler::{self, CompileHost};
use crate::downloads::{self, DownloadHost};
use crate::settings::Settings;

/// What runs beside engine-svc, started before it gives up the right to start anything.
pub struct Helpers {
    pub(crate) compiler: CompileHost,
    pub(crate) downloads: DownloadHost,
}

/// Why one of them cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A directory that it works with cannot be used.
    #[error("cannot use the directory {path}: {cause}; check engine.cache_dir and the data directory", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What failed.
        #[source]
        cause: io::Error,
    },
    /// The process cannot be started.
    #[error("cannot start the {name} ({program}): {cause}; check the task limit of engine-svc", program = program.display())]
    Spawn {
        /// What people call it.
        name: &'static str,
        /// The program.
        program: PathBuf,
        /// What failed.
        #[source]
        cause: io::Error,
    },
}

impl Helpers {
    /// Starts them. Call this before the process gives up the right to start others. Blocks.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn spawn(settings: &Settings) -> Result<Self, SpawnError> {
        // Both restrict themselves to it, and can do so only if it is there.
        let components = settings.components_dir();
        std::fs::create_dir_all(&components).map_err(|cause| SpawnError::Directory {
            path: components.clone(),
            cause,
        })?;
        Ok(Self {
            compiler: CompileHost::spawn(settings)?,
            downloads: DownloadHost::spawn(settings)?,
        })
    }
}

/// Runs one of them if the arguments of this process ask for it. They are internal: started by engine-svc or by each other,
/// they talk over their standard streams.
#[must_use]
pub fn run_subcommand(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let arguments: Vec<_> = arguments.into_iter().skip(1).collect();
    let text = |at: usize| arguments.get(at).and_then(|argument| argument.to_str());
    let path = |at: usize| arguments.get(at).map(Path::new);
    match (text(0)?, arguments.len()) {
        (compiler::HOST, 3) => Some(compiler::run_host(path(1)?, path(2)?)),
        (compiler::WORKER, 2) => Some(compiler::run_worker(text(1)?)),
        (downloads::HOST, 2) => Some(downloads::run_host(path(1)?)),
        (downloads::WORKER, 5) => Some(downloads::run_worker(text(1)?, text(2)?, text(3)?, text(4)?)),
        _ => None,
    }
}
