//! A new configuration while the node runs (SIGHUP or `POST /v1/config/reload`).
//!
//! It is loaded whole, as a start would, and refused whole when anything is wrong with it. The API takes its part over in place,
//! log levels are sent to the processes, and a process whose own part changed is restarted with it: it drains, its callers wait,
//! its work goes on from disk, in well under a second, and each incarnation sees exactly one configuration. What only a restart of the
//! whole node can change is listed and stays as it is. Values are compared by their prints, so no secret is kept for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;
use wavs_service::ProcessName;
use wavs_service::config::{Audience, Fingerprints, Flags, Loaded, Loader, NodeConfig, RedactedConfig, keys};
use wavs_service::telemetry;

use crate::http::api::{Api, READ};
use crate::node;

/// Keys that are read once, when the supervisor starts; `*` is one segment.
const AT_START: [&str; 10] = [
    "data",
    "host",
    "port",
    "dev_endpoints_enabled",
    "auth.admin_socket",
    "http.max_concurrent",
    "http.header_timeout_secs",
    "telemetry.log_format",
    "telemetry.metrics_listen",
    "process.*.enabled",
];

/// What became of a reload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Keys whose new values are in force, or will be when the processes that are being restarted are back.
    pub applied: Vec<String>,
    /// Keys whose new values count from the next start of the node on.
    pub needs_restart: Vec<String>,
    /// Why nothing was changed.
    pub errors: Vec<String>,
}

impl Report {
    /// Nothing was changed.
    #[must_use]
    pub fn refused(error: String) -> Self {
        Self {
            errors: vec![error],
            ..Self::default()
        }
    }
}

/// What the node runs with, to tell what is new.
pub struct Reloader {
    flags: Flags,
    audience: Audience,
    data_dir: PathBuf,
    known: Known,
}

/// The prints of one configuration.
struct Known {
    keys: Fingerprints,
    processes: BTreeMap<ProcessName, u64>,
    levels: Levels,
}

/// Log levels: those of the processes, and the supervisor's own.
#[derive(Clone, PartialEq)]
struct Levels {
    own: Vec<String>,
    processes: BTreeMap<ProcessName, Vec<String>>,
}

/// A valid configuration that differs from the one that the node runs with.
pub struct Change {
    /// What to tell the operator.
    pub report: Report,
    /// The whole.
    pub node: NodeConfig,
    /// Processes whose own part is new.
    pub restart: BTreeSet<ProcessName>,
    redacted: RedactedConfig,
    levels: Levels,
    known_levels: Levels,
}

impl Reloader {
    /// Compares with `loaded`, which came from `flags`.
    ///
    /// # Errors
    /// When a part of it has no serial form.
    pub fn new(flags: Flags, audience: Audience, loaded: &Loaded) -> anyhow::Result<Self> {
        Ok(Self {
            flags,
            audience,
            data_dir: loaded.node.data_dir.clone(),
            known: Known::of(loaded)?,
        })
    }

    /// The configuration as it is now. From here on it counts as the one that the node runs with.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn load(&mut self) -> anyhow::Result<Change> {
        let load = |flags: Flags| Loader::from_process(flags).only_for(self.audience).load();
        let mut loaded = load(self.flags.clone())?;
        let mut needs_restart = Vec::new();
        if loaded.node.data_dir != self.data_dir {
            // All state is there, and so are the sockets.
            needs_restart.push("data".to_owned());
            let stay = self.flags.clone().with("data", self.data_dir.display().to_string());
            loaded = load(stay)?;
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let new = Known::of(&loaded)?;
        let mut changed = self.known.keys.changed(&new.keys);
        changed.retain(|key| key != "data");
        let only_secrets = changed.is_empty() && needs_restart.is_empty();
        let (at_start, mut applied): (Vec<_>, Vec<_>) = changed
            .into_iter()
            .filter(|key| keys::has_effect(key))
            .partition(|key| is_at_start(key));
        needs_restart.extend(at_start);
        let differs = |process: &ProcessName| self.known.processes.get(process) != new.processes.get(process);
        let restart: BTreeSet<_> = ProcessName::ALL.into_iter().filter(differs).collect();
        if only_secrets {
            // The values name files or variables, and their contents are new.
            applied.extend(restart.iter().map(|process| format!("secrets of {process}")));
        }
        let known_levels = std::mem::replace(&mut self.known, new).levels;
        Ok(Change {
            report: Report {
                applied,
                needs_restart,
                errors: Vec::new(),
            },
            node: loaded.node,
            restart,
            redacted: loaded.redacted,
            levels: self.known.levels.clone(),
            known_levels,
        })
    }
}

