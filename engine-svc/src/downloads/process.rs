//! Starting the download host.

use std::process::Command;

use wavs_fetch::Fetcher;
use wavs_service::config::LogFormat;
use wavs_service::telemetry;

use super::HOST;
use super::protocol::Setup;
use crate::helper::{self, Pipes};
use crate::processes::SpawnError;
use crate::settings::Settings;

/// Variables of the node that a process with connections of its own needs: where certificates are.
const KEPT: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The download host as its parent sees it.
pub(crate) struct DownloadHost {
    pub(super) pipes: Pipes,
}

impl DownloadHost {
    /// Starts it. Blocks.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub(crate) fn spawn(settings: &Settings) -> Result<Self, SpawnError> {
        let fetcher = Fetcher::new(settings.fetch_policy.clone(), settings.gateways.clone());
        let setup = Setup {
            fetcher: fetcher.verifying(settings.ipfs_verify),
            limits: settings.fetch,
            log: telemetry::environment().unwrap_or(LogFormat::Text),
        };
        let mut command = Command::new(&settings.program);
        command.arg(HOST).arg(settings.components_dir());
        keep_environment(&mut command);
        Pipes::spawn(&mut command)
            .and_then(|mut pipes| helper::write(pipes.requests(), &setup).map(|()| Self { pipes }))
            .map_err(|cause| SpawnError::Spawn {
                name: "download host",
                program: settings.program.clone(),
                cause,
            })
    }
}

/// Lets the program have nothing of the environment but what all of these processes need.
pub(super) fn keep_environment(command: &mut Command) {
    let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    command.env_clear().envs(kept);
}
