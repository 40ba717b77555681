//! `wavs run`: the node from its configuration to its ordered end.
//!
//! The supervision loop runs on the main thread, because the life of the children is bound to the thread that spawns them;
//! the API runs on the threads of the runtime. A stop first finishes the requests that run, while the processes still
//! answer, then stops the processes.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;

use anyhow::Context;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wavs_service::config::{Audience, Flags, Loaded, Loader, TelemetryConfig};
use wavs_service::{Fatal, ProcessName, telemetry};

use crate::command_line::print;
use crate::control::{Control, RestartError};
use crate::data_dir::{ClaimError, DataDir};
use crate::http::api::Api;
use crate::http::server::{self, Listeners};
use crate::http::settings::Settings;
use crate::operator::{self, Owner, Signals};
use crate::reload::{Reloader, Report};
use crate::retention::Retention;
use crate::supervise::logs::{self, LogFormat};
use crate::supervise::runner::{self, Order, Runner};
use crate::supervise::snapshot::{ProcessState, Snapshot};
use crate::{alerts, check, http, node, proc_stats};

/// Threads for the API; the work is in the other processes.
const WORKER_THREADS: usize = 2;

/// Runs the node until SIGTERM or SIGINT.
///
/// # Errors
/// When the configuration is wrong, the data directory is taken, a program is missing or an address cannot be bound.
pub fn run(flags: Flags) -> anyhow::Result<()> {
    proc_stats::started_at();
    let loaded = Loader::from_process(flags.clone()).load()?;
    telemetry::install(&loaded.node.telemetry);
    loaded.log();
    check::warn_at_start(&loaded.node);
    let data_dir = DataDir::claim(&loaded.node.data_dir).map_err(claim_failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("wavs")
        .enable_all()
        .build()
        .context("cannot start the threads of the supervisor; check its task limit")?;
    let result = runtime.block_on(supervise(loaded, flags, &data_dir));
    runtime.shutdown_background();
    result
}

async fn supervise(loaded: Loaded, flags: Flags, data_dir: &DataDir) -> anyhow::Result<()> {
    let signals = Signals::install()?;
    check::before_start(&loaded.node).await?;
    let settings = node::settings(&loaded.node.http);
    let listeners = bind(&settings.host, loaded.node.http.port, &loaded.node.http.admin_socket).await?;
    let address = listeners
        .tcp
        .local_addr()
        .context("cannot read the address of the API")?;
    warn_about_exposure(&settings, address);

    let (sink, writer) = logs::channel(stderr()?, log_format(&loaded.node.telemetry));
    let writer = tokio::spawn(writer);
    let tail = sink.tail();
    let runner = Runner::new(node::children(&loaded.node)?, sink);
    let snapshots = runner.snapshots();
    let header_timeout = settings.header_timeout;
    let (control, requests) = Control::channel();
    let reloader = Reloader::new(flags, Audience::Node, &loaded)?;
    let api = Api::new(
        settings,
        loaded.redacted,
        data_dir.path(),
        snapshots.clone(),
        control,
        Some(tail),
    );
    let (stop_api, stop_processes) = (CancellationToken::new(), CancellationToken::new());
    serve_metrics(&loaded.node.telemetry, &api, &stop_api).await?;
    // From here on the secrets are with the processes that use them.
    drop(loaded.node);

    print(&format!("HTTP API listening on http://{address}"))?;
    tracing::info!(%address, data = %data_dir.path().display(), "HTTP API listening");
    let (orders, inbox) = runner::orders();
    let serving = tokio::spawn(server::serve(
        listeners,
        http::router(api.clone()),
        header_timeout,
        stop_api.clone(),
    ));
    let watching = tokio::spawn(alerts::run(api.clone()));
    let erasing = tokio::spawn(Retention::new(api.clone()).run());
    let processes = Processes { reloader, orders, api };
    let announcement = tokio::spawn(announce(snapshots));
    let control = async {
        operator::follow(processes, signals, requests).await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        stop_api.cancel();
        // A panic inside is reported by the runtime; the processes are stopped all the same.
        let _ = serving.await;
        stop_processes.cancel();
    };
    tokio::join!(control, runner.run(stop_processes.clone(), inbox));
    announcement.abort();
    watching.abort();
    erasing.abort();
    // The last lines of the children are on their way; the writer ends when all pipes are closed.
    let _ = writer.await;
    tracing::info!("all processes stopped");
    Ok(())
}

pub(crate) fn claim_failed(error: ClaimError) -> anyhow::Error {
    match error {
        taken @ ClaimError::Taken { .. } => anyhow::Error::new(taken),
        other => {
            let cause = std::error::Error::source(&other)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            Fatal::config(format!("{other}{cause}")).into()
        }
    }
}

pub(crate) async fn bind(host: &str, port: u16, admin: &Path) -> anyhow::Result<Listeners> {
    let tcp = TcpListener::bind((host, port)).await.with_context(|| {
        format!("cannot open the HTTP API on {host}:{port}; choose another --host or --port (0 is any free one)")
    })?;
    let admin = wavs_ipc::socket::bind_fd(admin).context("cannot open the admin socket")?;
    let admin = StdUnixListener::from(admin);
    admin.set_nonblocking(true).context("cannot open the admin socket")?;
    Ok(Listeners {
        tcp,
        admin: UnixListener::from_std(admin).context("cannot open the admin socket")?,
    })
}

/// Starts to serve `/metrics` alone where `telemetry.metrics_listen` says, until `stop`.
pub(crate) async fn serve_metrics(
    telemetry: &TelemetryConfig,
    api: &Api,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Some(address) = &telemetry.metrics_listen else {
        return Ok(());
    };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot serve metrics on telemetry.metrics_listen = {address}; write it like 127.0.0.1:9100")
    })?;
    let at = listener
        .local_addr()
        .context("cannot read the address of the metrics")?;
    tracing::info!(address = %at, "metrics listening");
    let header_timeout = api.settings().header_timeout;
    tokio::spawn(server::serve_tcp(
        listener,
        http::metrics_router(api.clone()),
        header_timeout,
        stop.clone(),
    ));
    Ok(())
}