impl Known {
    fn of(loaded: &Loaded) -> anyhow::Result<Self> {
        let node = &loaded.node;
        let print = |process| Ok((process, node::fingerprint(process, node)?));
        let level = |process| (process, node.telemetry_of(process).log_level);
        Ok(Self {
            keys: loaded.fingerprints.clone(),
            processes: ProcessName::ALL.into_iter().map(print).collect::<anyhow::Result<_>>()?,
            levels: Levels {
                own: node.telemetry.log_level.clone(),
                processes: ProcessName::ALL.into_iter().map(level).collect(),
            },
        })
    }
}

impl Change {
    /// Puts into force what needs no restart of a process: the API's own part, and the log levels.
    pub async fn apply(&self, api: &Api) {
        api.renew(node::settings(&self.node.http), self.redacted.clone());
        if self.levels.own != self.known_levels.own
            && let Err(error) = telemetry::set_level(&self.levels.own)
        {
            tracing::warn!(%error, "the supervisor keeps its log level");
        }
        for (process, level) in &self.levels.processes {
            let same = self.known_levels.processes.get(process) == Some(level);
            if same || self.restart.contains(process) {
                continue;
            }
            let told = api
                .lifecycle(*process, READ, async |client, context| {
                    client.set_log_level(context, level.clone()).await
                })
                .await;
            if let Err(error) = told {
                tracing::warn!(%process, error = %error.error(), "takes the new log level at its next start only");
            }
        }
    }

    /// Writes to the log what is new.
    pub fn log(&self) {
        let Report {
            applied, needs_restart, ..
        } = &self.report;
        let restarted: Vec<_> = self.restart.iter().map(|process| process.full()).collect();
        tracing::info!(
            applied = applied.join(", "),
            restarted = restarted.join(", "),
            "configuration loaded again"
        );
        if !needs_restart.is_empty() {
            tracing::warn!(
                keys = needs_restart.join(", "),
                "these new values count from the next start of the node on"
            );
        }
    }
}

fn is_at_start(key: &str) -> bool {
    AT_START.iter().any(|pattern| {
        let mut segments = key.split('.');
        pattern
            .split('.')
            .all(|wanted| segments.next().is_some_and(|there| wanted == "*" || wanted == there))
            && segments.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_without_effect_is_not_said_to_have_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        let write = |text: &str| std::fs::write(dir.path().join("wavs.toml"), text).unwrap();
        let mut flags = Flags::default().with("data", home.clone());
        flags.home = Some(home);
        write("[wavs]");
        let loaded = Loader::from_process(flags.clone()).load().unwrap();
        let mut reloader = Reloader::new(flags, Audience::Node, &loaded).unwrap();
        for (text, applied) in [
            (
                "[wavs]\nmax_body_size_mb = 3\ntelemetry.log_file = \"a\"",
                &["max_body_size_mb"][..],
            ),
            ("[wavs]\nmax_body_size_mb = 3\njetstream_rewind_secs = 9", &[]),
        ] {
            write(text);
            let report = reloader.load().unwrap().report;
            assert_eq!(report.applied, applied, "{text}");
            assert_eq!(report.needs_restart, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_is_read_once_is_known_by_its_whole_name() {
        for (key, at_start) in [
            ("port", true),
            ("process.engine.enabled", true),
            ("process.engine.log_level", false),
            ("chains.evm.1.data", false),
            ("http.max_body", false),
        ] {
            assert_eq!(is_at_start(key), at_start, "{key}");
        }
    }
}
