//! Starting the compile host.

use std::process::Command;

use super::HOST;
use super::cache::CodeCache;
use crate::helper::Pipes;
use crate::processes::SpawnError;
use crate::settings::Settings;

/// The compile host as its parent sees it.
pub(crate) struct CompileHost {
    pub(super) pipes: Pipes,
    pub(super) cache: CodeCache,
}

impl CompileHost {
    /// Starts it. Blocks.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub(crate) fn spawn(settings: &Settings) -> Result<Self, SpawnError> {
        let cache = CodeCache::open(settings.cache_dir.clone()).map_err(|cause| SpawnError::Directory {
            path: settings.cache_dir.clone(),
            cause,
        })?;
        let mut command = Command::new(&settings.program);
        command
            .arg(HOST)
            .arg(settings.components_dir())
            .arg(&settings.cache_dir)
            .env_clear();
        let pipes = Pipes::spawn(&mut command).map_err(|cause| SpawnError::Spawn {
            name: "compile host",
            program: settings.program.clone(),
            cause,
        })?;
        Ok(Self { pipes, cache })
    }
}
