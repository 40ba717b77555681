//! Starting the compile host, and being it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};

use super::cache::CodeCache;
use super::{host, worker};
use crate::runtime::Variant;
use crate::settings::Settings;

/// The subcommand of the host.
const HOST: &str = "compile-host";
/// The subcommand of the worker.
pub(super) const WORKER: &str = "compile-worker";

/// The compile host as its parent sees it.
pub struct CompileHost {
    pub(super) child: Child,
    pub(super) requests: ChildStdin,
    pub(super) answers: ChildStdout,
    pub(super) cache: CodeCache,
}

/// Why there is no compile host.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A directory that it works with cannot be used.
    #[error("cannot use the directory {path} of the compile host: {cause}; check engine.cache_dir and the data directory", path = path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What failed.
        #[source]
        cause: io::Error,
    },
    /// The process cannot be started.
    #[error("cannot start the compile host {program}: {cause}; check the task limit of engine-svc", program = program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What failed.
        #[source]
        cause: io::Error,
    },
}

impl CompileHost {
    /// Starts it. Call this before the process gives up the right to start others. Blocks.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn spawn(settings: &Settings) -> Result<Self, SpawnError> {
        let cache = CodeCache::open(settings.cache_dir.clone()).map_err(|cause| SpawnError::Directory {
            path: settings.cache_dir.clone(),
            cause,
        })?;
        // The host restricts itself to it, and can do so only if it is there.
        fs::create_dir_all(settings.components_dir()).map_err(|cause| SpawnError::Directory {
            path: settings.components_dir(),
            cause,
        })?;
        let failed = |cause| SpawnError::Spawn {
            program: settings.compiler.clone(),
            cause,
        };
        let mut child = Command::new(&settings.compiler)
            .arg(HOST)
            .arg(settings.components_dir())
            .arg(&settings.cache_dir)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (requests, answers) = pipes.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            child,
            requests,
            answers,
            cache,
        })
    }
}

/// Runs the compile host or a compile worker if the arguments of this process ask for one. They are internal: started by
/// engine-svc, they talk over their standard streams.
#[must_use]
pub fn run_subcommand(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let arguments: Vec<_> = arguments.into_iter().skip(1).collect();
    let text = |at: usize| arguments.get(at).and_then(|argument| argument.to_str());
    match (text(0)?, arguments.len()) {
        (HOST, 3) => Some(host::run(Path::new(&arguments[1]), Path::new(&arguments[2]))),
        (WORKER, 2) => Some(worker::run(Variant::parse(text(1)?)?)),
        _ => None,
    }
}
