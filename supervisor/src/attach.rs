//! `wavs attach`: the API over processes that systemd runs.
//!
//! Each process is a unit with sockets that systemd holds, so nothing is spawned here and ending this process ends no other.
//! One observer per process asks it over its control socket how it is and publishes the answer; the API and the status
//! page read it as they read the supervisor's own table. What systemd alone knows (exit codes, its restarts) is in `systemctl`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wavs_ipc::contract::lifecycle::{Health, LifecycleClient, ProcessStatus};
use wavs_ipc::{Identity, Reconnecting, Role, WireError};
use wavs_service::ProcessName;
use wavs_service::config::{Audience, Flags, Loaded, Loader, NodeConfig};
use wavs_service::telemetry;

use crate::command_line::print;
use crate::control::{Control, RestartError};
use crate::data_dir::DataDir;
use crate::http::api::Api;
use crate::http::server;
use crate::operator::{self, Owner, Signals};
use crate::reload::{Reloader, Report};
use crate::retention::Retention;
use crate::supervise::snapshot::{ProcessState, Snapshot};
use crate::{alerts, http, node, proc_stats, run};

/// Time between two questions to one process. A death is noticed at the next one.
const PERIOD: Duration = Duration::from_millis(250);

/// Longest wait for an answer. systemd holds the sockets, so a question to a process that is down waits in their queue, and
/// is answered the moment that it is back; a process that is up answers from memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// Threads for the API.
const WORKER_THREADS: usize = 2;

/// Serves the API until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration is wrong, the data directory has another supervisor or an address cannot be bound.
pub fn run(flags: Flags) -> anyhow::Result<()> {
    proc_stats::started_at();
    let loaded = Loader::from_process(flags.clone()).only_for(Audience::Api).load()?;
    telemetry::install(&loaded.node.telemetry);
    loaded.log();
    let data_dir = DataDir::attach(&loaded.node.data_dir).map_err(run::claim_failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("wavs")
        .enable_all()
        .build()
        .context("cannot start the threads of the supervisor; check its task limit")?;
    let result = runtime.block_on(attach(loaded, flags, &data_dir));
    runtime.shutdown_background();
    result
}

async fn attach(loaded: Loaded, flags: Flags, data_dir: &DataDir) -> anyhow::Result<()> {
    let signals = Signals::install()?;
    let settings = node::settings(&loaded.node.http);
    let listeners = run::bind(&settings.host, loaded.node.http.port, &loaded.node.http.admin_socket).await?;
    let address = listeners
        .tcp
        .local_addr()
        .context("cannot read the address of the API")?;
    run::warn_about_exposure(&settings, address);

    let mut tasks = JoinSet::new();
    let snapshots = observe(&loaded.node, &mut tasks);
    let header_timeout = settings.header_timeout;
    let (control, requests) = Control::channel();
    let reloader = Reloader::new(flags, Audience::Api, &loaded)?;
    let api = Api::new(settings, loaded.redacted, data_dir.path(), snapshots, control, None);
    let stop = CancellationToken::new();
    run::serve_metrics(&loaded.node.telemetry, &api, &stop).await?;
    // The tokens are hashed; their values go.
    drop(loaded.node);
    let serving = tokio::spawn(server::serve(
        listeners,
        http::router(api.clone()),
        header_timeout,
        stop.clone(),
    ));
    tasks.spawn(watchdog());
    tasks.spawn(alerts::run(api.clone()));
    tasks.spawn(Retention::new(api.clone()).run());

    print(&format!("HTTP API listening on http://{address}"))?;
    tracing::info!(%address, data = %data_dir.path().display(), "HTTP API listening, attached to processes that systemd runs");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let processes = Processes { reloader, api };
    operator::follow(processes, signals, requests).await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stop.cancel();
    // A panic inside is reported by the runtime; there is nothing left to do but to end.
    let _ = serving.await;
    tasks.shutdown().await;
    Ok(())
}

/// Starts to observe every process that is not switched off.
fn observe(node: &NodeConfig, tasks: &mut JoinSet<()>) -> watch::Receiver<Vec<Snapshot>> {
    let enabled = |process: &ProcessName| node.processes.get(process).is_none_or(|limits| limits.enabled);
    let processes: Vec<_> = ProcessName::ALL.into_iter().filter(enabled).collect();
    let (table, snapshots) = watch::channel(processes.iter().map(|process| unknown(*process)).collect());
    for process in processes {
        let client = Reconnecting::new(process.ctl_socket(&node.data_dir), Identity::new(Role::Supervisor));
        tasks.spawn(follow(process, client, table.clone()));
    }
    snapshots
}

/// Keeps the row of one process up to date.
async fn follow(process: ProcessName, client: Reconnecting<LifecycleClient>, table: watch::Sender<Vec<Snapshot>>) {
    let mut questions = tokio::time::interval(PERIOD);
    let mut last_pid = None;
    questions.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        questions.tick().await;
        let said = client
            .call(PATIENCE, async |client, context| client.status(context).await)
            .await;
        let mut change = None;
        table.send_if_modified(|all| {
            let row = all.iter_mut().find(|row| row.name == process.full());
            change = row.and_then(|row| update(row, &mut last_pid, said));
            change.is_some()
        });
        match change {
            None | Some(Change::Same) => {}
            Some(Change::Up { pid, restarts }) => tracing::info!(process = process.full(), pid, restarts, "answers"),
            Some(Change::Down { reason }) => {
                tracing::warn!(
                    process = process.full(),
                    reason,
                    "does not answer; systemd restarts it if it died"
                );
            }
        }
    }
}