pub(crate) fn warn_about_exposure(settings: &Settings, address: SocketAddr) {
    if !address.ip().is_loopback() && settings.tokens.is_empty() {
        tracing::warn!(%address, "the API is open to the network and no bearer_token is configured: only this machine may use it");
    }
    for pattern in settings
        .cors_allowed_origins
        .iter()
        .filter(|pattern| pattern.never_matches())
    {
        tracing::warn!(
            ?pattern,
            "this entry of cors_allowed_origins matches nothing: an origin has no path"
        );
    }
}

/// This process's stderr for the writer of the log.
fn stderr() -> anyhow::Result<tokio::fs::File> {
    let stderr = std::io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot take stderr for the log")?;
    Ok(tokio::fs::File::from_std(stderr.into()))
}

/// Children write JSON; people at a terminal want text.
fn log_format(telemetry: &TelemetryConfig) -> LogFormat {
    let configured = telemetry.log_format == wavs_service::config::LogFormat::Json;
    match std::env::var("WAVS_LOG_FORMAT").as_deref() {
        Ok("json") => LogFormat::Json,
        Ok("text") => LogFormat::Text,
        _ if configured || std::env::var_os("NOTIFY_SOCKET").is_some() => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

/// Says once that every process runs.
async fn announce(mut snapshots: watch::Receiver<Vec<Snapshot>>) {
    let all_run = |all: &Vec<Snapshot>| all.iter().all(|one| one.state == ProcessState::Running);
    if snapshots.wait_for(all_run).await.is_ok() {
        tracing::info!(processes = snapshots.borrow().len(), "the node is ready");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
}

/// The processes as children of this one.
struct Processes {
    reloader: Reloader,
    orders: mpsc::Sender<Order>,
    api: Api,
}

impl Owner for Processes {
    const STOP: &'static str = "stopping all processes in order";

    async fn restart(&self, process: ProcessName, kill: bool) -> Result<(), RestartError> {
        let name = process.full();
        if !self.api.processes().iter().any(|snapshot| snapshot.name == name) {
            return Err(RestartError::Disabled(process));
        }
        // The runner ends only after this loop.
        let _ = self.orders.send(Order::Restart { name, kill }).await;
        Ok(())
    }

    /// Takes over the configuration as it is now. When it is wrong the old one stays; what is blocked is tried again either way.
    async fn reload(&mut self) -> Report {
        let change = self.reloader.load().and_then(|change| {
            let renewals = node::renewals(&change.node, |process| change.restart.contains(&process))?;
            Ok((change, renewals))
        });
        let (report, renewals) = match change {
            Ok((change, renewals)) => {
                change.log();
                change.apply(&self.api).await;
                (change.report, renewals)
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the new configuration is refused, the old one stays"
                );
                (Report::refused(format!("{error:#}")), Vec::new())
            }
        };
        let _ = self.orders.send(Order::Reload(renewals)).await;
        report
    }
}