/// What an answer changed in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// Only when it was last heard of, or how it is.
    Same,
    /// It answers, for the first time or again.
    Up { pid: u32, restarts: u64 },
    /// It does not answer any more.
    Down { reason: String },
}

/// Puts an answer into its row; `None` when nothing is new. `last_pid` outlives the row's, to recognise a restart.
fn update(row: &mut Snapshot, last_pid: &mut Option<u32>, said: Result<ProcessStatus, WireError>) -> Option<Change> {
    let was_up = row.pid.is_some();
    let status = match said {
        Ok(status) => status,
        Err(error) => {
            let changed = row.state != ProcessState::Backoff;
            row.state = ProcessState::Backoff;
            row.pid = None;
            row.started_at = None;
            row.status = Some(error.detail.clone());
            return changed.then_some(Change::Down { reason: error.detail });
        }
    };
    let another = last_pid.replace(status.pid).is_some_and(|pid| pid != status.pid);
    if another {
        row.restarts += 1;
        // systemd alone knows why.
        *row.restart_causes.entry("unknown").or_default() += 1;
    }
    row.pid = Some(status.pid);
    row.started_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(status.started_at_ms));
    row.state = match status.health {
        Health::Draining => ProcessState::Stopping,
        // Health in part is told by the process itself, with its reasons.
        Health::Running | Health::Degraded { .. } => ProcessState::Running,
    };
    row.heartbeat = Some(Instant::now());
    row.status = None;
    Some(if was_up && !another {
        Change::Same
    } else {
        Change::Up {
            pid: status.pid,
            restarts: row.restarts,
        }
    })
}

/// The row of a process that has not answered yet.
fn unknown(process: ProcessName) -> Snapshot {
    Snapshot {
        name: process.full(),
        state: ProcessState::Starting,
        pid: None,
        started_at: None,
        restarts: 0,
        restart_causes: BTreeMap::new(),
        last_exit: None,
        heartbeat: None,
        status: None,
        log_lines_dropped: 0,
    }
}

/// Tells systemd that the runtime works, at half of the period that it asks for.
async fn watchdog() {
    let Some(period) = sd_notify::watchdog_enabled().map(|period| period / 2) else {
        return;
    };
    if period.is_zero() {
        return;
    }
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}

/// The processes as units. They are asked to end, and systemd starts them again.
struct Processes {
    reloader: Reloader,
    api: Api,
}

impl Owner for Processes {
    const STOP: &'static str = "the API stops, the processes go on";

    async fn restart(&self, process: ProcessName, kill: bool) -> Result<(), RestartError> {
        if !self
            .api
            .processes()
            .iter()
            .any(|snapshot| snapshot.name == process.full())
        {
            return Err(RestartError::Disabled(process));
        }
        if kill {
            return Err(RestartError::OwnedBySystemd(process));
        }
        let asked = self
            .api
            .lifecycle(process, PATIENCE, async |client, context| client.drain(context).await)
            .await;
        asked.map_err(|error| RestartError::Silent {
            process,
            detail: error.error().to_string(),
        })
    }

    /// Takes over the configuration as it is now; processes whose own part changed load it at their next start, which is now.
    async fn reload(&mut self) -> Report {
        let change = match self.reloader.load() {
            Ok(change) => change,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the new configuration is refused, the old one stays"
                );
                return Report::refused(format!("{error:#}"));
            }
        };
        change.log();
        change.apply(&self.api).await;
        for process in &change.restart {
            match self.restart(*process, false).await {
                Ok(()) | Err(RestartError::Disabled(_)) => {}
                // One that is down loads the new configuration when it comes back.
                Err(error) => tracing::warn!(%error, "the new configuration counts at its next start"),
            }
        }
        change.report
    }
}

#[cfg(test)]
mod tests {
    use wavs_ipc::ErrorCode;

    use super::*;

    fn status(pid: u32, health: Health) -> Result<ProcessStatus, WireError> {
        Ok(ProcessStatus {
            name: "engine-svc".into(),
            version: "1".into(),
            pid,
            started_at_ms: 1_000,
            health,
            queues: Vec::new(),
            sandbox: Vec::new(),
            facts: Vec::new(),
            checks: Vec::new(),
        })
    }

    #[test]
    fn a_row_follows_what_the_process_says() {
        let (mut row, mut last) = (unknown(ProcessName::Engine), None);
        let silence = || Err(WireError::backoff(ErrorCode::Transport, "nobody"));
        let degraded = Health::Degraded { reasons: Vec::new() };
        let up = |pid, restarts| Some(Change::Up { pid, restarts });
        let down = Some(Change::Down {
            reason: "nobody".into(),
        });
        for (said, change, state, pid) in [
            (silence(), down.clone(), ProcessState::Backoff, None),
            (silence(), None, ProcessState::Backoff, None),
            (status(7, Health::Running), up(7, 0), ProcessState::Running, Some(7)),
            (status(7, degraded), Some(Change::Same), ProcessState::Running, Some(7)),
            (
                status(7, Health::Draining),
                Some(Change::Same),
                ProcessState::Stopping,
                Some(7),
            ),
            (status(8, Health::Running), up(8, 1), ProcessState::Running, Some(8)),
            (silence(), down.clone(), ProcessState::Backoff, None),
            (status(8, Health::Running), up(8, 1), ProcessState::Running, Some(8)),
            (silence(), down, ProcessState::Backoff, None),
            (status(9, Health::Running), up(9, 2), ProcessState::Running, Some(9)),
        ] {
            assert_eq!(update(&mut row, &mut last, said), change);
            assert_eq!((row.state, row.pid), (state, pid));
        }
    }
}
